"""Which columns and rows of two Parquet files differ: by key, cell by cell, or as whole rows where there is no key.

Nothing is rounded: 0.0 and -0.0 are two values, as they are in a version's bytes; NaN is one, and equal to itself,
as null is. Both files are streamed; where they are large, one share of the keys after another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

# Rows of both files that are compared at once, which are held in memory.
_ROWS_AT_ONCE = 4_000_000

# No column of a table begins like these: what rows are paired by, their cells in a and b, and which of them differ.
_KEY, _A, _B, _DIFFERS = "\0key", "\0a", "\0b", "\0differs"
_ROW = "\0row"
_KINDS = ("only_a", "only_b", "changed", "unchanged")
_BITS: dict[pl.DataType, pl.DataType] = {
    pl.Float16(): pl.Int16(),
    pl.Float32(): pl.Int32(),
    pl.Float64(): pl.Int64(),
}


# (name, type) of each column, in their order.
Fields = Sequence[tuple[str, str]]


def changed_columns(a: Fields, b: Fields) -> dict[str, Any]:
    """How the columns of `a` became those of `b`, as plain JSON values.

    Keys: `same`, `added` and `gone` (column -> type), `retyped` (column -> types in a and b) and `reordered` (whether
    those that stayed stand in another order).
    """
    one, other = dict(a), dict(b)
    found = {
        "added": {name: kind for name, kind in b if name not in one},
        "gone": {name: kind for name, kind in a if name not in other},
        "retyped": {name: [kind, other[name]] for name, kind in a if other.get(name, kind) != kind},
        "reordered": [name for name in one if name in other] != [name for name in other if name in one],
    }
    return {"same": not any(found.values()), **found}


def changed_rows(
    a: Path, b: Path, key: Sequence[str] | None, *, examples: int = 10, rows_at_once: int = _ROWS_AT_ONCE
) -> dict[str, Any]:
    """How the rows of Parquet file `a` became those of `b`, as plain JSON values.

    Rows are paired by the columns of `key`; where it is None by their positions.

    Keys: `key` (the columns that rows are paired by; empty where whole rows are compared: no key, a column of it that
    one file lacks, or one that is not unique), `counts` (rows of a and of b), `only_a`, `only_b`, `changed` and
    `unchanged` (numbers of rows), `cells` (column -> in how many rows it changed), `uncompared` (columns whose types
    have nothing in common) and `examples` of the first three kinds, in the order of the rows: `key` (the whole row
    where there is none), `rows` (positions in a and b, None where it is not) and, of changed ones, `cells` (column ->
    values in a and b).
    """
    pair = _Pair(pl.scan_parquet(a), pl.scan_parquet(b))
    paired = _usable(pair, key)
    numbers, listed = dict.fromkeys(_KINDS, 0), []
    cells: dict[str, int] = {}
    for part in _parts(pair, paired, rows_at_once):
        counted = part.numbers()
        for kind in _KINDS:
            numbers[kind] += counted[kind]
        for column in part.cells:
            cells[column] = cells.get(column, 0) + counted[_DIFFERS + column]
        shown = [kind for kind in _KINDS[:3] if examples and counted[kind]]
        listed += [(kind, row) for kind in shown for row in part.examples(kind, examples)]
    return {
        "key": list(paired or ()),
        "counts": pair.counts,
        **numbers,
        "cells": {column: number for column, number in cells.items() if number},
        "uncompared": [name for name in pair.common if name not in pair.columns],
        "examples": {kind: _first(listed, kind, examples) for kind in _KINDS[:3]},
    }


def first_changed(
    a: Path, b: Path, key: Sequence[str] | None, cells: Sequence[str], *, rows_at_once: int = _ROWS_AT_ONCE
) -> list[dict[str, Any]]:
    """Examples, as of `changed_rows`, among which is the first changed row of each of these `cells`.

    `key` is the one by which that has paired the rows, or None.
    """
    if not cells:
        return []
    pair = _Pair(pl.scan_parquet(a), pl.scan_parquet(b))
    return [row for part in _parts(pair, key, rows_at_once) for row in part.firsts(cells)]


def changed_nans(a: Path, b: Path) -> list[str]:
    """Of two files whose rows are the same, in the same order, the columns in which a NaN has other bits."""
    schema = pl.read_parquet_schema(a)
    floats = {name: _BITS[kind] for name, kind in schema.items() if kind in _BITS}
    return [
        name
        for name, bits in floats.items()
        if not _column(a, name).reinterpret(dtype=bits).equals(_column(b, name).reinterpret(dtype=bits))
    ]


def _column(path: Path, name: str) -> pl.Series:
    return pl.read_parquet(path, columns=[name])[name]


def plain(value: Any) -> Any:
    """A cell as a JSON value: what JSON has no form for as text."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    is_json = value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    return value if is_json else str(value)


@dataclass(frozen=True)
class _Pair:
    """Two files of a table, and how the columns that both have are compared."""

    a: pl.LazyFrame
    b: pl.LazyFrame

    @property
    def frames(self) -> tuple[pl.LazyFrame, pl.LazyFrame]:
        return self.a, self.b

    @cached_property
    def schemas(self) -> tuple[pl.Schema, pl.Schema]:
        return self.a.collect_schema(), self.b.collect_schema()

    @cached_property
    def counts(self) -> list[int]:
        """Rows of a and of b."""
        return [_count(frame) for frame in self.frames]

    @cached_property
    def common(self) -> list[str]:
        return [name for name in self.schemas[0] if name in self.schemas[1]]

    @cached_property
    def columns(self) -> list[str]:
        """The columns that can be compared."""
        return [name for name in self.common if self._shared_type(name) is not None]

    def value(self, name: str, prefix: str = "") -> pl.Expr:
        """Column `name` of either file as it is compared: of the type that both share, floats as their bits."""
        kind = self._shared_type(name)
        assert kind is not None
        column = pl.col(prefix + name).cast(kind)
        if kind not in _BITS:
            return column
        one = pl.when(column.is_nan()).then(pl.lit(math.nan, dtype=kind)).otherwise(column)
        return one.reinterpret(dtype=_BITS[kind])

    def _shared_type(self, name: str) -> pl.DataType | None:
        """A type that holds the values of both; None where there is none."""
        a, b = (schema[name] for schema in self.schemas)
        if a == b:
            return a
        if a.is_numeric() and b.is_numeric():
            return pl.Int128() if a.is_integer() and b.is_integer() else pl.Float64()
        if any(kind.is_nested() or kind in (pl.Binary(), pl.Object()) for kind in (a, b)):
            return None
        return pl.String()


@dataclass(frozen=True)
class _Part:
    """Some rows of both files, paired: each with its number of `copies` in a and b, and which `cells` differ.

    `shown` are the columns that an example shows, those of a key or all: read from `files` where they are not here.
    """

    frame: pl.LazyFrame
    shown: Sequence[str]
    cells: Sequence[str]
    files: _Pair | None = None

    def numbers(self) -> dict[str, int]:
        """Rows of each kind, and in how many each cell differs."""
        a, b = pl.col(_A), pl.col(_B)
        only_a, only_b = ((one - other).clip(lower_bound=0).sum() for one, other in ((a, b), (b, a)))
        changed = self._changed.sum()
        counts = [only_a, only_b, changed, pl.min_horizontal(a, b).sum() - changed]
        wanted = [count.alias(kind) for kind, count in zip(_KINDS, counts, strict=True)]
        found = self.frame.select(*wanted, *(pl.col(_DIFFERS + cell).sum() for cell in self.cells))
        return {name: number or 0 for name, number in found.collect(engine="streaming").row(0, named=True).items()}

    def examples(self, kind: str, count: int) -> list[dict[str, Any]]:
        """The first rows of a kind."""
        wanted = {"only_a": pl.col(_A) > pl.col(_B), "only_b": pl.col(_B) > pl.col(_A), "changed": self._changed}[kind]
        side = _B if kind == "only_b" else _A
        found = self.frame.filter(wanted).sort(side + _ROW).head(count).collect(engine="streaming")
        if self.files:
            found = found.join(_rows(self.files, side, found[side + _ROW]), on=side + _ROW, maintain_order="left")
        return [self._example(item, kind) for item in found.iter_rows(named=True)]

    def firsts(self, cells: Sequence[str]) -> list[dict[str, Any]]:
        """The first changed row of each of these cells."""
        row = pl.col(_A + _ROW)
        first = self.frame.select(row.filter(pl.col(_DIFFERS + cell)).min().alias(cell) for cell in cells)
        wanted = {place for place in first.collect(engine="streaming").row(0) if place is not None}
        found = self.frame.filter(row.is_in(sorted(wanted))).sort(_A + _ROW).collect(engine="streaming")
        return [self._example(item, "changed") for item in found.iter_rows(named=True)]

    @property
    def _changed(self) -> pl.Expr:
        return pl.any_horizontal([pl.col(_DIFFERS + cell) for cell in self.cells] or [pl.lit(value=False)])

    def _example(self, row: dict[str, Any], kind: str) -> dict[str, Any]:
        side = _B if kind == "only_b" else _A
        found = {
            "key": {name: plain(row[side + name]) for name in self.shown},
            "rows": [row[_A + _ROW], row[_B + _ROW]],
        }
        if kind == "changed":
            differing = [cell for cell in self.cells if row[_DIFFERS + cell]]
            found["cells"] = {cell: [plain(row[_A + cell]), plain(row[_B + cell])] for cell in differing}
        return found


def _rows(files: _Pair, side: str, positions: pl.Series) -> pl.DataFrame:
    """The rows of one file at these positions, their columns named as a part names them."""
    frame = files.a if side == _A else files.b
    numbered = frame.select(pl.col(name).alias(side + name) for name in files.columns).with_row_index(side + _ROW)
    return numbered.filter(pl.col(side + _ROW).is_in(positions.implode())).collect(engine="streaming")


def _count(frame: pl.LazyFrame) -> int:
    return int(frame.select(pl.len()).collect(engine="streaming").item())


def _usable(pair: _Pair, key: Sequence[str] | None) -> Sequence[str] | None:
    """The key, if both files have it and it is unique in both."""
    return key if key is None or (key and set(key) <= set(pair.columns) and _is_unique(pair, key)) else ()


def _parts(pair: _Pair, key: Sequence[str] | None, rows_at_once: int) -> Iterator[_Part]:
    is_paired = key is None or len(key) > 0
    # A group holds all columns of a row, and more than once.
    shares = max(1, -(-sum(pair.counts) * (1 if is_paired else 4) // rows_at_once))
    return _by_key(pair, key, shares) if is_paired else _by_row(pair, shares)


def _is_unique(pair: _Pair, key: Sequence[str]) -> bool:
    """Whether no key is there twice in either file: an earlier version may have been written by another key."""
    return not any(
        _count(frame.group_by(pair.value(name) for name in key).agg(pl.len().alias(_ROW)).filter(pl.col(_ROW) > 1))
        for frame in pair.frames
    )


def _first(listed: list[tuple[str, dict[str, Any]]], kind: str, count: int) -> list[dict[str, Any]]:
    """The first examples of a kind, where each part had its own."""
    side = 1 if kind == "only_b" else 0
    found = (row for name, row in listed if name == kind)
    return sorted(found, key=lambda row: row["rows"][side])[:count]


def _shares(frame: pl.LazyFrame, columns: Sequence[str], shares: int) -> Iterator[pl.LazyFrame]:
    """The frame in parts; rows of equal values in `columns` are in the same one."""
    for share in range(shares):
        yield frame if shares == 1 else frame.filter(pl.struct(columns).hash() % shares == share)


def _by_key(pair: _Pair, key: Sequence[str] | None, shares: int) -> Iterator[_Part]:
    """Rows of both files side by side where their keys, or positions, are the same, else alone."""
    shown = key or ()
    cells = [name for name in pair.columns if name not in shown]
    names = [f"{_KEY}{name}" for name in shown] or [_KEY]
    sides = []
    for frame, side in zip(pair.frames, (_A, _B), strict=True):
        keys = [pair.value(name).alias(_KEY + name) for name in shown]
        values = [pl.col(name).alias(side + name) for name in pair.columns]
        numbered = frame.select(*keys, *values, pl.lit(1).alias(side)).with_row_index(side + _ROW)
        sides.append(numbered if keys else numbered.with_columns(pl.col(side + _ROW).alias(_KEY)))
    both = pl.col(_A).is_not_null() & pl.col(_B).is_not_null()
    differs = [(both & pair.value(name, _A).ne_missing(pair.value(name, _B))).alias(_DIFFERS + name) for name in cells]
    for a, b in zip(*(_shares(side, names, shares) for side in sides), strict=True):
        joined = a.join(b, on=names, how="full", nulls_equal=True).with_columns(*differs)
        yield _Part(joined.with_columns(pl.col(_A, _B).fill_null(0)), shown, cells)


def _by_row(pair: _Pair, shares: int) -> Iterator[_Part]:
    """Equal rows of both files, counted."""
    names = [f"{_KEY}{name}" for name in pair.columns]
    sides = []
    for frame, side, other in zip(pair.frames, (_A, _B), (_B, _A), strict=True):
        values = [pair.value(name).alias(_KEY + name) for name in pair.columns]
        copies = [pl.lit(1).alias(side), pl.lit(0).alias(other)]
        sides.append(frame.with_row_index(side + _ROW).select(pl.col(side + _ROW), *values, *copies))
    whole = pl.concat(sides, how="diagonal")
    if not names:
        # Nothing to tell rows apart by: they are all of one file or of the other.
        yield _Part(whole, (), ())
        return
    for part in _shares(whole, names, shares):
        grouped = part.group_by(names).agg(pl.col(_A + _ROW, _B + _ROW).min(), pl.col(_A, _B).sum())
        # What an example shows is read again: held for every row it would be all of both files.
        yield _Part(grouped.drop(names), pair.columns, (), pair)
