"""Lists as two arrays do what lists of lists do."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lineage.tracing.lists import Lists

plain = st.lists(st.lists(st.integers(0, 4), max_size=4), min_size=5, max_size=5)


def _packed(lists):
    offsets = np.concatenate(([0], np.cumsum([len(one) for one in lists], dtype=np.int64)))
    return Lists(offsets, np.array([value for one in lists for value in one], dtype=np.int64))


def _unpacked(lists):
    return [lists.part(place).tolist() for place in range(len(lists.offsets) - 1)]


@given(plain)
def test_values_know_whose_they_are(lists):
    """One owner for each value."""
    assert [place for place, one in enumerate(lists) for _ in one] == _packed(lists).owners.tolist()


@given(plain, plain)
def test_lists_of_the_same_rows_are_joined(first, second):
    """What one has comes before what the other has."""
    joined = Lists.joined([_packed(first), _packed(second)], 5)

    assert [one + other for one, other in zip(first, second, strict=True)] == _unpacked(joined)


@given(plain, plain)
def test_values_are_replaced_by_lists(outer, inner):
    """A value that is the number of a list becomes what is in it."""
    assert [[value for at in one for value in inner[at]] for one in outer] == _unpacked(
        _packed(outer).through(_packed(inner))
    )


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=6))
def test_runs_become_lists(runs):
    """From each beginning to before each end."""
    begins, lengths = (np.array([run[place] for run in runs], dtype=np.int64) for place in (0, 1))

    assert [list(range(begin, begin + length)) for begin, length in runs] == _unpacked(
        Lists.of_runs(begins, begins + lengths)
    )


@given(st.lists(st.booleans(), max_size=6))
def test_a_mask_has_a_value_or_none(there):
    """One value where it is true, and no list is lost where it is not."""
    mask = np.array(there, dtype=bool)

    found = Lists.of_mask(mask, np.flatnonzero(mask))

    assert [[place] if flag else [] for place, flag in enumerate(there)] == _unpacked(found)


@given(plain, st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_lists_are_spread_over_more_rows(lists, gaps):
    """The rows between have empty ones."""
    there = [flag for place, gap in enumerate(gaps) for flag in [*[False] * gap, *([True] if place < 5 else [])]]
    rest = iter(lists)

    spread = _packed(lists).spread(np.array(there, dtype=bool))

    assert [next(rest) if flag else [] for flag in there] == _unpacked(spread)
