"""Columns by their exact names: pl.col reads some names as patterns for others."""

from __future__ import annotations

import polars as pl

from lineage.rows.expressions import expression


def exact(name: str) -> pl.Expr:
    """The column of that name, also where it is `*` or `^…$`, which pl.col takes for all columns or a regex."""
    # Only pl.col reads patterns. A selector is exact too, but it is no column to what looks for an expression's roots.
    is_pattern = name == "*" or (name.startswith("^") and name.endswith("$"))
    return expression({"Column": name}) if is_pattern else pl.col(name)
