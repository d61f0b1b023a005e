"""Rows that a step's checks put aside: beside its table `flights/legs` stands the dataset `flights/legs.quarantine`.

A step has one as long as its suite marks an expectation `quarantine`, also while no row breaks any. Which rows break
what is judged batch by batch while the table is written (`Screen`), and what came of it is told with the checks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lineage.errors import StepFailedError
from lineage.ports import CheckReport, Expectation, QuarantineRule

SUFFIX = ".quarantine"
# What a row that was put aside has beside the columns of its table: which expectations it broke, and its row ids.
EXPECTATIONS = "quarantine.expectations"
SOURCE = "quarantine.source"
COLUMNS: Mapping[str, pl.DataType] = {EXPECTATIONS: pl.List(pl.String), SOURCE: pl.List(pl.String)}
# How the exclusion ledger calls what was put aside.
HOW = "quarantine"

_MARK = "quarantine"
_ROW = "\0row"

# For a hidden column of positions: the files that these count through, by name, with the rows of each.
Places = Mapping[str, Sequence[tuple[str, int]]]


def quarantine_of(dataset: str) -> str:
    """The dataset of the rows that are put aside of a table."""
    return f"{dataset}{SUFFIX}"


def is_quarantine(dataset: str) -> bool:
    """Whether a dataset is that of rows that were put aside; no step's name holds a dot."""
    return dataset.endswith(SUFFIX)


def table_of(dataset: str) -> str:
    """The table of a dataset of rows that were put aside; any other dataset is its own."""
    return dataset.removesuffix(SUFFIX)


def puts_aside(suite: Path | None) -> bool:
    """Whether a suite marks any expectation `quarantine`: what its JSON says, be it otherwise right or wrong."""
    if suite is None:
        return False
    try:
        entries = json.loads(suite.read_bytes())["expectations"]
        return any(entry.get("meta") and entry["meta"].get("action") == _MARK for entry in entries)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


@dataclass
class Tally:
    """How many rows a rule was about, and how many of these broke it."""

    rule: QuarantineRule
    about: int = 0
    broken: int = 0

    @property
    def fails(self) -> bool:
        """Whether fewer rows hold it than its `mostly` demands."""
        mostly = self.rule.mostly
        return mostly is not None and self.about > 0 and (self.about - self.broken) / self.about < mostly


@dataclass
class Screen:
    """Parts the rows of a table in those that go on and those that are put aside, and counts.

    `places` say where the rows came from: hidden columns of positions that lead to one row of an input each.
    """

    rules: Sequence[QuarantineRule]
    places: Places
    label: str
    tallies: tuple[Tally, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.tallies = tuple(Tally(rule) for rule in self.rules)

    def part(self, batch: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The rows of a batch that hold all rules, and the others with the columns of `COLUMNS`."""
        flags = self._judged(batch)
        broken = flags.select(_broken(at) for at in range(len(self.rules)))
        for at, tally in enumerate(self.tallies):
            tally.about += int(flags[_about(at)].sum())
            tally.broken += int(flags[_broken(at)].sum())
        aside = broken.select(pl.any_horizontal(pl.all())).to_series() if self.rules else pl.Series([False])
        if not aside.any():
            return batch, self._told(batch.clear(), broken.clear())
        return batch.filter(~aside), self._told(batch.filter(aside), broken.filter(aside))

    def _judged(self, batch: pl.DataFrame) -> pl.DataFrame:
        """For each rule which rows break it and which it is about."""
        wanted = [
            expr
            for at, rule in enumerate(self.rules)
            for expr in (rule.broken.alias(_broken(at)), rule.about.alias(_about(at)))
        ]
        # The row numbers are there so that an expression without columns is as long as the others.
        try:
            return batch.select(pl.int_range(pl.len()).alias(_ROW), *wanted)
        except Exception:
            for rule in self.rules:
                self._require_computable(batch, rule)
            raise

    def _require_computable(self, batch: pl.DataFrame, rule: QuarantineRule) -> None:
        try:
            batch.select(rule.broken)
        except Exception as error:
            first = str(error).strip().partition("\n")[0]
            raise StepFailedError(
                f"{self.label}: {rule.text} cannot be judged row by row ({first}); correct the suite or the rows, or "
                "take the action quarantine out.",
                self.label,
                None,
            ) from error

    def _told(self, rows: pl.DataFrame, broken: pl.DataFrame) -> pl.DataFrame:
        texts = [pl.when(pl.col(_broken(at))).then(pl.lit(rule.text)) for at, rule in enumerate(self.rules)]
        return rows.with_columns(_lists(broken, texts).alias(EXPECTATIONS), self._sources(rows).alias(SOURCE))

    def _sources(self, rows: pl.DataFrame) -> pl.Series:
        """The row ids of rows: each once, in the order of the places."""
        named = pl.DataFrame({column: _row_ids(rows[column], files) for column, files in self.places.items()})
        if not self.places:
            return pl.Series([[]] * rows.height, dtype=COLUMNS[SOURCE])
        return _lists(named, [pl.col(column) for column in self.places]).list.unique(maintain_order=True)


def judged(report: CheckReport, tallies: Sequence[Tally]) -> CheckReport:
    """What a suite found on the rows that went on, with what was put aside: how many rows, and where that were more
    than the expectation's `mostly` lets pass, its failure."""
    by_place = {tally.rule.expectation: tally for tally in tallies}
    found = (_with(item, by_place[at]) if at in by_place else item for at, item in enumerate(report.expectations))
    return replace(report, expectations=tuple(found))


def _with(item: Expectation, tally: Tally) -> Expectation:
    if not tally.fails:
        return replace(item, quarantined=tally.broken)
    said: dict[str, Any] = {
        "element_count": tally.about,
        "unexpected_count": tally.broken,
        "mostly": tally.rule.mostly,
        "quarantine": "more rows broke it than `mostly` lets pass",
    }
    return replace(item, success=False, observed=said, quarantined=tally.broken)


def _lists(frame: pl.DataFrame, texts: Sequence[pl.Expr]) -> pl.Series:
    """For each row the list of its texts, without nulls."""
    if not texts:
        return pl.Series([[]] * frame.height, dtype=pl.List(pl.String))
    return frame.select(pl.concat_list(texts).list.drop_nulls()).to_series()


def _row_ids(positions: pl.Series, files: Sequence[tuple[str, int]]) -> pl.Series:
    """`name:row` of positions through files, null where there is none."""
    begins = np.cumsum([0, *(rows for _, rows in files)])[: len(files)]
    known = positions.fill_null(0).to_numpy().astype(np.int64)
    # Of files without rows, which begin where the next one does, the last is not one of them.
    file = np.searchsorted(begins, known, "right") - 1
    named = pl.DataFrame({"name": pl.Series([name for name, _ in files]).gather(file), "row": known - begins[file]})
    ids = named.select(pl.format("{}:{}", "name", "row")).to_series()
    return ids.set(positions.is_null(), None)


def _broken(at: int) -> str:
    return f"\0broken{at}"


def _about(at: int) -> str:
    return f"\0about{at}"
