"""Values that a suite brings as JSON, in the form in which a column can be compared with them.

JSON knows neither dates nor decimals, so a text stands for a time where the column holds times. A value
that a column of that dtype cannot hold is never equal to one of its values, as in pandas.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import polars as pl
from dateutil.parser import ParserError
from dateutil.parser import parse as parse_time

_TEXT = (pl.String, pl.Categorical, pl.Enum)


def is_text(dtype: pl.DataType) -> bool:
    """Whether a column of this dtype holds text: String, Categorical or Enum."""
    return dtype.base_type() in _TEXT


def members(values: Iterable[Any], dtype: pl.DataType) -> pl.Series:
    """Those of the values that a column of this dtype can equal, each once, as a Series of that dtype."""
    held = [found for value in values if (found := _held(value, dtype)) is not None]
    if dtype.is_nested():
        return pl.Series(held, dtype=dtype, strict=False).unique(maintain_order=True)
    return pl.Series(list(dict.fromkeys(held)), dtype=pl.String if is_text(dtype) else dtype, strict=False)


def bound(value: Any, dtype: pl.DataType, described: str) -> Any:
    """A value to compare a column with by < and >; TypeError for one that has no order with the column."""
    sort = kind(dtype)
    if sort == "number" and isinstance(value, Real | Decimal):
        return value
    if sort == "text" and isinstance(value, str):
        return value
    if sort == "time" and not isinstance(value, Real):
        moment = _moment(value, dtype)
        if moment is not None:
            return moment
    if dtype == pl.Null or (dtype == pl.Binary and isinstance(value, bytes)):
        return value
    raise TypeError(f"{described} cannot be compared with {value!r} ({type(value).__name__}).")


def kind(dtype: pl.DataType) -> str:
    """What values of a dtype can be compared with: `number` (with booleans), `text`, `time`, or `other`."""
    if dtype.is_numeric() or dtype == pl.Boolean:
        return "number"
    if is_text(dtype):
        return "text"
    return "time" if dtype.is_temporal() else "other"


def _held(value: Any, dtype: pl.DataType) -> Any:
    if value is None or value != value:
        return None
    sort = kind(dtype)
    if sort == "number":
        return _number(value, dtype)
    if sort == "text":
        return value if isinstance(value, str) else None
    if sort == "time":
        moment = _moment(value, dtype)
        return _day(moment) if dtype == pl.Date else moment
    return _whole_nested(value, dtype) if dtype.is_nested() else value


def _whole_nested(value: Any, dtype: pl.DataType) -> Any:
    """A list or record whose parts a column of that dtype can hold; None for any other, never a part of it."""
    try:
        return _nested(value, dtype)
    except ValueError:
        return None


def _nested(value: Any, dtype: pl.DataType) -> Any:
    if isinstance(dtype, pl.Struct):
        kinds: dict[str, Any] = {field.name: field.dtype for field in dtype.fields}
        if not isinstance(value, Mapping) or value.keys() != kinds.keys():
            raise ValueError(value)
        return {name: _part(value[name], kind) for name, kind in kinds.items()}
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise ValueError(value)
    if isinstance(dtype, pl.Array) and len(value) != dtype.size:
        raise ValueError(value)
    inner: pl.DataType = dtype.inner  # type: ignore[attr-defined]
    return [_part(item, inner) for item in value]


def _part(value: Any, dtype: pl.DataType) -> Any:
    """A part of a list or record: None is a missing one, and equals another missing one."""
    held = None if value is None else _held(value, dtype)
    if held is None and value is not None:
        raise ValueError(value)
    return held


def _number(value: Any, dtype: pl.DataType) -> Any:
    """A number in the column's own type, None where it would have to be rounded."""
    if not isinstance(value, Real | Decimal):
        return None
    if dtype.is_float():
        return float(value)
    if dtype.is_decimal():
        # As in Python, True is 1; a Decimal cannot be read from its name.
        return Decimal(str(int(value) if value is True or value is False else value))
    whole = _whole(value)
    if whole is None:
        return None
    if dtype == pl.Boolean:
        return bool(whole) if whole in {0, 1} else None
    return whole if _in_range(whole, dtype) else None


def _whole(value: Any) -> int | None:
    if isinstance(value, Integral):
        return int(value)
    return int(value) if math.isfinite(value) and value == int(value) else None


def _in_range(value: int, dtype: pl.DataType) -> bool:
    lowest, highest = pl.select(dtype.min(), high=dtype.max()).row(0)  # type: ignore[attr-defined]
    return bool(lowest <= value <= highest)


def _moment(value: Any, dtype: pl.DataType) -> Any:
    """A date, datetime, time or duration of the column's kind; None where the value is none of them."""
    if isinstance(value, str):
        value = _parsed(value)
    if dtype == pl.Duration:
        return value if isinstance(value, timedelta) else None
    if dtype == pl.Time:
        return value if isinstance(value, time) else value.timetz() if isinstance(value, datetime) else None
    if isinstance(value, datetime):
        return _in_zone(value, dtype)
    return value if isinstance(value, date) else None


def _day(moment: Any) -> Any:
    """The date that a moment is the beginning of, else nothing that a date can equal."""
    if not isinstance(moment, datetime):
        return moment
    return moment.date() if moment.time() == time() else None


def _parsed(value: str) -> datetime | None:
    try:
        found: datetime = parse_time(value)
        return found
    except (ParserError, OverflowError):
        return None


def _in_zone(value: datetime, dtype: pl.DataType) -> datetime | None:
    zoned = isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
    return value if zoned == (value.tzinfo is not None) else None
