"""Every expectation that GX registers, run on Polars once where it holds and once where it does not.

The table in docs/validation.md is written from what these runs say: `python -m tests.unit.validations.test_coverage`
puts it there again.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from validations.suite import load_gx

ROWS = pl.DataFrame(
    {
        "id": [1, 2, 3, 4, 5],
        "down": [5, 4, 3, 2, 1],
        "twice": [1, 1, 2, 3, 3],
        "price": [1.0, 1.5, 2.0, 2.5, 3.0],
        "same": [1.0, 1.5, 2.0, 2.5, 3.0],
        "place": ["JFK", "LGA", "JFK", "EWR", "JFK"],
        "gone": [None, "x", None, "x", "x"],
        "never": pl.Series([None] * 5, dtype=pl.Float64),
        "day": ["2013-01-01", "2013-01-02", "2013-01-03", "2013-01-04", "2013-01-05"],
        "json": ['{"a": 1}', '{"a": 2}', '{"a": 3}', '{"a": 4}', '{"a": 5}'],
        "word": ["one", "two", "six", "ten", "three"],
        "at": [datetime(2013, 1, day) for day in (1, 2, 3, 4, 5)],
    }
)
WORDS = {"values": ["JFK", "LGA", "EWR"], "weights": [0.6, 0.2, 0.2]}
ODD = {"values": ["JFK", "LGA", "EWR"], "weights": [0.01, 0.01, 0.98]}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def between(column: str, holds: tuple[float, float], breaks: tuple[float, float]) -> tuple[dict[str, Any], ...]:
    return tuple({"column": column, "min_value": low, "max_value": high} for low, high in (holds, breaks))


def of(column: str, key: str, holds: Any, breaks: Any) -> tuple[dict[str, Any], ...]:
    return {"column": column, key: holds}, {"column": column, key: breaks}


def on(key: str, holds: Any, breaks: Any) -> tuple[dict[str, Any], ...]:
    return {key: holds}, {key: breaks}


def quantiles(low: float, high: float) -> dict[str, Any]:
    return {"quantiles": [0.25, 0.5], "value_ranges": [[low, high], [low, high]]}


# What holds of ROWS, and what does not.
CASES: dict[str, tuple[dict[str, Any], ...]] = {
    "expect_column_distinct_values_to_be_in_set": of("place", "value_set", ["JFK", "LGA", "EWR"], ["JFK"]),
    "expect_column_distinct_values_to_contain_set": of("place", "value_set", ["JFK"], ["BOS"]),
    "expect_column_distinct_values_to_equal_set": of("place", "value_set", ["JFK", "LGA", "EWR"], ["JFK"]),
    "expect_column_kl_divergence_to_be_less_than": (
        {"column": "place", "partition_object": WORDS, "threshold": 0.1},
        {"column": "place", "partition_object": ODD, "threshold": 0.1},
    ),
    "expect_column_max_to_be_between": between("price", (3, 3), (0, 1)),
    "expect_column_mean_to_be_between": between("price", (2, 2), (0, 1)),
    "expect_column_median_to_be_between": between("price", (2, 2), (0, 1)),
    "expect_column_min_to_be_between": between("price", (1, 1), (2, 3)),
    "expect_column_most_common_value_to_be_in_set": of("place", "value_set", ["JFK"], ["LGA"]),
    "expect_column_pair_values_a_to_be_greater_than_b": (
        {"column_A": "id", "column_B": "twice", "or_equal": True},
        {"column_A": "id", "column_B": "down"},
    ),
    "expect_column_pair_values_to_be_equal": (
        {"column_A": "price", "column_B": "same"},
        {"column_A": "id", "column_B": "twice"},
    ),
    "expect_column_pair_values_to_be_in_set": (
        {"column_A": "id", "column_B": "down", "value_pairs_set": [[1, 5], [2, 4], [3, 3], [4, 2], [5, 1]]},
        {"column_A": "id", "column_B": "down", "value_pairs_set": [[1, 5]]},
    ),
    "expect_column_proportion_of_non_null_values_to_be_between": between("gone", (0.6, 0.6), (0.9, 1)),
    "expect_column_proportion_of_unique_values_to_be_between": between("twice", (0.6, 0.6), (0.9, 1)),
    "expect_column_quantile_values_to_be_between": of("price", "quantile_ranges", quantiles(1, 2), quantiles(3, 4)),
    "expect_column_stdev_to_be_between": between("price", (0.7, 0.8), (2, 3)),
    "expect_column_sum_to_be_between": between("price", (10, 10), (0, 1)),
    "expect_column_to_exist": on("column", "id", "nowhere"),
    "expect_column_type_to_be": of("id", "type_", "int64", "float64"),
    "expect_column_unique_value_count_to_be_between": between("place", (3, 3), (4, 5)),
    "expect_column_value_lengths_to_be_between": between("word", (3, 5), (3, 4)),
    "expect_column_value_lengths_to_equal": ({"column": "place", "value": 3}, {"column": "word", "value": 3}),
    "expect_column_value_z_scores_to_be_less_than": (
        {"column": "price", "threshold": 2, "double_sided": True},
        {"column": "price", "threshold": 1, "double_sided": True},
    ),
    "expect_column_values_to_be_between": between("price", (1, 3), (1, 2)),
    "expect_column_values_to_be_dateutil_parseable": on("column", "day", "word"),
    "expect_column_values_to_be_decreasing": on("column", "down", "id"),
    "expect_column_values_to_be_in_set": of("place", "value_set", ["JFK", "LGA", "EWR"], ["JFK"]),
    "expect_column_values_to_be_in_type_list": of("id", "type_list", ["int64", "str"], ["float64", "str"]),
    "expect_column_values_to_be_increasing": on("column", "id", "down"),
    "expect_column_values_to_be_json_parseable": on("column", "json", "word"),
    "expect_column_values_to_be_null": on("column", "never", "gone"),
    "expect_column_values_to_be_of_type": of("price", "type_", "float64", "int64"),
    "expect_column_values_to_be_unique": on("column", "id", "twice"),
    "expect_column_values_to_match_json_schema": of(
        "json", "json_schema", SCHEMA, {**SCHEMA, "required": ["b"]}
    ),
    "expect_column_values_to_match_like_pattern": of("day", "like_pattern", "2013-%", "%-01"),
    "expect_column_values_to_match_like_pattern_list": of("place", "like_pattern_list", ["J%", "_GA", "E%"], ["J%"]),
    "expect_column_values_to_match_regex": of("place", "regex", "^[A-Z]{3}$", "^J"),
    "expect_column_values_to_match_regex_list": of("place", "regex_list", ["^J", "^[LE]"], ["^J"]),
    "expect_column_values_to_match_strftime_format": of("day", "strftime_format", "%Y-%m-%d", "%d.%m.%Y"),
    "expect_column_values_to_not_be_in_set": of("place", "value_set", ["BOS"], ["JFK"]),
    "expect_column_values_to_not_be_null": on("column", "id", "gone"),
    "expect_column_values_to_not_be_outliers": (
        {"column": "price", "method": "iqr", "multiplier": 1.5},
        {"column": "price", "method": "std", "multiplier": 1.0},
    ),
    "expect_column_values_to_not_match_like_pattern": of("place", "like_pattern", "B%", "J%"),
    "expect_column_values_to_not_match_like_pattern_list": of("place", "like_pattern_list", ["B%"], ["B%", "J%"]),
    "expect_column_values_to_not_match_regex": of("place", "regex", "^B", "^J"),
    "expect_column_values_to_not_match_regex_list": of("place", "regex_list", ["^B"], ["^B", "^J"]),
    "expect_compound_columns_to_be_unique": on("column_list", ["id", "twice"], ["twice", "gone"]),
    "expect_multicolumn_sum_to_equal": (
        {"column_list": ["id", "down"], "sum_total": 6},
        {"column_list": ["id", "twice"], "sum_total": 6},
    ),
    "expect_multicolumn_values_to_be_equal": on("column_list", ["price", "same"], ["id", "down"]),
    "expect_query_results_to_match_comparison": tuple(
        {
            "base_query": f"SELECT place, COUNT(*) AS n FROM {{batch}} WHERE id > {least} GROUP BY place",
            "comparison_data_source_name": "files",
            "comparison_query": "SELECT place, COUNT(*) AS n FROM other GROUP BY place",
        }
        for least in (0, 3)
    ),
    "expect_select_column_values_to_be_unique_within_record": on("column_list", ["id", "place"], ["price", "same"]),
    "expect_table_column_count_to_be_between": ({"min_value": 12, "max_value": 12}, {"min_value": 13}),
    "expect_table_column_count_to_equal": on("value", 12, 13),
    "expect_table_columns_to_match_ordered_list": on("column_list", ROWS.columns, ROWS.columns[::-1]),
    "expect_table_columns_to_match_set": on("column_set", ROWS.columns[::-1], ROWS.columns[1:]),
    "expect_table_row_count_to_be_between": ({"min_value": 5, "max_value": 5}, {"min_value": 6}),
    "expect_table_row_count_to_equal": on("value", 5, 6),
    "expect_table_row_count_to_equal_other_table": on("other_table_name", "other", "less"),
    "unexpected_rows_expectation": on(
        "unexpected_rows_query", "SELECT * FROM {batch} WHERE id > 5", "SELECT * FROM {batch} WHERE id > 3"
    ),
}  # fmt: skip

DOCS = Path(__file__).parents[3] / "docs" / "validation.md"
START, END = "<!-- coverage: written by tests/unit/validations/test_coverage.py -->\n", "<!-- end of coverage -->"
EQUAL, OWN_TYPES, ONLY_SQL = "as on pandas", "types by Polars' names and others'", "as in SQL; pandas has none"
NOTES = {
    "expect_column_quantile_values_to_be_between": "as on pandas, and a checkpoint can write it",
    "expect_table_row_count_to_equal_other_table": "the other table is a file asset of a Polars data source",
    "expect_query_results_to_match_comparison": "Polars SQL; the other source is a Polars one, or any SQL one",
    "unexpected_rows_expectation": "Polars SQL",
}


@cache
def said() -> dict[str, tuple[dict[str, Any], ...]]:
    """What Polars and pandas say, as JSON, of what holds and of what does not: four answers for each expectation."""
    gx = load_gx()
    import validations.datasource  # noqa: F401

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    with tempfile.TemporaryDirectory() as folder:
        files = context.data_sources.add_polars("files")
        for name, rows in (("other", ROWS), ("less", ROWS.head(2))):
            rows.write_parquet(f"{folder}/{name}.parquet")
            files.add_parquet_asset(name, f"{folder}/{name}.parquet")
        return {kind: tuple(_answers(context, kind)) for kind in CASES}


def _answers(context: Any, kind: str) -> Iterator[dict[str, Any]]:
    import great_expectations.expectations as gxe

    name = kind.title().replace("_", "").replace("ZScores", "ZScores")
    expectation = {cls.lower(): getattr(gxe, cls) for cls in dir(gxe)}[name.lower()]
    for source, frame in (("polars", ROWS), ("pandas", ROWS.to_pandas())):
        data = getattr(context.data_sources, f"add_or_update_{source}")(f"{source}_frames")
        asset = data.add_dataframe_asset(kind).add_batch_definition_whole_dataframe("all")
        for kwargs in CASES[kind]:
            yield _told(asset, frame, expectation, kwargs)


def _told(asset: Any, frame: Any, expectation: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = asset.get_batch({"dataframe": frame}).validate(expectation(**kwargs), result_format="SUMMARY")
        except Exception as error:  # noqa: BLE001 - GX raises for what pandas does not have
            return {"raised": str(error)}
    plain = found.to_json_dict()
    raised = plain["exception_info"]
    texts = [entry["exception_message"] for entry in ([raised] if "raised_exception" in raised else raised.values())]
    return {"raised": next(filter(None, texts), None), "success": bool(plain["success"]), "result": plain["result"]}


def status(kind: str) -> str:
    """What the table says of an expectation."""
    holds, breaks, as_pandas, pandas_breaks = said()[kind]
    if kind in NOTES:
        return NOTES[kind]
    if as_pandas["raised"]:
        return ONLY_SQL
    if "type" in kind.removeprefix("expect_"):
        return OWN_TYPES
    return EQUAL if (holds, breaks) == (as_pandas, pandas_breaks) else "DIFFERENT"


def table() -> str:
    """The table of docs/validation.md."""
    lines = [f"| `{kind}` | {status(kind)} |\n" for kind in sorted(CASES)]
    return "| expectation | on Polars |\n|---|---|\n" + "".join(lines)


def test_every_expectation_of_gx_is_tried():
    """A new one of a later GX must be looked at."""
    load_gx()
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    assert sorted(CASES) == sorted(list_registered_expectation_implementations())


@pytest.mark.parametrize("kind", sorted(CASES))
def test_an_expectation_holds_and_breaks(kind):
    """With an answer, not with an error."""
    holds, breaks = said()[kind][:2]

    assert (holds["raised"], holds["success"]) == (None, True)
    assert (breaks["raised"], breaks["success"]) == (None, False)


def test_the_table_in_the_docs_is_what_these_runs_say():
    """`python -m tests.unit.validations.test_coverage` writes it."""
    text = DOCS.read_text()

    assert text[text.index(START) + len(START) : text.index(END)] == table()


if __name__ == "__main__":
    written = DOCS.read_text()
    DOCS.write_text(written[: written.index(START) + len(START)] + table() + written[written.index(END) :])
