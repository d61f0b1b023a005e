"""Events into the store: each kept once, and drawn into the graph. Drawing one twice, or late, changes nothing wrongly.

One writer draws at a time: whatever order events name things in, two of them then never wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from lineage.graph.observations import Event, observe
from lineage.store import Store

# How many old events are drawn at a time.
_CHUNK = 1_000


def record_event(store: Store, body: Event, *, relay: bool) -> None:
    """Keep an event and draw it into the graph. Call inside a transaction.

    `relay` queues it for the additional backend, if one is configured.
    """
    kept = _keep(store, [body])
    if relay:
        for row in kept:
            store.run("insert_relay", event_id=row["event_id"])


def receive_events(store: Store, bodies: Sequence[Event]) -> None:
    """Keep events that somebody sent, each once however often it comes, and draw them. Call inside a transaction.

    They are not relayed: a backend that sends its events here as well would get its own back for ever.
    """
    if bodies:
        _keep(store, bodies)


def draw_backlog(store: Store) -> int:
    """Draw events that were kept before there was this graph; returns how many there were."""
    drawn = 0
    while True:
        with store.transaction():
            rows = store.rows("take_backlog", limit=_CHUNK)
            _project(store, [row["body"] for row in rows])
        drawn += len(rows)
        if len(rows) < _CHUNK:
            return drawn


def _keep(store: Store, bodies: Sequence[Event]) -> Sequence[Mapping[str, Any]]:
    rows = [_columns(body) for body in bodies]
    kept = store.rows("insert_events", rows=_json(rows))
    _project(store, bodies)
    return kept


def _columns(body: Event) -> dict[str, Any]:
    return {
        "kind": "run" if "run" in body else "job" if "job" in body else "dataset",
        "run_id": body.get("run", {}).get("runId"),
        "event_type": body.get("eventType"),
        "event_time": body["eventTime"],
        "body": body,
    }


def _project(store: Store, bodies: Iterable[Event]) -> None:
    seen = observe(bodies)
    store.run("lock_graph")
    for query, rows in (
        ("upsert_graph_nodes", seen.nodes.values()),
        ("insert_graph_facets", seen.facets.values()),
        ("upsert_graph_runs", seen.runs.values()),
        ("upsert_graph_io", seen.io.values()),
        ("insert_graph_edges", seen.edges()),
        ("upsert_graph_columns", seen.columns.values()),
    ):
        if rows:
            store.run(query, rows=_json(list(rows)))
    if jobs := seen.jobs():
        store.run("refresh_graph_edges", jobs=jobs)


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(rows).decode()
