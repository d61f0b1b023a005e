"""Which events counted in an aggregate over the past, and in whose: the row lineage of `history`, inverted lazily.

No list is stored. For each tuple of keys and each time by which events are known there is a timeline (see
`lineage.tracing.timeline`), written when it is first asked for; what counted in a row lies between two binary searches.
Rows and events are compared exactly as `lineage.history` compares them.

`Past` answers for rows: which events? `Asked` answers for events: in which rows? Both speak of ordinals, the
positions of events and of rows in the frames that `with_history` was given, and answer for many at once. Opening
one maps its files and reads none of them whole; it may be kept open and shared by threads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import polars as pl

from lineage import operands
from lineage.errors import NotFoundError
from lineage.operands import Operands, Unit
from lineage.spec import History
from lineage.tracing.dictionary import Array, comparable
from lineage.tracing.lists import Lists
from lineage.tracing.timeline import Timeline, search
from lineage.tracing.timelines import Series, Timelines

_CALL, _ROWS = "call.json", "rows.arrow"
_NEVER = np.iinfo(np.int64).max
_MOST = np.iinfo(np.uint32).max
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Counted:
    """For each of n that were asked about the ordinals (uint32, ascending) that belong to it: a CSR list.

    Those of the i-th are `self[i]`, `ordinals[offsets[i]:offsets[i + 1]]`; `offsets` is int64 of length n + 1.
    """

    offsets: Array
    ordinals: Array

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, place: int) -> Array:
        return self.ordinals[self.offsets[place] : self.offsets[place + 1]]


class Window(NamedTuple):
    """All that decides which events count: aggregates that agree in it have one answer."""

    events: Series
    width: int
    is_last: bool


class _Columns(NamedTuple):
    """Keys, made comparable, and times as instants, by their names."""

    keys: Mapping[str, pl.Expr]
    times: Mapping[str, pl.Expr]


@dataclass(frozen=True)
class _Call:
    """One call of `with_history`: what it asked for, and of what types the rows are that asked."""

    rows: pl.Schema
    at: str
    unit: Unit
    aggregates: Mapping[str, History]

    @classmethod
    def of(cls, rows: pl.Schema, at: str, events: pl.Schema, aggregates: Mapping[str, History]) -> _Call:
        unit = Operands.of(rows, at, events, aggregates).unit
        keys = (key for item in aggregates.values() for key in item.keys)
        return cls(pl.Schema({name: rows[name] for name in (*keys, at)}), at, unit, aggregates)

    @classmethod
    def read(cls, folder: Path) -> _Call:
        said = json.loads((folder / _CALL).read_bytes())
        items = {name: History(**{**item, "keys": tuple(item["keys"])}) for name, item in said["aggregates"].items()}
        return cls(pl.Schema(pl.read_ipc_schema(folder / _ROWS)), said["at"], said["unit"], items)

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(schema=self.rows).write_ipc(folder / _ROWS)
        items = {name: asdict(item) for name, item in self.aggregates.items()}
        (folder / _CALL).write_text(json.dumps({"at": self.at, "unit": self.unit, "aggregates": items}))

    def of_rows(self) -> _Columns:
        """What rows are looked up by."""
        keys = {key: comparable(pl.col(key), key, self.rows[key]) for key in self._keys}
        return _Columns(keys, {self.at: operands.instant(self.at, self.rows[self.at], self.unit)})

    def of_events(self, events: pl.Schema) -> _Columns:
        """What events with these columns are looked up by, as they are compared with rows."""
        compared = Operands(self.rows, events, self.unit)
        keys = {key: comparable(compared.key(key), key, self.rows[key]) for key in self._keys}
        return _Columns(keys, {item.known_at: compared.known_at(item) for item in self.aggregates.values()})

    def moments_of_rows(self, index: Timelines, rows: pl.DataFrame) -> _Moments:
        return _Moments(index, rows, self.of_rows())

    def moments_of_events(self, index: Timelines, events: pl.DataFrame) -> _Moments:
        return _Moments(index, events, self.of_events(events.schema))

    @property
    def _keys(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(key for item in self.aggregates.values() for key in item.keys))

    def windows(self, names: tuple[str, ...]) -> dict[str, Window]:
        """Those of the aggregates of these names; of all, if none is named."""
        if unknown := [name for name in names if name not in self.aggregates]:
            raise NotFoundError(f"{unknown[0]}: no such aggregate; there are {', '.join(self.aggregates)}.")
        return {name: self._window(self.aggregates[name]) for name in names or self.aggregates}

    def _window(self, item: History) -> Window:
        width = item.span // timedelta(microseconds=1) * (1_000 if self.unit == "ns" else 1)
        return Window(Series(item.keys, item.known_at, item.value), width, item.agg == "last")


class _Moments:
    """Rows or events that are asked about, as an index finds their keys."""

    def __init__(self, index: Timelines, frame: pl.DataFrame, columns: _Columns) -> None:
        self._index, self._count = index, len(frame)
        # In one go, for each trip to Polars takes longer than a search.
        known = {f"known {time}": when.is_not_null() for time, when in columns.times.items()}
        instants = {f"at {time}": when.to_physical().fill_null(0) for time, when in columns.times.items()}
        keys = {f"key {key}": value for key, value in columns.keys.items()}
        self._columns = frame.select(**known, **instants, **keys)
        self._codes: dict[str, Array] = {}
        self._runs: dict[tuple[Series, str], tuple[Array, Array]] = {}

    def instants(self, time: str) -> Array:
        """The instants (int64), 0 where there is none."""
        return self._columns[f"at {time}"].to_numpy()

    def runs(self, series: Series, time: str) -> tuple[Array, Array]:
        """Where the runs of their keys begin and end; both 0 for those without keys or `time`, or of unknown keys."""
        if (series, time) not in self._runs:
            begins, ends = self._index.timeline(series).runs([self._code(key) for key in series.keys], self._count)
            known = self._columns[f"known {time}"].to_numpy()
            self._runs[series, time] = begins * known, ends * known
        return self._runs[series, time]

    def _code(self, key: str) -> Array:
        if key not in self._codes:
            self._codes[key] = self._index.codes(key, self._columns[f"key {key}"])
        return self._codes[key]


class Past:
    """The events of one call of `with_history`, by keys and by when they became known."""

    def __init__(self, folder: Path) -> None:
        self._index, self._call = Timelines(folder), _Call.read(folder)

    @classmethod
    def open(cls, folder: Path) -> Past:
        """The index in `folder`; NotFoundError if there is none, or of another format."""
        return cls(folder)

    @classmethod
    def build(
        cls, events: pl.LazyFrame, *, rows: pl.Schema, at: str, aggregates: Mapping[str, History], folder: Path
    ) -> None:
        """Write an index of `events` into an empty `folder`, for rows whose keys and time `at` have types of `rows`.

        It becomes plain files, a pure function of what is given. The events are read column by column: they should be
        files, or a frame in memory. DeclarationError where a key is of a nested type, which no index can hold.
        """
        known = events.collect_schema()
        call = _Call.of(rows, at, known, aggregates)
        keys, times = call.of_events(known)
        series = [window.events for window in call.windows(()).values()]
        call.write(folder)
        Timelines.build(operands.without_nan(events), keys=keys, times=times, series=series, folder=folder)

    def counted(self, rows: pl.DataFrame, *names: str) -> dict[str, Counted]:
        """By aggregate (all, if none is named) the ordinals of the events that counted in each of `rows`.

        `rows` have the keys and the time of rows that asked, in the types they had then. Of `last` it is the one event
        that was found. Aggregates in which the same events count share one answer. NotFoundError for an unknown name.
        """
        asked = self._asked(rows)
        return _answers(self._windows(names), lambda window: self._counted(window, asked))

    def outdated(self, window: Window, events: pl.DataFrame, ordinals: Array) -> Array:
        """The instant (int64) from which on each of `events` is no longer the latest of its keys that has a value.

        That is when the next was known: at once, where one of the same instant comes later in their order. For the
        latest of all it is the greatest number. `events` have keys and `known_at`, and `ordinals` are theirs.
        """
        series = self._index.settled(window.events)
        moments = self._call.moments_of_events(self._index, events)
        (begins, ends), known = moments.runs(series, series.time), moments.instants(series.time)
        timeline, kept = self._index.timeline(series), self._index.kept(series)
        first = timeline.search(begins, ends, known, "left")
        after = timeline.search(first, ends, known, "right")
        following = search(timeline.ordinals, first, after, ordinals, "right")
        if kept is not None:
            following = np.append(kept, _MOST)[np.searchsorted(kept, following.astype(kept.dtype))]
        there, until = following < ends, np.full(len(events), _NEVER)
        until[there] = timeline.instants[following[there]]
        return until

    def _asked(self, rows: pl.DataFrame) -> _Moments:
        for name, kind in self._call.rows.items():
            if (found := rows.schema.get(name)) != kind:
                raise ValueError(f"{name!r} was {kind} in the rows that asked and is {found or 'missing'} in these")
        return self._call.moments_of_rows(self._index, rows)

    def _windows(self, names: tuple[str, ...]) -> dict[str, Window]:
        windows = self._call.windows(names)
        return {name: window._replace(events=self._index.settled(window.events)) for name, window in windows.items()}

    def _places(self, window: Window, asked: _Moments) -> tuple[Array, Array]:
        """From where and to where the events of each row stand in the timeline, or among those that have a value."""
        timeline, kept = self._index.timeline(window.events), self._index.kept(window.events)
        (begins, ends), at = asked.runs(window.events, self._call.at), asked.instants(self._call.at)
        last = timeline.search(begins, ends, at, "left")
        first = timeline.search(begins, last, at - window.width, "left")
        if kept is not None:
            first, last = (np.searchsorted(kept, places.astype(kept.dtype)) for places in (first, last))
        return (np.maximum(first, last - 1) if window.is_last else first), last

    def _counted(self, window: Window, asked: _Moments) -> Counted:
        ordinals, kept = self._index.timeline(window.events).ordinals, self._index.kept(window.events)
        return _gathered(ordinals, kept, *self._places(window, asked))

    def touched(self, rows: pl.DataFrame, *names: str) -> Array:
        """The ordinals (uint32, ascending) of the events that counted in any of `rows`, in any of the aggregates."""
        asked = self._asked(rows)
        parts = [self._touched(window, asked) for window in _widest(self._windows(names).values())]
        seen = np.zeros(max((int(part.max()) + 1 for part in parts if len(part)), default=0), bool)
        for part in parts:
            seen[part] = True
        return np.flatnonzero(seen).astype(np.uint32)

    def _touched(self, window: Window, asked: _Moments) -> Array:
        ordinals, kept = self._index.timeline(window.events).ordinals, self._index.kept(window.events)
        first, last = self._places(window, asked)
        # How many windows begin less how many have ended, at each place.
        count = len(ordinals) if kept is None else len(kept)
        depth = np.bincount(first, minlength=count + 1) - np.bincount(last, minlength=count + 1)
        places = np.flatnonzero(np.cumsum(depth[:-1]) > 0)
        return ordinals[places if kept is None else kept[places]]


class Asked:
    """The rows of one call of `with_history`, by keys and by when they asked."""

    def __init__(self, folder: Path) -> None:
        self._index, self._call = Timelines(folder), _Call.read(folder)

    @classmethod
    def open(cls, folder: Path) -> Asked:
        """The index in `folder`; NotFoundError if there is none, or of another format."""
        return cls(folder)

    @classmethod
    def build(
        cls, rows: pl.LazyFrame, *, events: pl.Schema, at: str, aggregates: Mapping[str, History], folder: Path
    ) -> None:
        """Write an index of `rows` into an empty `folder`, for `events` of these types; otherwise like `Past.build`."""
        call = _Call.of(rows.collect_schema(), at, events, aggregates)
        keys, times = call.of_rows()
        series = [Series(window.events.keys, at) for window in call.windows(()).values()]
        call.write(folder)
        Timelines.build(operands.without_nan(rows), keys=keys, times=times, series=series, folder=folder)

    def asking(self, events: pl.DataFrame, ordinals: Array, past: Past, *names: str) -> dict[str, Counted]:
        """By aggregate (all, if none is named) the ordinals of the rows in which each of `events` counted.

        `events` have their keys, `known_at` and values; `ordinals` are their own in `past`, which is of the same call
        and knows when another event took the place of a `last`.
        """
        windows = self._call.windows(names)
        found = self._found(events, ordinals, past, dict.fromkeys(windows.values()))
        return _answers(windows, lambda window: _gathered(self._timeline(window).ordinals, None, *found[window]))

    def touched(self, events: pl.DataFrame, ordinals: Array, past: Past, *names: str) -> Array:
        """The ordinals (uint32) of the rows in which any of `events` counted, in any of the aggregates, perhaps twice;
        what is given is as in `asking`."""
        found = self._found(events, ordinals, past, _widest(self._call.windows(names).values()))
        parts = [self._timeline(window).ordinals[_together(*places)] for window, places in found.items()]
        return np.concatenate([np.empty(0, np.uint32), *parts])

    def counting(
        self, events: pl.DataFrame, ordinals: Array, past: Past, *names: str, rows: Array | None = None
    ) -> Array:
        """Which of `events` counted in any row, in any of the aggregates: a mask; what is given is as in `asking`.

        `rows`, a mask by ordinal, says which rows are looked at, if not all are.
        """
        counts = np.zeros(len(events), bool)
        before: dict[int, Array] = {}
        found = self._found(events, ordinals, past, _widest(self._call.windows(names).values()))
        for window, (first, last) in found.items():
            if rows is None:
                counts |= first < last
                continue
            timeline = self._timeline(window)
            if id(timeline) not in before:
                # How many of the rows stand before each place.
                before[id(timeline)] = np.concatenate(([0], np.cumsum(rows[timeline.ordinals])))
            counts |= before[id(timeline)][first] < before[id(timeline)][last]
        return counts

    def _found(
        self, events: pl.DataFrame, ordinals: Array, past: Past, windows: Iterable[Window]
    ) -> dict[Window, tuple[Array, Array]]:
        """By window from where and to where the rows stand in its timeline in which each of `events` counted."""
        numbers = operands.without_nan(events.lazy()).collect()
        moments = self._call.moments_of_events(self._index, numbers)
        found = {}
        for window in windows:
            first, last = self._places(window, moments)
            if window.is_last:
                until = past.outdated(window, numbers, ordinals)
                last = np.minimum(last, self._timeline(window).search(first, last, until, "right"))
            if window.events.value is not None:
                last = np.where(numbers[window.events.value].is_not_null().to_numpy(), last, first)
            found[window] = (first, last)
        return found

    def _timeline(self, window: Window) -> Timeline:
        return self._index.timeline(Series(window.events.keys, self._call.at))

    def _places(self, window: Window, known: _Moments) -> tuple[Array, Array]:
        """From where and to where the rows stand in the timeline in whose windows each event lies."""
        timeline, since = self._timeline(window), known.instants(window.events.time)
        begins, ends = known.runs(Series(window.events.keys, self._call.at), window.events.time)
        until = np.where(since > _NEVER - window.width, _NEVER, since + window.width)
        first = timeline.search(begins, ends, since, "right")
        return first, timeline.search(first, ends, until, "right")


def _widest(windows: Iterable[Window]) -> list[Window]:
    """Of these windows those that hold all that the others do: the widest of each keys, without the last event only."""
    unique = list(dict.fromkeys(windows))
    return [one for one in unique if not any(_holds(other, one) for other in unique if other != one)]


def _holds(wide: Window, window: Window) -> bool:
    """Whether whatever counts in `window` counts in `wide` as well."""
    of_same = wide.events in (window.events, window.events._replace(value=None))
    return of_same and not wide.is_last and wide.width >= window.width


def _answers(windows: Mapping[str, Window], find: Callable[[Window], _Found]) -> dict[str, _Found]:
    """What is found for each, once for all that are equal."""
    found = {window: find(window) for window in dict.fromkeys(windows.values())}
    return {name: found[window] for name, window in windows.items()}


def _together(first: Array, last: Array) -> Array:
    """All places from any `first` to before its `last`, each once, ascending."""
    there = first < last
    order = np.argsort(first[there])
    first, last = first[there][order], np.maximum.accumulate(last[there][order])
    # What begins behind all that began before it begins a run of its own.
    begins = np.flatnonzero(np.append(True, first[1:] > last[:-1])[: len(first)])
    runs = Lists.of_runs(first[begins], last[np.append(begins[1:], len(first))[: len(begins)] - 1])
    return runs.values


def _gathered(ordinals: Array, kept: Array | None, first: Array, last: Array) -> Counted:
    """The ordinals from each `first` to before each `last`, which are places among those kept, if not all are."""
    offsets = np.concatenate(([0], np.cumsum(last - first)))
    found = np.empty(offsets[-1], np.uint32)
    for (begin, end), low, high in zip(pairwise(offsets.tolist()), first.tolist(), last.tolist(), strict=True):
        part = found[begin:end]
        part[:] = ordinals[low:high] if kept is None else ordinals[kept[low:high]]
        part.sort()
    return Counted(offsets, found)
