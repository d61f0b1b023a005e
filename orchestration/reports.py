"""Tell Dagster of runs that came through other doors, so that its UI shows what `dvc repro` and the CLI did."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)

from lineage.columns import ColumnLineage, Source, recorded_columns
from lineage.plan import Plan, Workspace, step_code
from lineage.quarantine import quarantine_of
from lineage.run import Outcome, dagster_report
from lineage.settings import Settings
from lineage.versions import Version
from orchestration.checks import Checked, check_evaluation, stored_checks
from orchestration.deployment import deployment_metadata
from orchestration.evaluation import evaluation_metadata
from serving.promotion import read_decision

Report = dict[str, Any]

_RUN = "headwater/run"


def drain_reports(space: Workspace, instance: dg.DagsterInstance) -> int:
    """Report every queued materialization, and what checks refused, oldest first; returns how many."""
    count = 0
    with space.store.transaction():
        for row in space.store.rows("open_dagster_reports"):
            report = {"dataset": row["dataset"], "partition": row["partition"], **row["body"]}
            if report.get("refused"):
                _report_checks(space, report, instance)
                count += 1
            elif not _is_known(report, instance):
                instance.report_runless_asset_event(materialization(space, report, instance))
                _report_checks(space, report, instance)
                count += 1
            space.store.run("close_dagster_report", report_id=row["report_id"])
    return count


def report_of(space: Workspace, outcome: Outcome) -> Report:
    """The report of an outcome, as the queue would hold it."""
    # What its run read, not what there is to read by now.
    inputs = tuple(space.store.run_inputs(outcome.run_id))
    plan = Plan(outcome.step, outcome.partition, inputs, step_code(space, outcome.step), suite=None, fingerprint="")
    body = dagster_report(plan, outcome.version, outcome.run_id, outcome.aside)
    return {"dataset": outcome.version.dataset, "partition": outcome.partition, **body}


def materialization(space: Workspace, report: Report, instance: dg.DagsterInstance) -> dg.AssetMaterialization:
    """The Dagster event of a report, with data, code and input versions of its own.

    Inputs point at the events in `instance` that they were read from; without that pointer Dagster would
    call the asset stale for ever. So raw files that no step brings are reported first.
    """
    for item in report["inputs"]:
        _report_raw(space, item, instance)
    return dg.AssetMaterialization(
        asset_key=_key(report),
        partition=report["partition"] or None,
        metadata=_metadata(space, report),
        tags={**_version_tags(report), **_input_tags(report, instance)},
    )


def lineage_url(settings: Settings, dataset: str) -> str:
    """Where our browser shows a dataset."""
    return f"{settings.lineage_url}/?nodeId={quote(f'dataset:{settings.namespace}:{dataset}', safe='')}"


def column_schema(fields: Iterable[tuple[str, str]]) -> dg.TableSchema:
    """(name, type) pairs as Dagster shows them."""
    return dg.TableSchema(columns=[dg.TableColumn(name, kind) for name, kind in fields])


def column_deps(columns: ColumnLineage) -> dg.TableColumnLineage:
    """Column lineage as Dagster shows it: for each column those that decided about its values."""
    return dg.TableColumnLineage(
        {name: [_column_dep(source) for source in column.sources] for name, column in columns.columns.items()}
    )


def _column_dep(source: Source) -> dg.TableColumnDep:
    return dg.TableColumnDep(dg.AssetKey(source.dataset.split("/")), source.column)


def _report_checks(space: Workspace, report: Report, instance: dg.DagsterInstance) -> None:
    """What its suite found: after the materialization that it is about, or instead of one, where it was refused."""
    step = next((step for step in space.project.steps if step.dataset == report["dataset"]), None)
    if step is None or step.checks is None:
        return
    version = Version(report["dataset"], report["partition"], report["sha256"], ())
    for found in stored_checks(space.store, report["run_id"]):
        instance.report_runless_asset_event(check_evaluation(space.settings, step, Checked(version, found)))


def _is_known(report: Report, instance: dg.DagsterInstance) -> bool:
    """Whether Dagster has heard of that run already: from itself, or before a crash could close the report."""
    record = _latest(report, instance)
    event = record.asset_materialization if record else None
    return event is not None and event.metadata.get(_RUN) == dg.MetadataValue.text(report["run_id"])


def _metadata(space: Workspace, report: Report) -> dict[str, Any]:
    found: dict[str, Any] = {
        "dagster/uri": report["path"],
        "version": report["sha256"],
        "lineage": dg.MetadataValue.url(lineage_url(space.settings, report["dataset"])),
        _RUN: report["run_id"],
    }
    if report["row_count"] is not None:
        found["dagster/partition_row_count" if report["partition"] else "dagster/row_count"] = report["row_count"]
    # None where checks put nothing aside, and lacking in what was queued before they could.
    if report.get("quarantined") is not None:
        found["quarantined_rows"] = report["quarantined"]
        found["quarantine"] = dg.MetadataValue.url(lineage_url(space.settings, quarantine_of(report["dataset"])))
    if report["fields"]:
        found["dagster/column_schema"] = column_schema(report["fields"])
        if columns := recorded_columns(space.store, report["run_id"], report["dataset"]):
            found["dagster/column_lineage"] = column_deps(columns)
    if "decision" in report:
        found |= deployment_metadata(read_decision(report["decision"]))
    return {**found, **_model_metadata(space, report)}


def _model_metadata(space: Workspace, report: Report) -> dict[str, Any]:
    if not any(step.dataset == report["dataset"] for step in space.project.models()):
        return {}
    version = space.store.version(report["dataset"], report["partition"], report["sha256"])
    return evaluation_metadata(space, version) if version else {}


def _report_raw(space: Workspace, item: Report, instance: dg.DagsterInstance) -> None:
    """Tell Dagster of the version of an input that no step of ours writes, unless it is the latest one it knows."""
    if any(step.dataset == item["dataset"] for step in space.project.steps):
        return
    record = _latest(item, instance)
    if record is None or (record.tags or {}).get(DATA_VERSION_TAG) != item["data_version"]:
        tags = {DATA_VERSION_TAG: item["data_version"], DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}
        event = dg.AssetMaterialization(_key(item), partition=item["partition"] or None, tags=tags)
        instance.report_runless_asset_event(event)


def _version_tags(report: Report) -> dict[str, str]:
    return {
        DATA_VERSION_TAG: report["data_version"],
        DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
        CODE_VERSION_TAG: report["code_version"],
    }


def _input_tags(report: Report, instance: dg.DagsterInstance) -> dict[str, str]:
    tags: dict[str, str] = {}
    newest: dict[str, int] = {}
    for item in report["inputs"]:
        tags[get_input_data_version_tag(_key(item))] = item["data_version"]
        record = instance.get_latest_data_version_record(_key(item), partition_key=item["partition"] or None)
        if record is not None:
            # Of the partitions that were read (look-back) the one that came last, or it would pass for news.
            pointer = get_input_event_pointer_tag(_key(item))
            newest[pointer] = max(record.storage_id, newest.get(pointer, 0))
    return {**tags, **{pointer: str(storage_id) for pointer, storage_id in newest.items()}}


def _latest(item: Report, instance: dg.DagsterInstance) -> dg.EventLogEntry | None:
    record = instance.get_latest_data_version_record(_key(item), partition_key=item["partition"] or None)
    return record.event_log_entry if record else None


def _key(item: Report) -> dg.AssetKey:
    return dg.AssetKey(item["dataset"].split("/"))
