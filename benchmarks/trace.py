"""How long traces take through the serving API, on a project with predictions: one, and the row ids of a thousand.

    python -m benchmarks.trace PROJECT [MODEL [ROUNDS]]

Starts the project's serving service, predicts 1,000 random keys, each in a request of its own, and asks for their
traces over one connection that is kept alive. Warm is what a service is after its first minute: every trace has been
asked for once before any is measured. Each is then asked for twice, first when the service has forgotten which rows
are behind it (it keeps the last few), and at once again, as a reader does who goes on to pages of records.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lineage.discover import discover
from lineage.settings import read_settings
from orchestration.services import free_port

# Seconds and bytes of an answer.
Taken = tuple[float, int]

PREDICTIONS = 1_000
PATIENCE_SECONDS = 60


def keys(project: Path, model: str) -> list[str]:
    """Random keys of the table that the model learns from."""
    steps = discover(read_settings({**os.environ, "HEADWATER_ROOT": str(project)}))
    step = next(step for step in steps.models() if step.model_name == model)
    (table,) = steps.inputs(step)
    columns = [pl.col(name).cast(pl.String) for name in table.key]
    paths = sorted((project / "data" / "tables" / table.dataset).glob("*.parquet"))
    found = pl.scan_parquet(paths).select(pl.concat_str(columns, separator="|")).collect().to_series().to_list()
    return random.Random(13).sample(found, PREDICTIONS)


@contextmanager
def service(project: Path) -> Iterator[HTTPConnection]:
    """A connection to the project's serving service."""
    port = free_port()
    command = [sys.executable, "-m", "orchestration.serve", "serving", str(port)]
    process = subprocess.Popen(command, env={**os.environ, "HEADWATER_ROOT": str(project)})
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            try:
                ask(connection, "GET", "/health")
                break
            except ConnectionRefusedError:
                connection.close()
                time.sleep(0.1)
        yield connection
    finally:
        connection.close()
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def ask(connection: HTTPConnection, method: str, path: str, body: Any = None) -> bytes:
    """The answer, read to its end."""
    connection.request(method, path, None if body is None else json.dumps(body))
    response = connection.getresponse()
    data = response.read()
    if response.status != 200:
        raise SystemExit(f"{method} {path}: {response.status} {data.decode()[:300]}")
    return data


def seconds(connection: HTTPConnection, method: str, path: str, body: Any = None) -> Taken:
    """How long the answer took, and its length in bytes."""
    started = time.perf_counter()
    data = ask(connection, method, path, body)
    return time.perf_counter() - started, len(data)


def main(project: Path, model: str, rounds: int) -> None:
    """Predict, warm up, measure."""
    wanted = keys(project, model)
    with service(project) as connection:
        predict = f"/v1/models/{model}/predict"
        answers = [json.loads(ask(connection, "POST", predict, {"keys": [key]})) for key in wanted]
        ids = [answer["prediction_id"] for answer in answers]
        for name in ids:
            ask(connection, "GET", f"/v1/predictions/{name}/trace")
        paths = [f"/v1/predictions/{name}/trace" for name in ids]
        found = [(seconds(connection, "GET", path), seconds(connection, "GET", path)) for path in paths]
        many = [seconds(connection, "POST", "/v1/traces/rows", {"predictions": ids}) for _ in range(rounds)]
        first = json.loads(ask(connection, "GET", paths[0]))
    tell(found, many, complete=first["complete"])


def tell(found: list[tuple[Taken, Taken]], many: list[Taken], *, complete: bool) -> None:
    """The numbers, with how busy the machine was."""
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} cores, load {load}; a trace is {'complete' if complete else 'NOT complete'}")
    for what, taken in zip(("one trace", "asked again"), zip(*found, strict=True), strict=True):
        times, sizes = np.array(taken).T
        p50, p90, p99, most = np.percentile(times * 1e3, [50, 90, 99, 100])
        kilobytes = np.median(sizes) / 1e3
        print(f"{what:<12}p50 {p50:.1f}, p90 {p90:.1f}, p99 {p99:.1f}, most {most:.1f} ms, {kilobytes:,.0f} kB")
    spent = sorted(took for took, _ in many)
    print(f"row ids of {len(found):,} in one call: median {spent[len(spent) // 2]:.2f}, most {spent[-1]:.2f} s")
    print(f"            {many[0][1] / 1e6:,.1f} MB")


if __name__ == "__main__":
    root = Path(sys.argv[1]).resolve()
    main(root, sys.argv[2] if len(sys.argv) > 2 else "flights-late-t0", int(sys.argv[3]) if len(sys.argv) > 3 else 5)
