"""Which events counted: exactly those that a loop over all of them finds, and they alone give the same bits."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from lineage.errors import DeclarationError, NotFoundError
from lineage.history import history, with_history
from lineage.spec import History
from lineage.tracing.past import Asked, Past

AGGREGATIONS = ("count", "sum", "mean", "share", "min", "max", "last")
NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Indexes(NamedTuple):
    """Rows and events, and both ways between them."""

    past: Past
    asked: Asked


@contextmanager
def _indexed(rows: pl.DataFrame, events: pl.DataFrame, aggregates: dict[str, History]) -> Iterator[Indexes]:
    with tempfile.TemporaryDirectory() as folder:
        both = {"at": "at", "aggregates": aggregates}
        Past.build(events.lazy(), rows=rows.schema, folder=Path(folder, "past"), **both)
        Asked.build(rows.lazy(), events=events.schema, folder=Path(folder, "asked"), **both)
        yield Indexes(Past.open(Path(folder, "past")), Asked.open(Path(folder, "asked")))


def _looped(row: dict[str, Any], events: list[dict[str, Any]], item: History) -> list[int]:
    """The ordinals of the events that count, by a loop over all of them."""
    found = [
        (event[item.known_at], ordinal)
        for ordinal, event in enumerate(events)
        if all(_equal(row[key], event[key]) for key in item.keys)
        and event[item.known_at] is not None
        and row["at"] is not None
        and _utc(row["at"]) - item.span <= _utc(event[item.known_at]) < _utc(row["at"])
        and (item.value is None or not _is_nothing(event[item.value]))
    ]
    return sorted(ordinal for _, ordinal in (found if item.agg != "last" else [max(found)] if found else []))


def _equal(mine: Any, other: Any) -> bool:
    return not _is_nothing(mine) and mine == other


def _is_nothing(value: Any) -> bool:
    return value is None or value != value


def _utc(when: Any) -> Any:
    # Python subtracts two times of one zone as the clock on the wall shows them.
    return when.astimezone(UTC) if isinstance(when, datetime) and when.tzinfo else when


def _check(rows: pl.DataFrame, events: pl.DataFrame, aggregates: dict[str, History]) -> None:
    """Both ways the same as the loop, and from what was found alone the same values."""
    expected = {
        name: [_looped(row, events.to_dicts(), item) for row in rows.to_dicts()] for name, item in aggregates.items()
    }
    ordinals = np.arange(len(events))
    with _indexed(rows, events, aggregates) as (past, asked):
        counted = past.counted(rows)
        asking = asked.asking(events, ordinals, past)
        some = ordinals[::2]
        every, half = np.ones(len(rows), bool), np.arange(len(rows)) % 2 == 0
        touched = asked.touched(events[some], some, past)
        counting = [asked.counting(events, ordinals, past, rows=one) for one in (None, every, half)]

    seen = [{event for found in expected.values() for event in found[place]} for place in range(len(rows))]
    assert {row for row, one in enumerate(seen) if one & {*some.tolist()}} == {*touched.tolist()}
    evens = set().union(*seen[::2])
    assert [[event in one for event in ordinals] for one in (set().union(*seen), set().union(*seen), evens)] == [
        one.tolist() for one in counting
    ]
    assert expected == {name: [found.tolist() for found in one] for name, one in counted.items()}
    for name, found in expected.items():
        back = [[row for row, one in enumerate(found) if event in one] for event in ordinals]
        assert back == [one.tolist() for one in asking[name]], name
    _check_recomputed(rows, events, aggregates, expected)


def _check_recomputed(
    rows: pl.DataFrame, events: pl.DataFrame, aggregates: dict[str, History], counted: dict[str, list[list[int]]]
) -> None:
    whole = with_history(rows.lazy(), at="at", events=events.lazy(), aggregates=aggregates).collect()
    for place in range(len(rows)):
        of_same: dict[tuple[int, ...], dict[str, History]] = {}
        for name, item in aggregates.items():
            of_same.setdefault(tuple(counted[name][place]), {})[name] = item
        for found, items in of_same.items():
            alone = with_history(rows[[place]].lazy(), at="at", events=events[list(found)].lazy(), aggregates=items)
            assert_frame_equal(whole[[place]].select(*items), alone.collect().select(*items), check_exact=True)


def _all(keys: tuple[str, ...], window: str, **given: Any) -> dict[str, History]:
    """Every aggregation of `v`, and the count of events whether they have one or not."""
    found = {
        f"{agg}_{len(keys)}": history(keys=keys, value="v", known_at="known", window=window, agg=agg, **given)  # type: ignore[arg-type]
        for agg in AGGREGATIONS
    }
    return {**found, f"events_{len(keys)}": history(keys=keys, known_at="known", window=window, agg="count")}


# At few instants, so that ties, also at the very ends of a window, are the rule.
_MINUTES = st.one_of(st.none(), st.integers(-6, 6).map(lambda ten: 10 * ten))
_EVENT = st.tuples(
    st.sampled_from(["a", "ä", "b", None]), st.sampled_from([1, 2, None]), st.sampled_from([0, 3, -7, None]), _MINUTES
)
_ROW = st.tuples(st.sampled_from(["a", "ä", "c", None]), st.sampled_from([1, 2, None]), _MINUTES)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(_EVENT, max_size=25),
    st.lists(_ROW, min_size=1, max_size=6),
    st.sampled_from(["10m", "30m", "2h"]),
    st.sampled_from([(), ("k",), ("k", "j"), ("j", "k", "i")]),
)
def test_the_same_as_a_loop(events: list[Any], rows: list[Any], window: str, keys: tuple[str, ...]) -> None:
    """Every aggregation, of none to three keys, with ties, nulls and gaps."""
    kinds = {"k": pl.String, "j": pl.Int64}
    moment = {"i": pl.lit(value=True)}
    asked = pl.DataFrame(rows, schema={**kinds, "at": pl.Int64}, orient="row").with_columns(_at("at"), **moment)
    known = pl.DataFrame(events, schema={**kinds, "v": pl.Int32, "known": pl.Int64}, orient="row")

    _check(asked, known.with_columns(_at("known"), **moment), _all(keys, window))


def _at(column: str) -> pl.Expr:
    return (pl.lit(NOON) + pl.duration(minutes=column)).alias(column)


_KEYS: dict[str, tuple[Any, list[Any]]] = {
    "text": (pl.String, ["", "a", "aa", "ä", "日本", "customer-00000001", "customer-00000002"]),
    "bytes": (pl.Binary, [b"", b"a", b"\x00", b"\xff\xfe"]),
    "boolean": (pl.Boolean, [True, False]),
    "small": (pl.Int8, [-128, 0, 127]),
    "large": (pl.UInt64, [0, 2**63, 2**64 - 1]),
    "huge": (pl.Int128, [-(2**100), 9, 10]),
    "float": (pl.Float64, [0.0, -0.0, 0.1, float("inf"), float("nan")]),
    "single": (pl.Float32, [0.1, 0.2, float("nan")]),
    "money": (pl.Decimal(9, 2), [Decimal("0.10"), Decimal("-1.00"), Decimal("10")]),
    "category": (pl.Categorical, ["b", "a", "c"]),
    "enum": (pl.Enum(["c", "b", "a"]), ["a", "b", "c"]),
    "day": (pl.Date, [date(1969, 12, 31), date(2013, 1, 1)]),
    "moment": (pl.Datetime("ns", "Europe/Berlin"), [NOON, NOON + HOUR]),
    "clock": (pl.Time, [time(0), time(23, 59)]),
    "elapsed": (pl.Duration("ms"), [-HOUR, HOUR]),
    "nothing": (pl.Null, [None]),
}


@pytest.mark.parametrize("kind", _KEYS)
def test_keys_of_every_type(kind: str) -> None:
    """What equals what is what it is in history; a null and a NaN are like no other, not even one another."""
    dtype, values = _KEYS[kind]
    known = pl.Series("k", [*values[:-1], *values, None], dtype=dtype)
    events = pl.DataFrame({"k": known}).with_columns(v=pl.int_range(pl.len()), known=pl.lit(NOON - HOUR))
    rows = pl.DataFrame({"k": pl.Series([*reversed(values), None], dtype=dtype)}).with_columns(at=pl.lit(NOON))

    _check(rows, events, _all(("k",), "1h"))


def test_a_key_that_the_rows_cannot_hold_is_nobodys() -> None:
    """300 is not 44, which is what is left of it in 8 bits."""
    events = pl.DataFrame({"k": [300, 44, 1], "v": [1, 2, 3], "known": [NOON - HOUR] * 3})
    rows = pl.DataFrame({"k": pl.Series([44, 1], dtype=pl.Int8), "at": [NOON] * 2})

    _check(rows, events, _all(("k",), "1h"))


def _times(*kinds: tuple[Any, Any]) -> Any:
    return pytest.mark.parametrize(("asked", "known"), kinds, ids=[f"{asked}-{known}" for asked, known in kinds])


_BERLIN, _NEW_YORK = "Europe/Berlin", "America/New_York"


@_times(
    (pl.Datetime("us", "UTC"), pl.Datetime("us", "UTC")),
    (pl.Datetime("ms", _BERLIN), pl.Datetime("us", _NEW_YORK)),
    (pl.Datetime("us", _NEW_YORK), pl.Datetime("ns", "UTC")),
    (pl.Datetime("ns", _NEW_YORK), pl.Datetime("ms", "UTC")),
)
@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(-60, 60), max_size=20), st.lists(st.integers(-60, 60), min_size=1, max_size=4))
def test_hours_are_elapsed_on_every_clock(asked: Any, known: Any, events: list[int], rows: list[int]) -> None:
    """Around the night in which New York puts its clock back, an hour is an hour, in any unit and zone."""
    night = datetime(2013, 11, 3, 6, tzinfo=UTC)
    when = pl.Series([night + HOUR * hours for hours in events], dtype=pl.Datetime("us", "UTC")).cast(known)
    at = pl.Series([night + HOUR * hours for hours in rows], dtype=pl.Datetime("us", "UTC")).cast(asked)

    _check(
        pl.DataFrame({"at": at}),
        pl.DataFrame({"known": when}).with_columns(v=pl.int_range(pl.len())),
        _all((), "1d") | {"hour": history(known_at="known", window="1h", agg="count")},
    )


@pytest.mark.parametrize("kind", [pl.Date(), pl.Datetime("us"), pl.Datetime("ms")], ids=str)
def test_days_and_clocks_without_zones(kind: Any) -> None:
    """Known the day before counts, on the day itself and eight days ago it does not."""
    days = [date(2013, 1, day) for day in range(1, 11)]
    events = pl.DataFrame({"known": pl.Series([*days, None]).cast(kind)}).with_columns(v=pl.int_range(pl.len()))
    rows = pl.DataFrame({"at": pl.Series([date(2013, 1, 9), None, date(2012, 1, 1)]).cast(kind)})

    _check(rows, events, _all((), "7d"))


def test_what_lies_beyond_the_years_of_nanoseconds_is_never_known() -> None:
    """The year 9999 has no place among them, and does not come round to another."""
    years = (datetime(9999, 1, 1), datetime(2013, 1, 1), datetime(2262, 4, 10))
    events = pl.DataFrame({"v": [1, 2, 3], "known": years})
    rows = pl.DataFrame({"at": pl.Series([datetime(2013, 1, 2), datetime(2262, 4, 11)]).cast(pl.Datetime("ns"))})

    _check(rows, events, _all((), "36525d"))


_VALUES: dict[str, tuple[Any, list[Any]]] = {
    "float": (pl.Float64, [0.125, None, float("nan"), -2.5]),
    "single": (pl.Float32, [0.125, None, float("nan"), -2.5]),
    "money": (pl.Decimal(9, 3), [Decimal("0.125"), None, Decimal("-2.500")]),
    "boolean": (pl.Boolean, [True, None, False]),
    "text": (pl.String, ["x", None, ""]),
    "list": (pl.List(pl.Int64), [[1], None, []]),
}


@pytest.mark.parametrize("kind", _VALUES)
def test_values_of_every_type(kind: str) -> None:
    """What is null or NaN is no value, whatever it is of; not every type can be added."""
    dtype, values = _VALUES[kind]
    known = [NOON - timedelta(minutes=minute) for minute in range(len(values))]
    events = pl.DataFrame({"v": pl.Series(values, dtype=dtype), "known": known})
    only = ("count", "last") if kind in ("text", "list") else AGGREGATIONS
    aggregates = {name: item for name, item in _all((), "1h", decimals=1).items() if item.agg in only}

    _check(pl.DataFrame({"at": [NOON, NOON + HOUR, NOON + HOUR / 2]}), events, aggregates)


def _many() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows and events in the hundreds, of two keys, with ties and gaps."""
    number = np.random.default_rng(4)
    events = pl.DataFrame(
        {
            "k": number.integers(0, 5, 900).astype(str),
            "j": number.integers(0, 3, 900),
            "v": pl.Series(number.integers(0, 9, 900)).replace(0, None),
            "w": number.integers(0, 9, 900),
            "m": number.integers(0, 600, 900),
            "known": [NOON] * 900,
        }
    ).with_columns(known=pl.col("known") - pl.duration(minutes="m"), later=pl.col("known") + pl.duration(minutes=7))
    rows = events.select("k", "j", at=pl.col("known") + pl.duration(minutes="w"))[:300]
    return rows, events.drop("m")


def _mixed() -> dict[str, History]:
    return {
        "mean": history(keys=("k", "j"), value="v", known_at="known", window="1h"),
        "mean_count": history(keys=("k", "j"), value="v", known_at="known", window="1h", agg="count"),
        "count": history(keys=("k", "j"), known_at="known", window="1h", agg="count"),
        "later": history(keys=("j", "k"), value="v", known_at="later", window="2h", agg="max"),
        "last": history(keys="k", value="v", known_at="later", window="1h", agg="last"),
        "whole": history(keys="k", value="w", known_at="later", window="1h"),
        "whole_count": history(keys="k", known_at="later", window="1h", agg="count"),
        "all": history(value="v", known_at="known", window="5m", agg="min"),
    }


def test_many_at_once_are_as_one_by_one() -> None:
    """Many are searched for in another way than few."""
    rows, events = _many()
    ordinals = np.arange(len(events), dtype=np.uint32)

    with _indexed(rows, events, _mixed()) as (past, asked):
        counted, asking = past.counted(rows), asked.asking(events, ordinals, past)
        for place in range(0, 300, 7):
            assert all((one[0] == counted[name][place]).all() for name, one in past.counted(rows[[place]]).items())
            alone = asked.asking(events[[place]], ordinals[[place]], past)
            assert all((one[0] == asking[name][place]).all() for name, one in alone.items())

    rows, events = rows[:40], events[:200]
    _check(rows, events, _mixed())


def test_aggregates_in_which_the_same_events_count_share_one_answer() -> None:
    """A mean and its count, and any count where no event lacks a value; not a count beside a mean with gaps."""
    rows, events = _many()

    with _indexed(rows, events, _mixed()) as (past, _):
        counted = past.counted(rows)

    assert counted["mean"] is counted["mean_count"] is not counted["count"]
    assert counted["whole"] is counted["whole_count"] is not counted["last"]


def test_only_what_is_named_is_looked_up() -> None:
    """By name, in the order of the names."""
    rows, events = _many()

    with _indexed(rows, events, _mixed()) as (past, asked):
        assert ["last", "mean"] == list(past.counted(rows, "last", "mean"))
        assert ["last"] == list(asked.asking(events[:1], np.array([0]), past, "last"))
        with pytest.raises(NotFoundError, match="median: no such aggregate; there are mean, mean_count"):
            past.counted(rows, "median")


@pytest.mark.parametrize("frame", ["rows", "events", "both"])
def test_nothing_counts_where_there_is_nothing(frame: str) -> None:
    """No events, no rows, or neither."""
    rows, events = _many()
    rows = rows[:0] if frame != "events" else rows[:9]
    events = events[:0] if frame != "rows" else events[:9]

    with _indexed(rows, events, _mixed()) as (past, asked):
        counted, asking = past.counted(rows), asked.asking(events, np.arange(len(events)), past)

    assert {len(rows)} == {len(one) for one in counted.values()}
    assert {len(events)} == {len(one) for one in asking.values()}
    assert not any(len(one.ordinals) for one in (*counted.values(), *asking.values()))


def test_the_same_files_from_the_same_events(tmp_path: Path) -> None:
    """An index can be removed and built again: it is a function of what it is given."""
    rows, events = _many()
    for folder in (tmp_path / "one", tmp_path / "two"):
        Past.build(events.lazy(), rows=rows.schema, at="at", aggregates=_mixed(), folder=folder)

    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two
    assert {".npy", ".arrow", ".json"} == {Path(name).suffix for name in one}


def test_half_an_index_is_none(tmp_path: Path) -> None:
    """What a build that failed has left is not opened."""
    _, events = _many()
    rows = pl.Schema({"k": pl.String(), "j": pl.List(pl.Int64), "at": pl.Datetime("us", "UTC")})
    by_list = {"n": history(keys=("k", "j"), known_at="known", window="1h", agg="count")}

    with pytest.raises(DeclarationError, match=r"key 'j' is List\(Int64\), by which nothing can be looked up"):
        Past.build(events.lazy(), rows=rows, at="at", aggregates=by_list, folder=tmp_path / "past")

    unreadable = events.lazy().with_columns(w=pl.col("k").cast(pl.Int8) * 100 + pl.lit("x").cast(pl.Int8))
    with pytest.raises(pl.exceptions.InvalidOperationError):
        Past.build(unreadable, rows=_many()[0].schema, at="at", aggregates=_mixed(), folder=tmp_path / "past")

    with pytest.raises(NotFoundError, match="past holds no index; build it"):
        Past.open(tmp_path / "past")


def test_an_index_of_another_format_is_not_read(tmp_path: Path) -> None:
    """It is to be built again, not to be guessed at."""
    rows, events = _many()
    Past.build(events.lazy(), rows=rows.schema, at="at", aggregates=_mixed(), folder=tmp_path / "past")
    contents = json.loads((tmp_path / "past" / "index.json").read_text())
    (tmp_path / "past" / "index.json").write_text(json.dumps(contents | {"format": 0}))

    with pytest.raises(NotFoundError, match="is an index of format 0; remove it and build it again"):
        Past.open(tmp_path / "past")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (pl.col("j").cast(pl.Int32), "'j' was Int64 in the rows that asked and is Int32 in these"),
        (pl.col("at").dt.convert_time_zone(_BERLIN), "'at' was .*UTC.* and is .*Berlin"),
    ],
    ids=["key", "time"],
)
def test_rows_of_other_types_are_refused(change: pl.Expr, said: str) -> None:
    """What is not the row that asked is not looked up."""
    rows, events = _many()

    with _indexed(rows, events, _mixed()) as (past, _):
        with pytest.raises(ValueError, match=said):
            past.counted(rows.with_columns(change))
        with pytest.raises(ValueError, match="'k' was String in the rows that asked and is missing"):
            past.counted(rows.drop("k"))
