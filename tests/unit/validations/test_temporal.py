"""Bounds of aggregates of dates and times: as on pandas where pandas compares them, and read from a suite's text."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import polars as pl
import pytest

from validations.suite import load_gx

load_gx()

import great_expectations as gx  # noqa: E402
import great_expectations.expectations as gxe  # noqa: E402

import validations.datasource  # noqa: E402, F401

DAYS = (1, 2, 4)
ZONED = [datetime(2013, 1, day, tzinfo=UTC) for day in DAYS]
ROWS = pl.DataFrame(
    {
        "day": [date(2013, 1, day) for day in DAYS],
        "moment": [datetime(2013, 1, day) for day in DAYS],
        "zoned": ZONED,
        "clock": [time(day) for day in DAYS],
        "length": [timedelta(day) for day in DAYS],
    }
)
AGGREGATES = ["Min", "Max", "Mean", "Median", "Quantile"]


@pytest.fixture(scope="module")
def say() -> Any:
    """What an engine says of an expectation: whether it holds, what was observed, and the error."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    sources = {"polars": context.data_sources.add_polars("polars"), "pandas": context.data_sources.add_pandas("pandas")}
    assets = {name: source.add_dataframe_asset("frame") for name, source in sources.items()}
    wholes = {name: asset.add_batch_definition_whole_dataframe("all") for name, asset in assets.items()}
    frames = {"polars": ROWS, "pandas": ROWS.to_pandas()}

    def told(engine: str, expectation: Any) -> tuple[bool, Any, str | None]:
        found = wholes[engine].get_batch({"dataframe": frames[engine]}).validate(expectation)
        info = found.exception_info
        entries = [info] if "raised_exception" in info else list(info.values())
        raised = next((entry["exception_message"] for entry in entries if entry["raised_exception"]), None)
        observed = found.result.get("observed_value")
        return bool(found.success), observed["values"] if isinstance(observed, dict) else observed, raised

    return told


def expectation(aggregate: str, column: str, low: Any, high: Any) -> Any:
    if aggregate == "Quantile":
        ranges = {"quantiles": [0.0, 0.5, 1.0], "value_ranges": [[low, high]] * 3}
        return gxe.ExpectColumnQuantileValuesToBeBetween(column=column, quantile_ranges=ranges)
    return getattr(gxe, f"ExpectColumn{aggregate}ToBeBetween")(column=column, min_value=low, max_value=high)


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("month", [1, 12])
@pytest.mark.parametrize("column", ["day", "moment", "zoned"])
def test_datetime_bounds_are_compared_as_on_pandas(say, aggregate, column, month):
    """A date column too, whose dates pandas holds as datetimes."""
    zone = UTC if column == "zoned" else None
    asked = expectation(aggregate, column, datetime(2013, month, 1, tzinfo=zone), datetime(2013, 12, 31, tzinfo=zone))

    assert say("polars", asked) == say("pandas", asked)


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("month", ["01", "12"])
@pytest.mark.parametrize("column", ["day", "moment", "zoned"])
def test_bounds_in_text_are_read_as_dates(say, aggregate, column, month):
    """As a suite holds them; pandas raises for most of them."""
    zone = "T00:00:00+00:00" if column == "zoned" else ""

    success, _, raised = say("polars", expectation(aggregate, column, f"2013-{month}-01{zone}", f"2013-12-31{zone}"))

    assert (success, raised) == (month == "01", None)


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize(("low", "high", "holds"), [("2013-01-01", None, True), (None, "2012-01-01", False)])
def test_one_bound_is_enough(say, aggregate, low, high, holds):
    """GX takes an infinite number for the other one."""
    success, _, raised = say("polars", expectation(aggregate, "day", low, high))

    assert (success, raised) == (holds, None)


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize(
    ("column", "bound", "advice"),
    [
        ("day", 1, 'write a date, such as "2013-01-31"'),
        ("moment", "2013-01-01T00:00:00+00:00", 'write it without a zone: "2013-01-01T00:00:00"'),
        ("zoned", "2013-01-01", 'write it with a zone: "2013-01-01T00:00:00+00:00"'),
        ("clock", "2013-01-01", "a column that holds them as a number"),
        ("length", "2013-01-01", "a column that holds them as a number"),
    ],
)
def test_an_error_says_what_to_write_instead(say, aggregate, column, bound, advice):
    """It names the expectation, the column and its type."""
    asked = expectation(aggregate, column, bound, bound)

    raised = say("polars", asked)[2]

    assert raised.startswith(f"{asked.expectation_type} of {column} ({ROWS.schema[column]!r}")
    assert advice in raised


def test_a_time_of_day_is_no_date(say):
    """It would be completed with today's date."""
    raised = say("polars", expectation("Quantile", "moment", "01:00", "05:00"))[2]

    assert "cannot be compared with '01:00'" in raised
