"""Tables as files: the pinned, streaming Parquet writer, and honest reading.

What Polars leaves open is pinned here: rows in the order of the key, batches re-sliced to fixed row
groups, one compression, one writer. The same rows give the same bytes at any thread count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lineage.errors import StepFailedError

ROWS_PER_GROUP = 131_072


@dataclass(frozen=True)
class Written:
    """What a table file holds: number of rows and (column, type) pairs."""

    row_count: int
    fields: tuple[tuple[str, str], ...]


def write_table(frame: pl.LazyFrame | pl.DataFrame, path: Path, *, key: Sequence[str], keep_order: bool) -> Written:
    """Stream `frame` into a Parquet file at `path`.

    Rows are ordered by `key`, or by all columns where there is no key, unless `keep_order` says that the
    frame's own order is already total (a source's file order).
    """
    lazy = frame.lazy()
    schema = lazy.collect_schema()
    if not keep_order:
        lazy = lazy.sort(list(key) or schema.names(), nulls_last=True, maintain_order=True)
    arrow_schema = pl.DataFrame(schema=schema).to_arrow().schema
    rows = 0
    with pq.ParquetWriter(path, arrow_schema, compression="zstd", write_statistics=True) as writer:
        for group in _groups(lazy, arrow_schema):
            writer.write_table(group, row_group_size=ROWS_PER_GROUP)
            rows += group.num_rows
    return Written(rows, tuple((name, str(kind)) for name, kind in schema.items()))


def check_key(path: Path, key: Sequence[str], step: str, partition: str | None) -> None:
    """Raise StepFailedError, with an example, unless `key` is unique and never null in the file."""
    if not key:
        return
    rows = pl.scan_parquet(path).select(key)
    nulls = rows.filter(pl.any_horizontal(pl.all().is_null())).head(1).collect()
    twice = rows.group_by(key, maintain_order=True).len().filter(pl.col("len") > 1).head(1).collect()
    if len(nulls) or len(twice):
        what = (
            "is null in a row" if len(nulls) else f"is not unique: {twice.row(0)[:-1]} occurs {twice['len'][0]} times"
        )
        raise StepFailedError(f"{step}[{partition or 'all'}]: its key {'+'.join(key)} {what}.", step, partition)


def _groups(lazy: pl.LazyFrame, schema: pa.Schema) -> Iterator[pa.Table]:
    """The frame as tables of exactly ROWS_PER_GROUP rows, the last one shorter or empty."""
    pending: list[pa.Table] = []
    held = 0
    for batch in lazy.collect_batches(maintain_order=True, engine="streaming"):
        pending.append(batch.to_arrow().cast(schema))
        held += len(batch)
        while held >= ROWS_PER_GROUP:
            merged = pa.concat_tables(pending).combine_chunks()
            yield merged.slice(0, ROWS_PER_GROUP)
            pending, held = [merged.slice(ROWS_PER_GROUP)], held - ROWS_PER_GROUP
    yield pa.concat_tables(pending).combine_chunks() if pending else schema.empty_table()
