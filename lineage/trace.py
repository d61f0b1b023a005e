"""From a prediction, or a row of a table, back to the records of the files it came from, as plain JSON values.

A trace names for each source the file, its version and the row numbers, gives the first records verbatim, and says
which checks they passed. `complete` says that the way ends in raw files and that all bytes on it are there and right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from lineage.errors import DatabaseError, HeadwaterError, IntegrityError, NotFoundError
from lineage.gc import fate
from lineage.objects import Objects
from lineage.plan import Workspace
from lineage.provenance import table_record, training_record
from lineage.tracing.ancestry import Identity, Origin, ancestry, identity, raw_files
from lineage.tracing.asked import AskedRow, Register
from lineage.tracing.cells import CellFinder, Cells
from lineage.tracing.predictions import Prediction, find_prediction, find_predictions
from lineage.tracing.recent import Recent
from lineage.tracing.records import Records, open_records
from lineage.tracing.rowids import Counted, SourceRows, by_feature, row_ids, source_rows
from lineage.tracing.rownames import is_row
from lineage.tracing.story import (
    bundle_record,
    check_record,
    features_record,
    plain,
    prediction_record,
    step_record,
)
from lineage.tracing.tracer import Ask, Behind, Tracer
from lineage.versions import FileVersion, Version, known_sha256

# How many records of a source a trace shows; the rest is a page away.
SHOWN = 100
# Who asks for the row itself, or the one feature of it; each of its features has a number of its own.
_ROW = 0
# Rows of which it is kept what is behind them, some 200 kB each.
_KEPT = 64
# Bundles of which it is kept what they rest on, some MB each, and source files whose records are open.
_MODELS, _SOURCES = 32, 1_024
# Predictions that are followed at once. Of a thousand millions of rows are in memory together, and that takes longer.
_AT_ONCE = 100


def trace(space: Workspace, name: str) -> dict[str, Any]:
    """The trace of prediction `name` (`ID` or `ID.i`) as plain JSON values; see `Traces.prediction`."""
    found: dict[str, Any] = orjson.loads(to_json(Traces(space).prediction(name)))
    return found


def to_json(found: Any) -> bytes:
    """A trace, or a part of one, as compact JSON."""
    # Ranges go from arrays into text without becoming Python's lists, which would be most of the time of a trace.
    return orjson.dumps(found, option=orjson.OPT_SERIALIZE_NUMPY)


@dataclass(frozen=True)
class _Foundation:
    """What a model rests on."""

    record: dict[str, Any]
    origins: tuple[Origin, ...]


@dataclass(frozen=True)
class _Row:
    """What a row came from: origins by feature, steps, sources, what is wrong, and every version on the way."""

    features: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    origins: tuple[Origin, ...] = ()


@dataclass
class Traces:
    """Traces in one workspace, for one thread at a time; what does not change is looked up once.

    What is found are JSON values, but for `ranges`: arrays (int64, (n, 2), first and last row); see `to_json`.
    """

    space: Workspace
    _models: Recent[tuple[Identity, datetime | None], _Foundation] = field(default_factory=lambda: Recent(_MODELS))
    _checks: Recent[Any, list[dict[str, Any]]] = field(default_factory=lambda: Recent(_SOURCES))
    _records: Recent[tuple[Path, str], Records] = field(default_factory=lambda: Recent(_SOURCES))
    _followed: Recent[tuple[AskedRow, tuple[str, ...]], dict[Identity, Behind]] = field(
        default_factory=lambda: Recent(_KEPT)
    )

    @cached_property
    def tracer(self) -> Tracer:
        """Follows rows."""
        return Tracer(self.space)

    @cached_property
    def cells(self) -> CellFinder:
        """Finds which cells fed a value."""
        return CellFinder(self.tracer)

    @cached_property
    def register(self) -> Register:
        """Finds what is asked."""
        return Register(self.tracer)

    def of(self, name: str, *, feature: str | None = None) -> dict[str, Any]:
        """The trace of a prediction (`ID`, `ID.i`), or of a row (`flights.features[2013-11]:1000`)."""
        if is_row(name):
            return self.row(name, feature=feature)
        self.register.require_id(name)
        return self.prediction(name, feature=feature)

    def prediction(self, name: str, *, feature: str | None = None) -> dict[str, Any]:
        """The trace of prediction `name` (`ID` or `ID.i`), or of the value of one of its features.

        Keys: prediction, bundle, training, features (the row, and for each feature the sources of its value), steps
        (tables on the way, with how many of their rows), sources, complete, notes (raw files that changed since),
        problems (what is missing or differs). A row that the client sent has no sources. Raises NotFoundError for an
        unknown id or feature.
        """
        found = find_prediction(self.space.store, name)
        bundle = self.register.version(found.answer["bundle_dataset"], "", found.answer["digest"])
        model = self._model(bundle, found.answer["made_at"])
        parameters = model.record["parameters"]
        row = self._follow(self.register.predicted(found, feature))
        problems = [*unrecorded(model.origins), *damaged(self.space, model.origins), *row.problems]
        return {
            "prediction": prediction_record(found, name, parameters),
            "bundle": bundle_record(bundle),
            "training": model.record,
            "features": {**features_record(found, parameters), "origins": row.features},
            "steps": row.steps,
            "sources": row.sources,
            "complete": not problems,
            "notes": _notes(self.space, row.origins),
            "problems": list(dict.fromkeys(problems)),
        }

    def row(self, name: str, *, feature: str | None = None) -> dict[str, Any]:
        """The trace of a row by its name, `DATASET[PARTITION]:ROW` or `SOURCE/FILE:ROW`; see `table_row`."""
        return self.table_row(*self.register.find_table_row(name), feature=feature)

    def table_row(self, version: Version, position: int, *, feature: str | None = None) -> dict[str, Any]:
        """The trace of one row of a table's version, or of the value in one of its columns.

        Keys: table (with the position), values, columns (for each the sources of its value), steps, sources, complete,
        notes, problems. Raises NotFoundError for a row or column that it does not have.
        """
        row = self._follow(self.register.row(version, position, feature))
        return {
            "table": {**table_record(version), "position": position},
            "values": self._values(version, position),
            "columns": row.features,
            "steps": row.steps,
            "sources": row.sources,
            "complete": not row.problems,
            "notes": _notes(self.space, row.origins),
            "problems": row.problems,
        }

    def records(
        self, name: str, source: tuple[str, str], offset: int = 0, limit: int = SHOWN, *, feature: str | None = None
    ) -> dict[str, Any]:
        """A page of the records of one source file behind `name` (as in `of`) or one of its features.

        `source` is dataset and partition. Keys: dataset, partition, version, file, count, offset, columns, rows,
        values; with `feature`, columns and values are those that fed it.
        """
        asked = self.register.named(name, feature)
        found = source_rows(self._behind(asked, ()), self.tracer.records)
        wanted = (source[0].replace(".", "/", 1), source[1])
        for item in found:
            if (item.dataset, item.raw.partition) == wanted:
                page = self._page(item.raw, item.of(_ROW), offset, limit)
                cells = self._cells(asked).get(identity(item.raw))
                return {**item.place(), **(cells.only(page) if cells else page)}
        known = [_label(item.dataset, item.raw.partition) for item in found]
        raise NotFoundError(
            f"Nothing of {_label(*wanted)} is behind {name}; there is {', '.join(known)}.", tuple(known)
        )

    def rows(self, names: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """For each of these predictions the records behind it, by source file: (its place in `names`, what was found).

        In no particular order. Keys: prediction, inputs, table (the feature row) and sources (dataset, partition,
        version, file, count, ranges); or prediction and error.
        """
        groups: dict[tuple[Version, datetime | None], list[tuple[int, Prediction]]] = {}
        for place, found in enumerate(find_predictions(self.space.store, names)):
            if isinstance(found, NotFoundError):
                yield place, {"prediction": names[place], "error": str(found)}
            elif (asked := self.register.predicted(found)) is None:
                yield place, {"prediction": names[place], "inputs": "client", "table": None, "sources": []}
            else:
                groups.setdefault((asked.version, asked.before), []).append((place, found))
        for (version, before), members in groups.items():
            for begin in range(0, len(members), _AT_ONCE):
                part = members[begin : begin + _AT_ONCE]
                entries = self._rows_behind(version, before, [item.row["position"] for _, item in part])
                for (place, _), (position, entry) in zip(part, entries, strict=True):
                    table = {**table_record(version), "position": position}
                    yield place, {"prediction": names[place], "inputs": "table", "table": table, **entry}

    # --- what is looked up once

    def _model(self, bundle: Version, made_at: datetime) -> _Foundation:
        before = self.register.before(bundle, made_at)

        def look_up() -> _Foundation:
            origins = ancestry(self.space.store, [bundle], before)
            return _Foundation(training_record(origins), tuple(origins))

        return self._models.get((identity(bundle), before), look_up)

    def _checks_of(self, reader: Origin) -> list[dict[str, Any]]:
        """What the source's checks found in the file when it was read."""
        if reader.run is None:
            return []
        run_id, store = reader.run["run_id"], self.space.store
        return self._checks.get(
            run_id, lambda: [check_record(row) for row in store.rows("check_results_of_run", run_id=run_id)]
        )

    # --- following

    def _follow(self, asked: AskedRow | None) -> _Row:
        if asked is None:
            return _Row()
        try:
            columns = () if asked.feature else asked.columns
            behind, cells = self._behind(asked, columns), self._cells(asked)
        except DatabaseError:
            raise
        except (HeadwaterError, OSError, pl.exceptions.PolarsError) as error:
            return self._lost(asked, error)
        problems: list[str] = []
        numbers = {name: number for number, name in enumerate(columns, start=1)}
        found, askers = source_rows(behind, self.tracer.records), len(columns) + 1
        counted = [item.counted(askers) for item in found]
        sources = [
            self._source(item, ranges[_ROW], cells.get(identity(item.raw)), problems)
            for item, ranges in zip(found, counted, strict=True)
        ]
        features = by_feature(found, counted, {asked.feature: _ROW} if asked.feature else numbers)
        origins = tuple(item.origin for item in behind.values())
        problems += [*unrecorded(origins), *damaged(self.space, origins)]
        steps = [step_record(item.origin, len(item.of(_ROW))) for item in behind.values() if not item.origin.is_raw]
        return _Row(features, steps, sources, list(dict.fromkeys(problems)), origins)

    def _lost(self, asked: AskedRow, error: Exception) -> _Row:
        """What can be said where rows cannot be followed."""
        origins = tuple(ancestry(self.space.store, [asked.version], asked.before))
        steps = [step_record(origin, None) for origin in origins if not origin.is_raw]
        said = str(error)
        if not isinstance(error, HeadwaterError):
            said = f"the rows behind {_label(asked.version.dataset, asked.version.partition)} cannot be read ({error})"
        return _Row(steps=steps, problems=[said, *damaged(self.space, origins)], origins=origins)

    def _behind(self, asked: AskedRow, columns: Sequence[str]) -> dict[Identity, Behind]:
        """Everything behind a row, or a feature of it, and behind each of these columns of it, numbered from 1.

        Which rows those are never changes. The last are kept, for who asks for one trace goes on to ask for its pages.
        """
        return self._followed.get((asked, tuple(columns)), lambda: self._followed_anew(asked, columns))

    def _followed_anew(self, asked: AskedRow, columns: Sequence[str]) -> dict[Identity, Behind]:
        rows, feature = np.array([asked.position]), asked.feature
        asks = [Ask(asked.version, np.array([_ROW]), rows, None if feature is None else frozenset([feature]))]
        asks += [
            Ask(asked.version, np.array([number]), rows, frozenset([name]))
            for number, name in enumerate(columns, start=1)
        ]
        return self.tracer.back(asks, asked.before)

    def _rows_behind(
        self, version: Version, before: datetime | None, positions: Sequence[int]
    ) -> list[tuple[int, dict[str, Any]]]:
        """For each of these rows its position, and the sources behind it or what is wrong."""
        numbers = np.arange(len(positions))
        try:
            behind = self.tracer.back([Ask(version, numbers, np.array(positions))], before)
        except DatabaseError:
            raise
        except (HeadwaterError, OSError, pl.exceptions.PolarsError) as error:
            return [(position, {"error": str(error)}) for position in positions]
        found = row_ids(source_rows(behind, self.tracer.records), len(positions))
        return [(position, {"sources": sources}) for position, sources in zip(positions, found, strict=True)]

    def _cells(self, asked: AskedRow) -> dict[Identity, Cells]:
        """The cells behind the one feature that is asked for; none where whole rows are."""
        if asked.feature is None:
            return {}
        return self.cells.behind(asked.version, asked.position, asked.feature, asked.before)

    def _source(self, source: SourceRows, counted: Counted, cells: Cells | None, problems: list[str]) -> dict[str, Any]:
        """What is told of a source; what its first records cannot be read for is added to `problems`."""
        try:
            shown = self._page(source.raw, source.of(_ROW), 0, SHOWN)
            shown = cells.only(shown) if cells else shown
        except (HeadwaterError, OSError) as error:
            problems.append(str(error))
            shown = {"columns": None, "rows": [], "values": []}
        return {
            **source.place(),
            "origin": source.raw.origin,
            "records": source.reader.records,
            "count": counted.records,
            "ranges": counted.ranges,
            "checks": self._checks_of(source.reader),
            **{name: shown[name] for name in ("columns", "rows", "values")},
            **({"exact": cells.exact} if cells else {}),
        }

    def _page(self, raw: Version, rows: np.ndarray, offset: int, limit: int) -> dict[str, Any]:
        path = _whereabouts(self.space.objects, raw.file)
        if path is None:
            raise IntegrityError(_gone(self.space, raw.file), raw.file.path, raw.file.sha256, None)
        key = (path, raw.file.sha256)
        records = self._records.get(key, lambda: open_records(self.space.settings.home, *key, name=raw.file.path))
        chosen = rows[offset : offset + limit]
        return {
            "count": len(rows),
            "offset": offset,
            "columns": list(records.columns),
            "rows": chosen.tolist(),
            "values": records.values(chosen),
        }

    def _values(self, version: Version, position: int) -> dict[str, Any]:
        """A row of a table; empty if its bytes are gone."""
        path = self.space.objects.find(version.file)
        if path is None:
            return {}
        row = pl.scan_parquet(path).slice(position, 1).collect().row(0, named=True)
        return {name: plain(value) for name, value in row.items()}


def unrecorded(origins: Iterable[Origin]) -> list[str]:
    """Where the way back through `origins` breaks off before a raw file, a sentence each."""
    return [
        f"no run is on record that wrote {origin.version.dataset} {origin.version.sha256[:12]}…"
        if origin.run is None
        else f"nothing is on record that {origin.version.dataset} {origin.version.sha256[:12]}… was made from"
        for origin in origins
        if origin.is_raw and origin.version.origin is None
    ]


def damaged(space: Workspace, origins: Iterable[Origin]) -> list[str]:
    """Files of `origins` whose recorded bytes are neither in the object cache nor in place, a sentence each."""
    return [
        _gone(space, file)
        for origin in origins
        for file in (*origin.version.files, *origin.lineage)
        if _whereabouts(space.objects, file) is None
    ]


def _gone(space: Workspace, file: FileVersion) -> str:
    return f"{file.path}: the bytes of version {file.sha256[:12]}… are {fate(space, file)}"


def _whereabouts(objects: Objects, file: FileVersion) -> Path | None:
    """`objects.find`, made quick for what is nearly always so: a trace looks at hundreds of files in the cache."""
    path = _object(objects, file.md5)
    return path if known_sha256(path) == file.sha256 else objects.find(file)


@lru_cache(maxsize=65_536)
def _object(objects: Objects, md5: str) -> Path:
    return objects.path(md5)


def _notes(space: Workspace, origins: Iterable[Origin]) -> list[str]:
    """Raw files that have been changed or removed since: the trace stands on the bytes that the cache kept.

    Where it has not kept them either, that is a problem.
    """
    return [
        f"{version.file.path} has changed since; the bytes of version {version.sha256[:12]}… are in the cache"
        for _, version, _ in raw_files(origins)
        if known_sha256(space.root / version.file.path) != version.sha256
        and known_sha256(_object(space.objects, version.file.md5)) == version.sha256
    ]


def _label(dataset: str, partition: str) -> str:
    return f"{dataset}[{partition}]" if partition else dataset
