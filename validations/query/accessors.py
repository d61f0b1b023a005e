"""What a row condition may ask of a column by name: `.isnull()`, `.between(1, 5)`, `.str.contains("x")`, `.dt.year`."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from validations.query.arithmetic import absolute, evaluated
from validations.query.operands import (
    ConditionError,
    Constant,
    Operand,
    Term,
    among,
    boolean,
    compare,
    joined,
    mask,
    missing,
)

Parts = Callable[[pl.Expr], pl.Expr]
# Of dates and times; days of the week count from Monday, which is 0.
PARTS: dict[str, Parts] = {
    "year": lambda e: e.dt.year(),
    "quarter": lambda e: e.dt.quarter(),
    "month": lambda e: e.dt.month(),
    "day": lambda e: e.dt.day(),
    "hour": lambda e: e.dt.hour(),
    "minute": lambda e: e.dt.minute(),
    "second": lambda e: e.dt.second(),
    "dayofweek": lambda e: e.dt.weekday() - 1,
    "day_of_week": lambda e: e.dt.weekday() - 1,
    "weekday": lambda e: e.dt.weekday() - 1,
    "dayofyear": lambda e: e.dt.ordinal_day(),
    "day_of_year": lambda e: e.dt.ordinal_day(),
    "date": lambda e: e.dt.date(),
    "days_in_month": lambda e: e.dt.month_end().dt.day(),
    "daysinmonth": lambda e: e.dt.month_end().dt.day(),
}
MICROSECONDS = 10**6
INCLUSIVE = {"both": (">=", "<="), "left": (">=", "<"), "right": (">", "<="), "neither": (">", "<")}
MISSING = ("isnull", "isna", "isNull", "is_null")
PRESENT = ("notnull", "notna", "notNull", "is_not_null")


@dataclass(frozen=True)
class Counts(Operand):
    """How often the values of a column occur."""

    of: str


def part(term: Term, name: str, schema: pl.Schema) -> Operand:
    """`term.dt.name`, such as the year of a date."""
    if isinstance(term, Constant) or term.kind != "moment":
        raise ConditionError(f"{term} has no .dt.{name}; it is neither a date nor a datetime")
    # A date has an hour for pandas: it holds midnights.
    moment = term.expr.cast(pl.Datetime("us")) if isinstance(term.dtype, pl.Date) else term.expr
    return evaluated(f"{term.text}.dt.{name}", PARTS[name](moment), schema)


def method(term: Term, name: str, arguments: list[Term], options: dict[str, Term], schema: pl.Schema) -> Term:
    """`term.name(arguments)`; the name of a text's method starts with `str.`, of a time's with `dt.`."""
    if isinstance(term, Constant):
        raise ConditionError(f".{name} is asked of a column, not of {term}")
    if name == "abs":
        return absolute(term, schema)
    asked = METHODS[name]
    try:
        given = inspect.signature(asked).bind(term, *arguments, **options)
    except TypeError as error:
        raise ConditionError(f".{name} cannot take these arguments: {error}") from None
    if not name.startswith("str."):
        return asked(*given.args, **given.kwargs)
    if term.kind not in ("text", "category"):
        raise ConditionError(f"{term} has no .{name}; it is not text")
    text = Operand(term.text, term.expr.cast(pl.String), pl.String())
    return asked(text, *given.args[1:], **given.kwargs)


def _isin(term: Operand, values: Term) -> Term:
    if not isinstance(values, Constant) or not isinstance(values.value, tuple):
        raise ConditionError(f"{term.text}.isin takes a list of values, not {values}")
    return among(term, values)


def _is_not_in(term: Operand, values: Term) -> Term:
    return boolean(f"not {term.text}", ~mask(_isin(term, values)))


def _between(term: Operand, left: Term, right: Term, inclusive: Term = Constant("'both'", "both")) -> Term:  # noqa: B008
    if not isinstance(inclusive, Constant) or inclusive.value not in INCLUSIVE:
        raise ConditionError(f"`inclusive` of {term.text}.between is one of {', '.join(INCLUSIVE)}, not {inclusive}")
    low, high = INCLUSIVE[inclusive.value]
    ends = [mask(compare(term, low, left)), mask(compare(term, high, right))]
    return boolean(f"{term.text}.between", joined(ends, operator.and_))


def _contains(
    term: Operand, pat: Term, case: Term | None = None, na: Term | None = None, regex: Term | None = None
) -> Term:
    pattern, sensitive = _value(pat, str), _value(case, bool, True)
    if _value(regex, bool, True):
        return _matching(term, pattern, sensitive, na)
    expr = term.expr if sensitive else term.expr.str.to_lowercase()
    found = expr.str.contains(pattern if sensitive else pattern.lower(), literal=True)
    return boolean(f"{term.text}.str.contains", found.fill_null(_value(na, bool, False)))


def _match(term: Operand, pat: Term, case: Term | None = None, na: Term | None = None) -> Term:
    return _matching(term, f"^(?:{_value(pat, str)})", _value(case, bool, True), na)


def _fullmatch(term: Operand, pat: Term, case: Term | None = None, na: Term | None = None) -> Term:
    return _matching(term, f"^(?:{_value(pat, str)})$", _value(case, bool, True), na)


def _matching(term: Operand, pattern: str, sensitive: bool, na: Term | None) -> Term:
    pattern = pattern if sensitive else f"(?i){pattern}"
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        reason = str(error).strip().splitlines()[-1].removeprefix("error: ")
        raise ConditionError(f"Polars cannot read the regular expression {pattern!r} ({reason})") from None
    return boolean(f"{term.text}.str", term.expr.str.contains(pattern).fill_null(_value(na, bool, False)))


def _startswith(term: Operand, pat: Term, na: Term | None = None) -> Term:
    found = term.expr.str.starts_with(_value(pat, str)).fill_null(_value(na, bool, False))
    return boolean(f"{term.text}.str.startswith", found)


def _endswith(term: Operand, pat: Term, na: Term | None = None) -> Term:
    found = term.expr.str.ends_with(_value(pat, str)).fill_null(_value(na, bool, False))
    return boolean(f"{term.text}.str.endswith", found)


def _len(term: Operand) -> Term:
    return Operand(f"{term.text}.str.len()", term.expr.str.len_chars(), pl.UInt32())


def _tz_convert(term: Operand, tz: Term) -> Term:
    zone = _value(tz, str)
    if not isinstance(term.dtype, pl.Datetime) or term.dtype.time_zone is None:
        raise ConditionError(f"{term} has no time zone to convert from")
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConditionError(f"{zone!r} is no time zone") from error
    kind = pl.Datetime(term.dtype.time_unit, zone)
    return Operand(f"{term.text}.dt.tz_convert({zone!r})", term.expr.dt.convert_time_zone(zone), kind)


def _total_seconds(term: Operand) -> Term:
    if term.kind != "duration":
        raise ConditionError(f"{term} has no .dt.total_seconds; it is no time between two moments")
    seconds = term.expr.dt.total_microseconds() / MICROSECONDS
    return Operand(f"{term.text}.dt.total_seconds()", seconds, pl.Float64())


def _value_counts(term: Operand) -> Term:
    return Counts(f"{term.text}.value_counts()", pl.len().over(term.expr), pl.UInt32(), term.text)


def _map(term: Operand, arg: Term) -> Term:
    """`a.map(a.value_counts())`: how often each row's value occurs; no other mapping is understood."""
    if not isinstance(arg, Counts) or arg.of != term.text:
        raise ConditionError(f"{term.text}.map takes {term.text}.value_counts(), not {arg}")
    counted = pl.when(missing(term)).then(None).otherwise(arg.expr)
    return Operand(f"{term.text}.map({arg.text})", counted, arg.dtype)


def _changed(name: str, change: Parts) -> Callable[[Operand], Term]:
    def changed(term: Operand) -> Term:
        return Operand(f"{term.text}.str.{name}()", change(term.expr), pl.String())

    return changed


def _value(term: Term | None, wanted: type, default: Any = None) -> Any:
    if term is None:
        return default
    if not isinstance(term, Constant) or not isinstance(term.value, wanted):
        raise ConditionError(f"{term} is given where a method of .str takes a {wanted.__name__}")
    return term.value


METHODS: dict[str, Callable[..., Term]] = {
    **dict.fromkeys(MISSING, lambda term: boolean(f"{term.text}.isnull()", missing(term))),
    **dict.fromkeys(PRESENT, lambda term: boolean(f"{term.text}.notnull()", ~missing(term))),
    "isin": _isin,
    "is_in": _isin,
    "is_not_in": _is_not_in,
    "between": _between,
    "map": _map,
    "value_counts": _value_counts,
    "dt.tz_convert": _tz_convert,
    "dt.total_seconds": _total_seconds,
    "str.contains": _contains,
    "str.match": _match,
    "str.fullmatch": _fullmatch,
    "str.startswith": _startswith,
    "str.endswith": _endswith,
    "str.len": _len,
    "str.lower": _changed("lower", lambda e: e.str.to_lowercase()),
    "str.upper": _changed("upper", lambda e: e.str.to_uppercase()),
    "str.strip": _changed("strip", lambda e: e.str.strip_chars()),
}
