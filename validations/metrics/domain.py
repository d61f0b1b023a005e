"""The rows and columns that a metric is asked about, as Polars expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import polars as pl
from great_expectations.expectations.metrics.util import get_dbms_compatible_column_names

from validations.exact import exact


class Domain:
    """What a metric gets: the frame of its batch, its own kwargs, and the metrics it depends on."""

    def __init__(
        self, engine: Any, kwargs: Mapping[str, Any], values: Mapping[str, Any], metrics: Mapping[str, Any]
    ) -> None:
        self._engine = engine
        self.kwargs = kwargs
        self.values = values
        self.metrics = metrics
        batch = engine.batch(kwargs)
        self.frame: pl.LazyFrame = batch.frame
        self.schema: pl.Schema = batch.schema

    @cached_property
    def admitted(self) -> pl.Expr | None:
        """Whether a row meets the row condition, never null; None where there is none."""
        found: pl.Expr | None = self._engine.admitted(self.kwargs)
        return found

    @cached_property
    def column(self) -> str:
        """The name of the column that the expectation is about."""
        return self.named(self.kwargs["column"])

    @property
    def dtype(self) -> pl.DataType:
        return self.schema[self.column]

    @cached_property
    def place(self) -> str:
        """A name for the row number that no column bears."""
        name = "row"
        while name in self.schema:
            name = f"_{name}"
        return name

    def named(self, column: str) -> str:
        """A column's name as the frame spells it; GX's own error where there is none."""
        found = get_dbms_compatible_column_names(column_names=column, batch_columns_list=self.schema.names())
        return str(found)

    def present(self, column: str) -> pl.Expr:
        """A column in which whatever is missing is null: NaN counts as missing, as it does in pandas."""
        values = exact(column)
        return values.fill_nan(None) if self.schema[column].is_float() else values

    def missing(self, column: str) -> pl.Expr:
        return self.present(column).is_null()

    def rows(self, *masks: pl.Expr | None) -> pl.Expr | None:
        """Whether a row meets the row condition and all masks; None where every row does."""
        given = [mask for mask in (self.admitted, *masks) if mask is not None]
        return pl.all_horizontal(given) if len(given) > 1 else next(iter(given), None)

    def kept(self, frame: pl.LazyFrame, *masks: pl.Expr | None) -> pl.LazyFrame:
        """The rows of a frame that meet the row condition and all masks."""
        rows = self.rows(*masks)
        return frame if rows is None else frame.filter(rows)

    def values_of_column(self) -> pl.Expr:
        """The present values of the column within the domain."""
        values = self.present(self.column)
        return values if self.admitted is None else values.filter(self.admitted)

    def column_alone(self) -> pl.LazyFrame:
        """The same values as a column `value` of a frame, for a query of its own."""
        return self.kept(self.frame).select(value=self.present(self.column)).drop_nulls()

    def described(self) -> str:
        """The columns, with their dtypes, for an error's first words."""
        names = [self.kwargs.get(key, "") for key in ("column", "column_A", "column_B")]
        names += self.kwargs.get("column_list") or []
        known = [f"{name} ({self.schema[name]})" for name in names if name in self.schema]
        return ", ".join(known) or "the table"


def keyed(domain: Domain, name: str) -> str:
    """A key under which metrics that fetch the same rows meet: the same domain and values, by name."""
    return repr((name, _plain(domain.kwargs), _plain(domain.values)))


def _plain(kwargs: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    return sorted((str(key), repr(value)) for key, value in kwargs.items())
