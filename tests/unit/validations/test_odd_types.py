"""Columns of lists, records, bytes, durations and Python objects: as on pandas, or refused in words."""

from __future__ import annotations

import warnings
from datetime import timedelta
from typing import Any

import pandas as pd
import polars as pl
import pytest

from validations.suite import load_gx

load_gx()

import great_expectations as gx  # noqa: E402
import great_expectations.expectations as gxe  # noqa: E402

import validations.datasource  # noqa: E402, F401
from validations.metrics.text import as_text  # noqa: E402

LISTS = [[1, 2], [3], None, [1, 2]]
RECORDS = [{"a": 1, "b": "x"}, {"a": 2, "b": None}, None, {"a": 1, "b": "x"}]
LENGTHS = [timedelta(hours=2), timedelta(days=-1, hours=22), None, timedelta(minutes=5)]
ROWS = pl.DataFrame(
    {
        "list": LISTS,
        "pair": pl.Series([[1, 2], [3, 4], None, [1, 2]], dtype=pl.Array(pl.Int64, 2)),
        "record": RECORDS,
        "bytes": [b"a", b"bc", None, b"a"],
        "length": LENGTHS,
        "number": [1, 2, 3, 4],
    }
)


@pytest.fixture(scope="module")
def say() -> Any:
    """What an engine says of an expectation on a frame: the result, and the error's text."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    sources = {"polars": context.data_sources.add_polars("polars"), "pandas": context.data_sources.add_pandas("pandas")}
    assets = {name: source.add_dataframe_asset("frame") for name, source in sources.items()}
    wholes = {name: asset.add_batch_definition_whole_dataframe("all") for name, asset in assets.items()}

    def told(engine: str, expectation: Any, frame: Any = None) -> tuple[dict[str, Any], str | None]:
        if frame is None:
            # Not through Arrow, which makes arrays of lists.
            frame = ROWS if engine == "polars" else pd.DataFrame(ROWS.to_dict(as_series=False))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = wholes[engine].get_batch({"dataframe": frame}).validate(expectation, result_format="SUMMARY")
        info = found.exception_info
        entries = [info] if "raised_exception" in info else list(info.values())
        raised = next((entry["exception_message"] for entry in entries if entry["raised_exception"]), None)
        return {"success": found.success, **found.to_json_dict()["result"]}, raised

    return told


AS_ON_PANDAS = [
    *(
        kind(column=column, value_set=values)
        for kind in (gxe.ExpectColumnValuesToBeInSet, gxe.ExpectColumnValuesToNotBeInSet)
        for column, values in [
            ("list", [[1, 2], [9]]),
            ("list", [[1], ["1", 2], 3, "[3]"]),
            ("pair", [[1, 2], [3]]),
            ("record", [{"a": 1, "b": "x"}]),
            ("record", [{"a": 2, "b": None}, {"a": 1}, {"a": 1, "b": "x", "c": 1}]),
        ]
    ),
    *(gxe.ExpectColumnValueLengthsToBeBetween(column=column, max_value=6) for column in ("list", "pair", "record")),
    *(gxe.ExpectColumnValuesToMatchRegex(column=column, regex=r"1|'a'") for column in ("list", "pair", "record")),
    gxe.ExpectColumnValuesToMatchRegex(column="bytes", regex="^[a-c]+$"),
    gxe.ExpectColumnValuesToMatchRegex(column="length", regex=r"^-?\d days [+]?\d\d:\d\d:\d\d$"),
    gxe.ExpectColumnValueLengthsToBeBetween(column="length", min_value=15, max_value=17),
]


@pytest.mark.parametrize("expectation", AS_ON_PANDAS, ids=lambda each: f"{type(each).__name__}-{each.column}")
def test_a_column_of_an_odd_type_is_read_as_on_pandas(say, expectation):
    ours, raised = say("polars", expectation)

    assert raised is None
    assert ours == say("pandas", expectation)[0]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize(
    "duration", [timedelta(0), timedelta(1, 7384), timedelta(-3, 0, 5000), timedelta(0, 1, 999000)]
)
def test_a_duration_is_written_as_pandas_writes_it(duration, unit):
    column = pl.Series([duration], dtype=pl.Duration(unit))

    assert pl.select(as_text(pl.lit(column), column.dtype)).item() == str(pd.Timedelta(duration))


def test_a_duration_of_nanoseconds_is_written_with_all_of_them():
    column = pl.Series([7, -1], dtype=pl.Int64).cast(pl.Duration("ns"))

    written = pl.select(as_text(pl.lit(column), column.dtype)).to_series().to_list()

    assert written == [str(pd.Timedelta(7)), str(pd.Timedelta(-1))]


@pytest.mark.parametrize(("column", "values"), [("list", [[1, 2], [9]]), ("record", [RECORDS[0], {"a": 9, "b": "x"}])])
def test_the_distinct_lists_and_records_are_compared_with_a_set(say, column, values):
    """Pandas cannot: it would have to hash them."""
    given = {"column": column, "value_set": values}

    among, _ = say("polars", gxe.ExpectColumnDistinctValuesToBeInSet(**given))
    containing, _ = say("polars", gxe.ExpectColumnDistinctValuesToContainSet(**given))
    values = ROWS[column][:2].to_list()
    equal, _ = say("polars", gxe.ExpectColumnDistinctValuesToEqualSet(column=column, value_set=values))

    assert among["partial_unexpected_list"] == [values[1]]
    assert containing["partial_missing_list"] == [given["value_set"][1]]
    assert equal["success"]


ODD = {"column": "list"}
BOUNDS = {"min_value": 1, "max_value": 9}
REFUSED = [
    (gxe.ExpectColumnValuesToBeBetween(**ODD, **BOUNDS), "list (List(Int64)) has no order; give the table a column of"),
    (gxe.ExpectColumnMinToBeBetween(**ODD, **BOUNDS), "list (List(Int64)) has no order; give the table a column of"),
    (gxe.ExpectColumnMaxToBeBetween(**ODD, **BOUNDS), "list (List(Int64)) has no order; give the table a column of"),
    (gxe.ExpectColumnValuesToBeIncreasing(**ODD), "list (List(Int64)) has no order; give the table a column of"),
    (gxe.ExpectColumnValuesToBeDecreasing(column="record"), "has no order; give the table a column of the part"),
    (
        gxe.ExpectColumnQuantileValuesToBeBetween(**ODD, quantile_ranges={"quantiles": [0], "value_ranges": [[0, 9]]}),
        "list (List(Int64)) has no order; give the table a column of",
    ),
    (
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="number", column_B="list"),
        "list (List(Int64)) has no order; give the table a column of",
    ),
    (gxe.ExpectColumnMostCommonValueToBeInSet(**ODD, value_set=[1]), "of several parts, which GX cannot count; give"),
    (
        gxe.ExpectColumnKLDivergenceToBeLessThan(**ODD, partition_object={"values": ["x"], "weights": [1]}),
        "of several parts, which GX cannot count; give",
    ),
    (gxe.ExpectColumnValuesToBeBetween(column="bytes", **BOUNDS), "bytes (Binary) cannot be compared with 1.0"),
    (gxe.ExpectColumnSumToBeBetween(column="length", **BOUNDS), "such as seconds."),
    (gxe.ExpectColumnStdevToBeBetween(column="length", **BOUNDS), "length (Duration(time_unit='us')) has no standard"),
]  # fmt: skip


@pytest.mark.parametrize(("expectation", "message"), REFUSED, ids=lambda each: type(each).__name__)
def test_what_cannot_be_asked_of_an_odd_type_says_what_to_do(say, expectation, message):
    _, raised = say("polars", expectation)

    assert raised is not None
    assert message in raised


def test_of_python_objects_only_presence_is_told(say, capfd):
    frame = pl.DataFrame({"thing": pl.Series([{1}, None, object()], dtype=pl.Object), "number": [1, 2, 3]})
    told = "thing (Object) holds Python objects, of which only presence can be told; give the frame a column of"

    present, _ = say("polars", gxe.ExpectColumnValuesToNotBeNull(column="thing"), frame)
    typed, _ = say("polars", gxe.ExpectColumnValuesToBeOfType(column="thing", type_="object"), frame)
    refused = [
        say("polars", expectation, frame)[1]
        for expectation in (
            gxe.ExpectColumnValuesToBeInSet(column="thing", value_set=["x"]),
            gxe.ExpectColumnValuesToBeUnique(column="thing"),
            gxe.ExpectColumnMostCommonValueToBeInSet(column="thing", value_set=["x"]),
            gxe.ExpectCompoundColumnsToBeUnique(column_list=["number", "thing"]),
            gxe.ExpectColumnPairValuesToBeEqual(column_A="number", column_B="thing"),
        )
    ]

    assert present["unexpected_count"] == 1
    assert typed["success"]
    assert [text is not None and told in text for text in refused] == [True] * 5
    # Polars would have written a backtrace of its panic.
    assert "panicked" not in capfd.readouterr().err
