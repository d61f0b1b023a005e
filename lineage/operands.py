"""Whether rows and events fit what history declares of them, and how their columns are compared.

Differences that change nothing (units of time, zones, widths of integers) are none; the rest is refused, before
anything is computed, in a sentence with the aggregate, the columns, their types and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import polars as pl

from lineage.errors import DeclarationError
from lineage.spec import History

PRIVATE = "__history_"
Unit = Literal["us", "ns"]

_ADDED = ("sum", "mean", "share")
_COMPARED = ("min", "max")


@dataclass(frozen=True)
class Operands:
    """Columns of rows and of events as they are compared: keys of the rows' type, times as instants on one clock.

    `unit` is the finer one of all their times: of microseconds unless one counts nanoseconds.
    """

    rows: pl.Schema
    events: pl.Schema
    unit: Unit

    @classmethod
    def of(cls, rows: pl.Schema, at: str, events: pl.Schema, aggregates: Mapping[str, History]) -> Operands:
        """Those of rows that ask at `at` for `aggregates` of events."""
        kinds = (rows[at], *(events[item.known_at] for item in aggregates.values()))
        fine = any(isinstance(kind, pl.Datetime) and kind.time_unit == "ns" for kind in kinds)
        return cls(rows, events, "ns" if fine else "us")

    def key(self, key: str) -> pl.Expr:
        """A key of the events; null where the rows' type cannot hold it, for then it is no row's key."""
        return pl.col(key).cast(self.rows[key], strict=False)

    def asked_at(self, at: str) -> pl.Expr:
        """When a row asks."""
        return instant(at, self.rows[at], self.unit)

    def known_at(self, item: History) -> pl.Expr:
        """When an event became known."""
        return instant(item.known_at, self.events[item.known_at], self.unit)


def instant(column: str, kind: pl.DataType, unit: Unit) -> pl.Expr:
    """A time or day as an instant on the one clock: UTC without saying so."""
    when = pl.col(column)
    if isinstance(kind, pl.Datetime) and kind.time_zone:
        when = when.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    # What lies beyond the years of nanoseconds is never reached.
    return when.cast(pl.Datetime(unit), strict=False)


def without_nan(events: pl.LazyFrame) -> pl.LazyFrame:
    """Events whose numbers are numbers: NaN is no value, and no key."""
    return events.with_columns(pl.selectors.float().fill_nan(None))


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
