"""Metrics about the distinct values of a column, and how they compare with an expected set."""

from __future__ import annotations

from typing import Any

import polars as pl

from validations.metrics.domain import Domain
from validations.metrics.literals import is_text, members
from validations.metrics.registration import register
from validations.scan import Reduced

# GX lists no more than these, whatever the result format.
MOST_DISTINCT = 20


def _values(domain: Domain) -> pl.Expr:
    values = domain.values_of_column().drop_nulls()
    return values.cast(pl.String) if is_text(domain.dtype) else values


def _in_set(domain: Domain) -> pl.Expr:
    return _values(domain).is_in(members(domain.values.get("value_set") or [], domain.dtype).implode())


def _limit(domain: Domain) -> int:
    return domain.values.get("limit") or MOST_DISTINCT


def count(domain: Domain) -> Reduced:
    return Reduced(domain.values_of_column().drop_nulls().n_unique(), int)


def values(domain: Domain) -> Reduced:
    return Reduced(_values(domain).unique().implode(), set)


def under_threshold(domain: Domain) -> Reduced:
    return Reduced(domain.values_of_column().drop_nulls().n_unique() < domain.values["threshold"])


def _unexpected(domain: Domain) -> pl.Expr:
    return _values(domain).filter(_in_set(domain).not_()).unique()


def unexpected_count(domain: Domain) -> Reduced:
    return Reduced(_unexpected(domain).len(), int)


def unexpected(domain: Domain) -> Reduced:
    return Reduced(_unexpected(domain).sort().head(_limit(domain)).implode())


def missing_count(domain: Domain) -> Reduced:
    return Reduced(_found(domain), lambda found: len(_absent(domain, found)))


def missing(domain: Domain) -> Reduced:
    return Reduced(_found(domain), lambda found: _absent(domain, found)[: _limit(domain)])


def _found(domain: Domain) -> pl.Expr:
    return _values(domain).filter(_in_set(domain)).unique().implode()


def _absent(domain: Domain, found: list[Any]) -> list[Any]:
    """What the set expects and the column lacks, as the suite writes it, in the suite's order."""
    seen = set(found)
    wanted = dict.fromkeys(domain.values.get("value_set") or [])
    return [value for value in wanted if not seen & set(members([value], domain.dtype).to_list())]


def register_all() -> None:
    register("column.distinct_values", values)
    register("column.distinct_values.count", count)
    register("column.distinct_values.count.under_threshold", under_threshold)
    register("column.distinct_values.not_in_set", unexpected)
    register("column.distinct_values.not_in_set.count", unexpected_count)
    register("column.distinct_values.missing_from_column", missing)
    register("column.distinct_values.missing_from_column.count", missing_count)
