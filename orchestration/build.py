"""Pipelines -> Dagster definitions: every step an asset, every suite an asset check, run by the one runner."""

# No `from __future__ import annotations` here: Dagster compares the annotation of `context` with its own class.

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote
from uuid import UUID

import dagster as dg

from lineage.discover import Project
from lineage.errors import CheckFailedError, HeadwaterError
from lineage.plan import WHOLE, Declared, step_code
from lineage.ports import CheckReport
from lineage.run import Door, Outcome, run_step
from lineage.settings import Settings
from lineage.spec import Input, Partitions, Source, Step
from orchestration.project import make_runner, open_workspace
from orchestration.reports import materialization, report_of, stored_checks
from orchestration.schedules import next_month_schedule
from orchestration.sensors import raw_file_sensor, report_sensor

# Dagster keeps what this logger says with the run; `headwater up` prints it.
_logger = logging.getLogger("headwater.run")

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
    return dg.Definitions(
        assets=[*(_asset(space, step) for step in project.steps), *_external(project)],
        jobs=list(jobs.values()),
        schedules=[schedule for schedule in schedules if schedule],
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
    keys = [asset_key(step) for step in project.steps if step.pipeline == name]
    return dg.define_asset_job(name, selection=keys, description=f"Everything in {name}.")


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
    door = Door("dagster", parent=(UUID(context.run_id), context.job_name))
    keys = tuple(context.partition_keys) if step.partitions else (WHOLE,)
    with open_workspace(space.settings) as opened:
        runner = make_runner(opened, door, _log)
        try:
            outcomes = run_step(runner, step, keys)
        except CheckFailedError as error:
            yield from _failed_checks(step, error)
            raise dg.Failure(str(error), allow_retries=False) from error
        except HeadwaterError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        yield from _check_results(step, [(o, o.checks or stored_checks(opened.store, o)) for o in outcomes])
        yield _result(opened.settings, outcomes)
        if len(outcomes) > 1:
            # Dagster gives all partitions of one run the same data version; these give each its own.
            for outcome in outcomes:
                context.log_event(materialization(report_of(opened, outcome), context.instance))


def _log(outcome: Outcome) -> None:
    rows = "" if outcome.version.row_count is None else f"{outcome.version.row_count:,} rows"
    _logger.info("%-34s %-10s %14s %7.2f s", outcome.label, outcome.state, rows, outcome.seconds)


def _result(settings: Settings, outcomes: Sequence[Outcome]) -> "dg.MaterializeResult[Any]":
    from lineage.dvc import data_version

    versions = [outcome.version for outcome in outcomes]
    rows = [version.row_count for version in versions if version.row_count is not None]
    metadata: dict[str, Any] = {
        "dagster/uri": versions[-1].files[0].path,
        "version": versions[-1].sha256,
        "lineage": dg.MetadataValue.url(_lineage_url(settings, versions[-1].dataset)),
        "seconds": round(sum(outcome.seconds for outcome in outcomes), 3),
    }
    if rows:
        metadata["dagster/partition_row_count" if versions[-1].partition else "dagster/row_count"] = sum(rows)
    if versions[-1].fields:
        metadata["dagster/column_schema"] = _schema(versions[-1].fields)
    only = dg.DataVersion(data_version(versions[0])) if len(versions) == 1 else None
    return dg.MaterializeResult(metadata=metadata, data_version=only)


def _schema(fields: Sequence[tuple[str, str]]) -> dg.TableSchema:
    return dg.TableSchema(columns=[dg.TableColumn(name, kind) for name, kind in fields])


def _lineage_url(settings: Settings, dataset: str) -> str:
    return f"{settings.lineage_url}/?nodeId={quote(f'dataset:{settings.namespace}:{dataset}', safe='')}"


def _declared_metadata(settings: Settings, step: Step) -> dict[str, Any]:
    found: dict[str, Any] = {
        "headwater/step": step.full_name,
        "lineage": dg.MetadataValue.url(_lineage_url(settings, step.dataset)),
    }
    if isinstance(step.detail, Source):
        found["dagster/column_schema"] = _schema(tuple(step.detail.schema.items()))
    return found


def _deps(project: Project, step: Step) -> list[dg.AssetDep | dg.AssetKey]:
    if isinstance(step.detail, Source) and not step.inputs:
        return [_raw_key(step)]
    pairs = zip(step.inputs, project.inputs(step), strict=True)
    return [_dep(item, upstream) for item, upstream in pairs]


def _dep(item: Input, upstream: Step) -> dg.AssetDep | dg.AssetKey:
    if not item.look_back:
        return asset_key(upstream)
    mapping = dg.TimeWindowPartitionMapping(
        start_offset=-item.look_back, end_offset=0, allow_nonexistent_upstream_partitions=True
    )
    return dg.AssetDep(asset_key(upstream), partition_mapping=mapping)


def _external(project: Project) -> list[dg.AssetSpec]:
    """Raw files that no fetch step brings: they stand in the graph as what they are, from outside."""
    return [
        dg.AssetSpec(_raw_key(step), group_name=step.pipeline, description=f"Files {step.detail.files.pattern}")
        for step in project.steps
        if isinstance(step.detail, Source) and not step.inputs
    ]


def _raw_key(step: Step) -> dg.AssetKey:
    return dg.AssetKey([step.pipeline, f"raw_{step.name}"])


def _check_specs(step: Step) -> list[dg.AssetCheckSpec]:
    if step.checks is None:
        return []
    description = f"Suite validations/suites/{step.pipeline}/{step.checks.name}.json"
    return [dg.AssetCheckSpec(_check_name(step), asset=asset_key(step), description=description, blocking=True)]


def _check_name(step: Step) -> str:
    assert step.checks is not None
    return f"suite_{step.checks.name}"


def _check_results(
    step: Step, found: Sequence[tuple[Outcome, tuple[CheckReport, ...]]]
) -> Iterator[dg.AssetCheckResult]:
    if step.checks is None:
        return
    reports = {outcome.label: report for outcome, checks in found for report in checks}
    expectations = sum(len(report.expectations) for report in reports.values())
    warnings = [f"{label}: {line}" for label, report in reports.items() for line in _warnings(report)]
    metadata: Mapping[str, Any] = {"expectations": expectations, "warnings": warnings, "partitions": sorted(reports)}
    yield dg.AssetCheckResult(passed=True, check_name=_check_name(step), metadata=metadata)


def _warnings(report: CheckReport) -> list[str]:
    return [f"{item.kind} {item.column or ''}".strip() for item in report.expectations if not item.success]


def _failed_checks(step: Step, error: CheckFailedError) -> Iterator[dg.AssetCheckResult]:
    yield dg.AssetCheckResult(
        passed=False,
        check_name=_check_name(step),
        metadata={"failures": list(error.failures)},
        description=str(error),
    )
