"""Events into the store: each kept once, and drawn into the graph. Drawing one twice, or late, changes nothing wrongly.

One writer draws at a time: whatever order events name things in, two of them then never wait for each other.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from lineage.graph.observations import Event, digest_of, normal_time, observe
from lineage.store import Store

# How many old events are drawn at a time.
_CHUNK = 1_000
# How many changes are noted before the oldest are thrown away.
_TRIMMED_EVERY = 1_000


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
            for row in rows:
                store.run("date_event", event_id=row["event_id"], digest=_digest(row["body"]))
            _project(store, [row["body"] for row in rows])
        drawn += len(rows)
        if len(rows) < _CHUNK:
            return drawn


def _keep(store: Store, bodies: Sequence[Event]) -> Sequence[Mapping[str, Any]]:
    kept = store.rows(
        "insert_events",
        kinds=["run" if "run" in body else "job" if "job" in body else "dataset" for body in bodies],
        run_ids=[body.get("run", {}).get("runId") for body in bodies],
        event_types=[body.get("eventType") for body in bodies],
        # As the graph has them: Postgres would round what is finer than a microsecond.
        event_times=[normal_time(body["eventTime"]) for body in bodies],
        digests=[_digest(body) for body in bodies],
        bodies=[_json(body) for body in bodies],
    )
    _project(store, bodies)
    _count(store, kept)
    return kept


def _count(store: Store, kept: Sequence[Mapping[str, Any]]) -> None:
    """Add new events to the counts of their hours; only the one who draws does."""
    hours = Counter((_hour(row["event_time"]), row["event_type"] or "") for row in kept)
    if hours:
        times, types = zip(*hours, strict=True)
        store.run("add_event_hours", hours=[*times], types=[*types], totals=[*hours.values()])


def _hour(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # Whole numbers of more than 64 bits.
        return json.dumps(value, ensure_ascii=False, default=str)


def _digest(body: Event) -> UUID:
    return UUID(hex=digest_of(body))


def _project(store: Store, bodies: Iterable[Event]) -> None:
    seen = observe(bodies)
    store.run("lock_graph")
    for query, rows in (
        ("upsert_graph_nodes", seen.nodes.values()),
        ("insert_graph_facets", _unknown(store, seen.facets)),
        ("upsert_graph_runs", seen.runs.values()),
        ("upsert_graph_io", seen.io.values()),
        ("insert_graph_edges", seen.edges()),
        ("upsert_graph_columns", seen.columns.values()),
    ):
        if rows:
            store.run(query, rows=_json(list(rows)))
    if jobs := seen.jobs():
        store.run("refresh_graph_edges", jobs=jobs)
    if seen.nodes:
        _tell_readers(store, [*seen.nodes])


def _tell_readers(store: Store, nodes: list[UUID]) -> None:
    """Note which nodes this transaction touched, for those who keep the graph in memory."""
    row = store.row("insert_graph_change", nodes=nodes)
    if row and row["change_id"] % _TRIMMED_EVERY == 0:
        store.run("trim_graph_changes")


def _unknown(store: Store, facets: Mapping[UUID, Any]) -> list[Any]:
    """The shared facets that no event had before: there are few, and they are large."""
    known = {row["digest"] for row in store.rows("known_graph_facets", digests=[*facets])} if facets else set()
    return [facet for digest, facet in facets.items() if digest not in known]
