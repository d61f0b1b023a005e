"""Datasets and jobs by name: the nodes of the graph, as clients write them and as the store keys them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

# Where Marquez splits node ids: not inside s3://bucket or host:5432.
_SPLIT = re.compile(r":(?!//|\d)")

NodeId = UUID

# Postgres indexes a name in one entry of at most 2,704 bytes.
LONGEST_NAME_BYTES = 1_300


class Node(NamedTuple):
    """A dataset or job; `kind` is `dataset` or `job`."""

    kind: str
    namespace: str
    name: str

    @property
    def id(self) -> str:
        """As clients write it: dataset:namespace:name."""
        return ":".join(self)

    @property
    def key(self) -> NodeId:
        """The key in the store, which needs no table to look it up in."""
        return _key(self)


# Producers name the same things again and again; a hundred thousand of them take 40 MB.
@lru_cache(maxsize=100_000)
def _key(node: Node) -> NodeId:
    return UUID(bytes=hashlib.md5("\t".join(node).encode(), usedforsecurity=False).digest())


def named_in_facet(item: Mapping[str, Any]) -> Node | None:
    """The dataset that an entry of a facet names; None for what is misshapen, or longer than any name may be."""
    namespace, name = item.get("namespace"), item.get("name")
    if not (isinstance(namespace, str) and isinstance(name, str) and namespace and name):
        return None
    return None if is_too_long(namespace, name) else Node("dataset", namespace, name)


def is_too_long(namespace: str, name: str) -> bool:
    """Whether the store cannot keep a node of this name."""
    letters = len(namespace) + len(name)
    # A letter has at most four bytes: most names need no counting.
    return letters * 4 > LONGEST_NAME_BYTES and len((namespace + name).encode()) > LONGEST_NAME_BYTES


def parse_node_id(text: str) -> tuple[Node, ...]:
    """What a node id may mean, likeliest first; nothing if it is none.

    Both namespaces and names may hold colons, so `dataset:a:b:c` may be c in a:b or b:c in a.
    """
    kind, _, rest = text.partition(":")
    # Postgres keeps no NUL: nothing can have that name.
    if kind not in ("dataset", "job") or "\0" in text:
        return ()
    likely = [found.start() for found in _SPLIT.finditer(rest)]
    others = [place for place, letter in enumerate(rest) if letter == ":" and place not in likely]
    nodes = [Node(kind, rest[:place], rest[place + 1 :]) for place in (*likely, *others)]
    # Marquez writes a version behind the name.
    versioned = [node._replace(name=node.name.rpartition("#")[0]) for node in nodes]
    return tuple(node for node in (*nodes, *versioned) if node.namespace and node.name)
