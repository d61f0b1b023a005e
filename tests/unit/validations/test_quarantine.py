"""The expectations that put rows aside: which rows each breaks, what it says of itself, and which cannot."""

import json
from datetime import date

import polars as pl
import pytest

from lineage.errors import SettingsError
from lineage.quarantine import puts_aside
from validations.quarantine import rules
from validations.suite import read_suite

# GX would rather have its own form of row conditions, which JSON has no place for.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The condition_parser parameter is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Passing a string to the row_condition:DeprecationWarning"),
]

ROWS = pl.DataFrame(
    {
        "id": ["a1", "a2", None, "b", ""],
        "low": [1.0, float("nan"), None, -3.0, 9.0],
        "high": [2.0, 2.0, 5.0, -4.0, None],
        "count": pl.Series([1, 2, 3, None, 300], dtype=pl.Int16),
        "day": [date(2020, 1, day) for day in (1, 2, 3, 4, 5)],
        "place": pl.Series(["x", "y", "x", None, "z"], dtype=pl.Categorical),
    }
)


def marked(kind, action="quarantine", **kwargs):
    return {"type": f"expect_{kind}", "kwargs": kwargs, "meta": {"action": action}}


def write(folder, *entries):
    path = folder / "orders.json"
    path.write_text(json.dumps({"name": "orders", "expectations": list(entries), "meta": {}}))
    return path


BY_ROW = {
    "between": (marked("column_values_to_be_between", column="low", min_value=0), [3]),
    "strictly between": (marked("column_values_to_be_between", column="count", max_value=300, strict_max=True), [4]),
    "days": (marked("column_values_to_be_between", column="day", min_value="2020-01-02"), [0]),
    "not null": (marked("column_values_to_not_be_null", column="low"), [1, 2]),
    "null": (marked("column_values_to_be_null", column="high"), [0, 1, 2, 3]),
    "in set": (marked("column_values_to_be_in_set", column="place", value_set=["x", "y"]), [4]),
    "regex": (marked("column_values_to_match_regex", column="id", regex="^a"), [3, 4]),
    "length": (marked("column_value_lengths_to_be_between", column="id", min_value=1), [4]),
    "greater": (marked("column_pair_values_a_to_be_greater_than_b", column_A="high", column_B="low"), [1, 2, 3, 4]),
    "either": (
        marked(
            "column_pair_values_a_to_be_greater_than_b",
            column_A="high",
            column_B="low",
            ignore_row_if="either_value_is_missing",
        ),
        [3],
    ),
    "of some rows": (
        marked(
            "column_values_to_be_between",
            column="count",
            max_value=1,
            row_condition='id == "a2" or day > "2020-01-04"',
            condition_parser="pandas",
        ),
        [1, 4],
    ),
    "texts": (marked("column_values_to_be_json_parseable", column="id"), [0, 1, 3, 4]),
    "sum": (marked("multicolumn_sum_to_equal", column_list=["low", "high"], sum_total=3), [1, 2, 3, 4]),
}


@pytest.mark.parametrize("name", BY_ROW)
def test_a_rule_finds_the_rows_that_break_it(tmp_path, name):
    """Never null, also where values are missing."""
    entry, broken = BY_ROW[name]

    (rule,) = rules(write(tmp_path, entry), ROWS.schema)

    found = ROWS.select(pl.int_range(pl.len()).alias("row"), broken=rule.broken, about=rule.about)
    assert found.filter("broken")["row"].to_list() == broken
    assert found.null_count().row(0) == (0, 0, 0)
    assert found.filter(pl.col("broken") & ~pl.col("about")).is_empty()


@pytest.mark.parametrize("name", ["*", "^.*$"])
def test_a_rule_on_a_column_whose_name_polars_takes_for_a_pattern(tmp_path, name):
    """It judges that column, and lineage can tell which it was."""
    rows = pl.DataFrame({"low": [1, 1], name: [1, -1], "high": [-1, -1]})
    suite = write(tmp_path, marked("column_values_to_be_between", column=name, min_value=0))

    (rule,) = rules(suite, rows.schema)

    assert rows.select(rule.broken).to_series().to_list() == [False, True]
    assert rule.broken.meta.root_names() == [name]


def test_mostly_is_of_the_rows_that_have_a_value(tmp_path):
    """As GX counts them; for an expectation about nulls it is all rows."""
    known, between = (
        marked("column_values_to_not_be_null", column="low", mostly=0.5),
        marked("column_values_to_be_between", column="low", min_value=0, mostly=0.9),
    )

    found = rules(write(tmp_path, known, between), ROWS.schema)

    assert [rule.mostly for rule in found] == [0.5, 0.9]
    assert ROWS.with_columns(rule.about.alias(str(rule.mostly)) for rule in found).select("0.5", "0.9").sum().row(
        0
    ) == (
        5,
        3,
    )


def test_a_rule_says_what_its_author_wrote(tmp_path):
    """And its place among all expectations of the suite; what it lets pass is no part of what it says."""
    plain = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    entry = marked("column_values_to_be_between", column="low", min_value=0, max_value=8, mostly=0.9)

    (rule,) = rules(write(tmp_path, plain, marked("column_values_to_be_null", "warn", column="id"), entry), ROWS.schema)

    assert (rule.expectation, rule.text) == (
        2,
        "expect_column_values_to_be_between on low (min_value=0, max_value=8)",
    )


def test_what_the_table_does_not_fit_is_left_to_the_check(tmp_path):
    """A column that is not there, a bound of another type: the others put rows aside all the same."""
    entries = [
        marked("column_values_to_not_be_null", column="gone"),
        marked("column_values_to_be_between", column="low", min_value="2020-01-01"),
        marked("column_values_to_not_be_null", column="id"),
        {"type": "expect_nothing_known", "kwargs": {}},
        "no expectation",
    ]

    assert [rule.expectation for rule in rules(write(tmp_path, *entries), ROWS.schema)] == [2]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (marked("column_values_to_be_unique", column="id"), "depends on other rows"),
        (marked("compound_columns_to_be_unique", column_list=["id", "low"]), "depends on other rows"),
        (marked("column_values_to_be_increasing", column="low"), "compares a row with the one before it"),
        (marked("column_value_z_scores_to_be_less_than", column="low", threshold=3, double_sided=True), "whole column"),
        (marked("column_values_to_be_of_type", column="low", type_="Float64"), "a type is the column's"),
        (marked("column_max_to_be_between", column="low", max_value=3), "judges the table or a column as a whole"),
        (marked("table_row_count_to_equal", value=3), "judges the table or a column as a whole"),
    ],
    ids=lambda item: item["type"] if isinstance(item, dict) else "",
)
def test_what_cannot_judge_a_row_by_itself_is_refused(tmp_path, entry, why):
    """When the suite is read: file, expectation, reason and what to do."""
    path = write(tmp_path, marked("column_values_to_not_be_null", column="id"), entry)

    with pytest.raises(SettingsError) as refusal:
        read_suite(path)
    with pytest.raises(SettingsError, match="expectation 2"):
        rules(path, ROWS.schema)

    assert f"{path}: expectation 2 ({entry['type']}) is marked quarantine, but " in str(refusal.value)
    assert why in str(refusal.value)
    assert "Mark it block or warn." in str(refusal.value)


@pytest.mark.parametrize("condition", ["index > 2", "place.value_counts() > 1"])
def test_a_row_condition_that_looks_at_other_rows_is_refused(tmp_path, condition):
    """Batch by batch it would mean something else."""
    kwargs = {"row_condition": condition, "condition_parser": "pandas"}
    path = write(tmp_path, marked("column_values_to_not_be_null", column="id", **kwargs))

    with pytest.raises(SettingsError, match=r"orders\.json: expectation 1 .* row condition looks at other rows"):
        rules(path, ROWS.schema)


def test_actions_say_what_a_failure_does(tmp_path):
    """Block and warn are severities; without an action the severity stays, or it blocks."""
    kinds = [marked("column_values_to_not_be_null", action, column="id") for action in ("block", "warn", "quarantine")]
    bare = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}}
    entries = [*kinds, bare, bare | {"severity": "info"}, bare | {"meta": {"note": "seen in May"}}]

    found = [item["severity"] for item in read_suite(write(tmp_path, *entries)).expectations]

    assert found == ["critical", "warning", "critical", "critical", "info", "critical"]


def test_an_unknown_action_is_refused(tmp_path):
    """A promise that does something else than its author thinks is worse than none."""
    path = write(tmp_path, marked("column_values_to_not_be_null", "quarantin", column="id"))

    with pytest.raises(SettingsError, match=r"expectation 1 .* unknown action 'quarantin'.*block, warn, quarantine"):
        read_suite(path)


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ('{"expectations": [{"meta": {"action": "quarantine"}}]}', True),
        ('{"expectations": [{"meta": {"action": "warn"}}, {"meta": null}, {}]}', False),
        ('{"expectations": "none"}', False),
        ("[]", False),
        ("{", False),
    ],
)
def test_whether_a_suite_puts_rows_aside_is_read_from_its_text(tmp_path, text, marks):
    """Great Expectations need not be there for it; a broken suite is somebody else's to refuse."""
    path = tmp_path / "suite.json"
    path.write_text(text)

    assert puts_aside(path) is marks
    assert not puts_aside(tmp_path / "none.json")
    assert not puts_aside(None)
