"""A row of a table computed again from only the source records behind it.

The records are read from the recorded files, and each step of the way runs on nothing but the rows that the row maps
name for each of its inputs, as a trace does: what comes out at the end must be the stored row, bit for bit. That proves
that these leave nothing out.
"""

from __future__ import annotations

import csv
import io
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lineage import sources
from lineage.batches import panics_as_errors
from lineage.errors import HeadwaterError, IntegrityError, NotFoundError, StepFailedError
from lineage.names import dotted
from lineage.plan import Workspace, suite_path
from lineage.ports import Ports, suite_parameters
from lineage.quarantine import Screen, is_quarantine, puts_aside, table_of
from lineage.rows.following import follow
from lineage.spec import Source, Step
from lineage.tracing.ancestry import Identity, Origin, identity
from lineage.tracing.records import open_records
from lineage.tracing.tracer import Tracer, extents
from lineage.versions import FileVersion, Version

_PLACE, _TIMES = "__place", "__times"


def recompute_row(
    space: Workspace, version: Version, position: int, *, tracer: Tracer | None = None
) -> Mapping[str, Any]:
    """The row at `position` of a table's version by column, from only the records behind it and with the present code.

    Raises NotFoundError where that cannot be done: the way back is not on record, or a step takes rows by their number;
    StepFailedError where the present code makes no such row; IntegrityError where recorded bytes are gone.
    """
    return recompute(space, needed_rows(tracer or Tracer(space), version, position))


def recompute(space: Workspace, needed: Sequence[Needed]) -> Mapping[str, Any]:
    """The only row of the first of `needed`, from the others and nothing else; raises as `recompute_row`."""
    with space.objects.workshop() as folder:
        bench = _Bench(space, folder)
        for item in reversed(needed):
            bench.compute(item)
        return bench.row(needed[0])


def stored_row(space: Workspace, version: Version, position: int) -> Mapping[str, Any]:
    """The row at `position` of a table's version as it is stored, by column."""
    found = pl.scan_parquet(_bytes_of(space, version.file)).slice(position, 1).collect()
    return found.row(0, named=True)


def differing(stored: Mapping[str, Any], computed: Mapping[str, Any]) -> list[str]:
    """The columns in which two rows are not the same bits; of NaN there is one."""
    names = dict.fromkeys([*stored, *computed])
    return [
        name
        for name in names
        if name not in stored or name not in computed or _bits(stored[name]) != _bits(computed[name])
    ]


def _bits(value: Any) -> Any:
    if isinstance(value, float):
        return struct.pack("<d", value) if value == value else "NaN"
    if isinstance(value, list | tuple):
        return [_bits(item) for item in value]
    if isinstance(value, dict):
        return {name: _bits(item) for name, item in value.items()}
    # 1 and True are equal, and not the same.
    return type(value), value


# --- which rows


@dataclass
class Needed:
    """Rows of one version that are needed, and for each input of its run (a version under a name) which of its rows
    are behind them."""

    origin: Origin
    key: tuple[str, ...]
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    columns: frozenset[str] | None = frozenset()
    fed: dict[tuple[str, Identity], np.ndarray] = field(default_factory=dict)

    def add(self, rows: np.ndarray, columns: frozenset[str] | None) -> None:
        """Also these rows, and these columns of them."""
        self.rows = np.union1d(self.rows, rows)
        self.columns = None if columns is None or self.columns is None else self.columns | columns

    def feed(self, name: str, version: Version, rows: np.ndarray) -> None:
        """Also these rows of an input."""
        place = (name, identity(version))
        self.fed[place] = np.union1d(self.fed.get(place, np.empty(0, np.int64)), rows)


def needed_rows(tracer: Tracer, version: Version, position: int, column: str | None = None) -> list[Needed]:
    """What a row needs, or its value in one column: first the version that it is in, each one before those that it was
    made from."""
    if is_quarantine(version.dataset):
        table = dotted(table_of(version.dataset))
        raise NotFoundError(
            f"{dotted(version.dataset, version.partition)} holds rows that were put aside, which are not computed one "
            f"by one; `headwater replay {table}` computes all of them."
        )
    waiting: dict[Identity, list[tuple[Origin, frozenset[str] | None, np.ndarray]]] = {}
    asked = None if column is None else frozenset([column])
    waiting[identity(version)] = [(tracer.origin(version, None), asked, np.array([position]))]
    found = []
    while waiting:
        # What was made last is made of nothing that waits, so that everything is looked at once.
        asks = waiting.pop(max(waiting, key=lambda key: _made_at(waiting[key][0][0])))
        origin = asks[0][0]
        item = Needed(origin, _key(tracer.space, origin))
        found.append(item)
        for _, columns, rows in asks:
            item.add(rows, columns)
            # By its key a row is found again.
            wanted = None if columns is None else columns | set(item.key)
            for name, read, behind, of in _just_behind(tracer, origin, rows, wanted):
                item.feed(name, read, behind)
                waiting.setdefault(identity(read), []).append((tracer.origin(read, _started(origin)), of, behind))
    return found


def _just_behind(
    tracer: Tracer, origin: Origin, rows: np.ndarray, columns: frozenset[str] | None
) -> Iterable[tuple[str, Version, np.ndarray, frozenset[str] | None]]:
    """The inputs' rows behind rows of a version, and which columns of them are."""
    if origin.is_raw:
        return
    if origin.is_source:
        yield "raw", origin.inputs[0][1], tracer.records(origin, rows), None
        return
    versions = extents(origin)
    for found in tracer.row_map(origin).back(rows, columns):
        behind = np.unique(found.rows.values).astype(np.int64)
        for version, begin, end in versions[found.input]:
            inside = behind[(behind >= begin) & (behind < end)] - begin
            if len(inside):
                yield found.input, version, inside, found.columns


def _key(space: Workspace, origin: Origin) -> tuple[str, ...]:
    return () if origin.is_raw or origin.is_source else space.project.step(origin.version.dataset).key


def _started(origin: Origin) -> datetime | None:
    return origin.run["started_at"] if origin.run else None


def _made_at(origin: Origin) -> float:
    started = _started(origin)
    return started.timestamp() if started else 0.0


# --- computing them


@dataclass
class _Bench:
    """Rows that were computed again, by version: at the positions that they have in the stored table."""

    space: Workspace
    folder: Path
    _frames: dict[Identity, pl.DataFrame] = field(default_factory=dict)
    _files: int = 0

    def compute(self, item: Needed) -> None:
        """The needed rows of one version, from those computed before."""
        if not item.origin.is_raw:
            frame = self._read(item) if item.origin.is_source else self._run(item)
            self._frames[identity(item.origin.version)] = frame

    def row(self, item: Needed) -> Mapping[str, Any]:
        """The only row that was computed of a version."""
        frame = self._frames[identity(item.origin.version)]
        if len(frame) != 1:
            raise StepFailedError(
                f"row {item.rows[0]} of {_label(item)} does not come out: of what is behind it, the present code makes "
                "no row with its key.",
                self._step(item.origin).full_name,
                item.origin.version.partition or None,
            )
        return frame.drop(_PLACE).row(0, named=True)

    def _read(self, item: Needed) -> pl.DataFrame:
        """Records of a raw file, typed as the source declares."""
        raw, step = item.origin.inputs[0][1], self._step(item.origin)
        assert isinstance(step.detail, Source)
        path = _bytes_of(self.space, raw.file)
        records = open_records(self.space.settings.home, path, raw.file.sha256, name=raw.file.path)
        part = self._path("csv")
        wanted = item.fed["raw", identity(raw)]
        part.write_bytes(_line(records.columns) + b"".join(records.record(int(row)) + b"\n" for row in wanted))
        frame = sources.read(part, step.detail, raw.file.path)
        return frame.with_columns(pl.Series(_PLACE, item.rows))

    def _run(self, item: Needed) -> pl.DataFrame:
        """What a step gives for the rows behind, and of that the rows that are needed."""
        step = self._step(item.origin)
        inputs: dict[str, list[Path]] = {}
        for name, version in item.origin.inputs:
            inputs.setdefault(name, []).append(self._input(item, name, version))
        try:
            tracked = follow(step, inputs)
            _require_no_slice(step, (cut.text for cut in tracked.capture.cuts if cut.how == "slice"))
            with panics_as_errors():
                made = self._kept(step, item.origin.version.partition, tracked.visible.collect(engine="streaming"))
        except HeadwaterError:
            raise
        except Exception as error:  # whatever an author's code raises means the same here
            said = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            message = f"{_label(item)} fails on only the rows that are behind it ({said})."
            raise StepFailedError(message, step.full_name, item.origin.version.partition or None) from error
        return self._chosen(item, made)

    def _kept(self, step: Step, partition: str, made: pl.DataFrame) -> pl.DataFrame:
        """The rows that the step's checks do not put aside: one of those may have the key of another that goes on."""
        suite = suite_path(self.space, step)
        if suite is None or not puts_aside(suite):
            return made
        rules = Ports().rules(suite, made.schema, suite_parameters(partition))
        return Screen(rules, {}, step.full_name).part(made)[0]

    def _chosen(self, item: Needed, made: pl.DataFrame) -> pl.DataFrame:
        """Of what a step gave the rows that are needed, each at its position in the stored table.

        They are found by their key; where there is none, by what is asked of them: equal ones stand for each other.
        """
        stored = pl.scan_parquet(_bytes_of(self.space, item.origin.version.file)).with_row_index(_PLACE)
        columns = [name for name, _ in item.origin.version.fields]
        by = list(item.key) or [name for name in columns if item.columns is None or name in item.columns]
        if lacking := [name for name in by if name not in made.columns]:
            message = f"{_label(item)} has no column {lacking[0]!r} any more."
            raise StepFailedError(message, self._step(item.origin).full_name, item.origin.version.partition or None)
        places = stored.select(_PLACE, *by).filter(pl.col(_PLACE).is_in(item.rows)).collect()
        # Equal ones in their order.
        places, made = (frame.with_columns(pl.int_range(pl.len()).over(by).alias(_TIMES)) for frame in (places, made))
        found = made.join(places, on=[*by, _TIMES], how="inner", nulls_equal=True).drop(_TIMES)
        return found.with_columns(pl.col(_PLACE).cast(pl.Int64)).sort(_PLACE)

    def _input(self, item: Needed, name: str, version: Version) -> Path:
        """A file with the rows of one version of an input; where none of them is behind, with its columns alone."""
        path = self._path("parquet")
        frame = self._frames.get(identity(version))
        rows = item.fed.get((name, identity(version)))
        if frame is None or rows is None:
            pl.scan_parquet(_bytes_of(self.space, version.file)).head(0).collect().write_parquet(path)
        else:
            frame.filter(pl.col(_PLACE).is_in(rows)).drop(_PLACE).write_parquet(path)
        return path

    def _step(self, origin: Origin) -> Step:
        return self.space.project.step(origin.version.dataset)

    def _path(self, ending: str) -> Path:
        self._files += 1
        return self.folder / f"{self._files}.{ending}"


def _require_no_slice(step: Step, texts: Iterable[str]) -> None:
    for text in texts:
        raise NotFoundError(
            f"{step.full_name} takes rows by their number ({text}), so no row of it can be computed from only the rows "
            f"behind it; `headwater replay {step.full_name}` computes all of them."
        )


def _bytes_of(space: Workspace, file: FileVersion) -> Path:
    if (path := space.objects.find(file)) is not None:
        return path
    raise IntegrityError(
        f"{file.path}: the bytes of version {file.sha256[:12]}… are neither in the cache nor in place; `dvc pull` may "
        "bring them back.",
        file.path,
        file.sha256,
        None,
    )


def _label(item: Needed) -> str:
    return dotted(item.origin.version.dataset, item.origin.version.partition)


def _line(values: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()
