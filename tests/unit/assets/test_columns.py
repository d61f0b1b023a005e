"""The example's column lineage: exact for every table, and what changes with a column is what it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import polars as pl
import pytest

from lineage import sources
from lineage.columnar.steps import Input, model_columns, source_columns, table_columns
from lineage.columns import ColumnLineage, Source
from lineage.spec import Model, Step
from lineage.spec import Source as SourceDetail

flights = pytest.importorskip("assets.flights", reason="the example pipeline is not in this project")

STEPS: Mapping[str, Step] = {step.name: step for step in flights.flights.steps.values() if step.kind != "fetch"}
HOURS = [datetime(2013, 3, 5, 10, tzinfo=UTC) + timedelta(hours=hour) for hour in (0, 1, 3, 26, 27, 29)]


@cache
def schema(name: str) -> pl.Schema:
    """The columns of a table of the example."""
    step = STEPS[name]
    if isinstance(step.detail, SourceDetail):
        return sources.types(step.detail)
    assert step.function is not None
    inputs = {item.name: pl.LazyFrame(schema=schema(item.step)) for item in step.inputs}
    return pl.Schema(step.function(**inputs, **step.parameters).collect_schema())


@cache
def lineage_of(name: str) -> ColumnLineage:
    """The column lineage of a step of the example."""
    step = STEPS[name]
    if isinstance(step.detail, SourceDetail):
        return source_columns(step.detail, f"flights/raw_{name}")
    if isinstance(step.detail, Model):
        return model_columns(step, step.detail, f"flights/{step.detail.table}")
    return table_columns(step, {item.name: Input(item.step, schema(item.step)) for item in step.inputs})


@cache
def rows(name: str) -> pl.DataFrame:
    """Some rows of a table, so that something is found in every join and window."""
    if name == "legs":
        return table("legs", {item.name: rows(item.step) for item in STEPS["legs"].inputs})
    size = len(HOURS)
    known: dict[str, Any] = {
        "time_hour": [hour - timedelta(hours=name == "weather") for hour in HOURS],
        **{"year": [2013] * size, "month": [3] * size, "day": [hour.day for hour in HOURS]},
        **{"hour": [hour.hour - 5 for hour in HOURS], "minute": [5, 10, 15, 20, 25, 30]},
        "sched_arr_time": [hour.hour * 100 - 200 + 7 for hour in HOURS],
        **{"dep_delay": [2, None, 20, -4, 31, 7], "arr_delay": [11, -3, 40, None, 25, 16]},
        "tzone": ["America/Chicago", "America/Denver", "America/New_York", "America/Phoenix", None, "Pacific/Honolulu"],
    }
    if name == "departures":
        known |= {
            "carrier": list("UAUUAU"),
            "origin": ["EWR"] * 5 + ["JFK"],
            "dest": list("IIJIJI"),
            "tailnum": list("NMNNMN"),
        }
    if name == "weather":
        known |= {"origin": ["EWR"] * 5 + ["JFK"]}
    keys = {"airlines": "carrier", "airports": "faa", "planes": "tailnum"}
    if name in keys:
        known |= {keys[name]: list({"airlines": "UABCDE", "airports": "IJKLMN", "planes": "NMOPQR"}[name])}
    made = {}
    for number, (column, kind) in enumerate(schema(name).items()):
        values = known.get(column, [number + 2 * row for row in range(size)])
        made[column] = pl.Series(column, values).cast(kind)
    return pl.DataFrame(made)


def table(name: str, inputs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """What a table's function makes of these."""
    step = STEPS[name]
    assert step.function is not None
    found = step.function(**{key: frame.lazy() for key, frame in inputs.items()}, **step.parameters)
    made = pl.DataFrame(found.collect())
    return made if name == "legs" else made.sort("flight_id")


def changed(values: pl.Series) -> Iterator[pl.Series]:
    """Other columns of the same type."""
    yield pl.Series(values.name, [None] * len(values), dtype=values.dtype)
    yield pl.concat([values[-1:], values[:-1]])
    if values.dtype.is_numeric():
        yield values * 2 - 5
    elif isinstance(values.dtype, pl.Datetime):
        yield values.dt.offset_by("-100m")


@pytest.mark.parametrize("name", STEPS)
def test_every_table_is_derived_exactly(name: str) -> None:
    """Nothing that the example does hides a column."""
    found = lineage_of(name)

    assert found.exact
    assert list(found.columns) == (["prediction"] if STEPS[name].kind == "model" else list(schema(name)))


# What is known at push-back is all that is known at the scheduled departure, and the delay.
@pytest.mark.parametrize("name", ["legs", "pushback_features"])
def test_whatever_changes_with_a_source_column_is_named(name: str) -> None:
    """Each column of each input is changed in several ways."""
    inputs = {item.name: rows(item.step) for item in STEPS[name].inputs}
    datasets = {item.name: item.step for item in STEPS[name].inputs}
    before, found, seen = table(name, inputs), lineage_of(name), set()
    for key, frame in inputs.items():
        # Rows are found again by their key, where it is not made of other columns.
        for values in (other for column in frame.columns if column != "flight_id" for other in changed(frame[column])):
            try:
                after = table(name, {**inputs, key: frame.with_columns(values)})
            except pl.exceptions.PolarsError:
                continue  # keys that are there twice, a day that there is not
            source = Source(datasets[key], values.name)
            differing = [item for item in before.columns if not before[item].equals(after[item], null_equal=True)]
            assert [] == [item for item in differing if source not in found.sources(item)], (source, values.to_list())
            seen |= {(item, source) for item in differing}

    named = {(column, source) for column in found.columns for source in found.sources(column)}
    assert len(seen) > 0.5 * len(named)


@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        ("departures", "year", "flights/raw_departures.year"),
        ("legs", "late", "departures.arr_delay"),
        ("legs", "departures_that_hour", "departures.origin departures.time_hour"),
        ("legs", "airline", "airlines.name airlines.carrier departures.carrier"),
        ("features", "temp", "weather.temp weather.origin weather.time_hour legs.origin legs.departs_at"),
        ("features", "dest_lat", "airports.lat airports.faa legs.dest"),
        ("features", "late", "legs.late"),
        ("features", "carrier_late_14d", "legs.late legs.arrived_at legs.carrier legs.departs_at"),
        ("features", "all_delay_2h_flights", "legs.dep_delay legs.departed_at legs.departs_at"),
        ("pushback_features", "weekday", "legs.weekday legs.dep_delay"),
    ],
)
def test_columns_come_from_what_one_reads_in_the_code(name: str, column: str, expected: str) -> None:
    """No more and no less."""
    assert lineage_of(name).sources(column) == {Source(*item.split(".")) for item in expected.split()}


def test_a_model_comes_from_its_features_and_its_target() -> None:
    """What it predicts from, what it learnt, and by what its rows were split."""
    step = STEPS["late_t0"]
    assert isinstance(step.detail, Model)

    found = lineage_of("late_t0").sources("prediction")

    assert found == {Source("flights/features", item) for item in (*step.detail.features, "late", "departs_at")}
