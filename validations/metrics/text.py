"""Values as the text that pandas makes of them, for the expectations that look at any value as text."""

from __future__ import annotations

import math

import polars as pl

from validations.metrics.literals import is_text

_DAY = 86_400
# How many of a duration's units a second has.
_TICKS = {"ms": 10**3, "us": 10**6, "ns": 10**9}


def as_text(values: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The values as `str(value)` gives them; null stays null."""
    if dtype == pl.String:
        return values
    if dtype == pl.Null:
        return values.cast(pl.String)
    if dtype == pl.Boolean:
        return pl.when(values).then(pl.lit("True")).when(values.not_()).then(pl.lit("False"))
    if isinstance(dtype, pl.Duration):
        return _durations(values, dtype)
    if dtype.is_nested():
        return values.map_batches(_python_text, return_dtype=pl.String, is_elementwise=True)
    if dtype.is_float():
        return values.map_batches(_floats, return_dtype=pl.String, is_elementwise=True)
    if is_text(dtype) or dtype == pl.Binary or dtype.is_integer() or dtype.is_temporal() or dtype.is_decimal():
        return values.cast(pl.String)
    raise TypeError(f"values of type {dtype} have no text to look at")


def _durations(values: pl.Expr, dtype: pl.Duration) -> pl.Expr:
    """Each as pandas writes it by itself, such as `-1 days +22:00:00.500000`: whole days, and from there forwards."""
    ticks, second = values.to_physical(), _TICKS[dtype.time_unit]
    days, rest = ticks // (_DAY * second), ticks % (_DAY * second)
    sign = pl.when(days < 0).then(pl.lit("+")).otherwise(pl.lit(""))
    parts = [rest // second // 3600, rest // second // 60 % 60, rest // second % 60]
    hours, minutes, seconds = (part.cast(pl.String).str.zfill(2) for part in parts)
    return pl.format("{} days {}{}:{}:{}{}", days, sign, hours, minutes, seconds, _fraction(rest % second, second))


def _fraction(ticks: pl.Expr, second: int) -> pl.Expr:
    """Nothing of a whole second, else six digits, or nine where these do not do."""
    nanoseconds = ticks * (10**9 // second)
    digits = nanoseconds.cast(pl.String).str.zfill(9)
    shown = pl.when(nanoseconds % 1000 == 0).then(digits.str.head(6)).otherwise(digits)
    return pl.when(ticks == 0).then(pl.lit("")).otherwise(pl.format(".{}", shown))


def _floats(batch: pl.Series) -> pl.Series:
    """Each distinct float is written once, where they are few; -0.0 is not distinct from 0.0 to Polars."""
    distinct = batch.unique()
    if 4 * len(distinct) >= len(batch) or (1 / batch == -math.inf).any():
        return _written(batch)
    return batch.replace_strict(distinct, _written(distinct), return_dtype=pl.String)


def _python_text(batch: pl.Series) -> pl.Series:
    return pl.Series([None if value is None else str(value) for value in batch.to_list()], dtype=pl.String)


def _written(batch: pl.Series) -> pl.Series:
    # Polars writes 1e-7 where Python writes 1e-07.
    return pl.Series([None if value is None else repr(value) for value in batch.to_list()], dtype=pl.String)
