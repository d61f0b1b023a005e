"""Reading the graph of datasets and jobs: around a node, or all of it.

A walk costs one query a level however wide the level is, and ends in cycles too: it asks for the
neighbours of nodes that it has not seen before.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lineage.errors import NotFoundError
from lineage.service.marquez import Json, dataset_json, job_json
from lineage.store import Row, Store

# Where Marquez splits node ids: not inside s3://bucket or host:5432.
_SPLIT = re.compile(r":(?!//|\d)")
# Looking for the nearest names compares with each: more than these would be slow.
_MOST_COMPARED = 5_000


class Node(NamedTuple):
    """A dataset or job; `type` is `dataset` or `job`."""

    type: str
    namespace: str
    name: str

    @property
    def id(self) -> str:
        """As clients write it: dataset:namespace:name."""
        return ":".join(self)


class Edge(NamedTuple):
    """Data flows from `origin` to `destination`; one is a dataset, the other a job."""

    origin: Node
    destination: Node

    def json(self) -> Json:
        """The edge as the API writes it."""
        return {"origin": self.origin.id, "destination": self.destination.id}


def parse_node_id(text: str) -> tuple[Node, ...]:
    """What a node id may mean, likeliest first; nothing if it is none.

    Both namespaces and names may hold colons, so `dataset:a:b:c` may be c in a:b or b:c in a.
    """
    kind, _, rest = text.partition(":")
    if kind not in ("dataset", "job"):
        return ()
    likely = [found.start() for found in _SPLIT.finditer(rest)]
    others = [place for place, letter in enumerate(rest) if letter == ":" and place not in likely]
    nodes = [Node(kind, rest[:place], rest[place + 1 :]) for place in (*likely, *others)]
    # Marquez writes a version behind the name.
    versioned = [node._replace(name=node.name.rpartition("#")[0]) for node in nodes]
    return tuple(node for node in (*nodes, *versioned) if node.namespace and node.name)


def find_node(store: Store, candidates: Sequence[Node]) -> Node:
    """The first of `candidates` that exists; raises NotFoundError naming the nearest."""
    known = set(_existing(store, candidates))
    for node in candidates:
        if node in known:
            return node
    raise missing(store, candidates[0])


def missing(store: Store, node: Node) -> NotFoundError:
    """The error that says `node` is not there, and which of the names that are come nearest."""
    names = {item.id: item for item in _all_nodes(store)[:_MOST_COMPARED] if item.type == node.type}
    nearest = tuple(difflib.get_close_matches(node.id, names, n=3, cutoff=0.5))
    hint = f"; the nearest are {', '.join(nearest)}" if nearest else ""
    return NotFoundError(f"There is no {node.type} {node.name!r} in namespace {node.namespace!r}{hint}.", nearest)


def read_lineage(store: Store, start: Node, *, depth: int, limit: int) -> Json:
    """The graph within `depth` edges of `start`, in both directions; `limit` bounds the number of nodes."""
    seen, frontier = {start: None}, [start]
    is_partial = False
    for _ in range(depth):
        found = {node: None for edge in _edges_of(store, frontier) for node in edge if node not in seen}
        frontier = sorted(found)[: limit - len(seen)]
        is_partial = is_partial or len(frontier) < len(found)
        seen.update(dict.fromkeys(frontier))
        if not frontier:
            break
    return {"graph": describe_nodes(store, list(seen)), "isPartial": is_partial}


def read_graph(store: Store, *, limit: int) -> Json:
    """All nodes; the first `limit` of them by name where there are more."""
    nodes = _all_nodes(store)
    chosen = sorted(nodes, key=lambda node: (node.namespace, node.name))[:limit]
    graph = describe_nodes(store, chosen)
    return {"graph": graph, "isPartial": len(chosen) < len(nodes), "totalCount": len(nodes)}


def describe_nodes(store: Store, nodes: Sequence[Node]) -> list[Json]:
    """Each node with its data and its edges to the others of `nodes`."""
    edges = sorted(set(_edges_of(store, [node for node in nodes if node.type == "job"])))
    data = {**read_datasets(store, nodes), **_describe_jobs(store, nodes, edges)}
    inner = [edge for edge in edges if edge.origin in data and edge.destination in data]
    into, out = _group(inner, 1), _group(inner, 0)
    return [
        {
            "id": node.id,
            "type": node.type.upper(),
            "data": data[node],
            "inEdges": [edge.json() for edge in into.get(node, ())],
            "outEdges": [edge.json() for edge in out.get(node, ())],
        }
        for node in nodes
        if node in data
    ]


def read_datasets(store: Store, nodes: Iterable[Node]) -> dict[Node, Json]:
    """What is known of those `nodes` that are datasets."""
    rows = store.rows("graph_datasets", **_keys(nodes, "dataset"))
    return {Node("dataset", row["namespace"], row["name"]): dataset_json(row) for row in rows}


def read_jobs(store: Store, nodes: Sequence[Node]) -> dict[Node, Json]:
    """What is known of those `nodes` that are jobs, with all their inputs and outputs."""
    return _describe_jobs(store, nodes, sorted(_edges_of(store, nodes)))


def _describe_jobs(store: Store, nodes: Iterable[Node], edges: Iterable[Edge]) -> dict[Node, Json]:
    edges = list(edges)
    into, out = _group(edges, 1), _group(edges, 0)
    described = {}
    for row in store.rows("graph_jobs", **_keys(nodes, "job")):
        node = Node("job", row["namespace"], row["name"])
        inputs = [_id_json(edge.origin) for edge in into.get(node, ())]
        outputs = [_id_json(edge.destination) for edge in out.get(node, ())]
        described[node] = job_json(row, inputs, outputs)
    return described


def _edges_of(store: Store, nodes: Sequence[Node]) -> Iterable[Edge]:
    """The edges at `nodes`; a level of a walk holds only jobs or only datasets, so this is one query."""
    for kind in sorted({node.type for node in nodes}):
        for row in store.rows(f"edges_of_{kind}s", **_keys(nodes, kind)):
            yield _edge(row)


def _edge(row: Row) -> Edge:
    job = Node("job", row["job_namespace"], row["job_name"])
    dataset = Node("dataset", row["dataset_namespace"], row["dataset_name"])
    return Edge(dataset, job) if row["direction"] == "input" else Edge(job, dataset)


def _group(edges: Iterable[Edge], end: int) -> dict[Node, list[Edge]]:
    groups: dict[Node, list[Edge]] = {}
    for edge in edges:
        groups.setdefault(edge[end], []).append(edge)
    return groups


def _existing(store: Store, nodes: Sequence[Node]) -> Iterable[Node]:
    for kind in ("dataset", "job"):
        for row in store.rows(f"graph_{kind}s", **_keys(nodes, kind)):
            yield Node(kind, row["namespace"], row["name"])


def _all_nodes(store: Store) -> list[Node]:
    return [Node(row["type"], row["namespace"], row["name"]) for row in store.rows("all_graph_nodes")]


def _keys(nodes: Iterable[Node], kind: str) -> dict[str, list[str]]:
    chosen = [node for node in nodes if node.type == kind]
    return {"namespaces": [node.namespace for node in chosen], "names": [node.name for node in chosen]}


def _id_json(node: Node) -> Json:
    return {"namespace": node.namespace, "name": node.name}
