"""Sensors: raw files that came or changed are materialized; runs from other doors are reported to Dagster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg

from lineage.discover import Project
from lineage.plan import WHOLE, Workspace, partitions_to_run
from lineage.settings import Settings
from lineage.spec import Source, Step
from lineage.versions import sha256_file
from orchestration.project import open_workspace
from orchestration.reports import drain_reports

_INTERVAL_SECONDS = 10
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def raw_file_sensor(settings: Settings, project: Project, pipeline: str, job: Any) -> Any:
    """Requests, for each raw file whose bytes are not those on record, just what depends on it.

    The cursor keeps size and time of the files that were looked at, so that only touched ones are hashed.
    """
    sources = [step for step in project.steps if step.pipeline == pipeline and isinstance(step.detail, Source)]

    @dg.sensor(
        name=f"{pipeline}_raw_files",
        job=job,
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        seen: dict[str, list[int]] = json.loads(context.cursor or "{}")
        with open_workspace(settings) as space:
            changed = list(_changed(space, sources, seen))
            requests = [_request(space, step, partition, sha256) for step, partition, sha256 in changed]
        reason = None if requests else "No raw file has changed."
        return dg.SensorResult(run_requests=requests, skip_reason=reason, cursor=json.dumps(seen))

    return look


def report_sensor(settings: Settings) -> Any:
    """Drains the queue of materializations that Dagster has not heard of."""

    @dg.sensor(
        name="outside_runs",
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def report(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        with open_workspace(settings) as space:
            count = drain_reports(space, context.instance)
        return dg.SkipReason(f"Reported {count} materializations from other doors.")

    return report


def _changed(space: Workspace, sources: list[Step], seen: dict[str, list[int]]) -> Iterator[tuple[Step, str, str]]:
    for step in sources:
        assert isinstance(step.detail, Source)
        known = space.store.current(f"{step.pipeline}/raw_{step.name}")
        for partition in partitions_to_run(space, step):
            name = step.detail.files.path(partition)
            path = space.root / name
            if not path.exists():
                continue
            stat = path.stat()
            mark = [stat.st_size, stat.st_mtime_ns]
            if seen.get(name) == mark:
                continue
            seen[name] = mark
            sha256 = sha256_file(path) or ""
            if partition not in known or known[partition].sha256 != sha256:
                yield step, partition, sha256


def _request(space: Workspace, step: Step, partition: str, sha256: str) -> dg.RunRequest:
    raw = tuple(space.project.inputs(step))
    affected = space.project.downstream((*raw, step))
    start, end = _range(space, affected, partition)
    tags = {RANGE_START: start, RANGE_END: end} if start else {}
    keys = [dg.AssetKey([item.pipeline, item.name]) for item in affected]
    return dg.RunRequest(run_key=f"{step.full_name}[{partition}]:{sha256}", asset_selection=keys, tags=tags)


def _range(space: Workspace, affected: tuple[Step, ...], partition: str) -> tuple[str, str]:
    """The months to request: all landed ones for an unpartitioned file, else the file's and those that look back."""
    partitioned = [step for step in affected if step.partitions]
    if not partitioned:
        return "", ""
    landed = partitions_to_run(space, partitioned[0])
    if partition == WHOLE:
        return landed[0], landed[-1]
    reach = max((item.look_back for step in affected for item in step.inputs), default=0)
    later = [key for key in landed if key >= partition]
    return partition, later[min(reach, len(later) - 1)]
