"""Values of a column for `batch.compute_metrics`, which no expectation asks for.

Of those that show values GX has the ones for SQL only; missing is None here, where SQL has its null.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from validations.metrics.domain import Domain, keyed
from validations.metrics.patterns import contains
from validations.metrics.registration import register
from validations.metrics.text import as_text
from validations.scan import Fetched


def sample(domain: Domain) -> Fetched:
    """The first values, missing ones too."""
    rows = domain.frame if domain.admitted is None else domain.frame.filter(domain.admitted)
    values = rows.select(domain.present(domain.column)).head(domain.values["count"])
    return Fetched(keyed(domain, "sample"), values, _listed)


def _that(matches: Callable[[pl.Expr], pl.Expr], name: str) -> Callable[[Domain], Fetched]:
    """The first values whose text matches, or does not; a missing one does neither."""

    def want(domain: Domain) -> Fetched:
        found = contains(as_text(domain.present(domain.column), domain.dtype), domain.values["regex"])
        rows = domain.frame if domain.admitted is None else domain.frame.filter(domain.admitted)
        rows = rows.filter(matches(found)).select(domain.present(domain.column))
        limit = domain.values.get("limit")
        return Fetched(keyed(domain, name), rows if limit is None else rows.head(limit), _listed)

    return want


def missing(domain: Domain) -> Fetched:
    """Whether each value is missing, which is what breaks `nonnull`: a pandas Series by row number, as GX wants it."""
    place = domain.place
    rows = domain.frame.with_row_index(place)
    if domain.admitted is not None:
        rows = rows.filter(domain.admitted)
    column = domain.column

    def finish(found: pl.DataFrame) -> Any:
        import pandas as pd

        return pd.Series(found[column].to_list(), index=found[place].to_list(), name=column, dtype=bool)

    return Fetched(keyed(domain, "missing"), rows.select(place, domain.missing(column).alias(column)), finish)


def _listed(found: pl.DataFrame) -> list[Any]:
    return found.to_series().to_list()


def register_all() -> None:
    register("column.sample_values", sample)
    register("column_values.match_regex", _that(lambda found: found, "matching"))
    register("column_values.not_match_regex_values", _that(lambda found: found.not_(), "not matching"))
    register("column_values.nonnull.condition", missing)
