"""What was there before: older runs of every job, and events on record, put in by SQL and by COPY."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection

from benchmarks.lineage.events import URL, Json, event, sources
from benchmarks.lineage.service import connected, post
from lineage.store import Store

BATCH = 200


def fill(port: int, numbers: range, chance: random.Random) -> None:
    """Send one run of each of these jobs."""
    connection = HTTPConnection("127.0.0.1", port, timeout=600)
    for first in range(numbers.start, numbers.stop, BATCH):
        some = range(first, min(first + BATCH, numbers.stop))
        post(connection, "/api/v1/lineage/batch", [event(number, 0, sources(number, chance)) for number in some])


def older_runs(store: Store, runs: int) -> None:
    """That many runs more of each job, as if each had read and written the same before."""
    with connected(store) as connection:
        connection.execute(
            """
            create temporary table older as
            select r.run_id, r.job, gen_random_uuid() as older_id, make_interval(days => n) as ago
            from (select distinct on (job) run_id, job from graph_run order by job, updated_at desc) r
            cross join generate_series(1, %s) n
            """,
            (runs,),
        )
        connection.execute(
            """
            insert into graph_run
            select o.older_id, r.job, state, state_at - ago, ended, started_at - ago, ended_at - ago, created_at - ago,
                   updated_at - ago, facets, settled, has_io, designed
            from older o join graph_run r using (run_id, job)
            """
        )
        connection.execute(
            """
            insert into graph_io
            select o.older_id, i.job, dataset, is_output, seen_at - ago, facets
            from older o join graph_io i using (run_id, job)
            """
        )
    settle(store)


def settle(store: Store) -> None:
    """What Postgres would do by and by after so much at once; while others are timed it must not."""
    with connected(store) as connection:
        connection.autocommit = True
        connection.execute("vacuum analyze")


def older_events(store: Store, more: int) -> None:
    """That many events more on record, by COPY: half of them START, half COMPLETE, of runs that nobody asks for."""
    with connected(store) as connection:
        columns = "kind, run_id, event_type, event_time, digest, body"
        with connection.cursor().copy(f"copy event ({columns}) from stdin (format binary)".encode()) as copy:
            copy.set_types(["text", "text", "text", "timestamptz", "uuid", "json"])
            for row in _event_rows(more):
                copy.write_row(row)
    settle(store)


def _event_rows(more: int) -> Iterator[tuple[object, ...]]:
    # A second apart, before all others.
    last = datetime(2025, 12, 31, tzinfo=UTC)
    for number in range(more):
        run, time = str(uuid.UUID(int=number // 2)), last - timedelta(seconds=number)
        kind = "START" if number % 2 else "COMPLETE"
        body = json.dumps(_small_event(run, time, kind))
        yield "run", run, kind, time, uuid.UUID(int=number), body


def _small_event(run: str, time: datetime, kind: str) -> Json:
    named = {"namespace": "old", "name": f"job_{run[-4:]}", "facets": {}}
    spec = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
    said = {"eventTime": time.isoformat(), "eventType": kind, "producer": URL, "schemaURL": spec}
    return {**said, "run": {"runId": run, "facets": {}}, "job": named, "inputs": [], "outputs": []}
