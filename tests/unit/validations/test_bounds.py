"""Bounds lie outside what was seen, and are round."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validations.drafting.bounds import float_range, share_below, time_range, whole_range

floats = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("seen", "written"),
    [
        ((-43, 1301), (-200, 1400)),
        ((17, 4983), (0, 5000)),
        ((1956, 2013), (1950, 2020)),
        ((2, 450), (0, 450)),
        ((7, 7), (7, 7)),
        ((0, 0), (0, 0)),
    ],
)
def test_whole_numbers_are_rounded_outwards(seen, written):
    """To a step that fits the width; what is near 0 and never below begins at 0."""
    assert whole_range(*seen) == written


@pytest.mark.parametrize(
    ("seen", "written"),
    [
        ((19.721375, 72.270833), (10.0, 80.0)),
        ((0.13, 0.87), (0.1, 0.9)),
        ((-math.inf, 3.5), (None, 3.5)),
        ((2.0, math.inf), (2.0, None)),
        ((-math.inf, math.inf), (None, None)),
        ((-1.7e308, 1.7e308), (-1.7e308, 1.7e308)),
    ],
)
def test_floats_are_rounded_outwards(seen, written):
    """As decimals are written; infinity bounds nothing, and beyond the largest float there is none."""
    assert float_range(*seen) == written


@given(st.tuples(st.integers(), st.integers()).map(sorted))
def test_no_whole_number_is_outside(seen):
    """Whatever was seen, also where it is larger than any column holds."""
    low, high = whole_range(*seen)

    assert low <= seen[0] <= seen[1] <= high


@given(st.tuples(floats, floats).map(sorted))
def test_no_float_is_outside(seen):
    """Whatever was seen, down to the last bit."""
    low, high = float_range(*seen)

    assert low <= seen[0] <= seen[1] <= high


@pytest.mark.parametrize(
    ("first", "last", "written"),
    [
        ("2013-03-04T05:06", "2013-03-20T00:00", ("2013-03-04", "2013-03-21")),
        ("2013-01-31T05:06", "2013-12-31T23:00", ("2013-01-01", "2014-01-01")),
        ("2013-01-31T05:06", "2013-11-30T23:00", ("2013-01-01", "2013-12-01")),
        ("2003-05-31T05:06", "2013-02-01T00:00", ("2003-01-01", "2014-01-01")),
    ],
)
def test_times_are_rounded_to_days_months_or_years(first, last, written):
    """Whichever fits how long they span."""
    seen = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (first, last)]

    assert tuple(time.date().isoformat() for time in time_range(*seen)) == written


def test_there_is_no_time_after_the_last():
    """Then the bound is what was seen."""
    seen = datetime(1, 1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 1, tzinfo=UTC)

    assert time_range(*seen) == seen


@pytest.mark.parametrize(
    ("known", "rows", "share"),
    [(973, 1000, 0.97), (9996, 10_000, 0.999), (17, 20, 0.85), (4, 1000, 0.004), (0, 9, None)],
)
def test_a_share_is_one_that_a_person_would_write(known, rows, share):
    """Two digits where they say enough; nothing where nothing is known."""
    assert share_below(known, rows) == share


@given(st.integers(1, 10**7).flatmap(lambda rows: st.tuples(st.integers(0, rows - 1), st.just(rows))))
def test_a_share_holds(counts):
    """It is never above what was seen."""
    known, rows = counts
    share = share_below(known, rows)

    assert share is None or 0 < share <= known / rows
