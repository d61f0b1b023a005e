"""Each fault that the flights data can have is planted in good rows and found by the promises meant for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from lineage.ports import CheckReport

pytest.importorskip("assets.flights")

Plant = Callable[[pl.DataFrame], pl.DataFrame]
Finding = tuple[str, str | None, bool]

KINDS = {
    "between": "expect_column_values_to_be_between",
    "columns": "expect_table_columns_to_match_set",
    "compound": "expect_compound_columns_to_be_unique",
    "contains": "expect_column_distinct_values_to_contain_set",
    "distinct": "expect_column_unique_value_count_to_be_between",
    "in set": "expect_column_values_to_be_in_set",
    "known": "expect_column_values_to_not_be_null",
    "mean": "expect_column_mean_to_be_between",
    # Under a condition that describes wrong rows: there are none.
    "none": "expect_column_values_to_be_null",
    "regex": "expect_column_values_to_match_regex",
    "rows": "expect_table_row_count_to_be_between",
    "share": "expect_column_proportion_of_non_null_values_to_be_between",
    "unique": "expect_column_values_to_be_unique",
}


def blocks(kind: str, column: str | None = None) -> Finding:
    return (KINDS[kind], column, True)


def warns(kind: str, column: str | None = None) -> Finding:
    return (KINDS[kind], column, False)


# A few rows of a month are too few, which is a fault of its own; two airports are in the wrong zone.
GOOD = {
    **{name: Counter([blocks("rows")]) for name in ("departures", "legs", "features", "pushback_features")},
    "airports": Counter([warns("regex", "tzone")]),
    **{name: Counter() for name in ("weather", "planes", "airlines")},
}


def every(**values: Any) -> Plant:
    """Give all rows other values, computed from the old ones; None makes them null."""
    return lambda frame: _where(frame, pl.lit(True), values)


def one(where: pl.Expr | None = None, **values: Any) -> Plant:
    """Give the first row for which `where` holds other values."""
    row = pl.int_range(pl.len())
    first = row == (0 if where is None else row.filter(where).first())
    return lambda frame: _where(frame, first, values)


def some(per_cent: int, **values: Any) -> Plant:
    return lambda frame: _where(frame, pl.int_range(pl.len()) % 100 < per_cent, values)


def _where(frame: pl.DataFrame, rows: pl.Expr, values: dict[str, Any]) -> pl.DataFrame:
    new = {name: value if isinstance(value, pl.Expr) else pl.lit(value) for name, value in values.items()}
    kinds = {name: frame.schema.get(name, pl.Int32) for name in values}
    old = {name: pl.col(name) if name in frame.columns else pl.lit(None) for name in values}
    return frame.with_columns(
        pl.when(rows).then(new[name].cast(kinds[name])).otherwise(old[name]).alias(name) for name in values
    )


def only(where: pl.Expr) -> Plant:
    return lambda frame: frame.filter(where)


def head(rows: int) -> Plant:
    return lambda frame: frame.head(rows)


def twice(frame: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([frame, frame.head(1)])


def lost(count: int, origin: str) -> Plant:
    """Drop that many observations of one station."""
    at = pl.col("origin") == origin
    return only(~at | (at.cast(pl.Int64).cum_sum() > count))


def into_the_next_month(frame: pl.DataFrame) -> pl.DataFrame:
    """One row again, a month later."""
    local = pl.col("time_hour").dt.convert_time_zone("America/New_York")
    later = local.dt.offset_by("1mo").dt.convert_time_zone("UTC")
    return pl.concat([frame, frame.head(1).with_columns(later, pl.col("month") + 1)])


def hours(count: int, column: str) -> pl.Expr:
    return pl.col(column) + pl.duration(hours=count)


def at(clock: str) -> pl.Expr:
    return pl.col(clock) // 100 * 60 + pl.col(clock) % 100


def where_known(column: str, other: str) -> pl.Expr:
    return pl.when(pl.col(column).is_not_null()).then(other)


CANCELLED, DEPARTED = pl.col("dep_time").is_null(), pl.col("dep_time").is_not_null()
ARRIVED, LATE = pl.col("arr_delay").is_not_null(), pl.col("arr_delay") > 30
NOTHING = dict.fromkeys(("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"))
DEP, ARR, SCHEDULED = at("sched_dep_time"), at("sched_arr_time"), pl.col("scheduled_minutes")
# Delays that agree with clock times which are 1,440 minutes and more after the schedule.
OUT_OF_RANGE = {"dep_time": 2401, "dep_delay": 1441 - DEP}
ZERO = {"dep_time": 0, "dep_delay": 1440 - DEP}
LEFT_1275 = {"dep_time": 1275, "dep_delay": 1440 + 795 - DEP}
CAME_1275 = {"arr_time": 1275, "arr_delay": 1440 + 795 - ARR}

DEPARTURES = [
    ("a flight sent twice", twice, blocks("compound")),
    ("a column more", every(gate=1), blocks("columns")),
    ("ten days of the month", only(pl.col("day") <= 10), blocks("distinct", "day")),
    ("two months in a file", into_the_next_month, blocks("distinct", "month")),
    ("another year", every(year=2014), blocks("in set", "year"), blocks("none", "time_hour")),
    ("an origin elsewhere", one(origin="BOS"), blocks("in set", "origin")),
    ("an origin lost", only(pl.col("origin") != "LGA"), blocks("contains", "origin")),
    ("an unknown carrier", one(carrier="ZZ"), warns("in set", "carrier")),
    ("no carrier", one(carrier=None), blocks("known", "carrier")),
    ("departed without a plane", one(DEPARTED, tailnum=None), blocks("known", "tailnum")),
    ("fleet numbers for planes", some(2, tailnum="0427"), blocks("regex", "tailnum")),
    # Twice: a delay without the time that it is measured at adds up to nothing either.
    (
        "cancelled, yet delayed",
        one(ARRIVED, dep_time=None),
        blocks("none", "dep_delay"),
        warns("none", "dep_delay"),
        blocks("none", "arr_time"),
    ),
    (
        "cancelled, yet late",
        one(CANCELLED, arr_delay=5),
        blocks("none", "arr_delay"),
        warns("none", "arr_delay"),
        warns("known", "air_time"),
    ),
    ("departed without a delay", one(DEPARTED, dep_delay=None), blocks("known", "dep_delay")),
    ("5 % diverted", some(5, arr_delay=None), blocks("known", "arr_delay")),
    ("30 % cancelled", some(30, **NOTHING), blocks("share", "dep_time")),
    ("nobody cancelled", only(DEPARTED), blocks("share", "dep_time")),
    ("left at 2401", one(DEPARTED, **OUT_OF_RANGE), blocks("between", "dep_time")),
    ("left at 0 for midnight", one(DEPARTED, **ZERO), blocks("between", "dep_time")),
    ("left at 1275", one(DEPARTED, **LEFT_1275), blocks("none", "dep_time")),
    ("came at 1275", one(ARRIVED, **CAME_1275), blocks("none", "arr_time")),
    ("due at 1275", one(CANCELLED, sched_arr_time=1275), blocks("none", "sched_arr_time")),
    ("two schedules", one(CANCELLED, sched_dep_time=pl.col("sched_dep_time") - 100), blocks("none", "sched_dep_time")),
    ("a delay in seconds", one(pl.col("dep_delay") == 5, dep_delay=300), warns("none", "dep_delay")),
    ("a delay that no clock shows", one(LATE, arr_delay=5), warns("none", "arr_delay")),
    ("days late", one(LATE, arr_delay=pl.col("arr_delay") + 2880), blocks("between", "arr_delay")),
    ("local time as UTC", every(time_hour=hours(-5, "time_hour")), blocks("none", "time_hour")),
    ("a row an hour off", one(time_hour=hours(1, "time_hour")), blocks("none", "time_hour")),
    ("17 miles, never departed", one(CANCELLED, dest="LGA", distance=17), warns("between", "distance")),
    (
        "17 miles, departed",
        one(DEPARTED, dest="LGA", distance=17),
        blocks("between", "distance"),
        warns("between", "distance"),
    ),
]
WEATHER = [
    ("an hour sent twice", twice, blocks("compound")),
    ("a station elsewhere", one(origin="BOS"), blocks("in set", "origin"), blocks("none", "origin")),
    ("a station lost", only(pl.col("origin") != "JFK"), blocks("rows"), blocks("contains", "origin")),
    ("40 hours lost", lost(40, "EWR"), blocks("none", "origin")),
    ("ten days of the month", only(pl.col("day") <= 10), blocks("rows"), blocks("none", "origin")),
    ("two months in a file", into_the_next_month, blocks("distinct", "month")),
    ("local time as UTC", every(time_hour=hours(-4, "time_hour")), blocks("none", "time_hour")),
    ("1,048 mph", one(wind_speed=1048.36), warns("between", "wind_speed")),
    ("wind below 0", one(wind_speed=-1.0), blocks("between", "wind_speed")),
    ("no pressure", every(pressure=None), blocks("share", "pressure")),
    ("pressure filled", every(pressure=pl.col("pressure").fill_null(1013)), blocks("share", "pressure")),
    ("gusts filled", every(wind_gust=pl.col("wind_gust").fill_null(0)), blocks("share", "wind_gust")),
    ("2 % without temperature", some(2, temp=None), blocks("known", "temp")),
    ("humidity of 140 %", one(humid=140.0), blocks("between", "humid")),
]
PLANES = [
    ("a plane twice", twice, blocks("unique", "tailnum")),
    ("half of the file", head(1600), blocks("rows")),
    ("years lost", some(5, year=None), blocks("known", "year")),
    ("no seats", one(seats=0), blocks("between", "seats")),
]
AIRPORTS = [
    ("an airport twice", twice, blocks("unique", "faa")),
    ("half of the file", head(700), blocks("rows")),
    ("time zones lost", some(1, tzone=None), blocks("known", "tzone")),
    ("beyond the pole", one(lat=91.0), blocks("between", "lat")),
]
AIRLINES = [
    ("a carrier twice", twice, blocks("unique", "carrier")),
    ("a carrier lost", only(pl.col("carrier") != "UA"), blocks("contains", "carrier")),
    ("no name", one(name=None), blocks("known", "name")),
]

UNFLOWN = pl.col("dep_delay").is_null()
AN_HOUR_OFF = {"departs_at": hours(1, "departs_at"), "scheduled_minutes": SCHEDULED - 60}
A_DAY_LONG = {"arrives_at": hours(24, "arrives_at"), "scheduled_minutes": SCHEDULED + 1440}
WRONG_ZONE = {name: hours(1, name) for name in ("arrives_at", "arrived_at")} | {"scheduled_minutes": SCHEDULED + 60}
ALL_LATE = {"arr_delay": pl.when(ARRIVED).then(20), "late": pl.when(ARRIVED).then(True)}
LEGS = [
    ("a leg twice", twice, blocks("unique", "flight_id")),
    ("an unknown carrier", one(airline=None), blocks("known", "airline")),
    ("a fifth unknown airport", one(UNFLOWN, arrives_at=None), blocks("known", "arrives_at")),
    ("an origin elsewhere", one(origin="BOS"), blocks("in set", "origin")),
    ("17 miles, departed", one(ARRIVED, distance=17), blocks("between", "distance")),
    ("a row an hour off", one(UNFLOWN, **AN_HOUR_OFF), blocks("none", "departs_at")),
    ("arrivals in the wrong zone", every(**WRONG_ZONE), blocks("mean", "scheduled_minutes")),
    ("a day too long", one(UNFLOWN, **A_DAY_LONG), blocks("between", "scheduled_minutes")),
    ("a wrong duration", one(scheduled_minutes=SCHEDULED + 1), blocks("none", "arrives_at")),
    ("another weekday", one(weekday=pl.col("weekday") % 7 + 1), blocks("none", "weekday")),
    ("departed without a plane", one(ARRIVED, tailnum=None), blocks("known", "tailnum")),
    ("cancelled flights lost", only(~UNFLOWN), blocks("share", "dep_delay")),
    (
        "cancelled, yet arrived",
        one(UNFLOWN, arrived_at=pl.col("arrives_at")),
        blocks("none", "arrived_at"),
        blocks("none", "arrived_at"),
    ),
    (
        "known at the scheduled departure",
        every(departed_at=where_known("departed_at", "departs_at")),
        blocks("none", "departed_at"),
    ),
    (
        "known at the scheduled arrival",
        every(arrived_at=where_known("arrived_at", "arrives_at")),
        blocks("none", "arrived_at"),
    ),
    ("late at 14 minutes", one(LATE, late=False), blocks("none", "late")),
    ("cancelled, yet on time", one(UNFLOWN, late=False), blocks("none", "late")),
    ("arrived, yet unknown", one(LATE, late=None), blocks("none", "arr_delay")),
]
ELSEWHERE = {"dest": "XYZ", "dest_lat": None, "dest_lon": None, "dest_alt": None}
NO_HISTORY = {"origin_delay_2h": None, "origin_delay_2h_flights": 0}
FEATURES = [
    ("a leg twice", twice, blocks("unique", "flight_id")),
    ("another key", one(flight_id="UA1545"), blocks("regex", "flight_id")),
    ("a leak in a column", every(dep_delay=0), blocks("columns")),
    ("predicted too late", one(predicts_at=hours(1, "predicts_at")), blocks("none", "predicts_at")),
    ("1,048 mph", one(wind_speed=1048.36), blocks("between", "wind_speed")),
    ("30 % unknown planes", some(30, plane_seats=None), blocks("known", "plane_seats")),
    ("5 % without weather", some(5, visib=None), blocks("known", "visib")),
    ("pressure filled", every(pressure=1013.0), blocks("share", "pressure")),
    ("gusts filled", every(wind_gust=pl.col("wind_gust").fill_null(0)), blocks("share", "wind_gust")),
    ("a fifth unknown airport", one(**ELSEWHERE), *[blocks("in set", "dest")] * 3),
    ("unknown airports lost", only(pl.col("dest_lat").is_not_null()), blocks("contains", "dest")),
    ("a longitude without its sign", one(dest_lon=95.34), blocks("between", "dest_lon")),
    ("flights, but no value", one(all_delay_2h_flights=3), blocks("none", "all_delay_2h_flights")),
    ("a value of no flights", one(all_delay_2h=3.0), blocks("none", "all_delay_2h_flights")),
    ("an unknown count", one(all_delay_2h_flights=None), blocks("known", "all_delay_2h_flights")),
    ("a share of 120 %", one(pl.col("route_late_28d") > 0, route_late_28d=1.2), blocks("between", "route_late_28d")),
    ("hours early", one(pl.col("all_delay_2h") > 0, all_delay_2h=-500.0), blocks("between", "all_delay_2h")),
    ("no history", every(**NO_HISTORY), blocks("known", "origin_delay_2h")),
    ("everybody late", every(**ALL_LATE), blocks("mean", "late")),
    ("cancelled flights lost", only(ARRIVED), blocks("share", "arr_delay")),
]
PUSHBACK = [
    ("never pushed back", one(dep_delay=None), blocks("known", "dep_delay"), blocks("none", "predicts_at")),
    ("5 % diverted", some(5, arr_delay=None, late=None), blocks("share", "arr_delay")),
    ("no time of prediction", one(predicts_at=None), blocks("known", "predicts_at")),
]
TABLES = {
    "departures": DEPARTURES,
    "weather": WEATHER,
    "planes": PLANES,
    "airports": AIRPORTS,
    "airlines": AIRLINES,
    "legs": LEGS,
    "features": FEATURES,
    "pushback_features": PUSHBACK,
}
FAULTS = [(table, *fault) for table, faults in TABLES.items() for fault in faults]


def failed(report: CheckReport) -> Counter[Finding]:
    return Counter((item.kind, item.column, item.blocking) for item in report.expectations if not item.success)


def changed(good: pl.DataFrame, bad: pl.DataFrame) -> list[str] | None:
    """The columns that are not what they were; None where rows or columns came or went."""
    if (len(good), good.columns) != (len(bad), bad.columns):
        return None
    return [name for name in bad.columns if not good[name].equals(bad[name])]


@pytest.mark.parametrize("table", TABLES)
def test_good_rows_pass(good, found_in, table):
    """The rows into which the faults are planted lack nothing, but that there are few of some."""
    assert failed(found_in(table, good(table))) == GOOD[table]


@pytest.mark.parametrize(
    ("table", "plant", "expected"),
    [(table, plant, Counter(expected)) for table, _, plant, *expected in FAULTS],
    ids=[f"{table}: {name}" for table, name, *_ in FAULTS],
)
def test_a_planted_fault_is_found(good, found_in, table, plant, expected):
    """Exactly the promises meant for the fault fail, and they block or warn as they should."""
    bad = plant(good(table))

    # A promise that reads no changed column finds what it found above: only the others are asked.
    report = found_in(table, bad, changed(good(table), bad))

    assert failed(report) - GOOD[table] == expected
