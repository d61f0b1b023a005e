"""The nightly look at every model: a check `verified` on its asset, which fails naming the files that changed."""

# No `from __future__ import annotations` here: Dagster compares annotations with its own classes.

from collections.abc import Sequence
from typing import Any

import dagster as dg

from lineage.plan import Declared
from lineage.spec import Step
from lineage.verify import Damage, Verified, verify
from orchestration.project import open_workspace

CHECK = "verified"
JOB = "verification"

# By the real clock and not the simulated one: bytes rot at night as well as by day. UTC.
_NIGHTLY = "17 3 * * *"
_SHOWN = 20


def check_key(step: Step) -> dg.AssetCheckKey:
    """The check of a model step: `verified` on pipeline/model."""
    return dg.AssetCheckKey(dg.AssetKey([step.pipeline, step.name]), CHECK)


def verified_check(space: Declared, step: Step) -> dg.AssetChecksDefinition:
    """Compares everything that the versions of a model rest on with what was recorded and signed."""

    @dg.asset_check(
        asset=check_key(step).asset_key,
        name=CHECK,
        description=f"Whether every file that {step.model_name} rests on is what was recorded and signed.",
        blocking=False,
    )
    def verified() -> dg.AssetCheckResult:
        with open_workspace(space.settings) as opened:
            return check_result(verify(opened, step))

    return verified


def check_result(found: Verified) -> dg.AssetCheckResult:
    """What verify found as Dagster shows it: failed with the first damaged files by name, if there are any."""
    return dg.AssetCheckResult(
        passed=not found.damaged,
        severity=dg.AssetCheckSeverity.ERROR,
        description=_text(found),
        metadata={
            "files": found.files,
            "versions": found.versions,
            "manifests": found.manifests,
            "damaged": [damage.path for damage in found.damaged],
        },
    )


def verification(models: Sequence[Step]) -> tuple[Any, Any]:
    """The job that runs the check of every model, and the schedule that runs it each night."""
    selection = dg.AssetSelection.checks(*map(check_key, models))
    job = dg.define_asset_job(JOB, selection=selection, description="Hashes everything that models rest on.")
    schedule = dg.ScheduleDefinition(
        name=f"nightly_{JOB}",
        job=job,
        cron_schedule=_NIGHTLY,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Hashes everything that models rest on, each night.",
    )
    return job, schedule


def _text(found: Verified) -> str:
    if not found.damaged:
        return f"{found.files:,} files of {found.versions:,} versions are what was recorded and signed."
    return "\n".join([f"{len(found.damaged):,} damaged:", *_lines(found.damaged)])


def _lines(damaged: Sequence[Damage]) -> list[str]:
    more = len(damaged) - _SHOWN
    lines = [f"- {damage}" for damage in damaged[:_SHOWN]]
    return [*lines, f"- and {more:,} more; `headwater verify` names them"] if more > 0 else lines
