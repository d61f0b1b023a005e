"""What must run: the steps and months that a change reaches, and those that could have been made and were not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set

import dagster as dg

from lineage.discover import Project
from lineage.plan import WHOLE, Workspace, partitions_available, partitions_to_run, step_code
from lineage.spec import Input, Step
from lineage.versions import Version
from orchestration.deployment import deployment_key

# Step (by its full name) -> months; no months for an unpartitioned step.
Reach = dict[str, set[str]]


def reach(project: Project, roots: Mapping[str, Set[str]]) -> Reach:
    """The steps of `roots` and all that read them, directly or not, with the months that read a month reached.

    Those are the same month, and later ones as far as they look back on it; a whole input is read by every month.
    """
    found: Reach = {}
    for step in project.steps:
        pairs = zip(step.inputs, project.inputs(step), strict=True)
        read = [(item, upstream) for item, upstream in pairs if upstream.full_name in found]
        if read or step.full_name in roots:
            found[step.full_name] = set(roots.get(step.full_name, ())) | _reading_months(step, read, found)
    return found


def runnable(space: Workspace, wanted: Reach) -> Reach:
    """Of the steps and months wanted, those whose inputs are there or will be made by the same run.

    A month that has come to one source and not yet to another waits for it, without a failed run.
    """
    found: Reach = {}
    for step in space.project.steps:
        if step.full_name not in wanted:
            continue
        inputs = space.project.inputs(step)
        months = set(wanted[step.full_name])
        if step.kind == "table":
            months.intersection_update(*(_months(space, item, found) for item in inputs if item.partitions))
        waits = step.partitions is None and step.inputs and not any(item.full_name in found for item in inputs)
        if not waits and (months or step.partitions is None):
            found[step.full_name] = months
    return found


def gaps(space: Workspace, pipeline: str) -> Reach:
    """Tables and models of a pipeline that have no version though everything that they read has one.

    A run that was killed leaves such, and so do two runs at once that each bring one of two inputs.
    """
    derived = [step for step in space.project.steps if step.pipeline == pipeline and step.kind in ("table", "model")]
    found: Reach = {}
    for step in derived:
        missing = set(partitions_to_run(space, step)) - set(partitions_available(space, step))
        if missing and all(partitions_available(space, item) for item in space.project.inputs(step)):
            found[step.full_name] = missing - {WHOLE}
    return found


def undecided(space: Workspace, pipeline: str) -> dict[str, str]:
    """Models of a pipeline (by full name) whose newest version no gate has decided on, and that version.

    A run that was killed between training and gate leaves such, and so does who runs the model's asset alone.
    """
    trained = {row["model"]: row["digest"] for row in space.store.rows("undecided_models")}
    models = [step for step in space.project.models() if step.pipeline == pipeline]
    return {step.full_name: trained[step.model_name] for step in models if step.model_name in trained}


def gate_keys(project: Project, names: Iterable[str]) -> list[dg.AssetKey]:
    """The assets of models' gates."""
    return [deployment_key(project.step(name)) for name in names]


def reads(space: Workspace, names: Iterable[str]) -> list[list[str]]:
    """For each step: its code and the versions of its inputs, which decide whether running it again can help."""
    steps = [step for step in space.project.steps if step.full_name in set(names)]
    return [
        [step.full_name, step_code(space, step), *(version.sha256 for version in _input_versions(space, step))]
        for step in steps
    ]


def asset_keys(project: Project, names: Iterable[str]) -> list[dg.AssetKey]:
    """The assets of steps, in running order; a model's is followed by that of its gate."""
    chosen = set(names)
    return [key for step in project.steps if step.full_name in chosen for key in _asset_keys(step)]


def _asset_keys(step: Step) -> list[dg.AssetKey]:
    key = dg.AssetKey([step.pipeline, step.name])
    return [key, deployment_key(step)] if step.kind == "model" else [key]


def _reading_months(step: Step, read: list[tuple[Input, Step]], found: Reach) -> set[str]:
    if step.partitions is None:
        return set()
    keys = step.partitions.keys
    if any(upstream.partitions is None for _, upstream in read):
        return set(keys)
    places = [(keys.index(month), item.look_back) for item, upstream in read for month in found[upstream.full_name]]
    return {month for place, look_back in places for month in keys[place : place + look_back + 1]}


def _months(space: Workspace, step: Step, found: Reach) -> set[str]:
    """Months of a step that have a version, or will have one."""
    return found.get(step.full_name, set()) | set(space.store.current(step.dataset))


def _input_versions(space: Workspace, step: Step) -> Iterator[Version]:
    for item in space.project.inputs(step):
        yield from space.store.current(item.dataset).values()
