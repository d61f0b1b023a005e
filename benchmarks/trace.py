"""How long traces take through the serving API, on a project with a model: one, and the row ids of a thousand.

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
PATIENCE_SECONDS = 300


def keys(project: Path, model: str) -> list[str]:
    """Random keys of the table that the model learns from."""
    steps = discover(read_settings({**os.environ, "HEADWATER_ROOT": str(project)}))
    step = next(step for step in steps.models() if step.model_name == model)
    (table,) = steps.inputs(step)
    columns = [pl.col(name).cast(pl.String) for name in table.key]
    paths = sorted((project / "data" / "tables" / table.dataset).glob("*.parquet"))
    found = pl.scan_parquet(paths).select(pl.concat_str(columns, separator="|")).collect().to_series()
    return found.gather(random.Random(13).sample(range(len(found)), PREDICTIONS)).to_list()


@contextmanager
def service(project: Path) -> Iterator[tuple[HTTPConnection, int]]:
    """A connection to the project's serving service, and the number of its process."""
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
        yield connection, process.pid
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


def timed(connection: HTTPConnection, method: str, path: str, body: Any = None) -> tuple[bytes, float]:
    """The answer, and how many seconds it took."""
    started = time.perf_counter()
    data = ask(connection, method, path, body)
    return data, time.perf_counter() - started


def seconds(connection: HTTPConnection, method: str, path: str, body: Any = None) -> Taken:
    """How long the answer took, and its length in bytes."""
    data, took = timed(connection, method, path, body)
    return took, len(data)


def resident(process: int) -> str:
    """How much memory a process holds of its own, and of mapped files, which the system may take back."""
    lines = (line.split() for line in Path(f"/proc/{process}/status").read_text().splitlines())
    held = {line[0]: int(line[1]) // 1024 for line in lines if line[0] in ("RssAnon:", "RssFile:")}
    return f"{held['RssAnon:']:,} MiB and {held['RssFile:']:,} MiB of files"


def main(project: Path, model: str, rounds: int) -> None:
    """Predict, warm up, measure."""
    wanted = keys(project, model)
    with service(project) as (connection, process):
        predict = f"/v1/models/{model}/predict"
        predicted = [timed(connection, "POST", predict, {"keys": [key]}) for key in wanted]
        ids = [json.loads(answer)["prediction_id"] for answer, _ in predicted]
        paths = [f"/v1/predictions/{name}/trace" for name in ids]
        before = resident(process)
        cold = [seconds(connection, "GET", path) for path in paths]
        found = [(seconds(connection, "GET", path), seconds(connection, "GET", path)) for path in paths]
        many = [seconds(connection, "POST", "/v1/traces/rows", {"predictions": ids}) for _ in range(rounds)]
        first = json.loads(ask(connection, "GET", paths[0]))
        after = resident(process)
    tell(found, many, complete=first["complete"])
    spent = [took for took, _ in cold]
    print(f"before it is warm: the first {spent[0]:.1f}, all {len(spent):,} {sum(spent):.1f}, most {max(spent):.1f} s")
    print(
        f"predictions: the first {predicted[0][1]:.1f} s, p50 {np.median([took for _, took in predicted]) * 1e3:.1f} ms"
    )
    print(f"memory of the service: {before} before the first trace, {after} after")


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
