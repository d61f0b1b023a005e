"""Rows as ranges: the same rows."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineage.tracing.ranges import ranges

LAST = 2**32 - 1
# Near each other, or as large as they get.
row = st.integers(0, 40) | st.integers(LAST - 5, LAST)
some = st.lists(row, max_size=40)


def _array(rows) -> np.ndarray:
    return np.array(sorted(set(rows)), dtype=np.uint32)


TABLE = [
    ([], []),
    ([7], [[7, 7]]),
    ([0, 1, 2], [[0, 2]]),
    ([0, 2, 4], [[0, 0], [2, 2], [4, 4]]),
    ([0, 1, 5, 6, 7, 9], [[0, 1], [5, 7], [9, 9]]),
    ([0, LAST - 1, LAST], [[0, 0], [LAST - 1, LAST]]),
]


@pytest.mark.parametrize(("rows", "expected"), TABLE)
def test_neighbours_are_one_range(rows, expected):
    """First and last are both included, and both are plain numbers, as JSON wants them."""
    found = ranges(_array(rows))

    assert expected == found
    assert json.dumps(expected) == json.dumps(found)


@given(some)
def test_ranges_hold_the_rows_and_no_others(rows):
    """Written out again they are the same rows, and as few ranges as there can be."""
    found = ranges(_array(rows))

    assert sorted(set(rows)) == [row for first, last in found for row in range(first, last + 1)]
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(found))
