"""A step's function followed on small frames, as a run would: what it gives, and the map of its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from lineage.frame import TrackedFrame
from lineage.rows.following import follow
from lineage.rows.origins import ROWS, stored_names, write_stages
from lineage.spec import Step
from lineage.tables import write_table
from lineage.tracing.rowmap import RowMap
from lineage.versions import sha256_file

# (input, row) of each of the rows behind one.
Ids = frozenset[tuple[str, int]]


class Followed(NamedTuple):
    """A table, in the order in which the step gave it, and the map of its rows."""

    table: pl.DataFrame
    rows: RowMap
    frame: TrackedFrame

    def back(self, columns: Iterable[str] | None = None) -> list[Ids]:
        """What is behind each row."""
        behind: list[set[tuple[str, int]]] = [set() for _ in range(len(self.table))]
        for found in self.rows.back(np.arange(len(self.table)), columns):
            for place, ids in enumerate(behind):
                ids.update((found.input, int(row)) for row in found.rows.part(place))
        return list(map(frozenset, behind))


def plan(
    function: Callable[..., object], folder: Path, inputs: dict[str, pl.DataFrame], rows: str | None = None
) -> TrackedFrame:
    """The tracked frame that the function returns."""
    paths = {name: [folder / f"{name}.parquet"] for name in inputs}
    for name, frame in inputs.items():
        frame.write_parquet(paths[name][0])
    return follow(Step("shop", "made", "table", {}, "", function=function, rows=rows), paths)


def followed(
    function: Callable[..., object], folder: Path, inputs: dict[str, pl.DataFrame], rows: str | None = None
) -> Followed:
    """The function followed on these inputs, in an empty folder."""
    frame = plan(function, folder, inputs, rows)
    beside = folder / "rows"
    beside.mkdir()
    write_table(
        frame.result,
        folder / "table.parquet",
        key=(),
        keep_order=True,
        beside=stored_names(frame.ways.links),
        rows_path=beside / ROWS,
    )
    write_stages(frame.capture, frame.ways, beside)
    files = {path.name: path for path in beside.iterdir()}
    digests = {name: str(sha256_file(path)) for name, path in files.items()}
    paths = {name: [folder / f"{name}.parquet"] for name in inputs}
    rows = RowMap(files, digests, paths.__getitem__, folder / "home")
    return Followed(pl.read_parquet(folder / "table.parquet"), rows, frame)
