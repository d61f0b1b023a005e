"""The bytes of a new version, by kind of step. Everything is written in a workshop, nothing is visible yet."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from lineage import sources
from lineage.batches import panics_as_errors
from lineage.errors import HeadwaterError, StepFailedError
from lineage.frame import TrackedFrame
from lineage.parting import PutAside, part, records
from lineage.plan import Plan, Workspace
from lineage.plots import plots_folder
from lineage.ports import Ports, Training, suite_parameters
from lineage.quarantine import puts_aside
from lineage.rows.following import follow
from lineage.rows.origins import ROWS, stored_names, write_stages
from lineage.rows.reasons import write_reasons
from lineage.spec import Fetch, Model, Source, Step
from lineage.tables import Written, check_key, rows_folder, table_version, write_table
from lineage.versions import FileVersion, Version, digest_file, require_bytes, sha256_file

# Characters of a failure's message; what goes wrong in a file can quote all of it.
_LONGEST = 1000


@dataclass(frozen=True)
class Produced:
    """A version that exists only in the workshop: where each of its files lies, and what is recorded of a model:
    its metrics and the circumstances of its training.

    `lineage` are those of the files that say which rows of the inputs each row came from; `aside` is None of a step
    whose checks put no rows aside.
    """

    version: Version
    files: Mapping[FileVersion, Path]
    metrics: Mapping[str, object] | None = None
    lineage: tuple[FileVersion, ...] = ()
    aside: PutAside | None = None


def produce(space: Workspace, plan: Plan, folder: Path, ports: Ports) -> Produced:
    """Compute the version that `plan` describes, in `folder`."""
    detail = plan.step.detail
    with panics_as_errors():
        if isinstance(detail, Fetch):
            return _fetch(space, plan, detail, folder)
        if isinstance(detail, Source):
            return _source(space, plan, detail, folder, ports)
        if isinstance(detail, Model):
            return _model(space, plan, detail, folder, ports)
        return _table(space, plan, folder, ports)


def explain(plan: Plan, error: Exception) -> HeadwaterError:
    """`error` as what the runner raises: a HeadwaterError, one printable line that names step and partition."""
    text = str(error).strip()
    if isinstance(error, HeadwaterError):
        error.args = (_line(text if plan.label in text else f"{plan.label}{_place(plan.step, error)}: {text}"),)
        return error
    first = text.partition("\n")[0]
    message = f"{plan.label} failed{_place(plan.step, error)}: {type(error).__name__}{f': {first}' if first else ''}"
    return StepFailedError(_line(message), plan.step.full_name, plan.partition)


def model_folder(step: Step) -> str:
    """Where a model's bundle stands, relative to the root."""
    return f"data/models/{step.dataset}"


def metrics_path(step: Step) -> str:
    """Where a model's metrics stand, relative to the root; git keeps this file."""
    return f"data/metrics/{step.dataset}.json"


def _fetch(space: Workspace, plan: Plan, detail: Fetch, folder: Path) -> Produced:
    name = detail.target.path(plan.partition)
    path = folder / "raw"
    fetched = sources.fetch(detail, plan.partition or None)
    present = space.root / name
    # A file that is already there stays as it is: a correction must survive, and be known as one. Not what was
    # fetched before, from where the declaration no longer points.
    data = present.read_bytes() if present.exists() and not _was_fetched(space, plan, present) else fetched
    path.write_bytes(data)
    file = digest_file(path, name)
    origin = sources.origin_name(detail.origin) if data == fetched else "local"
    return Produced(Version(plan.step.dataset, plan.partition, file.sha256, (file,), origin=origin), {file: path})


def _was_fetched(space: Workspace, plan: Plan, path: Path) -> bool:
    known = space.store.version(plan.step.dataset, plan.partition, str(sha256_file(path)))
    return known is not None and known.origin != "local"


def _source(space: Workspace, plan: Plan, detail: Source, folder: Path, ports: Ports) -> Produced:
    (raw,) = (version for _, version in plan.inputs)
    path = plan.located.get(raw, space.root / raw.file.path)
    frame = sources.read(path, detail, f"{plan.label}: {raw.file.path}")
    # Afterwards: the file is its owner's, who may have written to it while it was read.
    require_bytes(path, raw.file.sha256, raw.file.path)
    if puts_aside(plan.suite):
        return _parted(plan, records(frame), folder, ports, keep_order=True)
    return _written(plan, frame.lazy(), folder, keep_order=True)


def _table(space: Workspace, plan: Plan, folder: Path, ports: Ports) -> Produced:
    frame = follow(plan.step, {item.name: _paths(space, plan, item.name) for item in plan.step.inputs})
    if puts_aside(plan.suite):
        return _parted(plan, frame, folder, ports, keep_order=False)
    beside = folder / "rows"
    beside.mkdir()
    names = stored_names(frame.ways.links)
    produced = _written(plan, frame.result, folder, keep_order=False, beside=names, rows_path=beside / ROWS)
    paths = [beside / ROWS, *write_stages(frame.capture, frame.ways, beside)]
    paths += write_reasons(frame.capture, frame.ways, beside)
    files = {digest_file(path, f"{rows_folder(plan.step.dataset, plan.partition)}/{path.name}"): path for path in paths}
    return replace(produced, files={**produced.files, **files}, lineage=tuple(files))


def _parted(plan: Plan, frame: TrackedFrame, folder: Path, ports: Ports, *, keep_order: bool) -> Produced:
    assert plan.suite is not None
    rules = ports.rules(plan.suite, frame.types, suite_parameters(plan.partition))
    found = part(plan, frame, rules, folder, keep_order=keep_order)
    return Produced(found.version, found.files, lineage=found.lineage, aside=found.aside)


def _model(space: Workspace, plan: Plan, detail: Model, folder: Path, ports: Ports) -> Produced:
    tables = tuple(_readable(space, plan, version) for _, version in plan.inputs)
    workplace = folder / "bundle"
    workplace.mkdir()
    training = Training(space.settings.training_memory, space.settings.device)
    bundle = ports.train(plan.step, detail.trainer, tables, workplace, training)
    files = {
        digest_file(workplace / name, f"{model_folder(plan.step)}/{name}"): workplace / name for name in bundle.files
    }
    metrics = folder / "metrics.json"
    metrics.write_text(json.dumps(bundle.metrics, indent=2, sort_keys=True) + "\n")
    files[digest_file(metrics, metrics_path(plan.step))] = metrics
    files |= _plots(plan.step, bundle.plots, folder / "plots")
    version = Version(plan.step.dataset, plan.partition, bundle.digest, tuple(files))
    return Produced(version, files, {**bundle.metrics, **bundle.circumstances})


def _plots(step: Step, plots: Mapping[str, bytes], folder: Path) -> dict[FileVersion, Path]:
    folder.mkdir()
    for name, data in plots.items():
        (folder / name).write_bytes(data)
    return {digest_file(folder / name, f"{plots_folder(step)}/{name}"): folder / name for name in plots}


def _paths(space: Workspace, plan: Plan, name: str) -> list[Path]:
    return [_readable(space, plan, version) for input_name, version in plan.inputs if input_name == name]


def _readable(space: Workspace, plan: Plan, version: Version) -> Path:
    """Where to read the version: its object in the cache, which nobody replaces while it is read.

    The file in its place is compared too, and refused where nobody recorded its bytes. It may lack, or be
    another version: one that was recorded since this run was planned.
    """
    if version in plan.located:
        return plan.located[version]
    file, path = version.file, space.root / version.file.path
    whole, found = space.objects.is_whole(file), sha256_file(path)
    known = found in (None, file.sha256) or space.store.version(version.dataset, version.partition, str(found))
    if not (whole and known):
        require_bytes(path, file.sha256, file.path)
    return space.objects.path(file.md5) if whole else path


def _place(step: Step, error: Exception) -> str:
    """Where in the author's code `error` was raised; nowhere when Polars raised it later, while it streamed."""
    if step.function is None:
        return ""
    package = step.function.__module__.partition(".")[0]
    frames = traceback.walk_tb(error.__traceback__)
    places = [(str(frame.f_globals.get("__name__")), line) for frame, line in frames]
    own = [(module, line) for module, line in places if module.partition(".")[0] == package]
    return "".join(f" at line {line} of {module}" for module, line in own[-1:])


def _line(text: str) -> str:
    """`text` as one line that Postgres and a terminal can take: raw bytes are quoted in what readers say."""
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(text.split()))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _written(
    plan: Plan,
    frame: pl.LazyFrame,
    folder: Path,
    *,
    keep_order: bool,
    beside: Mapping[str, str] | None = None,
    rows_path: Path | None = None,
) -> Produced:
    path = folder / "table.parquet"
    written: Written = write_table(
        frame, path, key=plan.step.key, keep_order=keep_order, beside=beside, rows_path=rows_path
    )
    check_key(path, plan.step.key, plan.step.full_name, plan.partition or None)
    version = table_version(plan.step.dataset, plan.partition, path, written)
    return Produced(version, {version.file: path})
