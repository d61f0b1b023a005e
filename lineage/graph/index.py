"""The current graph in memory: who reads and writes what, as of the last commit.

Changes carry the transaction that made them; a reader asks for those at or after the oldest transaction that was
still running when it last asked, and so misses none, whatever the order of commits. Where nothing has changed, a
question costs one query.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from sys import intern
from typing import Any, Literal, TypeVar
from uuid import UUID

import orjson

from lineage.graph.nodes import Node, named_in_facet
from lineage.store import Row, Store

T = TypeVar("T")

Direction = Literal["upstream", "downstream", "both"]
Render = Callable[[Store, Sequence["Entry"]], list[bytes]]

_EVERYTHING = "0"
_NONE: frozenset[UUID] = frozenset()
# Bytes of rendered nodes that are kept.
_MOST_RENDERED = 128 * 2**20


class Entry:
    """A node, those that flow into it (`up`), those it flows into (`down`), and its data as JSON where that is known.

    `keys` are those of its rows in the store: several where symlinks say that names are of one dataset.
    """

    # There is one for each dataset and job.
    __slots__ = ("_id_json", "data", "deleted", "down", "keys", "node", "up")

    def __init__(self, node: Node, keys: list[UUID], deleted: frozenset[UUID]) -> None:
        self.node = node
        self.keys = keys
        self.up: list[Entry] = []
        self.down: list[Entry] = []
        self.data: bytes | None = None
        # Which of the keys somebody deleted, and no event has named since.
        self.deleted = deleted
        self._id_json: bytes | None = None

    @property
    def hidden(self) -> bool:
        """Whether it was deleted, under all its names."""
        return len(self.deleted) == len(self.keys)

    @property
    def id_json(self) -> bytes:
        """The node id as JSON."""
        self._id_json = self._id_json or orjson.dumps(self.node.id)
        return self._id_json


class GraphIndex:
    """The graph of one store, for many threads: refresh and read it in one `with` block."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._since: str
        self._listed: list[Entry] | None
        self._names: Any
        self._forget()

    def __enter__(self) -> GraphIndex:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def refresh(self, store: Store) -> None:
        """Take in what was committed since."""
        row = store.row("graph_horizon", since=self._since)
        assert row is not None
        if not row["changed"]:
            return
        if self._since == _EVERYTHING or row["forgotten"] or not self._take_changes(store):
            self._forget()
            self._load(store)
        self._since = row["horizon"]

    def find(self, node: Node) -> Entry | None:
        """The node of this name, or the one that has it as another name."""
        entry = self._entries.get(node.key)
        return None if entry is None or entry.hidden else entry

    def of_key(self, key: UUID) -> Entry:
        """The node that a key of the store is of."""
        return self._entries[key]

    def names(self, make: Callable[[Sequence[Entry]], T]) -> T:
        """What `make` makes of all nodes in order; made anew only when there are others."""
        if self._names is None:
            self._names = make([*self.listed("dataset"), *self.listed("job")])
        found: T = self._names
        return found

    def nodes(self) -> Iterable[Entry]:
        """All nodes, each once."""
        return [entry for entry in dict.fromkeys(self._entries.values()) if not entry.hidden]

    def listed(self, kind: str, namespace: str | None = None) -> list[Entry]:
        """The datasets or jobs, of one namespace or all, by namespace and name."""
        if self._listed is None:
            self._listed = sorted(self.nodes(), key=_name)
        low = Node(kind, namespace or "", "")
        high = Node(kind, f"{namespace}\0", "") if namespace is not None else Node(f"{kind}\0", "", "")
        first, last = (bisect_left(self._listed, edge, key=_name) for edge in (low, high))
        return self._listed[first:last]

    def walk(self, start: Entry, depth: int, limit: int, direction: Direction | None) -> tuple[list[Entry], bool]:
        """The nodes within `depth` edges of `start`, nearest first, at most `limit`; and whether any were left out.

        Without a direction edges are followed both ways at every step, as Marquez does; `both` means all ancestors and
        all descendants.
        """
        if direction == "both":
            (up, less), (down, lesser) = (self.walk(start, depth, limit, way) for way in ("upstream", "downstream"))
            found = [*dict.fromkeys([*up, *down])]
            return found[:limit], less or lesser or len(found) > limit
        seen, frontier, partial = {start: None}, [start], False
        for _ in range(depth):
            near = [*dict.fromkeys(other for entry in frontier for other in _near(entry, direction))]
            fresh = [entry for entry in near if entry not in seen]
            room = limit - len(seen)
            if len(fresh) > room:
                partial, fresh = True, sorted(fresh, key=_name)[:room]
            if not fresh:
                break
            seen.update(dict.fromkeys(fresh))
            frontier = fresh
        return [*seen], partial

    def data(self, store: Store, entries: Sequence[Entry], render: Render) -> list[bytes]:
        """The JSON of each entry's data; `render` makes what is not known."""
        if missing := [entry for entry in entries if entry.data is None]:
            if self._bytes > _MOST_RENDERED:
                self._drop_data()
                missing = [*entries]
            for entry, text in zip(missing, render(store, missing), strict=True):
                entry.data = text
                self._bytes += len(text)
        return [entry.data or b"null" for entry in entries]

    def _forget(self) -> None:
        self._since = _EVERYTHING
        self._entries: dict[UUID, Entry] = {}
        # The names that symlinks give, of those keys that have such.
        self._other_names: dict[UUID, frozenset[UUID]] = {}
        self._listed = self._names = None
        self._bytes = 0

    def _drop_data(self) -> None:
        for entry in self._entries.values():
            entry.data = None
        self._bytes = 0

    def _take_changes(self, store: Store) -> bool:
        """Take in the nodes and edges that changed; False where names have to be merged, or parted, that were not."""
        # Edges first: the nodes that they name are then there.
        edges = store.rows("changed_graph_edges", since=self._since)
        nodes = store.rows("changed_graph_nodes", since=self._since)
        return all(map(self._take_node, nodes)) and all(map(self._take_edge, edges))

    def _take_node(self, row: Row) -> bool:
        key, others = row["node_id"], _other_names(row["node_id"], row["symlinks"])
        entry = self._entries.get(key)
        if entry is None or key not in entry.keys:
            return self._take_new(row, others)
        if self._other_names.get(key, frozenset()) != others:
            return False
        self._undraw([entry])
        if row["hidden"] != (key in entry.deleted):
            entry.deleted ^= {key}
            self._listed = self._names = None
            self._undraw([*entry.up, *entry.down])
        return True

    def _take_new(self, row: Row, others: frozenset[UUID]) -> bool:
        key = row["node_id"]
        if any(name in self._entries for name in (key, *others)):
            return False
        self._listed = self._names = None
        entry = Entry(_node(row), [key], frozenset([key] if row["hidden"] else ()))
        self._entries |= dict.fromkeys((key, *others), entry)
        if others:
            self._other_names[key] = others
        return True

    def _undraw(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._bytes -= len(entry.data or b"")
            entry.data = None

    def _load(self, store: Store) -> None:
        # Edges first, here as well; there are too many of both to hold them as rows.
        ends = [(job, dataset, out) for job, dataset, out in store.stream("current_graph_edges")]
        for key, kind, namespace, name, symlinks, hidden in store.stream("all_graph_nodes"):
            if others := _other_names(key, symlinks):
                self._other_names[key] = others
            node = Node(intern(kind), intern(namespace), name)
            self._entries[key] = Entry(node, [key], frozenset([key]) if hidden else _NONE)
        self._merge_names()
        # Of several names each may have the same edge.
        for pair in dict.fromkeys(self._ends(*edge) for edge in ends):
            _link(*pair)

    def _merge_names(self) -> None:
        for keys in _groups(self._other_names):
            own = {key: self._entries[key] for key in keys if key in self._entries}
            here = sorted(own, key=lambda key: self._rank(key, own[key].node))
            deleted = frozenset(key for key in here if own[key].deleted)
            self._entries |= dict.fromkeys(keys, Entry(own[here[0]].node, here, deleted))

    def _rank(self, key: UUID, node: Node) -> tuple[bool, Node]:
        """Of several names that one is the dataset's own which says what the others are; then the first by name."""
        return key not in self._other_names, node

    def _take_edge(self, row: Row) -> bool:
        """Take in an edge that came, or went; False where it may be that of another name as well."""
        origin, destination = self._ends(row["job"], row["dataset"], row["is_output"])
        known = destination in origin.down
        if row["current"] and not known:
            _link(origin, destination)
        elif known and not row["current"]:
            if len(origin.keys) + len(destination.keys) > 2:
                return False
            origin.down.remove(destination)
            destination.up.remove(origin)
        return True

    def _ends(self, job_key: UUID, dataset_key: UUID, is_output: bool) -> tuple[Entry, Entry]:
        job, dataset = self._entries[job_key], self._entries[dataset_key]
        return (job, dataset) if is_output else (dataset, job)


def _link(origin: Entry, destination: Entry) -> None:
    origin.down.append(destination)
    destination.up.append(origin)


def _near(entry: Entry, direction: Direction | None) -> Iterator[Entry]:
    if direction != "downstream":
        yield from (other for other in entry.up if not other.hidden)
    if direction != "upstream":
        yield from (other for other in entry.down if not other.hidden)


def _name(entry: Entry) -> Node:
    return entry.node


def _node(row: Row) -> Node:
    return Node(row["kind"], row["namespace"], row["name"])


def _other_names(key: UUID, symlinks: object) -> frozenset[UUID]:
    """The keys of the other names that a symlinks facet gives; what is misshapen in it is passed over."""
    if not isinstance(symlinks, list):
        return _NONE
    nodes = [named_in_facet(item) for item in symlinks if isinstance(item, dict)]
    return frozenset(node.key for node in nodes if node) - {key}


def _groups(others: dict[UUID, frozenset[UUID]]) -> Iterable[list[UUID]]:
    """The keys that name one thing, of all keys."""
    leader: dict[UUID, UUID] = {}

    def lead(key: UUID) -> UUID:
        while leader.setdefault(key, key) != key:
            leader[key] = leader[leader[key]]
            key = leader[key]
        return key

    for key, names in others.items():
        for name in names:
            leader[lead(name)] = lead(key)
    groups: dict[UUID, list[UUID]] = {}
    for key in dict.fromkeys([*others, *leader]):
        groups.setdefault(lead(key), []).append(key)
    return groups.values()
