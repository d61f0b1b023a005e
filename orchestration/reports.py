"""Tell Dagster of runs that came through other doors, so that its UI shows what `dvc repro` and the CLI did."""

from __future__ import annotations

from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)

from lineage.plan import Workspace, make_plan
from lineage.ports import CheckReport, Expectation
from lineage.run import Outcome, dagster_report
from lineage.store import Store

Report = dict[str, Any]


def drain_reports(space: Workspace, instance: dg.DagsterInstance) -> int:
    """Report every queued materialization, oldest first, each exactly once; returns how many."""
    with space.store.transaction():
        rows = space.store.rows("open_dagster_reports")
        for row in rows:
            report = {"dataset": row["dataset"], "partition": row["partition"], **row["body"]}
            instance.report_runless_asset_event(materialization(report, instance))
            space.store.run("close_dagster_report", report_id=row["report_id"])
    return len(rows)


def report_of(space: Workspace, outcome: Outcome) -> Report:
    """The report of an outcome, as the queue would hold it."""
    plan = make_plan(space, outcome.step, outcome.partition)
    body = dagster_report(plan, outcome.version, outcome.run_id)
    return {"dataset": outcome.version.dataset, "partition": outcome.partition, **body}


def materialization(report: Report, instance: dg.DagsterInstance) -> dg.AssetMaterialization:
    """The Dagster event of a report, with data, code and input versions of its own.

    Inputs point at the event in `instance` that they were read from; without that pointer Dagster would
    call the asset stale for ever.
    """
    metadata: dict[str, Any] = {
        "dagster/uri": report["path"],
        "version": report["sha256"],
        "headwater/run": report["run_id"],
    }
    if report["row_count"] is not None:
        name = "dagster/partition_row_count" if report["partition"] else "dagster/row_count"
        metadata[name] = report["row_count"]
    return dg.AssetMaterialization(
        asset_key=dg.AssetKey(report["dataset"].split("/")),
        partition=report["partition"] or None,
        metadata=metadata,
        tags={**_version_tags(report), **_input_tags(report, instance)},
    )


def stored_checks(store: Store, outcome: Outcome) -> tuple[CheckReport, ...]:
    """The check results that were recorded when the outcome's version was made."""
    return tuple(
        CheckReport(row["suite"], tuple(_expectation(item) for item in row["expectations"]))
        for row in store.rows("check_results_of_run", run_id=outcome.run_id)
    )


def _expectation(item: dict[str, Any]) -> Expectation:
    return Expectation(item["kind"], item["column"], item["success"], item["blocking"], item["observed"])


def _version_tags(report: Report) -> dict[str, str]:
    return {
        DATA_VERSION_TAG: report["data_version"],
        DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
        CODE_VERSION_TAG: report["code_version"],
    }


def _input_tags(report: Report, instance: dg.DagsterInstance) -> dict[str, str]:
    tags: dict[str, str] = {}
    for item in report["inputs"]:
        key = dg.AssetKey(item["dataset"].split("/"))
        tags[get_input_data_version_tag(key)] = item["data_version"]
        record = instance.get_latest_data_version_record(key, partition_key=item["partition"] or None)
        if record is not None:
            tags[get_input_event_pointer_tag(key)] = str(record.storage_id)
    return tags
