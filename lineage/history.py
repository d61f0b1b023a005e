"""Aggregates over the past that cannot leak: only what was known strictly before a row's own time counts.

A historical aggregate is declared, not written by hand: keys, value, when the value became known, how far
back, and how to aggregate. For a row at time t it covers the events of the same keys with

    t - window <= known_at < t

in elapsed time, so an event known at exactly t is not seen, and a day is 24 hours on every clock. Sums are made
of integers (floats as fixed-point numbers, Decimals by their own scale), so that a result does not depend on the
order of additions, and the same events alone give the same bits.

Nothing is computed before the frame is collected, and then not within bounded memory: filters, selections and
differences stream, but each sort, each running total or rolling window by key and each as-of join by key (in
Polars an in-memory join also under the streaming engine) holds all its rows and events. Memory grows with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import get_args

import polars as pl

from lineage import operands
from lineage.errors import DeclarationError
from lineage.frame import TrackedFrame
from lineage.operands import Operands
from lineage.rows.grouping import looked_back
from lineage.spec import Aggregation, History, duration

_SUMMED = ("count", "sum", "mean", "share")
_MOST_DECIMALS = 15
_LONGEST = timedelta(days=36_525)
_DIGITS = 38
# Of these no sum of as many events as there can be leaves 64 bits.
_NARROW = (pl.Boolean, pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32)

# When a row asks or an event was known, on one clock; where a row's window begins; the rows' own order.
_AT, _ASKED, _FROM, _ORDER = (f"{operands.PRIVATE}{name}" for name in ("at", "asked", "from", "order"))


def history(
    *,
    keys: str | Sequence[str] = (),
    value: str | None = None,
    known_at: str,
    window: str,
    agg: Aggregation = "mean",
    decimals: int | None = None,
    known_within: str = "28d",
) -> History:
    """Declare an aggregate over past events; `with_history` computes it.

    `keys` are columns of rows and events that must be equal (none: all events; a null equals nothing).
    `value` is a column of the events; where it is null or NaN, or `known_at` is null, an event does not count.
    `window` is elapsed time such as "4h" or "14d": 1d is 24 hours, 1w is 7 days, in every time zone.
    `agg`: count (needs no value), sum, mean, share (the mean of a Boolean), min, max (all of numbers or
    Booleans), or last (of anything: the value known latest; of several known at one instant, the last in the
    events' order). To add floats, say how many `decimals` count, 0 to 15: they become fixed-point numbers.
    Decimals are added exactly; with `decimals` they are first rounded to these, half to even.

    `known_within` is the longest time from when an event happens, by which its monthly partition is chosen, until
    it is known: together with the window it says how many earlier months a table reads (`spec.months_back`).
    """
    if agg not in get_args(Aggregation):
        raise DeclarationError(f"history(agg={agg!r}): aggregate with one of {', '.join(get_args(Aggregation))}.")
    if value is None and agg != "count":
        raise DeclarationError(f"history(agg={agg!r}) needs a value; only count can do without.")
    if decimals is not None and (type(decimals) is not int or not 0 <= decimals <= _MOST_DECIMALS):
        raise DeclarationError(f"history(decimals={decimals!r}): count the decimals that matter, 0 to 15.")
    if not _elapsed("window", window):
        raise DeclarationError(f"history(window={window!r}) holds no event; write a duration such as 4h or 14d.")
    _elapsed("known_within", known_within)
    named = (keys,) if isinstance(keys, str) else tuple(keys)
    return History(named, value, known_at, window, agg, decimals, known_within)


def _elapsed(name: str, text: str) -> timedelta:
    try:
        elapsed = duration(text)
    except DeclarationError as error:
        raise DeclarationError(f"history({name}={text!r}): {error}") from error
    if elapsed > _LONGEST:
        raise DeclarationError(f"history({name}={text!r}) is longer than a century; make it shorter.")
    return elapsed


def with_history(
    rows: pl.LazyFrame, *, at: str, events: pl.LazyFrame, aggregates: Mapping[str, History]
) -> pl.LazyFrame:
    """`rows` with one column for each of `aggregates`, in the rows' own order.

    `at` is the time at which a row's features are wanted: a Datetime, or a Date if `known_at` is one too. count is
    UInt32 and 0 where there was nothing; the others are null there. sum is Int64 (of Decimals a Decimal of their
    scale, with decimals Float64), mean and share are Float64, min, max and last have the type of the value.
    Raises DeclarationError where the columns do not fit (see `lineage.operands`).
    """

    def compute(rows: pl.LazyFrame, events: pl.LazyFrame) -> pl.LazyFrame:
        return _computed(rows, at, events, aggregates)

    if isinstance(rows, TrackedFrame):
        operands.check(rows.collect_schema(), at, events.collect_schema(), aggregates)
        return looked_back(rows, events, at, aggregates, compute)
    return compute(rows, events)


def _computed(rows: pl.LazyFrame, at: str, events: pl.LazyFrame, aggregates: Mapping[str, History]) -> pl.LazyFrame:
    asked, known = rows.collect_schema(), events.collect_schema()
    operands.check(asked, at, known, aggregates)
    past = _Past(operands.without_nan(events), Operands.of(asked, at, known, aggregates))
    ordered = rows.with_row_index(_ORDER).with_columns(past.operands.asked_at(at).alias(_ASKED))
    ordered = asking = ordered.sort(_ASKED, maintain_order=True)
    for group in _groups(aggregates):
        ordered = _add_sums(ordered, past, group)
    for name, item in aggregates.items():
        if item.agg == "last":
            ordered = _add_last(ordered, past, name, item)
        elif item.agg not in _SUMMED:
            ordered = _add_extreme(ordered, asking, past, name, item)
    return ordered.sort(_ORDER).select(*asked, *aggregates)


@dataclass(frozen=True)
class _Past:
    """Events, and how they are compared with the rows that look back on them."""

    events: pl.LazyFrame
    operands: Operands

    def known(self, item: History, values: Mapping[str, str]) -> pl.LazyFrame:
        """Keys, time and `values` (column by its new name) of the events that can count, in the order in which they
        became known; a null key is like no other."""
        keys = (self.operands.key(key) for key in item.keys)
        when = self.operands.known_at(item).alias(_AT)
        renamed = (pl.col(column).alias(name) for name, column in values.items())
        present = pl.all_horizontal(pl.col(name).is_not_null() for name in (*item.keys, _AT))
        return self.events.select(*keys, when, *renamed).filter(present).sort(_AT, maintain_order=True)

    def start(self, window: timedelta) -> pl.Expr:
        """When the window of a row begins."""
        return pl.col(_ASKED) - pl.lit(window, dtype=pl.Duration(self.operands.unit))

    def kind(self, item: History) -> pl.DataType:
        """The type of its value."""
        return pl.Null() if item.value is None else self.operands.events[item.value]


def _groups(aggregates: Mapping[str, History]) -> Iterable[dict[str, History]]:
    """Summed aggregates by what they share: keys and time, so that events are sorted and summed once."""
    groups: dict[tuple[tuple[str, ...], str], dict[str, History]] = {}
    for name, item in aggregates.items():
        if item.agg in _SUMMED:
            groups.setdefault((item.keys, item.known_at), {})[name] = item
    return groups.values()


def _add_sums(rows: pl.LazyFrame, past: _Past, group: Mapping[str, History]) -> pl.LazyFrame:
    keys = next(iter(group.values())).keys
    terms = {name: term for item in group.values() for name, term in _terms(item, past.kind(item)).items()}
    totals = _running_totals(past, group, terms)
    rows = _as_of(rows, _ASKED, totals.rename({name: _now(name) for name in terms}), keys).drop(_AT)
    for window in dict.fromkeys(item.span for item in group.values()):
        same = {name: item for name, item in group.items() if item.span == window}
        rows = rows.with_columns(past.start(window).alias(_FROM))
        rows = _as_of(rows, _FROM, totals.rename({name: _then(name) for name in terms}), keys)
        rows = rows.with_columns(_difference(item, past.kind(item)).alias(name) for name, item in same.items())
        rows = rows.drop(*map(_then, terms), _AT, _FROM)
    return rows.drop(*map(_now, terms))


def _running_totals(past: _Past, group: Mapping[str, History], terms: Mapping[str, pl.Expr]) -> pl.LazyFrame:
    """Per key, ordered by time: how many values and which sum were known up to and including each event."""
    first = next(iter(group.values()))
    values = {_value(item.value): item.value for item in group.values() if item.value is not None}
    totals = (_per_key(term.cum_sum(), first.keys).alias(name) for name, term in terms.items())
    return past.known(first, values).select(*first.keys, _AT, *totals)


def _terms(item: History, kind: pl.DataType) -> dict[str, pl.Expr]:
    """What one event adds to which running total: to their number, and to the sum of its values."""
    counted = pl.col(_AT if item.value is None else _value(item.value)).is_not_null().cast(pl.Int64)
    if item.agg == "count":
        return {_total("n", item): counted}
    return {_total("n", item): counted, _total("s", item): _whole(item, kind).fill_null(0)}


def _whole(item: History, kind: pl.DataType) -> pl.Expr:
    """The value as what adds exactly: an integer, a fixed-point number, or a Decimal of its own scale."""
    value = pl.col(_value(item.value))
    if isinstance(kind, pl.Decimal):
        rounded = value.cast(pl.Decimal(_DIGITS, _places(item, kind)))
        return rounded if item.decimals is None else rounded.to_physical()
    if kind.is_float():
        return (value.cast(pl.Float64) * _scale(item, kind)).round().cast(pl.Int128)
    return value.cast(pl.Int64 if kind in _NARROW else pl.Int128)


def _places(item: History, kind: pl.DataType) -> int:
    """By how many decimal places a sum of such values is shifted."""
    own = kind.scale if isinstance(kind, pl.Decimal) else 0
    return own if item.decimals is None or kind.is_integer() or isinstance(kind, pl.Boolean) else item.decimals


def _scale(item: History, kind: pl.DataType) -> float:
    return float(10 ** _places(item, kind))


def _difference(item: History, kind: pl.DataType) -> pl.Expr:
    """What was known at the row's time less what was known before the window: the window's own total."""

    def within(what: str) -> pl.Expr:
        total = _total(what, item)
        return pl.col(_now(total)).fill_null(0) - pl.col(_then(total)).fill_null(0)

    count = within("n")
    if item.agg == "count":
        return count.cast(pl.UInt32)
    return pl.when(count > 0).then(_of_sum(item, kind, within("s"), count))


def _of_sum(item: History, kind: pl.DataType, summed: pl.Expr, count: pl.Expr) -> pl.Expr:
    if item.agg == "sum" and item.decimals is None:
        return summed if isinstance(kind, pl.Decimal) else summed.cast(pl.Int64)
    whole, n, scale = summed.to_physical(), count.cast(pl.Float64), _scale(item, kind)
    # Divided by a column: by one number Polars multiplies with its inverse, but where there is one row.
    return whole / (n * 0 + scale if item.agg == "sum" else n * scale)


def _add_last(rows: pl.LazyFrame, past: _Past, name: str, item: History) -> pl.LazyFrame:
    assert item.value is not None
    known = (
        past.known(item, {name: item.value})
        .filter(pl.col(name).is_not_null())
        # as-of takes the last of equal times only if there is one left
        .group_by(*item.keys, _AT, maintain_order=True)
        .last()
        .sort(_AT, maintain_order=True)
    )
    fresh = pl.col(_AT) >= past.start(item.span)
    found = _as_of(rows, _ASKED, known, item.keys)
    return found.with_columns(pl.when(fresh).then(pl.col(name)).alias(name)).drop(_AT)


def _add_extreme(rows: pl.LazyFrame, asking: pl.LazyFrame, past: _Past, name: str, item: History) -> pl.LazyFrame:
    """Extremes have no running total: rows and events go through one rolling window together."""
    assert item.value is not None
    asked = asking.select(*item.keys, pl.col(_ASKED).alias(_AT), _ORDER)
    together = pl.concat([asked, past.known(item, {name: item.value})], how="diagonal").sort(_AT, maintain_order=True)
    found = together.with_columns(_rolling(pl.col(name), past.kind(item), item).alias(name))
    return rows.join(
        found.filter(pl.col(_ORDER).is_not_null()).select(_ORDER, name), on=_ORDER, how="left", maintain_order="left"
    )


def _rolling(value: pl.Expr, kind: pl.DataType, item: History) -> pl.Expr:
    # Of Decimals Polars finds no rolling extreme, but of their ranks.
    ranked = isinstance(kind, pl.Decimal)
    looked_at = value.rank("dense") if ranked else value
    rolling = looked_at.rolling_min_by if item.agg == "min" else looked_at.rolling_max_by
    found = _per_key(rolling(_AT, window_size=item.span, closed="left"), item.keys)
    return value.drop_nulls().unique().sort().gather(found - 1) if ranked else found


def _as_of(rows: pl.LazyFrame, at: str, known: pl.LazyFrame, keys: Sequence[str]) -> pl.LazyFrame:
    """`rows` with what of their keys was known last before their time `at`."""
    return rows.join_asof(
        known,
        left_on=at,
        right_on=_AT,
        by=list(keys) or None,
        strategy="backward",
        allow_exact_matches=False,
        check_sortedness=False,
        coalesce=False,
    )


def _per_key(expression: pl.Expr, keys: Sequence[str]) -> pl.Expr:
    return expression.over(keys) if keys else expression


def _value(column: str | None) -> str:
    return f"{operands.PRIVATE}value_{column}"


def _total(what: str, item: History) -> str:
    return f"{operands.PRIVATE}{what}_{item.value!r}" + (f"_{item.decimals}" if what == "s" else "")


def _now(total: str) -> str:
    return f"{total}__now"


def _then(total: str) -> str:
    return f"{total}__then"
