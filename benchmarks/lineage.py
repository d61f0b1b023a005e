"""The lineage service over HTTP: how fast events come in, and how fast the graph is told, small and large.

    python -m benchmarks.lineage [EVENTS]

A service of its own, with its embedded Postgres, in a new folder. Jobs stand in layers of a hundred; each reads two
tables of the layer before it and writes one. First 5,000 jobs, then 100,000, sent as OpenLineage events of about 4.6 kB
(schemas, versions, column lineage) in batches; then nine older runs more of every job, put in by SQL. Each time 200
questions at random nodes, asked twice; the second time counts. Beside them, in the same database and on the same edges,
a recursive query that compares arrays of inputs and outputs, as Marquez does.

Then events from one sender in batches, and one at a time from sixteen; and both again when EVENTS (1,000,000 unless
told otherwise) more are on record. Events a second and core: the wall time that the service and Postgres computed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, urlencode

import psycopg

from lineage.settings import Settings
from lineage.store import Store

ROOT = Path(__file__).parent.parent
SMALL, LARGE, HISTORY = 5_000, 100_000, 9
WIDTH, COLUMNS, BATCH = 100, 6, 200
QUESTIONS, DEPTH = 200, 20
SENDERS, SECONDS = 16, 10.0
DATABASE, ORCHESTRATOR = "postgres://db:5432", "airflow"
URL = "https://example.org/benchmark"
TICKS = os.sysconf("SC_CLK_TCK")

Json = dict[str, Any]


def main(more: int) -> None:
    """Fill, ask, fill more, ask again; then send."""
    chance = random.Random(20131)
    with TemporaryDirectory() as name, Store(Settings(root=Path(name), home=Path(name))) as store:
        with service(Path(name)) as (port, process):
            asked = Asked(port, chance)
            for jobs in (SMALL, LARGE):
                fill(port, jobs, chance)
                tell(f"{jobs:,} jobs, {count(store, 'graph_run'):,} runs", asked.all(jobs))
                if jobs == SMALL:
                    compare(store, jobs, chance)
            older_runs(store)
            tell(f"{LARGE:,} jobs, {count(store, 'graph_run'):,} runs", asked.all(LARGE))
            compare(store, LARGE, chance)
            send(port, process, store)
            older_events(store, more)
            send(port, process, store)
            print(f"service: {resident(process)} MiB; load {load()}", flush=True)


# --- events


def table(number: int) -> str:
    return f"shop.public.table_{number}"


def sources(number: int, chance: random.Random) -> list[int]:
    """Two tables of the layer before; the first layer reads raw ones."""
    before = number - number % WIDTH - WIDTH
    return [before + chance.randrange(WIDTH) for _ in range(2)]


def facet(**body: Any) -> Json:
    return {"_producer": URL, "_schemaURL": URL, **body}


def dataset(number: int, version: int, reads: Iterable[int] = ()) -> Json:
    fields = [{"name": f"column_{place}", "type": "bigint"} for place in range(COLUMNS)]
    facets = {"schema": facet(fields=fields), "version": facet(datasetVersion=f"{number}.{version}")}
    if reads:
        facets["columnLineage"] = facet(fields={f"column_{place}": columns(place, reads) for place in range(COLUMNS)})
    return {"namespace": DATABASE, "name": table(number), "facets": facets}


def columns(place: int, reads: Iterable[int]) -> Json:
    same = [{"type": "DIRECT", "subtype": "IDENTITY"}]
    named = {"namespace": DATABASE, "field": f"column_{place}", "transformations": same}
    return {"inputFields": [{**named, "name": table(number)} for number in reads]}


def event(number: int, run: int, reads: list[int]) -> Json:
    """A COMPLETE event of a job's run; times ascend, so that the newest run is the last one sent."""
    time = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=run, microseconds=number)
    return {
        "eventTime": time.isoformat(),
        "eventType": "COMPLETE",
        "producer": URL,
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": str(uuid.uuid4()), "facets": {"nominalTime": facet(nominalStartTime="2026-01-01T00:00:00Z")}},
        "job": {
            "namespace": ORCHESTRATOR,
            "name": f"dag_{number // 10}.task_{number}",
            "facets": {"jobType": facet(processingType="BATCH", integration="AIRFLOW", jobType="TASK")},
        },
        "inputs": [dataset(other, run) for other in reads],
        "outputs": [dataset(number, run, reads)],
    }


def fill(port: int, jobs: int, chance: random.Random) -> None:
    """Send one run of each job."""
    connection = HTTPConnection("127.0.0.1", port, timeout=600)
    batch: list[Json] = []
    for number in range(jobs):
        batch.append(event(number, 0, sources(number, chance)))
        if len(batch) == BATCH or number == jobs - 1:
            post(connection, "/api/v1/lineage/batch", batch)
            batch = []


def older_runs(store: Store) -> None:
    """HISTORY runs more of each job, as if each had read and written the same before."""
    with connected(store) as connection:
        connection.execute(
            """
            create temporary table older as
            select r.run_id, r.job, gen_random_uuid() as older_id, make_interval(days => n) as ago
            from graph_run r cross join generate_series(1, %s) n
            """,
            (HISTORY,),
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
        connection.execute("analyze")


def older_events(store: Store, more: int) -> None:
    """That many events more on record, of the size of the others."""
    with connected(store) as connection:
        body = json.dumps(event(1, 1, [0, 1]))
        connection.execute(
            """
            insert into event (kind, run_id, event_type, event_time, digest, body)
            select 'run', gen_random_uuid()::text, 'COMPLETE', timestamptz '2026-01-01' - n * interval '1 second',
                   gen_random_uuid(), %s::json
            from generate_series(1, %s) n
            """,
            (body, more),
        )
        connection.execute("analyze event")
    print(f"\n{count(store, 'event'):,} events on record", flush=True)


# --- questions


class Asked:
    """Questions over HTTP, each kind asked at random places."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self._port, self._chance = port, chance

    def all(self, jobs: int) -> Iterator[tuple[str, list[float], float]]:
        """Name, seconds of each question, and the mean number of nodes (or entries) in an answer."""
        yield "depth 2", *self._graph(jobs, 2)
        yield f"depth {DEPTH}, upstream", *self._graph(jobs, DEPTH, direction="upstream")
        yield f"depth {DEPTH}, as Marquez walks", *self._graph(jobs, DEPTH)
        for kind, namespace in (("jobs", ORCHESTRATOR), ("datasets", DATABASE)):
            path = f"/api/v1/namespaces/{quote(namespace, safe='')}/{kind}?limit=100&offset="
            yield f"100 {kind} of a list", *self._ask(kind, [f"{path}{self._any(jobs)}" for _ in range(QUESTIONS)])

    def _any(self, jobs: int) -> int:
        return self._chance.randrange(jobs)

    def _graph(self, jobs: int, depth: int, **more: str) -> tuple[list[float], float]:
        # From the last layers, so that what is above is deep.
        low = jobs * 3 // 4
        starts = [low + self._any(jobs - low) for _ in range(QUESTIONS)]
        ids = [f"dataset:{DATABASE}:{table(number)}" for number in starts]
        paths = [f"/api/v1/lineage?{urlencode({'nodeId': name, 'depth': depth, **more})}" for name in ids]
        return self._ask("graph", paths)

    def _ask(self, what: str, paths: list[str]) -> tuple[list[float], float]:
        # What was asked once is warm; a graph that nobody looks at is not kept drawn.
        connection = HTTPConnection("127.0.0.1", self._port, timeout=600)
        sizes = [len(json.loads(get(connection, path))[what]) for path in paths]
        spent = []
        for path in paths:
            started = time.perf_counter()
            get(connection, path)
            spent.append(time.perf_counter() - started)
        return spent, statistics.mean(sizes)


OVERLAP = """
    with recursive job_io as (
        select job, coalesce(array_agg(dataset) filter (where not is_output), '{}') as inputs,
               coalesce(array_agg(dataset) filter (where is_output), '{}') as outputs
        from graph_edge where current group by job
    ), walk (job, inputs, outputs, depth) as (
        select job, inputs, outputs, 0 from job_io where job = %(job)s
        union
        select io.job, io.inputs, io.outputs, walk.depth + 1
        from job_io io, walk
        where io.job <> walk.job and (io.outputs && walk.inputs or io.inputs && walk.outputs) and walk.depth < %(depth)s
    )
    select count(distinct job) from walk
"""


def compare(store: Store, jobs: int, chance: random.Random) -> None:
    """The recursive query of arrays that overlap, at a few jobs: each step of it looks at all jobs."""
    with connected(store) as connection:
        connection.execute("set statement_timeout = '30s'")
        for depth in (1, DEPTH // 2):
            spent = []
            for _ in range(3 if jobs == SMALL else 1):
                number = jobs * 3 // 4 + chance.randrange(jobs // 4)
                query = "select node_id from graph_node where kind = 'job' and name = %s"
                found = connection.execute(query, (f"dag_{number // 10}.task_{number}",)).fetchone()
                assert found
                started = time.perf_counter()
                try:
                    connection.execute(OVERLAP.encode(), {"job": found[0], "depth": depth})
                except psycopg.errors.QueryCanceled:
                    # As good as never.
                    connection.rollback()
                spent.append(time.perf_counter() - started)
            print(
                f"  arrays that overlap, {depth} jobs deep: median {statistics.median(spent) * 1e3:,.0f} ms", flush=True
            )


# --- sending


def send(port: int, process: int, store: Store) -> None:
    """Batches from one sender, then single events from many, for a while each."""
    postmaster = parent(store)
    for name, work in (
        (f"batches of {BATCH} from one sender", lambda: in_batches(port)),
        (f"single events from {SENDERS} senders", lambda: one_by_one(port)),
    ):
        before, started = computed(process, postmaster), time.perf_counter()
        events = work()
        wall = time.perf_counter() - started
        cores = (computed(process, postmaster) - before) / wall
        print(
            f"{name}: {events / wall:,.0f} events/s; {cores:.2f} cores, {events / wall / cores:,.0f} a core", flush=True
        )


def in_batches(port: int) -> int:
    """Events accepted in SECONDS; their bodies are made before."""
    connection = HTTPConnection("127.0.0.1", port, timeout=600)
    bodies = [json.dumps(made(BATCH)).encode() for _ in range(100)]
    return sum(BATCH for body in until(bodies) if post_bytes(connection, "/api/v1/lineage/batch", body))


def one_by_one(port: int) -> int:
    """The same from SENDERS threads, an event each."""

    def sender(_: int) -> int:
        connection = HTTPConnection("127.0.0.1", port, timeout=600)
        bodies = [json.dumps(item).encode() for item in made(1_000)]
        return sum(1 for body in until(bodies) if post_bytes(connection, "/api/v1/lineage", body))

    with ThreadPoolExecutor(SENDERS) as threads:
        return sum(threads.map(sender, range(SENDERS)))


def made(events: int) -> list[Json]:
    """New runs of the first jobs."""
    run = int(time.time()) % (28 * 86_400)
    return [event(number, run, [number - WIDTH, number]) for number in random.choices(range(SMALL), k=events)]


def until(bodies: list[bytes]) -> Iterator[bytes]:
    """Bodies, for SECONDS or until there are no more."""
    end = time.perf_counter() + SECONDS
    for body in bodies:
        if time.perf_counter() > end:
            return
        yield body


# --- the service, and what it costs


@contextmanager
def service(home: Path) -> Iterator[tuple[int, int]]:
    """The lineage service on a free port: port and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {**os.environ, "HEADWATER_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "orchestration.serve", "lineage", str(port)]
    process = subprocess.Popen(command, cwd=home, env=environ)
    try:
        wait_for(lambda: get(HTTPConnection("127.0.0.1", port, timeout=60), "/health"))
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def wait_for(answer: Callable[[], object]) -> None:
    for _ in range(600):
        try:
            answer()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("The service does not answer.")


def get(connection: HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    with connection.getresponse() as response:
        body = response.read()
    if response.status != 200:
        raise SystemExit(f"{path}: {response.status} {body[:300]!r}")
    return body


def post(connection: HTTPConnection, path: str, value: Any) -> bool:
    return post_bytes(connection, path, json.dumps(value).encode())


def post_bytes(connection: HTTPConnection, path: str, body: bytes) -> bool:
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    with connection.getresponse() as response:
        told = response.read()
    if response.status not in (200, 201) or b"partial" in told:
        raise SystemExit(f"{path}: {response.status} {told[:300]!r}")
    return True


@contextmanager
def connected(store: Store) -> Iterator[psycopg.Connection]:
    with psycopg.connect(store.attachment.owner_url) as connection:
        yield connection


def count(store: Store, table: str) -> int:
    with connected(store) as connection:
        found = connection.execute(f"select count(*) from {table}".encode()).fetchone()
    assert found
    return int(found[0])


def parent(store: Store) -> int:
    """The process above all of Postgres's."""
    with connected(store) as connection:
        found = connection.execute("select pg_backend_pid()").fetchone()
        assert found
        return int(status(found[0])[3])


def computed(*processes: int) -> float:
    """Seconds that these processes and those below them have computed, ended ones included."""
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = status(int(folder.name))
        except OSError:
            continue
        if int(fields[0]) in processes:
            ticks += sum(map(int, fields[13:17]))
        elif int(fields[3]) in processes:
            ticks += sum(map(int, fields[13:15]))
    return ticks / TICKS


def status(process: int) -> list[str]:
    """The fields of /proc/PID/stat, counted as its documentation does from 0; names may hold spaces."""
    text = Path(f"/proc/{process}/stat").read_text()
    name = text[text.index("(") : text.rindex(")") + 1]
    return text.replace(name, "name").split()


def resident(process: int) -> str:
    lines = (line.split() for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return f"{next(int(line[1]) for line in lines if line[0] == 'VmRSS:') // 1024:,}"


def load() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def tell(what: str, found: Iterable[tuple[str, list[float], float]]) -> None:
    """A line for each question: median, the 95th of a hundred, the slowest; and how much there was to tell."""
    print(f"\n{what} (load {load()})", flush=True)
    for name, spent, size in found:
        ordered = sorted(spent)
        p50, p95, most = (ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1e3 for share in (0.5, 0.95, 1))
        print(
            f"  {name:<26} p50 {p50:6.1f}  p95 {p95:6.1f}  most {most:6.1f} ms   {size:,.0f} in an answer", flush=True
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
