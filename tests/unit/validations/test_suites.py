"""The flights suites hold for every month that there is, and say why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lineage.ports import CheckReport
from validations.check import run_suite

# The suites are the example's: without it there is nothing to promise.
example = pytest.importorskip("assets.flights")

SUITES = Path(__file__).parents[3] / "validations" / "suites" / "flights"
NAMES = ("airlines", "airports", "departures", "features", "legs", "planes", "pushback_features", "weather")
MONTHS = example.MONTHS.keys

# What is wrong in the data itself, known, and not to be stopped.
WARNED = {
    ("weather", "2013-02"): [("expect_column_values_to_be_between", "wind_speed", ["1048.36058"])],
    ("departures", "2013-07"): [("expect_column_values_to_be_between", "distance", ["17"])],
    ("airports", None): [("expect_column_values_to_match_regex", "tzone", ["Asia/Chongqing", "Asia/Chongqing"])],
}


def suite(name: str) -> dict[str, Any]:
    return json.loads((SUITES / f"{name}.json").read_text())


def failed(report: CheckReport) -> list[tuple[str, str | None, list[str]]]:
    return [
        (item.kind, item.column, item.observed.get("unexpected_values", []))
        for item in report.expectations
        if not item.success
    ]


def test_every_suite_is_named_by_its_file():
    """A suite's name is the file's, so that a report leads to it."""
    found = {path.stem: json.loads(path.read_text())["name"] for path in SUITES.glob("*.json")}

    assert found == {name: name for name in NAMES}


@pytest.mark.parametrize("month", MONTHS)
@pytest.mark.parametrize("name", ["departures", "weather"])
def test_every_month_keeps_its_promises(real, name, month):
    """Nothing blocks in any month; a broken anemometer and a flight of 17 miles are worth a warning."""
    report = run_suite(SUITES / f"{name}.json", real(name, month))

    assert (report.failures, failed(report)) == ((), WARNED.get((name, month), []))


@pytest.mark.parametrize("name", ["planes", "airports", "airlines"])
def test_every_lookup_table_keeps_its_promises(real, name):
    """Nothing blocks; two airports whose longitude lost its sign are worth a warning."""
    report = run_suite(SUITES / f"{name}.json", real(name))

    assert (report.failures, failed(report)) == ((), WARNED.get((name, None), []))


@pytest.mark.parametrize("name", ["legs", "features", "pushback_features"])
def test_a_month_of_what_is_made_of_them_does_too(real, tmp_path, name):
    """February, the shortest month with the most weather, with January as its past."""
    raw = {item: pl.scan_parquet(real(item)) for item in ("planes", "airports", "airlines")}
    weather = pl.scan_parquet([real("weather", month) for month in MONTHS[:2]])
    months = [
        example.legs(pl.scan_parquet(real("departures", month)), raw["airlines"], raw["airports"])
        for month in MONTHS[:2]
    ]
    made = months[1]
    if name != "legs":
        made = getattr(example, name)(made, pl.concat(months), weather, raw["planes"], raw["airports"])
    made.collect().write_parquet(tmp_path / "made.parquet")

    report = run_suite(SUITES / f"{name}.json", tmp_path / "made.parquet")

    assert (report.failures, failed(report)) == ((), [])


@pytest.mark.parametrize(
    ("name", "month", "oddity"),
    [
        ("departures", "2013-08", pl.struct("month", "day", "carrier", "flight").is_duplicated()),
        ("departures", "2013-02", pl.col("dep_time") == 2400),
        ("departures", "2013-02", pl.col("arr_time") == 2400),
        ("departures", "2013-02", pl.col("tailnum").is_null()),
        ("departures", "2013-07", pl.col("arr_time").is_not_null() & pl.col("arr_delay").is_null()),
        ("departures", "2013-02", pl.col("dest").is_in(["SJU", "BQN", "STT", "PSE"])),
        ("weather", "2013-11", pl.struct("origin", "month", "day", "hour").is_duplicated()),
    ],
    ids=["a number twice a day", "left at 2400", "came at 2400", "no plane", "diverted", "no place", "clock change"],
)
def test_what_looks_wrong_and_is_not_is_in_the_months_that_pass(real, name, month, oddity):
    """The months above hold what a stricter suite would refuse, so that their passing means something."""
    assert pl.scan_parquet(real(name, month)).select(oddity.any()).collect().item()


@pytest.mark.parametrize("name", NAMES)
def test_a_bound_that_is_no_matter_of_course_says_why(name):
    """Tolerated shares, conditions and warnings carry the number or reason they come from."""
    silent = [
        item["kwargs"]
        for item in suite(name)["expectations"]
        if ({"mostly", "row_condition"} & set(item["kwargs"]) or item["severity"] != "critical")
        and not item.get("notes")
        # Weather: a sensor is out for an hour now and then.
        and item["kwargs"].get("mostly") != 0.99
    ]

    assert silent == []


def test_every_aggregate_is_promised_the_same():
    """Each history column has a bound, a tolerated share of nulls, a count, and agrees with its count."""
    items = suite("features")["expectations"]
    (columns,) = (item["kwargs"]["column_set"] for item in items if "column_set" in item["kwargs"])
    aggregates = [name.removesuffix("_flights") for name in columns if name.endswith("_flights")]

    promised = {
        name: sorted(item["type"] for item in items if item["kwargs"].get("column") in (name, f"{name}_flights"))
        for name in aggregates
    }

    between, null, known = "values_to_be_between", "values_to_be_null", "values_to_not_be_null"
    assert promised == {
        name: [f"expect_column_{kind}" for kind in (between, null, known, known)] for name in aggregates
    }
    assert len(aggregates) == 10


def test_pushback_promises_what_features_do():
    """Both models' tables keep the same promises, but for what only the one or the other has."""
    items, pushback = suite("features")["expectations"], suite("pushback_features")["expectations"]

    only = [(item["type"], item["kwargs"].get("column")) for item in items if item not in pushback]

    assert only == [
        ("expect_table_columns_to_match_set", None),
        ("expect_table_row_count_to_be_between", None),
        ("expect_column_values_to_be_null", "predicts_at"),
        ("expect_column_proportion_of_non_null_values_to_be_between", "arr_delay"),
    ]
