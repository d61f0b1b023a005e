"""The rows that broke an expectation: which, how many, and how they are written."""

import json

import polars as pl
import pytest

from validations.check import run_suite
from validations.examples import LONGEST_CELL, MOST_COLUMNS, MOST_ROWS

ROWS = pl.DataFrame(
    {
        "id": [f"a{number}" for number in range(20)],
        "low": [*range(19), None],
        "*": [number % 3 for number in range(20)],
        "long": ["x" * 500] * 20,
    }
).with_columns(pl.lit(number).alias(f"more {number}") for number in range(10))


@pytest.fixture
def examples(tmp_path):
    """The header and rows of the only expectation; None where it has none."""

    def ask(kind, table=ROWS, **kwargs):
        suite = {"name": "s", "expectations": [{"type": f"expect_{kind}", "kwargs": kwargs}]}
        (tmp_path / "suite.json").write_text(json.dumps(suite))
        table.write_parquet(tmp_path / "table.parquet")
        (item,) = run_suite(tmp_path / "suite.json", tmp_path / "table.parquet").expectations
        if "rows" not in item.wording:
            return None
        (found,) = item.wording["rows"]
        return found["header"], [[cell for (cell,) in row] for row in found["table"]]

    return ask


def test_the_first_rows_with_their_number(examples):
    """The column that was judged stands first, then the others as in the table; long cells are cut."""
    header, rows = examples("column_values_to_be_between", column="low", max_value=9)

    assert header == ["row", "low", "id", "*", "long", *(f"more {number}" for number in range(MOST_COLUMNS - 4))]
    assert [row[:3] for row in rows] == [[str(n), str(n), f"a{n}"] for n in range(10, 10 + MOST_ROWS)]
    assert {len(row[4]) for row in rows} == {LONGEST_CELL + 1}


def test_rows_of_pairs_conditions_and_odd_names(examples):
    """All columns that the expectation reads come first, once."""
    header, rows = examples(
        "column_pair_values_a_to_be_greater_than_b",
        column_A="low",
        column_B="*",
        row_condition={"type": "pass_through", "pass_through_filter": 'id == "a0" or id == "a1"'},
    )

    assert header[:4] == ["row", "low", "*", "id"]
    assert [row[:4] for row in rows] == [["0", "0", "0", "a0"], ["1", "1", "1", "a1"]]


def test_missing_values_are_null(examples):
    """And found where they are."""
    assert [row[:2] for row in examples("column_values_to_not_be_null", column="low")[1]] == [["19", "null"]]


def test_a_column_called_row_is_told_apart(examples):
    """The number stands first."""
    table = pl.DataFrame({"row": [7, 8]})

    assert examples("column_values_to_be_between", table, column="row", max_value=7) == (["row", "row"], [["1", "8"]])


@pytest.mark.parametrize(
    ("kind", "kwargs"),
    [
        ("column_values_to_be_between", {"column": "low", "max_value": 99}),
        ("table_row_count_to_equal", {"value": 7}),
        ("column_max_to_be_between", {"column": "low", "max_value": 7}),
        ("column_values_to_be_between", {"column": "lost", "max_value": 7}),
    ],
)
def test_what_held_or_is_not_about_rows_has_none(examples, kind, kwargs):
    """Nor has what could not be evaluated."""
    assert examples(kind, **kwargs) is None
