"""Row ids: the records of raw files behind those who asked, as counts and ranges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from lineage.tracing.ancestry import Identity, Origin
from lineage.tracing.tracer import Behind
from lineage.versions import Version


class Counted(NamedTuple):
    """How many records, and their ranges: first and last, int64 (n, 2)."""

    records: int
    ranges: np.ndarray


@dataclass(frozen=True)
class SourceRows:
    """Records of one raw file, by who asked, and the source that read them; the rows of `behind` are the records'."""

    raw: Version
    behind: Behind

    @property
    def reader(self) -> Origin:
        """The table that the file was read into."""
        return self.behind.origin

    @property
    def dataset(self) -> str:
        """The source, such as `flights/departures`."""
        return self.behind.version.dataset

    def of(self, asker: int) -> np.ndarray:
        """The records of one asker, ascending."""
        return self.behind.of(asker)

    def place(self) -> dict[str, Any]:
        """What identifies the file, as plain JSON values."""
        raw = self.raw
        return {"dataset": self.dataset, "partition": raw.partition, "version": raw.sha256, "file": raw.file.path}

    def counted(self, askers: int) -> list[Counted]:
        """For each asker from 0 to before `askers`: how many records, and their ranges."""
        asker, rows = self.behind.asker, self.behind.rows
        begins = np.ones(len(rows), dtype=bool)
        begins[1:] = (np.diff(rows) != 1) | (np.diff(asker) != 0)
        firsts = np.flatnonzero(begins)
        lasts = np.append(firsts[1:], len(rows))[: len(firsts)] - 1
        runs = np.column_stack((rows[firsts], rows[lasts]))
        numbers = np.arange(askers + 1)
        counts = np.diff(np.searchsorted(asker, numbers)).tolist()
        ends = np.searchsorted(asker[firsts], numbers).tolist()
        return [Counted(count, runs[begin:end]) for count, begin, end in zip(counts, ends, ends[1:], strict=False)]


def source_rows(
    behind: Mapping[Identity, Behind], records: Callable[[Origin, np.ndarray], np.ndarray] = lambda _, rows: rows
) -> list[SourceRows]:
    """The raw files behind what was asked, in the order of names; `records` says which record a source's row is."""
    found = [
        SourceRows(item.origin.inputs[0][1], replace(item, rows=records(item.origin, item.rows)))
        for item in behind.values()
        if item.origin.is_source
    ]
    return sorted(found, key=lambda item: (item.dataset, item.raw.partition))


def row_ids(found: Iterable[SourceRows], askers: int) -> list[list[dict[str, Any]]]:
    """For each asker from 0 to before `askers` the sources behind it: file, count and ranges."""
    entries: list[list[dict[str, Any]]] = [[] for _ in range(askers)]
    for source in found:
        place = source.place()
        for entry, (records, ranges) in zip(entries, source.counted(askers), strict=True):
            if records:
                entry.append({**place, "count": records, "ranges": ranges})
    return entries


def by_feature(
    found: Sequence[SourceRows], counted: Sequence[Sequence[Counted]], numbers: Mapping[str, int]
) -> dict[str, Any]:
    """For each column the records of each source that its value came from, as counts and ranges."""
    asked = {
        number: [
            {"dataset": source.dataset, "partition": source.raw.partition, "count": count, "ranges": ranges}
            for source, (count, ranges) in zip(found, (of_source[number] for of_source in counted), strict=True)
            if count
        ]
        for number in set(numbers.values())
    }
    return {name: asked[number] for name, number in numbers.items()}
