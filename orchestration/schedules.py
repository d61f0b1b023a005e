"""The simulated clock: each tick lands the first month that has not landed yet."""

from __future__ import annotations

from datetime import date
from typing import Any

import dagster as dg

from lineage.discover import Project
from lineage.settings import Settings
from lineage.spec import Step
from orchestration.project import open_workspace


def next_month_schedule(settings: Settings, project: Project, pipeline: str, job: Any) -> Any:
    """A schedule that requests the first month not yet landed; None for a pipeline that fetches no months.

    With HEADWATER_NOW set, a month is requested only once it is over by then; otherwise the clock stands at
    the day after the last landed month, and each tick moves it on by one.
    """
    fetches = [step for step in project.steps if step.pipeline == pipeline and step.kind == "fetch" and step.partitions]
    if not fetches:
        return None

    @dg.schedule(name=f"{pipeline}_next_month", job=job, cron_schedule="*/5 * * * *", execution_timezone="UTC")
    def tick(_context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        with open_workspace(settings) as space:
            landed = {step.full_name: set(space.store.current(step.dataset)) for step in fetches}
        month = next_month(fetches, landed)
        if month is None:
            return dg.SkipReason("Every month has landed.")
        if settings.now and settings.now < month_end(month):
            return dg.SkipReason(f"By the clock it is {settings.now}; {month} is not over.")
        return dg.RunRequest(partition_key=month, run_key=None)

    return tick


def next_month(fetches: list[Step], landed: dict[str, set[str]]) -> str | None:
    """The first month that some fetch step has not landed."""
    for step in fetches:
        assert step.partitions is not None
    keys = sorted({key for step in fetches for key in (step.partitions.keys if step.partitions else ())})
    return next((key for key in keys if any(key not in landed[step.full_name] for step in fetches)), None)


def month_end(month: str) -> date:
    """The first day after `month`."""
    year, number = int(month[:4]), int(month[5:])
    return date(year + number // 12, number % 12 + 1, 1)
