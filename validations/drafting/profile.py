"""What is true of a table's columns, counted in a few streaming passes: what a suite can be drafted from.

One pass counts everything; others follow only where they are needed: the values of columns that have few, what is
missing in each part, whether keys are unique, shapes of text. No pass holds the rows. All that is told is exact, so
that the same rows always tell the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from lineage.batches import panics_as_errors
from validations.drafting.shapes import find_shapes
from validations.exact import exact

# Of columns with more values than this nobody reads a list.
MOST_VALUES = 100
# A sketch of distinct values is off by some percent: so much more may be asked for exactly, never less.
_MARGIN = 1.2
# Hashes of rows that one pass looks at when it proves that no two are equal.
_HASHES_AT_ONCE = 16_000_000
# Fewer values than this prove no shape and no uniqueness that the table does not declare.
_EVIDENCE = 20


@dataclass(frozen=True)
class Column:
    """A column's profile; null and NaN are both missing.

    `least_known` is the smallest share of values known, as (known, rows), among the parts of the table. `minimum` and
    `maximum` are None where nothing is known or the type has no order. `values` are all values, sorted, where they
    are few. `shape` is a regular expression that all values match.
    """

    name: str
    dtype: pl.DataType
    rows: int
    missing: int
    least_known: tuple[int, int]
    minimum: Any = None
    maximum: Any = None
    values: tuple[Any, ...] | None = None
    unique: bool = False
    shape: str | None = None

    @property
    def known(self) -> int:
        """How many values there are."""
        return self.rows - self.missing


@dataclass(frozen=True)
class Profile:
    """A table's number of rows, its columns in their order, and which of the keys asked for is unique."""

    rows: int
    columns: tuple[Column, ...]
    unique_keys: tuple[tuple[str, ...], ...] = field(default=())


def profile(parts: Sequence[pl.LazyFrame], keys: Sequence[tuple[str, ...]] = ()) -> Profile:
    """The profile of a table whose rows are those of `parts`, such as its months.

    `keys` are names of columns that may identify a row together. Raises what Polars raises of files that it
    cannot read.
    """
    frame = parts[0] if len(parts) == 1 else pl.concat(parts)
    schema = frame.collect_schema()
    table = frame.select(_plain(name, kind) for name, kind in schema.items())
    with panics_as_errors():
        columns, sketched = _count(table, schema)
        rows = columns[0].rows if columns else 0
        columns = _with_values(table, columns, sketched)
        columns = _with_least_known(parts, columns)
        asked = [key for key in keys if set(key) <= set(schema)]
        alone = [(item.name,) for item in columns if _may_be_unique(item, sketched.get(item.name, 0))]
        unique = _unique(table, list(dict.fromkeys([*asked, *alone])), rows)
        columns = [replace(item, unique=(item.name,) in unique) for item in columns]
        shapes = find_shapes(table, {item.name: (item.minimum, item.maximum) for item in columns if _is_text(item)})
    columns = [replace(item, shape=shapes.get(item.name)) for item in columns]
    return Profile(rows, tuple(columns), tuple(key for key in asked if key in unique))


def _plain(name: str, kind: pl.DataType) -> pl.Expr:
    """A column as it is profiled: categories are text, and NaN is missing as null is."""
    column = exact(name)
    if isinstance(kind, pl.Categorical | pl.Enum):
        return column.cast(pl.String)
    return column.fill_nan(None) if kind.is_float() else column


def _count(table: pl.LazyFrame, schema: pl.Schema) -> tuple[list[Column], dict[str, int]]:
    """Counts, bounds, and about how many values each column has, in one pass."""
    plain = table.collect_schema()
    expressions = [pl.len().alias("rows")]
    for at, (name, kind) in enumerate(plain.items()):
        column = exact(name)
        expressions.append(column.null_count().alias(f"{at} missing"))
        if _has_order(kind):
            expressions += [column.min().alias(f"{at} min"), column.max().alias(f"{at} max")]
            expressions.append(column.approx_n_unique().alias(f"{at} distinct"))
    found = table.select(expressions).collect(engine="streaming").row(0, named=True)
    rows, columns, sketched = found["rows"], [], {}
    for at, (name, kind) in enumerate(schema.items()):
        missing = found[f"{at} missing"]
        bounds = (found.get(f"{at} min"), found.get(f"{at} max"))
        columns.append(Column(name, kind, rows, missing, (rows - missing, rows), *bounds))
        if _has_order(plain[name]):
            sketched[name] = found[f"{at} distinct"]
    return columns, sketched


def _has_order(kind: pl.DataType) -> bool:
    return not (kind.is_nested() or kind in (pl.Null, pl.Object, pl.Unknown))


def _with_values(table: pl.LazyFrame, columns: list[Column], sketched: dict[str, int]) -> list[Column]:
    """With all values of the columns that have at most MOST_VALUES."""
    few = [name for name, count in sketched.items() if count <= MOST_VALUES * _MARGIN]
    if not few:
        return columns
    lists = table.select(exact(name).drop_nulls().unique().sort().implode() for name in few)
    found = lists.collect(engine="streaming").row(0, named=True)
    values = {name: tuple(items) for name, items in found.items() if len(items) <= MOST_VALUES}
    return [replace(item, values=values.get(item.name)) for item in columns]


def _with_least_known(parts: Sequence[pl.LazyFrame], columns: list[Column]) -> list[Column]:
    """With the smallest share known in any part: a suite sees one part at a time."""
    lacking = [item for item in columns if item.missing]
    if len(parts) == 1 or not lacking:
        return columns
    counts = [pl.len().alias("\0rows"), *(_plain(item.name, item.dtype).count() for item in lacking)]
    frames = pl.collect_all([part.select(counts) for part in parts], engine="streaming")
    by_part = [frame.row(0, named=True) for frame in frames]
    filled = [found for found in by_part if found["\0rows"]]

    def least(item: Column) -> tuple[int, int]:
        found = min(filled, key=lambda one: one[item.name] / one["\0rows"])
        return found[item.name], found["\0rows"]

    return [replace(item, least_known=least(item)) if item.missing else item for item in columns]


def _may_be_unique(column: Column, sketched: int) -> bool:
    identifies = column.dtype.is_integer() or column.dtype.is_temporal() or column.dtype == pl.String
    return (
        identifies and not column.missing and column.rows >= _EVIDENCE and sketched * _MARGIN * _MARGIN >= column.rows
    )


def _unique(table: pl.LazyFrame, keys: list[tuple[str, ...]], rows: int) -> set[tuple[str, ...]]:
    """Those of `keys` of which no two rows have the same.

    Hashes are compared, which are small: where no two of them are equal, no two keys are. They are looked at in
    as many classes as it takes to hold one class at a time.
    """
    classes = -(-rows // _HASHES_AT_ONCE)
    return {key for key in keys if all(_differ(table, key, classes, number) for number in range(classes))}


def _differ(table: pl.LazyFrame, key: tuple[str, ...], classes: int, number: int) -> bool:
    """Whether all hashes of one class differ."""
    hashes = table.select((exact(key[0]) if len(key) == 1 else pl.struct(map(exact, key))).hash().alias("hash"))
    if classes > 1:
        hashes = hashes.filter(pl.col("hash") % classes == number)
    ordered = hashes.collect(engine="streaming").to_series().sort()
    return not (ordered == ordered.shift(1)).any()


def _is_text(column: Column) -> bool:
    """Whether a shape of the column's values would say something."""
    return (
        column.dtype == pl.String
        and column.known >= _EVIDENCE
        and (column.values is None or len(column.values) >= _EVIDENCE)
    )
