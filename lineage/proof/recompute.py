"""Compute recorded versions again from their recorded inputs, and say whether the bytes are the same, or what differs.

With the present code or that of the recorded commit; from the recorded inputs of each version, or with a whole chain
from its raw files upwards. Everything is written in a workshop: nothing on record and nothing in place changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lineage.compute import Computed, Task, compute
from lineage.errors import NotFoundError
from lineage.plan import Workspace
from lineage.ports import Ports
from lineage.proof.differences import changed_code, changed_files, changed_table, changed_values
from lineage.proof.worktree import PROCESS_FAILED, compute_in, worktree
from lineage.quarantine import is_quarantine
from lineage.store import Row
from lineage.tracing.ancestry import Origin, origin_of
from lineage.versions import Version

# (what is to be computed, the run that did it, a folder) -> what came out.
Computer = Callable[[Task, Row, Path], Computed]

# What can differ between a run and its replay. The last: nothing that is on record does, and the bits do.
CAUSES = ("code", "inputs", "parameters", "environment", "engine", "nondeterminism")

# The error of a device that is not there, by its name: serving defines it.
_NO_ENGINE = "DeviceError"


@dataclass(frozen=True)
class Replayed:
    """What came of replaying one version.

    `result` is `identical`, `different` (other bytes, or an error) or `impossible` (it could not be tried).
    `changes` says by cause what is another than it was on record, also where the bytes are the same; `causes`
    are those of a result that is not identical, `differences` what is seen in the bytes.
    """

    version: Version
    run: Row | None
    result: str
    recomputed: str | None = None
    causes: tuple[str, ...] = ()
    changes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    differences: tuple[str, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether the recorded bytes came out."""
        return self.result == "identical"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        run = self.run or {}
        return {
            "dataset": self.version.dataset,
            "partition": self.version.partition,
            "version": self.version.sha256,
            "result": self.result,
            "identical": self.identical,
            "recomputed": self.recomputed,
            "causes": list(self.causes),
            "changes": {cause: list(lines) for cause, lines in self.changes.items()},
            "differences": list(self.differences),
            "run_id": str(run["run_id"]) if run else None,
            "commit": run.get("commit_sha"),
        }


def replay_versions(
    space: Workspace,
    versions: Sequence[Version],
    ports: Ports,
    *,
    from_source: bool = False,
    at_commit: bool = False,
    progress: Callable[[Replayed], None] = lambda _: None,
) -> list[Replayed]:
    """Compute each version again and compare bytes; with `from_source` everything it came from first, from the raw
    files upwards, each table from the replayed ones; with `at_commit` each with the code of its run's commit.
    """
    with ExitStack() as held:
        folder = held.enter_context(space.objects.workshop())
        computer = held.enter_context(_at_commits(space)) if at_commit else _with_present_code(space, ports)
        bench = _Bench(space, folder, computer, from_source, progress)
        for version in versions:
            bench.replay(version)
        return list(bench.done.values())


def run_changes(space: Workspace, run: Row, now: Computed) -> dict[str, list[str]]:
    """What of code, parameters and environment is another than when `run` computed, by cause; a sentence each."""
    before = run["declaration"] or {"parameters": run["parameters"]}
    present = {name: now.declaration[name] for name in before} if now.declaration else before
    # What an older run did not record, nobody can say to differ.
    environment = {name: value for name, value in now.environment.items() if name in run["environment"]}
    found = {
        "code": [],
        "parameters": changed_values(before, present, ""),
        "environment": changed_values(run["environment"], environment, "") if environment else [],
    }
    if not now.code:
        # It did not come to computing: there is no step of that name, or no process for it.
        found["environment" if now.failed == PROCESS_FAILED else "code"] = [str(now.error)]
    elif now.code != run["code"]:
        found["code"] = changed_code(_definitions(space, run["code"]), now.definitions)
    return {cause: lines for cause, lines in found.items() if lines}


def _definitions(space: Workspace, code: str) -> dict[str, str] | None:
    row = space.store.row("code_definitions", digest=code)
    return row["definitions"] if row else None


def _with_present_code(space: Workspace, ports: Ports) -> Computer:
    return lambda task, _, folder: compute(space, task, folder, ports)


@contextmanager
def _at_commits(space: Workspace) -> Iterator[Computer]:
    """Computes each task with the code of its run's commit; a worktree for each commit until this is left."""
    with ExitStack() as held:
        trees: dict[str | None, Path | str] = {}

        def tree(commit: str | None) -> Path | str:
            if commit not in trees:
                try:
                    trees[commit] = held.enter_context(worktree(space.root, commit))
                except NotFoundError as error:
                    trees[commit] = str(error)
            return trees[commit]

        def computer(task: Task, run: Row, folder: Path) -> Computed:
            found = tree(run["commit_sha"])
            if isinstance(found, str):
                return Computed(error=found, failed="NotFoundError")
            return compute_in(found, task, folder, space.settings)

        yield computer


@dataclass
class _Bench:
    """One replay: what was computed so far, in which folder, and where the replayed bytes of a version lie."""

    space: Workspace
    folder: Path
    computer: Computer
    from_source: bool
    progress: Callable[[Replayed], None]
    done: dict[Version, Replayed] = field(default_factory=dict)
    places: dict[Version, Path] = field(default_factory=dict)

    def replay(self, version: Version) -> None:
        """Replay `version`, once; with `from_source` what it came from before."""
        if version in self.done:
            return
        origin = origin_of(self.space.store, version)
        if self.from_source:
            for _, item in origin.inputs:
                # Raw files are what it stands on: their bytes are compared when they are read.
                if item.origin is None:
                    self.replay(item)
        found = self.done[version] = self._replayed(origin)
        self.progress(found)

    def _replayed(self, origin: Origin) -> Replayed:
        version, run = origin.version, origin.run
        if run is None or version.origin == "local":
            why = "somebody put these bytes there; nothing computes them" if version.origin else "no run is on record"
            return _impossible(origin, "inputs", [why])
        places, missing = self._inputs(origin)
        if missing:
            return _impossible(origin, "inputs", missing)
        task = Task(run["step"], version.partition, origin.inputs, places, self._device(version))
        return self._judged(origin, task, self._compute(task, run))

    def _inputs(self, origin: Origin) -> tuple[dict[Version, Path], list[str]]:
        """Where each input is to be read, and what of them is nowhere."""
        places, missing = {}, []
        for _, version in origin.inputs:
            if version in self.done and version not in self.places:
                missing.append(f"{_label(version)} could not be replayed itself")
            elif path := self.places.get(version) or self.space.objects.find(version.file):
                places[version] = path
            else:
                missing.append(
                    f"{version.file.path}: the bytes of version {version.sha256[:12]} are neither in the cache nor in "
                    "place; `dvc pull` may bring them back"
                )
        return places, missing

    def _device(self, version: Version) -> str:
        """Where a model was trained, and is to be trained again."""
        row = self.space.store.row("bundle_of", dataset=version.dataset, digest=version.sha256)
        device = row["metrics"].get("device") if row else None
        return str(device["name"]) if isinstance(device, Mapping) else self.space.settings.device

    def _compute(self, task: Task, run: Row) -> Computed:
        folder = self.folder / f"replay-{len([*self.folder.glob('replay-*')])}"
        folder.mkdir()
        return self.computer(task, run, folder)

    def _judged(self, origin: Origin, task: Task, computed: Computed) -> Replayed:
        """What to say of `computed`: whether it is what is on record, and why not."""
        run, changes = origin.run, self._changes(origin, computed)
        assert run is not None
        if computed.version is None:
            result = "impossible" if computed.failed in ("NotFoundError", PROCESS_FAILED) else "different"
            changes = changes or {"nondeterminism": ["nothing on record is another, and yet it failed"]}
            return Replayed(origin.version, run, result, None, tuple(changes), changes, (str(computed.error),))
        if len(computed.version.files) == 1:
            self.places[origin.version] = computed.path
        made = _output(computed, origin.version)
        recomputed, differences = made.sha256 if made else None, self._differences(origin, computed)
        if not differences:
            return Replayed(origin.version, run, "identical", recomputed, (), changes)
        changes = changes or self._unexplained(task, run, computed)
        return Replayed(origin.version, run, "different", recomputed, tuple(changes), changes, tuple(differences))

    def _changes(self, origin: Origin, computed: Computed) -> dict[str, list[str]]:
        """What is another than it was on record, by cause, in the order of `CAUSES`."""
        assert origin.run is not None
        found = run_changes(self.space, origin.run, computed)
        done = {item: self.done[item] for _, item in origin.inputs if item in self.done}
        if other := [_label(item) for item, replayed in done.items() if not replayed.identical]:
            found["inputs"] = [f"{label} was replayed to other bytes" for label in other]
        if computed.failed == _NO_ENGINE:
            found["engine"] = [str(computed.error)]
        return {cause: found[cause] for cause in CAUSES if cause in found}

    def _differences(self, origin: Origin, computed: Computed) -> list[str]:
        """How the bytes that came out differ from those on record."""
        assert origin.run is not None
        outputs = self.space.store.run_outputs(origin.run["run_id"])
        # With a table those rows are compared that its checks put aside, where that is what was asked for only they.
        wanted = [item for item in outputs if item == origin.version or is_quarantine(item.dataset)]
        return [line for item in wanted or [origin.version] for line in self._of_output(origin, item, computed)]

    def _of_output(self, origin: Origin, recorded: Version, computed: Computed) -> list[str]:
        """How an output of a run came out otherwise than it is on record."""
        said = f"{_label(recorded)}: " if recorded != origin.version else ""
        if (made := _output(computed, recorded)) is None:
            return [f"{said}its checks put no rows aside now"]
        found = [] if made.sha256 == recorded.sha256 else self._contents(recorded, made, computed)
        lineage = computed.aside_lineage if made is computed.aside else computed.lineage
        known = self.space.store.run_lineage(origin.run["run_id"], recorded.dataset) if origin.run else ()
        rows = [{file.path: file.sha256 for file in files} for files in (known, lineage)]
        # Older runs recorded no rows.
        found += [f"row lineage: {line}" for line in (changed_files(*rows) if known else ())]
        return [f"{said}{line}" for line in found]

    def _contents(self, recorded: Version, made: Version, computed: Computed) -> list[str]:
        if recorded.row_count is None:
            files = [{file.path: file.sha256 for file in version.files} for version in (recorded, made)]
            return changed_files(*files) or [f"its digest was {recorded.sha256}, and is {made.sha256}"]
        path = self.space.objects.find(recorded.file)
        if path is None:
            return [f"{recorded.file.path}: the recorded bytes are gone, so that only their sha256 can be compared"]
        # Of rows that were put aside, two may have one key.
        key = () if is_quarantine(recorded.dataset) else self._key(recorded)
        return changed_table(path, computed.files[made.file], key)

    def _key(self, version: Version) -> tuple[str, ...]:
        steps = (step for step in self.space.project.steps if step.dataset == version.dataset)
        return next((step.key for step in steps), ())

    def _unexplained(self, task: Task, run: Row, computed: Computed) -> dict[str, list[str]]:
        """Why bytes differ where nothing that is on record of the run does."""
        assert computed.version is not None
        if computed.fingerprint != run["fingerprint"]:
            said = "its key, inputs or checks are declared otherwise; which is not on record for this run"
            return {"parameters": [said]}
        again = self._compute(task, run)
        same = again.version is not None and again.version.sha256 == computed.version.sha256
        seen = "computed twice here it gives the same bytes" if same else "computed twice here it gives two results"
        said = "code, inputs, parameters and environment are those on record, and the bytes differ all the same"
        return {"nondeterminism": [f"{said}; {seen}"]}


def _output(computed: Computed, recorded: Version) -> Version | None:
    """What was computed of the dataset of a version on record."""
    return computed.aside if is_quarantine(recorded.dataset) else computed.version


def _impossible(origin: Origin, cause: str, lines: Sequence[str]) -> Replayed:
    return Replayed(origin.version, origin.run, "impossible", None, (cause,), {cause: lines})


def _label(version: Version) -> str:
    return f"{version.dataset}[{version.partition}]" if version.partition else version.dataset
