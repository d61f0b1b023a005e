"""Values of a frame in a form that a result can be written with: GX's JSON knows neither durations nor objects."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
from great_expectations.util import convert_to_json_serializable

_KNOWN = (str, int, float, Decimal, date, time, bytes)


def writable(value: Any) -> Any:
    """The value, in which whatever GX cannot write as JSON is text: a duration as ISO 8601 (`P1DT2H`), else `str`."""
    # GX writes all of these; asking it about each would double the cost of a long list.
    if value is None or isinstance(value, _KNOWN):
        return value
    if isinstance(value, timedelta):
        return str(pl.Series([value]).dt.to_string("iso").item())
    if isinstance(value, Mapping):
        return {key: writable(item) for key, item in value.items()}
    if type(value) in {list, tuple, set}:
        return type(value)(map(writable, value))
    try:
        convert_to_json_serializable(value)
    except TypeError:
        return str(value)
    return value
