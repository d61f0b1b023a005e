"""The Polars engine beside GX's own pandas engine: the same frame, the same expectation, the same JSON.

What is left out here on purpose is what docs/validation.md lists as different.
"""

from __future__ import annotations

import math
import warnings
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from validations.suite import load_gx

# The conditions here are in pandas' language, which GX means to drop one day.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The condition_parser parameter is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Passing a string to the row_condition:DeprecationWarning"),
]

WORDS = ["", "a", "b", "ab", "a1", "N12", "é", "A\n", "1.5", "2013-01-02", '{"k": 1}', " x "]
NUMBERS = [-3, -1, 0, 1, 2, 3, 7]
FLOATS = [-2.5, -1.0, 0.0, 0.1, 1.0, 2.5, 1e20]
TIMES = [datetime(2013, 1, day, hour) for day in (1, 2, 3) for hour in (0, 5)]
FORMATS = ["BOOLEAN_ONLY", "BASIC", "SUMMARY", "COMPLETE"]
CONDITIONS = [
    "i > 0", "i != 1 and j <= 2", "f > 0.5", "f != 1", "n == 1", "n.isnull()", 's == "a"', 's != "a"', "i in [1, 2]",
    "not (i < j)", 's.str.startswith("a")', "b == True", "i + j > 2", "(i == 1) | (f < 0)",
]  # fmt: skip


@st.composite
def frames(draw: st.DrawFn, fewest: int = 0) -> pl.DataFrame:
    """Columns of every kind that pandas holds as Polars does; a missing number makes it a float there."""
    rows = draw(st.integers(fewest, 9))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=rows, max_size=rows))

    schema = {
        "i": pl.Int64, "j": pl.Int64, "n": pl.Int64, "f": pl.Float64, "g": pl.Float64, "s": pl.String,
        "r": pl.String, "b": pl.Boolean, "t": pl.Datetime("us"), "u": pl.Datetime("us", "UTC"),
    }  # fmt: skip
    numbers, floats, words = (st.sampled_from(each) for each in (NUMBERS, FLOATS, WORDS))
    return pl.DataFrame(
        {
            "i": column(numbers),
            "j": column(numbers),
            "n": column(st.none() | numbers),
            "f": column(st.none() | st.just(math.nan) | floats),
            "g": column(floats),
            "s": column(st.none() | words),
            "r": column(words),
            "b": column(st.booleans()),
            "t": column(st.none() | st.sampled_from(TIMES)),
            "u": column(st.sampled_from([each.replace(tzinfo=UTC) for each in TIMES])),
        },
        schema=schema,
    )


def bounds(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Bounds the right way round, at least one of them."""

    def ordered(low: Any, high: Any, strict: tuple[bool, bool]) -> dict[str, Any]:
        if low is not None and high is not None and low > high:
            low, high = high, low
        given = {"min_value": low, "max_value": high, "strict_min": strict[0], "strict_max": strict[1]}
        return {name: value for name, value in given.items() if value is not None}

    maybe = st.none() | values
    both = st.builds(ordered, maybe, maybe, st.tuples(st.booleans(), st.booleans()))
    return both.filter(lambda given: "min_value" in given or "max_value" in given)


NUMERIC = st.sampled_from(["i", "n", "f", "g"])
TEXT = st.sampled_from(["s", "r"])
ANY = st.sampled_from(["i", "n", "f", "g", "s", "r", "b", "t", "u"])
MOSTLY = st.sampled_from([1.0, 0.75, 0.5])
PATTERNS = st.sampled_from(
    ["a", "^a", "a$", r"\d", r"^\w+$", "[^a-c]", "(a|b)+", r"^\S*$", "(?i)A", "^.$", r"a\b", "(?=a)"]
)
IGNORE_PAIR = st.sampled_from(["both_values_are_missing", "either_value_is_missing", "neither"])
IGNORE = st.sampled_from(["all_values_are_missing", "any_value_is_missing", "never"])
SETS = st.lists(st.sampled_from([*NUMBERS, *FLOATS, *WORDS, True]), min_size=1, max_size=5, unique=True)
COLUMNS = st.lists(ANY, min_size=2, max_size=3, unique=True)
# GX on pandas trips over a column that is compared with itself.
PAIR = st.permutations(["i", "n", "f", "g"]).map(lambda names: {"column_A": names[0], "column_B": names[1]})


def kind(name: str, **kwargs: st.SearchStrategy[Any] | Any) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """An expectation by its class name, with kwargs drawn one by one; `given` holds several at once."""
    drawn = {key: value if isinstance(value, st.SearchStrategy) else st.just(value) for key, value in kwargs.items()}

    def flat(found: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        return name, {**found.pop("given", {}), **found}

    return st.fixed_dictionaries(drawn).map(flat)


def quantile_ranges(quantiles: list[float], span: tuple[float, float]) -> dict[str, Any]:
    return {"quantiles": sorted(quantiles), "value_ranges": [list(span)] * len(quantiles)}


EXPECTATIONS = st.one_of(
    kind("ColumnValuesToNotBeNull", column=ANY, mostly=MOSTLY),
    kind("ColumnValuesToBeNull", column=ANY, mostly=MOSTLY),
    kind("ColumnValuesToBeBetween", column=NUMERIC, given=bounds(st.sampled_from([-1, 0, 1, 2.5])), mostly=MOSTLY),
    kind("ColumnValuesToBeBetween", column=st.just("t"), given=bounds(st.sampled_from([str(each) for each in TIMES]))),
    kind("ColumnValuesToBeInSet", column=st.sampled_from(["i", "n", "f", "s", "b"]), value_set=SETS, mostly=MOSTLY),
    kind("ColumnValuesToNotBeInSet", column=st.sampled_from(["i", "n", "f", "s", "b"]), value_set=SETS),
    kind("ColumnValuesToBeUnique", column=ANY),
    kind("ColumnValuesToBeIncreasing", column=st.sampled_from(["i", "n", "f", "t"]), strictly=st.booleans()),
    kind("ColumnValuesToBeDecreasing", column=st.sampled_from(["i", "g", "u"]), strictly=st.booleans()),
    kind("ColumnValuesToMatchRegex", column=st.sampled_from(["s", "r", "i", "f", "b"]), regex=PATTERNS, mostly=MOSTLY),
    kind("ColumnValuesToNotMatchRegex", column=TEXT, regex=PATTERNS),
    kind("ColumnValuesToMatchRegexList", column=TEXT, regex_list=st.lists(PATTERNS, min_size=1, max_size=2),
         match_on=st.sampled_from(["any", "all"])),
    kind("ColumnValuesToNotMatchRegexList", column=TEXT, regex_list=st.lists(PATTERNS, min_size=1, max_size=2)),
    kind("ColumnValueLengthsToEqual", column=st.sampled_from(["s", "r", "i", "g", "b"]), value=st.integers(0, 4)),
    kind("ColumnValueLengthsToBeBetween", column=TEXT, min_value=st.integers(0, 2), max_value=st.integers(2, 4)),
    kind("ColumnValuesToMatchStrftimeFormat", column=TEXT, strftime_format=st.sampled_from(["%Y-%m-%d", "%H"])),
    kind("ColumnValuesToBeDateutilParseable", column=TEXT),
    kind("ColumnValuesToBeJsonParseable", column=TEXT),
    kind("ColumnValueZScoresToBeLessThan", column=NUMERIC, threshold=st.sampled_from([0.5, 1, 2]),
         double_sided=st.booleans()),
    kind("ColumnValuesToNotBeOutliers", column=NUMERIC, method=st.sampled_from(["iqr", "std"]),
         multiplier=st.sampled_from([0.0, 0.5, 1.5])),
    kind("ColumnPairValuesToBeEqual", given=PAIR, ignore_row_if=IGNORE_PAIR, mostly=MOSTLY),
    kind("ColumnPairValuesAToBeGreaterThanB", given=PAIR, or_equal=st.booleans(), ignore_row_if=IGNORE_PAIR),
    kind("ColumnPairValuesToBeInSet", column_A=st.just("i"), column_B=st.sampled_from(["j", "s"]),
         value_pairs_set=st.lists(st.tuples(st.sampled_from(NUMBERS), st.sampled_from([*NUMBERS, *WORDS]) | st.none()),
                                  min_size=1, max_size=4), ignore_row_if=IGNORE_PAIR),
    kind("CompoundColumnsToBeUnique", column_list=COLUMNS, ignore_row_if=IGNORE),
    kind("MulticolumnSumToEqual", column_list=st.lists(NUMERIC, min_size=2, max_size=3, unique=True),
         sum_total=st.sampled_from([0, 1, 2.5]), ignore_row_if=IGNORE),
    kind("MulticolumnValuesToBeEqual", column_list=COLUMNS, ignore_row_if=IGNORE),
    # In pandas a missing time (NaT) is another value than a missing number (NaN).
    kind("SelectColumnValuesToBeUniqueWithinRecord", ignore_row_if=IGNORE,
         column_list=COLUMNS.filter(lambda names: "t" not in names)),
    kind("ColumnMinToBeBetween", column=NUMERIC, given=bounds(st.sampled_from([-1, 0, 2]))),
    kind("ColumnMaxToBeBetween", column=st.sampled_from(["i", "f", "n"]), given=bounds(st.sampled_from([-1, 0, 2]))),
    kind("ColumnMeanToBeBetween", column=NUMERIC, given=bounds(st.sampled_from([-1, 0, 2]))),
    kind("ColumnMedianToBeBetween", column=NUMERIC, given=bounds(st.sampled_from([-1, 0, 2]))),
    kind("ColumnSumToBeBetween", column=NUMERIC, given=bounds(st.sampled_from([-1, 0, 2]))),
    kind("ColumnStdevToBeBetween", column=NUMERIC, given=bounds(st.sampled_from([0, 1, 2]))),
    kind("ColumnQuantileValuesToBeBetween", column=st.sampled_from(["i", "g"]),
         quantile_ranges=st.builds(quantile_ranges, st.lists(st.sampled_from([0, 0.1, 0.25, 0.5, 0.9, 1]), min_size=1,
                                                             max_size=3, unique=True),
                                   st.sampled_from([(-1, 1), (0, 5)])),
         allow_relative_error=st.sampled_from([False, "linear", "lower", "higher", "midpoint"])),
    kind("ColumnUniqueValueCountToBeBetween", column=ANY, min_value=st.integers(0, 4)),
    kind("ColumnProportionOfUniqueValuesToBeBetween", column=ANY, min_value=st.sampled_from([0.2, 0.6])),
    kind("ColumnProportionOfNonNullValuesToBeBetween", column=ANY, min_value=st.sampled_from([0.2, 0.6])),
    kind("ColumnDistinctValuesToBeInSet", column=st.sampled_from(["i", "s"]), value_set=SETS),
    kind("ColumnDistinctValuesToContainSet", column=st.sampled_from(["i", "s"]), value_set=SETS),
    kind("ColumnDistinctValuesToEqualSet", column=st.sampled_from(["i", "s"]), value_set=SETS),
    kind("ColumnMostCommonValueToBeInSet", column=st.sampled_from(["i", "r"]), value_set=SETS, ties_okay=st.booleans()),
    kind("ColumnToExist", column=st.sampled_from(["i", "nowhere"])),
    kind("TableRowCountToBeBetween", min_value=st.integers(0, 5)),
    kind("TableColumnCountToEqual", value=st.integers(9, 11)),
)  # fmt: skip


# What two expectations of a text column say of other rows though they have the same column and arguments.
ALIKE = [
    ("ColumnValuesToBeNull", "ColumnValuesToNotBeNull", st.just({})),
    ("ColumnValuesToMatchRegex", "ColumnValuesToNotMatchRegex", st.builds(dict, regex=PATTERNS)),
    ("ColumnValuesToMatchRegexList", "ColumnValuesToNotMatchRegexList",
     st.builds(dict, regex_list=st.lists(PATTERNS, min_size=1, max_size=2))),
    ("ColumnValuesToBeInSet", "ColumnValuesToNotBeInSet", st.builds(dict, value_set=SETS)),
    ("ColumnValuesToBeDateutilParseable", "ColumnValuesToBeJsonParseable", st.just({})),
]  # fmt: skip


@st.composite
def suites(draw: st.DrawFn) -> list[tuple[str, dict[str, Any]]]:
    """Two to five expectations on one column, some of which differ in nothing but their type."""
    column, mostly = draw(TEXT), draw(MOSTLY)
    pairs = draw(st.lists(st.sampled_from(ALIKE), min_size=1, max_size=2, unique_by=lambda each: each[0]))
    asked = []
    for one, other, drawn in pairs:
        kwargs = {"column": column, "mostly": mostly, **draw(drawn)}
        asked += [(one, kwargs), (other, kwargs)]
    if draw(st.booleans()):
        asked.append(("ColumnDistinctValuesToBeInSet", {"column": column, "value_set": draw(SETS)}))
    return draw(st.permutations(asked))


@pytest.fixture(scope="module")
def engines() -> dict[str, Any]:
    """A batch definition for each engine."""
    gx = load_gx()
    import validations.datasource  # noqa: F401

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    sources = {"polars": context.data_sources.add_polars("polars"), "pandas": context.data_sources.add_pandas("pandas")}
    return {
        name: source.add_dataframe_asset("frame").add_batch_definition_whole_dataframe("all")
        for name, source in sources.items()
    }


def told(engine: Any, frame: Any, expectation: Any, form: dict[str, Any]) -> dict[str, Any]:
    """What an engine says of an expectation, as JSON; of an error only that there was one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = engine.get_batch({"dataframe": frame}).validate(expectation, result_format=form).to_json_dict()
    return plain(found)


def told_of_all(engine: Any, frame: Any, suite: Any, form: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What an engine says of each expectation of a suite, by its type, from one run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = engine.get_batch({"dataframe": frame}).validate(suite, result_format=form)
    return {each.expectation_config.type: plain(each.to_json_dict()) for each in found.results}


def plain(found: dict[str, Any]) -> dict[str, Any]:
    """A result without what differs on purpose."""
    result = dict(found["result"])
    result.pop("unexpected_index_query", None)
    if holds_missing(result.get("partial_unexpected_list", [])):
        # Each NaN is a value of its own for the Counter with which GX counts them; ours are one.
        result.pop("partial_unexpected_counts", None)
    if "partial_missing_list" in result:
        # GX lists a set, whose order changes from process to process.
        result["partial_missing_list"] = sorted(map(repr, rounded(result["partial_missing_list"])))
    entries = found["exception_info"]
    raised = entries.get("raised_exception", True) if "raised_exception" in entries else bool(entries)
    return {"success": bool(found["success"]), "raised": raised, "result": {} if raised else rounded(result)}


def holds_missing(value: Any) -> bool:
    """Whether a missing value is anywhere in what an engine lists."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return any(holds_missing(item) for item in value)
    return value is None or value == "NaT" or value != value


def rounded(value: Any) -> Any:
    """Sums depend on the order of their terms in the last bits; a missing value is None or NaN."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None if value == "NaT" else value
    return None if math.isnan(value) else float(f"{float(value):.12g}")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    frame=frames(),
    drawn=st.lists(EXPECTATIONS, min_size=1, max_size=3),
    condition=st.none() | st.sampled_from(CONDITIONS),
    form=st.sampled_from(FORMATS),
    index=st.booleans(),
)
def test_both_engines_say_the_same(engines, frame, drawn, condition, form, index):
    """Success, counts, values, places and observed values are those of GX on pandas, in every result format."""
    import great_expectations.expectations as gxe

    shape = {"result_format": form} | ({"unexpected_index_column_names": ["i", "r"]} if index else {})
    pandas = frame.to_pandas()
    for name, kwargs in drawn:
        where = {} if condition is None or name.startswith("ColumnToExist") else {
            "row_condition": condition, "condition_parser": "pandas"
        }  # fmt: skip
        if name == "TableColumnCountToEqual":
            where = {}
        expectation = getattr(gxe, f"Expect{name}")(**kwargs, **where)

        ours = told(engines["polars"], frame, expectation, shape)

        assert ours == told(engines["pandas"], pandas, expectation, shape)


# Rows enough that some break the one expectation and some the other, and a format that lists them.
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    frame=frames(fewest=5),
    drawn=suites(),
    condition=st.none() | st.sampled_from(CONDITIONS),
    form=st.sampled_from([form for form in FORMATS if form != "BOOLEAN_ONLY"]),
)
def test_a_suite_on_one_column_says_the_same(engines, frame, drawn, condition, form):
    """Expectations that share a pass share what they fetch, and no more than that."""
    import great_expectations.expectations as gxe

    gx = load_gx()
    where = {} if condition is None else {"row_condition": condition, "condition_parser": "pandas"}
    shape = {"result_format": form}

    def suite() -> Any:
        asked = [getattr(gxe, f"Expect{name}")(**kwargs, **where) for name, kwargs in drawn]
        return gx.ExpectationSuite("drawn", asked)

    ours = told_of_all(engines["polars"], frame, suite(), shape)

    assert len(ours) == len(drawn)
    assert ours == told_of_all(engines["pandas"], frame.to_pandas(), suite(), shape)


ODD = pl.DataFrame(
    {
        "*": [3, 1, 3, None],
        "^a.*$": [1.0, 5.0, 5.0, math.nan],
        "a b": [9, 9, 8, 7],
        "a.b": ["x", "y", "y", None],
        "": [4, 4, 4, 5],
    }
)


# GX itself refuses the column "" where an expectation is about one column.
@pytest.mark.parametrize("column", ["*", "^a.*$", "a b", "^nothing$"])
@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("ColumnValuesToNotBeNull", {}),
        ("ColumnValuesToBeUnique", {}),
        ("ColumnValuesToBeInSet", {"value_set": [3, 5, "y"]}),
        ("ColumnMaxToBeBetween", {"max_value": 4}),
        ("ColumnDistinctValuesToEqualSet", {"value_set": [1, 3]}),
        ("ColumnUniqueValueCountToBeBetween", {"max_value": 1}),
        ("ColumnMostCommonValueToBeInSet", {"value_set": [3, 5]}),
    ],
)
def test_a_column_whose_name_polars_takes_for_a_pattern(engines, name, kwargs, column):
    """A name is that of one column, whatever its signs mean to Polars."""
    import great_expectations.expectations as gxe

    expectation = getattr(gxe, f"Expect{name}")(column=column, **kwargs)
    form = {"result_format": "COMPLETE", "unexpected_index_column_names": ["^a.*$", "*"]}

    ours = told(engines["polars"], ODD, expectation, form)

    assert ours == told(engines["pandas"], ODD.to_pandas(), expectation, form)
    assert ours["raised"] is (column == "^nothing$")


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("ColumnPairValuesAToBeGreaterThanB", {"column_A": "*", "column_B": "^a.*$", "ignore_row_if": "neither"}),
        ("ColumnPairValuesToBeEqual", {"column_A": "^a.*$", "column_B": "*"}),
        ("CompoundColumnsToBeUnique", {"column_list": ["*", "a b", ""]}),
        ("CompoundColumnsToBeUnique", {"column_list": ["^a.*$", "a.b"]}),
        ("SelectColumnValuesToBeUniqueWithinRecord", {"column_list": ["*", "^a.*$", "a b"]}),
        ("MulticolumnSumToEqual", {"column_list": ["*", "^a.*$"], "sum_total": 8}),
    ],
)
def test_columns_whose_names_polars_takes_for_patterns(engines, name, kwargs):
    """Neither does a condition on several of them mean others."""
    import great_expectations.expectations as gxe

    expectation = getattr(gxe, f"Expect{name}")(**kwargs)

    ours = told(engines["polars"], ODD, expectation, {"result_format": "COMPLETE"})

    assert ours == told(engines["pandas"], ODD.to_pandas(), expectation, {"result_format": "COMPLETE"})
    assert not ours["raised"]


@pytest.mark.parametrize(("condition", "rows"), [("`*` == 3", 2), ("`^a.*$` > 1", 2), ("`^a.*$`.isnull()", 1)])
def test_a_condition_on_a_column_whose_name_polars_takes_for_a_pattern(engines, condition, rows):
    """The rows that the column of that name admits."""
    import great_expectations.expectations as gxe

    expectation = gxe.ExpectTableRowCountToEqual(value=rows, row_condition=condition, condition_parser="pandas")

    assert told(engines["polars"], ODD, expectation, {"result_format": "BASIC"})["success"]
