"""Bounds for aggregates of dates and times, in the form in which they can be compared with what was observed.

JSON knows no dates: GX reads "2013-01-01" as a date, which Python does not compare with a datetime, and leaves the
bounds of quantiles as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from dateutil.parser import ParserError
from dateutil.parser import parse as parse_time

_TEMPORAL = (date, time, timedelta)
AS_NUMBER = "give the table a column that holds them as a number, such as seconds"
# A text that does not say the whole date is completed from these.
_DEFAULTS = (datetime(1, 1, 1), datetime(2, 2, 2))


def is_temporal(values: Sequence[Any]) -> bool:
    """Whether any of the observed values is a date, a time or a duration."""
    return any(isinstance(value, _TEMPORAL) for value in values)


def comparable(values: Sequence[Any], bounds: Sequence[Any], described: str) -> tuple[list[Any], list[Any]]:
    """The observed values and the bounds, such that Python compares them; a bound that is None stays None.

    Dates become datetimes, each the beginning of its day, where one of them is compared with a datetime.
    TypeError for a bound that has no order with the values says what to write.
    """
    read = [_read(bound) for bound in bounds]
    sample = next(value for value in values if value is not None)
    if type(sample) is date and any(isinstance(bound, datetime) for bound in read):
        values, sample = moments(values), _moment(sample)
    return list(values), [bound if bound is None else _like(bound, sample, described) for bound in read]


def moments(values: Sequence[Any]) -> list[Any]:
    """The values with each date as the beginning of its day; None stays None."""
    return [_moment(value) if isinstance(value, date) else value for value in values]


def _read(bound: Any) -> Any:
    if not isinstance(bound, str):
        return bound
    try:
        found, again = (parse_time(bound, default=default) for default in _DEFAULTS)
    except (ParserError, OverflowError):
        return bound
    if found != again:
        return bound
    return found if ":" in bound or "T" in bound else found.date()


def _like(bound: Any, sample: Any, described: str) -> Any:
    if not isinstance(sample, date):
        raise TypeError(f"{described} has no bounds that a suite can hold; {AS_NUMBER}.")
    if not isinstance(bound, date):
        raise TypeError(f'{described} cannot be compared with {bound!r}; write a date, such as "2013-01-31".')
    if not isinstance(sample, datetime):
        return bound
    moment = _moment(bound)
    if (moment.tzinfo is None) == (sample.tzinfo is None):
        return moment
    zone, example = ("with", "T00:00:00+00:00") if sample.tzinfo else ("without", "T00:00:00")
    raise TypeError(
        f'{described} cannot be compared with {bound}; write it {zone} a zone: "{bound:%Y-%m-%d}{example}".'
    )


def _moment(value: date) -> datetime:
    return value if isinstance(value, datetime) else datetime.combine(value, time())
