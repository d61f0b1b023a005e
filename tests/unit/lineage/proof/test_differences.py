"""What differs is named: definitions, values and cells, and nothing is named that does not."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pyarrow.parquet as pq
import pytest

from lineage.proof.differences import changed_code, changed_files, changed_table, changed_values
from lineage.tables import write_table

ROWS = {"id": ["a", "b", "c"], "amount": [1, 2, 3], "price": [0.5, None, 2.0]}


@pytest.fixture
def differences(tmp_path):
    """How a table of some columns differs from that of ROWS, both written as runs write them."""

    def compare(after, before=None, key=("id",)):
        paths = tmp_path / "before.parquet", tmp_path / "after.parquet"
        for path, columns in zip(paths, (ROWS if before is None else before, after), strict=True):
            write_table(pl.DataFrame(columns), path, key=[], keep_order=True)
        return changed_table(*paths, key)

    return compare


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"m:f": "1"}, {"m:f": "1"}, []),
        ({"m:f": "1"}, {"m:f": "2"}, ["changed: m:f"]),
        ({"m:f": "1"}, {"m:g": "1"}, ["added: m:g", "gone: m:f"]),
        ({"m:a": "1", "m:b": "1"}, {"m:b": "2", "m:a": "2", "m:c": "1"}, ["changed: m:a, m:b", "added: m:c"]),
        ({}, {f"m:{n}": "1" for n in range(8)}, ["added: m:0, m:1, m:2, m:3, m:4 and 3 more"]),
        (None, {"m:f": "1"}, ["the code is another; which functions changed is not on record for this run"]),
    ],
)
def test_definitions_are_named(before, now, said):
    """By what became of them, in order, the first few of many."""
    assert changed_code(before, now) == said


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 1}}, []),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ["a.b: recorded 1, now 2"]),
        ({"a": 1}, {"b": 1}, ["a: recorded 1, now None", "b: recorded None, now 1"]),
        ({"a": 1}, {"a": True}, ["a: recorded 1, now True"]),
        ({"a": 1}, {"a": 1.0}, ["a: recorded 1, now 1.0"]),
        ({"a": ["x", "y"]}, {"a": ["y", "x"]}, ["a: recorded ['x', 'y'], now ['y', 'x']"]),
        ({"a": "x" * 100}, {"a": ""}, [f"a: recorded '{'x' * 79}…, now ''"]),
    ],
)
def test_values_are_named(before, now, said):
    """By their place; 1, 1.0 and true are three values."""
    assert changed_values(before, now, "") == said


def test_files_are_named():
    """What is other, missing or new, and nothing else."""
    lines = changed_files({"a": "1" * 64, "b": "2" * 64, "c": "3" * 64}, {"a": "1" * 64, "b": "4" * 64, "d": "5" * 64})

    assert [line.partition(":")[0] for line in lines] == ["b", "c", "d"]
    assert lines[0] == f"b: recorded {'2' * 12}, recomputed {'4' * 12}"


@pytest.mark.parametrize(
    ("after", "said"),
    [
        pytest.param(
            {**ROWS, "amount": [1, 5, 6]},
            ["column 'amount' differs in 2 of 3 rows, first at id='b': recorded 2, recomputed 5"],
            id="cells",
        ),
        pytest.param(
            {**ROWS, "price": [0.5, 1.0, None]},
            ["column 'price' differs in 2 of 3 rows, first at id='b': recorded None, recomputed 1.0"],
            id="nulls",
        ),
        pytest.param(
            {"id": ["a", "b"], "amount": [1, 2], "price": [0.5, None]},
            ["1 row recorded, not recomputed, first id='c'"],
            id="a row less",
        ),
        pytest.param(
            {"id": ["a", "b", "c", "d"], "amount": [1, 2, 3, 4], "price": [0.5, None, 2.0, None]},
            ["1 row recomputed, not recorded, first id='d'"],
            id="a row more",
        ),
        pytest.param({name: ROWS[name] for name in ("id", "amount")}, ["column 'price' is gone"], id="a column less"),
        pytest.param({**ROWS, "new": [1, 2, 3]}, ["column 'new' is new"], id="a column more"),
        pytest.param(
            {**ROWS, "amount": [1.0, 2.0, 3.0]}, ["column 'amount' was of type Int64, and is Float64"], id="type"
        ),
        pytest.param(
            {name: ROWS[name] for name in ("amount", "id", "price")},
            ["the columns were in the order id, amount, price, and are in amount, id, price"],
            id="order of columns",
        ),
        pytest.param(
            {"new": [1, 2, 3], **{name: ROWS[name] for name in ("amount", "id")}},
            [
                "column 'price' is gone",
                "column 'new' is new",
                "the columns were in the order id, amount, and are in amount, id",
            ],
            id="columns more, less and in another order",
        ),
        pytest.param(
            {**ROWS, "amount": ["1", "2", "4"]},
            [
                "column 'amount' was of type Int64, and is String",
                "column 'amount' differs in 1 of 3 rows, first at id='c': recorded 3, recomputed '4'",
            ],
            id="type and cells",
        ),
        pytest.param(
            {name: values[::-1] for name, values in ROWS.items()},
            ["the cells are the same, the order of the rows is not"],
            id="order of rows",
        ),
    ],
)
def test_tables_are_compared_by_key(differences, after, said):
    """Columns, rows and cells, each once, with the first place in words."""
    assert differences(after) == said


@pytest.mark.parametrize("key", [(), ("nothing",)])
def test_without_a_key_rows_are_told_by_number(differences, key):
    """A table without a key, or whose key is no column any more, is compared row by row."""
    found = differences({**ROWS, "amount": [1, 2, 4]}, key=key)

    assert found == ["column 'amount' differs in 1 of 3 rows, first at row 2: recorded 3, recomputed 4"]


@pytest.mark.parametrize(
    ("after", "said"),
    [
        pytest.param(
            {"id": ["a", "x", "b", "c"], "amount": [1, 9, 2, 3]},
            ["1 row recomputed, not recorded, first row 1"],
            id="more",
        ),
        pytest.param({"id": ["a", "c"], "amount": [1, 3]}, ["1 row recorded, not recomputed, first row 1"], id="less"),
        pytest.param(
            {"id": ["x", "a", "c"], "amount": [9, 1, 3]},
            ["1 row recorded, not recomputed, first row 1", "1 row recomputed, not recorded, first row 0"],
            id="one for another, elsewhere",
        ),
        pytest.param(
            {"id": ["c", "b", "a"], "amount": [3, 2, 1]},
            ["the cells are the same, the order of the rows is not"],
            id="order",
        ),
    ],
)
def test_a_row_that_came_or_went_moves_no_other(differences, after, said):
    """Without a key, where rows stand elsewhere, no cell is blamed for that."""
    assert said == differences(after, {"id": ["a", "b", "c"], "amount": [1, 2, 3]}, key=())


def test_a_key_that_is_not_unique_tells_no_rows(differences):
    """As one of an earlier version may not be."""
    found = differences({"id": [1, 1], "amount": [1, 3]}, {"id": [1, 1], "amount": [1, 2]})

    assert found == ["column 'amount' differs in 1 of 2 rows, first at row 1: recorded 2, recomputed 3"]


def test_the_first_cell_of_each_column_is_told(differences):
    """Also of a column that differs in a few rows behind many where another does."""
    before = {"id": range(40), "x": range(40), "y": range(40), "z": range(40)}
    after = {"id": range(40), "x": range(1, 41), "y": [*range(30), *range(31, 41)], "z": [*range(39), 0]}

    assert differences(after, before) == [
        "column 'x' differs in 40 of 40 rows, first at id=0: recorded 0, recomputed 1",
        "column 'y' differs in 10 of 40 rows, first at id=30: recorded 30, recomputed 31",
        "column 'z' differs in 1 of 40 rows, first at id=39: recorded 39, recomputed 0",
    ]


def test_cells_are_told_as_they_are_written(differences):
    """Text in quotes; times, and numbers that JSON has no form for, without."""
    at = datetime(2020, 1, 1, tzinfo=UTC)
    before = {"at": [at], "x": [float("nan")], "text": ["nan"], "day": [at.date()], "long": ["x" * 99]}
    after = {"at": [at], "x": [float("inf")], "text": ["inf"], "day": [at.date().replace(day=2)], "long": [""]}

    place = "differs in 1 of 1 row, first at at=2020-01-01T00:00:00+00:00"
    assert differences(after, before, key=("at",)) == [
        f"column 'x' {place}: recorded nan, recomputed inf",
        f"column 'text' {place}: recorded 'nan', recomputed 'inf'",
        f"column 'day' {place}: recorded 2020-01-01, recomputed 2020-01-02",
        f"column 'long' {place}: recorded '{'x' * 79}…, recomputed ''",
    ]


def test_a_nan_of_other_bits_is_told(differences):
    """No cell is another, and yet the bytes are: processors do not agree on the NaN that they make."""
    nans = pl.DataFrame({"id": [1, 2], "x": [0x7FF8000000000000, 0x3FF0000000000000]})
    other = pl.DataFrame({"id": [1, 2], "x": [-0x0008000000000000, 0x3FF0000000000000]})
    as_floats = pl.col("x").reinterpret(dtype=pl.Float64)

    found = differences(other.with_columns(as_floats), nans.with_columns(as_floats))

    assert found == ["the cells are the same, but NaN has other bits in x"]


def test_floats_are_compared_by_their_bits(differences):
    """0.0 and -0.0 are equal numbers and not the same bytes; a NaN is itself."""
    before = {"id": ["a", "b"], "x": [0.0, float("nan")]}

    assert differences({"id": ["a", "b"], "x": [-0.0, float("nan")]}, before) == [
        "column 'x' differs in 1 of 2 rows, first at id='a': recorded 0.0, recomputed -0.0"
    ]


def test_values_of_all_kinds_are_compared(differences):
    """Lists, structs and times differ like numbers do."""
    at = datetime(2020, 1, 1, tzinfo=UTC)
    before = {"id": [1], "list": [[1, 2]], "struct": [{"a": 1}], "at": [at]}
    after = {"id": [1], "list": [[1, 3]], "struct": [{"a": 2}], "at": [at.replace(day=2)]}

    assert [line.partition(" differs")[0] for line in differences(after, before)] == [
        "column 'list'",
        "column 'struct'",
        "column 'at'",
    ]


def test_the_same_cells_in_another_file_are_told(tmp_path):
    """Where only the layout differs, that is said, and no cell is blamed."""
    table = pl.DataFrame({"id": range(10)}).to_arrow()
    pq.write_table(table, tmp_path / "one.parquet")
    pq.write_table(table, tmp_path / "many.parquet", row_group_size=2)

    found = changed_table(tmp_path / "one.parquet", tmp_path / "many.parquet", ["id"])

    assert found == ["the cells are the same, in 1 row groups and now in 5"]
