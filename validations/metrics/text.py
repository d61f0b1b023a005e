"""Values as the text that pandas makes of them, for the expectations that look at any value as text."""

from __future__ import annotations

import math

import polars as pl

from validations.metrics.literals import is_text


def as_text(values: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The values as `str(value)` gives them; null stays null."""
    if dtype == pl.String:
        return values
    if dtype == pl.Null:
        return values.cast(pl.String)
    if dtype == pl.Boolean:
        return pl.when(values).then(pl.lit("True")).when(values.not_()).then(pl.lit("False"))
    if dtype.is_float():
        return values.map_batches(_floats, return_dtype=pl.String, is_elementwise=True)
    if is_text(dtype) or dtype.is_integer() or dtype.is_temporal() or dtype.is_decimal():
        return values.cast(pl.String)
    raise TypeError(f"values of type {dtype} have no text to look at")


def _floats(batch: pl.Series) -> pl.Series:
    """Each distinct float is written once, where they are few; -0.0 is not distinct from 0.0 to Polars."""
    distinct = batch.unique()
    if 4 * len(distinct) >= len(batch) or (1 / batch == -math.inf).any():
        return _written(batch)
    return batch.replace_strict(distinct, _written(distinct), return_dtype=pl.String)


def _written(batch: pl.Series) -> pl.Series:
    # Polars writes 1e-7 where Python writes 1e-07.
    return pl.Series([None if value is None else repr(value) for value in batch.to_list()], dtype=pl.String)
