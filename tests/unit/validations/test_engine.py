"""The engine: how often it reads, what a bad expectation costs the others, what it makes of patterns and types."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from validations.suite import load_gx

load_gx()

import great_expectations as gx  # noqa: E402
import great_expectations.expectations as gxe  # noqa: E402

import validations.datasource  # noqa: E402, F401
from validations.expectations import is_of_type  # noqa: E402
from validations.metrics.literals import members  # noqa: E402
from validations.metrics.patterns import contains, like, translate  # noqa: E402
from validations.metrics.text import as_text  # noqa: E402

ROWS = pl.DataFrame(
    {
        "id": [1, 2, 3, 4, 5],
        "price": [1.0, math.nan, 2.5, None, 99.0],
        "place": ["JFK", "LGA", "JFK", None, "XXX"],
        "twice": [1, 1, 2, 3, 3],
        "day": [date(2013, 1, day) for day in (1, 2, 3, 4, 5)],
    }
)


@pytest.fixture
def collects(monkeypatch) -> list[int]:
    """How many queries each collect of this test ran."""
    made: list[int] = []
    one, many = pl.LazyFrame.collect, pl.collect_all

    def collect(frame: pl.LazyFrame, **options: Any) -> Any:
        made.append(1)
        return one(frame, **options)

    def collect_all(plans: list[pl.LazyFrame], **options: Any) -> Any:
        made.append(len(plans))
        return many(plans, **options)

    monkeypatch.setattr(pl.LazyFrame, "collect", collect)
    monkeypatch.setattr(pl, "collect_all", collect_all)
    return made


def said(frames: Any, *expectations: Any, form: Any = "SUMMARY", frame: pl.DataFrame | pl.LazyFrame = ROWS) -> Any:
    suite = gx.ExpectationSuite(name="s", expectations=list(expectations))
    return frames.get_batch({"dataframe": frame}).validate(suite, result_format=form)


SELECTED = [
    gxe.ExpectColumnValuesToNotBeNull(column="id"),
    gxe.ExpectColumnValuesToNotBeNull(column="twice"),
    gxe.ExpectColumnValuesToBeBetween(column="price", min_value=1, max_value=99),
    gxe.ExpectColumnValuesToBeInSet(column="place", value_set=["JFK", "LGA", "XXX"]),
    gxe.ExpectColumnValuesToMatchRegex(column="place", regex="^[A-Z]{3}$"),
    gxe.ExpectColumnValueLengthsToEqual(column="place", value=3),
    gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="id", column_B="twice", or_equal=True),
    gxe.ExpectColumnMeanToBeBetween(column="price", min_value=1),
    gxe.ExpectColumnMaxToBeBetween(column="day", max_value=date(2013, 1, 5)),
    gxe.ExpectColumnValuesToBeOfType(column="id", type_="Int64"),
    gxe.ExpectTableRowCountToEqual(value=5),
    gxe.ExpectTableColumnsToMatchSet(column_set=ROWS.columns),
]
# In one select with others, Polars would hold the columns of all of them.
APART = [
    gxe.ExpectColumnValuesToBeUnique(column="id"),
    gxe.ExpectCompoundColumnsToBeUnique(column_list=["id", "twice"]),
    gxe.ExpectColumnUniqueValueCountToBeBetween(column="place", min_value=3, max_value=3),
    gxe.ExpectColumnDistinctValuesToContainSet(column="place", value_set=["JFK"]),
    gxe.ExpectColumnValuesToBeIncreasing(column="id", strictly=True),
    gxe.ExpectColumnMedianToBeBetween(column="twice", min_value=2, max_value=2),
    gxe.ExpectColumnQuantileValuesToBeBetween(
        column="id", quantile_ranges={"quantiles": [0.5], "value_ranges": [[3, 3]]}
    ),
]
KEPT = [*SELECTED, *APART]


def test_all_counts_and_aggregates_are_one_query(frames, collects):
    """However many expectations a suite has, as long as they hold; a file that is scanned is read once."""
    found = said(frames, *SELECTED, frame=ROWS.lazy())

    assert [item.expectation_config.type for item in found.results if not item.success] == []
    assert collects == [1]


def test_distinct_values_and_what_needs_an_order_are_queries_of_their_own_in_the_same_pass(frames, collects):
    """One for each expectation, beside the select of all others."""
    found = said(frames, *KEPT, frame=ROWS.lazy())

    assert [item.expectation_config.type for item in found.results if not item.success] == []
    assert collects == [1 + len(APART)]


def test_the_only_count_of_distinct_values_is_part_of_the_select(frames, collects):
    """It saves reading its column again; two would hold their columns in memory."""
    said(frames, *SELECTED, APART[0])
    said(frames, *SELECTED, APART[0], APART[2])

    assert collects == [1, 3]


def test_expectations_on_one_column_and_set_share_a_query(frames, collects):
    """What a set lacks and what it has too much come from one query each, whether they are counted or listed."""
    asked = {"column": "place", "value_set": ["JFK", "BOS"]}

    found = said(
        frames,
        gxe.ExpectColumnDistinctValuesToEqualSet(**asked),
        gxe.ExpectColumnDistinctValuesToContainSet(**asked),
        gxe.ExpectColumnDistinctValuesToBeInSet(**asked),
    )

    assert collects == [2]
    equal, contain, within = (item.result for item in found.results)
    assert equal["partial_missing_list"] == contain["partial_missing_list"] == ["BOS"]
    assert equal["partial_unexpected_list"] == within["partial_unexpected_list"] == ["LGA", "XXX"]


def test_queries_share_only_what_is_dear_to_read(frames, tmp_path, monkeypatch):
    """Columns of a Parquet file are read by each query that needs them; CSV is parsed, and a join made, once a pass."""
    shared: list[bool] = []
    one, many = pl.LazyFrame.collect, pl.collect_all

    def collect(frame: pl.LazyFrame, **options: Any) -> Any:
        shared.append("CACHE" in frame.explain(optimizations=options["optimizations"]))
        return one(frame, **options)

    def collect_all(plans: list[pl.LazyFrame], **options: Any) -> Any:
        shared.append("CACHE" in pl.explain_all(plans, optimizations=options["optimizations"]))
        return many(plans, **options)

    monkeypatch.setattr(pl.LazyFrame, "collect", collect)
    monkeypatch.setattr(pl, "collect_all", collect_all)
    median = gxe.ExpectColumnMedianToBeBetween(column="twice", min_value=2, max_value=2)
    ROWS.write_parquet(tmp_path / "rows.parquet")
    ROWS.write_csv(tmp_path / "rows.csv")
    columns, text = pl.scan_parquet(tmp_path / "rows.parquet"), pl.scan_csv(tmp_path / "rows.csv")

    for frame in (columns, columns.filter(pl.col("id") > 0), text, columns.join(text, on="id")):
        assert said(frames, *APART[:2], frame=frame).success
        assert said(frames, median, frame=frame).success

    assert shared == [False] * 4 + [True] * 4


def test_only_what_failed_reads_again(frames, collects):
    """One further pass, with one query for each expectation that failed, whatever of its rows is shown."""
    broken = [
        gxe.ExpectColumnValuesToBeBetween(column="price", max_value=50),
        gxe.ExpectColumnValuesToBeInSet(column="place", value_set=["JFK", "LGA"]),
    ]

    found = said(frames, *KEPT, *broken, form="COMPLETE")

    assert [item.success for item in found.results].count(False) == 2
    assert collects == [1 + len(APART), 2]


def test_repeated_keys_are_grouped_only_if_there_are_any(frames, collects):
    """Counting distinct keys tells whether they repeat; only then they are counted one by one, and shown."""
    found = said(frames, gxe.ExpectColumnValuesToBeUnique(column="twice"))

    assert found.results[0].result["unexpected_count"] == 4
    assert found.results[0].result["partial_unexpected_list"] == [1, 1, 3, 3]
    assert collects == [1, 1, 1]


BAD = [
    (gxe.ExpectColumnValuesToBeBetween(column="nowhere", min_value=1), 'column "nowhere" in BatchData does not exist'),
    (gxe.ExpectColumnValuesToBeBetween(column="place", min_value=1), "place (String) cannot be compared with 1"),
    (gxe.ExpectColumnMeanToBeBetween(column="place", min_value=1), "place (String) is not numeric"),
    (gxe.ExpectColumnValuesToMatchRegex(column="place", regex="("), "The regular expression '(' is not valid"),
    (gxe.ExpectColumnValuesToBeOfType(column="id", type_="Unheard"), "Unrecognized type: Unheard"),
    (gxe.ExpectColumnValuesToMatchStrftimeFormat(column="id", strftime_format="%Y"), "must be of type string"),
    (
        gxe.UnexpectedRowsExpectation(unexpected_rows_query="SELEKT id FROM {batch}"),
        "Polars cannot run the query 'SELEKT id FROM batch'",
    ),
    (
        gxe.ExpectTableRowCountToEqualOtherTable(other_table_name="elsewhere"),
        "There is no table 'elsewhere' among the Polars assets",
    ),
]


@pytest.mark.parametrize(("bad", "message"), BAD, ids=[f"{type(bad).__name__}{at}" for at, (bad, _) in enumerate(BAD)])
def test_a_bad_expectation_fails_alone(frames, collects, bad, message):
    """It says what is wrong with which column; the others still report, from one pass."""
    found = said(frames, *KEPT, bad)

    (failed,) = [item for item in found.results if not item.success]
    entries = failed.exception_info
    texts = [entries] if "exception_message" in entries else list(entries.values())
    assert any(message in str(entry["exception_message"]) for entry in texts)
    assert collects == [1 + len(APART)]


def test_many_bad_expectations_do_not_read_again(frames, collects):
    """Each is told of by its own error."""
    found = said(frames, *(bad for bad, _ in BAD), *KEPT)

    assert sum(not item.success for item in found.results) == len(BAD)
    assert collects == [1 + len(APART)]


def test_a_value_that_cannot_be_computed_costs_only_its_own_expectation(frames):
    """What no type tells beforehand: a text that is no JSON, where a schema is asked for."""
    texts = pl.DataFrame({"text": ['{"a": 1}', "{"], "n": [1, 2]})
    schema = gxe.ExpectColumnValuesToMatchJsonSchema(column="text", json_schema={"type": "object"})

    found = said(frames, schema, gxe.ExpectColumnValuesToBeUnique(column="n"), frame=texts)

    assert [(item.expectation_config.type, item.success) for item in found.results] == [
        ("expect_column_values_to_match_json_schema", False),
        ("expect_column_values_to_be_unique", True),
    ]


def test_rows_are_asked_for_in_sql(frames):
    """The query runs on the batch; its rows are what is unexpected."""
    query = "SELECT place, COUNT(*) AS n FROM {batch} GROUP BY place HAVING COUNT(*) > 1"

    found = said(frames, gxe.UnexpectedRowsExpectation(unexpected_rows_query=query), form="COMPLETE")

    assert found.results[0].result == {
        "observed_value": 1,
        "details": {"unexpected_rows": [{"place": "JFK", "n": 2}]},
    }


def test_a_quantile_is_json(frames):
    """GX answers with NumPy's bool, which no checkpoint can write."""
    ranges = {"quantiles": [0.5], "value_ranges": [[3, None]]}

    found = said(frames, gxe.ExpectColumnQuantileValuesToBeBetween(column="id", quantile_ranges=ranges))

    assert found.results[0].success is True
    assert found.results[0].result["details"]["success_details"] == [True]


def test_other_frames_than_polars_are_refused(frames):
    """With what to give instead."""
    with pytest.raises(Exception, match="polars DataFrame or LazyFrame"):
        frames.get_batch({"dataframe": [1, 2]})


PATTERNS = [
    "a", "^a", "a$", "^a$", r"\d+", r"^\w+$", r"[^\W\d]", r"\s", "a|^b$", "(?i)AB", "(a)(b)?", "a{2,3}", "[a-c]+?", ".",
    r"\Aa\Z", r"[\]\-a]", "(?s).b", "(?:ab)+$", "x*", "é", "[[:alpha:]]", "a&&b", "[a&&b]",
]  # fmt: skip
ONLY_PYTHON = [r"(?=a)b", r"(a)\1", r"(?<!x)a", r"\bab\b", "a$b"]


@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")
@pytest.mark.filterwarnings("ignore:Possible set:FutureWarning")
@given(st.sampled_from([*PATTERNS, *ONLY_PYTHON]), st.text("aAbBcé1 \n_-x²\x1f&[]", max_size=5))
def test_patterns_mean_what_python_means(pattern, text):
    """Polars' engine where it can, Python's where it must, and the same answer."""
    found = pl.DataFrame({"text": [text, None]}).select(contains(pl.col("text"), pattern)).to_series().to_list()

    assert found == [re.search(pattern, text) is not None, None]


@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")
@pytest.mark.filterwarnings("ignore:Possible set:FutureWarning")
def test_common_patterns_run_in_polars():
    """Only what Rust's engine lacks runs in Python."""
    assert [pattern for pattern in PATTERNS if translate(pattern) is None] == []
    assert [pattern for pattern in ONLY_PYTHON if translate(pattern) is not None] == []


@pytest.mark.parametrize(
    ("pattern", "escape", "matching"),
    [
        ("a%", None, ["a", "ab", "a\nb", "a%"]),
        ("a_", None, ["ab", "a%"]),
        ("a!%", "!", ["a%"]),
        ("%.b", None, [".b"]),
        ("", None, []),
    ],
)
def test_like_is_that_of_sql(pattern, escape, matching):
    """`%` is any text, `_` one character; the rest is meant as it stands."""
    values = ["a", "ab", "a\nb", "a%", ".b", "xb"]

    found = pl.DataFrame({"text": values}).filter(like(pl.col("text"), pattern, escape))

    assert found["text"].to_list() == matching


@pytest.mark.parametrize(
    ("values", "dtype", "held"),
    [
        ([1, 2.0, 2.5, "3", True, None, 2**70], pl.Int64(), [1, 2]),
        ([1, 300, -1], pl.UInt8(), [1]),
        ([1, 2.5, "x", math.nan, Decimal("0.5")], pl.Float64(), [1.0, 2.5, 0.5]),
        ([0, 1, 2, "True"], pl.Boolean(), [False, True]),
        ([True, 2, "x"], pl.Decimal(10, 2), [Decimal(1), Decimal(2)]),
        (["2013-01-02", "x", datetime(2013, 1, 2, 5), 7], pl.Date(), [date(2013, 1, 2)]),
        (["2013-01-02T05:00Z", "2013-01-02"], pl.Datetime("us", "UTC"), [datetime(2013, 1, 2, 5, tzinfo=UTC)]),
        (["a", 1, None], pl.String(), ["a"]),
    ],
)
def test_a_set_holds_what_the_column_can_equal(values, dtype, held):
    """Nothing is rounded, and a text is a time only where the column holds times."""
    assert members(values, dtype).to_list() == held


@pytest.mark.parametrize(
    ("dtype", "names", "others"),
    [
        (pl.Int64(), ["Int64", "int64", "int", "BIGINT", "LongType"], ["Int32", "float64", "str"]),
        (pl.Int32(), ["Int32", "int32", "INTEGER", "IntegerType"], ["int", "int64"]),
        (pl.String(), ["String", "str", "object", "VARCHAR", "StringType", "Utf8"], ["bytes", "Int64"]),
        (pl.Datetime("us"), ["Datetime", "datetime64[ns]", "TIMESTAMP", str(pl.Datetime("us"))], ["Date"]),
        (pl.Datetime("us", "UTC"), ["Datetime", "datetime"], ["datetime64"]),
        (pl.Boolean(), ["Boolean", "bool", "BooleanType"], ["int"]),
        (pl.List(pl.Int8), ["List", "list", "List(Int8)"], ["Struct"]),
    ],
)
def test_types_are_known_by_the_names_of_other_engines(dtype, names, others):
    """A suite that was written for pandas, Spark or SQL still holds; an unheard name is none of them."""
    assert [name for name in names if not is_of_type(dtype, name)] == []
    assert [name for name in others if is_of_type(dtype, name)] == []
    assert is_of_type(dtype, "Unheard") is None


def test_a_condition_and_its_opposite_show_their_own_rows(frames):
    found = said(
        frames,
        gxe.ExpectColumnValuesToMatchRegex(column="place", regex="JFK"),
        gxe.ExpectColumnValuesToNotMatchRegex(column="place", regex="JFK"),
        gxe.ExpectColumnValuesToBeNull(column="place"),
        gxe.ExpectColumnValuesToNotBeNull(column="place"),
        gxe.ExpectColumnValuesToBeUnique(column="place"),
        gxe.ExpectColumnValuesToBeJsonParseable(column="place"),
        form={"result_format": "COMPLETE", "include_unexpected_rows": True},
    )
    rows = {each.expectation_config.type: each.result["unexpected_index_list"] for each in found.results}
    whole = {
        each.expectation_config.type: [row["id"] - 1 for row in each.result["unexpected_rows"]]
        for each in found.results
    }
    assert rows == whole
    assert rows == {
        "expect_column_values_to_match_regex": [1, 4],
        "expect_column_values_to_not_match_regex": [0, 2],
        "expect_column_values_to_be_null": [0, 1, 2, 4],
        "expect_column_values_to_not_be_null": [3],
        "expect_column_values_to_be_unique": [0, 2],
        "expect_column_values_to_be_json_parseable": [0, 1, 2, 4],
    }


def test_repeated_keys_are_counted_whatever_their_column_is_called(frames):
    rows = pl.DataFrame({"__rows": [1, 2, 2], "_rows": [7, 8, 8]})
    single = gxe.ExpectColumnValuesToBeUnique(column="__rows")
    compound = gxe.ExpectCompoundColumnsToBeUnique(column_list=["__rows", "_rows"])
    found = said(frames, single, compound, frame=rows)
    assert [each.result["unexpected_count"] for each in found.results] == [2, 2]


FLOATS = [0.0, -0.0, 1e-7, 1e16, 5e-324, math.inf, -math.inf, math.nan, None]


@given(
    st.lists(st.floats() | st.sampled_from(FLOATS)), st.sampled_from([1, 9]), st.sampled_from([pl.Float32, pl.Float64])
)
def test_floats_are_written_as_python_writes_them(values, times, dtype):
    """Whether each is written by itself or, where they repeat, once for all."""
    column = pl.Series("v", values * times, dtype=dtype, strict=False)

    found = column.to_frame().select(as_text(pl.col("v"), dtype())).to_series()

    assert found.to_list() == [None if value is None else repr(value) for value in column.to_list()]
