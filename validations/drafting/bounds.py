"""Bounds that a person would write: ranges rounded outwards, shares rounded down."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

# A range is widened to multiples of about this part of its width.
_PARTS = 10
_FINEST_DIGITS = 9
_MONTH = timedelta(days=31)
_YEAR = timedelta(days=366)
_YEARS = 2 * _YEAR


def whole_range(minimum: int, maximum: int) -> tuple[int, int]:
    """Round numbers below and above: (-43, 1301) -> (-200, 1400); from 0 where nothing is below it."""
    low, high = _outwards(Fraction(minimum), Fraction(maximum))
    # Steps of less than one are finer than the values.
    return math.floor(low), math.ceil(high)


def float_range(minimum: float, maximum: float) -> tuple[float | None, float | None]:
    """Round numbers below and above; None on a side where there is infinity."""
    if not (math.isfinite(minimum) and math.isfinite(maximum)):
        return (minimum if math.isfinite(minimum) else None), (maximum if math.isfinite(maximum) else None)
    low, high = _outwards(Fraction(minimum), Fraction(maximum))
    return _float(low, minimum), _float(high, maximum)


def time_range(minimum: datetime, maximum: datetime) -> tuple[datetime, datetime]:
    """The days, months or years, whichever fits the width, that begin at or before and after."""
    try:
        first, last = _midnight(minimum), _midnight(maximum) + timedelta(days=1)
        if maximum - minimum < _MONTH:
            return first, last
        if maximum - minimum < _YEARS:
            return first.replace(day=1), _next(last, last.replace(day=1), _MONTH)
        return first.replace(month=1, day=1), _next(last, last.replace(month=1, day=1), _YEAR)
    except OverflowError:
        # There is no time after the year 9999.
        return minimum, maximum


def _midnight(time: datetime) -> datetime:
    return time.replace(hour=0, minute=0, second=0, microsecond=0)


def _next(time: datetime, begins: datetime, length: timedelta) -> datetime:
    """The beginning of the month or year at or after `time`, which lies in the one that `begins`."""
    return time if begins == time else (begins + length).replace(day=1)


def share_below(known: int, rows: int) -> float | None:
    """A share at or just below known / rows: 0.973 -> 0.97, 0.9996 -> 0.999; None where nothing can be promised."""
    for digits in range(2, _FINEST_DIGITS):
        scale = int(10**digits)
        floor = known * scale // rows
        # It tolerates at most three times what is missing, so that it says something.
        if floor and (scale - floor) * rows <= 3 * (rows - known) * scale:
            return floor / scale
    return None


def _outwards(minimum: Fraction, maximum: Fraction) -> tuple[Fraction, Fraction]:
    step = _step(maximum - minimum or abs(maximum) or Fraction(1))
    low, high = math.floor(minimum / step) * step, math.ceil(maximum / step) * step
    # What is never negative, and comes near 0, begins there.
    return (Fraction(0) if minimum >= 0 and minimum * _PARTS <= maximum else low), high


def _step(width: Fraction) -> Fraction:
    """1, 2 or 5 times a power of ten: the first that is not below a tenth of the width."""
    least = width / _PARTS
    power = Fraction(10) ** (Decimal(least.numerator) / Decimal(least.denominator)).adjusted()
    return next(power * times for times in (1, 2, 5, 10, 20) if power * times >= least)


def _float(bound: Fraction, value: float) -> float:
    """The bound as a float, or the value itself where there is none for it."""
    try:
        return float(bound)
    except OverflowError:
        return value
