"""The exclusion ledger: why rows of a step's inputs reached no row of its table.

Which rows are missing is what the origins of the table's rows leave over (`lineage.tracing.rowmap`); what dropped them
is what the run has written of it beside the table (`lineage.rows.reasons`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lineage.errors import IntegrityError, NotFoundError
from lineage.gc import fate
from lineage.names import dotted, find_version
from lineage.plan import Workspace
from lineage.quarantine import is_quarantine, table_of
from lineage.rows.reasons import DROPPED, FORMAT, REASONS, Reason
from lineage.tracing.ancestry import Origin
from lineage.tracing.ranges import ranges
from lineage.tracing.tracer import Tracer, extents
from lineage.versions import FileVersion, Version


@dataclass(frozen=True)
class Exclusion:
    """Rows of one version that a step read and that reached no row of its table, for one reason.

    `how` is filter, join, dedup, slice, window, quarantine or unmatched; `text` is the predicate, the expectation or
    the like; `rows` are int64, ascending.
    """

    input: str
    version: Version
    how: str
    text: str
    rows: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the rows as ranges."""
        return {"how": self.how, "reason": self.text, "count": len(self.rows), "ranges": ranges(self.rows)}


@dataclass(frozen=True)
class Balance:
    """What became of the rows of one version that a step read: rows = reached + those excluded."""

    input: str
    version: Version
    rows: int
    reached: int
    excluded: tuple[Exclusion, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "input": self.input,
            "dataset": self.version.dataset,
            "partition": self.version.partition,
            "version": self.version.sha256,
            "rows": self.rows,
            "reached": self.reached,
            "excluded": [item.to_json() for item in self.excluded],
        }


def ledger(tracer: Tracer, name: str) -> dict[str, Any]:
    """What became of the rows that went into a table, as plain JSON values.

    `name` is a table's partition, `flights.features[2013-03]`, or a version of it. Keys: dataset, partition, version,
    rows, inputs (input, dataset, partition, version, rows, reached, excluded: how, reason, count, ranges). Raises what
    `balances` does, and NotFoundError for a name that nothing answers to.
    """
    version = find_version(tracer.space, name).version
    inputs = [item.to_json() for item in balances(tracer, version)]
    return {
        "dataset": version.dataset,
        "partition": version.partition,
        "version": version.sha256,
        "rows": version.row_count,
        "inputs": inputs,
    }


def balances(tracer: Tracer, version: Version) -> list[Balance]:
    """What became of every row that the run of a table's version read, version by version of its inputs.

    Raises NotFoundError for what is no table, and where its run has left no record of rows; IntegrityError where the
    record's bytes are gone.
    """
    origin = tracer.origin(version, None)
    _require_table(origin)
    notes = Notes.of(tracer.space, origin)
    return [balance for name in extents(origin) for balance in _of_input(tracer, origin, notes, name)]


def reasons(tracer: Tracer, origin: Origin, name: str, rows: np.ndarray) -> list[tuple[Reason, np.ndarray]]:
    """Why each of `rows` (positions through all files of input `name`, none of which reached the table) did not: each
    reason with its rows."""
    return Notes.of(tracer.space, origin).reasons(name, rows)


def _of_input(tracer: Tracer, origin: Origin, notes: Notes, name: str) -> Iterator[Balance]:
    versions = extents(origin)[name]
    reached = tracer.row_map(origin).reached(name, versions[-1][2])
    found = notes.reasons(name, np.flatnonzero(~reached))
    for version, begin, end in versions:
        excluded = tuple(
            Exclusion(name, version, reason["how"], reason["text"], inside - begin)
            for reason, rows in found
            if len(inside := rows[(rows >= begin) & (rows < end)])
        )
        yield Balance(name, version, end - begin, int(reached[begin:end].sum()), excluded)


def _require_table(origin: Origin) -> None:
    version = origin.version
    name = dotted(version.dataset, version.partition)
    if version.row_count is None and origin.inputs:
        raise NotFoundError(
            f"{name} is a model: it reads its table whole, and its split says which rows it learns from. Ask for "
            f"{dotted(origin.inputs[0][1].dataset)}."
        )
    if is_quarantine(version.dataset):
        table = dotted(table_of(version.dataset), version.partition)
        raise NotFoundError(f"{name} holds the rows that the checks of {table} put aside; ask for that.")
    if version.row_count is None or not origin.inputs or (origin.is_source and not origin.lineage):
        raise NotFoundError(
            f"{name} drops nothing: each record of a source's file is a row of it. Ask for a table that reads it."
        )


@dataclass(frozen=True)
class Notes:
    """What a run has left beside its table on what dropped rows: by input what may have (cuts, by_one, otherwise), and
    the file of the rows that each operation dropped, where that had to be worked out."""

    inputs: Mapping[str, Any]
    dropped: Path | None

    @classmethod
    def of(cls, space: Workspace, origin: Origin) -> Notes:
        """The notes of the run of `origin`; NotFoundError if there are none, IntegrityError if their bytes are gone."""
        name = dotted(origin.version.dataset, origin.version.partition)
        paths = {}
        for file in origin.lineage:
            kind = file.path.rpartition("/")[2]
            if kind in (REASONS, DROPPED):
                paths[kind] = _located(space, file, name)
        found = cls.read(paths) if REASONS in paths else None
        if found is None:
            step = str(origin.run["step"]) if origin.run else name
            message = f"Nothing is on record of which rows {name} left out: it was made before that was kept"
            raise NotFoundError(f"{message}. Run `headwater run {step}`.")
        return found

    @classmethod
    def read(cls, paths: Mapping[str, Path]) -> Notes | None:
        """The notes in these files, by name; None if they are of another format."""
        said = json.loads(paths[REASONS].read_bytes())
        return cls(said["inputs"], paths.get(DROPPED)) if said.get("format") == FORMAT else None

    def reasons(self, name: str, missing: np.ndarray) -> list[tuple[Reason, np.ndarray]]:
        """The missing rows of an input by what dropped them, in the order in which that was done."""
        said = self.inputs[name]
        cuts: Sequence[Reason] = said["cuts"]
        if said["by_one"]:
            return [(cuts[0], missing)]
        found: list[tuple[Reason, np.ndarray]] = []
        for place in reversed(range(len(cuts))):
            # A row that one operation dropped here and a later one there would have been kept but for the later.
            gone = np.isin(missing, self._rows(said["number"], place))
            found.append((cuts[place], missing[gone]))
            missing = missing[~gone]
        return [(reason, rows) for reason, rows in (*reversed(found), (said["otherwise"], missing)) if len(rows)]

    def _rows(self, number: int, place: int) -> np.ndarray:
        if self.dropped is None:
            return np.empty(0, np.int64)
        table = pl.scan_parquet(self.dropped).filter(pl.col("input") == number, pl.col("cut") == place)
        return table.select("position").collect()["position"].to_numpy().astype(np.int64)


def _located(space: Workspace, file: FileVersion, name: str) -> Path:
    if (path := space.objects.find(file)) is not None:
        return path
    raise IntegrityError(
        f"{file.path}: the bytes of {file.sha256[:12]}… are {fate(space, file)}, so nobody can say which rows {name} "
        "left out; run the step again.",
        file.path,
        file.sha256,
        None,
    )
