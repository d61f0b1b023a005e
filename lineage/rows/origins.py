"""Where the rows of a table came from, as files beside it: written with the table, read by every trace.

A folder for each partition holds `origins.json` (the links, and for each column where its values come from),
`rows.parquet` (for each row of the table the positions and ids that its links lead to, unsigned 32-bit numbers) and
a file for each stage: the rows that were grouped, sorted by group, or in the order of a window's bounds.
A position counts through the rows of the input's files one after the other, as the run that wrote the table read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lineage.rows.capture import ASKED, GROUP, HIDDEN, Capture, Link, Origins, Stage, Ways
from lineage.versions import canonical_json

DESCRIPTION = "origins.json"
ROWS = "rows.parquet"
# The first column of what rows asked of the past.
ASKER = "row"
_FORMAT = 1
# Positions are nearly sorted, or few: their differences are small.
_ENCODING = "DELTA_BINARY_PACKED"


def write_stages(capture: Capture, ways: Ways, folder: Path) -> list[Path]:
    """Compute and write the stages that a table's `ways` lead to, and the description of all; returns the files.

    `rows.parquet` is written with the table itself (`lineage.tables.write_table`).
    """
    stages = _needed(capture, ways)
    written = [path for stage in stages for path in _written(stage, folder)]
    description = {
        "format": _FORMAT,
        **_described(ways),
        "stages": {stage.name: {"kind": stage.kind, **_described(stage.ways), **_past(stage)} for stage in stages},
    }
    path = folder / DESCRIPTION
    path.write_bytes(canonical_json(description) + b"\n")
    return [*written, path]


def stored_names(links: Iterable[Link]) -> dict[str, str]:
    """Hidden columns by the names that they are stored under."""
    columns = dict.fromkeys(column for link in links for column in link.columns)
    return {column: f"link{number}" for number, column in enumerate(columns)}


def parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer of positions: the same rows give the same bytes."""
    positions = [field.name for field in schema if pa.types.is_unsigned_integer(field.type)]
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=[field.name for field in schema if field.name not in positions],
        column_encoding=dict.fromkeys(positions, _ENCODING),
        write_statistics=False,
        store_schema=True,
    )


def _needed(capture: Capture, ways: Ways) -> list[Stage]:
    """The stages that a table's ways lead to, one through the other, each with the ways that are needed of it."""
    wanted: dict[str, set[str]] = {}
    found: list[Stage] = []
    _ask(wanted, ways)
    # What a stage leads to was noted before it.
    for stage in reversed(capture.stages):
        if stage.name in wanted:
            names = stage.events_needed(wanted[stage.name]) if stage.past else wanted[stage.name]
            found.append(replace(stage, ways=stage.ways.only(names)))
            _ask(wanted, found[-1].ways)
    return found[::-1]


def _ask(wanted: dict[str, set[str]], ways: Ways) -> None:
    """Note which columns of which stages are behind `ways`."""
    for origins in (ways.rows, *ways.columns.values()):
        for link, column in origins:
            wanted.setdefault(link.to, set()).update([column] if column else [])


def _written(stage: Stage, folder: Path) -> Iterator[Path]:
    # Events that are an input as it stands are there to be read.
    if not stage.past.get("events"):
        yield _write(_members(stage), folder / f"{stage.name}.parquet")
    if stage.asked is not None:
        asked = stage.asked.rename({ASKED: ASKER}).collect(engine="streaming").sort(ASKER, maintain_order=True)
        yield _write(asked, folder / f"{stage.name}-asked.parquet")


def _members(stage: Stage) -> pl.DataFrame:
    """The rows of a stage, without links that are not needed: sorted by group, or as they stand."""
    names = stored_names(stage.ways.links)
    unneeded = [name for name in stage.plan.collect_schema() if name.startswith(HIDDEN) and name not in names]
    members = stage.plan.drop(unneeded).rename(names).collect(engine="streaming")
    return members.sort(GROUP, maintain_order=True) if stage.kind == "group" else members


def _write(frame: pl.DataFrame, path: Path) -> Path:
    table = frame.to_arrow()
    with parquet_writer(path, table.schema) as writer:
        writer.write_table(table)
    return path


def _past(stage: Stage) -> dict[str, Any]:
    return {"past": dict(stage.past)} if stage.past else {}


def _described(ways: Ways) -> dict[str, Any]:
    names = stored_names(ways.links)
    links = [{"columns": [names[column] for column in link.columns], "to": link.to} for link in ways.links]
    columns = {name: _numbered(origins, ways) for name, origins in ways.columns.items()}
    return {"links": links, "columns": columns, "rows": _numbered(ways.rows, ways)}


def _numbered(origins: Origins, ways: Ways) -> dict[str, list[str]]:
    """Origins as the columns behind each link, by its number: none where it says only that rows are there."""
    found: dict[str, list[str]] = {}
    for link, column in origins:
        found.setdefault(str(ways.links.index(link)), []).extend([column] if column else [])
    return {number: sorted(columns) for number, columns in found.items()}
