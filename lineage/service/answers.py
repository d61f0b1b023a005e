"""Traces, and where rows went, as the HTTP doors answer them: JSON bytes, for many threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lineage.discover import Project
from lineage.exclusions import ledger
from lineage.plan import Workspace
from lineage.service.pool import StorePool
from lineage.settings import Settings
from lineage.store import Store
from lineage.trace import Traces, to_json
from lineage.where import where

T = TypeVar("T")


@dataclass(frozen=True)
class RecordPage:
    """Which records of a source: its dataset and partition, how many to pass over, and how many at most."""

    source: str
    partition: str
    offset: int
    limit: int


class TraceAnswers:
    """Traces in one project, one at a time, on a connection of their own that the first one opens.

    What was looked up is kept from one to the next. Errors are those of `Traces`, DatabaseError where others keep it
    busy.
    """

    def __init__(self, settings: Settings, project: Project | None = None) -> None:
        self._settings, self._project = settings, project or Project(())
        self._pool = StorePool(settings, size=1)
        self._traces: Traces | None = None

    def trace(self, name: str, *, feature: str | None = None) -> bytes:
        """The trace of a prediction, or of a row, or of one feature of it; see `Traces.of`."""
        return self._use(lambda traces: to_json(traces.of(name, feature=feature)))

    def records(self, name: str, page: RecordPage, *, feature: str | None = None) -> bytes:
        """A page of records; see `Traces.records`."""
        source = (page.source, page.partition)
        return self._use(lambda traces: to_json(traces.records(name, source, page.offset, page.limit, feature=feature)))

    def rows(self, names: Sequence[str]) -> bytes:
        """`{"traces": [...]}`: the row ids behind each of these predictions, in their order; see `Traces.rows`."""

        def work(traces: Traces) -> bytes:
            entries = [b""] * len(names)
            # As bytes, for thousands of predictions have tens of millions of ranges.
            for place, entry in traces.rows(names):
                entries[place] = to_json(entry)
            return b'{"traces":[' + b",".join(entries) + b"]}"

        return self._use(work)

    def where(self, name: str, limit: int, offset: int) -> bytes:
        """What a row reached, with a page of predictions; see `lineage.where.where`."""
        return self._use(lambda traces: to_json(where(traces.tracer, name, limit=limit, offset=offset)))

    def exclusions(self, name: str) -> bytes:
        """What became of the rows that went into a table; see `lineage.exclusions.ledger`."""
        return self._use(lambda traces: to_json(ledger(traces.tracer, name)))

    def close(self) -> None:
        """Close the connection, once nobody asks any more."""
        self._pool.close()

    def _use(self, work: Callable[[Traces], T]) -> T:
        return self._pool.use(lambda store: work(self._of(store)))

    def _of(self, store: Store) -> Traces:
        if self._traces is None or self._traces.space.store is not store:
            self._traces = Traces(Workspace(self._settings, self._project, store))
        return self._traces
