"""Results as JSON: of a column of any type, in every result format, from a batch, a checkpoint and a file."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from validations.check import run_suite
from validations.suite import load_gx

load_gx()

import great_expectations as gx  # noqa: E402
import great_expectations.expectations as gxe  # noqa: E402

import validations.datasource  # noqa: E402, F401
from validations.serialization import writable  # noqa: E402

DAY = timedelta(days=1)
FORMATS = ["BOOLEAN_ONLY", "BASIC", "SUMMARY", "COMPLETE"]


class Thing:
    """What a column of Python objects may hold."""

    def __repr__(self) -> str:
        return "a thing"


COLUMNS = {
    "duration": (pl.Series([DAY, timedelta(hours=-2)]), ["P1D", "-PT2H"]),
    "list of durations": (pl.Series([[DAY], [2 * DAY]]), [["P1D"], ["P2D"]]),
    "struct": (pl.Series([{"a": DAY}, {"a": None}]), [{"a": "P1D"}, {"a": None}]),
    "time": (pl.Series([time(1, 2), time(3)]), ["01:02:00", "03:00:00"]),
    "date": (pl.Series([date(2013, 1, 1), date(2013, 1, 2)]), ["2013-01-01", "2013-01-02"]),
    "zoned": (
        pl.Series([datetime(2013, 1, 1, tzinfo=UTC)] * 2).dt.convert_time_zone("Asia/Tokyo"),
        ["2013-01-01T09:00:00+09:00"] * 2,
    ),
    "binary": (pl.Series([b"a\xff", b"b"]), ["b'a\\xff'", "b'b'"]),
    "categorical": (pl.Series(["a", "b"], dtype=pl.Categorical), ["a", "b"]),
    "enum": (pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"])), ["a", "b"]),
    "decimal": (pl.Series([Decimal("1.10"), Decimal("2.00")]), [1.1, 2.0]),
    "beyond a float": (pl.Series([2**53 + 1, 2**60 + 1]), [2**53 + 1, 2**60 + 1]),
    "object": (pl.Series([Thing(), Thing()], dtype=pl.Object), ["a thing", "a thing"]),
}


def shown(found: Any, name: str) -> Any:
    found.describe()
    return json.loads(json.dumps(found.to_json_dict()))["result"].get(name)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", COLUMNS)
def test_values_of_any_type_are_written(frames, kind, form):
    """Those that break an expectation, the rows that hold them, and the columns that rows are known by."""
    column, expected = COLUMNS[kind]
    batch = frames.get_batch({"dataframe": pl.DataFrame({"x": column, "y": column})})
    shape = {"result_format": form, "unexpected_index_column_names": ["y"], "include_unexpected_rows": True}

    found = batch.validate(gxe.ExpectColumnValuesToBeNull(column="x"), result_format=shape)

    assert not found.success
    if form != "BOOLEAN_ONLY":
        assert shown(found, "partial_unexpected_list") == expected
        assert shown(found, "unexpected_rows") == [{"x": value, "y": value} for value in expected]
    if form in {"SUMMARY", "COMPLETE"}:
        places = shown(found, "partial_unexpected_index_list")
        assert places == [{"x": value, "y": value} for value in expected]


@pytest.mark.parametrize(
    ("expectation", "observed"),
    [
        (gxe.ExpectColumnMinToBeBetween(column="x"), "PT1H"),
        (gxe.ExpectColumnMeanToBeBetween(column="x"), "PT2H"),
        (gxe.ExpectColumnMostCommonValueToBeInSet(column="x", value_set=["a"]), ["PT1H", "PT3H"]),
    ],
)
def test_an_observed_duration_is_written(frames, expectation, observed):
    """As dates and times are: in the form of ISO 8601."""
    batch = frames.get_batch({"dataframe": pl.DataFrame({"x": [timedelta(hours=1), timedelta(hours=3)]})})

    assert shown(batch.validate(expectation), "observed_value") == observed


def test_a_checkpoint_writes_durations(context, frames):
    """GX stores what a checkpoint found as JSON."""
    suite = context.suites.add(gx.ExpectationSuite("lengths", [gxe.ExpectColumnValuesToBeNull(column="x")]))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name="lengths", data=frames, suite=suite))
    checkpoint = gx.Checkpoint(name="lengths", validation_definitions=[definition], result_format="COMPLETE")

    found = checkpoint.run(batch_parameters={"dataframe": pl.DataFrame({"x": [DAY, None]})})

    assert not found.success
    (result,) = found.run_results.values()
    assert shown(result["results"][0], "unexpected_list") == ["P1D"]
    assert '"P1D"' in found.describe()


def test_a_file_is_checked_with_durations(tmp_path):
    """The facts that the command line and lineage keep are plain."""
    suite = {"name": "s", "expectations": [{"type": "expect_column_values_to_be_null", "kwargs": {"column": "x"}}]}
    (tmp_path / "suite.json").write_text(json.dumps(suite))
    pl.DataFrame({"x": [DAY]}).write_parquet(tmp_path / "table.parquet")

    report = run_suite(tmp_path / "suite.json", tmp_path / "table.parquet")

    assert json.loads(json.dumps(asdict(report)))["expectations"][0]["observed"]["unexpected_values"] == ["P1D"]


def test_a_value_that_can_be_written_stays_itself():
    """A decimal is one for whoever reads the result in Python."""
    value = {"a": [Decimal("1.10"), (1, "x"), datetime(2013, 1, 1)], "b": {1.5}, "c": None}

    assert writable(value) == value


@pytest.mark.parametrize(
    "expectation",
    [
        gxe.ExpectColumnPairValuesToBeEqual(column_A="d", column_B="e"),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="e", column_B="d", ignore_row_if="neither"),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=["d", "f"], ignore_row_if="never"),
        gxe.ExpectMulticolumnSumToEqual(column_list=["d", "e"], sum_total=9, ignore_row_if="never"),
        gxe.ExpectMulticolumnValuesToBeEqual(column_list=["d", "e"], ignore_row_if="never"),
        gxe.ExpectSelectColumnValuesToBeUniqueWithinRecord(column_list=["d", "f"]),
    ],
    ids=lambda expectation: type(expectation).__name__,
)
@pytest.mark.parametrize("form", FORMATS)
def test_decimals_that_are_missing_are_listed(context, frames, expectation, form):
    """A Decimal cannot be compared with NaN, not even to sort what is counted."""
    one, two = Decimal("1.10"), Decimal("2.00")
    frame = pl.DataFrame({"d": [one, None, two, one], "e": [None, one, one, one], "f": [one, None, two, one]})
    pandas = context.data_sources.add_or_update_pandas("pandas").add_dataframe_asset("frame")

    ours = frames.get_batch({"dataframe": frame}).validate(expectation, result_format=form)
    theirs = pandas.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame.to_pandas()})

    expected = theirs.validate(expectation, result_format=form).to_json_dict()
    found = ours.to_json_dict()
    for result in (found, expected):
        result["result"].pop("unexpected_index_query", None)
    assert ("raised_exception", False) in found["exception_info"].items()
    assert (found["success"], found["result"]) == (expected["success"], expected["result"])
