"""The current column lineage: which columns feed which, as jobs said last.

It is read dataset by dataset where questions lead, and stays in memory until it changes. Only what is current is read:
history does not slow it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from lineage.graph.nodes import named_in_facet
from lineage.store import Store

_EVERYTHING = "0"
# Of two inputs a column they take 150 MB.
_MOST_FEEDS = 200_000


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
    """What was asked of one store's column lineage, for many threads: refresh, load and read in one `with` block."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._since = _EVERYTHING
        # How many feeds are held.
        self._count = 0
        self._forget()

    def __enter__(self) -> ColumnIndex:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def refresh(self, store: Store) -> None:
        """Forget what has changed since, and everything where that has become much."""
        row = store.row("graph_columns_horizon", since=self._since)
        assert row is not None
        if self._count > _MOST_FEEDS:
            self._forget()
        if row["changed"]:
            for changed in store.rows("changed_graph_columns", since=self._since) if self._into else ():
                self._into.pop(changed["dataset"], None)
            # Anything may feed a new column.
            self._out.clear()
            self._count = sum(len(feeds) for names in self._into.values() for feeds in names.values())
        self._since = row["horizon"]

    def load(self, store: Store, datasets: Iterable[UUID]) -> None:
        """Read what feeds the columns of these datasets, where that is not known."""
        if lacking := {key for key in datasets if key not in self._into}:
            feeds: dict[UUID, list[Feed]] = {key: [] for key in lacking}
            for row in store.rows("columns_into", datasets=[*lacking]):
                feeds[row["dataset"]] += _feeds(row["dataset"], row["body"])
            for key, found in feeds.items():
                self._into[key] = _by_name((feed.destination.name, feed) for feed in found)
                self._count += len(found)

    def load_readers(self, store: Store, datasets: Iterable[UUID]) -> None:
        """Read what the columns of these datasets feed, where that is not known."""
        if lacking := {key for key in datasets if key not in self._out}:
            rows = store.rows("columns_out_of", datasets=[*lacking])
            readers = {row["dataset"] for row in rows}
            self.load(store, readers)
            found: dict[UUID, list[Feed]] = {key: [] for key in lacking}
            for feed in (feed for key in readers for feeds in self._into[key].values() for feed in feeds):
                if feed.origin.dataset in found:
                    found[feed.origin.dataset].append(feed)
            for key, feeds in found.items():
                self._out[key] = _by_name((feed.origin.name, feed) for feed in feeds)
                self._count += len(feeds)

    def into(self, column: Column) -> Sequence[Feed]:
        """What feeds a column of a dataset that is loaded."""
        return self._into[column.dataset].get(column.name, ())

    def out_of(self, column: Column) -> Sequence[Feed]:
        """What a column feeds, of a dataset whose readers are loaded."""
        return self._out[column.dataset].get(column.name, ())

    def written(self, dataset: UUID) -> list[Column]:
        """The columns of a dataset that something is known to feed; the dataset is loaded."""
        return [Column(dataset, name) for name in self._into[dataset]]

    def _forget(self) -> None:
        # Dataset -> column -> what feeds it, and what it feeds.
        self._into: dict[UUID, dict[str, list[Feed]]] = {}
        self._out: dict[UUID, dict[str, list[Feed]]] = {}
        self._count = 0


def columns_written_by(store: Store, job: UUID) -> list[Column]:
    """The columns that a job writes."""
    rows = store.rows("columns_of_job", job=job)
    return list(dict.fromkeys(feed.destination for row in rows for feed in _feeds(row["dataset"], row["body"])))


def _by_name(feeds: Iterable[tuple[str, Feed]]) -> dict[str, list[Feed]]:
    found: dict[str, list[Feed]] = {}
    for name, feed in feeds:
        found.setdefault(name, []).append(feed)
    return found


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
