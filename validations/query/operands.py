"""Operands of a row condition: columns, values and what is computed from them, compared as pandas compares them.

Missing is null and NaN alike. A comparison is never null: with a missing value it is False, and `!=` is True.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
KINDS = {
    pl.Boolean: "boolean",
    pl.String: "text",
    pl.Categorical: "category",
    pl.Enum: "category",
    pl.Date: "moment",
    pl.Datetime: "moment",
    pl.Time: "time",
    pl.Duration: "duration",
    pl.Null: "null",
}
# Of the years that a nanosecond column can hold in full.
NANOSECOND_YEARS = range(1678, 2262)


class ConditionError(ValueError):
    """Why a condition cannot be a filter; it names the part, not the whole condition."""


@dataclass(frozen=True)
class Operand:
    """One value a row: a column or what is computed from columns."""

    text: str
    expr: pl.Expr
    dtype: pl.DataType

    @property
    def kind(self) -> str:
        """What it can be compared with: number, boolean, text, category, moment, time, duration, null or other."""
        return "number" if self.dtype.is_numeric() else KINDS.get(self.dtype.base_type(), "other")

    @property
    def present(self) -> pl.Expr:
        """Its values, with null for every missing one."""
        return self.expr.fill_nan(None) if self.dtype.is_float() else self.expr

    def __str__(self) -> str:
        return f"{self.text} ({self.dtype})"


@dataclass(frozen=True)
class Constant:
    """One value for all rows; a tuple is a list of values."""

    text: str
    value: Any

    def __str__(self) -> str:
        return self.text


Term = Operand | Constant


def boolean(text: str, expr: pl.Expr) -> Operand:
    """What is True or False for each row."""
    return Operand(text, expr, pl.Boolean())


def mask(term: Term) -> pl.Expr:
    """The rows for which the term holds; a missing value does not."""
    if isinstance(term, Constant):
        if isinstance(term.value, bool):
            return pl.lit(term.value)
    elif term.kind == "boolean":
        return term.expr.fill_null(False)
    raise ConditionError(f"{term} is neither true nor false; compare it with a value")


def joined(masks: Sequence[pl.Expr], join: Callable[[Any, Any], Any]) -> pl.Expr:
    """All masks in one, as a balanced tree: Polars takes minutes over a chain of thousands."""
    if len(masks) == 1:
        return masks[0]
    middle = len(masks) // 2
    joint: pl.Expr = join(joined(masks[:middle], join), joined(masks[middle:], join))
    return joint


def missing(term: Operand) -> pl.Expr:
    """The rows without a value."""
    return term.present.is_null()


def compare(left: Term, sign: str, right: Term) -> Term:
    """`left sign right` as pandas answers it; two values that are never equal have no order, which is an error."""
    text = f"{left.text} {sign} {right.text}"
    if isinstance(left, Constant):
        if not isinstance(right, Constant):
            return compare(right, MIRRORED.get(sign, sign), left)
        return Constant(text, folded(COMPARISONS[sign], left, sign, right))
    if isinstance(right, Constant) and isinstance(right.value, tuple):
        if sign not in ("==", "!="):
            raise ConditionError(f"{left} cannot be compared by {sign} with a list; ask with `in`")
        return among(left, right, negated=sign == "!=")
    if left.kind == "null" or (isinstance(right, Constant) and (right.value is None or right.value != right.value)):
        return _constantly(left, text, sign == "!=")
    pair = _with_value(left, sign, right.value) if isinstance(right, Constant) else _with_column(left, sign, right)
    if pair is None:
        if sign not in ("==", "!="):
            raise ConditionError(f"{left} and {right} have no order; compare values of one type")
        return _constantly(left, text, sign == "!=")
    return boolean(text, COMPARISONS[sign](*pair).fill_null(sign == "!="))


def among(left: Operand, right: Constant, negated: bool = False) -> Operand:
    """Whether the value is one of the list; those of another type never are."""
    text = f"{left.text} {'not in' if negated else 'in'} {right.text}"
    values = list(right.value)
    if None in values:
        raise ConditionError(
            f"the list {right.text} holds None, which is no value; ask for `{left.text}.isnull()` beside it"
        )
    if left.kind == "other":
        raise ConditionError(f"{left} cannot be compared with values")
    found = _found(left, values)
    return _constantly(left, text, negated) if found is None else boolean(text, ~found if negated else found)


def _found(left: Operand, values: list[Any]) -> pl.Expr | None:
    """The rows whose value is in the list; None where no value of the list can be in the column."""
    if left.kind not in ("text", "category", "number", "boolean") or left.dtype.is_decimal():
        equal = [compare(left, "==", Constant(repr(value), value)) for value in values]
        return joined([mask(term) for term in equal], operator.or_) if equal else None
    expr, dtype = left.present, left.dtype
    if left.kind in ("text", "category"):
        kept: list[Any] = [value for value in values if isinstance(value, str)]
        expr, dtype = expr.cast(pl.String), pl.String()
    else:
        numbers = [value for value in values if isinstance(value, int | float)]
        if left.kind == "boolean":
            kept = [bool(value) for value in numbers if value in (0, 1)]
        elif dtype.is_float():
            kept, expr, dtype = [float(value) for value in numbers], expr.cast(pl.Float64), pl.Float64()
        else:
            kept = [int(value) for value in numbers if value == value // 1 and _fits(int(value), dtype)]
    return expr.is_in(pl.Series(kept, dtype=dtype).implode()).fill_null(False) if kept else None


def _constantly(left: Operand, text: str, answer: bool) -> Operand:
    # Not a literal: that would be one row, not all.
    given = left.expr.is_null()
    return boolean(text, given | ~given if answer else given & ~given)


def folded(function: Callable[[Any, Any], Any], left: Constant, sign: str, right: Constant) -> Any:
    """What two constants come to."""
    try:
        return function(left.value, right.value)
    except (TypeError, ArithmeticError) as error:
        raise ConditionError(f"{left} {sign} {right} cannot be computed: {error}") from None


Pair = tuple[pl.Expr, pl.Expr]


def _with_value(left: Operand, sign: str, value: Any) -> Pair | None:
    """Both sides, ready for Polars; None where the two types are never equal."""
    match left.kind:
        case "number" if isinstance(value, Decimal):
            return (left.expr, pl.lit(value)) if left.dtype.is_decimal() else _numeric(left, float(value))
        case "number" | "boolean" if isinstance(value, int | float):
            return _numeric(left, value)
        case "text" if isinstance(value, str):
            return left.expr, pl.lit(value)
        case "category" if isinstance(value, str):
            return _category(left, sign, value)
        case "moment" if isinstance(value, str | int | date) and not isinstance(value, bool):
            return _moment(left, value)
        case "time" if isinstance(value, str | time):
            return left.expr, pl.lit(_read(time.fromisoformat, value, "time") if isinstance(value, str) else value)
        case "duration" if isinstance(value, timedelta):
            return left.expr, pl.lit(value)
        case "moment" if isinstance(value, float):
            raise ConditionError(f"{left} cannot be compared with {value!r}; write a date as ISO text")
        case "duration":
            raise ConditionError(f"{left} cannot be compared with {value!r}; take a timedelta in a Condition object")
        case "other":
            raise ConditionError(f"{left} cannot be compared with values")
    return None


def _numeric(left: Operand, value: float) -> Pair:
    expr, dtype = left.present, left.dtype
    if left.kind == "boolean":
        if isinstance(value, bool):
            return expr, pl.lit(value)
        expr, dtype = expr.cast(pl.Int64), pl.Int64()
    value = int(value) if isinstance(value, bool) else value
    if dtype.is_decimal():
        return (expr, pl.lit(value)) if isinstance(value, int) else (expr.cast(pl.Float64), pl.lit(value))
    if dtype.is_float():
        # A Float32 column meets the value as Float32: 0.1 is found.
        return expr, pl.lit(float(value), dtype=dtype)
    if isinstance(value, float):
        return expr.cast(pl.Float64), pl.lit(value)
    if _fits(value, dtype):
        return expr, pl.lit(value, dtype=dtype)
    most = 2**127 - 1
    return expr.cast(pl.Int128), pl.lit(max(-most, min(most, value)), dtype=pl.Int128)


def _fits(value: int, dtype: pl.DataType) -> bool:
    signed = dtype.is_signed_integer()
    bits = int(re.sub(r"\D", "", str(dtype))) - signed
    return (-(1 << bits) if signed else 0) <= value < 1 << bits


def _category(left: Operand, sign: str, value: str) -> Pair | None:
    if sign in ("==", "!="):
        return left.expr.cast(pl.String), pl.lit(value)
    if isinstance(left.dtype, pl.Enum) and value in left.dtype.categories:
        return left.expr, pl.lit(value, dtype=left.dtype)
    return None


def _moment(left: Operand, value: str | int | date) -> Pair | None:
    moment = value if isinstance(value, date) else _read(_iso, str(value), "date")
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    zone = left.dtype.time_zone if isinstance(left.dtype, pl.Datetime) else None
    if zone is None and moment.tzinfo is not None:
        return None
    if zone is not None:
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)
    moment = moment.replace(tzinfo=None)
    if isinstance(left.dtype, pl.Date) and moment.time() == time():
        return left.expr, pl.lit(moment.date())
    fine = isinstance(left.dtype, pl.Datetime) and left.dtype.time_unit == "ns" and moment.year in NANOSECOND_YEARS
    unit = pl.Datetime("ns" if fine else "us")
    return _universal(left).cast(unit), pl.lit(moment).cast(unit)


def _iso(text: str) -> datetime:
    text = text.strip()
    if re.search(r"[.,]\d{6}\d*[1-9]", text):
        raise ConditionError(f"{text!r} is finer than a microsecond; round it")  # Python would cut it off.
    if loose := re.match(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?!\d)", text):
        text = f"{loose[1]}-{loose[2]:0>2}-{loose[3]:0>2}{text[loose.end() :]}"
    return datetime.fromisoformat(text + {4: "-01-01", 7: "-01"}.get(len(text), ""))


def _read(reader: Callable[[str], Any], text: str, noun: str) -> Any:
    try:
        return reader(text)
    except ConditionError:
        raise
    except ValueError:
        example = {"date": "2024-05-31' or '2024-05-31T10:30:00", "time": "10:30:00"}[noun]
        raise ConditionError(f"{text!r} is no {noun} in ISO form such as '{example}'") from None


def _universal(term: Operand) -> pl.Expr:
    """The moments as those of UTC, without a zone; local ones stay what they are."""
    if isinstance(term.dtype, pl.Datetime) and term.dtype.time_zone is not None:
        return term.expr.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return term.expr


def _with_column(left: Operand, sign: str, right: Operand) -> Pair | None:
    kinds = {left.kind, right.kind}
    if "other" in kinds:
        raise ConditionError(f"{left} and {right} cannot be compared")
    if kinds <= {"number", "boolean"}:
        return _numbers(left, right)
    if kinds == {"moment"}:
        return moments(left, right)
    if kinds <= {"text", "category"} and sign in ("==", "!="):
        return left.expr.cast(pl.String), right.expr.cast(pl.String)
    if kinds == {"category"}:
        ordered = isinstance(left.dtype, pl.Enum) and left.dtype == right.dtype
        return (left.expr, right.expr) if ordered else None
    if "null" in kinds or len(kinds) == 1:
        return left.expr, (pl.lit(None) if right.kind == "null" else right.expr)
    return None


def _numbers(left: Operand, right: Operand) -> Pair:
    dtypes = left.dtype, right.dtype
    one, other = (t.present.cast(pl.Int64) if t.kind == "boolean" else t.present for t in (left, right))
    if any(d.is_float() for d in dtypes) or (any(d.is_decimal() for d in dtypes) and left.dtype != right.dtype):
        return (one, other) if left.dtype == right.dtype else (one.cast(pl.Float64), other.cast(pl.Float64))
    wide = pl.UInt64 in dtypes and left.dtype != right.dtype
    return (one.cast(pl.Int128), other.cast(pl.Int128)) if wide else (one, other)


def moments(left: Operand, right: Operand) -> Pair | None:
    """Two columns of moments in one unit; None where only one of them has a time zone."""
    zones, units = zip(*(_clock(term.dtype) for term in (left, right)), strict=True)
    if (zones[0] is None) != (zones[1] is None):
        return None
    unit = pl.Datetime("ns" if "ns" in units else "us")
    return _universal(left).cast(unit), _universal(right).cast(unit)


def _clock(dtype: pl.DataType) -> tuple[str | None, str]:
    return (dtype.time_zone, dtype.time_unit) if isinstance(dtype, pl.Datetime) else (None, "us")
