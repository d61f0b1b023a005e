"""Runs and dataset versions: which run read which version of a dataset, and which wrote it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from lineage.graph.index import Entry, GraphIndex
from lineage.retention import retention_horizon
from lineage.store import Row, Store


class Ran(NamedTuple):
    """A run."""

    run_id: UUID

    @property
    def id(self) -> str:
        """As clients write it: run:UUID."""
        return f"run:{self.run_id}"


class Made(NamedTuple):
    """A version of a dataset; None where nobody said which, and none was there when it was read."""

    dataset: Entry
    version: str | None

    @property
    def id(self) -> str:
        """As clients write it: dataset:NAMESPACE:NAME#VERSION."""
        return self.dataset.node.id if self.version is None else f"{self.dataset.node.id}#{self.version}"


Occurrence = Ran | Made
Flow = tuple[Occurrence, Occurrence]


class Write(NamedTuple):
    """A run wrote a version at a time; `run` is None where only the version was told of."""

    at: datetime
    run: Ran | None
    version: str


class History:
    """Who wrote and who read the versions of one dataset, in the order of time.

    From before the `horizon` runs were pruned: of those only the last that wrote is there for sure.
    """

    def __init__(self, dataset: Entry, horizon: datetime | None = None) -> None:
        self.dataset, self._horizon = dataset, horizon
        self.writes: list[Write] = []
        self.reads: list[tuple[Ran, Made]] = []
        # Where a version was first seen: the place of its facets.
        self.places: dict[str | None, Row] = {}
        self._times: list[datetime] = []

    def add(self, rows: Sequence[Row]) -> None:
        """Take in rows of the query dataset_history, all of the dataset, oldest first."""
        for row in rows:
            if row["is_output"] and row["version"] is not None:
                self.writes.append(Write(row["at"], Ran(row["run_id"]) if row["is_run"] else None, row["version"]))
                self.places.setdefault(row["version"], row)
        self._times = [write.at for write in self.writes]
        for row in rows:
            if not row["is_output"]:
                for version in self._read(row):
                    self.reads.append((Ran(row["run_id"]), Made(self.dataset, version)))
                    self.places.setdefault(version, row)

    def flows(self) -> Iterator[Flow]:
        """What flowed from runs into versions, and from versions into runs."""
        yield from ((write.run, Made(self.dataset, write.version)) for write in self.writes if write.run)
        yield from ((version, run) for run, version in self.reads)

    def writer(self, version: str | None, before: datetime) -> Ran | None:
        """The run that had written a version last by then, else the first that wrote it."""
        known = [write.run for write in self.writes if write.version == version and write.run and write.at <= before]
        return known[-1] if known else self.first_writer(version)

    def first_writer(self, version: str | None) -> Ran | None:
        """The run that wrote a version first, None where none is known."""
        return next((write.run for write in self.writes if write.version == version and write.run), None)

    def newest(self) -> str | None:
        """The version that was written last."""
        return self.writes[-1].version if self.writes else None

    def _read(self, row: Row) -> Sequence[str | None]:
        """The versions a run read: those on record, the one it named, else the newest before it began."""
        if row["own_versions"]:
            versions: Sequence[str | None] = row["own_versions"]
            return versions
        if row["version"] is not None:
            return [row["version"]]
        for place in range(bisect_right(self._times, row["at"]) - 1, -1, -1):
            # What a run writes it did not read.
            if self.writes[place].run != Ran(row["run_id"]):
                return [None if self._is_doubtful(place) else self.writes[place].version]
        return [None]

    def _is_doubtful(self, place: int) -> bool:
        """Whether a later write, from before the horizon as well, may have been pruned."""
        return self._horizon is not None and place + 1 < bisect_left(self._times, self._horizon)


class Occurrences:
    """The histories of datasets, each read from the store once. Use it while the index is held."""

    def __init__(self, store: Store, index: GraphIndex) -> None:
        self._store, self._index, self._horizon = store, index, retention_horizon(store)
        self._known: dict[Entry, History] = {}

    def ask(self, nodes: Sequence[Occurrence]) -> set[Flow]:
        """What flows into and out of these runs and versions."""
        here = set(nodes)
        entries = [node.dataset for node in nodes if isinstance(node, Made)]
        entries += self.touched(node for node in nodes if isinstance(node, Ran))
        found = (flow for history in self.histories(entries) for flow in history.flows())
        return {flow for flow in found if flow[0] in here or flow[1] in here}

    def touched(self, runs: Iterable[Ran]) -> list[Entry]:
        """The datasets that these runs read or wrote."""
        ids = [run.run_id for run in runs]
        rows = self._store.rows("datasets_of_runs", runs=ids) if ids else []
        return [*dict.fromkeys(self._index.of_key(row["dataset"]) for row in rows)]

    def histories(self, entries: Iterable[Entry]) -> list[History]:
        """The history of each of these datasets."""
        wanted = [*dict.fromkeys(entries)]
        if lacking := [entry for entry in wanted if entry not in self._known]:
            rows: dict[Entry, list[Row]] = {entry: [] for entry in lacking}
            for row in self._store.rows("dataset_history", datasets=[key for entry in lacking for key in entry.keys]):
                rows[self._index.of_key(row["dataset"])].append(row)
            for entry in lacking:
                self._known[entry] = History(entry, self._horizon)
                self._known[entry].add(rows[entry])
        return [self._known[entry] for entry in wanted]

    def histories_of(self, versions: Iterable[Made]) -> list[History]:
        """The history of the dataset of each of these versions."""
        wanted = [version.dataset for version in versions]
        self.histories(wanted)
        return [self._known[entry] for entry in wanted]
