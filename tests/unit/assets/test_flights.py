"""The example's transforms, as tables: rows in, rows out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

flights = pytest.importorskip("assets.flights", reason="the example pipeline is not in this project")

DEPARTURE: dict[str, Any] = {
    "year": 2013,
    "month": 1,
    "day": 1,
    "dep_time": 517,
    "sched_dep_time": 515,
    "dep_delay": 2,
    "arr_time": 830,
    "sched_arr_time": 819,
    "arr_delay": 11,
    "carrier": "UA",
    "flight": 1545,
    "tailnum": "N14228",
    "origin": "EWR",
    "dest": "IAH",
    "air_time": 227,
    "distance": 1400,
    "hour": 5,
    "minute": 15,
    "time_hour": datetime(2013, 1, 1, 10, tzinfo=UTC),
}
OBSERVATION: dict[str, Any] = {
    "origin": "EWR",
    "time_hour": datetime(2013, 1, 1, 9, tzinfo=UTC),
    **dict.fromkeys(("temp", "dewp", "humid", "wind_dir", "wind_gust", "precip", "pressure", "visib"), 1.0),
    "wind_speed": 12.0,
}
PLANE: dict[str, Any] = {"tailnum": "N14228", "year": 1999, "engines": 2, "seats": 149}
AIRPORT: dict[str, Any] = {"faa": "IAH", "lat": 29.98, "lon": -95.34, "alt": 97}


def _legs(**changed: Any) -> pl.DataFrame:
    departures = pl.LazyFrame([{**DEPARTURE, **changed}], schema_overrides={"arr_delay": pl.Int32})
    airlines = pl.LazyFrame({"carrier": ["UA"], "name": ["United Air Lines Inc."]})
    return flights.legs(departures, airlines).collect()


def _features(legs: pl.DataFrame, *observations: dict[str, Any]) -> dict[str, Any]:
    weather = pl.LazyFrame(list(observations) or [OBSERVATION])
    planes, airports = pl.LazyFrame([PLANE]), pl.LazyFrame([AIRPORT])
    return flights.features(legs.lazy(), weather, planes, airports).collect().row(0, named=True)


def test_the_key_names_carrier_flight_origin_and_hour() -> None:
    """A flight is known by carrier, number, origin and scheduled hour in UTC."""
    assert _legs()["flight_id"].to_list() == ["UA1545-EWR-20130101T10Z"]


@pytest.mark.parametrize(
    ("arr_delay", "late"),
    [(14, False), (15, True), (-20, False), (None, None)],
    ids=["a minute short", "at the limit", "early", "never arrived"],
)
def test_late_is_fifteen_minutes_or_more(arr_delay: int | None, late: bool | None) -> None:
    """The target is unknown for flights that did not arrive."""
    assert _legs(arr_delay=arr_delay)["late"].to_list() == [late]


@pytest.mark.parametrize(
    ("clock", "minute"),
    [(2400, 0), (0, 0), (5, 5), (819, 499), (2359, 1439)],
    ids=["2400", "0000", "0005", "0819", "2359"],
)
def test_clock_times_are_minutes_of_the_day(clock: int, minute: int) -> None:
    """hhmm becomes minutes since midnight; 2400 is midnight."""
    assert _legs(sched_arr_time=clock)["arrival_minute"].to_list() == [minute]


def test_the_departure_is_an_instant() -> None:
    """The scheduled hour is UTC, the minute adds to it."""
    assert _legs()["departs_at"].to_list() == [datetime(2013, 1, 1, 10, 15, tzinfo=UTC)]


def test_an_unknown_carrier_keeps_its_flight() -> None:
    """A leg without an airline is still a leg."""
    assert _legs(carrier="ZZ").select("carrier", "airline").row(0) == ("ZZ", None)


def test_features_never_see_what_happened() -> None:
    """No column of the features but the target tells of the actual departure or arrival."""
    actual = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum"}

    assert not actual & set(_features(_legs()))


def test_weather_is_that_of_the_hour_before() -> None:
    """A flight at 10:15 sees the observation of 09:00, not the one of 10:00."""
    later = {**OBSERVATION, "time_hour": datetime(2013, 1, 1, 10, tzinfo=UTC), "temp": 99.0}

    assert _features(_legs(), OBSERVATION, later)["temp"] == 1.0


def test_weather_of_another_airport_does_not_count() -> None:
    """Observations belong to their airport."""
    assert _features(_legs(), {**OBSERVATION, "origin": "JFK"})["temp"] is None


def test_the_hour_before_may_be_in_the_month_before() -> None:
    """The first flights of February need January's last observation."""
    legs = _legs(month=2, hour=0, minute=5, time_hour=datetime(2013, 2, 1, 5, tzinfo=UTC))
    observation = {**OBSERVATION, "time_hour": datetime(2013, 2, 1, 4, tzinfo=UTC), "temp": 7.0}

    assert _features(legs, observation)["temp"] == 7.0


def test_impossible_wind_is_unknown() -> None:
    """The anemometer that reported 1,048 mph is not believed."""
    assert _features(_legs(), {**OBSERVATION, "wind_speed": 1048.36})["wind_speed"] is None


@pytest.mark.parametrize(
    ("changed", "column"),
    [({"tailnum": "N0000"}, "plane_seats"), ({"dest": "SJU"}, "dest_lat")],
    ids=["unknown plane", "unknown airport"],
)
def test_what_is_not_known_is_missing_not_dropped(changed: dict[str, str], column: str) -> None:
    """Planes and airports that the lookups lack leave a null, and the flight in place."""
    assert _features(_legs(**changed))[column] is None
