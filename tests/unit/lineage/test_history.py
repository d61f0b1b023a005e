"""Aggregates over the past: exact, strict, and the same as a loop over the events would give."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
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
    """0.1 + 0.2 is 0.3, not 0.30000000000000004."""
    events = _events(("a", 1, -2), ("a", 2, -1)).with_columns(v=pl.col("v") / 10)
    item = history(keys="k", value="v", known_at="known", window="1h", agg="sum", decimals=1)

    assert _computed(_rows(("a", 0)), events, s=item)[0]["s"] == 0.3


@pytest.mark.parametrize("count", [1, 2, 3, 100])
@pytest.mark.parametrize(("agg", "expected"), [("sum", 0.3), ("mean", 0.15)])
@pytest.mark.parametrize("values", [(1, 2), (2, 1)])
def test_fixed_point_results_are_the_same_bits_for_any_number_of_rows(
    count: int, agg: Any, expected: float, values: tuple[int, int]
) -> None:
    """A row that is asked alone gets what it gets among others, also where Polars would compute many at once."""
    events = _events(("a", values[0], -2), ("a", values[1], -1)).with_columns(v=pl.col("v") / 10)
    item = history(keys="k", value="v", known_at="known", window="1h", agg=agg, decimals=1)

    found = _computed(_rows(*[("a", 0)] * count), events, found=item)

    assert [expected.hex()] * count == [row["found"].hex() for row in found]


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


def test_as_many_months_as_it_takes_until_an_event_is_known() -> None:
    """What is known at once needs no month more than the window; what is known after 90 days needs four."""
    known = {
        within: history(known_at="known", window="1h", agg="count", known_within=within) for within in ("0h", "90d")
    }

    assert [1, 4] == [months_back({"only": item}) for item in known.values()]
    assert months_back(known) == 4


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
        ({"value": "v", "window": "0h"}, "holds no event"),
        ({"value": "v", "window": "9999w"}, "longer than a century"),
        ({"value": "v", "window": "9" * 30 + "w"}, "longer than time"),
        ({"value": "v", "known_within": "soon"}, "known_within='soon'"),
        ({"value": "v", "decimals": -1}, "0 to 15"),
        ({"value": "v", "decimals": 16}, "0 to 15"),
        ({"value": "v", "decimals": 1.5}, "0 to 15"),
    ],
    ids=[
        *("unknown aggregation", "no value", "no duration", "nothing", "a century", "beyond time"),
        *("no time", "negative decimals", "too many decimals", "half a decimal"),
    ],
)
def test_a_mistake_is_named_where_it_is_made(given: dict[str, Any], named: str) -> None:
    """Declaring is where an author hears of it."""
    with pytest.raises(DeclarationError, match=named):
        history(**{"known_at": "known", "window": "1h", **given})


MONEY = (Decimal("1.75"), Decimal("0.50"), Decimal("-2.30"))


def _of_values(values: Any, kind: Any, agg: str, **given: Any) -> Any:
    """An aggregate of `values`, known a minute apart before noon."""
    known = [NOON - timedelta(minutes=len(values) - place) for place in range(len(values))]
    events = pl.LazyFrame({"v": pl.Series(values, dtype=kind), "known": pl.Series(known, dtype=TIME)})
    item = history(value="v", known_at="known", window="1h", agg=agg, **given)  # type: ignore[arg-type]
    return _computed(_rows(("a", 0)), events, found=item)[0]["found"]


@pytest.mark.parametrize(
    ("agg", "expected"),
    [("sum", Decimal("-0.05")), ("mean", -0.05 / 3), ("min", MONEY[2]), ("max", MONEY[0]), ("last", MONEY[2])],
)
def test_decimals_are_exact_by_their_own_scale(agg: str, expected: Any) -> None:
    """Cents stay cents: a sum is a Decimal, a mean a float."""
    found = _of_values(MONEY, pl.Decimal(10, 2), agg)

    assert (found, type(found)) == (expected, type(expected))


def test_decimals_of_fewer_places_are_rounded_first() -> None:
    """1.8 + 0.5 - 2.3, as Float64."""
    assert _of_values(MONEY, pl.Decimal(10, 2), "sum", decimals=1) == 0.0


def test_large_sums_do_not_wrap_around() -> None:
    """The mean of four large numbers is large, also where their sum as integers leaves 64 bits."""
    assert _of_values([4e18] * 4, pl.Float64, "mean", decimals=3) == 4e18
    assert _of_values([4 * 10**18] * 4, pl.Int64, "mean") == 4e18


def test_the_scale_leaves_narrow_numbers_alone() -> None:
    """100 fits into 8 bits, 100.00 as a fixed-point number does not."""
    assert _of_values([100, 100], pl.Int8, "mean", decimals=2) == 100.0


@pytest.mark.parametrize("agg", ["sum", "mean", "share", "min", "max"])
@pytest.mark.parametrize(
    ("value", "kind"),
    [("x", "String"), (timedelta(1), "Duration"), (date(2013, 1, 1), "Date")],
    ids=["str", "td", "day"],
)
def test_what_is_no_number_is_refused_by_name(agg: str, value: Any, kind: str) -> None:
    """A duration is not quietly a number of microseconds."""
    with pytest.raises(
        DeclarationError, match=rf"found: {agg} of 'v', which is {kind}.*; it takes numbers and Booleans"
    ):
        _of_values([value], None, agg)


@pytest.mark.parametrize("value", ["x", timedelta(1), date(2013, 1, 1), 0.5, [1]], ids=str)
def test_anything_can_be_counted_and_be_last(value: Any) -> None:
    """These add nothing and compare nothing."""
    assert _of_values([value], None, "count") == 1
    assert _of_values([value], None, "last") == value


def test_everything_can_be_counted() -> None:
    """Neither keys nor a value: how many events there were."""
    item = history(known_at="known", window="1h", agg="count")

    assert _computed(_rows(("a", 0)), _events(("a", 1, -3), (None, None, -2), ("b", 1, -61)), n=item)[0]["n"] == 2


@pytest.mark.parametrize("agg", AGGREGATIONS)
def test_a_day_has_24_hours_where_the_clock_is_put_back(agg: str) -> None:
    """On 3 November a day in New York has 25; an event that is 24.5 hours old is older than 1d."""
    zoned = pl.Datetime("us", "America/New_York")
    asked = datetime(2013, 11, 3, 20, tzinfo=UTC)
    events = pl.LazyFrame({"v": [1, 2], "known": [asked - timedelta(hours=hours) for hours in (24.5, 24)]})
    rows = pl.LazyFrame({"at": [asked]}).cast({"at": zoned})
    item = history(value="v", known_at="known", window="1d", agg=agg)  # type: ignore[arg-type]

    for kind in (zoned, TIME):
        found = with_history(rows, at="at", events=events.cast({"known": kind}), aggregates={"found": item}).collect()
        assert found["found"].to_list() == [{"count": 1}.get(agg, 2)]
        assert found.schema["at"] == zoned


@pytest.mark.parametrize("units", [("ms", "us"), ("us", "ms"), ("ns", "us"), ("us", "ns")], ids=str)
@pytest.mark.parametrize("agg", AGGREGATIONS)
def test_units_of_time_make_no_difference(agg: str, units: tuple[Any, Any]) -> None:
    """Not even to an event that is known in a year that nanoseconds do not reach: it is never seen."""
    asked, known = units
    rows = _rows(("a", 0)).cast({"at": pl.Datetime(asked, "UTC")})
    never = datetime(9999, 1, 1, tzinfo=UTC) if "ns" not in known else NOON
    events = pl.LazyFrame(
        {"k": ["a"] * 3, "v": [7, 4, 8], "known": [never, NOON - timedelta(hours=1), NOON - timedelta(minutes=61)]}
    ).cast({"known": pl.Datetime(known, "UTC")})
    item = history(keys="k", value="v", known_at="known", window="1h", agg=agg)  # type: ignore[arg-type]

    assert _computed(rows, events, found=item)[0]["found"] == {"count": 1}.get(agg, 4)


@pytest.mark.parametrize("agg", AGGREGATIONS)
def test_widths_of_integer_keys_make_no_difference(agg: str) -> None:
    """What does not fit into the rows' type is no row's key, and no other's."""
    rows = pl.LazyFrame({"k": [1, 44], "at": [NOON] * 2}, schema={"k": pl.Int8, "at": TIME})
    events = pl.LazyFrame({"k": [1, 300], "v": [4, 5], "known": [NOON - timedelta(minutes=1)] * 2})
    item = history(keys="k", value="v", known_at="known", window="1h", agg=agg)  # type: ignore[arg-type]

    found = with_history(rows, at="at", events=events, aggregates={"found": item}).collect()

    assert found["found"].to_list() == [{"count": 1}.get(agg, 4), {"count": 0}.get(agg)]
    assert found.schema["k"] == pl.Int8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"at": NOON.date()}, "at 'at' is Date and known_at 'known' is Datetime.*a day is no instant"),
        ({"at": NOON.replace(tzinfo=None)}, "say in which zone"),
        ({"at": "noon"}, "at 'at' is String .*both must be Datetime"),
        ({"k": 1}, "key 'k' is Int32 in rows and String in events; cast one"),
        ({"found": 1}, "found: rows have a column of this name"),
        ({"__history_at": 1}, "__history_at: .*rename"),
    ],
    ids=["a day", "no zone", "no time", "another key", "a name that is taken", "a name that is used inside"],
)
@pytest.mark.parametrize("agg", AGGREGATIONS)
def test_columns_that_do_not_fit_are_named(agg: str, change: dict[str, Any], said: str) -> None:
    """One sentence with the aggregate, the columns, their types and what to do, whatever the aggregation."""
    rows = _rows(("a", 0)).with_columns(**{name: pl.lit(value) for name, value in change.items()})
    item = history(keys="k", value="v", known_at="known", window="1h", agg=agg)  # type: ignore[arg-type]

    with pytest.raises(DeclarationError, match=said):
        with_history(rows, at="at", events=_events(), aggregates={"found": item})


@pytest.mark.parametrize("wrong", ["at", "keys", "value", "known_at"])
def test_columns_that_are_missing_are_named(wrong: str) -> None:
    """With those that there are."""
    given = {"at": "at", "keys": "k", "value": "v", "known_at": "known", wrong: "nowhere"}
    at = given.pop("at")

    with pytest.raises(DeclarationError, match=r"have no column 'nowhere'; they have k, (at|v, known)\."):
        with_history(_rows(("a", 0)), at=at, events=_events(), aggregates={"n": history(window="1h", **given)})  # type: ignore[arg-type]


def test_windows_on_days_are_of_whole_days() -> None:
    """36 hours before a day is no day."""
    days = pl.LazyFrame({"day": [NOON.date()]})
    item = history(known_at="day", window="36h", agg="count")

    with pytest.raises(DeclarationError, match=r"n: at 'day' is Date and known_at 'day' is Date; .*'36h' is not"):
        with_history(days, at="day", events=days, aggregates={"n": item})


@pytest.mark.parametrize("agg", AGGREGATIONS)
def test_names_of_columns_do_not_disturb(agg: str) -> None:
    """Whatever rows and events call their columns."""
    odd = ("n__v__None__now", "s__then", "k_right", "known", "v", "item", "None")
    rows = _rows(("a", 0)).with_columns(**dict.fromkeys(odd, pl.lit(3)))
    item = history(keys="k", value="v", known_at="known", window="1h", agg=agg)  # type: ignore[arg-type]
    both = {"self": item, "values": item}

    found = with_history(rows, at="at", events=_events(("a", 4, -1)), aggregates=both).collect()

    assert found.columns == ["k", "at", *odd, "self", "values"]
    assert found.row(0) == ("a", NOON, *[3] * len(odd), *[{"count": 1}.get(agg, 4)] * 2)


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


_TYPES: dict[str, tuple[Any, Any]] = {
    "boolean": (pl.Boolean, lambda whole: whole > 0),
    "decimal": (pl.Decimal(9, 2), lambda whole: Decimal(whole) / 4),
    "float": (pl.Float64, lambda whole: whole / 4),
}


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(_EVENT, st.sampled_from([1, 2, None])), max_size=20),
    st.lists(st.tuples(_ROW, st.sampled_from([1, 2, None])), min_size=1, max_size=6),
    st.sampled_from(list(_TYPES)),
    st.sampled_from([1, 7, 28]),
)
def test_the_same_as_a_loop_on_days_of_any_type(events: list[Any], rows: list[Any], kind: str, days: int) -> None:
    """Booleans, Decimals and floats, by two keys, on days with windows of whole days."""
    first, (dtype, made) = NOON.date(), _TYPES[kind]
    past = [((k, j), None if v is None else made(v), day) for (k, v, day), j in events]
    happened = [(*keys, v, None if day is None else first + timedelta(days=day)) for keys, v, day in past]
    asked = [(k, j, first + timedelta(days=day)) for (k, day), j in rows]
    names = {"k": pl.String, "j": pl.Int64}
    decimals = 2 if kind == "float" else None
    aggregates = {
        agg: history(keys=("k", "j"), value="v", known_at="known", window=f"{days}d", agg=agg, decimals=decimals)  # type: ignore[arg-type]
        for agg in AGGREGATIONS
    }

    found = _computed(
        pl.LazyFrame(asked, schema={**names, "at": pl.Date}, orient="row"),
        pl.LazyFrame(happened, schema={**names, "v": dtype, "known": pl.Date}, orient="row"),
        **aggregates,
    )

    known = [(None if None in keys else keys, v, day) for keys, v, day in past]
    for row, ((k, day), j) in zip(found, rows, strict=True):
        for agg in AGGREGATIONS:
            looped = _looped(known, (k, j), day, days, agg)
            assert row[agg] == (float(looped) if agg in ("mean", "share") and looped is not None else looped), agg


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
