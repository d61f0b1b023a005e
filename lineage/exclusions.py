"""The exclusion ledger: why rows of a step's inputs reached no row of its table.

While a step's function is followed, every operation that may drop rows is noted (`lineage.capture.Cut`). Which rows are
missing is what the origins of the table's rows leave over (`lineage.rowmap`). Where only one operation concerns an
input, and nothing else can lose rows of it, it is why all of them are missing; otherwise the rows that each operation
dropped are worked out when the table is written, for then its code and its plans are at hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lineage.ancestry import Origin
from lineage.capture import GROUP, Capture, Cut, Link, Stage, Ways
from lineage.errors import IntegrityError, NotFoundError
from lineage.names import dotted, find_version
from lineage.origins import parquet_writer
from lineage.plan import Workspace
from lineage.ranges import ranges
from lineage.tracer import Tracer, extents
from lineage.versions import FileVersion, Version, canonical_json

REASONS = "exclusions.json"
DROPPED = "exclusions.parquet"

_FORMAT = 1
_UNMATCHED = {"how": "unmatched", "text": "no row of the table came from it"}
_UNSEEN = {"how": "window", "text": "in no row's window"}

# What dropped rows: how it did (filter, join, dedup, slice, window or unmatched), and a text such as the predicate.
Reason = Mapping[str, str]


@dataclass(frozen=True)
class Exclusion:
    """Rows of one version that a step read and that reached no row of its table, for one reason.

    `how` is filter, join, dedup, slice, window or unmatched; `text` is the predicate or the like; `rows` are int64,
    ascending.
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


# --- asking


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
    if version.row_count is None or not origin.inputs or origin.inputs[0][0] == "raw":
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
        return cls(said["inputs"], paths.get(DROPPED)) if said.get("format") == _FORMAT else None

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
        f"{file.path}: the bytes of {file.sha256[:12]}… are gone, so nobody can say which rows {name} left out; run "
        "the step again.",
        file.path,
        file.sha256,
        None,
    )


# --- writing


def write_reasons(capture: Capture, ways: Ways, folder: Path) -> list[Path]:
    """Write what dropped rows of each input beside a table, whose own ways are `ways`; returns the files."""
    leads = _Leads(capture)
    said: dict[str, Any] = {}
    unclear: list[tuple[int, int, str, Cut]] = []
    for number, name in enumerate(capture.inputs):
        cuts = [cut for cut in capture.cuts if leads.to(cut.links, name)]
        by_one = len(cuts) == 1 and leads.stays_after(cuts[0], ways, name)
        said[name] = {
            "number": number,
            "cuts": [{"how": cut.how, "text": cut.text} for cut in cuts],
            "by_one": by_one,
            "otherwise": _UNSEEN if leads.only_by_window(ways.links, name) else _UNMATCHED,
        }
        if not by_one:
            unclear += [(number, place, name, cut) for place, cut in enumerate(cuts)]
    path = folder / REASONS
    path.write_bytes(canonical_json({"format": _FORMAT, "inputs": said}) + b"\n")
    return [path, _write_dropped(leads, unclear, folder / DROPPED)] if unclear else [path]


def _write_dropped(leads: _Leads, unclear: Sequence[tuple[int, int, str, Cut]], path: Path) -> Path:
    found = leads.collected([cut for *_, cut in unclear])
    parts = []
    for number, place, name, cut in unclear:
        before, after = (leads.rows(frame, cut.links, name) for frame in found[id(cut)])
        parts.append(_numbered(number, place, np.setdiff1d(before, after)))
    table = pl.concat(parts).to_arrow()
    with parquet_writer(path, table.schema) as writer:
        writer.write_table(table)
    return path


def _numbered(number: int, place: int, rows: np.ndarray) -> pl.DataFrame:
    """The rows of an input that an operation dropped, with the numbers of both."""
    count = len(rows)
    columns = {"input": np.full(count, number), "cut": np.full(count, place), "position": rows}
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.UInt32))


@dataclass
class _Leads:
    """Which links lead to an input, straight or through stages, and to which of its rows."""

    capture: Capture
    _members: dict[str, pl.DataFrame] = field(default_factory=dict)

    def to(self, links: Iterable[Link], name: str) -> bool:
        """Whether any of these links leads to input `name`, other than by looking at the past."""
        return any(link.to == name or self.to(self._inside(link, but=("past",)), name) for link in links)

    def stays_after(self, cut: Cut, ways: Ways, name: str) -> bool:
        """Whether the table has a link that led to input `name` before `cut`: then nothing after it lost rows of it.

        Rows of groups and windows may be lost without an operation that is noted, but not those that have a link.
        """
        return any(link.to == name and link in cut.links for link in ways.links)

    def only_by_window(self, links: Sequence[Link], name: str) -> bool:
        """Whether rows of the input are looked at in windows or as the past of others, and in no other way."""
        apart = (self._inside(link, but=("window", "past")) for link in links)
        return self._mentions(links, name) and not any(
            link.to == name or self._mentions(inside, name) for link, inside in zip(links, apart, strict=True)
        )

    def collected(self, cuts: Iterable[Cut]) -> dict[int, tuple[pl.DataFrame, pl.DataFrame]]:
        """The links of the rows before and after each cut, by its id: computed together, as most is the same."""
        unique = {id(cut): cut for cut in cuts}
        plans = [_links_of(plan, cut.links) for cut in unique.values() for plan in (cut.before, cut.after)]
        frames = iter(pl.collect_all(plans, engine="streaming"))
        return dict(zip(unique, zip(frames, frames, strict=True), strict=True))

    def rows(self, frame: pl.DataFrame, links: Iterable[Link], name: str) -> np.ndarray:
        """The rows of input `name` that those of these links lead to that the frame still has: sorted, unique."""
        there = set(frame.columns)
        parts = [
            self._behind(frame, link, name) for link in links if set(link.columns) <= there and self.to([link], name)
        ]
        return np.unique(np.concatenate([np.empty(0, np.int64), *parts]))

    def _behind(self, frame: pl.DataFrame, link: Link, name: str) -> np.ndarray:
        if link.to == name:
            return frame[link.columns[0]].drop_nulls().unique().to_numpy().astype(np.int64)
        stage = self._stages[link.to]
        members = self._all_members(stage)
        chosen = _in_windows(frame, link, members) if stage.kind == "window" else _in_groups(frame, link, members)
        return self.rows(chosen, stage.ways.links, name)

    def _all_members(self, stage: Stage) -> pl.DataFrame:
        if stage.name not in self._members:
            self._members[stage.name] = stage.plan.collect(engine="streaming")
        return self._members[stage.name]

    def _mentions(self, links: Iterable[Link], name: str) -> bool:
        """Whether any of these links leads to input `name`, however."""
        return any(link.to == name or self._mentions(self._inside(link), name) for link in links)

    def _inside(self, link: Link, *, but: Sequence[str] = ()) -> Iterable[Link]:
        """The links of the stage that a link leads to, unless it leads to an input or a stage of these kinds."""
        stage = self._stages.get(link.to)
        return stage.ways.links if stage and stage.kind not in but else ()

    @property
    def _stages(self) -> dict[str, Stage]:
        return {stage.name: stage for stage in self.capture.stages}


def _links_of(plan: pl.LazyFrame, links: Iterable[Link]) -> pl.LazyFrame:
    """The columns of those links that the plan still has: what an operation made groups of has lost its own."""
    there = set(plan.collect_schema())
    kept = [link.columns for link in links if set(link.columns) <= there]
    return plan.select(*dict.fromkeys(column for columns in kept for column in columns))


def _in_groups(frame: pl.DataFrame, link: Link, members: pl.DataFrame) -> pl.DataFrame:
    return members.filter(pl.col(GROUP).is_in(frame[link.columns[0]].drop_nulls().unique().implode()))


def _in_windows(frame: pl.DataFrame, link: Link, members: pl.DataFrame) -> pl.DataFrame:
    bounds = frame.select(link.columns).drop_nulls()
    # How many windows begin less how many have ended, at each row.
    depth = np.zeros(members.height + 1, np.int64)
    np.add.at(depth, bounds[link.columns[0]].to_numpy(), 1)
    np.subtract.at(depth, bounds[link.columns[1]].to_numpy().astype(np.int64) + 1, 1)
    return members.filter(pl.Series(np.cumsum(depth[:-1]) > 0))
