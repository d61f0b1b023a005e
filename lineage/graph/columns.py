"""The current column lineage in memory: which columns feed which, as jobs said last.

It is refreshed as `lineage.graph.index` is, and holds only what is current: history does not slow it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from lineage.graph.nodes import named_in_facet
from lineage.store import Row, Store

_EVERYTHING = "0"


class Column(NamedTuple):
    """A column of a dataset, by the dataset's key."""

    dataset: UUID
    name: str


class Feed(NamedTuple):
    """One column flows into another, in the ways that OpenLineage's transformations say."""

    origin: Column
    destination: Column
    transformations: tuple[Mapping[str, Any], ...]

    @property
    def is_direct(self) -> bool:
        """Whether values flow, and do not merely decide (which rows, in which order). What says nothing is direct."""
        return not self.transformations or any(item.get("type") != "INDIRECT" for item in self.transformations)


class ColumnIndex:
    """The column lineage of one store, for many threads: refresh and read it in one `with` block."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._since = _EVERYTHING
        # Dataset -> job -> what it said of the columns that it writes there.
        self._said: dict[UUID, dict[UUID, list[Feed]]] = {}
        self._datasets: dict[UUID, dict[UUID, None]] = {}
        self._into: dict[Column, list[Feed]] = {}
        self._out: dict[Column, list[Feed]] = {}

    def __enter__(self) -> ColumnIndex:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def refresh(self, store: Store) -> None:
        """Take in what was committed since."""
        row = store.row("graph_columns_horizon", since=self._since)
        assert row is not None
        if row["changed"]:
            for changed in store.rows("changed_graph_columns", since=self._since):
                self._take(changed)
            self._since = row["horizon"]

    def into(self, column: Column) -> list[Feed]:
        """What feeds a column."""
        return self._into.get(column, [])

    def out_of(self, column: Column) -> list[Feed]:
        """What a column feeds."""
        return self._out.get(column, [])

    def written(self, dataset: UUID) -> list[Column]:
        """The columns of a dataset that something is known to feed."""
        said = self._said.get(dataset, {})
        return list(dict.fromkeys(feed.destination for feeds in said.values() for feed in feeds))

    def written_by(self, job: UUID) -> list[Column]:
        """The columns that a job writes."""
        feeds = (feed for dataset in self._datasets.get(job, ()) for feed in self._said[dataset][job])
        return list(dict.fromkeys(feed.destination for feed in feeds))

    def _take(self, row: Row) -> None:
        job, dataset = row["job"], row["dataset"]
        said = self._said.setdefault(dataset, {})
        for feed in said.get(job, ()):
            self._into[feed.destination].remove(feed)
            self._out[feed.origin].remove(feed)
        said[job] = list(_feeds(dataset, row["body"]))
        self._datasets.setdefault(job, {})[dataset] = None
        for feed in said[job]:
            self._into.setdefault(feed.destination, []).append(feed)
            self._out.setdefault(feed.origin, []).append(feed)


def _feeds(dataset: UUID, facet: Mapping[str, Any]) -> Iterator[Feed]:
    """The feeds of a columnLineage facet, old form or new; what is misshapen is passed over."""
    fields = facet.get("fields")
    if not isinstance(fields, dict):
        return
    of_all = _listed(facet.get("dataset"))
    for name, field in fields.items():
        if not isinstance(field, dict):
            continue
        merged: dict[Column, list[Mapping[str, Any]]] = {}
        for item in (*_listed(field.get("inputFields")), *of_all):
            if origin := _origin(item):
                merged.setdefault(origin, []).extend(_transformations(item, field))
        for origin, ways in merged.items():
            yield Feed(origin, Column(dataset, name), tuple(ways))


def _origin(item: Mapping[str, Any]) -> Column | None:
    node, field = named_in_facet(item), item.get("field")
    return Column(node.key, field) if node and isinstance(field, str) and field else None


def _transformations(item: Mapping[str, Any], field: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    if "transformations" in item:
        return _listed(item["transformations"])
    # Before version 1-1-0 a field said it of all its inputs.
    if field.get("transformationType"):
        return [{"type": field["transformationType"], "description": field.get("transformationDescription")}]
    return []


def _listed(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
