"""Forwards from one row: every table row, model and prediction that it reached, or what dropped it.

The way goes from run to run that read it, oldest first, each time through the origins that the run wrote
(`lineage.tracing.forward`). Followed are versions in use: current ones, and what a champion, a challenger or a
prediction rests on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from psycopg.types.json import Jsonb

from lineage.errors import NotFoundError
from lineage.exclusions import reasons
from lineage.impact import ReachedRows, distinct, impact, spans
from lineage.names import dotted
from lineage.quarantine import is_quarantine
from lineage.tracing.ancestry import Identity, Origin, identity, origin_by, recorded_version
from lineage.tracing.forward import Touched, reached, touched
from lineage.tracing.ranges import ranges
from lineage.tracing.rownames import find_row, open_version
from lineage.tracing.tracer import Tracer, extents
from lineage.tracing.unpacked import Unpacked
from lineage.versions import Version

_ENDLESS = {"-infinity": datetime.min.replace(tzinfo=UTC), "infinity": datetime.max.replace(tzinfo=UTC)}
# How a run fails whose suite refused what it wrote (lineage/run.py).
_CHECK = re.compile(r"\S+: \d+ blocking checks? of suite ")


@dataclass
class Reached:
    """What one row reached: rows of versions, itself included, and where nothing of it went on.

    `dropped` has step, partitions, input, how and reason for each step that read it and made no row from it.
    """

    parts: list[ReachedRows]
    dropped: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rows(self) -> dict[Identity, np.ndarray]:
        """By version the rows (int64, ascending), through whichever run."""
        return distinct(self.parts)


def where(tracer: Tracer, name: str, *, limit: int = 100, offset: int = 0) -> dict[str, Any]:
    """Everything that one row reached, as plain JSON values.

    `name` is a row of a source or table: `flights/departures[2013-01]:826`, `flights/departures/2013-01.csv:826`,
    `flights.legs[2013-01]@3fa1b2c3:5`. Keys: row (dataset, partition, version, file, position, and of a raw file its
    columns and values verbatim), tables (with the number of `rows` reached, and their `ranges`), models, bundles,
    deployments, predictions (a page of `limit` ids from `offset`), dropped (see `Reached`). Raises NotFoundError for a
    name or row that there is not, and where rows were not followed; IntegrityError where recorded bytes are gone.
    """
    version, position = find_row(tracer, name)
    row = _row(tracer, version, position)
    found = follow_forward(tracer, version, position)
    beyond = impact(tracer.space, name, limit=limit, offset=offset, rows=found.parts)
    rows, asked = found.rows, {name: row[name] for name in ("dataset", "partition", "version")}
    tables = [
        {**table, "ranges": ranges(rows[table["dataset"], table["partition"], table["version"]])}
        for table in beyond["tables"]
        if not asked.items() <= table.items()
    ]
    return {**beyond, "tables": tables, "versions": [asked], "row": row, "dropped": found.dropped}


def follow_forward(tracer: Tracer, version: Version, position: int) -> Reached:
    """What the row at `position` of a version reached, version by version, and which steps read it to no effect."""
    walk = _Walk(tracer)
    walk.begin(version, position)
    for use in _in_use(tracer, version):
        if use.origin.version.row_count is not None:
            walk.through(use)
    return Reached(walk.rows(), _together([*walk.dropped(), *_failures(tracer, walk.rows())]))


@dataclass
class _Part:
    """Rows of a version that were reached through one run that wrote it, and from when until when it was the last.

    `way` is what its readers see touched, or what that is worked out from, if there are any.
    """

    rows: np.ndarray
    way: list[Touched] | tuple[Unpacked, dict[str, list[Touched]]]
    since: str = "-infinity"
    until: str = "infinity"

    def seen(self, at: datetime) -> list[Touched]:
        """What a run sees touched that started then."""
        if not _time(self.since) <= at < _time(self.until):
            return []
        if isinstance(self.way, tuple):
            self.way = touched(*self.way)
        return self.way


class _Walk:
    """Rows that were reached so far, version by version, run by run."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._parts: dict[Identity, list[_Part]] = {}
        # By step and partition, of the last run that read it to no effect; none of a step that it reached.
        self._dropped: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._reached: set[str] = set()

    def begin(self, version: Version, position: int) -> None:
        rows = np.array([position])
        self._parts[identity(version)] = [_Part(rows, [Touched(rows)])]

    def rows(self) -> list[ReachedRows]:
        return [
            ReachedRows(key, part.rows, part.since, part.until) for key, parts in self._parts.items() for part in parts
        ]

    def dropped(self) -> Iterator[dict[str, Any]]:
        found = ((step, reasons) for (step, _), reasons in self._dropped.items() if step not in self._reached)
        return (reason for _, reasons in found for reason in reasons)

    def through(self, use: _Use) -> None:
        """Go on through the run that wrote a table's version."""
        origin = use.origin
        if not (inputs := self._read(origin)):
            return
        step = _step(origin)
        if origin.is_source and not origin.lineage:
            rows = np.concatenate([item.rows for item in inputs["raw"]])
            part = _Part(rows, [Touched(rows)], use.since, use.until)
        else:
            held = self._tracer.row_map(origin).unpacked
            part = _Part(reached(held, inputs), (held, inputs), use.since, use.until)
        if len(part.rows):
            self._parts.setdefault(identity(origin.version), []).append(part)
        # What its checks put aside has dropped out of the table, which says why.
        if is_quarantine(origin.version.dataset):
            return
        if len(part.rows):
            self._reached.add(step)
        elif step not in self._reached:
            self._dropped[step, origin.version.partition] = [*_reasons(self._tracer, origin, inputs)]

    def _read(self, origin: Origin) -> dict[str, list[Touched]]:
        """By input what a run read of the rows reached so far, at their positions through the input's files."""
        assert origin.run is not None
        found: dict[str, list[Touched]] = {}
        for name, versions in extents(origin).items():
            for version, begin, _ in versions:
                for part in self._parts.get(identity(version), ()):
                    for item in part.seen(origin.run["started_at"]):
                        found.setdefault(name, []).append(Touched(item.rows + begin, item.columns))
        return found


class _Use(NamedTuple):
    """A run whose output is in use, and from when until when it was the last that had written it."""

    origin: Origin
    since: str
    until: str


def _in_use(tracer: Tracer, version: Version) -> list[_Use]:
    """The runs whose output rests on a version and is in use, in the order in which they ended.

    That are those whose output is current, answers, was predicted from, or was read by another one in use. Where
    several wrote the same bytes, each counts for what used them before the next had written them.
    """
    store = tracer.space.store
    place = dict(zip(("dataset", "partition", "sha256"), identity(version), strict=True))
    rows = store.rows("reached_outputs", versions=Jsonb([place]), onward=True)
    used = {row["run_id"] for row in store.rows("used_runs", runs=[row["run_id"] for row in rows])}
    readings: dict[Identity, list[datetime]] = {}
    found = []
    for row in sorted(rows, key=lambda row: row["ended_at"], reverse=True):
        key = (row["dataset"], row["partition"], row["sha256"])
        since, until = _time(row["since"]), _time(row["until"])
        if row["is_current"] or row["run_id"] in used or any(since <= at < until for at in readings.get(key, ())):
            origin = origin_by(store, recorded_version(store, *key), row["run_id"])
            found.append(_Use(origin, row["since"], row["until"]))
            assert origin.run is not None
            for _, item in origin.inputs:
                readings.setdefault(identity(item), []).append(origin.run["started_at"])
    return found[::-1]


def _time(text: str) -> datetime:
    """A time as Postgres writes it, which has infinite ones."""
    return _ENDLESS.get(text) or datetime.fromisoformat(text)


def _step(origin: Origin) -> str:
    return str(origin.run["step"]) if origin.run else dotted(origin.version.dataset)


# --- what dropped it


def _reasons(tracer: Tracer, origin: Origin, inputs: Mapping[str, list[Touched]]) -> Iterator[dict[str, Any]]:
    """Why what a run read of the rows reached no row of what it wrote."""
    for name, items in inputs.items():
        rows = np.unique(np.concatenate([item.rows for item in items]))
        for reason, _ in _told(tracer, origin, name, rows):
            yield {
                "step": _step(origin),
                "partitions": [origin.version.partition] if origin.version.partition else [],
                "input": name,
                "how": reason["how"],
                "reason": reason["text"],
            }


def _told(
    tracer: Tracer, origin: Origin, name: str, rows: np.ndarray
) -> Iterable[tuple[Mapping[str, str], np.ndarray]]:
    versions = extents(origin)[name]
    # A row may have been used, and only that column of it not which came from what is asked about.
    used = tracer.row_map(origin).reached(name, versions[-1][2], among=rows)[rows]
    if used.any():
        yield (
            {"how": "unused", "text": "only columns that nothing of the table came from"},
            rows,
        )
    if not used.all():
        try:
            yield from reasons(tracer, origin, name, rows[~used])
        except NotFoundError as error:
            yield {"how": "unknown", "text": str(error)}, rows[~used]


def _failures(tracer: Tracer, rows: Sequence[ReachedRows]) -> Iterator[dict[str, Any]]:
    """Steps that read what was reached and have failed since they last wrote anything, which it has not reached.

    Most often a check has held it up.
    """
    reached = {dotted(dataset, partition) for dataset, partition, _ in (item.version for item in rows)}
    for row in tracer.space.store.rows("failed_readers", versions=Jsonb(spans(rows))):
        if dotted(row["step"], row["partition"]) not in reached:
            yield {
                "step": row["step"],
                "partitions": [row["partition"]] if row["partition"] else [],
                "input": row["input"],
                "how": "check" if _CHECK.match(row["error"]) else "failure",
                "reason": row["error"],
            }


def _together(dropped: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is the same for several partitions once, with all of them."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for item in dropped:
        key = (item["step"], item["input"], item["how"], item["reason"])
        known = found.setdefault(key, {**item, "partitions": []})["partitions"]
        known += [partition for partition in item["partitions"] if partition not in known]
    return list(found.values())


def _row(tracer: Tracer, version: Version, position: int) -> dict[str, Any]:
    """The row itself: of a raw file the record as it stands there."""
    said = {
        "dataset": version.dataset,
        "partition": version.partition,
        "version": version.sha256,
        "file": version.file.path,
        "position": position,
    }
    if version.row_count is not None:
        return said
    records = open_version(tracer, version)
    (values,) = records.values([position])
    return {**said, "columns": list(records.columns), "values": values}
