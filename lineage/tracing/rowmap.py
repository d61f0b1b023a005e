"""From the rows of a table to the rows of its inputs, and back, through the origins that its run wrote beside it.

A *place* is the table itself or one of its stages. From the rows of a place its links lead to rows of an input, or to
rows of a stage, where the same question is asked again (`lineage.rows.origins` says how links and stages are stored).
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lineage.tracing.forward import Touched, counting, reached
from lineage.tracing.lists import Lists
from lineage.tracing.past import Counted
from lineage.tracing.unpacked import NOWHERE, TABLE, Behind, Find, Unpacked, located
from lineage.versions import FileVersion

# So many rows are asked about by one trace, not by many at once.
_FEW = 64
# Those who asked the past whose questions are in memory at once, some hundred bytes each.
_AT_ONCE = 1_000_000


class Found(NamedTuple):
    """Rows of an input behind rows that were asked about, and which of its columns were behind them: none where only
    that the rows are there was."""

    input: str
    columns: frozenset[str]
    rows: Lists


class _Marks(NamedTuple):
    """Which rows of an input are behind a table, found all at once: only what is said `among` these counts, if any."""

    input: str
    mask: np.ndarray
    among: np.ndarray | None


class RowMap:
    """The origins of one table's rows. `files` are those beside the table by name, `digests` their sha256; `inputs`
    finds the files of an input by its name; `home` is HEADWATER_HOME."""

    def __init__(self, files: Mapping[str, Path], digests: Mapping[str, str], inputs: Find, home: Path) -> None:
        self._held = Unpacked(files, digests, inputs, home)
        self._last: tuple[tuple[str, bytes], Mapping[str, Counted]] | None = None

    @classmethod
    def of(cls, files: Iterable[FileVersion], find: Mapping[str, Path], inputs: Find, home: Path) -> RowMap:
        """The map in `files`, whose bytes `find` has by sha256; IntegrityError where some are gone."""
        return cls(*located(files, find), inputs, home)

    @property
    def unpacked(self) -> Unpacked:
        """What it reads."""
        return self._held

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table."""
        return tuple(self._held.ways["columns"])

    def records(self, rows: np.ndarray) -> np.ndarray:
        """Of a source's table which records of its file these rows are (int64)."""
        (link,) = self._held.ways["links"]
        records: np.ndarray = self._held.array(TABLE, link["columns"][0])[rows].astype(np.int64)
        return records

    def signature(self, columns: Iterable[str], alike: Container[str] = ()) -> Hashable:
        """What decides which rows are behind values of `columns`: equal for columns that the same rows are behind, if
        it does not matter which columns of the inputs in `alike` were."""
        links = self._held.behind(TABLE, columns)
        return frozenset(
            (link.held, link.to, None if link.to in alike else self._held.windows(link.to, link.columns))
            for link in links
        )

    def back(self, rows: np.ndarray, columns: Iterable[str] | None = None) -> list[Found]:
        """The rows of the inputs that the values of `columns` (all, if None) in these rows of the table came from.

        `rows` are int64; what is found are lists in their order, rows of an input perhaps twice in a list.
        """
        wanted = self.columns if columns is None else columns
        return _merged(self._follow(TABLE, np.asarray(rows), wanted), len(rows))

    def forward(self, name: str, rows: np.ndarray) -> np.ndarray:
        """The rows of the table that come from any of these rows of input `name`: sorted, unique, int64."""
        return reached(self._held, {name: [Touched(np.unique(rows))]})

    def reached(self, name: str, count: int, among: np.ndarray | None = None) -> np.ndarray:
        """Which of the `count` rows of input `name` any row of the table comes from, as a mask.

        It holds for the rows `among` (int64, ascending), or for all: to ask about few may take a tenth of the time.
        """
        mask = np.zeros(count, dtype=bool)
        self._mark(TABLE, self.columns, None, _Marks(name, mask, among))
        return mask

    # Backwards

    def _follow(self, place: str, rows: np.ndarray, columns: Iterable[str]) -> Iterator[Found]:
        """What is behind `rows` of a place."""
        for link in self._held.behind(place, columns):
            first = self._held.array(place, link.held[0])[rows]
            kind = self._held.kind(link.to)
            if kind is None:
                there = first != NOWHERE
                yield Found(link.to, link.columns, Lists.of_mask(there, first[there]))
            elif kind == "past":
                yield from self._looked_back(link, first)
            else:
                yield from self._of_members(link, self._members(place, link, rows, first))

    def _of_members(self, link: Behind, members: Lists) -> Iterator[Found]:
        """What is behind lists of a stage's rows."""
        unique, places = np.unique(members.values, return_inverse=True)
        for found in self._follow(link.to, unique, link.columns):
            yield found._replace(rows=Lists(members.offsets, places).through(found.rows))

    def _members(self, place: str, link: Behind, rows: np.ndarray, first: np.ndarray) -> Lists:
        """Which rows of a stage are in the groups or windows of `rows`."""
        if self._held.kind(link.to) == "window":
            last = self._held.array(place, link.held[1])[rows].astype(np.int64)
            there = first != NOWHERE
            return Lists.of_runs(np.where(there, first, 0).astype(np.int64), np.where(there, last + 1, 0))
        ids, offsets = self._held.groups(link.to)
        at = np.searchsorted(ids, first)
        # A group of a frame that was empty has no rows.
        known = at < len(ids)
        known[known] = ids[at[known]] == first[known]
        at[~known] = 0
        return Lists.of_runs(np.where(known, offsets[at], 0), np.where(known, offsets[np.minimum(at + 1, len(ids))], 0))

    def _looked_back(self, link: Behind, asker: np.ndarray) -> Iterator[Found]:
        """The events that counted in aggregates for those who asked."""
        declared = self._held.aggregates(link.to, link.columns)
        there = asker != NOWHERE
        if not declared or not there.any():
            return
        # Aggregates in which the same events count have one answer.
        answers = self._counted(link.to, asker[there], declared)
        for answer in {id(answer): answer for answer in answers.values()}.values():
            columns = frozenset[str]().union(*(declared[name] for name in declared if answers[name] is answer))
            lists = Lists(answer.offsets, answer.ordinals).spread(there)
            if events := self._held.events(link.to):
                yield Found(events, columns, lists)
            else:
                yield from self._of_members(link._replace(columns=columns), lists)

    def _counted(self, stage: str, askers: np.ndarray, names: Iterable[str]) -> Mapping[str, Counted]:
        """The events that counted in these aggregates; for a few askers in all of them, and the last answer is kept: a
        trace asks about one feature after the other."""
        if len(askers) > _FEW:
            return self._held.past(stage).counted(self._held.asked(stage, askers), *names)
        key = (stage, askers.tobytes())
        # Another thread may put its own there meanwhile.
        last = self._last
        if last is None or last[0] != key:
            last = self._last = (key, self._held.past(stage).counted(self._held.asked(stage, askers)))
        return {name: last[1][name] for name in names}

    # All at once

    def _mark(self, place: str, columns: Iterable[str], rows: np.ndarray | None, marks: _Marks) -> None:
        """Mark the rows of the input behind `rows` (all, if None) of a place."""
        for link in self._held.behind(place, columns):
            if marks.input not in self._held.inputs_behind(link):
                continue
            first = self._held.array(place, link.held[0])
            chosen = first if rows is None else first[rows]
            kind = self._held.kind(link.to)
            if kind is None:
                marks.mask[chosen[chosen != NOWHERE]] = True
            elif kind == "past":
                self._mark_past(link, np.unique(chosen[chosen != NOWHERE]), marks)
            else:
                at = np.arange(len(first)) if rows is None else rows
                self._mark(link.to, link.columns, self._touched(place, link, at, chosen), marks)

    def _touched(self, place: str, link: Behind, rows: np.ndarray, first: np.ndarray) -> np.ndarray:
        """The rows of a stage that are in any of the groups or windows of `rows`, each once."""
        if self._held.kind(link.to) == "group":
            ids, places = np.unique(first, return_index=True)
            return self._members(place, link, rows[places], ids).values
        there = first != NOWHERE
        last = self._held.array(place, link.held[1])[rows[there]]
        # How many windows begin less how many have ended, at each row.
        depth = np.zeros(self._held.size(link.to) + 1, np.int64)
        np.add.at(depth, first[there], 1)
        np.subtract.at(depth, last.astype(np.int64) + 1, 1)
        return np.flatnonzero(np.cumsum(depth[:-1]) > 0)

    def _mark_past(self, link: Behind, askers: np.ndarray, marks: _Marks) -> None:
        declared = self._held.aggregates(link.to, link.columns)
        if not declared or not len(askers):
            return
        if marks.among is None:
            counted = self._counted_for_any(link.to, askers, declared)
        else:
            counted = counting(self._held, link, askers, {marks.input: [Touched(marks.among)]})
        if self._held.events(link.to):
            marks.mask[counted] = True
        else:
            columns = frozenset[str]().union(*declared.values())
            self._mark(link.to, columns, counted.astype(np.int64), marks)

    def _counted_for_any(self, stage: str, askers: np.ndarray, names: Iterable[str]) -> np.ndarray:
        """The events that counted for any of those who asked, each once; some of them after the other, so that a large
        table takes no more memory than a part of it."""
        past = self._held.past(stage)
        parts = (askers[begin : begin + _AT_ONCE] for begin in range(0, len(askers), _AT_ONCE))
        return np.unique(np.concatenate([past.touched(self._held.asked(stage, part), *names) for part in parts]))


def _merged(found: Iterable[Found], count: int) -> list[Found]:
    """What was found in several ways as one list for each input and its columns."""
    together: dict[tuple[str, frozenset[str]], list[Lists]] = {}
    for item in found:
        together.setdefault((item.input, item.columns), []).append(item.rows)
    return [Found(name, columns, Lists.joined(lists, count)) for (name, columns), lists in together.items()]
