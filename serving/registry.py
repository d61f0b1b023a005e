"""Which model versions there are, which one answers, and a private, verified copy of its bundle."""

from __future__ import annotations

import difflib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

from lineage.errors import IntegrityError, NotFoundError
from lineage.objects import sync
from lineage.plan import WHOLE, Workspace
from lineage.spec import Model, Step
from lineage.store import Row
from lineage.tracing.ancestry import recorded_version
from lineage.versions import Version, require_bytes
from serving.bundle import MANIFEST, Bundle, load_bundle
from serving.promotion import CHALLENGER, CHAMPION, decision_of, decisions


@dataclass(frozen=True)
class ServedModel:
    """The version of a declared model that answers: its step, its loaded bundle and the run that trained it."""

    step: Step
    bundle: Bundle
    run_id: UUID

    @property
    def name(self) -> str:
        """The model's name, such as `flights-late-t0`."""
        return self.step.model_name

    @property
    def digest(self) -> str:
        """The version: sha256 of the bundle's manifest."""
        return self.bundle.digest


def list_models(space: Workspace) -> list[dict[str, Any]]:
    """Every trained version of every declared model as plain JSON, by model, newest first.

    Keys: name, digest, aliases, trained_at (ISO 8601), run_id, metrics and inputs (the declared features).
    """
    steps = {step.model_name: step for step in space.project.models()}
    rows = space.store.rows("bundles", model=None)
    return [_version(steps[row["model"]], row) for row in rows if row["model"] in steps]


def show_model(space: Workspace, name: str) -> dict[str, Any]:
    """One declared model as plain JSON: its step, table, target and inputs, aliases, versions and decisions.

    `decisions`, newest first, say of every version that was to answer whether it was promoted, and why.
    NotFoundError names the nearest models. A model that was never trained has no versions.
    """
    step = find_model(space, name)
    versions = [_version(step, row) for row in space.store.rows("bundles", model=step.model_name)]
    return {
        "name": step.model_name,
        "step": step.full_name,
        "table": f"{step.pipeline}/{declared(step).table}",
        "target": declared(step).target,
        "inputs": list(declared(step).features),
        **{alias: _named(versions, alias) for alias in (CHAMPION, CHALLENGER)},
        "versions": versions,
        "decisions": [decision_of(row).to_json() for row in decisions(space, step.model_name)],
    }


def find_model(space: Workspace, name: str) -> Step:
    """The step that declares the model called `name`; NotFoundError names the nearest ones."""
    steps = {step.model_name: step for step in space.project.models()}
    if name in steps:
        return steps[name]
    near = tuple(difflib.get_close_matches(name, steps, n=3))
    hint = f"did you mean {' or '.join(near)}?" if near else "`headwater models list` shows what there is."
    raise NotFoundError(f"There is no model {name!r}; {hint}", near)


def declared(step: Step) -> Model:
    """What a model step declares beyond its name."""
    assert isinstance(step.detail, Model)
    return step.detail


def aliases(space: Workspace, step: Step) -> dict[str, Row]:
    """Alias -> where it points (digest) and since when (set_at); empty for a model that was never trained."""
    return {row["alias"]: row for row in space.store.rows("aliases", model=step.model_name)}


def find_version(space: Workspace, step: Step, name: str) -> str:
    """The digest that `name` stands for: an alias, or how a version's digest begins.

    Raises NotFoundError, with the versions that there are, where that is none of them, or several.
    """
    digests = [row["digest"] for row in space.store.rows("bundles", model=step.model_name)]
    pointed = aliases(space, step)
    found = [pointed[name]["digest"]] if name in pointed else [item for item in digests if item.startswith(name)]
    if len(found) == 1 and name:
        return str(found[0])
    what = f"begins {len(found)} versions" if found else "is no version"
    known = ", ".join(digest[:12] for digest in digests) or f"none; run `headwater run {step.full_name}`"
    raise NotFoundError(f"{name!r} {what} of {step.model_name}; there are {known}.", tuple(digests))


def require_bundle(space: Workspace, step: Step, digest: str) -> Row:
    """What is on record of a version: dataset, run_id and metrics; NotFoundError when there is nothing."""
    if row := space.store.row("bundle", model=step.model_name, digest=digest):
        return row
    raise NotFoundError(f"Version {digest[:12]} of {step.model_name} is not on record; was the database replaced?")


def load_version(space: Workspace, step: Step, digest: str) -> Bundle:
    """Any version on record, loaded from its private copy; raises what `champion` raises."""
    row = require_bundle(space, step, digest)
    return _load(space, recorded_version(space.store, row["dataset"], WHOLE, digest))


def champion_digest(space: Workspace, model: str) -> str:
    """The version that answers for `model`; NotFoundError where none does, or nothing has that name."""
    return str(_champion_row(space, find_model(space, model))["digest"])


def champion(space: Workspace, model: str) -> ServedModel:
    """The version that answers for `model`, loaded from its private copy.

    Raises NotFoundError where there is no such model or no champion, IntegrityError naming the file whose
    bytes are not those of the version.
    """
    step = find_model(space, model)
    row = _champion_row(space, step)
    version = recorded_version(space.store, row["dataset"], WHOLE, row["digest"])
    return ServedModel(step, _load(space, version), row["run_id"])


def copy_bundle(files: Mapping[str, Path], folder: Path) -> None:
    """Copy the manifest among `files` (name -> where its bytes are) and what it names into `folder`, durably.

    A model's version also holds files that are not its bundle's, such as metrics: those stay out.
    """
    if MANIFEST not in files:
        raise NotFoundError(f"There is no {MANIFEST} among {sorted(files)}; these are no bundle's files.")
    named = json.loads(files[MANIFEST].read_bytes())["files"]
    for name in (MANIFEST, *named):
        if name not in files:
            raise NotFoundError(f"The bundle's {MANIFEST} names {name!r}, which is not among {sorted(files)}.")
        shutil.copyfile(files[name], folder / name)
        sync(folder / name)
    sync(folder)


def _champion_row(space: Workspace, step: Step) -> Row:
    row = space.store.row("champion", model=step.model_name)
    if row is not None:
        return row
    if aliases(space, step):
        raise NotFoundError(
            f"No version of model {step.model_name!r} has been promoted yet; `headwater models show "
            f"{step.model_name}` says why, `headwater models promote {step.model_name}` does it by hand."
        )
    raise NotFoundError(
        f"Model {step.model_name!r} has not been trained yet; run `headwater run {step.full_name}`, or "
        "`headwater run` for everything it reads as well."
    )


def _named(versions: list[dict[str, Any]], alias: str) -> str | None:
    return next((item["digest"] for item in versions if alias in item["aliases"]), None)


def _version(step: Step, row: Row) -> dict[str, Any]:
    return {
        "name": row["model"],
        "digest": row["digest"],
        "aliases": list(row["aliases"]),
        "trained_at": row["created_at"].isoformat(),
        "run_id": str(row["run_id"]),
        "metrics": row["metrics"],
        "inputs": list(declared(step).features),
    }


def _load(space: Workspace, version: Version) -> Bundle:
    folder = space.settings.home / "bundles" / version.sha256
    if folder.is_dir():
        try:
            return load_bundle(folder, digest=version.sha256)
        except IntegrityError:
            # Our own copy was damaged; it is made again from the objects, which are verified then.
            shutil.rmtree(folder)
    return load_bundle(_private_copy(space, version), digest=version.sha256)


def _private_copy(space: Workspace, version: Version) -> Path:
    """A folder with the bundle's files: training again replaces data/models, but not what is being served."""
    folder = space.settings.home / "bundles" / version.sha256
    if folder.is_dir():
        return folder
    for file in version.files:
        require_bytes(space.objects.path(file.md5), file.sha256, file.path)
    # A model may be called like a file of its bundle: its metrics, elsewhere, are not that file.
    inside = PurePosixPath("data/models") / version.dataset
    paths = {PurePosixPath(file.path): space.objects.path(file.md5) for file in version.files}
    files = {path.name: place for path, place in paths.items() if path.parent == inside}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".copy-", ignore_cleanup_errors=True) as made:
        partial = Path(made) / version.sha256
        partial.mkdir()
        copy_bundle(files, partial)
        _rename(partial, folder)
    return folder


def _rename(partial: Path, folder: Path) -> None:
    """Make `partial` the folder, unless another process was faster with the same content."""
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    sync(folder.parent)
