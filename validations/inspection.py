"""What is wrong in the suites of a project, as it is declared and stored: nothing is run, and no database is asked.

An expectation on a column that a table lost does not fail where somebody edits the table, but in the next run.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lineage.errors import HeadwaterError, NotFoundError
from lineage.plan import Declared, suite_path
from lineage.ports import suite_parameters
from lineage.spec import Source, Step
from lineage.tables import table_path
from validations.references import lacking
from validations.suite import Examined, examine_suite

Problem = Literal["column", "expectation", "suite", "missing", "unused", "unstored"]

_SUITES = Path("validations") / "suites"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; `text` is a sentence. `position` counts the expectations of a suite from 1.

    Not `wrong`, and so a warning, are suites that no step uses, and steps whose columns nobody knows yet.
    """

    problem: Problem
    suite: str
    text: str
    step: str | None = None
    position: int | None = None
    expectation: str | None = None
    column: str | None = None
    nearest: tuple[str, ...] = ()

    @property
    def wrong(self) -> bool:
        """Whether it has to be corrected."""
        return self.problem not in ("unused", "unstored")


@dataclass(frozen=True)
class Inspection:
    """What was looked at (suites, by path), how many expectations these have, and what was found."""

    suites: tuple[str, ...]
    expectations: int
    findings: tuple[Finding, ...] = field(default=())

    @property
    def good(self) -> bool:
        """Whether nothing has to be corrected."""
        return not any(item.wrong for item in self.findings)


def inspect_suites(space: Declared, names: Sequence[str] = ()) -> Inspection:
    """What is wrong in all suites, or in those of these names (`pipeline/suite`, or the file's path).

    Raises NotFoundError for a name that neither a file nor a declaration has, with the nearest.
    """
    users = _users(space)
    stored = {path.relative_to(space.root).as_posix() for path in (space.root / _SUITES).rglob("*.json")}
    chosen = _chosen(space, sorted(stored | users.keys()), names)
    findings: list[Finding] = []
    count = 0
    for suite in chosen:
        if suite not in stored:
            findings += [_missing(space, suite, step) for step in users[suite]]
            continue
        known, found = _inspect(space, suite, users.get(suite, []))
        findings += found
        count += known
    return Inspection(tuple(chosen), count, tuple(findings))


def _users(space: Declared) -> dict[str, list[Step]]:
    """Suite's path -> the steps that declare it."""
    found: dict[str, list[Step]] = {}
    for step in space.project.steps:
        if step.checks is not None:
            path = (_SUITES / step.pipeline / f"{step.checks.name}.json").as_posix()
            found.setdefault(path, []).append(step)
    return found


def _chosen(space: Declared, suites: Sequence[str], names: Sequence[str]) -> list[str]:
    if not names:
        return [*suites]
    short = {_short(suite): suite for suite in suites}
    chosen = []
    for name in names:
        path = Path(name).resolve()
        below = path.relative_to(space.root).as_posix() if path.is_relative_to(space.root) else name
        found = short.get(name) or (below if below in suites else None)
        if found is None:
            near = tuple(difflib.get_close_matches(name, short, n=3))
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(short) or 'none'}."
            raise NotFoundError(f"There is no suite {name!r}; {hint}", near)
        chosen.append(found)
    return list(dict.fromkeys(chosen))


def _short(suite: str) -> str:
    return Path(suite).relative_to(_SUITES).with_suffix("").as_posix()


def _missing(space: Declared, suite: str, step: Step) -> Finding:
    try:
        suite_path(space, step)
    except HeadwaterError as error:
        return Finding("missing", suite, str(error), step.full_name)
    raise AssertionError(f"{suite} is there")


def _inspect(space: Declared, suite: str, steps: Sequence[Step]) -> tuple[int, list[Finding]]:
    """How many expectations a suite has, and what is wrong with it for the steps that declare it."""
    findings: list[Finding] = []
    parameters = _parameters(steps)
    if not steps:
        text = f"{suite}: no step declares it; name it in checks=suite(…), or delete it."
        findings.append(Finding("unused", suite, text))
    try:
        found = examine_suite(space.root / suite, parameters)
    except HeadwaterError as error:
        return 0, [*findings, Finding("suite", suite, _below(space, str(error)))]
    for at, problem in found.errors.items():
        kind = found.entries[at].get("type") if isinstance(found.entries[at], dict) else None
        told = _below(space, str(problem))
        findings.append(Finding("expectation", suite, told, None, at + 1, kind and str(kind)))
    for step in steps:
        columns = _columns(space, step)
        if columns is None:
            text = f"{suite}: {step.full_name} has no version in data/tables, so its columns are not known; run it."
            findings.append(Finding("unstored", suite, text, step.full_name))
        else:
            findings += _lost(suite, step, found, columns)
    return len(found.entries), findings


def _parameters(steps: Sequence[Step]) -> dict[str, Any]:
    """What the run of the newest partition of such a step gives a suite: the names are the same for all."""
    for step in steps:
        if step.partitions is not None:
            return suite_parameters(step.partitions.keys[-1])
    return {}


def _below(space: Declared, text: str) -> str:
    return text.replace(f"{space.root}/", "")


def _columns(space: Declared, step: Step) -> list[str] | None:
    """The columns that the next version of a step is expected to have; None where nobody knows.

    Reading a source refuses a file whose columns are not the declared ones. A table's are those of its newest
    partition.
    """
    if isinstance(step.detail, Source):
        return [*step.detail.schema]
    paths = stored_files(space, step)
    if not paths:
        return None
    import pyarrow.parquet as pq

    return [*pq.read_schema(paths[-1]).names]


def stored_files(space: Declared, step: Step, partition: str | None = None) -> list[Path]:
    """The files that a source or table has in data/tables, by partition, or that of one partition."""
    keys = ("",) if step.partitions is None else (partition,) if partition else step.partitions.keys
    paths = [space.root / table_path(step.dataset, key) for key in keys]
    return [path for path in paths if path.is_file()]


def _lost(suite: str, step: Step, found: Examined, columns: Sequence[str]) -> Iterator[Finding]:
    for at, written in enumerate(found.entries):
        entry = found.usable.get(at, written)
        if not isinstance(entry, dict) or not isinstance(entry.get("kwargs"), dict):
            continue
        kind = str(entry.get("type"))
        for lost in lacking(entry["kwargs"], columns):
            text = f"{suite}: expectation {at + 1} ({kind}) {lost.told(step.full_name)}"
            yield Finding("column", suite, text, step.full_name, at + 1, kind, lost.column, lost.nearest)
