"""The flights suites hold for every month that there is, and each catches the fault it is there for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from lineage.ports import CheckReport
from lineage.sources import fetch, read
from lineage.tables import write_table
from validations.check import run_suite

# The suites are the example's: without it there is nothing to promise.
example = pytest.importorskip("assets.flights")

SUITES = Path(__file__).parents[3] / "validations" / "suites" / "flights"
NAMES = ("airlines", "airports", "departures", "features", "planes", "weather")
MONTHS = example.MONTHS.keys


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Callable[[str, str | None], Path]:
    """Real tables as the runner writes them, each written when it is first asked for."""
    folder = tmp_path_factory.mktemp("tables")

    def written(name: str, month: str | None = None) -> Path:
        path = folder / f"{name}-{month}.parquet"
        if not path.exists():
            if name == "features":
                write_table(features(written, month), path, key=("flight_id",), keep_order=False)
            else:
                write_table(source(name, month, folder), path, key=(), keep_order=True)
        return path

    return written


def source(name: str, month: str | None, folder: Path) -> pl.DataFrame:
    steps = example.flights.steps
    raw = folder / "raw.csv"
    raw.write_bytes(fetch(steps[f"raw_{name}"].detail, month))
    return read(raw, steps[name].detail, name)


def features(table: Callable[[str, str | None], Path], month: str) -> pl.LazyFrame:
    at = MONTHS.index(month)
    weather = pl.concat([pl.scan_parquet(table("weather", key)) for key in MONTHS[max(0, at - 1) : at + 1]])
    planes, airports, airlines = (pl.scan_parquet(table(n, None)) for n in ("planes", "airports", "airlines"))
    legs = example.legs(pl.scan_parquet(table("departures", month)), airlines)
    return example.features(legs, weather, planes, airports)


def check(name: str, path: Path) -> CheckReport:
    return run_suite(SUITES / f"{name}.json", path)


def failed(report: CheckReport) -> list[tuple[str, str | None]]:
    return [(item.kind, item.column) for item in report.expectations if not item.success]


def test_every_suite_is_named_by_its_file():
    """A suite's name is the file's, so that a report leads to it."""
    found = {path.stem: json.loads(path.read_text())["name"] for path in SUITES.glob("*.json")}

    assert found == {name: name for name in NAMES}


@pytest.mark.parametrize("month", MONTHS)
@pytest.mark.parametrize("name", ["departures", "weather"])
def test_every_month_keeps_its_promises(table, name, month):
    """Nothing blocks in any month; only Newark's broken anemometer in February is worth a warning."""
    report = check(name, table(name, month))

    warned = [("expect_column_values_to_be_between", "wind_speed")] if (name, month) == ("weather", "2013-02") else []
    assert (report.failures, failed(report)) == ((), warned)


@pytest.mark.parametrize("name", ["planes", "airports", "airlines"])
def test_every_lookup_table_keeps_its_promises(table, name):
    """Nothing blocks; two airports whose longitude lost its sign are worth a warning."""
    report = check(name, table(name))

    warned = [("expect_column_values_to_match_regex", "tzone")] if name == "airports" else []
    assert (report.failures, failed(report)) == ((), warned)


# The month of the broken anemometer and most cancellations, and the one that lacks a day of weather.
@pytest.mark.parametrize("month", ["2013-02", "2013-12"])
def test_features_keep_their_promises(table, month):
    """The example's own transforms satisfy the suite, without a warning."""
    report = check("features", table("features", month))

    assert (report.failures, failed(report)) == ((), [])


def put(**values: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Give the first row other values; None makes it null."""

    def plant(frame: pl.DataFrame) -> pl.DataFrame:
        first = pl.int_range(pl.len()) == 0
        return frame.with_columns(
            pl.when(first).then(pl.lit(value, frame.schema[name])).otherwise(name).alias(name)
            for name, value in values.items()
        )

    return plant


def blank(column: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(pl.lit(None, frame.schema[column]).alias(column))


def twice(frame: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([frame, frame.head(1)])


def without(column: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.drop(column)


def few(table: Callable[[str, str | None], Path], name: str) -> pl.DataFrame:
    month = MONTHS[0] if name in ("departures", "weather", "features") else None
    frame = pl.read_parquet(table(name, month))
    return frame.gather_every(max(1, len(frame) // 200))


@pytest.mark.parametrize("name", NAMES)
def test_a_few_rows_keep_their_promises(table, tmp_path, name):
    """The rows into which the faults below are planted are good ones."""
    few(table, name).write_parquet(tmp_path / "good.parquet")

    assert failed(check(name, tmp_path / "good.parquet")) == []


FAULTS = [
    ("departures", twice, "compound_columns_to_be_unique", None),
    ("departures", pl.DataFrame.clear, "table_row_count_to_be_between", None),
    ("departures", without("distance"), "table_columns_to_match_set", None),
    ("departures", put(distance=-5), "column_values_to_be_between", "distance"),
    ("departures", put(origin="BOS"), "column_values_to_be_in_set", "origin"),
    ("departures", put(month=2), "column_unique_value_count_to_be_between", "month"),
    ("departures", put(month=13), "column_values_to_be_between", "month"),
    ("departures", put(carrier=None), "column_values_to_not_be_null", "carrier"),
    ("departures", put(arr_delay=20_000), "column_values_to_be_between", "arr_delay"),
    ("departures", blank("tailnum"), "column_values_to_not_be_null", "tailnum"),
    ("departures", blank("arr_delay"), "column_values_to_not_be_null", "arr_delay"),
    ("weather", twice, "compound_columns_to_be_unique", None),
    ("weather", put(humid=140.0), "column_values_to_be_between", "humid"),
    ("weather", put(wind_speed=-1.0), "column_values_to_be_between", "wind_speed"),
    ("weather", blank("temp"), "column_values_to_not_be_null", "temp"),
    ("planes", twice, "column_values_to_be_unique", "tailnum"),
    ("planes", put(seats=0), "column_values_to_be_between", "seats"),
    ("airports", twice, "column_values_to_be_unique", "faa"),
    ("airports", put(lat=91.0), "column_values_to_be_between", "lat"),
    ("airlines", twice, "column_values_to_be_unique", "carrier"),
    ("airlines", put(name=None), "column_values_to_not_be_null", "name"),
    ("features", twice, "column_values_to_be_unique", "flight_id"),
    ("features", put(flight_id="UA1545"), "column_values_to_match_regex", "flight_id"),
    ("features", put(departs_at=None), "column_values_to_not_be_null", "departs_at"),
    ("features", put(departure_minute=1440), "column_values_to_be_between", "departure_minute"),
    ("features", put(wind_speed=1048.36), "column_values_to_be_between", "wind_speed"),
    ("features", blank("late"), "column_values_to_not_be_null", "late"),
]


@pytest.mark.parametrize(
    ("name", "plant", "kind", "column"), FAULTS, ids=[f"{name}-{kind}-{column}" for name, _, kind, column in FAULTS]
)
def test_a_planted_fault_is_caught_by_name(table, tmp_path, name, plant, kind, column):
    """One fault in 200 good rows blocks the table, and the expectation that says so names it."""
    plant(few(table, name)).write_parquet(tmp_path / "bad.parquet")

    report = check(name, tmp_path / "bad.parquet")

    assert (f"expect_{kind}", column) in failed(report)
    assert any(line.startswith(f"expect_{kind}") for line in report.failures)


LOST = [
    ("departures", put(carrier="ZZ"), "column_values_to_be_in_set", "carrier"),
    ("features", blank("plane_seats"), "column_values_to_not_be_null", "plane_seats"),
    ("features", blank("dest_lat"), "column_values_to_not_be_null", "dest_lat"),
    ("features", blank("temp"), "column_values_to_not_be_null", "temp"),
]


@pytest.mark.parametrize(("name", "plant", "kind", "column"), LOST, ids=[column for *_, column in LOST])
def test_what_a_lookup_does_not_know_only_warns(table, tmp_path, name, plant, kind, column):
    """A carrier, fleet, place or hour without a match is told, and stops nothing."""
    plant(few(table, name)).write_parquet(tmp_path / "poor.parquet")

    report = check(name, tmp_path / "poor.parquet")

    assert (report.success, failed(report)) == (True, [(f"expect_{kind}", column)])
