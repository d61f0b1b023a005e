"""The values at given places of a column in order, found without holding the column.

A first reading counts the values that fall into buckets, which tells the buckets that the places are in; a second
one keeps the values of those. Both are one query.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from validations.metrics.domain import Domain, keyed
from validations.scan import Fetched, Reduced

# Of a float's bits these are left out: values of one sign that differ by less than 1/256 share a bucket.
_FINER = 1 << 44


def around(
    domain: Domain, wanted: Sequence[float], finish: Callable[[dict[str, Any]], Any], dtype: pl.DataType | None = None
) -> Reduced | Fetched:
    """How many values there are (`count`), and those before and after the place of each quantile (`around`).

    `dtype` is the type to which the values are cast before.
    """
    given = dtype or domain.dtype
    if not (given.is_numeric() or given.is_temporal()):
        return Reduced(_sorted(domain.values_of_column(), wanted), finish)
    values = domain.column_alone().select(pl.col("value").cast(given))
    key = keyed(domain, f"around {list(wanted)} {given}")
    return Fetched(key, _near(values, wanted), lambda found: finish(_placed(found, wanted)))


def _sorted(values: pl.Expr, wanted: Sequence[float]) -> pl.Expr:
    """The same by a sort, for what is no number and has no buckets."""
    places = pl.lit(pl.Series(wanted, dtype=pl.Float64)) * (values.count().cast(pl.Int64) - 1).clip(0)
    near = places.floor().append(places.ceil()).cast(pl.Int64)
    ordered = values.drop_nulls().sort()
    return pl.struct(count=values.count(), around=ordered.gather(near, null_on_oob=True).implode())


def _near(values: pl.LazyFrame, wanted: Sequence[float]) -> pl.LazyFrame:
    """How often each value occurs that shares a bucket with a place; how many are before the bucket, and in all."""
    rows = values.with_columns(bucket=_bucket(pl.col("value")))
    size = pl.col("size")
    buckets = (
        rows.group_by("bucket")
        .agg(size=pl.len().cast(pl.Int64))
        .sort("bucket")
        .with_columns(before=size.cum_sum() - size, count=size.sum())
    )
    last = pl.col("count") - 1
    places = [end for quantile in wanted for end in ((quantile * last).floor(), (quantile * last).ceil())]
    held = [(pl.col("before") <= place) & (place < pl.col("before") + size) for place in places]
    return (
        rows.join(buckets.filter(pl.any_horizontal(held)), on="bucket")
        .group_by("value")
        .agg(pl.len().cast(pl.Int64).alias("times"), pl.col("before", "count").first())
    )


def _bucket(values: pl.Expr) -> pl.Expr:
    """A number that grows with the value, and has few different ones."""
    number = values.to_physical().cast(pl.Float64)
    bits = number.abs().reinterpret(dtype=pl.Int64)
    return pl.when(number < 0).then(-bits).otherwise(bits) // _FINER


def _placed(found: pl.DataFrame, wanted: Sequence[float]) -> dict[str, Any]:
    if found.is_empty():
        return {"count": 0, "around": [None] * 2 * len(wanted)}
    times = pl.col("times")
    ordered = found.sort("value").with_columns(first=pl.col("before") + (times.cum_sum() - times).over("before"))
    count = ordered["count"][0]
    places = [quantile * (count - 1) for quantile in wanted]
    ends = [*map(math.floor, places), *map(math.ceil, places)]
    return {"count": count, "around": [_at(ordered, place) for place in ends]}


def _at(ordered: pl.DataFrame, place: int) -> Any:
    return ordered["value"][int(ordered["first"].search_sorted(place, side="right")) - 1]
