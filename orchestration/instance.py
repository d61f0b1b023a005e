"""Dagster's instance: its files under HEADWATER_HOME, its storage in the same Postgres."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import psycopg

from lineage.objects import write_bytes
from lineage.postgres import DAGSTER_ROLE, DAGSTER_SCHEMA, Attachment
from lineage.server.keeper import open_lock, try_lock
from lineage.settings import Settings

URL_VARIABLE = "HEADWATER_DAGSTER_URL"

_CONFIG = f"""\
# Written by Headwater. The password travels in the environment, where process lists do not show it.
storage:
  postgres:
    postgres_url:
      env: {URL_VARIABLE}
telemetry:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 2
nux:
  enabled: false
python_logs:
  managed_python_loggers:
    - headwater
  python_log_level: INFO
"""


def dagster_home(settings: Settings) -> Path:
    """Dagster's home, with its dagster.yaml written."""
    home = settings.home / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    path = home / "dagster.yaml"
    if not path.exists() or path.read_text() != _CONFIG:
        write_bytes(path, _CONFIG.encode())
    return home


def dagster_environment(settings: Settings, attachment: Attachment) -> Mapping[str, str]:
    """The environment in which Dagster's processes, and ours that use its instance, find everything."""
    return {
        **os.environ,
        "DAGSTER_HOME": str(dagster_home(settings)),
        URL_VARIABLE: attachment.url(role=DAGSTER_ROLE, schema=DAGSTER_SCHEMA, driver="postgresql+psycopg2"),
        "HEADWATER_ROOT": str(settings.root),
        "HEADWATER_HOME": str(settings.home),
        "HEADWATER_PIPELINES": settings.pipelines,
        "HEADWATER_NAMESPACE": settings.namespace,
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
        **_no_proxy(),
    }


def _no_proxy() -> dict[str, str]:
    """Dagster's processes talk to each other on loopback; gRPC would ask a proxy of the environment to do so."""
    hosts = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    without = ",".join(filter(None, (hosts, "127.0.0.1", "localhost")))
    return {"no_proxy": without, "NO_PROXY": without}


@contextmanager
def presence(settings: Settings) -> Iterator[bool]:
    """For as long as the block lasts this is a running `headwater up`; yields whether it is the only one.

    It is a lock, which the kernel drops with the process: kill -9 leaves nothing behind.
    """
    with open_lock(dagster_home(settings) / "up.lock") as lock:
        alone = try_lock(lock)
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield alone


def storage_is_prepared(settings: Settings, attachment: Attachment) -> bool:
    """Whether Dagster's tables are there and were last migrated by the Dagster that is installed."""
    mark = _mark(settings)
    if not mark.exists() or mark.read_text() != metadata.version("dagster"):
        return False
    with psycopg.connect(attachment.url(role=DAGSTER_ROLE, schema=DAGSTER_SCHEMA)) as connection:
        row = connection.execute("select to_regclass('event_logs') is not null").fetchone()
    return bool(row and row[0])


def storage_prepared(settings: Settings) -> None:
    """Remember that the installed Dagster has migrated its tables."""
    write_bytes(_mark(settings), metadata.version("dagster").encode())


def _mark(settings: Settings) -> Path:
    return dagster_home(settings) / "migrated-by"
