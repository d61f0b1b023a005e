"""Tables as files: the pinned, streaming Parquet writer, and honest reading.

What Polars leaves open is pinned here: rows in the order of the key, batches re-sliced to fixed row
groups, one compression, one writer. The same rows give the same bytes at any thread count. Which rows a step gives,
down to the bits of its sums, is pinned by its tracked frames (`lineage.rows.pinning`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lineage.batches import batches
from lineage.errors import StepFailedError
from lineage.quarantine import COLUMNS, Screen
from lineage.rows.origins import parquet_writer
from lineage.versions import Version, digest_file

ROWS_PER_GROUP = 131_072

# A column of our own among those of a key.
_COUNT = "\0count"
# Characters of a value that a message quotes.
_LONGEST = 80


@dataclass(frozen=True)
class Written:
    """What a table file holds: number of rows and (column, type) pairs."""

    row_count: int
    fields: tuple[tuple[str, str], ...]


def write_table(
    frame: pl.LazyFrame | pl.DataFrame,
    path: Path,
    *,
    key: Sequence[str],
    keep_order: bool,
    beside: Mapping[str, str] | None = None,
    rows_path: Path | None = None,
) -> Written:
    """Stream `frame` into a Parquet file at `path`.

    Rows are ordered by `key`, or by all columns where there is no key, unless `keep_order` says that the
    frame's own order is already total (a source's file order). The columns of `beside`, positions of where the rows
    came from, go into a file of their own at `rows_path`, under the names that it gives them.
    """
    lazy, hidden = frame.lazy(), dict(beside or {})
    schema = pl.Schema({name: kind for name, kind in lazy.collect_schema().items() if name not in hidden})
    arrow_schema = _arrow_schema(schema)
    positions = pa.schema([(name, pa.uint32()) for name in hidden])
    if unknown := [name for name in key if name not in schema]:
        raise ValueError(f"its key names column {unknown[0]!r}; the frame has {', '.join(schema)}")
    if not keep_order:
        lazy = lazy.sort(list(key) or _total_order(schema), nulls_last=True, maintain_order=True)
    rows = 0
    with ExitStack() as open_files:
        writer = open_files.enter_context(
            pq.ParquetWriter(path, arrow_schema, compression="zstd", write_statistics=True)
        )
        row_writer = rows_path and open_files.enter_context(
            parquet_writer(rows_path, pa.schema([(name, pa.uint32()) for name in hidden.values()]))
        )
        for group in _groups(lazy.select(*schema, *hidden), pa.schema([*arrow_schema, *positions])):
            writer.write_table(group.select(list(schema)), row_group_size=ROWS_PER_GROUP)
            if row_writer:
                row_writer.write_table(group.select(list(hidden)).rename_columns(hidden), row_group_size=ROWS_PER_GROUP)
            rows += group.num_rows
    return Written(rows, tuple((name, str(kind)) for name, kind in schema.items()))


def write_parted(
    frame: pl.LazyFrame,
    paths: tuple[Path, Path],
    rows_paths: tuple[Path, Path],
    *,
    screen: Screen,
    key: Sequence[str],
    keep_order: bool,
    beside: Mapping[str, str],
) -> tuple[Written, Written]:
    """Stream `frame` in one pass into two Parquet files: the rows that hold the rules of `screen`, and those put aside.

    Order, bytes and `beside` are as of `write_table`, each table's columns of `beside` go into its own of `rows_paths`.
    """
    kinds = frame.collect_schema()
    schema = pl.Schema({name: kind for name, kind in kinds.items() if name not in beside})
    schemas = schema, pl.Schema({**schema, **COLUMNS})
    if taken := [name for name in COLUMNS if name in schema]:
        raise ValueError(f"its column {taken[0]!r} is called as one of its quarantine; rename it")
    if unknown := [name for name in key if name not in schema]:
        raise ValueError(f"its key names column {unknown[0]!r}; the frame has {', '.join(schema)}")
    ordered = frame if keep_order else _ordered(frame, key, schema)
    with ExitStack() as held:
        kept, aside = (
            _Sink(held, path, rows_path, _arrow_schema(each), beside)
            for path, rows_path, each in zip(paths, rows_paths, schemas, strict=True)
        )
        for batch in batches(ordered.select(*schema, *beside)):
            for sink, part in zip((kept, aside), screen.part(batch), strict=True):
                sink.add(part)
        kept.finish()
        aside.finish()
    return tuple(  # type: ignore[return-value]
        Written(sink.rows, tuple((name, str(kind)) for name, kind in each.items()))
        for sink, each in zip((kept, aside), schemas, strict=True)
    )


def _ordered(frame: pl.LazyFrame, key: Sequence[str], schema: pl.Schema) -> pl.LazyFrame:
    return frame.sort(list(key) or _total_order(schema), nulls_last=True, maintain_order=True)


@dataclass
class _Sink:
    """A table's file and that of where its rows came from, written in groups of exactly ROWS_PER_GROUP rows."""

    held: ExitStack
    path: Path
    rows_path: Path
    schema: pa.Schema
    beside: Mapping[str, str]
    rows: int = 0
    _pending: list[pa.Table] = field(default_factory=list)
    _waiting: int = 0

    def __post_init__(self) -> None:
        writer = pq.ParquetWriter(self.path, self.schema, compression="zstd", write_statistics=True)
        positions = pa.schema([(name, pa.uint32()) for name in self.beside.values()])
        self._writer = self.held.enter_context(writer)
        self._row_writer = self.held.enter_context(parquet_writer(self.rows_path, positions))
        self._both = pa.schema([*self.schema, *((name, pa.uint32()) for name in self.beside)])

    def add(self, part: pl.DataFrame) -> None:
        """Rows, with the columns of `beside`."""
        if part.height:
            self._pending.append(part.select(self._both.names).to_arrow().cast(self._both))
            self._waiting += part.height
        while self._waiting >= ROWS_PER_GROUP:
            merged = pa.concat_tables(self._pending).combine_chunks()
            self._write(merged.slice(0, ROWS_PER_GROUP))
            self._pending, self._waiting = [merged.slice(ROWS_PER_GROUP)], self._waiting - ROWS_PER_GROUP

    def finish(self) -> None:
        """Write what is left; of no rows at all an empty group."""
        if self._waiting or not self.rows:
            empty = pa.Table.from_batches([], self._both)
            self._write(pa.concat_tables([empty, *self._pending]).combine_chunks())

    def _write(self, group: pa.Table) -> None:
        self._writer.write_table(group.select(self.schema.names), row_group_size=ROWS_PER_GROUP)
        rows = group.select(list(self.beside)).rename_columns(self.beside)
        self._row_writer.write_table(rows, row_group_size=ROWS_PER_GROUP)
        self.rows += group.num_rows


def check_key(path: Path, key: Sequence[str], step: str, partition: str | None) -> None:
    """Raise StepFailedError, with an example, unless `key` is unique and never null in the file."""
    if not key:
        return
    rows = pl.scan_parquet(path).select(key)
    nulls = rows.with_row_index(_COUNT).filter(pl.any_horizontal(pl.col(*key).is_null())).head(1).collect()
    twice = rows.group_by(key, maintain_order=True).agg(pl.len().alias(_COUNT)).filter(pl.col(_COUNT) > 1).head(1)
    place = f"{step}[{partition}]" if partition else step
    if len(nulls):
        found = nulls.row(0, named=True)
        what = f"is null in row {found.pop(_COUNT)} as they are stored: {_example(found)}; filter such rows or fill it"
        raise StepFailedError(f"{place}: its key {'+'.join(key)} {what}.", step, partition)
    if len(again := twice.collect()):
        found = again.row(0, named=True)
        what = f"is not unique: {found.pop(_COUNT)} rows have {_example(found)}; add a column to it or deduplicate"
        raise StepFailedError(f"{place}: its key {'+'.join(key)} {what}.", step, partition)


def table_path(dataset: str, partition: str) -> str:
    """Where a table's partition stands, relative to the root."""
    return f"data/tables/{dataset}/{partition or 'all'}.parquet"


def rows_folder(dataset: str, partition: str) -> str:
    """The name of the folder of files that say where the rows of a table's partition came from."""
    return f"data/rows/{dataset}/{partition or 'all'}"


def table_version(dataset: str, partition: str, path: Path, written: Written) -> Version:
    """The version of a table's partition whose file lies at `path`."""
    file = digest_file(path, table_path(dataset, partition))
    return Version(dataset, partition, file.sha256, (file,), row_count=written.row_count, fields=written.fields)


def _example(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={repr(value)[:_LONGEST]}" for name, value in row.items())


def _total_order(schema: pl.Schema) -> list[pl.Expr]:
    """All columns, and the bits of floats: 0.0 and -0.0 are equal but not the same bytes."""
    bits: dict[pl.DataType, pl.DataType] = {
        pl.Float16(): pl.Int16(),
        pl.Float32(): pl.Int32(),
        pl.Float64(): pl.Int64(),
    }
    columns = [pl.col(name) for name in schema]
    return columns + [pl.col(name).reinterpret(dtype=bits[kind]) for name, kind in schema.items() if kind in bits]


def _arrow_schema(schema: pl.Schema) -> pa.Schema:
    """The schema of the file; TypeError naming the column whose type has no place in a Parquet file."""
    if not schema:
        raise TypeError("the frame has no columns")
    for name, kind in schema.items():
        # Polars would write an Object's address.
        if any(inner in (pl.Object, pl.Int128, pl.UInt128) for inner in _types(kind)):
            raise TypeError(f"column {name!r} is of type {kind}, which a Parquet file cannot hold; cast it")
    return pl.DataFrame(schema=schema).to_arrow().schema


def _types(kind: pl.DataType) -> Iterator[pl.DataType]:
    yield kind
    inner = [field.dtype for field in kind.fields] if isinstance(kind, pl.Struct) else [getattr(kind, "inner", None)]
    for item in inner:
        if isinstance(item, pl.DataType):
            yield from _types(item)


def _groups(lazy: pl.LazyFrame, schema: pa.Schema) -> Iterator[pa.Table]:
    """The frame as tables of exactly ROWS_PER_GROUP rows, the last one shorter or empty."""
    pending: list[pa.Table] = []
    held = 0
    for batch in batches(lazy):
        pending.append(batch.to_arrow().cast(schema))
        held += len(batch)
        while held >= ROWS_PER_GROUP:
            merged = pa.concat_tables(pending).combine_chunks()
            yield merged.slice(0, ROWS_PER_GROUP)
            pending, held = [merged.slice(ROWS_PER_GROUP)], held - ROWS_PER_GROUP
    if held or not pending:
        yield pa.concat_tables([pa.Table.from_batches([], schema), *pending]).combine_chunks()
