"""Events -> the graph of datasets and jobs. Applying an event twice, or late, changes nothing wrongly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from lineage.store import Store

_ENDED = ("COMPLETE", "FAIL", "ABORT")


def record_event(store: Store, body: Mapping[str, Any], *, relay: bool) -> int:
    """Keep an event and draw it into the graph; returns its id. Call inside a transaction.

    `relay` queues it for the additional backend, if one is configured.
    """
    kind = "run" if "run" in body else "job" if "job" in body else "dataset"
    row = store.row(
        "insert_event",
        kind=kind,
        run_id=body.get("run", {}).get("runId"),
        event_type=body.get("eventType"),
        event_time=body["eventTime"],
        body=Jsonb(dict(body)),
    )
    assert row is not None
    if relay:
        store.run("insert_relay", event_id=row["event_id"])
    _project(store, body)
    return int(row["event_id"])


def _project(store: Store, body: Mapping[str, Any]) -> None:
    time = body["eventTime"]
    if "dataset" in body:
        _dataset(store, body["dataset"], time)
    if job := body.get("job"):
        _job(store, job, time)
        for direction in ("input", "output"):
            for dataset in body.get(f"{direction}s") or ():
                _dataset(store, dataset, time)
                _edge(store, job, dataset, direction, time)
    if run := body.get("run"):
        _run(store, run, body["job"], body.get("eventType") or "OTHER", time)


def _dataset(store: Store, dataset: Mapping[str, Any], time: str) -> None:
    facets = dict(dataset.get("facets") or {})
    schema = facets.pop("schema", None)
    fields = Jsonb(schema.get("fields", [])) if schema else None
    store.run(
        "upsert_graph_dataset",
        namespace=dataset["namespace"],
        name=dataset["name"],
        fields=fields,
        facets=Jsonb(facets),
        time=time,
    )


def _job(store: Store, job: Mapping[str, Any], time: str) -> None:
    facets = Jsonb(dict(job.get("facets") or {}))
    store.run("upsert_graph_job", namespace=job["namespace"], name=job["name"], facets=facets, time=time)


def _edge(
    store: Store, job: Mapping[str, Any], dataset: Mapping[str, Any], direction: str, time: str
) -> None:
    store.run(
        "upsert_graph_edge",
        job_namespace=job["namespace"],
        job_name=job["name"],
        dataset_namespace=dataset["namespace"],
        dataset_name=dataset["name"],
        direction=direction,
        time=time,
    )


def _run(store: Store, run: Mapping[str, Any], job: Mapping[str, Any], state: str, time: str) -> None:
    store.run(
        "upsert_graph_run",
        run_id=run["runId"],
        namespace=job["namespace"],
        job=job["name"],
        state=state,
        started_at=time if state == "START" else None,
        ended_at=time if state in _ENDED else None,
        facets=Jsonb(dict(run.get("facets") or {})),
        time=time,
    )
