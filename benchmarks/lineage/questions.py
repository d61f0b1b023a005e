"""Questions over HTTP on one connection, each kind asked at random places."""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import NamedTuple
from urllib.parse import quote, urlencode

from benchmarks.lineage.events import COLUMNS, DATABASE, ORCHESTRATOR, table
from benchmarks.lineage.service import get, load

QUESTIONS, DEPTH = 200, 20


class Spent(NamedTuple):
    """The seconds that each question of a kind took, and the mean number of nodes or entries in an answer."""

    name: str
    seconds: list[float]
    size: float

    def at(self, share: float) -> float:
        """Milliseconds that this share of the questions did not exceed."""
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1e3


class Asked:
    """Questions to the service at a port."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self._port, self._chance = port, chance

    def all(self, jobs: int) -> Iterator[Spent]:
        """All kinds, where there are so many jobs."""
        yield self._graph("depth 2", jobs, 2)
        yield self._graph(f"depth {DEPTH}, upstream", jobs, DEPTH, direction="upstream")
        yield self._graph(f"depth {DEPTH}, as Marquez walks", jobs, DEPTH)
        yield self.columns(jobs)
        for kind, namespace in (("jobs", ORCHESTRATOR), ("datasets", DATABASE)):
            path = f"/api/v1/namespaces/{quote(namespace, safe='')}/{kind}?limit=100&offset="
            yield self._ask(f"100 {kind} of a list", kind, [f"{path}{self._any(jobs)}" for _ in range(QUESTIONS)])
        texts = [f"/api/v1/search?limit=100&q={self._text(jobs)}" for _ in range(QUESTIONS)]
        yield self._ask("search", "results", texts)

    def columns(self, jobs: int) -> Spent:
        """What feeds a column, three steps far."""
        columns = [f"{name}:column_{self._chance.randrange(COLUMNS)}" for name in self._late_tables(jobs)]
        nodes = [f"datasetField:{DATABASE}:{column}" for column in columns]
        paths = [f"/api/v1/column-lineage?{urlencode({'nodeId': node, 'depth': 3})}" for node in nodes]
        return self._ask("columns, depth 3", "graph", paths)

    def _text(self, jobs: int) -> str:
        """A name, the beginning of one, a word of many, and what is nowhere."""
        number = self._any(jobs)
        return self._chance.choice([table(number), f"task_{number // 10}", f"dag_{number}", "public", "nowhere"])

    def _any(self, jobs: int) -> int:
        return self._chance.randrange(jobs)

    def _late_tables(self, jobs: int) -> list[str]:
        # From the last layers, so that what is above is deep.
        low = jobs * 3 // 4
        return [table(low + self._any(jobs - low)) for _ in range(QUESTIONS)]

    def _graph(self, name: str, jobs: int, depth: int, **more: str) -> Spent:
        ids = [f"dataset:{DATABASE}:{table}" for table in self._late_tables(jobs)]
        paths = [f"/api/v1/lineage?{urlencode({'nodeId': node, 'depth': depth, **more})}" for node in ids]
        return self._ask(name, "graph", paths)

    def _ask(self, name: str, what: str, paths: list[str]) -> Spent:
        # What was asked once is warm; a graph that nobody looks at is not kept drawn.
        connection = HTTPConnection("127.0.0.1", self._port, timeout=600)
        sizes = [len(json.loads(get(connection, path))[what]) for path in paths]
        seconds = []
        for path in paths:
            started = time.perf_counter()
            get(connection, path)
            seconds.append(time.perf_counter() - started)
        return Spent(name, seconds, statistics.mean(sizes))


def tell(what: str, found: Iterator[Spent]) -> None:
    """A line for each kind: median, the 95th of a hundred, the slowest; and how much there was to tell."""
    print(f"\n{what} (load {load()})", flush=True)
    for spent in found:
        times = f"p50 {spent.at(0.5):6.1f}  p95 {spent.at(0.95):6.1f}  most {spent.at(1):6.1f} ms"
        print(f"  {spent.name:<26} {times}   {spent.size:,.0f} in an answer", flush=True)
