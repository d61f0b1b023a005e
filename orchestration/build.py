"""Pipelines -> Dagster definitions: every step an asset, every suite an asset check, run by the one runner."""

# No `from __future__ import annotations` here: Dagster compares the annotation of `context` with its own class.

import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import dagster as dg
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION

from lineage.discover import Project
from lineage.errors import CheckFailedError, HeadwaterError
from lineage.plan import WHOLE, Declared, Workspace, partitions_to_run, step_code
from lineage.run import Door, Outcome, Progress, run_step
from lineage.settings import Settings
from lineage.spec import Partitions, Source, Step
from orchestration.checks import Checked, check_metadata, check_name, stored_checks
from orchestration.deployment import deployment_asset
from orchestration.project import make_runner, open_workspace
from orchestration.reach import asset_keys
from orchestration.reports import column_schema, lineage_url, materialization, report_of
from orchestration.schedules import next_month_schedule
from orchestration.sensors import LANDED_ONLY, raw_file_sensor, report_sensor
from orchestration.verification import check_key, verification, verified_check

# Dagster keeps what this logger says with the run; `headwater up` prints it.
_logger = logging.getLogger("headwater.run")

# Marks a result whose materializations were yielded already, each partition with its own data version. Dagster
# would add one for every partition of the run's range, all with the same version, whether it came to be or not.
_REPORTED = SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION

_KINDS = {
    "fetch": {"csv"},
    "source": {"polars", "parquet"},
    "table": {"polars", "parquet"},
    "model": {"xgboost", "onnx"},
}


def build_definitions(settings: Settings, project: Project) -> dg.Definitions:
    """Assets, jobs, schedules and sensors of all declared pipelines."""
    with warnings.catch_warnings():
        # Backfill policies and mappings that reach before the first month are what we want, beta or not.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return _definitions(settings, project)


def _definitions(settings: Settings, project: Project) -> dg.Definitions:
    space = Declared(settings, project)
    names = sorted({step.pipeline for step in project.steps})
    jobs = {name: _job(name, project) for name in names}
    schedules = [next_month_schedule(settings, project, name, jobs[name]) for name in names]
    sensors = [raw_file_sensor(settings, project, name, jobs[name]) for name in names]
    nightly = [verification(project.models())] if project.models() else []
    return dg.Definitions(
        assets=[
            *(_asset(space, step) for step in project.steps),
            *(deployment_asset(space, step) for step in project.models()),
            *_external(project),
        ],
        asset_checks=[verified_check(space, step) for step in project.models()],
        jobs=[*jobs.values(), *(job for job, _ in nightly)],
        schedules=[*(schedule for schedule in schedules if schedule), *(schedule for _, schedule in nightly)],
        sensors=[*sensors, report_sensor(settings)],
        # One process a run: starting one per step would cost more than the steps do.
        executor=dg.in_process_executor,
    )


def asset_key(step: Step) -> dg.AssetKey:
    """The asset of a step: pipeline/step."""
    return dg.AssetKey([step.pipeline, step.name])


def partitions_definition(partitions: Partitions | None) -> dg.TimeWindowPartitionsDefinition | None:
    """Monthly partitions with our own keys; Dagster's default would be 2013-03-01 for 2013-03."""
    if partitions is None:
        return None
    year, month = int(partitions.keys[-1][:4]), int(partitions.keys[-1][5:])
    end = f"{year + month // 12:04d}-{month % 12 + 1:02d}"
    return dg.MonthlyPartitionsDefinition(start_date=partitions.keys[0], end_date=end, fmt="%Y-%m")


def _job(name: str, project: Project) -> Any:
    keys = asset_keys(project, (step.full_name for step in project.steps if step.pipeline == name))
    # Everything is hashed at night, and not each time that a model is trained.
    nightly = dg.AssetSelection.checks(*(check_key(step) for step in project.models() if step.pipeline == name))
    selection = dg.AssetSelection.assets(*keys) - nightly
    return dg.define_asset_job(name, selection=selection, description=f"Everything in {name}.")


def _asset(space: Declared, step: Step) -> dg.AssetsDefinition:
    @dg.asset(
        key=asset_key(step),
        deps=_deps(space.project, step),
        group_name=step.pipeline,
        description=step.description,
        kinds=_KINDS[step.kind],
        partitions_def=partitions_definition(step.partitions),
        # The same policy everywhere, or a backfill falls apart into a run for each partition and asset.
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=step_code(space, step)[:16],
        metadata=_declared_metadata(space.settings, step),
        check_specs=_check_specs(step),
    )
    def compute(context: dg.AssetExecutionContext) -> Iterator[Any]:
        yield from _compute(context, space, step)

    return compute


def _compute(context: dg.AssetExecutionContext, space: Declared, step: Step) -> Iterator[Any]:
    door = Door("dagster", parent=(UUID(context.run.run_id), context.run.job_name))
    done: list[Outcome] = []
    failure: HeadwaterError | None = None
    with open_workspace(space.settings) as opened:
        try:
            run_step(make_runner(opened, door, _progress(done)), step, _partitions(context, opened, step))
        except HeadwaterError as error:
            failure = error
        # Also of a run that failed half way: what came before the failure is there, and current.
        for outcome in done:
            yield materialization(opened, report_of(opened, outcome), context.instance)
        if failure is None:
            yield from _check_results(space.settings, step, _checked(opened, done))
    if isinstance(failure, CheckFailedError):
        yield from _failed_checks(space.settings, step, failure)
    if failure:
        raise dg.Failure(str(failure), allow_retries=False) from failure
    yield dg.MaterializeResult(metadata={_REPORTED: True})


def _partitions(context: dg.AssetExecutionContext, space: Workspace, step: Step) -> tuple[str, ...]:
    """The months asked for; of several, those that can exist, since inputs may have landed to different months."""
    if step.partitions is None:
        return (WHOLE,)
    asked = tuple(context.partition_keys)
    if step.kind == "fetch" and LANDED_ONLY not in context.run.tags:
        return asked
    possible = set(partitions_to_run(space, step))
    return tuple(key for key in asked if key in possible) or asked


def _progress(done: list[Outcome]) -> Progress:
    """Keeps what is done, and says so in the run's log."""

    def report(outcome: Outcome) -> None:
        done.append(outcome)
        rows = "" if outcome.version.row_count is None else f"{outcome.version.row_count:,} rows"
        aside = f"  {outcome.aside.row_count:,} quarantined" if outcome.aside else ""
        _logger.info("%-34s %-10s %14s %7.2f s%s", outcome.label, outcome.state, rows, outcome.seconds, aside)

    return report


def _declared_metadata(settings: Settings, step: Step) -> dict[str, Any]:
    found: dict[str, Any] = {
        "headwater/step": step.full_name,
        "lineage": dg.MetadataValue.url(lineage_url(settings, step.dataset)),
    }
    if isinstance(step.detail, Source):
        found["dagster/column_schema"] = column_schema(step.detail.schema.items())
    return found


def _deps(project: Project, step: Step) -> list[dg.AssetDep | dg.AssetKey]:
    if isinstance(step.detail, Source) and not step.inputs:
        return [_raw_key(step)]
    # Dagster knows an asset that is read twice once, as far back as either reading goes.
    look_back: dict[str, int] = {}
    for item in step.inputs:
        look_back[item.step] = max(item.look_back, look_back.get(item.step, 0))
    return [_dep(project.step(f"{step.pipeline}.{name}"), back) for name, back in look_back.items()]


def _dep(upstream: Step, look_back: int) -> dg.AssetDep | dg.AssetKey:
    if not look_back:
        return asset_key(upstream)
    mapping = dg.TimeWindowPartitionMapping(
        start_offset=-look_back, end_offset=0, allow_nonexistent_upstream_partitions=True
    )
    return dg.AssetDep(asset_key(upstream), partition_mapping=mapping)


def _external(project: Project) -> list[dg.AssetSpec]:
    """Raw files that no fetch step brings: they stand in the graph as what they are, from outside."""
    return [
        dg.AssetSpec(
            _raw_key(step),
            group_name=step.pipeline,
            description=f"Files {step.detail.files.pattern}",
            partitions_def=partitions_definition(step.partitions),
        )
        for step in project.steps
        if isinstance(step.detail, Source) and not step.inputs
    ]


def _raw_key(step: Step) -> dg.AssetKey:
    return dg.AssetKey([step.pipeline, f"raw_{step.name}"])


def _check_specs(step: Step) -> list[dg.AssetCheckSpec]:
    if step.checks is None:
        return []
    description = f"Suite validations/suites/{step.pipeline}/{step.checks.name}.json"
    return [dg.AssetCheckSpec(check_name(step), asset=asset_key(step), description=description, blocking=True)]


def _checked(space: Workspace, done: Sequence[Outcome]) -> list[Checked]:
    """What suites found on what is done; of a version that was current already, when it was made."""
    return [
        Checked(outcome.version, report)
        for outcome in done
        for report in outcome.checks or stored_checks(space.store, outcome.run_id)
    ]


def _check_results(settings: Settings, step: Step, found: Sequence[Checked]) -> Iterator[dg.AssetCheckResult]:
    if step.checks is not None:
        yield dg.AssetCheckResult(passed=True, check_name=check_name(step), metadata=check_metadata(settings, found))


def _failed_checks(settings: Settings, step: Step, error: CheckFailedError) -> Iterator[dg.AssetCheckResult]:
    found = [Checked(error.version, report) for report in error.checks]
    yield dg.AssetCheckResult(
        passed=False,
        check_name=check_name(step),
        metadata={"failures": list(error.failures), **check_metadata(settings, found)},
        description=str(error),
    )
