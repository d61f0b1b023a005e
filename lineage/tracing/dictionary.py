"""The distinct values of a key, sorted and memory-mapped: a value's code is its place among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from lineage.errors import DeclarationError

Array = npt.NDArray[Any]

# The code of a null, and of a value that is not there.
MISSING = np.uint32(0xFFFF_FFFF)

_COLUMN, _CODE = "value", "code"
# Compared as text, which is as exact.
_WORDED = (pl.Categorical, pl.Enum, pl.Decimal, pl.Int128, pl.UInt128, pl.Null)


class Dictionary:
    """Sorted distinct values, by which `codes` finds the code of each of many values at once."""

    def __init__(self, values: pa.Array) -> None:
        self._values = values

    @classmethod
    def build(cls, column: pl.Series, path: Path) -> Array:
        """Write the distinct values of a `comparable` column to `path`; returns each row's code (uint32)."""
        column = column.alias(_COLUMN)
        distinct = column.drop_nulls().unique().sort().to_frame()
        values = _arrow(distinct[_COLUMN])
        with pa.ipc.new_file(str(path), pa.schema([(_COLUMN, values.type)])) as file:
            file.write_batch(pa.record_batch([values], [_COLUMN]))
        coded = distinct.with_columns(pl.int_range(pl.len(), dtype=pl.UInt32).alias(_CODE))
        joined = column.to_frame().join(coded, on=_COLUMN, how="left", maintain_order="left")
        return joined[_CODE].fill_null(int(MISSING)).to_numpy()

    @classmethod
    def open(cls, path: Path) -> Dictionary:
        """Those of a file, of which no more is read than is looked at."""
        return cls(pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0).column(0))

    def __len__(self) -> int:
        return len(self._values)

    def codes(self, column: pl.Series) -> Array:
        """The code (uint32) of each value of a `comparable` column."""
        if not len(self):
            return np.full(len(column), MISSING)
        wanted = _arrow(column)
        places = np.minimum(pc.search_sorted(self._values, wanted).fill_null(0).to_numpy(), len(self) - 1)
        found = pc.equal(self._values.take(pa.array(places)), wanted).fill_null(False)
        return np.where(found.to_numpy(zero_copy_only=False), places, MISSING).astype(np.uint32)


def comparable(key: pl.Expr, name: str, kind: pl.DataType) -> pl.Expr:
    """Key `name` of type `kind` as what is sorted and searched for exactly: DeclarationError where it cannot be."""
    if kind.is_nested() or kind == pl.Object:
        raise DeclarationError(f"key {name!r} is {kind}, by which nothing can be looked up; take its parts as keys.")
    if isinstance(kind, _WORDED):
        return key.cast(pl.String)
    return key.to_physical() if kind.is_temporal() else key


def _arrow(column: pl.Series) -> pa.Array:
    if column.dtype == pl.Float16:
        column = column.cast(pl.Float32)
    return column.to_arrow(compat_level=pl.CompatLevel.oldest())
