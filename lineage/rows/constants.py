"""Rows that are part of the code: a small table that a step's function writes down itself."""

from __future__ import annotations

import polars as pl


class Constant(pl.LazyFrame):
    """A lazy frame that came from no input: what is in it is written in the code, and has its digest."""
