"""From rows of a table's inputs to the rows of the table: the way back (`lineage.tracing.rowmap`) turned round.

A row is touched as a whole, and then all that came of it is, or only in some of its columns, and then only what came of
these is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lineage.tracing.unpacked import NOWHERE, TABLE, Behind, Unpacked


class Touched(NamedTuple):
    """Rows (int64, ascending) of an input or a table that are touched: in these columns, or (None) as a whole."""

    rows: np.ndarray
    columns: frozenset[str] | None = None


# By name of the input, what is touched of it.
Inputs = Mapping[str, Sequence[Touched]]


def reached(held: Unpacked, inputs: Inputs, columns: Iterable[str] | None = None) -> np.ndarray:
    """The rows of a table (sorted, unique, int64) whose values in `columns` (all, if None) came from what is touched.

    Without columns, those that are there because of what is touched.
    """
    return _reached(held, TABLE, held.ways["columns"] if columns is None else columns, inputs)


def touched(held: Unpacked, inputs: Inputs) -> list[Touched]:
    """What is touched of a table, as its readers see it: its rows as a whole, and rows in some columns only."""
    whole = reached(held, inputs, ())
    found = [Touched(whole)] if len(whole) else []
    for columns in _alike(held):
        rows = np.setdiff1d(reached(held, inputs, columns), whole, assume_unique=True)
        if len(rows):
            found.append(Touched(rows, columns))
    return found


def counting(held: Unpacked, link: Behind, askers: np.ndarray, inputs: Inputs) -> np.ndarray:
    """The numbers (uint32) of the events behind which anything touched is, and that counted for any of `askers` (ids,
    ascending)."""
    known = held.askers(link.to)
    rows = None if len(askers) == len(known) else np.isin(known, askers)
    parts = [np.empty(0, np.uint32)]
    for ordinals, names in _events_by_aggregates(held, link, inputs):
        events, numbers = held.some_events(link.to, ordinals)
        counts = held.asking(link.to).counting(events, numbers, held.past(link.to), *names, rows=rows)
        parts.append(numbers[counts])
    return np.concatenate(parts)


def _alike(held: Unpacked) -> list[frozenset[str]]:
    """The columns of a table in groups: those of one came from the same columns of the same rows."""
    groups: dict[tuple[Behind, ...], list[str]] = {}
    for name in held.ways["columns"]:
        groups.setdefault(held.behind(TABLE, (name,)), []).append(name)
    return [frozenset(names) for links, names in groups.items() if links != held.behind(TABLE, ())]


def _reached(held: Unpacked, place: str, columns: Iterable[str], inputs: Inputs) -> np.ndarray:
    """The rows of a place behind which anything touched is: sorted, unique."""
    hit: np.ndarray | None = None
    for link in held.behind(place, columns):
        if held.inputs_behind(link).isdisjoint(inputs):
            continue
        first = held.array(place, link.held[0])
        found = _holding(held, place, link, first, inputs)
        hit = found if hit is None else hit | found
    return np.empty(0, np.int64) if hit is None else np.flatnonzero(hit)


def _holding(held: Unpacked, place: str, link: Behind, first: np.ndarray, inputs: Inputs) -> np.ndarray:
    """Which rows of a place are led to anything touched by a link, whose first numbers are `first`: a mask."""
    kind = held.kind(link.to)
    if kind is None:
        return _isin(first, _touched_rows(inputs[link.to], link.columns).astype(np.uint32))
    if kind == "past":
        return _isin(first, _askers(held, link, inputs))
    members = _reached(held, link.to, link.columns, inputs)
    if kind == "group":
        ids, offsets = held.groups(link.to)
        return _isin(first, ids[np.unique(np.searchsorted(offsets, members, "right") - 1)])
    last = held.array(place, link.held[1])
    found: np.ndarray = np.searchsorted(members, last, "right") > np.searchsorted(members, first, "left")
    found &= first != NOWHERE
    return found


def _isin(numbers: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.isin(numbers, wanted)
    return found


def _touched_rows(found: Iterable[Touched], columns: frozenset[str]) -> np.ndarray:
    """The rows that are touched as a whole or in any of these columns."""
    parts = [rows for rows, own in found if own is None or own & columns]
    return parts[0] if len(parts) == 1 else np.unique(np.concatenate([np.empty(0, np.int64), *parts]))


def _askers(held: Unpacked, link: Behind, inputs: Inputs) -> np.ndarray:
    """The ids of those who looked into the past and saw anything that is touched."""
    askers = held.askers(link.to)
    hit = np.zeros(len(askers), dtype=bool)
    for ordinals, names in _events_by_aggregates(held, link, inputs):
        events, numbers = held.some_events(link.to, ordinals)
        hit[held.asking(link.to).touched(events, numbers, held.past(link.to), *names)] = True
    return np.asarray(askers[hit])


def _events_by_aggregates(held: Unpacked, link: Behind, inputs: Inputs) -> Iterable[tuple[np.ndarray, list[str]]]:
    """The numbers (uint32) of the events that are touched, and the aggregates for which they are these."""
    found: dict[bytes, tuple[np.ndarray, list[str]]] = {}
    columns = held.aggregates(link.to, link.columns)
    events = {behind: _events(held, link, behind, inputs).astype(np.uint32) for behind in set(columns.values())}
    for name, behind in columns.items():
        ordinals = events[behind]
        if len(ordinals):
            found.setdefault(ordinals.tobytes(), (ordinals, []))[1].append(name)
    return found.values()


def _events(held: Unpacked, link: Behind, columns: frozenset[str], inputs: Inputs) -> np.ndarray:
    """The numbers of the events that are touched in these columns."""
    if (name := held.events(link.to)) is None:
        return _reached(held, link.to, columns, inputs)
    return _touched_rows(inputs.get(name, ()), columns)
