"""Reading column lineage around a column, a dataset or a job, in Marquez's envelope."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from lineage.errors import NotFoundError
from lineage.graph.columns import Column, ColumnIndex, Feed, columns_written_by
from lineage.graph.index import Entry, GraphIndex
from lineage.graph.nodes import Node, parse_node_id
from lineage.service.graph import find_node
from lineage.service.marquez import Json
from lineage.store import Store

_FIELD = "datasetField:"


@dataclass(frozen=True)
class Asked:
    """A question: what it is about (`datasetField:`, `dataset:` or `job:` node id), how far, and which feeds count."""

    node_id: str
    depth: int
    downstream: bool
    indirect: bool
    limit: int

    def counts(self, feed: Feed) -> bool:
        """Whether a feed is asked about."""
        return self.indirect or feed.is_direct


def candidates(node_id: str) -> tuple[tuple[Node, str | None], ...]:
    """What a node id may mean: nodes, and of a column its name; nothing if it is none."""
    if not node_id.startswith(_FIELD):
        return tuple((node, None) for node in parse_node_id(node_id))
    rest, _, field = node_id.removeprefix(_FIELD).rpartition(":")
    field = field.partition("#")[0]
    return tuple((node, field) for node in parse_node_id(f"dataset:{rest}") if field)


def read_column_lineage(store: Store, index: GraphIndex, columns: ColumnIndex, asked: Asked) -> Json:
    """The columns that feed what is asked about, and with `downstream` those that it feeds.

    NotFoundError where there is no such node, or nothing is known of such a column.
    """
    with index, columns:
        columns.refresh(store)
        # Afterwards: the datasets that columns name are then there.
        index.refresh(store)
        flows = _Flows(store, index, columns, asked)
        found, is_partial = _walk(flows, _starts(flows, candidates(asked.node_id)), asked)
        drawn = _Drawn(flows, found)
        return {"graph": [drawn.node(column) for column in found], "isPartial": is_partial}


class _Flows:
    """The feeds that are asked about; of a dataset with several names all are one, by its own name's key."""

    def __init__(self, store: Store, index: GraphIndex, columns: ColumnIndex, asked: Asked) -> None:
        self.store, self.index, self._columns, self._asked = store, index, columns, asked

    def load(self, columns: Iterable[Column]) -> None:
        """Read what feeds these columns."""
        self._columns.load(self.store, self._keys(columns))

    def load_readers(self, columns: Iterable[Column]) -> None:
        """Read what these columns feed."""
        self._columns.load_readers(self.store, self._keys(columns))

    def into(self, column: Column) -> list[Feed]:
        """What feeds a column that is loaded."""
        return self._all(column, self._columns.into)

    def out_of(self, column: Column) -> list[Feed]:
        """What a column feeds whose readers are loaded."""
        return self._all(column, self._columns.out_of)

    def written(self, entry: Entry) -> list[Column]:
        """The columns of a dataset that something feeds."""
        self._columns.load(self.store, entry.keys)
        return [*dict.fromkeys(self.own(column) for key in entry.keys for column in self._columns.written(key))]

    def own(self, column: Column) -> Column:
        """The column by its dataset's own name."""
        own = self.index.of_key(column.dataset).keys[0]
        return column if own is column.dataset else Column(own, column.name)

    def _keys(self, columns: Iterable[Column]) -> list[UUID]:
        return [key for dataset in {column.dataset for column in columns} for key in self.index.of_key(dataset).keys]

    def _all(self, column: Column, find: Callable[[Column], Sequence[Feed]]) -> list[Feed]:
        keys = self.index.of_key(column.dataset).keys
        feeds = (feed for key in keys for feed in find(Column(key, column.name)) if self._asked.counts(feed))
        return [Feed(self.own(feed.origin), self.own(feed.destination), feed.transformations) for feed in feeds]


def _starts(flows: _Flows, meant: Sequence[tuple[Node, str | None]]) -> list[Column]:
    entry = find_node(flows.index, [node for node, _ in meant])
    field = next((name for node, name in meant if flows.index.find(node) is entry), None)
    if entry.node.kind == "job":
        return [*dict.fromkeys(map(flows.own, columns_written_by(flows.store, entry.keys[0])))]
    written = flows.written(entry)
    if field is None:
        return written
    start = Column(entry.keys[0], field)
    flows.load_readers([start])
    if not (flows.into(start) or flows.out_of(start)):
        near = tuple(difflib.get_close_matches(field, [column.name for column in written], n=3))
        hint = f"; the nearest that is known is {near[0]!r}" if near else ""
        raise NotFoundError(f"No column lineage is known of {field!r} of {entry.node.name!r}{hint}.", near)
    return [start]


def _walk(flows: _Flows, starts: Sequence[Column], asked: Asked) -> tuple[list[Column], bool]:
    found = dict.fromkeys(starts[: asked.limit])
    is_partial = len(starts) > asked.limit
    ways: list[Callable[[Sequence[Column]], Iterable[Column]]] = [lambda columns: _origins(flows, columns)]
    if asked.downstream:
        ways.append(lambda columns: _destinations(flows, columns))
    for near in ways:
        frontier, seen = [*starts], set(starts)
        for _ in range(asked.depth):
            frontier = [column for column in dict.fromkeys(near(frontier)) if column not in seen]
            fresh = [column for column in frontier if column not in found]
            room = asked.limit - len(found)
            is_partial = is_partial or len(fresh) > room
            found.update(dict.fromkeys(fresh[:room]))
            seen.update(frontier)
            if not frontier or is_partial:
                break
    return [*found], is_partial


def _origins(flows: _Flows, columns: Sequence[Column]) -> Iterator[Column]:
    flows.load(columns)
    return (feed.origin for column in columns for feed in flows.into(column))


def _destinations(flows: _Flows, columns: Sequence[Column]) -> Iterator[Column]:
    flows.load_readers(columns)
    return (feed.destination for column in columns for feed in flows.out_of(column))


class _Drawn:
    """Columns as JSON: each with its type, what feeds it, and its edges to the others."""

    def __init__(self, flows: _Flows, found: Sequence[Column]) -> None:
        flows.load(found)
        self._index = flows.index
        self._feeds = {column: flows.into(column) for column in found}
        self._out: dict[Column, list[Feed]] = {column: [] for column in found}
        for feed in (feed for feeds in self._feeds.values() for feed in feeds):
            if feed.origin in self._out:
                self._out[feed.origin].append(feed)
        rows = flows.store.rows("graph_fields", ids=list({column.dataset for column in found}))
        self._types: dict[UUID, dict[str, Any]] = {row["node_id"]: _types(row["fields"]) for row in rows}

    def node(self, column: Column) -> Json:
        """A column as a node of the graph."""
        feeds = self._feeds[column]
        _, namespace, dataset = self._named(column)
        data = {
            "namespace": namespace,
            "dataset": dataset,
            "datasetVersion": None,
            "field": column.name,
            "fieldType": self._types.get(column.dataset, {}).get(column.name),
            **_transformation(feeds),
            "inputFields": [self._input(feed) for feed in feeds],
        }
        into = [self._edge(feed) for feed in feeds if feed.origin in self._feeds]
        out = [self._edge(feed) for feed in self._out[column]]
        return {"id": self._id(column), "type": "DATASET_FIELD", "data": data, "inEdges": into, "outEdges": out}

    def _named(self, column: Column) -> Node:
        return self._index.of_key(column.dataset).node

    def _id(self, column: Column) -> str:
        _, namespace, name = self._named(column)
        return f"{_FIELD}{namespace}:{name}:{column.name}"

    def _edge(self, feed: Feed) -> Json:
        return {"origin": self._id(feed.origin), "destination": self._id(feed.destination)}

    def _input(self, feed: Feed) -> Json:
        _, namespace, dataset = self._named(feed.origin)
        said = {"namespace": namespace, "dataset": dataset, "field": feed.origin.name}
        return {**said, **_transformation([feed]), "transformations": list(feed.transformations)}


def _transformation(feeds: Iterable[Feed]) -> Json:
    """The first that says what it does, for clients that know one transformation a column."""
    said = [way for feed in feeds for way in feed.transformations]
    direct = next((way for way in said if way.get("type") != "INDIRECT"), said[0] if said else {})
    kind = direct.get("subtype") or direct.get("type")
    return {"transformationDescription": direct.get("description"), "transformationType": kind}


def _types(fields: Any) -> dict[str, Any]:
    listed = fields if isinstance(fields, list) else []
    return {item["name"]: item.get("type") for item in listed if isinstance(item, dict) and "name" in item}
