"""`batch.compute_metrics`: every metric class of GX, beside the pandas engine."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import polars as pl
import pytest

from validations.suite import load_gx

load_gx()

import great_expectations as gx  # noqa: E402
import great_expectations.metrics as metrics  # noqa: E402

import validations.datasource  # noqa: E402, F401

# The conditions here are in pandas' language, which GX means to drop one day.
pytestmark = pytest.mark.filterwarnings("ignore:The condition_parser parameter is deprecated:DeprecationWarning")

ROWS = pl.DataFrame({"i": [1, 2, 3, 3, 4], "f": [1.0, math.nan, 2.5, None, 7.0], "s": ["a", "b", None, "ab", "c"]})
ON_TEXT = {"column": "s"}
REGEX = {**ON_TEXT, "regex": "a"}
VALUES = {**ON_TEXT, "value_set": ["a", "z"]}
QUERY = {"query": "SELECT s FROM {batch} WHERE i > 2"}

# What each is asked, with and without the rows of `i > 1`.
ASKED: dict[str, dict[str, Any]] = {
    "BatchColumnTypes": {},
    "BatchRowCount": {},
    "SampleValues": {"n_rows": 2},
    "ColumnAggregateNonNullCount": {"column": "f"},
    "ColumnDescriptiveStats": {"column": "f"},
    "ColumnDistinctValues": ON_TEXT,
    "ColumnDistinctValuesCount": ON_TEXT,
    "ColumnDistinctValuesMissingFromColumn": VALUES,
    "ColumnDistinctValuesMissingFromColumnCount": VALUES,
    "ColumnDistinctValuesNotInSet": VALUES,
    "ColumnDistinctValuesNotInSetCount": VALUES,
    "ColumnMean": {"column": "f"},
    "ColumnNullCount": {"column": "f"},
    "ColumnSampleValues": {"column": "f", "count": 3},
    "ColumnValuesMatchRegexCount": REGEX,
    "ColumnValuesMatchRegexValues": REGEX,
    "ColumnValuesNonNull": {"column": "f"},
    "ColumnValuesNonNullCount": {"column": "f"},
    "ColumnValuesNotMatchRegexCount": REGEX,
    "ColumnValuesNotMatchRegexValues": {**REGEX, "limit": 2},
    "ColumnPairValuesInSetUnexpectedCount": {"column_A": "i", "column_B": "f", "value_pairs_set": {(1, 1.0)}},
    "MultiColumnSumEqualUnexpectedCount": {"column_list": ["i", "f"], "sum_total": 2},
    "QueryBatchTable": QUERY,
    "QueryDataSourceTable": {"query": "SELECT n FROM other", "data_source_name": "files"},
    "QueryRowCount": QUERY,
}
# Of these pandas has none: what they say here of all rows, and of those with `i > 1` where they take a condition.
HERE: dict[str, tuple[Any, ...]] = {
    "ColumnSampleValues": ([1.0, None, 2.5], [None, 2.5, None]),
    "ColumnValuesMatchRegexValues": (["a", "ab"], ["ab"]),
    "ColumnValuesNotMatchRegexValues": (["b", "c"], ["b", "c"]),
    "QueryBatchTable": ([{"s": None}, {"s": "ab"}, {"s": "c"}],),
    "QueryDataSourceTable": ([{"n": 1}],),
    "QueryRowCount": (3,),
}


@pytest.fixture(scope="module")
def batches(tmp_path_factory) -> dict[str, Any]:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    other = tmp_path_factory.mktemp("other") / "other.parquet"
    pl.DataFrame({"n": [1]}).write_parquet(other)
    context.data_sources.add_polars("files").add_parquet_asset("other", other)
    sources = {"polars": context.data_sources.add_polars("polars"), "pandas": context.data_sources.add_pandas("pandas")}
    frames = {"polars": ROWS, "pandas": ROWS.to_pandas()}
    return {
        name: source.add_dataframe_asset("frame")
        .add_batch_definition_whole_dataframe("all")
        .get_batch({"dataframe": frames[name]})
        for name, source in sources.items()
    }


def value(batch: Any, name: str, condition: str | None) -> Any:
    where = {} if condition is None else {"row_condition": condition, "condition_parser": "pandas"}
    return plain(batch.compute_metrics(getattr(metrics, name)(**ASKED[name], **where)).value)


def plain(found: Any) -> Any:
    """A value without what only pandas has: frames, NaN within a set, other last bits."""
    if isinstance(found, pd.DataFrame):
        return [[None if item != item else item for item in row] for row in found.to_numpy().tolist()]
    if isinstance(found, pd.Series):
        return found.to_dict()
    if isinstance(found, set):
        return {item for item in found if item == item}
    if hasattr(found, "standard_deviation"):
        return {key: float(f"{number:.12g}") for key, number in found.dict().items()}
    # GX on pandas lists a set, whose order changes from process to process.
    return sorted(found) if isinstance(found, list) and all(isinstance(item, str) for item in found) else found


def conditions(name: str) -> list[str | None]:
    return [None, "i > 1"] if "row_condition" in getattr(metrics, name).__fields__ else [None]


def test_every_metric_class_is_tried():
    """A new one of a later GX must be looked at."""
    classes = {name for name, kind in vars(metrics).items() if isinstance(kind, type) and kind is not metrics.Metric}

    assert classes == set(ASKED)


@pytest.mark.parametrize("name", sorted(set(ASKED) - set(HERE) - {"BatchColumnTypes"}))
def test_a_metric_is_that_of_pandas(batches, name):
    for condition in conditions(name):
        ours, theirs = (value(batches[engine], name, condition) for engine in ("polars", "pandas"))

        assert not hasattr(theirs, "exception_message")
        assert ours == theirs


@pytest.mark.parametrize("name", sorted(HERE))
def test_a_metric_that_pandas_lacks(batches, name):
    """As in SQL."""
    from great_expectations.exceptions import MetricProviderError

    assert tuple(value(batches["polars"], name, condition) for condition in conditions(name)) == HERE[name]
    with pytest.raises(MetricProviderError):
        value(batches["pandas"], name, None)


def test_column_types_are_those_of_polars(batches):
    types = value(batches["polars"], "BatchColumnTypes", None)

    assert {each.name: each.type for each in types} == dict(ROWS.schema)
