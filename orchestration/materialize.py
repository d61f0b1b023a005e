"""Materialize every pipeline through one Dagster run each: a process of its own, started by `headwater up`.

`python -m orchestration.materialize [--alone]`; with --alone, runs that are on record as running are dead.
"""

from __future__ import annotations

import logging
import sys
import time

import dagster as dg

from lineage.discover import Project, discover
from lineage.settings import Settings, read_settings
from orchestration.build import build_definitions
from orchestration.project import open_workspace
from orchestration.reports import drain_reports
from orchestration.sensors import range_tags

_RUNNING = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def main(*, alone: bool) -> int:
    """Run all pipelines; 0 when every run succeeded. Prints a line for each partition brought up to date."""
    began = time.time()
    settings = read_settings()
    project = discover(settings)
    _speak()
    definitions = build_definitions(settings, project)
    with dg.DagsterInstance.get() as instance:
        if alone:
            bury(instance, before=began)
        # What came through other doors came before: told afterwards, it would stand as the latest.
        _drain(settings, instance)
        pipelines = list(dict.fromkeys(step.pipeline for step in project.steps))
        succeeded = [_run(definitions, instance, settings, project, name) for name in pipelines]
        _drain(settings, instance)
    return 0 if all(succeeded) else 1


def _drain(settings: Settings, instance: dg.DagsterInstance) -> None:
    with open_workspace(settings) as space:
        drain_reports(space, instance)


def bury(instance: dg.DagsterInstance, *, before: float) -> None:
    """Fail the unfinished runs that began before `before` (seconds since 1970).

    They went with a `headwater up` that was killed; on record as running they would hold the queue for ever.
    """
    for record in instance.get_run_records(dg.RunsFilter(statuses=_RUNNING)):
        if record.create_timestamp.timestamp() < before:
            instance.report_run_failed(record.dagster_run, "The process that ran it ended before it did.")


def _run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, settings: Settings, project: Project, name: str
) -> bool:
    tags = _range_tags(settings, project, name)
    job = definitions.resolve_job_def(name)
    result = job.execute_in_process(instance=instance, tags=tags, raise_on_error=False, run_config=_SILENT)
    for event in result.filter_events(lambda event: event.is_step_failure):
        sys.stderr.write(f"headwater: {_reason(event)}\n")
    return bool(result.success)


def _range_tags(settings: Settings, project: Project, name: str) -> dict[str, str]:
    """The landed months, or those that land first, as the range of the run."""
    from lineage.plan import partitions_to_run

    with open_workspace(settings) as space:
        months = {
            key
            for step in project.steps
            if step.pipeline == name and step.partitions and step.kind in ("fetch", "source")
            for key in partitions_to_run(space, step)
        }
    return range_tags(months)


def _reason(event: dg.DagsterEvent) -> str:
    error = event.step_failure_data.user_failure_data or event.step_failure_data.error
    message = getattr(error, "description", None) or getattr(error, "message", None) or "failed"
    return str(message).strip().partition("\n")[0]


def _speak() -> None:
    """Print what the runner says; Dagster's own account of every event is in its UI."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("  %(message)s"))
    logger = logging.getLogger("headwater")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main(alone="--alone" in sys.argv[1:]))
