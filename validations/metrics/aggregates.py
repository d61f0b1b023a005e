"""Metrics that reduce a column to one value: extremes, means, quantiles, distinct values, histograms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import polars as pl
from great_expectations.expectations.metrics.column_aggregate_metrics.column_outlier_statistics import (
    IQR_METHOD,
    OutlierStatistics,
    validate_method,
)

from validations.metrics.domain import Domain, keyed
from validations.metrics.places import around
from validations.metrics.registration import borrow, register
from validations.scan import Fetched, Reduced
from validations.temporal import AS_NUMBER

INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")
HALF = 0.5
QUARTILES = (0.25, 0.75)
_BORROWED = (
    "column.non_null_proportion",
    "column.unique_proportion",
    "column.descriptive_stats",
    "column.partition",
    "column_values.nonnull.count",
    "column_values.null.count",
    "column_values.match_regex.count",
    "column_values.not_match_regex.count",
)


def _reduction(reduce: Callable[[pl.Expr], pl.Expr], finish: Callable[[Any], Any]) -> Callable[[Domain], Reduced]:
    return lambda domain: Reduced(reduce(domain.values_of_column()), finish)


def _extreme(reduce: Callable[[pl.Expr], pl.Expr]) -> Callable[[Domain], Reduced]:
    def want(domain: Domain) -> Reduced:
        domain.require_order(domain.column)
        return Reduced(reduce(domain.values_of_column()), _number)

    return want


def _number(value: Any) -> Any:
    """Decimals as floats: GX reckons with bounds that JSON brought, and those are floats."""
    return float(value) if isinstance(value, Decimal) else value


def _moment(reduce: Callable[[pl.Expr], pl.Expr]) -> Callable[[Domain], Reduced]:
    """A mean, sum or deviation; TypeError for a column that is no number, which Polars would answer with null."""

    def want(domain: Domain) -> Reduced:
        _require_moments(domain)
        return Reduced(reduce(domain.values_of_column()), _number)

    return want


def deviation(domain: Domain) -> Reduced:
    """The standard deviation; TypeError for times, which have none that a suite's number can bound."""
    if domain.dtype.is_temporal():
        raise TypeError(f"{domain.described()} has no standard deviation; {AS_NUMBER}.")
    return _moment(lambda values: values.std())(domain)


def _require_moments(domain: Domain) -> None:
    dtype = domain.dtype
    if not (dtype.is_numeric() or dtype.is_temporal() or dtype == pl.Boolean or dtype == pl.Null):
        raise TypeError(f"could not convert string to float: {domain.described()} is not numeric.")


def median(domain: Domain) -> Reduced | Fetched:
    """The median; of an even number of values, as Polars reckons it of the two in the middle."""
    if domain.dtype == pl.Boolean or domain.dtype == pl.Null:
        return _moment(lambda values: values.median())(domain)
    _require_moments(domain)

    def finish(found: dict[str, Any]) -> Any:
        middle = found["around"] if found["count"] % 2 == 0 else found["around"][:1]
        return _number(pl.Series(middle, dtype=domain.dtype).median())

    return around(domain, [HALF], finish)


def quantiles(domain: Domain) -> Reduced | Fetched:
    """The values at `quantiles`; where one falls between two rows, the nearest unless another way is named."""
    way = domain.values.get("allow_relative_error") or "nearest"
    if way not in INTERPOLATIONS:
        raise ValueError(f"allow_relative_error is {way!r}; on Polars it is one of {', '.join(INTERPOLATIONS)}.")
    domain.require_order(domain.column)
    wanted = domain.values["quantiles"]

    def finish(found: dict[str, Any]) -> list[Any]:
        return [_interpolated(found, at, quantile, way) for at, quantile in enumerate(wanted)]

    return around(domain, wanted, finish)


def _interpolated(found: dict[str, Any], at: int, quantile: float, way: str) -> Any:
    """A quantile as NumPy reckons it, bit for bit."""
    values, place = found["around"], quantile * max(found["count"] - 1, 0)
    below, above = values[at], values[at + len(values) // 2]
    if below is None or way == "lower":
        return below
    if way == "higher":
        return above
    if way == "nearest":
        # Python's round, as NumPy's, takes the even one of two that are equally near.
        return below if round(place) == math.floor(place) else above
    share = place - math.floor(place)
    if way == "midpoint":
        share = HALF if share else 0.0
    reach = above - below
    return below + reach * share if share < HALF else above - reach * (1 - share)


def _listed(values: list[Any] | None) -> list[Any]:
    return values or []


def outliers(domain: Domain) -> Reduced | Fetched:
    """GX's references and spread for the outlier expectation: the quartiles, or mean and standard deviation."""
    method = domain.values["method"]
    validate_method(method)
    if not domain.dtype.is_numeric():
        raise TypeError(f"Cannot detect outliers in {domain.described()}: it is not numeric.")
    if method == IQR_METHOD:
        return around(domain, QUARTILES, _between_quartiles, pl.Float64())
    values = domain.values_of_column().cast(pl.Float64)
    return Reduced(pl.struct(center=values.mean(), spread=values.std()), _around_mean)


def _between_quartiles(found: dict[str, Any]) -> Any:
    low, high = (_finite(_interpolated(found, at, quartile, "linear")) for at, quartile in enumerate(QUARTILES))
    spread = None if low is None or high is None else high - low
    return OutlierStatistics(lower_reference=low, upper_reference=high, spread=spread)


def _around_mean(found: dict[str, Any]) -> Any:
    return OutlierStatistics.symmetric(center=_finite(found["center"]), spread=_finite(found["spread"]))


def _finite(value: float | None) -> float | None:
    """A number to measure from; nothing can be far from NaN or infinity."""
    return value if value is not None and math.isfinite(value) else None


def histogram(domain: Domain) -> Reduced:
    """How many values lie in each bin: all but the last are open to the right, as NumPy has it."""
    bins = [float(edge) for edge in domain.values["bins"]]
    values = domain.values_of_column()
    below = [(values < edge).sum() for edge in bins[:-1]] + [(values <= bins[-1]).sum()]
    counts = [(upper.cast(pl.Int64) - lower.cast(pl.Int64)) for lower, upper in pairwise(below)]
    return Reduced(pl.concat_list(counts), _listed)


def value_counts(domain: Domain) -> Fetched:
    """How often each value occurs: a pandas Series by value, which is what GX's expectations reckon with."""
    order = domain.values.get("sort") or "value"
    if order not in {"value", "count", "none"}:
        raise ValueError(f"sort is {order!r}; it must be 'value', 'count' or 'none'.")
    if domain.values.get("collate") is not None:
        raise ValueError("collate has no meaning on Polars; leave it out.")
    domain.require_single_values()
    return Fetched(keyed(domain, "value_counts"), _counted(domain), lambda found: _counts(found, order))


def _counts(found: pl.DataFrame, order: str) -> Any:
    import pandas as pd

    if order != "none":
        found = found.sort(order)
    index = pd.Index(found["value"].to_list(), name="value")
    return pd.Series(found["count"].to_list(), index=index, name="count", dtype="int64")


def most_common(domain: Domain) -> Fetched:
    """The values that occur most often, in order."""
    domain.require_single_values()
    counted = _counted(domain).filter(pl.col("count") == pl.col("count").max())
    return Fetched(keyed(domain, "most_common"), counted, lambda found: found["value"].sort().to_list())


def _counted(domain: Domain) -> pl.LazyFrame:
    return domain.column_alone().group_by("value").agg(pl.len().alias("count"))


def text_length(extreme: Callable[[pl.Expr], pl.Expr]) -> Callable[[Domain], Reduced]:
    return lambda domain: Reduced(extreme(domain.values_of_column().str.len_chars()))


def register_all() -> None:
    register("column.max", _extreme(lambda values: values.max()))
    register("column.min", _extreme(lambda values: values.min()))
    for name, reduce in _MOMENTS:
        register(name, _moment(reduce))
    register("column.standard_deviation", deviation)
    register("column.non_null_count", _reduction(lambda values: values.count(), int))
    register("column.most_common_value", most_common)
    register("column.median", median)
    register("column.quantile_values", quantiles)
    register("column.outlier_statistics", outliers)
    register("column.histogram", histogram)
    register("column.value_counts", value_counts)
    register("column_values.length.max", text_length(lambda lengths: lengths.max()))
    register("column_values.length.min", text_length(lambda lengths: lengths.min()))
    for name in _BORROWED:
        borrow(name)


_MOMENTS: Sequence[tuple[str, Callable[[pl.Expr], pl.Expr]]] = (
    ("column.mean", lambda values: values.mean()),
    ("column.sum", lambda values: values.sum()),
)
