"""Metrics about the distinct values of a column, and how they compare with an expected set.

They are read by queries of their own, which hold no more than the distinct values that they are about; within
the one select Polars would hold the columns of all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from validations.metrics.domain import Domain
from validations.metrics.literals import is_text, members
from validations.metrics.registration import register
from validations.scan import Counted, Fetched

# GX lists no more than these, whatever the result format.
MOST_DISTINCT = 20


def count(domain: Domain) -> Counted:
    return _counted(domain, int)


def under_threshold(domain: Domain) -> Counted:
    return _counted(domain, lambda found: found < domain.values["threshold"])


def _counted(domain: Domain, finish: Callable[[int], Any]) -> Counted:
    number = domain.values_of_column().drop_nulls().n_unique()
    return Counted(_shared(domain, "distinct count"), domain.column_alone(), number, finish)


def values(domain: Domain) -> Fetched:
    # Lists and records are in no Python set.
    return _listed(domain, "distinct values", _values(domain), list if domain.dtype.is_nested() else set)


def unexpected_count(domain: Domain) -> Fetched:
    return _unexpected(domain, lambda found: found.height)


def unexpected(domain: Domain) -> Fetched:
    return _unexpected(domain, lambda found: found["value"].sort().head(_limit(domain)).to_list())


def _unexpected(domain: Domain, finish: Callable[[pl.DataFrame], Any]) -> Fetched:
    others = _values(domain).filter(_in_set(domain).not_()).unique()
    return Fetched(_shared(domain, "not in set"), others, finish)


def missing_count(domain: Domain) -> Fetched:
    return _missing(domain, len)


def missing(domain: Domain) -> Fetched:
    return _missing(domain, lambda absent: absent[: _limit(domain)])


def _missing(domain: Domain, finish: Callable[[list[Any]], Any]) -> Fetched:
    found = _values(domain).filter(_in_set(domain))
    return _listed(domain, "found in set", found, lambda seen: finish(_absent(domain, seen)))


def _listed(domain: Domain, name: str, rows: pl.LazyFrame, finish: Callable[[list[Any]], Any]) -> Fetched:
    return Fetched(_shared(domain, name), rows.unique(), lambda found: finish(found["value"].to_list()))


def _shared(domain: Domain, name: str) -> str:
    """A key for the queries on one column and set, whatever is made of their answers."""
    return repr((name, sorted(domain.kwargs.items(), key=repr), domain.values.get("value_set")))


def _values(domain: Domain) -> pl.LazyFrame:
    rows = domain.column_alone()
    return rows.select(pl.col("value").cast(pl.String)) if is_text(domain.dtype) else rows


def _in_set(domain: Domain) -> pl.Expr:
    return pl.col("value").is_in(members(domain.values.get("value_set") or [], domain.dtype).implode())


def _limit(domain: Domain) -> int:
    return domain.values.get("limit") or MOST_DISTINCT


def _absent(domain: Domain, found: list[Any]) -> list[Any]:
    """What the set expects and the column lacks, as the suite writes it, in the suite's order."""
    if domain.dtype.is_nested():
        return _absent_parts(domain, found)
    seen = set(found)
    wanted = dict.fromkeys(domain.values.get("value_set") or [])
    return [value for value in wanted if not seen & set(members([value], domain.dtype).to_list())]


def _absent_parts(domain: Domain, found: list[Any]) -> list[Any]:
    """The same of lists and records, which no Python set can hold."""
    absent: list[Any] = []
    for value in domain.values.get("value_set") or []:
        held = members([value], domain.dtype).to_list()
        if value not in absent and not any(each in found for each in held):
            absent.append(value)
    return absent


def register_all() -> None:
    register("column.distinct_values", values)
    register("column.distinct_values.count", count)
    register("column.distinct_values.count.under_threshold", under_threshold)
    register("column.distinct_values.not_in_set", unexpected)
    register("column.distinct_values.not_in_set.count", unexpected_count)
    register("column.distinct_values.missing_from_column", missing)
    register("column.distinct_values.missing_from_column.count", missing_count)
