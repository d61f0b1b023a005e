"""Rows of two files, paired: what is counted is what a comparison row by row counts, and nothing is rounded."""

import json
import math
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineage.proof.changes import changed_columns, changed_rows, first_changed

NUMBERS = ("only_a", "only_b", "changed", "unchanged")


@pytest.fixture(scope="module")
def compare(tmp_path_factory):
    """Compares two frames, as files."""
    folder = tmp_path_factory.mktemp("files")

    def run(a, b, *key, **options):
        return changed_rows(*write(folder, a, b), key, **options)

    return run


def write(folder, *frames):
    """The frames as files."""
    paths = [folder / f"{number}.parquet" for number in range(len(frames))]
    for path, frame in zip(paths, frames, strict=True):
        pl.DataFrame(frame).write_parquet(path)
    return paths


def numbers(found):
    """How many rows of each kind."""
    return tuple(found[kind] for kind in NUMBERS)


# --- by key


def test_rows_are_paired_by_their_key(compare):
    """Counts of each kind, in how many rows a column changed, and the first examples with the cells that differ."""
    a = {"id": [1, 2, 3, 4], "x": [1.5, 2.5, 3.5, 4.5], "y": ["a", "b", "c", "d"], "old": [0, 0, 0, 0]}
    b = {"id": [2, 3, 4, 5, 6], "x": [2.5, 0.5, 0.5, 5.5, 6.5], "y": ["b", "c", "D", "e", "f"], "new": [1, 1, 1, 1, 1]}

    found = compare(a, b, "id")

    assert found == {
        "key": ["id"],
        "counts": [4, 5],
        "only_a": 1,
        "only_b": 2,
        "changed": 2,
        "unchanged": 1,
        "cells": {"x": 2, "y": 1},
        "uncompared": [],
        "examples": {
            "only_a": [{"key": {"id": 1}, "rows": [0, None]}],
            "only_b": [{"key": {"id": 5}, "rows": [None, 3]}, {"key": {"id": 6}, "rows": [None, 4]}],
            "changed": [
                {"key": {"id": 3}, "rows": [2, 1], "cells": {"x": [3.5, 0.5]}},
                {"key": {"id": 4}, "rows": [3, 2], "cells": {"x": [4.5, 0.5], "y": ["d", "D"]}},
            ],
        },
    }


@pytest.mark.parametrize(
    ("a", "b", "differs"),
    [
        (0.0, -0.0, True),
        (math.nan, math.nan, False),
        (math.nan, None, True),
        (None, None, False),
        (0.1 + 0.2, 0.3, True),
        ("", None, True),
        (True, False, True),
        ([1.0, None], [1.0, 2.0], True),
        ([1.0], [1.0], False),
        ({"x": 1}, {"x": 2}, True),
        (b"\0", b"\0\0", True),
        (Decimal("1.10"), Decimal("1.10"), False),
        (datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, 0, 0, 0, 1, tzinfo=UTC), True),
        (1, 1.0, False),
        (2**53, 2**53 + 1, True),
        (1, "1", False),
        (True, "true", False),
    ],
)
def test_a_cell_is_compared_exactly(compare, a, b, differs):
    """Bits of floats count, null and NaN are themselves; another type of the same value is the schema's affair."""
    found = compare({"id": [1], "x": [a]}, {"id": [1], "x": [b]}, "id")

    assert numbers(found) == (0, 0, int(differs), int(not differs))
    json.dumps(found, allow_nan=False)


def test_nan_has_one_value_whatever_its_bits(compare):
    """A NaN with a payload is no change."""
    bits = pl.DataFrame({"id": [1, 2], "x": [0x7FF8000000000000, 0x7FF8000000000001]})
    odd = bits.with_columns(pl.col("x").reinterpret(dtype=pl.Float64))

    assert numbers(compare({"id": [1, 2], "x": [math.nan] * 2}, odd, "id")) == (0, 0, 0, 2)


@pytest.mark.parametrize(
    "b",
    [
        {"id": [1, 1, 2], "x": [1, 2, 3]},
        {"name": [1, 2, 3], "x": [1, 2, 3]},
    ],
)
def test_without_a_usable_key_whole_rows_are_compared(compare, b):
    """A key that is there twice, or not at all, pairs nothing."""
    found = compare({"id": [1, 2, 3], "x": [1, 2, 3]}, b, "id")

    assert found["key"] == []
    assert found["changed"] == 0
    assert found["only_a"] + found["unchanged"] == found["only_b"] + found["unchanged"] == 3


def test_a_key_of_another_type_is_the_same_key(compare):
    """Retyping the key replaces no row."""
    a = pl.DataFrame({"id": [1, 2], "x": [1, 2]}, schema={"id": pl.Int32, "x": pl.Int64})

    for shares in (1, 4_000_000):
        found = compare(a, {"id": ["1", "2"], "x": [1, 3]}, "id", rows_at_once=shares)
        assert numbers(found) == (0, 0, 1, 1)


def test_what_has_no_common_type_is_named(compare):
    """A column that became a list is not compared with text."""
    found = compare({"id": [1], "x": ["a"]}, {"id": [1], "x": [["a"]]}, "id")

    assert (found["uncompared"], numbers(found)) == (["x"], (0, 0, 0, 1))


def test_tables_without_a_row(compare):
    """Nothing has no example."""
    empty = pl.DataFrame(schema={"id": pl.Int64, "x": pl.String})

    assert numbers(compare(empty, empty, "id")) == (0, 0, 0, 0)
    assert numbers(compare(empty, {"id": [1], "x": ["a"]}, "id")) == (0, 1, 0, 0)
    assert numbers(compare({"id": [1], "x": ["a"]}, empty)) == (1, 0, 0, 0)


# --- by position


def test_rows_are_paired_by_their_positions(tmp_path):
    """Where there is no key, on demand: what stands in one place is one row, in shares of any size."""
    paths = write(tmp_path, {"x": [1, 1, 2, 3], "y": ["a"] * 4}, {"x": [1, 1, 3, 2, 5], "y": ["a"] * 5})

    for shares in (1, 4_000_000):
        found = changed_rows(*paths, None, rows_at_once=shares)
        assert (found["key"], numbers(found), found["cells"]) == ([], (0, 1, 2, 2), {"x": 2})
        assert found["examples"] == {
            "only_a": [],
            "only_b": [{"key": {}, "rows": [None, 4]}],
            "changed": [
                {"key": {}, "rows": [2, 2], "cells": {"x": [2, 3]}},
                {"key": {}, "rows": [3, 3], "cells": {"x": [3, 2]}},
            ],
        }


# --- columns


@pytest.mark.parametrize(
    ("b", "differs"),
    [
        ({"x": "Int64", "y": "String"}, {}),
        ({"y": "String", "x": "Int64"}, {"reordered": True}),
        ({"x": "Int64"}, {"gone": {"y": "String"}}),
        ({"z": "Date", "x": "Int64", "y": "String"}, {"added": {"z": "Date"}}),
        ({"x": "Int32", "y": "String"}, {"retyped": {"x": ["Int64", "Int32"]}}),
        (
            {"y": "Date", "z": "Date"},
            {"gone": {"x": "Int64"}, "added": {"z": "Date"}, "retyped": {"y": ["String", "Date"]}},
        ),
    ],
)
def test_columns_are_compared_by_name(b, differs):
    """What is new, gone, of another type or elsewhere; nothing is said to be elsewhere because others came or went."""
    same = {"added": {}, "gone": {}, "retyped": {}, "reordered": False}

    found = changed_columns([("x", "Int64"), ("y", "String")], [*b.items()])

    assert found == {"same": not differs, **same, **differs}


# --- whole rows


def test_equal_rows_are_counted(compare):
    """Three copies against one are two rows too many; an example shows the row."""
    found = compare({"x": [1.5, 1.5, 1.5, -0.0], "y": ["a"] * 4}, {"x": [1.5, 0.0], "y": ["a", "a"]})

    assert numbers(found) == (3, 1, 0, 1)
    assert found["examples"]["only_a"] == [
        {"key": {"x": 1.5, "y": "a"}, "rows": [0, 0]},
        {"key": {"x": -0.0, "y": "a"}, "rows": [3, None]},
    ]
    assert str(found["examples"]["only_a"][1]["key"]["x"]) == "-0.0"


def test_files_without_a_common_column_share_no_row(compare):
    """Where nothing can be compared, nothing is the same."""
    assert numbers(compare({"x": [1, 2]}, {"y": [1]})) == (2, 1, 0, 0)


# --- laws

ROWS = st.lists(st.tuples(st.integers(0, 6), st.sampled_from([None, 0.0, -0.0, 1.5, math.nan]), st.sampled_from("ab")))
SCHEMA = {"id": pl.Int64, "x": pl.Float64, "y": pl.String}


def text(row):
    """A row as text: one NaN, two zeros."""
    return tuple(map(str, row))


@settings(max_examples=60, deadline=None)
@given(a=ROWS, b=ROWS, rows_at_once=st.sampled_from([1, 3, 1000]))
def test_whole_rows_are_counted_as_by_hand(compare, a, b, rows_at_once):
    """Any two lists of rows, in shares of any size."""
    found = compare(*(pl.DataFrame(rows, SCHEMA, orient="row") for rows in (a, b)), rows_at_once=rows_at_once)

    one, other = Counter(map(text, a)), Counter(map(text, b))
    expected = ((one - other).total(), (other - one).total(), 0, (one & other).total())
    assert numbers(found) == expected


@settings(max_examples=60, deadline=None)
@given(a=ROWS, b=ROWS, rows_at_once=st.sampled_from([1, 3, 1000]), examples=st.integers(0, 3))
def test_keyed_rows_are_counted_as_by_hand(compare, a, b, rows_at_once, examples):
    """Any two tables with a key, in shares of any size; examples are the first ones, with both values."""
    one, other = ({row[0]: row for row in sorted(rows, key=text)} for rows in (a, b))
    frames = (pl.DataFrame([*rows.values()], SCHEMA, orient="row") for rows in (one, other))

    found = compare(*frames, "id", rows_at_once=rows_at_once, examples=examples)

    both = [key for key in one if key in other]
    changed = [key for key in both if text(one[key]) != text(other[key])]
    expected = (len(one) - len(both), len(other) - len(both), len(changed), len(both) - len(changed))
    assert numbers(found) == expected
    assert [item["key"]["id"] for item in found["examples"]["changed"]] == changed[:examples]
    assert found["cells"] == {
        name: number
        for place, name in ((1, "x"), (2, "y"))
        if (number := sum(str(one[key][place]) != str(other[key][place]) for key in both))
    }


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 1))), rows_at_once=st.integers(1, 9)
)
def test_the_first_change_of_each_cell_is_found(tmp_path_factory, rows, rows_at_once):
    """In shares of any size, by position: the first place at which a column differs from zero."""
    folder = tmp_path_factory.mktemp("files")
    frame = pl.DataFrame(rows, dict.fromkeys("xyz", pl.Int64), orient="row")
    changed = [name for name in "xyz" if frame[name].sum()]

    found = first_changed(*write(folder, frame * 0, frame), None, changed, rows_at_once=rows_at_once)

    firsts = {name: min(row["rows"][0] for row in found if name in row["cells"]) for name in changed}
    assert firsts == {name: frame[name].to_list().index(1) for name in changed}
    assert len(found) <= len(changed) * max(1, -(-2 * len(rows) // rows_at_once))
