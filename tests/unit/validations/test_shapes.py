"""Shapes of text: all values match, and there is one only where it says something."""

from __future__ import annotations

import re
import uuid

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from validations.drafting.shapes import find_shapes

WORDS = ("tea", "salt", "rice", "flour", "sugar")
HEX = "[0-9a-f]"


def shape(values: list[str | None]) -> str | None:
    known = [value for value in values if value is not None]
    return find_shapes(pl.LazyFrame({"x": values}), {"x": (min(known), max(known))}).get("x")


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["N14228", "N24211", "N619AA", None, "N1AB"], "^N[0-9A-Z]{3,5}$"),
        (["EWR", "JFK", "LGA"], "^[A-Z]{3}$"),
        (["9E2900-JFK-20131103T20Z", "YV37-LGA-20131125T15Z"], "^[0-9A-Z]{4,6}-[A-Z]{3}-[0-9]{8}T[0-9]{2}Z$"),
        ([f"order-{number}" for number in range(8, 12)], "^order-[0-9]{1,2}$"),
        (["1.5.0", "1.12.3", "2.0.10"], r"^[0-9]\.[0-9]{1,2}\.[0-9]{1,2}$"),
        (["2013-01-01", "2013-12-31"], "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
        (
            [str(uuid.UUID(int=n * 7**40)) for n in range(9)],
            f"^{HEX}{{8}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{12}}$",
        ),
        (["a@b", "cd@ef"], "^[a-z]{1,2}@[a-z]{1,2}$"),
    ],
)
def test_codes_have_a_shape(values, found):
    """Letters that all begin with are told; digits that all begin with are not, for they change with the year."""
    assert shape(values) == found
    assert all(re.search(found, value) for value in values if value is not None)


@pytest.mark.parametrize(
    "values",
    [
        ["Ann Smith", "Bartholomew Smith"],
        ["Ann", "Bob", "Christopher"],
        ["a", "b" * 90],
        ["a-b", "a_b"],
        ["a-b", "ab-", "b-c"],
        ["Zürich", "Zürich"],
        ["same", "same"],
        ["", ""],
        ["one\ntwo", "six\nten"],
        [" ".join(WORDS * 2), " ".join(WORDS * 2)],
    ],
    ids=["names", "lengths", "long", "separators", "between", "letters", "one value", "empty", "lines", "a sentence"],
)
def test_text_has_none(values):
    """What somebody wrote follows no rule that is worth a line."""
    assert shape(values) is None


def test_columns_are_told_apart_whatever_they_are_called():
    """The pieces of one column have not the name of another."""
    frame = pl.LazyFrame({"a": ["x-1", "y-2"], "a 0": ["1-x", "2-y"], "0.0": ["1/2", "3/4"], "none": ["a", "b-c"]})
    bounds = {name: (frame.collect()[name].min(), frame.collect()[name].max()) for name in frame.collect().columns}

    found = find_shapes(frame, bounds)

    assert found == {"a": "^[a-z]-[0-9]$", "a 0": "^[0-9]-[a-z]$", "0.0": "^[0-9]/[0-9]$"}


@given(st.lists(st.from_regex(r"\A[A-C]{1,2}[0-9]{0,2}[-.:]?[a-g0-9]{0,9}\Z"), min_size=1))
def test_every_value_matches(values):
    """In Python's language of expressions and in that of Polars."""
    found = shape(values)

    if found is not None:
        assert all(re.search(found, value) for value in values)
        assert pl.Series(values).str.contains(found).all()
