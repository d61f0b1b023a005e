"""Values that a run gives a suite: which names, how they are put in, and what is said where one is missing."""

import json

import polars as pl
import pytest

from lineage.errors import SettingsError
from lineage.ports import suite_parameters
from validations.check import run_suite
from validations.parameters import ParameterError, asks, substituted
from validations.quarantine import rules
from validations.suite import load_gx

ROWS = pl.DataFrame({"month": [3, 3, 4], "day": ["2013-03-01", "2013-03-31", "2013-04-01"]}).with_columns(
    pl.col("day").str.to_date()
)
QUARANTINE = {"meta": {"action": "quarantine"}}


def between(column, low, high, **more):
    kwargs = {"column": column, "min_value": low, "max_value": high, **more}
    return {"type": "expect_column_values_to_be_between", "kwargs": kwargs}


def asked(expression):
    return {"$PARAMETER": expression}


@pytest.fixture(scope="module", autouse=True)
def gx():
    """Great Expectations, imported as all of Headwater does: quietly."""
    load_gx()


@pytest.fixture
def suite(tmp_path):
    def write(*entries):
        path = tmp_path / "suite.json"
        path.write_text(json.dumps({"name": "months", "expectations": entries}))
        return path

    return write


@pytest.fixture
def table(tmp_path):
    ROWS.write_parquet(tmp_path / "table.parquet")
    return tmp_path / "table.parquet"


def test_a_partition_gives_its_month_and_the_days_that_bound_it():
    """Also at the end of a year; a step without partitions gives nothing."""
    assert suite_parameters("2013-12") == {
        "partition": "2013-12",
        "year": 2013,
        "month": 12,
        "start": "2013-12-01",
        "end": "2014-01-01",
    }
    assert suite_parameters("2013-02")["end"] == "2013-03-01"
    assert suite_parameters("") == {}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (asked("month"), 3),
        (asked("month + 1"), 4),
        ([1, asked("month")], [1, 3]),
        ({"deep": [{"er": asked("partition")}]}, {"deep": [{"er": "2013-03"}]}),
        ({"$PARAMETER": "low", "$PARAMETER.low": 7}, 7),
        ("$PARAMETER", "$PARAMETER"),
    ],
)
def test_values_are_put_in_at_any_depth(value, found):
    """With the arithmetic that GX knows, and with the value that GX kept beside a name."""
    assert substituted(value, suite_parameters("2013-03")) == found


def test_what_is_no_parameter_stays():
    """A text that only looks like one, and what has none within."""
    assert not asks({"value_set": ["$PARAMETER"]})
    assert asks({"value_set": [asked("month")]})


@pytest.mark.parametrize("expression", ["moth", "moth + 1", "month +", 7])
def test_a_parameter_that_is_not_given_is_named(expression):
    """With those that are."""
    with pytest.raises(ParameterError) as caught:
        substituted(asked(expression), {"month": 3})

    assert [
        word for word in (repr(str(expression)), "given: month", "--parameter") if word not in str(caught.value)
    ] == []


def test_a_suite_judges_the_partition_that_it_is_given(suite, table):
    """The rows of another month fail, by number and by day."""
    path = suite(
        between("month", asked("month"), asked("month")),
        between("day", asked("start"), asked("end"), strict_max=True),
    )

    march, april = (run_suite(path, table, suite_parameters(f"2013-0{month}")) for month in (3, 4))

    assert [item.observed["unexpected_count"] for item in (*march.expectations, *april.expectations)] == [1, 1, 2, 2]
    assert march.expectations[0].expected == {"min_value": 3, "max_value": 3}


def test_without_its_value_the_expectation_failed_and_the_others_report(suite, table):
    """It says which expectation, and what it asks for."""
    path = suite(between("month", asked("low"), 9), between("month", 1, 12))

    failed, kept = run_suite(path, table).expectations

    assert (failed.success, kept.success) == (False, True)
    told = failed.observed["exception"]
    assert [word for word in ("expectation 1", "'low'", "given: none", "--parameter") if word not in told] == []


def test_rows_are_put_aside_by_a_parameter(suite):
    """The rows of another month, say."""
    path = suite(between("month", asked("month"), asked("month")) | QUARANTINE)

    (rule,) = rules(path, ROWS.schema, suite_parameters("2013-03"))

    assert ROWS.select(rule.broken).to_series().to_list() == [False, False, True]
    assert rule.text.endswith("(min_value=3, max_value=3)")


def test_rows_are_not_put_aside_by_the_time_of_day(suite):
    """A later run would put others aside; a check that only tells may ask for it."""
    late = between("day", None, asked("now()"))

    with pytest.raises(SettingsError, match="what time it is"):
        rules(suite(late | QUARANTINE), ROWS.schema)
    assert rules(suite(late), ROWS.schema) == ()
    known = between("month", asked("known_low"), None) | QUARANTINE
    assert len(rules(suite(known), ROWS.schema, {"known_low": 3})) == 1


def test_a_check_may_ask_for_the_time(suite, table):
    """All days of 2013 have passed."""
    (item,) = run_suite(suite(between("day", None, asked("now()"))), table).expectations

    assert item.success
