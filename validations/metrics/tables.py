"""Metrics of the table as a whole."""

from __future__ import annotations

from typing import Any

import polars as pl

from validations.metrics.domain import Domain, keyed
from validations.metrics.registration import borrow, register, register_value
from validations.scan import Fetched, Reduced

HEAD = 5


def row_count(domain: Domain) -> Reduced:
    return Reduced(pl.len() if domain.admitted is None else domain.admitted.sum(), int)


def column_types(domain: Domain) -> list[dict[str, Any]]:
    return [{"name": name, "type": dtype} for name, dtype in domain.schema.items()]


def head(domain: Domain) -> Fetched:
    """The first rows: a pandas frame, which is what GX's `batch.head()` shows."""
    rows = domain.frame if domain.admitted is None else domain.frame.filter(domain.admitted)
    if not domain.values.get("fetch_all"):
        wanted = domain.values.get("n_rows")
        rows = rows.head(HEAD if wanted is None else wanted)
    return Fetched(keyed(domain, "head"), rows, _to_pandas)


def _to_pandas(rows: pl.DataFrame) -> Any:
    import pandas as pd

    # Without Arrow on the way: a column of Python objects is enough to look at.
    return pd.DataFrame(rows.to_dict(as_series=False), columns=rows.columns)


def register_all() -> None:
    register("table.row_count", row_count)
    register("table.head", head)
    register_value("table.columns", lambda domain: domain.schema.names())
    register_value("table.column_types", column_types)
    borrow("table.column_count")
