"""What the runner asks of others, so that `lineage` imports neither `validations` nor `serving`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lineage.spec import Step

if TYPE_CHECKING:
    import polars as pl


# Where GX names the columns of expectations that are about several.
_PAIR = ("column_A", "column_B")
_TOLD = (*_PAIR, "column_list")

# Who reads a suite for the rows that it puts aside; its code is part of that of the step.
QUARANTINER = "validations.quarantine:rules"


@dataclass(frozen=True)
class Expectation:
    """The result of one expectation, as plain data. `column` is None for table-level ones.

    `quarantined` rows broke it and were put aside; what was observed is of those that went on. `expected` is what it
    was asked for, beside the column. `wording` is what a page says of it: `expected`, `found`, `observed` and (some of
    the) `rows` that broke it, each a list of texts, values and tables.
    """

    kind: str
    column: str | None
    success: bool
    blocking: bool
    observed: Mapping[str, Any]
    quarantined: int = 0
    unexpected_percent: float | None = None
    expected: Mapping[str, Any] = field(default_factory=dict)
    wording: Mapping[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it is about: one, the two of a pair, those of a list; none of the table as a whole."""
        return about(self.column, self.expected)


@dataclass(frozen=True)
class CheckReport:
    """What a suite found on one version of a table.

    `columns` are the metrics of columns that its expectations happened to measure, named as OpenLineage does.
    """

    suite: str
    expectations: tuple[Expectation, ...]
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def success(self) -> bool:
        """Whether no blocking expectation failed."""
        return all(item.success or not item.blocking for item in self.expectations)

    @property
    def failures(self) -> tuple[str, ...]:
        """One line for each blocking expectation that failed."""
        return tuple(describe(item) for item in self.expectations if item.blocking and not item.success)


@dataclass(frozen=True)
class QuarantineRule:
    """An expectation whose broken rows are put aside: its place in the suite (from 0), what it says, and as Polars
    expressions, never null, which rows break it and which it is about.

    With `mostly`, it fails where a smaller share of the rows that it is about holds it.
    """

    expectation: int
    text: str
    broken: pl.Expr
    about: pl.Expr
    mostly: float | None = None


@dataclass(frozen=True)
class Training:
    """What this process grants a trainer: bytes of memory for the rows, a device (auto, cpu or cuda), threads.

    `threads` None means all. On the CPU nothing of it may change what is trained.
    """

    memory_bytes: int = 2 * 2**30
    device: str = "auto"
    threads: int | None = None


@dataclass(frozen=True)
class TrainedBundle:
    """What a trainer leaves in its folder: the bundle's digest, its files' names, metrics and row counts.

    `plots` are the CSV files (name -> bytes) that belong beside the metrics rather than into the bundle.
    `circumstances` are true of this run and not of the bytes (which device, and why): they are recorded beside
    the metrics in the store and stand in no file.
    """

    digest: str
    files: tuple[str, ...]
    metrics: Mapping[str, Any]
    circumstances: Mapping[str, Any] = field(default_factory=dict)
    plots: Mapping[str, bytes] = field(default_factory=dict)


class Checker(Protocol):
    """Runs a suite (a GX JSON file) on a Parquet file; `parameters` are the values of its `$PARAMETER`."""

    def __call__(self, suite: Path, table: Path, parameters: Mapping[str, Any]) -> CheckReport: ...


class Quarantiner(Protocol):
    """Reads the expectations of a suite that put rows aside, for a table of this schema."""

    def __call__(self, suite: Path, schema: pl.Schema, parameters: Mapping[str, Any]) -> tuple[QuarantineRule, ...]: ...


class Trainer(Protocol):
    """Trains the model of `step` from the table's files and writes its bundle into `folder`.

    The folder above `folder` is the run's own: what is left there, also by a crash, is removed.
    """

    def __call__(self, step: Step, tables: tuple[Path, ...], folder: Path, training: Training) -> TrainedBundle: ...


class Scorer(Protocol):
    """Recomputes the margin of one feature row with the bundle whose files are given, on its engine."""

    def __call__(self, files: tuple[tuple[str, Path], ...], features: Mapping[str, Any], engine: str) -> bytes: ...


@dataclass(frozen=True)
class Ports:
    """Dotted names (`module:name`) of the implementations, resolved when they are first needed.

    Checking loads great_expectations and training xgboost: a step that needs neither must not pay.
    """

    checker: str = "validations.check:run_suite"
    scorer: str = "serving.predict:score"
    quarantiner: str = QUARANTINER

    def check(self, suite: Path, table: Path, parameters: Mapping[str, Any]) -> CheckReport:
        """Run a suite with the configured checker."""
        report: CheckReport = resolve(self.checker)(suite, table, parameters)
        return report

    def rules(self, suite: Path, schema: pl.Schema, parameters: Mapping[str, Any]) -> tuple[QuarantineRule, ...]:
        """The expectations of a suite that put rows aside; asked only of a suite that marks any."""
        found: tuple[QuarantineRule, ...] = resolve(self.quarantiner)(suite, schema, parameters)
        return found

    def train(
        self, step: Step, trainer: str, tables: tuple[Path, ...], folder: Path, training: Training
    ) -> TrainedBundle:
        """Train with the trainer that the model declares."""
        bundle: TrainedBundle = resolve(trainer)(step, tables, folder, training)
        return bundle

    def score(self, files: Mapping[str, Path], features: Mapping[str, Any], engine: str) -> bytes:
        """The margin's bits of one feature row, little-endian float32."""
        margin: bytes = resolve(self.scorer)(tuple(files.items()), features, engine)
        return margin


def resolve(dotted: str) -> Callable[..., Any]:
    """The callable named `module:name`."""
    module, _, name = dotted.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def suite_parameters(partition: str) -> dict[str, Any]:
    """What a suite may ask of the partition that it judges, by `$PARAMETER`; nothing where there is none.

    `partition` is the key (2013-03), `year` and `month` are whole numbers; `start` and `end` are the first day of the
    month and of the next, as ISO dates.
    """
    if not partition:
        return {}
    year, month = map(int, partition.split("-"))
    start, end = date(year, month, 1), date(year + month // 12, month % 12 + 1, 1)
    return {"partition": partition, "year": year, "month": month, "start": start.isoformat(), "end": end.isoformat()}


def about(column: str | None, expected: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns of an expectation: its one column, else those that it was asked for by the names of GX."""
    several = expected.get("column_list")
    listed = several if isinstance(several, list | tuple) else ()
    named = [column] if column else [expected.get(key) for key in _PAIR] + [*listed]
    return tuple(name for name in named if isinstance(name, str))


def describe(item: Expectation) -> str:
    """One expectation in words: what, on which columns, and what was observed."""
    where = f" on {', '.join(item.columns)}" if item.columns else ""
    observed = ", ".join(f"{name}={value}" for name, value in item.observed.items() if name not in _TOLD)
    return f"{item.kind}{where}{f' ({observed})' if observed else ''}"


__all__ = [
    "CheckReport",
    "Checker",
    "Expectation",
    "Ports",
    "QuarantineRule",
    "Quarantiner",
    "Scorer",
    "TrainedBundle",
    "Trainer",
    "Training",
    "about",
    "describe",
    "resolve",
    "suite_parameters",
]
