"""How fast events come in: in batches from one sender, and one at a time from many."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import NamedTuple

from benchmarks.lineage.events import WIDTH, Json, event
from benchmarks.lineage.service import computed, parent, post_bytes
from lineage.store import Store

SENDERS, SECONDS, BATCH = 16, 10.0, 200
# Whose jobs run again.
JOBS = 5_000


class Rate(NamedTuple):
    """Events a second, and the cores that the service and Postgres computed meanwhile."""

    events: float
    cores: float


def send(port: int, process: int, store: Store) -> None:
    """Batches from one sender, then single events from many, for a while each."""
    postmaster = parent(store)
    for name, work in (("batches", in_batches), ("single", one_by_one)):
        before, started = computed(process, postmaster), time.perf_counter()
        events = work(port)
        wall = time.perf_counter() - started
        tell(name, Rate(events / wall, (computed(process, postmaster) - before) / wall))


def tell(name: str, rate: Rate) -> None:
    """A line."""
    what = {"batches": f"batches of {BATCH} from one sender", "single": f"single events from {SENDERS} senders"}[name]
    a_core = rate.events / rate.cores
    print(f"  {what:<34} {rate.events:7,.0f} events/s; {rate.cores:.2f} cores, {a_core:,.0f} a core", flush=True)


def in_batches(port: int) -> int:
    """Events accepted in SECONDS; their bodies are made before."""
    connection = HTTPConnection("127.0.0.1", port, timeout=600)
    bodies = [json.dumps(made(BATCH)).encode() for _ in range(150)]
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
    return [event(number, run, [number - WIDTH, number]) for number in random.choices(range(WIDTH, JOBS), k=events)]


def until(bodies: list[bytes]) -> Iterator[bytes]:
    """Bodies, for SECONDS or until there are no more."""
    end = time.perf_counter() + SECONDS
    for body in bodies:
        if time.perf_counter() > end:
            return
        yield body
