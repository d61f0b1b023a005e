"""Aggregates over the past that cannot leak: only what was known strictly before a row's own time counts.

A historical aggregate is declared, not written by hand: keys, value, when the value became known, how far
back, and how to aggregate. For a row at time t it covers the events of the same keys with

    t - window <= known_at < t

so an event known at exactly t is not seen. Sums are made of integers (floats as fixed-point numbers), so
that a result does not depend on the order of additions, and the same events alone give the same bits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import polars as pl

from lineage.errors import DeclarationError
from lineage.spec import Aggregation, History

_SUMMED = ("count", "sum", "mean", "share")
_AT, _FROM, _ORDER = "__history_at", "__history_from", "__history_order"


def history(
    *,
    keys: str | Sequence[str] = (),
    value: str | None = None,
    known_at: str,
    window: str,
    agg: Aggregation = "mean",
    decimals: int | None = None,
) -> History:
    """Declare an aggregate over past events; `with_history` computes it.

    `keys` are columns of rows and events that must be equal (none: all events; a null equals nothing).
    `value` is a numeric or Boolean column of the events; where it is null or NaN, or `known_at` is null, an
    event does not count. `window` is a
    Polars duration such as "4h" or "14d". `agg`: count (needs no value), sum, mean, share (the mean of a
    Boolean), min, max, or last (the value known latest; of several known at one instant, the last in the
    events' order). To sum floats, say of how many `decimals`: they become fixed-point numbers.
    """
    if agg not in get_args(Aggregation):
        raise DeclarationError(f"history(agg={agg!r}): aggregate with one of {', '.join(get_args(Aggregation))}.")
    if value is None and agg != "count":
        raise DeclarationError(f"history(agg={agg!r}) needs a value; only count can do without.")
    if not re.fullmatch(r"(\d+(us|ms|s|m|h|d|w))+", window):
        raise DeclarationError(f"history(window={window!r}): write a duration such as 4h, 14d or 1h30m.")
    named = (keys,) if isinstance(keys, str) else tuple(keys)
    return History(named, value, known_at, window, agg, decimals)


def with_history(
    rows: pl.LazyFrame, *, at: str, events: pl.LazyFrame, aggregates: Mapping[str, History]
) -> pl.LazyFrame:
    """`rows` with one column for each of `aggregates`, in the rows' own order.

    `at` is the time at which a row's features are wanted. count is UInt32 and 0 where there was nothing;
    the others are null there. sum is Int64 (Float64 with decimals), mean and share are Float64, min, max
    and last have the type of the value. Raises DeclarationError where floats are to be summed without `decimals`.
    """
    events = events.with_columns(pl.selectors.float().fill_nan(None))
    _refuse_floats(events.collect_schema(), aggregates)
    ordered = rows.with_row_index(_ORDER).sort(at, maintain_order=True)
    for group in _groups(aggregates):
        ordered = _add_sums(ordered, at, events, group)
    for name, item in aggregates.items():
        if item.agg == "last":
            ordered = _add_last(ordered, at, events, name, item)
        elif item.agg not in _SUMMED:
            ordered = _add_extreme(ordered, at, events, name, item)
    columns = rows.collect_schema().names()
    return ordered.sort(_ORDER).select(*columns, *aggregates)


def _refuse_floats(schema: pl.Schema, aggregates: Mapping[str, History]) -> None:
    for name, item in aggregates.items():
        kind = schema.get(item.value) if item.value else None
        if kind is not None and kind.is_float() and item.agg in _SUMMED and item.decimals is None:
            raise DeclarationError(
                f"{name}: {item.agg} of {item.value!r}, which is {kind}; a sum of floats depends on their order, "
                "so say how many decimals count: history(…, decimals=2)."
            )


def _known(events: pl.LazyFrame, keys: tuple[str, ...], known_at: str) -> pl.LazyFrame:
    """The events that can count, in the order in which they became known; a null key is like no other."""
    present = pl.all_horizontal(pl.col(name).is_not_null() for name in (*keys, known_at))
    return events.filter(present).sort(known_at, maintain_order=True)


def _groups(aggregates: Mapping[str, History]) -> Iterable[dict[str, History]]:
    """Summed aggregates by what they share: keys and time, so that events are sorted and summed once."""
    groups: dict[tuple[tuple[str, ...], str], dict[str, History]] = {}
    for name, item in aggregates.items():
        if item.agg in _SUMMED:
            groups.setdefault((item.keys, item.known_at), {})[name] = item
    return groups.values()


def _add_sums(rows: pl.LazyFrame, at: str, events: pl.LazyFrame, group: Mapping[str, History]) -> pl.LazyFrame:
    first = next(iter(group.values()))
    totals = _running_totals(events, first.keys, first.known_at, group)
    rows = _as_of(rows, at, totals, first.keys, "now")
    for window in dict.fromkeys(item.window for item in group.values()):
        same = {name: item for name, item in group.items() if item.window == window}
        rows = rows.with_columns(pl.col(at).dt.offset_by(f"-{window}").alias(_FROM))
        rows = _as_of(rows, _FROM, totals, first.keys, "then")
        rows = rows.with_columns(_difference(name, item) for name, item in same.items())
        rows = rows.drop(pl.selectors.ends_with("__then"), _FROM)
    return rows.drop(pl.selectors.ends_with("__now"))


def _running_totals(
    events: pl.LazyFrame, keys: tuple[str, ...], known_at: str, group: Mapping[str, History]
) -> pl.LazyFrame:
    """Per key, ordered by time: how many values and which sum were known up to and including each event."""
    totals: dict[str, pl.Expr] = {}
    for item in group.values():
        counted = pl.lit(value=True) if item.value is None else pl.col(item.value).is_not_null()
        totals[_total("n", item)] = _per_key(counted.cast(pl.Int64).cum_sum(), keys)
        if item.value is not None:
            totals[_total("s", item)] = _per_key(_whole(item).fill_null(0).cum_sum(), keys)
    needed = dict.fromkeys([*keys, known_at, *(item.value for item in group.values() if item.value)])
    known = _known(events.select(*needed), keys, known_at)
    return known.select(*keys, pl.col(known_at).alias(_AT), *(total.alias(name) for name, total in totals.items()))


def _per_key(expression: pl.Expr, keys: tuple[str, ...]) -> pl.Expr:
    return expression.over(keys) if keys else expression


def _whole(item: History) -> pl.Expr:
    """The value as an integer: exact for integers and Booleans, a fixed-point number for the rest."""
    assert item.value is not None
    value = pl.col(item.value)
    return (value * item.scale).round().cast(pl.Int64) if item.decimals is not None else value.cast(pl.Int64)


def _total(kind: str, item: History) -> str:
    return f"{kind}__{item.value}__{item.decimals}"


def _as_of(rows: pl.LazyFrame, at: str, totals: pl.LazyFrame, keys: tuple[str, ...], suffix: str) -> pl.LazyFrame:
    names = [name for name in totals.collect_schema().names() if name not in (*keys, _AT)]
    renamed = totals.rename({name: f"{name}__{suffix}" for name in names})
    return rows.join_asof(
        renamed,
        left_on=at,
        right_on=_AT,
        by=list(keys) or None,
        strategy="backward",
        allow_exact_matches=False,
        check_sortedness=False,
        coalesce=False,
    ).drop(_AT)


def _difference(name: str, item: History) -> pl.Expr:
    """What was known at the row's time less what was known before the window: the window's own total."""

    def within(kind: str) -> pl.Expr:
        total = _total(kind, item)
        return pl.col(f"{total}__now").fill_null(0) - pl.col(f"{total}__then").fill_null(0)

    count = within("n")
    if item.agg == "count":
        return count.cast(pl.UInt32).alias(name)
    summed = within("s") if item.decimals is None else within("s") / item.scale
    result = summed if item.agg == "sum" else within("s") / (count * item.scale)
    return pl.when(count > 0).then(result).alias(name)


def _add_last(rows: pl.LazyFrame, at: str, events: pl.LazyFrame, name: str, item: History) -> pl.LazyFrame:
    assert item.value is not None
    known = (
        _known(events, item.keys, item.known_at)
        .select(*item.keys, pl.col(item.known_at).alias(_AT), pl.col(item.value).alias(name))
        .filter(pl.col(name).is_not_null())
        # as-of takes the last of equal times only if there is one left
        .group_by(*item.keys, _AT, maintain_order=True)
        .last()
        .sort(_AT, maintain_order=True)
    )
    joined = rows.join_asof(
        known,
        left_on=at,
        right_on=_AT,
        by=list(item.keys) or None,
        strategy="backward",
        allow_exact_matches=False,
        check_sortedness=False,
        coalesce=False,
    )
    fresh = pl.col(_AT) >= pl.col(at).dt.offset_by(f"-{item.window}")
    return joined.with_columns(pl.when(fresh).then(pl.col(name)).alias(name)).drop(_AT)


def _add_extreme(rows: pl.LazyFrame, at: str, events: pl.LazyFrame, name: str, item: History) -> pl.LazyFrame:
    """Extremes have no running total: rows and events go through one rolling window together."""
    assert item.value is not None
    asked = rows.select(*item.keys, pl.col(at).alias(_AT), _ORDER)
    known = _known(events, item.keys, item.known_at).select(
        *item.keys, pl.col(item.known_at).alias(_AT), pl.col(item.value).alias(name)
    )
    together = pl.concat([asked, known], how="diagonal").sort(_AT, maintain_order=True)
    rolling = pl.col(name).rolling_min_by if item.agg == "min" else pl.col(name).rolling_max_by
    found = together.with_columns(_per_key(rolling(_AT, window_size=item.window, closed="left"), item.keys).alias(name))
    return rows.join(
        found.filter(pl.col(_ORDER).is_not_null()).select(_ORDER, name), on=_ORDER, how="left", maintain_order="left"
    )
