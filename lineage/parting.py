"""A table whose checks put rows aside: both tables and the row lineage of both, written in one pass.

Everything is a function of the step's inputs, its code and its suite, so that a replay gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import polars as pl

from lineage.frame import TrackedFrame
from lineage.plan import Plan
from lineage.ports import QuarantineRule
from lineage.quarantine import Places, Screen, Tally, quarantine_of
from lineage.rows.capture import Capture
from lineage.rows.origins import DESCRIPTION, ROWS, stored_names, write_stages
from lineage.rows.quarantined import note_cuts, write_description
from lineage.rows.reasons import write_reasons
from lineage.tables import check_key, rows_folder, table_version, write_parted
from lineage.versions import FileVersion, Version, digest_file

# The name of a source's only input.
RAW = "raw"
_RAW_FOLDER = PurePosixPath("data/raw")


@dataclass(frozen=True)
class PutAside:
    """The rows that a table's checks put aside, as a version of their own, and how many broke what."""

    version: Version
    lineage: tuple[FileVersion, ...]
    tallies: tuple[Tally, ...]


@dataclass(frozen=True)
class Parted:
    """The table of the rows that went on, where each of the files lies, and the rows that did not."""

    version: Version
    files: Mapping[FileVersion, Path]
    lineage: tuple[FileVersion, ...]
    aside: PutAside


def records(frame: pl.DataFrame) -> TrackedFrame:
    """The records of a raw file, followed from their places in it."""
    capture = Capture((RAW,))
    column = capture.column()
    return TrackedFrame.of_input(capture, RAW, frame.lazy().with_row_index(column), column).finished()


def part(plan: Plan, frame: TrackedFrame, rules: Sequence[QuarantineRule], folder: Path, *, keep_order: bool) -> Parted:
    """Compute `frame`, which the step of `plan` gave; write in `folder` the rows that hold `rules` and the others."""
    names = plan.step.dataset, quarantine_of(plan.step.dataset)
    screen = Screen(rules, _places(plan, frame), plan.label)
    beside = tuple(folder / name for name in ("rows", "rows-aside"))
    for path in beside:
        path.mkdir()
    tables = folder / "table.parquet", folder / "aside.parquet"
    links = beside[0] / ROWS, beside[1] / ROWS
    written = write_parted(
        frame.result,
        tables,
        links,
        screen=screen,
        key=plan.step.key,
        keep_order=keep_order,
        beside=stored_names(frame.ways.links),
    )
    check_key(tables[0], plan.step.key, plan.step.full_name, plan.partition or None)
    versions = [table_version(*each) for each in zip(names, [plan.partition] * 2, tables, written, strict=True)]
    stages, own, others = _row_lineage(frame, rules, links, tables[1])
    stage_files = _named(stages, names[0], plan.partition)
    own_files, other_files = (
        _named(paths, name, plan.partition) for paths, name in zip((own, others), names, strict=True)
    )
    placed = {version.file: path for version, path in zip(versions, tables, strict=True)}
    return Parted(
        versions[0],
        {**placed, **stage_files, **own_files, **other_files},
        (*own_files, *stage_files),
        # What rows were brought together in is the same for both.
        PutAside(versions[1], (*other_files, *stage_files), screen.tallies),
    )


def _row_lineage(
    frame: TrackedFrame, rules: Sequence[QuarantineRule], links: tuple[Path, Path], aside: Path
) -> tuple[list[Path], list[Path], list[Path]]:
    """What is written beside the tables: the stages, to which both lead, and what belongs to each of them."""
    note_cuts(frame.capture, frame.ways, *links, aside)
    folder = links[0].parent
    *stages, described = write_stages(frame.capture, frame.ways, folder)
    judged = {name for rule in rules for name in rule.broken.meta.root_names()}
    own = [links[0], described, *write_reasons(frame.capture, frame.ways, folder)]
    return stages, own, [links[1], write_description(described, judged, links[1].parent / DESCRIPTION)]


def _named(paths: Sequence[Path], dataset: str, partition: str) -> dict[FileVersion, Path]:
    return {digest_file(path, f"{rows_folder(dataset, partition)}/{path.name}"): path for path in paths}


def _places(plan: Plan, frame: TrackedFrame) -> Places:
    """For each link that leads to one row of an input the files of that."""
    direct = [link for link in frame.ways.links if link.to in {name for name, _ in plan.inputs}]
    return {
        link.columns[0]: [
            (_row_name(version), version.row_count or 0) for name, version in plan.inputs if name == link.to
        ]
        for link in direct
    }


def _row_name(version: Version) -> str:
    """A file as the names of its rows begin: `flights/departures/2013-01.csv`, `data/tables/flights/legs/….parquet`."""
    path = PurePosixPath(version.file.path)
    return str(path.relative_to(_RAW_FOLDER) if path.is_relative_to(_RAW_FOLDER) else path)
