"""Aggregates over the past: exact, strict, and the same as a loop over the events would give."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from lineage.errors import DeclarationError
from lineage.history import history, with_history
from lineage.spec import History, months_back

NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)
TIME = pl.Datetime("us", "UTC")
AGGREGATIONS = ("count", "sum", "mean", "share", "min", "max", "last")


def _events(*events: tuple[str | None, int | None, int | None]) -> pl.LazyFrame:
    """Events as (key, value, minutes after noon at which it was known)."""
    rows = [(key, value, None if minute is None else NOON + timedelta(minutes=minute)) for key, value, minute in events]
    return pl.LazyFrame(rows, schema={"k": pl.String, "v": pl.Int32, "known": TIME}, orient="row")


def _rows(*rows: tuple[str | None, int]) -> pl.LazyFrame:
    """Rows as (key, minutes after noon)."""
    return pl.LazyFrame(
        [(key, NOON + timedelta(minutes=minute)) for key, minute in rows],
        schema={"k": pl.String, "at": TIME},
        orient="row",
    )


def _computed(rows: pl.LazyFrame, events: pl.LazyFrame, **aggregates: History) -> list[dict[str, Any]]:
    return with_history(rows, at="at", events=events, aggregates=aggregates).collect().rows(named=True)


def _only(events: pl.LazyFrame, agg: str, *, keys: tuple[str, ...] = ("k",), key: str | None = "a") -> Any:
    item = history(keys=keys, value="v", known_at="known", window="1h", agg=agg)  # type: ignore[arg-type]
    return _computed(_rows((key, 0)), events, found=item)[0]["found"]


@pytest.mark.parametrize(
    ("agg", "expected"),
    [("count", 3), ("sum", 9), ("mean", 3.0), ("share", 3.0), ("min", 1), ("max", 6), ("last", 2)],
)
def test_each_aggregation(agg: str, expected: float) -> None:
    """Over 1, 6 and 2, known in that order."""
    assert _only(_events(("a", 1, -30), ("a", 6, -20), ("a", 2, -10)), agg) == expected


@pytest.mark.parametrize("agg", AGGREGATIONS)
@pytest.mark.parametrize(
    ("minute", "seen"),
    [(0, False), (1, False), (-1, True), (-60, True), (-61, False)],
    ids=["at the very time", "after", "just before", "where the window begins", "before the window"],
)
def test_the_window_is_closed_behind_and_open_before(agg: str, minute: int, seen: bool) -> None:
    """t - window <= known_at < t."""
    found = _only(_events(("a", 4, minute)), agg)

    assert found == ({"count": 1}.get(agg, 4) if seen else {"count": 0}.get(agg))


@pytest.mark.parametrize("agg", AGGREGATIONS)
def test_what_is_unknown_does_not_count(agg: str) -> None:
    """Events without a value, or without a time at which it was known, are no events."""
    assert _only(_events(("a", None, -5), ("a", 3, None)), agg) == {"count": 0}.get(agg)


@pytest.mark.parametrize("agg", AGGREGATIONS)
def test_other_keys_do_not_count_unless_there_are_none(agg: str) -> None:
    """An aggregate without keys is over everything."""
    events = _events(("b", 3, -5))

    assert _only(events, agg) == {"count": 0}.get(agg)
    assert _only(events, agg, keys=()) == {"count": 1}.get(agg, 3)


def test_of_several_at_one_instant_the_last_in_order_is_last() -> None:
    """Ties are broken by the events' own order, so that they are the same every time."""
    assert _only(_events(("a", 7, -5), ("a", 1, -5), ("a", 9, -8)), "last") == 1


def test_rows_keep_their_order_and_columns() -> None:
    """Columns are added on the right; nothing else changes."""
    rows = _rows(("a", 30), ("b", 10), ("a", 20))
    late = history(keys="k", known_at="known", window="1h", agg="count")

    found = with_history(rows, at="at", events=_events(("a", 1, 0)), aggregates={"n": late}).collect()

    assert_frame_equal(found.drop("n"), rows.collect())
    assert found["n"].to_list() == [1, 0, 1]


def test_floats_are_summed_as_fixed_point_numbers() -> None:
    """0.1 + 0.2 is 0.3, in every order."""
    events = _events(("a", 1, -2), ("a", 2, -1)).with_columns(v=pl.col("v") / 10)
    item = history(keys="k", value="v", known_at="known", window="1h", agg="sum", decimals=1)

    assert _computed(_rows(("a", 0)), events, s=item)[0]["s"] == 0.3


def test_floats_without_decimals_are_refused() -> None:
    """Casting 0.5 to an integer would be wrong, adding it in any order not repeatable: the author must say."""
    events = _events(("a", 1, -2)).with_columns(v=pl.col("v") / 2)
    item = history(keys="k", value="v", known_at="known", window="1h")

    with pytest.raises(DeclarationError, match=r"half: mean of 'v', which is Float64; .* history\(…, decimals=2\)"):
        _computed(_rows(("a", 0)), events, half=item)


def test_nan_is_no_value() -> None:
    """A number that is none is neither counted nor added."""
    events = _events(("a", 1, -2), ("a", 2, -1)).with_columns(
        v=pl.when(pl.col("v") == 1).then(float("nan")).otherwise(2.0)
    )
    aggregates = {
        agg: history(keys="k", value="v", known_at="known", window="1h", agg=agg, decimals=1)
        for agg in ("count", "mean", "min", "max")
    }

    assert (
        _computed(_rows(("a", 0)), events, **aggregates)[0].items()
        >= {"count": 1, "mean": 2, "min": 2, "max": 2}.items()
    )


@pytest.mark.parametrize("agg", AGGREGATIONS)
def test_an_unknown_key_is_like_no_other(agg: str) -> None:
    """Two flights of unknown aircraft are not flights of one aircraft."""
    assert _only(_events((None, 1, -2), (None, 2, -1)), agg, key=None) == {"count": 0}.get(agg)


def test_as_many_months_as_the_longest_window_can_reach() -> None:
    """28 days before 1 March is 1 February; what stood in January may have become known since."""
    days = {window: history(known_at="known", window=window, agg="count") for window in ("1h", "28d", "29d", "4w1h")}

    assert months_back({}) == 1
    assert [2, 2, 3, 3] == [months_back({"only": item}) for item in days.values()]
    assert months_back(days) == 3


def test_a_share_is_of_booleans() -> None:
    """Two of three."""
    events = _events(("a", 1, -3), ("a", 0, -2), ("a", 1, -1)).with_columns(v=pl.col("v") == 1)

    assert _only(events, "share") == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"agg": "median", "value": "v"}, "median"),
        ({"agg": "mean"}, "needs a value"),
        ({"value": "v", "window": "5 days"}, "5 days"),
    ],
    ids=["unknown aggregation", "no value", "no duration"],
)
def test_a_mistake_is_named_where_it_is_made(given: dict[str, Any], named: str) -> None:
    """Declaring is where an author hears of it."""
    with pytest.raises(DeclarationError, match=named):
        history(**{"known_at": "known", "window": "1h", **given})


_EVENT = st.tuples(
    st.sampled_from(["a", "b", "c", None]),
    st.one_of(st.none(), st.integers(-9, 9)),
    st.one_of(st.none(), st.integers(-90, 90)),
)
_ROW = st.tuples(st.sampled_from(["a", "b", "d", None]), st.integers(-90, 90))


@settings(max_examples=60, deadline=None)
@given(st.lists(_EVENT, max_size=30), st.lists(_ROW, min_size=1, max_size=8), st.sampled_from(["20m", "1h", "2h"]))
def test_the_same_as_a_loop(events: list[Any], rows: list[Any], window: str) -> None:
    """All aggregations, with and without keys, equal those of a loop over the events."""
    aggregates = {
        f"{agg}_{len(keys)}": history(keys=keys, value="v", known_at="known", window=window, agg=agg)  # type: ignore[arg-type]
        for agg in AGGREGATIONS
        for keys in ((), ("k",))
    }

    found = _computed(_rows(*rows), _events(*events), **aggregates)

    minutes = {"20m": 20, "1h": 60, "2h": 120}[window]
    for row, (key, at) in zip(found, rows, strict=True):
        for name, item in aggregates.items():
            assert row[name] == _looped(events, key if item.keys else ..., at, minutes, item.agg), name


@settings(max_examples=40, deadline=None)
@given(st.lists(_EVENT, max_size=30), st.integers(-90, 90), st.integers(-9, 9))
def test_the_future_cannot_be_seen(events: list[Any], at: int, poison: int) -> None:
    """Whatever is known at a row's time or later may be anything, or nothing: no bit of the row changes."""
    aggregates = {agg: history(keys="k", value="v", known_at="known", window="1h", agg=agg) for agg in AGGREGATIONS}  # type: ignore[arg-type]
    poisoned = [(k, poison if minute is not None and minute >= at else value, minute) for k, value, minute in events]
    past = [event for event in events if event[2] is not None and event[2] < at]

    seen, with_poison, without_future = (
        with_history(_rows(("a", at)), at="at", events=_events(*some), aggregates=aggregates).collect()
        for some in (events, poisoned, past)
    )

    assert_frame_equal(seen, with_poison)
    assert_frame_equal(seen, without_future)


def _looped(events: list[Any], key: Any, at: int, minutes: int, agg: str) -> Any:
    inside = [
        (minute, place, value)
        for place, (k, value, minute) in enumerate(events)
        if value is not None
        and minute is not None
        and at - minutes <= minute < at
        and (key is ... or key == k is not None)
    ]
    values = [value for *_, value in inside]
    if agg == "count":
        return len(values)
    if not values:
        return None
    mean = sum(values) / len(values)
    found = {"sum": sum(values), "mean": mean, "share": mean, "min": min(values), "max": max(values)}
    return found[agg] if agg in found else max(inside)[2]
