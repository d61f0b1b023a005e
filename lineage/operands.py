"""Whether rows and events fit what history declares of them: looked at before anything is computed.

Differences that change nothing (units of time, zones, widths of integers) are none; the rest is refused in a
sentence with the aggregate, the columns, their types and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

import polars as pl

from lineage.errors import DeclarationError
from lineage.spec import History

PRIVATE = "__history_"

_ADDED = ("sum", "mean", "share")
_COMPARED = ("min", "max")


def check(rows: pl.Schema, at: str, events: pl.Schema, aggregates: Mapping[str, History]) -> None:
    """DeclarationError for the first of `aggregates` that cannot be computed of these columns."""
    _require(f"at={at!r}", at, "rows", rows)
    for name in (*rows, *aggregates):
        if name.startswith(PRIVATE):
            raise DeclarationError(f"{name}: names that begin with {PRIVATE} are used inside; rename it.")
    for name, item in aggregates.items():
        if name in rows:
            raise DeclarationError(f"{name}: rows have a column of this name already; rename one of them.")
        _check_present(name, item, rows, events)
        for problem in _problems(item, at, rows, events):
            raise DeclarationError(f"{name}: {problem}")


def _check_present(name: str, item: History, rows: pl.Schema, events: pl.Schema) -> None:
    for key in item.keys:
        _require(name, key, "rows", rows)
    for column in (*item.keys, item.known_at, *([] if item.value is None else [item.value])):
        _require(name, column, "events", events)


def _require(name: str, column: str, frame: str, schema: pl.Schema) -> None:
    if column not in schema:
        raise DeclarationError(f"{name}: {frame} have no column {column!r}; they have {', '.join(schema) or 'none'}.")


def _problems(item: History, at: str, rows: pl.Schema, events: pl.Schema) -> Iterator[str]:
    yield from _of_times(item, at, rows[at], events[item.known_at])
    for key in item.keys:
        yield from _of_keys(key, rows[key], events[key])
    if item.value is not None:
        yield from _of_value(item, item.value, events[item.value])


def _of_times(item: History, at: str, asked: pl.DataType, known: pl.DataType) -> Iterator[str]:
    both = f"at {at!r} is {asked} and known_at {item.known_at!r} is {known}"
    if not all(isinstance(kind, pl.Date | pl.Datetime) for kind in (asked, known)):
        yield f"{both}; both must be Datetime, or both Date."
    elif isinstance(asked, pl.Date) != isinstance(known, pl.Date):
        yield f"{both}; a day is no instant: turn it into one, such as the midnight after which it is known."
    elif isinstance(asked, pl.Date) and item.span % timedelta(days=1):
        yield f"{both}; on days a window must be of whole days, and {item.window!r} is not."
    elif _zoned(asked) != _zoned(known):
        yield f"{both}; say in which zone the one without is: .dt.replace_time_zone('UTC')."


def _zoned(kind: pl.DataType) -> bool:
    return isinstance(kind, pl.Datetime) and kind.time_zone is not None


def _of_keys(key: str, asked: pl.DataType, known: pl.DataType) -> Iterator[str]:
    if asked != known and not (asked.is_integer() and known.is_integer()):
        yield f"key {key!r} is {asked} in rows and {known} in events; cast one of them."


def _of_value(item: History, value: str, kind: pl.DataType) -> Iterator[str]:
    said = f"{item.agg} of {value!r}, which is {kind}"
    if item.agg in (*_ADDED, *_COMPARED) and not (kind.is_numeric() or isinstance(kind, pl.Boolean)):
        yield f"{said}; it takes numbers and Booleans. Cast {value!r}, or use count or last."
    elif item.agg in _ADDED and kind.is_float() and item.decimals is None:
        yield (
            f"{said}; a sum of floats depends on their order, so say how many decimals count: history(…, decimals=2)."
        )
