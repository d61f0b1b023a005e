"""Events -> the graph of datasets and jobs. Applying an event twice, or late, changes nothing wrongly.

Rows are written table by table and in the order of their keys, whatever order the events name them in:
two transactions that draw the same nodes then wait for each other instead of deadlocking.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from psycopg.types.json import Jsonb

from lineage.store import Store

Event = Mapping[str, Any]

_EDGE_KEY = ("job_namespace", "job_name", "dataset_namespace", "dataset_name", "direction")
_ENDED = ("COMPLETE", "FAIL", "ABORT")


def record_event(store: Store, body: Event, *, relay: bool) -> int:
    """Keep an event and draw it into the graph; returns its id. Call inside a transaction.

    `relay` queues it for the additional backend, if one is configured.
    """
    row = store.row("insert_event", **_columns(body))
    assert row is not None
    if relay:
        store.run("insert_relay", event_id=row["event_id"])
    _project(store, (body,))
    return int(row["event_id"])


def receive_events(store: Store, bodies: Sequence[Event]) -> None:
    """Keep events that somebody sent, each once however often it comes, and draw them. Call inside a transaction.

    They are not relayed: a backend that sends its events here as well would get its own back for ever.
    """
    for body in bodies:
        store.run("insert_event_once", **_columns(body))
    _project(store, bodies)


def _columns(body: Event) -> dict[str, Any]:
    return {
        "kind": "run" if "run" in body else "job" if "job" in body else "dataset",
        "run_id": body.get("run", {}).get("runId"),
        "event_type": body.get("eventType"),
        "event_time": body["eventTime"],
        "body": Jsonb(dict(body)),
    }


def _project(store: Store, bodies: Sequence[Event]) -> None:
    for query, rows, key in (
        ("upsert_graph_job", _jobs(bodies), itemgetter("namespace", "name")),
        ("upsert_graph_dataset", _datasets(bodies), itemgetter("namespace", "name")),
        ("upsert_graph_edge", _edges(bodies), itemgetter(*_EDGE_KEY)),
        ("upsert_graph_run", _runs(bodies), itemgetter("run_id")),
    ):
        for row in sorted(rows, key=key):
            store.run(query, **row)


def _jobs(bodies: Iterable[Event]) -> Iterator[dict[str, Any]]:
    for body in bodies:
        if job := body.get("job"):
            facets = Jsonb(dict(job.get("facets") or {}))
            yield {"namespace": job["namespace"], "name": job["name"], "facets": facets, "time": body["eventTime"]}


def _datasets(bodies: Iterable[Event]) -> Iterator[dict[str, Any]]:
    for body in bodies:
        if dataset := body.get("dataset"):
            yield _dataset(dataset, dataset.get("facets"), body["eventTime"])
        for dataset in body.get("inputs") or ():
            # What a run read is not what the dataset has become since: its version stays with the event.
            facets = {name: facet for name, facet in (dataset.get("facets") or {}).items() if name != "version"}
            yield _dataset(dataset, facets, body["eventTime"])
        for dataset in body.get("outputs") or ():
            facets = {**(dataset.get("facets") or {}), **(dataset.get("outputFacets") or {})}
            yield _dataset(dataset, facets, body["eventTime"])


def _dataset(dataset: Event, facets: Event | None, time: str) -> dict[str, Any]:
    kept = dict(facets or {})
    schema = kept.pop("schema", None)
    return {
        "namespace": dataset["namespace"],
        "name": dataset["name"],
        "fields": Jsonb(schema.get("fields", [])) if schema else None,
        "facets": Jsonb(kept),
        "time": time,
    }


def _edges(bodies: Iterable[Event]) -> Iterator[dict[str, Any]]:
    for body in bodies:
        for direction in ("input", "output"):
            for dataset in body.get(f"{direction}s") or ():
                yield {
                    "job_namespace": body["job"]["namespace"],
                    "job_name": body["job"]["name"],
                    "dataset_namespace": dataset["namespace"],
                    "dataset_name": dataset["name"],
                    "direction": direction,
                    "time": body["eventTime"],
                }


def _runs(bodies: Iterable[Event]) -> Iterator[dict[str, Any]]:
    for body in bodies:
        if run := body.get("run"):
            state, time = body.get("eventType") or "OTHER", body["eventTime"]
            yield {
                "run_id": run["runId"],
                "namespace": body["job"]["namespace"],
                "job": body["job"]["name"],
                "state": state,
                "started_at": time if state == "START" else None,
                "ended_at": time if state in _ENDED else None,
                "facets": Jsonb(dict(run.get("facets") or {})),
                "time": time,
            }
