"""The simulated clock: each tick lands the first month that has not landed yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from datetime import date
from typing import Any

import dagster as dg

from lineage.discover import Project
from lineage.errors import SettingsError
from lineage.plan import Workspace
from lineage.settings import Settings
from lineage.spec import Step
from orchestration.project import open_workspace
from orchestration.reach import asset_keys, reach, runnable


def next_month_schedule(settings: Settings, project: Project, pipeline: str, job: Any) -> Any:
    """A schedule that requests the first month not yet landed; None for a pipeline that fetches no months.

    With HEADWATER_NOW set, a month is requested only once it is over by then; otherwise the clock stands at
    the day after the last landed month, and each tick moves it on by one. HEADWATER_SCHEDULE says when it ticks.
    """
    fetches = [step for step in project.steps if step.pipeline == pipeline and step.kind == "fetch" and step.partitions]
    if not fetches:
        return None

    def tick(_context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        with open_workspace(settings) as space:
            landed = {step.full_name: set(space.store.current(step.dataset)) for step in fetches}
            month = next_month(fetches, landed)
            if month is None:
                return dg.SkipReason("Every month has landed.")
            if settings.now and settings.now < month_end(month):
                return dg.SkipReason(f"By the clock it is {settings.now}; {month} is not over.")
            return _request(space, fetches, month)

    schedule = dg.schedule(
        name=f"{pipeline}_next_month",
        job=job,
        cron_schedule=settings.schedule,
        execution_timezone="UTC",
        description=f"Lands the next month of {pipeline}.",
    )
    try:
        return schedule(tick)
    except dg.DagsterInvalidDefinitionError as error:
        raise SettingsError(
            f"HEADWATER_SCHEDULE={settings.schedule!r} is no cron expression of five fields; write it as */5 * * * *."
        ) from error


def next_month(fetches: Sequence[Step], landed: Mapping[str, Set[str]]) -> str | None:
    """The first month that some fetch step has not landed; None when each has landed all of its own."""
    declared = [(step.full_name, key) for step in fetches if step.partitions for key in step.partitions.keys]
    return min((key for name, key in declared if key not in landed[name]), default=None)


def _request(space: Workspace, fetches: Sequence[Step], month: str) -> dg.RunRequest:
    """Land the month, and run what reads it: a source that nothing fetches may not have it yet."""
    roots = {step.full_name: {month} for step in fetches if step.partitions and month in step.partitions.keys}
    wanted = runnable(space, reach(space.project, roots))
    return dg.RunRequest(partition_key=month, asset_selection=asset_keys(space.project, wanted))


def month_end(month: str) -> date:
    """The first day after `month`."""
    year, number = int(month[:4]), int(month[5:])
    return date(year + number // 12, number % 12 + 1, 1)
