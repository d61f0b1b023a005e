"""The rows and columns that a metric is asked about, as Polars expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import polars as pl
from great_expectations.expectations.metrics.util import get_dbms_compatible_column_names

from validations.exact import exact

_PART = "give the table a column of the part that is meant, and name that"


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

    def require_order(self, *columns: str) -> None:
        """TypeError for a column of lists or records, which are neither less nor more than others."""
        for name in columns:
            if self.schema[name].is_nested():
                raise TypeError(f"{name} ({self.schema[name]}) has no order; {_PART}.")

    def require_single_values(self) -> None:
        """TypeError where the column's values are lists or records, which GX cannot count."""
        if self.dtype.is_nested():
            raise TypeError(f"{self.described()} holds values of several parts, which GX cannot count; {_PART}.")

    def require_known_types(self) -> None:
        """TypeError for a column of Python objects, with which Polars cannot reckon."""
        for name in self._columns():
            if self.schema.get(name) == pl.Object:
                raise TypeError(
                    f"{name} (Object) holds Python objects, of which only presence can be told; "
                    "give the frame a column of a Polars type made of them."
                )

    def described(self) -> str:
        """The columns, with their dtypes, for an error's first words."""
        known = [f"{name} ({self.schema[name]})" for name in self._columns() if name in self.schema]
        return ", ".join(known) or "the table"

    def _columns(self) -> list[str]:
        names = [self.kwargs[key] for key in ("column", "column_A", "column_B") if key in self.kwargs]
        return [*names, *(self.kwargs.get("column_list") or [])]


def keyed(domain: Domain, name: str) -> str:
    """A key under which metrics that fetch the same rows meet: the same domain and values, by name."""
    return repr((name, _plain(domain.kwargs), _plain(domain.values)))


def _plain(kwargs: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    return sorted((str(key), repr(value)) for key, value in kwargs.items())
