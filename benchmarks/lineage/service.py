"""The service that is measured: a process with an embedded Postgres; requests to it, and what both of them compute."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psycopg

from lineage.store import Store

ROOT = Path(__file__).parent.parent.parent
TICKS = os.sysconf("SC_CLK_TCK")


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
