"""Row-level conditions on several columns of the same row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import combinations
from operator import add
from typing import Any

import polars as pl

from validations.metrics.condition import Condition, Duplicates, register_condition
from validations.metrics.domain import Domain
from validations.metrics.literals import is_text, kind, members

Breaks = Callable[[Domain, Sequence[pl.Expr]], pl.Expr]


def _pair(breaks: Breaks) -> Callable[[Domain], Condition]:
    def condition(domain: Domain) -> Condition:
        names = tuple(_names(domain))
        ways = {"both_values_are_missing": pl.all_horizontal, "either_value_is_missing": pl.any_horizontal}
        return Condition(
            names, lambda columns: breaks(domain, columns), _mask(domain, names, ways, "neither", next(iter(ways)))
        )

    return condition


def _several(domain: Domain) -> tuple[tuple[str, ...], pl.Expr | None]:
    names = tuple(_names(domain))
    ways = {"all_values_are_missing": pl.all_horizontal, "any_value_is_missing": pl.any_horizontal}
    return names, _mask(domain, names, ways, "never", next(iter(ways)))


def _mask(
    domain: Domain, names: Sequence[str], ways: dict[str, Callable[..., pl.Expr]], never: str, default: str
) -> pl.Expr | None:
    """Which rows `ignore_row_if` leaves; None for all of them."""
    way = domain.kwargs.get("ignore_row_if") or default
    if way == never:
        return None
    if way not in ways:
        raise ValueError(f'Unrecognized value of ignore_row_if ("{way}"); it is one of {", ".join([*ways, never])}.')
    return ways[way]([domain.missing(name) for name in names]).not_()


def _multicolumn(breaks: Breaks) -> Callable[[Domain], Condition]:
    def condition(domain: Domain) -> Condition:
        names, mask = _several(domain)
        return Condition(names, lambda columns: breaks(domain, columns), mask)

    return condition


def _unequal(domain: Domain, columns: Sequence[pl.Expr]) -> pl.Expr:
    first, second = columns
    if not _comparable(domain, 0, 1):
        return pl.lit(True)
    return (first == second).fill_null(False).not_()


def _comparable(domain: Domain, first: int, second: int) -> bool:
    """Whether values of two of the columns can be equal at all: text never equals a number, as in pandas."""
    one, other = (domain.schema[_names(domain)[at]] for at in (first, second))
    if kind(one) == kind(other) == "time":
        return _clock(one) == _clock(other)
    return kind(one) == kind(other) or pl.Null in (one, other)


def _clock(dtype: pl.DataType) -> str:
    """What a time is a time of: moments with a zone and those without are never equal."""
    if isinstance(dtype, pl.Date | pl.Datetime):
        return "zoned" if getattr(dtype, "time_zone", None) else "local"
    return str(dtype.base_type())


def _names(domain: Domain) -> list[str]:
    if "column_list" in domain.kwargs:
        return [domain.named(name) for name in domain.kwargs["column_list"]]
    return [domain.named(domain.kwargs[key]) for key in ("column_A", "column_B")]


def _not_greater(domain: Domain, columns: Sequence[pl.Expr]) -> pl.Expr:
    domain.require_order(*_names(domain))
    first, second = columns
    greater = first >= second if domain.values.get("or_equal") else first > second
    return greater.fill_null(False).not_()


def _pair_not_in_set(domain: Domain, columns: Sequence[pl.Expr]) -> pl.Expr:
    """Whether the pair is not in the set, in which None stands for a missing value."""
    pairs = domain.values.get("value_pairs_set")
    if pairs is None:
        return pl.lit(False)
    # By text: what a record holds cannot be a key.
    seconds: dict[str, tuple[Any, list[Any]]] = {}
    for first, second in pairs:
        seconds.setdefault(repr(first), (first, []))[1].append(second)
    dtypes = [domain.schema[name] for name in _names(domain)]
    met = [
        _one_of([first], columns[0], dtypes[0]) & _one_of(then, columns[1], dtypes[1])
        for first, then in seconds.values()
    ]
    return pl.any_horizontal(pl.lit(False), *met).not_()


def _one_of(values: Sequence[Any], column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    held = column.cast(pl.String) if is_text(dtype) else column
    found = held.is_in(members(values, dtype).implode()).fill_null(False)
    return found | column.is_null() if None in values else found


def _sum_unequal(domain: Domain, columns: Sequence[pl.Expr]) -> pl.Expr:
    total = reduce(add, (_addend(domain, *each) for each in zip(_names(domain), columns, strict=True)))
    met: pl.Expr = total == domain.values["sum_total"]
    return met.fill_null(False).not_()


def _addend(domain: Domain, name: str, column: pl.Expr) -> pl.Expr:
    dtype = domain.schema[name]
    if not (dtype.is_numeric() or dtype == pl.Boolean):
        raise TypeError(f"{name} ({dtype}) cannot be added up.")
    # Small integers would wrap around.
    return column.cast(pl.Int64) if dtype.is_integer() or dtype == pl.Boolean else column


def _values_unequal(domain: Domain, columns: Sequence[pl.Expr]) -> pl.Expr:
    pairs = [_differ(domain, columns, 0, at) for at in range(1, len(columns))]
    return pl.any_horizontal(pl.lit(False), *pairs)


def _values_repeated(domain: Domain, columns: Sequence[pl.Expr]) -> pl.Expr:
    pairs = [_differ(domain, columns, one, other).not_() for one, other in combinations(range(len(columns)), 2)]
    return pl.any_horizontal(pl.lit(False), *pairs)


def _differ(domain: Domain, columns: Sequence[pl.Expr], one: int, other: int) -> pl.Expr:
    """Whether two values differ, where two missing ones do not."""
    if _comparable(domain, one, other):
        return columns[one].ne_missing(columns[other])
    return columns[one].is_not_null() | columns[other].is_not_null()


def register_all() -> None:
    register_condition("column_pair_values.equal", _pair(_unequal))
    register_condition("column_pair_values.a_greater_than_b", _pair(_not_greater))
    register_condition("column_pair_values.in_set", _pair(_pair_not_in_set))
    register_condition("multicolumn_sum.equal", _multicolumn(_sum_unequal))
    register_condition("multicolumn_values.equal", _multicolumn(_values_unequal))
    register_condition("select_column_values.unique.within_record", _multicolumn(_values_repeated))
    register_condition("compound_columns.unique", lambda domain: Duplicates(*_several(domain)), duplicates=True)
