"""The lineage service over HTTP: how fast events come in, and how fast the graph is told, small and large.

    python -m benchmarks.lineage [EVENTS]

A service of its own, with its embedded Postgres, in a new folder. Jobs stand in layers of a hundred; each reads two
tables of the layer before it and writes one. First 5,000 jobs, sent as OpenLineage events of about 4.6 kB (schemas,
versions, column lineage) in batches; column lineage is asked for, and again when each job has run fifty times as often.
Then 100,000 jobs with nine older runs of each. Each time 200 questions at random nodes, asked twice; the second time
counts. Beside them, in the same database and on the same edges, a recursive query that compares arrays of inputs and
outputs, as Marquez does.

Then events from one sender in batches, and one at a time from sixteen; and both again when EVENTS (10,000,000 unless
told otherwise, put in by COPY; they take about 10 GB and five minutes) more are on record. Events a second and core:
the wall time that the service and Postgres computed.
"""

from __future__ import annotations

import random
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.lineage.history import fill, older_events, older_runs
from benchmarks.lineage.overlap import compare
from benchmarks.lineage.questions import DEPTH, Asked, tell
from benchmarks.lineage.sending import send
from benchmarks.lineage.service import count, get, resident, service
from lineage.settings import Settings
from lineage.store import Store

SMALL, LARGE = 5_000, 100_000
# Older runs of each job, for column lineage and for all.
OFTEN, HISTORY = 49, 9


def main(more: int) -> None:
    """Fill, ask, fill more, ask again; then send."""
    chance = random.Random(20131)
    with TemporaryDirectory() as name, Store(Settings(root=Path(name), home=Path(name))) as store:
        with service(Path(name)) as (port, process):
            asked = Asked(port, chance)
            fill(port, range(SMALL), chance)
            tell(f"{SMALL:,} jobs, {count(store, 'graph_run'):,} runs", asked.all(SMALL))
            compare(store, SMALL, 1, 3, chance)
            compare(store, SMALL, DEPTH // 2, 3, chance)
            older_runs(store, OFTEN)
            tell(f"the same, {count(store, 'graph_run'):,} runs", iter([asked.columns(SMALL)]))
            send(port, process, store)
            fill(port, range(SMALL, LARGE), chance)
            older_runs(store, HISTORY)
        # Started anew: what the graph takes in memory, and how long the first question takes.
        with service(Path(name)) as (port, process):
            asked, before, started = Asked(port, chance), resident(process), time.perf_counter()
            get(HTTPConnection("127.0.0.1", port, timeout=600), "/api/v1/search?q=table_1")
            spent = time.perf_counter() - started
            print(f"\nfirst question {spent:.1f} s; {before} MiB before, {resident(process)} after", flush=True)
            tell(f"{LARGE:,} jobs, {count(store, 'graph_run'):,} runs", asked.all(LARGE))
            compare(store, LARGE, 1, 1, chance)
            compare(store, LARGE, DEPTH // 2, 1, chance)
            print(f"\n{count(store, 'event'):,} events on record", flush=True)
            send(port, process, store)
            older_events(store, more)
            print(f"\n{count(store, 'event'):,} events on record", flush=True)
            send(port, process, store)
            tell(f"{LARGE:,} jobs, as before", asked.all(LARGE))
            print(f"\nservice: {resident(process)} MiB", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000)
