"""Compute one version from given files with the code that this process has; it asks no store and changes nothing.

A replay calls `compute` in its own process for the present code, and `python -m lineage.compute` in another for
the code of another commit or other circumstances (threads); both get a `Task` and give `Computed`, as files and JSON.
So the name of this module and the form of these files are an agreement with commits of the past: they stay as they
are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from lineage.discover import discover
from lineage.errors import HeadwaterError, NotFoundError
from lineage.identity.environment import environment
from lineage.plan import Declared, Inputs, Plan, Workspace, plan_reading
from lineage.ports import Ports
from lineage.produce import Produced, explain, produce
from lineage.settings import Settings
from lineage.spec import Fetch, Step
from lineage.store import Store
from lineage.versions import FileVersion, Version, digest_file, files_from_json, files_to_json

# Of what is exchanged between processes, which may be of two commits.
FORMAT = 1


@dataclass(frozen=True)
class Task:
    """What is to be computed: a partition of a step from these inputs, whose bytes lie at `places`."""

    step: str
    partition: str
    inputs: Inputs
    places: Mapping[Version, Path]
    device: str = "auto"


@dataclass(frozen=True)
class Computed:
    """What came out, and of what: `version` and where its `files` are, or the `error` that came instead.

    `definitions`, `declaration`, `fingerprint` and `environment` are as a run records them; `lineage` are the
    files of row lineage among `files`. `aside` are the rows that checks put aside, and `aside_lineage` theirs.
    """

    version: Version | None = None
    files: Mapping[FileVersion, Path] = field(default_factory=dict)
    lineage: tuple[FileVersion, ...] = ()
    error: str | None = None
    code: str = ""
    definitions: Mapping[str, str] = field(default_factory=dict)
    declaration: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    failed: str | None = None
    aside: Version | None = None
    aside_lineage: tuple[FileVersion, ...] = ()

    @property
    def path(self) -> Path:
        """The only file of a table or raw file."""
        assert self.version is not None
        return self.files[self.version.file]


def compute(space: Declared, task: Task, folder: Path, ports: Ports) -> Computed:
    """Compute `task` in `folder`; what the step raises is the answer's `error`, not raised."""
    plan: Plan | None = None
    try:
        step = space.project.step(task.step)
        _require_inputs(step, task)
        plan = replace(plan_reading(space, step, task.partition, task.inputs), located=task.places)
        produced = _produced(space, plan, task, folder, ports)
    except Exception as error:  # noqa: BLE001 - whatever an author's function raises is what came out
        said = str(explain(plan, error)) if plan else f"{task.step}: {error}"
        return Computed(error=said, failed=type(error).__name__, **_of(space, plan))
    done = Computed(produced.version, produced.files, produced.lineage, **_of(space, plan))
    aside = produced.aside
    return done if aside is None else replace(done, aside=aside.version, aside_lineage=aside.lineage)


def present(space: Declared, task: Task) -> Computed:
    """What `task` would be computed with here and now, without computing it; `error` where it cannot be."""
    try:
        plan = plan_reading(space, space.project.step(task.step), task.partition, task.inputs)
    except HeadwaterError as error:
        return Computed(error=f"{task.step}: {error}", failed=type(error).__name__, **_of(space, None))
    return Computed(**_of(space, plan))


def _of(space: Declared, plan: Plan | None) -> dict[str, Any]:
    """What the answer was computed with."""
    found: dict[str, Any] = {"environment": environment(space.root)}
    if plan is not None:
        found |= {"code": plan.code, "definitions": plan.definitions, "fingerprint": plan.fingerprint}
        # As it comes out of the store: a tuple is a list there.
        found["declaration"] = json.loads(json.dumps(plan.declaration))
    return found


def _require_inputs(step: Step, task: Task) -> None:
    """NotFoundError where the step, as it is declared here, reads something else than what was recorded."""
    if step.kind not in ("table", "model"):
        return
    declared, recorded = {item.name for item in step.inputs}, {name for name, _ in task.inputs}
    if declared != recorded:
        raise NotFoundError(
            f"it reads {', '.join(sorted(declared))} now, and read {', '.join(sorted(recorded))}, so that what was "
            "recorded cannot be given to it; `--at-commit` has the code of then"
        )


def _produced(space: Declared, plan: Plan, task: Task, folder: Path, ports: Ports) -> Produced:
    if isinstance(plan.step.detail, Fetch):
        return _fetched(plan, plan.step.detail, folder)
    settings = replace(space.settings, device=task.device)
    # All inputs are located: nothing is looked up, and what would be is refused.
    bench = Workspace(settings, space.project, cast(Store, _NoStore()))
    return produce(bench, plan, folder, ports)


def _fetched(plan: Plan, detail: Fetch, folder: Path) -> Produced:
    """What the step would fetch, whatever stands in its place in the project."""
    from lineage import sources

    path = folder / "raw"
    path.write_bytes(sources.fetch(detail, plan.partition or None))
    file = digest_file(path, detail.target.path(plan.partition))
    return Produced(Version(plan.step.dataset, plan.partition, file.sha256, (file,)), {file: path})


class _NoStore:
    """Stands where a store would: a computation that asks it for something is not one of its inputs alone."""

    def __getattr__(self, name: str) -> Any:
        raise HeadwaterError(f"a replay reads nothing but its recorded inputs, and asked the store for {name!r}")


def task_json(task: Task, settings: Settings) -> dict[str, Any]:
    """A task and the settings that it is computed under, for another process."""
    return {
        "format": FORMAT,
        "step": task.step,
        "partition": task.partition,
        "inputs": [[name, _version_json(version), str(task.places[version])] for name, version in task.inputs],
        "device": task.device,
        "pipelines": settings.pipelines,
        "training_memory": settings.training_memory,
    }


def task_of(found: Mapping[str, Any]) -> Task:
    """The task in what `task_json` gave."""
    inputs = [(name, _version_of(version), Path(place)) for name, version, place in found["inputs"]]
    return Task(
        found["step"],
        found["partition"],
        tuple((name, version) for name, version, _ in inputs),
        {version: place for _, version, place in inputs},
        found["device"],
    )


def computed_json(done: Computed) -> dict[str, Any]:
    """An answer for another process, without the files themselves."""
    own = ("version", "files", "lineage", "aside", "aside_lineage")
    return {
        **{name: value for name, value in vars(done).items() if name not in own},
        "version": _version_json(done.version) if done.version else None,
        "files": [[vars(file), str(path)] for file, path in done.files.items()],
        "lineage": files_to_json(done.lineage),
        "aside": _version_json(done.aside) if done.aside else None,
        "aside_lineage": files_to_json(done.aside_lineage),
    }


def computed_of(found: Mapping[str, Any]) -> Computed:
    """The answer in what `computed_json` gave."""
    known = {name: value for name, value in found.items() if name in Computed.__dataclass_fields__}
    return Computed(
        **known
        | {
            "version": _version_of(found["version"]) if found["version"] else None,
            "files": {FileVersion(**file): Path(path) for file, path in found["files"]},
            "lineage": files_from_json(found["lineage"]),
            # Commits from before rows were put aside say nothing of them.
            "aside": _version_of(found["aside"]) if found.get("aside") else None,
            "aside_lineage": files_from_json(found.get("aside_lineage", ())),
        }
    )


def _version_json(version: Version) -> dict[str, Any]:
    return {**vars(version), "files": files_to_json(version.files), "fields": [list(pair) for pair in version.fields]}


def _version_of(found: Mapping[str, Any]) -> Version:
    fields = tuple((name, kind) for name, kind in found["fields"])
    return Version(**{**found, "files": files_from_json(found["files"]), "fields": fields})


def main(folder: Path) -> int:
    """Compute the task in `folder`/task.json with the project in the working directory; writes answer.json there."""
    found = json.loads((folder / "task.json").read_text())
    root = Path.cwd()
    settings = Settings(
        root, root / ".headwater", pipelines=found["pipelines"], training_memory=found["training_memory"]
    )
    try:
        done = compute(Declared(settings, discover(settings)), task_of(found), folder, Ports())
    except HeadwaterError as error:
        done = Computed(error=str(error), failed=type(error).__name__)
    (folder / "answer.json").write_text(json.dumps(computed_json(done)))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
