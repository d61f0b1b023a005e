"""Arithmetic of a row condition, with the answers of pandas: division by zero, floor of negatives, powers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeGuard

import polars as pl

from validations.query.operands import ConditionError, Constant, Operand, Term, folded, moments

ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}
# No constant of a condition needs more; 9 ** 9 ** 9 would take the machine.
LARGEST_POWER = 64


def evaluated(text: str, expr: pl.Expr, schema: pl.Schema) -> Operand:
    """An operand with the dtype that Polars gives the expression."""
    return Operand(text, expr, pl.LazyFrame(schema=schema).select(expr).collect_schema().dtypes()[0])


def calculate(left: Term, sign: str, right: Term, schema: pl.Schema) -> Term:
    """`left sign right` for numbers, `+` for texts, and `-` for moments."""
    text = f"({left.text} {sign} {right.text})"
    if isinstance(left, Constant) and isinstance(right, Constant):
        if sign == "**" and isinstance(right.value, int | float) and abs(right.value) > LARGEST_POWER:
            raise ConditionError(f"{text} is too large a power")
        return Constant(text, folded(ARITHMETIC[sign], left, sign, right))
    if sign == "+" and _is_text(left) and _is_text(right):
        return evaluated(text, _text(left) + _text(right), schema)
    if sign == "-" and _is_moment(left) and _is_moment(right):
        return _between_moments(text, left, right, schema)
    if not (_is_number(left) and _is_number(right)) or (_is_boolean(left) and _is_boolean(right)):
        raise ConditionError(f"{left} {sign} {right} cannot be computed; arithmetic takes numbers")
    whole = _is_whole(left) and _is_whole(right)
    return evaluated(text, (_of_wholes if whole else _of_floats)(left, sign, right), schema)


def _between_moments(text: str, left: Operand, right: Operand, schema: pl.Schema) -> Operand:
    """The time from one moment to another."""
    if (pair := moments(left, right)) is None:
        raise ConditionError(f"{left} and {right} cannot be subtracted; only one of them has a time zone")
    return evaluated(text, pair[0] - pair[1], schema)


def negated(term: Term, schema: pl.Schema) -> Term:
    """`-term` of a number."""
    if not _is_number(term) or _is_boolean(term):
        raise ConditionError(f"-{term} cannot be computed; arithmetic takes numbers")
    if isinstance(term, Constant):
        return Constant(f"-{term.text}", -term.value)
    return evaluated(f"-{term.text}", -(_whole(term) if _is_whole(term) else _float(term, term)), schema)


def absolute(term: Term, schema: pl.Schema) -> Term:
    """`abs(term)` of a number."""
    if isinstance(term, Constant) or not _is_number(term):
        raise ConditionError(f"{term} has no absolute value; `abs` takes a column of numbers")
    return evaluated(f"abs({term.text})", (_whole(term) if _is_whole(term) else _float(term, term)).abs(), schema)


def _of_wholes(left: Term, sign: str, right: Term) -> pl.Expr:
    divisor = right.value if isinstance(right, Constant) else 0
    # Polars finds null where a whole number is divided by 0, pandas an infinity; a negative power is a fraction.
    if sign == "/" or (sign == "**" and divisor <= 0):
        return _of_floats(left, sign, right)
    computed: pl.Expr = ARITHMETIC[sign](_whole(left), _whole(right))
    if sign != "//" or divisor != 0:
        return computed
    fractions = _float(left, right) / _float(right, left)
    return pl.when(_whole(right) == 0).then(fractions).otherwise(computed.cast(pl.Float64))


def _of_floats(left: Term, sign: str, right: Term) -> pl.Expr:
    one, other = _float(left, right), _float(right, left)
    if sign == "**":
        # As in numpy, whatever to the power of 0 is 1, a missing value too.
        one, other = one.fill_null(float("nan")), other.fill_null(float("nan"))
    computed: pl.Expr = ARITHMETIC[sign](one, other)
    if sign == "//":
        # The floor of an infinity is no number in numpy.
        return pl.when(one.is_infinite() & (other != 0)).then(float("nan")).otherwise(computed)
    return computed


def _whole(term: Term) -> pl.Expr:
    """Whole numbers of 64 bits or more: no Int8 that wraps around."""
    if isinstance(term, Constant):
        return pl.lit(int(term.value), dtype=pl.Int64)
    large = term.dtype in (pl.UInt64, pl.Int128, pl.UInt128)
    return term.expr.cast(pl.Int128 if large else pl.Int64)


def _float(term: Term, other: Term) -> pl.Expr:
    """Floats of 64 bits; of 32 where the column is, with values to match."""
    if isinstance(term, Constant):
        return pl.lit(float(term.value), dtype=other.dtype if _is_float(other) else pl.Float64)
    return term.expr if _is_float(term) else term.expr.cast(pl.Float64)


def _is_float(term: Term) -> TypeGuard[Operand]:
    return isinstance(term, Operand) and term.dtype.is_float()


def _is_whole(term: Term) -> bool:
    if isinstance(term, Constant):
        return isinstance(term.value, int) and abs(term.value) < 2**63
    return term.kind == "boolean" or term.dtype.is_integer()


def _is_boolean(term: Term) -> bool:
    return isinstance(term.value, bool) if isinstance(term, Constant) else term.kind == "boolean"


def _is_number(term: Term) -> bool:
    if isinstance(term, Constant):
        return isinstance(term.value, int | float)
    return term.kind in ("number", "boolean")


def _is_moment(term: Term) -> TypeGuard[Operand]:
    return isinstance(term, Operand) and term.kind == "moment"


def _is_text(term: Term) -> bool:
    return isinstance(term.value, str) if isinstance(term, Constant) else term.kind == "text"


def _text(term: Term) -> pl.Expr:
    return pl.lit(term.value) if isinstance(term, Constant) else term.expr
