"""Row-level conditions on one column: each tells, of the present values, which break it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import polars as pl
from dateutil.parser import parse as parse_time

from validations.metrics.condition import Condition, Duplicates, register_condition
from validations.metrics.domain import Domain
from validations.metrics.literals import bound, is_text, members
from validations.metrics.patterns import contains, like
from validations.metrics.registration import register, same_domain, together
from validations.metrics.text import as_text
from validations.scan import Reduced

Breaks = Callable[[Domain, pl.Expr], pl.Expr]

NOTHING = pl.lit(False)


def _on_column(breaks: Breaks, ordered: bool = False) -> Callable[[Domain], Condition]:
    def condition(domain: Domain) -> Condition:
        present = domain.missing(domain.column).not_() if ordered else None
        return Condition((domain.column,), lambda columns: breaks(domain, columns[0]), present, ordered)

    return condition


def between(domain: Domain, values: pl.Expr) -> pl.Expr:
    """Outside of the bounds that are given; ValueError without any, or where they are the wrong way round."""
    low, high = domain.values.get("min_value"), domain.values.get("max_value")
    if low is None and high is None:
        raise ValueError("min_value and max_value cannot both be None")
    domain.require_order(domain.column)
    low, high = (None if end is None else bound(end, domain.dtype, domain.described()) for end in (low, high))
    if low is not None and high is not None and low > high:
        raise ValueError("min_value cannot be greater than max_value")
    if domain.dtype == pl.Boolean:
        values = values.cast(pl.Int8)
    return _outside(values, low, high, domain)


def _outside(values: pl.Expr, low: Any, high: Any, domain: Domain) -> pl.Expr:
    below = [] if low is None else [values <= low if domain.values.get("strict_min") else values < low]
    above = [] if high is None else [values >= high if domain.values.get("strict_max") else values > high]
    return pl.any_horizontal(*below, *above) if below and above else (below or above)[0]


def not_among(domain: Domain, values: pl.Expr) -> pl.Expr:
    return NOTHING if domain.values.get("value_set") is None else _among(domain, values).not_()


def among(domain: Domain, values: pl.Expr) -> pl.Expr:
    return NOTHING if domain.values.get("value_set") is None else _among(domain, values)


def _among(domain: Domain, values: pl.Expr) -> pl.Expr:
    held = members(domain.values["value_set"], domain.dtype)
    if is_text(domain.dtype):
        values = values.cast(pl.String)
    return values.is_in(held.implode())


def _regexes(domain: Domain, values: pl.Expr, patterns: Sequence[str]) -> list[pl.Expr]:
    text = as_text(values, domain.dtype)
    return [contains(text, pattern) for pattern in patterns]


def _without_regex(domain: Domain, values: pl.Expr) -> pl.Expr:
    return _regexes(domain, values, [domain.values["regex"]])[0].not_()


def _with_regex(domain: Domain, values: pl.Expr) -> pl.Expr:
    return _regexes(domain, values, [domain.values["regex"]])[0]


def _without_regexes(domain: Domain, values: pl.Expr) -> pl.Expr:
    return _matched(domain, _regexes(domain, values, domain.values["regex_list"])).not_()


def _with_regexes(domain: Domain, values: pl.Expr) -> pl.Expr:
    return pl.any_horizontal(_regexes(domain, values, domain.values["regex_list"]))


def _matched(domain: Domain, matches: Sequence[pl.Expr]) -> pl.Expr:
    way = domain.values.get("match_on") or "any"
    if way not in {"any", "all"}:
        raise ValueError("match_on must be either 'any' or 'all'")
    return pl.any_horizontal(matches) if way == "any" else pl.all_horizontal(matches)


def _likes(domain: Domain, values: pl.Expr, patterns: Sequence[str]) -> list[pl.Expr]:
    text = as_text(values, domain.dtype)
    return [like(text, pattern, domain.values.get("escape")) for pattern in patterns]


def _unlike(domain: Domain, values: pl.Expr) -> pl.Expr:
    return _likes(domain, values, [domain.values["like_pattern"]])[0].not_()


def _alike(domain: Domain, values: pl.Expr) -> pl.Expr:
    return _likes(domain, values, [domain.values["like_pattern"]])[0]


def _unlike_any(domain: Domain, values: pl.Expr) -> pl.Expr:
    return _matched(domain, _likes(domain, values, domain.values["like_pattern_list"])).not_()


def _alike_any(domain: Domain, values: pl.Expr) -> pl.Expr:
    return pl.any_horizontal(_likes(domain, values, domain.values["like_pattern_list"]))


def _length(domain: Domain, values: pl.Expr) -> pl.Expr:
    # Signed: a bound may be negative.
    return as_text(values, domain.dtype).str.len_chars().cast(pl.Int64)


def _length_between(domain: Domain, values: pl.Expr) -> pl.Expr:
    low, high = domain.values.get("min_value"), domain.values.get("max_value")
    if low is None and high is None:
        raise ValueError("min_value and max_value cannot both be None")
    return _outside(_length(domain, values), low, high, domain)


def _length_equals(domain: Domain, values: pl.Expr) -> pl.Expr:
    wrong: pl.Expr = _length(domain, values) != domain.values["value"]
    return wrong


def _not_increasing(domain: Domain, values: pl.Expr) -> pl.Expr:
    domain.require_order(domain.column)
    before = values.shift(1)
    wrong: pl.Expr = values <= before if domain.values.get("strictly") else values < before
    return wrong


def _not_decreasing(domain: Domain, values: pl.Expr) -> pl.Expr:
    domain.require_order(domain.column)
    before = values.shift(1)
    wrong: pl.Expr = values >= before if domain.values.get("strictly") else values > before
    return wrong


def _far_from_mean(domain: Domain, values: pl.Expr) -> pl.Expr:
    """Whether a z score reaches the threshold; without a spread there is no score, and nothing breaks."""
    mean, deviation = domain.metrics["column.mean"], domain.metrics["column.standard_deviation"]
    if not domain.dtype.is_numeric() and domain.dtype != pl.Boolean:
        raise TypeError(f"Cannot complete Z-score calculations on a non-numerical column: {domain.described()}.")
    # A deviation that is NaN comes of infinite values.
    if not deviation or deviation != deviation:
        return NOTHING
    score: pl.Expr = (values.cast(pl.Float64) - mean) / deviation
    threshold = domain.values["threshold"]
    far: pl.Expr = score.abs() >= abs(threshold) if domain.values.get("double_sided") else score >= threshold
    return far & score.is_not_nan()


def _outlying(domain: Domain, values: pl.Expr) -> pl.Expr:
    low, high, spread = domain.metrics["column.outlier_statistics"]
    if low is None or high is None or spread is None:
        return NOTHING
    reach = domain.values.get("multiplier", 1.5) * spread
    values = values.cast(pl.Float64)
    if domain.values.get("method", "iqr") == "iqr":
        beyond: pl.Expr = (values < low - reach) | (values > high + reach)
        return beyond
    wrong: pl.Expr = values != low if reach <= 0 else (values - low).abs() >= reach
    return wrong


def _checked(check: Callable[[str], bool]) -> Callable[[pl.Expr], pl.Expr]:
    """Whether a Python check refuses a text; each distinct text of a batch is looked at once."""

    def refused(batch: pl.Series) -> pl.Series:
        if batch.is_empty():
            return pl.Series(dtype=pl.Boolean)
        distinct = batch.unique()
        verdicts = [None if value is None else not check(value) for value in distinct]
        return batch.replace_strict(distinct, pl.Series(verdicts, dtype=pl.Boolean), return_dtype=pl.Boolean)

    return lambda values: values.map_batches(refused, return_dtype=pl.Boolean, is_elementwise=True)


def _require_text(domain: Domain, expectation: str) -> None:
    if domain.dtype != pl.String:
        raise TypeError(f"Values passed to {expectation} must be of type string, but {domain.described()} is not.")


def _not_in_format(domain: Domain, values: pl.Expr) -> pl.Expr:
    _require_text(domain, "expect_column_values_to_match_strftime_format")
    form = domain.values["strftime_format"]
    return _checked(lambda value: _parses(lambda: datetime.strptime(value, form)))(values)


def _no_time(domain: Domain, values: pl.Expr) -> pl.Expr:
    _require_text(domain, "expect_column_values_to_be_dateutil_parseable")
    return _checked(lambda value: _parses(lambda: parse_time(value)))(values)


def _no_json(domain: Domain, values: pl.Expr) -> pl.Expr:
    if domain.dtype != pl.String:
        return values.is_not_null()
    return _checked(lambda value: _parses(lambda: json.loads(value)))(values)


def _off_schema(domain: Domain, values: pl.Expr) -> pl.Expr:
    """Whether a JSON text does not meet the schema; a text that is no JSON is an error, as in pandas."""
    from jsonschema.validators import validator_for

    _require_text(domain, "expect_column_values_to_match_json_schema")
    schema = domain.values["json_schema"]
    kind = validator_for(schema)
    kind.check_schema(schema)
    validator = kind(schema)
    return _checked(lambda value: bool(validator.is_valid(json.loads(value))))(values)


def _parses(parse: Callable[[], Any]) -> bool:
    try:
        parse()
    except (ValueError, OverflowError, RecursionError):
        return False
    return True


def _unique(domain: Domain) -> Duplicates:
    return Duplicates((domain.column,), domain.missing(domain.column).not_())


def _null(domain: Domain) -> Condition:
    return Condition((domain.column,), lambda columns: columns[0].is_not_null())


def _nonnull(domain: Domain) -> Condition:
    return Condition((domain.column,), lambda columns: columns[0].is_null())


def _count_between(domain: Domain) -> Reduced:
    values = domain.values_of_column()
    return Reduced(between(domain, values).not_().sum(), int)


_CONDITIONS: dict[str, Breaks] = {
    "column_values.between": between,
    "column_values.in_set": not_among,
    "column_values.not_in_set": among,
    "column_values.match_regex": _without_regex,
    "column_values.not_match_regex": _with_regex,
    "column_values.match_regex_list": _without_regexes,
    "column_values.not_match_regex_list": _with_regexes,
    "column_values.match_like_pattern": _unlike,
    "column_values.not_match_like_pattern": _alike,
    "column_values.match_like_pattern_list": _unlike_any,
    "column_values.not_match_like_pattern_list": _alike_any,
    "column_values.value_length.between": _length_between,
    "column_values.value_length.equals": _length_equals,
    "column_values.match_strftime_format": _not_in_format,
    "column_values.dateutil_parseable": _no_time,
    "column_values.json_parseable": _no_json,
    "column_values.match_json_schema": _off_schema,
}


def register_all() -> None:
    for name, breaks in _CONDITIONS.items():
        register_condition(name, _on_column(breaks))
    register_condition("column_values.increasing", _on_column(_not_increasing, ordered=True))
    register_condition("column_values.decreasing", _on_column(_not_decreasing, ordered=True))
    register_condition("column_values.null", _null)
    register_condition("column_values.nonnull", _nonnull)
    register_condition("column_values.unique", _unique, duplicates=True)
    moments = together(same_domain("column.mean"), same_domain("column.standard_deviation"))
    register_condition("column_values.z_score.under_threshold", _on_column(_far_from_mean), moments)
    statistics = same_domain("column.outlier_statistics", "method")
    register_condition("column_values.not_outliers", _on_column(_outlying), statistics)
    register("column_values.between.count", _count_between)
