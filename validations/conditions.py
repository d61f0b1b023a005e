"""Row conditions of Great Expectations as Polars filters, with the answers of its pandas engine."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import polars as pl
from great_expectations.expectations.row_conditions import (
    AndCondition,
    ComparisonCondition,
    Condition,
    NullityCondition,
    Operator,
    OrCondition,
    PassThroughCondition,
    deserialize_row_condition,
)

from validations.query.operands import ConditionError, Constant, among, compare, joined, mask, missing
from validations.query.pandas_query import column, read_query

# One grammar reads them all: that of pandas, with `col("a")` for a column as Great Expectations writes it.
PARSERS = (None, "pandas", "spark", "great_expectations", "great_expectations__experimental__")


def row_filter(condition: Any, parser: str | None, schema: pl.Schema) -> pl.Expr:
    """The rows of a condition: True for those of the domain and False, never null, for the others.

    `condition` is a Condition object, its serialized dict or text; `parser` is the `condition_parser` beside it.
    """
    given = deserialize_row_condition(condition) if isinstance(condition, dict) else condition
    shown = given.pass_through_filter if isinstance(given, PassThroughCondition) else given
    try:
        selected = _text(shown, parser, schema) if isinstance(shown, str) else _selected(given, schema)
        selected = selected.fill_null(False)
        # Polars finds here, before any row is read, what it could not compute.
        pl.LazyFrame(schema=schema).select(selected).collect_schema()
    except (ConditionError, OverflowError, pl.exceptions.PolarsError) as error:
        raise ConditionError(f"Row condition {shown!r} cannot be read: {error}.") from None
    return selected


def _text(text: str, parser: str | None, schema: pl.Schema) -> pl.Expr:
    if parser not in PARSERS:
        raise ConditionError(f"its condition_parser is {parser!r}; write it for 'pandas' or as a Condition object")
    return read_query(text, schema)


def _selected(condition: Any, schema: pl.Schema) -> pl.Expr:
    if isinstance(condition, PassThroughCondition):
        return read_query(condition.pass_through_filter, schema)
    if isinstance(condition, AndCondition | OrCondition):
        if not condition.conditions:
            raise ConditionError("it joins no conditions; give it at least one")
        join = operator.and_ if isinstance(condition, AndCondition) else operator.or_
        return joined([_selected(each, schema) for each in condition.conditions], join)
    if isinstance(condition, NullityCondition):
        empty = missing(column(condition.column.name, schema))
        return empty if condition.is_null else ~empty
    if isinstance(condition, ComparisonCondition):
        return _comparison(condition, schema)
    what = "it is a Condition of an unknown kind" if isinstance(condition, Condition) else "it is no condition"
    raise ConditionError(f"{what} ({type(condition).__name__}); give text or a Condition of Great Expectations")


def _comparison(condition: Any, schema: pl.Schema) -> pl.Expr:
    sign, value = Operator(condition.operator), condition.parameter
    left = column(condition.column.name, schema)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        value = tuple(value)
    right = Constant(repr(value), value)
    if sign in (Operator.IN, Operator.NOT_IN):
        return mask(among(left, right, negated=sign == Operator.NOT_IN))
    return mask(compare(left, sign.value, right))
