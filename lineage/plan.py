"""What a step would read and compute, without doing it: inputs, parameters, code, and their fingerprint.

A step is current when its last complete run had the same fingerprint and what it wrote is still there.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from lineage.discover import Project
from lineage.errors import DeclarationError, NotFoundError, SourceError
from lineage.identity.code import Code, read_code
from lineage.identity.environment import environment_digest
from lineage.objects import Objects
from lineage.ports import QUARANTINER
from lineage.quarantine import puts_aside
from lineage.settings import Settings
from lineage.spec import Fetch, Model, Source, Step
from lineage.store import Store
from lineage.versions import Version, digest_file, json_digest, sha256_file

Inputs = tuple[tuple[str, Version], ...]

WHOLE = ""
_WRITER = "lineage.tables:write_table"
_PARTING = ("lineage.parting:part", "lineage.parting:records", QUARANTINER)
_ROWS = ("lineage.rows.following:follow", "lineage.rows.origins:write_stages", "lineage.rows.reasons:write_reasons")


@dataclass(frozen=True)
class Declared:
    """The project as it is written: settings and declarations."""

    settings: Settings
    project: Project

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self.settings.root

    @cached_property
    def codes(self) -> dict[str, Code]:
        """The code of steps by name, each read once while this is open."""
        return {}


@dataclass(frozen=True)
class Workspace(Declared):
    """The project as it stands: what is declared, the store and the objects."""

    store: Store

    @cached_property
    def objects(self) -> Objects:
        """The project's object store."""
        return Objects(self.settings.root)


@dataclass(frozen=True)
class Plan:
    """One partition of a step, ready to run. `inputs` are (input name, version), in reading order.

    `raw` are versions of raw files that no fetch step recorded, to be recorded with this run. `definitions` and
    `declaration` say what `code` and the rest of the fingerprint consist of. `located` says where to read a version
    that is not to be read from its place: a replay's.
    """

    step: Step
    partition: str
    inputs: tuple[tuple[str, Version], ...]
    code: str
    suite: Path | None
    fingerprint: str
    raw: tuple[Version, ...] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)
    declaration: Mapping[str, Any] = field(default_factory=dict)
    located: Mapping[Version, Path] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """`flights.features[2013-01]`, or the bare step name for an unpartitioned one."""
        return label(self.step, self.partition)

    @property
    def versions(self) -> tuple[Version, ...]:
        """What is read, each version once, however many inputs it belongs to."""
        return tuple(dict.fromkeys(version for _, version in self.inputs))


def label(step: Step, partition: str) -> str:
    """A step and its partition, as messages write them."""
    return f"{step.full_name}[{partition}]" if partition else step.full_name


def make_plan(space: Workspace, step: Step, partition: str) -> Plan:
    """The plan of one partition; NotFoundError when something it reads has no version yet."""
    inputs, raw = _inputs(space, step, partition)
    return plan_reading(space, step, partition, inputs, raw)


def plan_reading(space: Declared, step: Step, partition: str, inputs: Inputs, raw: tuple[Version, ...] = ()) -> Plan:
    """The plan of one partition that reads these versions, whichever are current."""
    suite = suite_path(space, step)
    code, declaration = _code(space, step), declared(step, suite)
    identity = {
        "step": step.full_name,
        "partition": partition,
        "code": code.digest,
        **declaration,
        "inputs": [[name, version.dataset, version.partition, version.sha256] for name, version in inputs],
        "environment": environment_digest(space.root),
    }
    return Plan(step, partition, inputs, code.digest, suite, json_digest(identity), raw, code.definitions, declaration)


def declared(step: Step, suite: Path | None) -> dict[str, Any]:
    """What a step says beside its code: parameters, shape, and the sha256 of its suite's file."""
    checks = sha256_file(suite) if suite else None
    return {"parameters": dict(step.parameters), "shape": shape(step), "checks": checks}


def shape(step: Step) -> dict[str, Any]:
    """What decides the bytes beside code and the values of parameters: of a table its key, its inputs and whether it is
    one file; of a table and a source the order of what parameters map, such as a source's columns."""
    ordered = step.parameters if step.kind in ("source", "table") else {}
    order = {name: keys for name, value in ordered.items() if (keys := _key_order(value))}
    found: dict[str, Any] = {"order": order} if order else {}
    if step.kind == "table":
        inputs = [f"{item.name}={item.step}-{item.look_back}" for item in step.inputs]
        found |= {"key": list(step.key), "inputs": inputs, "whole": step.partitions is None}
        found |= {"rows": step.rows} if step.rows else {}
    return found


def _key_order(value: Any) -> list[Any]:
    """The keys of all mappings in a JSON value, in the order in which they stand: JSON itself knows no order."""
    if isinstance(value, Mapping):
        return [*value, *(keys for item in value.values() if (keys := _key_order(item)))]
    if isinstance(value, list | tuple):
        return [keys for item in value if (keys := _key_order(item))]
    return []


def partitions_to_run(space: Workspace, step: Step) -> tuple[str, ...]:
    """The partitions of `step` that can exist now: landed months, or the whole for an unpartitioned step."""
    if step.partitions is None:
        return (WHOLE,)
    if step.kind == "fetch":
        return landed(space, step)
    if step.kind == "source":
        return _files_present(space, step)
    sets = [set(partitions_available(space, item)) for item in space.project.inputs(step) if item.partitions]
    common = set.intersection(*sets)
    return tuple(key for key in step.partitions.keys if key in common)


def chosen_partitions(space: Workspace, step: Step, partition: str | None) -> tuple[str, ...]:
    """What a run of `step` covers: `partition` if one is named and it has any, or all that can exist now.

    Raises NotFoundError for a partition that it does not have, and an error that says why if none can exist.
    """
    if partition is None or step.partitions is None:
        return partitions_to_run(space, step) or _nothing_to_run(space, step)
    if partition not in (keys := step.partitions.keys):
        near = tuple(difflib.get_close_matches(partition, keys, n=3))
        hint = f"did you mean {' or '.join(near)}? It has" if near else "it has"
        raise NotFoundError(f"{step.full_name} has no partition {partition!r}; {hint} {keys[0]} to {keys[-1]}.", near)
    return (partition,)


def partitions_available(space: Workspace, step: Step) -> tuple[str, ...]:
    """The partitions of `step` that have a version."""
    return tuple(space.store.current(step.dataset))


def landed(space: Workspace, step: Step) -> tuple[str, ...]:
    """Months of a fetch step that are there; before anything is, the first ones that its partitions name."""
    assert isinstance(step.detail, Fetch)
    assert step.partitions is not None
    keys = step.partitions.keys
    known = set(space.store.current(step.dataset))
    found = {key for key in keys if key in known or (space.root / step.detail.target.path(key)).exists()}
    found |= set(keys[: step.partitions.first])
    return tuple(key for key in keys if key in found)


def step_code(space: Declared, step: Step) -> str:
    """Digest of the code that decides the bytes of `step`."""
    return _code(space, step).digest


def _code(space: Declared, step: Step) -> Code:
    if step.full_name not in space.codes:
        space.codes[step.full_name] = _read_code(space, step)
    return space.codes[step.full_name]


def _read_code(space: Declared, step: Step) -> Code:
    roots: dict[str, list[Any]] = {
        "fetch": ["lineage.sources:fetch"],
        "source": ["lineage.sources:read", _WRITER],
        "table": [step.function, _WRITER, *_ROWS],
        "model": [step.detail.trainer] if isinstance(step.detail, Model) else [],
    }
    aside = _PARTING if puts_aside(suite_path(space, step)) else ()
    return read_code([*roots[step.kind], *aside], space.root)


def suite_path(space: Declared, step: Step) -> Path | None:
    """The suite file of `step`'s checks; DeclarationError naming where it was looked for."""
    if step.checks is None:
        return None
    path = space.root / "validations" / "suites" / step.pipeline / f"{step.checks.name}.json"
    if not path.is_file():
        raise DeclarationError(
            f"{step.full_name}: its checks name suite {step.checks.name!r}, but there is no file "
            f"{path.relative_to(space.root)}; write it or take checks= out."
        )
    return path


def _inputs(
    space: Workspace, step: Step, partition: str
) -> tuple[tuple[tuple[str, Version], ...], tuple[Version, ...]]:
    if step.kind == "fetch":
        return (), ()
    if step.kind == "source":
        raw = _raw_version(space, step, partition)
        return (("raw", raw),), (() if step.inputs else (raw,))
    return tuple(_table_inputs(space, step, partition)), ()


def _table_inputs(space: Workspace, step: Step, partition: str) -> list[tuple[str, Version]]:
    found: list[tuple[str, Version]] = []
    for item, upstream in zip(step.inputs, space.project.inputs(step), strict=True):
        versions = space.store.current(upstream.dataset)
        wanted = _wanted(upstream, partition, item.look_back, versions, whole=step.partitions is None)
        if not wanted:
            raise NotFoundError(
                f"{label(step, partition)} reads {upstream.dataset}{f'[{partition}]' if partition else ''}, which has "
                f"no version yet; {_remedy(space, upstream, partition)}."
            )
        found += [(item.name, version) for version in wanted]
    return found


def _remedy(space: Workspace, step: Step, partition: str) -> str:
    """What brings the version of `step` that is missing: the first step of the way that has none itself."""
    for item in space.project.inputs(step):
        if (partition if item.partitions else WHOLE) not in space.store.current(item.dataset):
            return _remedy(space, item, partition)
    if step.partitions is None:
        return f"run `headwater run {step.full_name}` first, or `headwater run` for everything"
    if step.kind == "fetch":
        return f"land the month with `headwater run {step.full_name} --partition {partition}`, then `headwater run`"
    return f"run `headwater run {step.full_name} --partition {partition}` first, or `headwater run` for everything"


def _wanted(
    upstream: Step, partition: str, look_back: int, versions: Mapping[str, Version], *, whole: bool
) -> list[Version]:
    if upstream.partitions is None:
        return list(versions.values())
    if whole:
        return list(versions.values())
    if partition not in versions:
        return []
    return [versions[key] for key in upstream.partitions.before(partition, look_back) if key in versions]


def _raw_version(space: Workspace, step: Step, partition: str) -> Version:
    """The raw file as it is on disk: whatever stands there is what is read, and is recorded as such."""
    assert isinstance(step.detail, Source)
    name = step.detail.files.path(partition)
    path = space.root / name
    if not path.is_file():
        raise SourceError(f"{label(step, partition)}: there is no file {name}; put it there or fetch it.", name)
    return _file_version(f"{step.pipeline}/raw_{step.name}", partition, path, name)


def _file_version(dataset: str, partition: str, path: Path, name: str) -> Version:
    file = digest_file(path, name)
    return Version(dataset, partition, file.sha256, (file,), origin="local")


def _files_present(space: Workspace, step: Step) -> tuple[str, ...]:
    assert isinstance(step.detail, Source)
    assert step.partitions is not None
    return tuple(key for key in step.partitions.keys if (space.root / step.detail.files.path(key)).exists())


def _nothing_to_run(space: Workspace, step: Step) -> NoReturn:
    """Say why no partition of `step` can exist yet: a run that does nothing must not look like success."""
    if isinstance(step.detail, Source):
        fetch = "".join(f" or run `headwater run {item.full_name}`" for item in space.project.inputs(step))
        pattern = step.detail.files.pattern
        raise SourceError(
            f"{step.full_name}: there is no file {pattern} for any partition; put one there{fetch}.", pattern
        )
    lacking = [item.full_name for item in space.project.inputs(step) if not partitions_available(space, item)]
    if not lacking:
        message = f"{step.full_name} has no partition that all its inputs have; `headwater list` shows what there is."
        raise NotFoundError(message)
    raise NotFoundError(
        f"{step.full_name} lacks a first version of what it reads ({', '.join(lacking)}); run "
        f"`headwater run {lacking[0]}` first, or `headwater run` for everything."
    )
