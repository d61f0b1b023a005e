"""Feature values as every runtime takes them: checked, and with one policy for what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lineage.errors import DeclarationError, RequestError

if TYPE_CHECKING:
    import polars as pl

_Known = TypeVar("_Known")
_STRINGS = frozenset({str, np.str_, type(None)})


def codes_of(categories: Sequence[str]) -> dict[str, float]:
    """Category -> its code: the position in `categories`."""
    return {category: float(code) for code, category in enumerate(categories)}


def look_up(name: str, column: NDArray[Any], *, known: Mapping[str, _Known], absent: _Known) -> NDArray[Any]:
    """`column` with each string replaced by what `known` has for it, unknown strings and None by `absent`.

    Raises RequestError for anything else, such as bytes, which would otherwise pass for an unknown string.
    """
    if strangers := set(map(type, column)) - _STRINGS:
        kinds = ", ".join(sorted(kind.__name__ for kind in strangers))
        raise RequestError(f"column {name!r} holds {kinds}; send strings, and None for a missing value.")
    values = [known.get(value, absent) for value in column]
    return np.array(values, dtype=object if isinstance(absent, str) else np.float32)


def row_count(columns: Mapping[str, NDArray[Any]], *, features: Sequence[str], categories: Mapping[str, Any]) -> int:
    """How many rows `columns` holds; raises RequestError if a feature is absent or has the wrong form."""
    if absent := [name for name in features if name not in columns]:
        raise RequestError(f"columns {absent} are missing; the model takes {list(features)}.")
    rows = len(columns[features[0]])
    for name in features:
        column, kinds = columns[name], "OU" if name in categories else "f"
        fits = column.dtype.kind in kinds and (kinds == "OU" or column.dtype.itemsize == 4)
        if not fits or column.shape != (rows,):
            wanted, found = "strings" if name in categories else "float32", f"{column.dtype} {column.shape}"
            raise RequestError(f"column {name!r} is {found}; send {wanted} of shape ({rows},).")
    return rows


def columns_of(
    frame: pl.DataFrame, *, features: Sequence[str], categories: Mapping[str, Any]
) -> dict[str, NDArray[Any]]:
    """The columns of `frame` as an engine takes them: float32 with NaN, or object with None."""
    import polars as pl

    def column(name: str) -> NDArray[Any]:
        if name in categories:
            return np.array(frame[name].cast(pl.String).to_list(), dtype=object)
        return frame[name].cast(pl.Float32).fill_null(float("nan")).to_numpy()

    return {name: column(name) for name in features}


def matrix_of(
    frame: pl.DataFrame, *, features: Sequence[str], categories: Mapping[str, Sequence[str]]
) -> NDArray[np.float32]:
    """`frame` as one float32 matrix of shape (rows, features): numbers, category codes, NaN for missing.

    The same values as `look_up` finds one by one, in whole columns. Raises DeclarationError naming a feature
    that is neither a number, a Boolean nor a declared category, or that is infinite as float32.
    """
    return finite_matrix(frame.select(encoded(frame.schema, features=features, categories=categories)))


def encoded(schema: pl.Schema, *, features: Sequence[str], categories: Mapping[str, Sequence[str]]) -> list[pl.Expr]:
    """The columns of `matrix_of` as Polars computes them, in a frame of `schema`; DeclarationError as there."""
    import polars as pl

    def column(name: str) -> pl.Expr:
        if name in categories:
            known = pl.Enum(categories[name])
            return pl.col(name).cast(pl.String).cast(known, strict=False).to_physical().cast(pl.Float32)
        if not (schema[name].is_numeric() or schema[name] == pl.Boolean):
            raise DeclarationError(f"feature {name!r} is {schema[name]}; make it a number, a Boolean or a string.")
        return pl.col(name).cast(pl.Float32)

    return [column(name).fill_null(float("nan")) for name in features]


def finite_matrix(columns: pl.DataFrame) -> NDArray[np.float32]:
    """Encoded `columns` as one matrix, a row after the other; DeclarationError names those that are infinite."""
    if endless := [series.name for series in columns if series.is_infinite().any()]:
        raise DeclarationError(f"features {endless} are infinite as float32; use null for a missing value.")
    return columns.to_numpy(order="c")
