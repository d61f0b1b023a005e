"""Sensors: raw files that came or changed are materialized; runs from other doors are reported to Dagster."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from lineage.discover import Project
from lineage.plan import WHOLE, Workspace, partitions_to_run
from lineage.settings import Settings
from lineage.spec import Source, Step
from lineage.versions import json_digest, sha256_file
from orchestration.project import open_workspace
from orchestration.reach import Reach, asset_keys, gaps, gate_keys, reach, reads, runnable, undecided
from orchestration.reports import drain_reports

_INTERVAL_SECONDS = 10
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
# On a run whose range is only the outline of what shall run: months that have not landed are left alone.
LANDED_ONLY = "headwater/landed_only"

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

# Size and time of a file when it was looked at.
Mark = list[int]


@dataclass(frozen=True)
class Change:
    """A raw file whose bytes are not those that its source was last made from."""

    step: Step
    partition: str
    name: str
    mark: Mark


def raw_file_sensor(settings: Settings, project: Project, pipeline: str, job: Any) -> Any:
    """Requests, for raw files whose bytes are not those on record, one run of just what depends on them.

    And of what is missing though it could be made, or was trained and not decided on. The cursor keeps size and
    time of the files that were looked at, so that only touched ones are hashed. It is stored with the request:
    a look that fails is repeated.
    """
    sources = [step for step in project.steps if step.pipeline == pipeline and isinstance(step.detail, Source)]

    @dg.sensor(
        name=f"{pipeline}_raw_files",
        job=job,
        description=f"Raw files of {pipeline} that came or changed.",
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if context.instance.get_runs_count(dg.RunsFilter(job_name=pipeline, statuses=_UNFINISHED)):
            return dg.SkipReason(f"A run of {pipeline} is at work; files are looked at when it has ended.")
        seen: dict[str, Mark] = json.loads(context.cursor or "{}")
        with open_workspace(settings) as space:
            marks = _marks(space, sources)
            changes = [change for change in marks if seen.get(change.name) != change.mark and _is_news(space, change)]
            requests = _requests(space, changes, gaps(space, pipeline), undecided(space, pipeline))
        cursor = json.dumps({mark.name: mark.mark for mark in marks})
        reason = None if requests else "Nothing has changed, and nothing is missing."
        return dg.SensorResult(run_requests=requests, skip_reason=reason, cursor=cursor)

    return look


def report_sensor(settings: Settings) -> Any:
    """Drains the queue of materializations that Dagster has not heard of."""

    @dg.sensor(
        name="outside_runs",
        description="Materializations by `headwater run` and `dvc repro`, reported to Dagster.",
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def report(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        with open_workspace(settings) as space:
            count = drain_reports(space, context.instance)
        return dg.SkipReason(f"Reported {count} materializations from other doors.")

    return report


def range_tags(months: Iterable[str]) -> dict[str, str]:
    """Tags of a run that brings those of `months` up to date that can be; none for no months."""
    ordered = sorted(months)
    return {RANGE_START: ordered[0], RANGE_END: ordered[-1], LANDED_ONLY: "true"} if ordered else {}


def _marks(space: Workspace, sources: Sequence[Step]) -> list[Change]:
    """Every raw file that there is, as a change that it may be."""
    found = []
    for step in sources:
        assert isinstance(step.detail, Source)
        for partition in partitions_to_run(space, step):
            name = step.detail.files.path(partition)
            if (path := space.root / name).is_file():
                stat = path.stat()
                found.append(Change(step, partition, name, [stat.st_size, stat.st_mtime_ns]))
    return found


def _is_news(space: Workspace, change: Change) -> bool:
    last = space.store.row("last_complete_run", step=change.step.full_name, partition=change.partition)
    if last is None:
        return True
    ((_, raw),) = space.store.run_inputs(last["run_id"])
    return sha256_file(space.root / change.name) != raw.sha256


def _requests(
    space: Workspace, changes: Sequence[Change], missing: Reach, waiting: Mapping[str, str]
) -> list[dg.RunRequest]:
    """One run for everything: files that belong together come together, and a model is trained once."""
    roots = {name: set(months) for name, months in missing.items()}
    for change in changes:
        # A fetch step takes note of the change first, if there is one.
        root = next(iter(space.project.inputs(change.step)), change.step)
        roots.setdefault(root.full_name, set()).update({change.partition} - {WHOLE})
    wanted = runnable(space, reach(space.project, roots))
    gates = {name: version for name, version in waiting.items() if name not in wanted}
    if not (wanted or gates):
        return []
    # Dagster takes up a key once: what failed is not tried again until something is different.
    key = json_digest([[[change.name, change.mark] for change in changes], reads(space, missing), gates])
    tags = range_tags(set().union(*wanted.values()))
    assets = [*asset_keys(space.project, wanted), *gate_keys(space.project, gates)]
    return [dg.RunRequest(run_key=key, asset_selection=assets, tags=tags)]
