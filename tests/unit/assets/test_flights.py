"""The example's transforms, as tables: rows in, rows out."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from lineage import sources

flights = pytest.importorskip("assets.flights", reason="the example pipeline is not in this project")

OUTCOMES = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")
MODELS = [step.detail for step in flights.flights.steps.values() if step.kind == "model"]

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
AIRPORT: dict[str, Any] = {"faa": "IAH", "lat": 29.98, "lon": -95.34, "alt": 97, "tzone": "America/Chicago"}


def _legs(*changes: dict[str, Any], **changed: Any) -> pl.DataFrame:
    """One leg for each of `changes` to DEPARTURE, or one with the changes given by name."""
    rows = [{**DEPARTURE, **change} for change in changes or (changed,)]
    whole = dict.fromkeys((*OUTCOMES, "sched_arr_time", "hour", "minute"), pl.Int32)
    departures = pl.LazyFrame(rows, schema_overrides={**whole, "tailnum": pl.String})
    airlines = pl.LazyFrame({"carrier": ["UA"], "name": ["United Air Lines Inc."]})
    return flights.legs(departures, airlines, pl.LazyFrame([AIRPORT])).collect()


def _features(legs: pl.DataFrame, *observations: dict[str, Any], table: str = "features") -> list[dict[str, Any]]:
    weather = pl.LazyFrame(list(observations) or [OBSERVATION])
    planes, airports = pl.LazyFrame([PLANE]), pl.LazyFrame([AIRPORT])
    found = getattr(flights, table)(legs.lazy(), legs.lazy(), weather, planes, airports).collect()
    return found.sort("departs_at", "flight_id").rows(named=True)


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
    """No column of the features but the targets tells of the actual departure or arrival."""
    actual = {"dep_time", "dep_delay", "arr_time", "air_time", "tailnum", "departed_at", "arrived_at"}

    assert not actual & set(_features(_legs())[0])
    assert not {"arr_delay", "late"} & {name for model in MODELS for name in model.features}


def test_weather_is_that_of_the_hour_before() -> None:
    """A flight at 10:15 sees the observation of 09:00, not the one of 10:00."""
    later = {**OBSERVATION, "time_hour": datetime(2013, 1, 1, 10, tzinfo=UTC), "temp": 99.0}

    assert _features(_legs(), OBSERVATION, later)[0]["temp"] == 1.0


def test_weather_of_another_airport_does_not_count() -> None:
    """Observations belong to their airport."""
    assert _features(_legs(), {**OBSERVATION, "origin": "JFK"})[0]["temp"] is None


def test_the_hour_before_may_be_in_the_month_before() -> None:
    """The first flights of February need January's last observation."""
    legs = _legs(month=2, hour=0, minute=5, time_hour=datetime(2013, 2, 1, 5, tzinfo=UTC))
    observation = {**OBSERVATION, "time_hour": datetime(2013, 2, 1, 4, tzinfo=UTC), "temp": 7.0}

    assert _features(legs, observation)[0]["temp"] == 7.0


def test_impossible_wind_is_unknown() -> None:
    """The anemometer that reported 1,048 mph is not believed."""
    assert _features(_legs(), {**OBSERVATION, "wind_speed": 1048.36})[0]["wind_speed"] is None


@pytest.mark.parametrize(
    ("changed", "column"),
    [({"tailnum": "N0000"}, "plane_seats"), ({"dest": "SJU"}, "dest_lat")],
    ids=["unknown plane", "unknown airport"],
)
def test_what_is_not_known_is_missing_not_dropped(changed: dict[str, str], column: str) -> None:
    """Planes and airports that the lookups lack leave a null, and the flight in place."""
    assert _features(_legs(**changed))[0][column] is None


# --- when things happen: local clocks, midnights and the days on which clocks change


@pytest.mark.parametrize(
    ("changed", "arrives_at"),
    [
        ({}, datetime(2013, 1, 1, 14, 19, tzinfo=UTC)),
        ({"sched_arr_time": 2400}, datetime(2013, 1, 2, 6, tzinfo=UTC)),
        ({"sched_arr_time": 2359}, datetime(2013, 1, 2, 5, 59, tzinfo=UTC)),
        ({"hour": 22, "minute": 0, "time_hour": datetime(2013, 1, 2, 3, tzinfo=UTC), "sched_arr_time": 115},
         datetime(2013, 1, 2, 7, 15, tzinfo=UTC)),
        ({"dest": "SJU", "sched_arr_time": 1015}, datetime(2013, 1, 1, 14, 15, tzinfo=UTC)),
        ({"dest": "XXX"}, None),
    ],
    ids=["same day", "2400", "before midnight", "after midnight", "not among the airports", "nowhere"],
)  # fmt: skip
def test_an_arrival_is_on_the_clock_of_its_destination(changed: dict[str, Any], arrives_at: datetime | None) -> None:
    """8:19 at Houston is 14:19 UTC; 2400 and 1:15 belong to the next day; San Juan's clock is known too."""
    assert _legs(changed)["arrives_at"].to_list() == [arrives_at]


@pytest.mark.parametrize(
    ("changed", "arrives_at"),
    [
        # Clocks go back at 2:00 on 3 November: a day later is 25 hours later, 0:30 is still before it.
        ({"month": 11, "day": 2, "hour": 21, "time_hour": datetime(2013, 11, 3, 1, tzinfo=UTC), "sched_arr_time": 30},
         datetime(2013, 11, 3, 5, 30, tzinfo=UTC)),
        ({"month": 11, "day": 2, "hour": 21, "time_hour": datetime(2013, 11, 3, 1, tzinfo=UTC), "sched_arr_time": 400},
         datetime(2013, 11, 3, 10, tzinfo=UTC)),
        # 1:30 comes twice; the first is meant.
        ({"month": 11, "day": 2, "hour": 21, "time_hour": datetime(2013, 11, 3, 1, tzinfo=UTC), "sched_arr_time": 130},
         datetime(2013, 11, 3, 6, 30, tzinfo=UTC)),
        # 2:30 on 10 March is skipped; clocks show 3:30.
        ({"month": 3, "day": 9, "hour": 21, "time_hour": datetime(2013, 3, 10, 2, tzinfo=UTC), "sched_arr_time": 230},
         datetime(2013, 3, 10, 8, 30, tzinfo=UTC)),
    ],
    ids=["before the clocks go back", "after", "the hour that comes twice", "the hour that is skipped"],
)  # fmt: skip
def test_nights_on_which_clocks_change(changed: dict[str, Any], arrives_at: datetime) -> None:
    """Midnight is rolled over on the wall clock, not by 24 hours (Houston changes its clocks at its own 2:00)."""
    assert _legs(changed)["arrives_at"].to_list() == [arrives_at]


def test_what_happened_is_known_when_it_happened() -> None:
    """Two minutes after the scheduled departure, eleven after the scheduled arrival; never, if it did not happen."""
    # A join promises no order; the runner stores rows by their key.
    legs = _legs({}, {"flight": 2, **dict.fromkeys(OUTCOMES)}).sort("flight")
    cancelled, flown = legs.rows(named=True)

    assert flown["departed_at"] == datetime(2013, 1, 1, 10, 17, tzinfo=UTC)
    assert flown["arrived_at"] == datetime(2013, 1, 1, 14, 30, tzinfo=UTC)
    assert (cancelled["departed_at"], cancelled["arrived_at"], cancelled["late"]) == (None, None, None)


# --- what was known of other flights


def _after(minutes: int, **changed: Any) -> dict[str, Any]:
    """A departure `minutes` after 10:00 UTC; every one has a number of its own."""
    hour, minute = divmod(minutes, 60)
    at = datetime(2013, 1, 1, 10 + hour, tzinfo=UTC)
    return {"flight": minutes, "hour": 5 + hour, "minute": minute, "time_hour": at, "dep_delay": 0, **changed}


@pytest.mark.parametrize(
    ("dep_delay", "seen"), [(44, True), (45, False), (46, False)], ids=["before", "at the same time", "after"]
)
def test_a_departure_is_seen_once_it_has_happened(dep_delay: int, seen: bool) -> None:
    """A flight due at 10:00 that left at 10:44 is known to one due at 10:45; one that left at 10:45 is not yet."""
    row = _features(_legs(_after(0, dep_delay=dep_delay), _after(45)))[1]

    assert (row["origin_delay_2h"], row["origin_delay_2h_flights"]) == ((dep_delay, 1) if seen else (None, 0))


def test_an_arrival_is_seen_once_it_has_happened() -> None:
    """Arrived at 14:30: unknown at 14:30, known at 14:31."""
    rows = _features(_legs({}, _after(270), _after(271)))

    assert [row["dest_late_28d_flights"] for row in rows] == [0, 0, 1]


def test_a_plane_without_a_name_has_no_history() -> None:
    """Two unknown planes are not one plane."""
    rows = _features(_legs({"tailnum": None}, _after(300, tailnum=None)))

    assert (rows[1]["aircraft_arrival_delay_1d"], rows[1]["aircraft_arrival_delay_1d_flights"]) == (None, 0)
    assert rows[1]["dest_late_28d_flights"] == 1


def test_a_flight_that_left_early_knows_only_what_was_known_then() -> None:
    """Due at 10:45, gone at 10:40: the departure at 10:42 is in its features at 10:45, not in those of push-back."""
    legs = _legs(_after(0, dep_delay=42), _after(45, dep_delay=-5))
    scheduled, pushed = (_features(legs, table=table)[1] for table in ("features", "pushback_features"))

    assert (scheduled["origin_delay_2h_flights"], pushed["origin_delay_2h_flights"]) == (2, 0)
    assert pushed["dep_delay"] == -5


def test_only_what_departed_is_predicted_at_pushback() -> None:
    """A cancelled flight has features of its schedule, and none of a push-back."""
    legs = _legs(dict.fromkeys(OUTCOMES))

    assert (len(_features(legs)), len(_features(legs, table="pushback_features"))) == (1, 0)


# --- poison


@pytest.fixture(scope="module")
def january() -> dict[str, pl.DataFrame]:
    """The sources as they stand in the raw files, the first ten days of January of those by month."""
    steps = flights.flights.steps
    found = {}
    for name in ("departures", "weather", "planes", "airports", "airlines"):
        fetch = steps[f"raw_{name}"].detail
        data = sources.fetch(fetch, "2013-01" if fetch.split_by else None)
        with tempfile.NamedTemporaryFile(suffix=".csv") as file:
            file.write(data)
            file.flush()
            frame = sources.read(Path(file.name), steps[name].detail, name)
        found[name] = frame.filter(pl.col("day") <= 10) if fetch.split_by else frame
    return found


def _legs_of(raw: dict[str, pl.DataFrame]) -> pl.DataFrame:
    return flights.legs(*(raw[name].lazy() for name in ("departures", "airlines", "airports"))).collect()


def _tables(raw: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    legs = _legs_of(raw)
    lazy = {name: raw[name].lazy() for name in ("weather", "planes", "airports")}
    return {
        table: getattr(flights, table)(legs.lazy(), legs.lazy(), **lazy).sort("flight_id").collect()
        for table in ("features", "pushback_features")
    }


def _poisoned(raw: dict[str, pl.DataFrame], now: datetime, *, cancel: bool) -> dict[str, pl.DataFrame]:
    """The raw rows with everything that became known at `now` or later replaced: by nonsense, or it never happened."""
    key = ["carrier", "flight", "origin", "departs_at"]
    departs_at = pl.col("time_hour") + pl.duration(minutes="minute")
    known = _legs_of(raw).select(*key, "departed_at", "arrived_at")
    departures = raw["departures"].with_columns(departs_at=departs_at).join(known, on=key, maintain_order="left")
    nonsense = {"dep_time": 1, "dep_delay": 9_999, "arr_time": 1, "arr_delay": 9_999, "air_time": 1}
    departing, arriving = pl.col("departed_at") >= now, pl.col("arrived_at") >= now
    outcomes = [
        pl.when(departing if name.startswith("dep") else departing | arriving)
        .then(None if cancel else value)
        .otherwise(name)
        .cast(pl.Int32)
        .alias(name)
        for name, value in nonsense.items()
    ]
    observed = [name for name, kind in raw["weather"].schema.items() if kind == pl.Float64]
    storm = [pl.when(pl.col("time_hour") >= now).then(-99.0).otherwise(name).alias(name) for name in observed]
    return {
        **raw,
        "departures": departures.with_columns(outcomes).select(raw["departures"].columns),
        "weather": raw["weather"].with_columns(storm),
    }


@settings(max_examples=16, deadline=None)
@given(data=st.data())
def test_whatever_is_known_later_changes_no_bit(january: dict[str, pl.DataFrame], data: st.DataObject) -> None:
    """Poison all raw outcomes and observations of some time and later: what was predicted before keeps every bit."""
    legs = _legs_of(january)
    instants = legs.select(pl.concat_list("departs_at", "departed_at", "arrived_at").explode()).drop_nulls()
    now = data.draw(st.integers(0, len(instants) - 1).map(lambda place: instants.to_series()[place]))

    before, after = _tables(january), _tables(_poisoned(january, now, cancel=data.draw(st.booleans())))

    gone = set(legs.filter(pl.col("departed_at") < now)["flight_id"])
    for table, model in (("features", "late_t0"), ("pushback_features", "late_pushback")):
        seen = pl.col("departs_at") <= now if table == "features" else pl.col("flight_id").is_in(gone)
        features = flights.flights.steps[model].detail.features
        same, other = (tables[table].filter(seen).select("flight_id", *features) for tables in (before, after))
        assert_frame_equal(same, other, check_exact=True)


def test_poison_reaches_what_is_predicted_later(january: dict[str, pl.DataFrame]) -> None:
    """The test above could not fail if the poison changed nothing: a day later every kind of feature differs."""
    now = datetime(2013, 1, 5, 17, tzinfo=UTC)
    before, after = _tables(january)["features"], _tables(_poisoned(january, now, cancel=False))["features"]

    later = pl.col("departs_at") > datetime(2013, 1, 6, 12, tzinfo=UTC)
    differing = {name for name in before.columns if not before.filter(later)[name].equals(after.filter(later)[name])}

    known = set(flights._SCHEDULE) | set(flights._PLACE) | {"flight_id", "departs_at", "predicts_at"}
    assert not differing & known
    assert {*flights._MEANS, *flights._WEATHER, "arr_delay", "late"} <= differing
