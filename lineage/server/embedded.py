"""Attaching to the embedded server, and starting it where it does not run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import psycopg

from lineage.errors import DatabaseError
from lineage.server import keeper
from lineage.server.binaries import find_binaries
from lineage.server.cluster import ADMIN, Cluster, open_cluster, prepare
from lineage.server.roles import create_database, one_line

_START_SECONDS, _STOP_SECONDS, _POLL_SECONDS = 60.0, 90.0, 0.02
# A server may fail for a reason that goes away; a few attempts tell.
_ATTEMPTS = 3
# What is said while the server before is not quite gone: worth waiting for, however often.
_PASSING = ("postmaster.pid", "pre-existing shared memory", "shutting down", "starting up", "already in use")
_LOG_BYTES = 16 << 20

Connection = psycopg.Connection[Any]


def hold_server(folder: Path) -> BinaryIO:
    """A lock on the server of `folder`: until it is closed, a running server is not stopped."""
    try:
        _make_folder(folder)
        hold = keeper.open_lock(folder / keeper.USERS_LOCK)
    except OSError as error:
        raise DatabaseError(
            f"The embedded Postgres needs {folder}, which user {os.geteuid()} cannot use ({error.strerror}); "
            "run as the account that owns it, or set HEADWATER_HOME or DATABASE_URL."
        ) from error
    try:
        _wait_for(hold, folder, seconds=_STOP_SECONDS, shared=True)
    except BaseException:
        hold.close()
        raise
    return hold


def connect_embedded(folder: Path, database: str, env: Mapping[str, str]) -> tuple[Connection, Cluster]:
    """The superuser's connection to `database` on the server of `folder`, which is started if need be.

    The caller holds the server (`hold_server`) before and afterwards.
    """
    cluster = open_cluster(folder, env.get("HEADWATER_PG_USER"))
    if connection := _connect(cluster, database):
        return connection, cluster
    try:
        return _prepare_and_start(folder, database, env)
    except (OSError, subprocess.SubprocessError) as error:
        raise DatabaseError(
            f"The embedded Postgres in {folder} could not be started ({error}); see to that, or set DATABASE_URL."
        ) from error


def login_parameters(cluster: Cluster, user: str, database: str) -> dict[str, str]:
    """What libpq needs to log `user` in."""
    password = cluster.password(user)
    # The port belongs to the socket's name; unsaid, libpq would take PGPORT from the environment.
    place = {"host": str(cluster.sockets), "port": "5432", "dbname": database}
    return {"user": user, "password": password, **place}


def _prepare_and_start(folder: Path, database: str, env: Mapping[str, str]) -> tuple[Connection, Cluster]:
    with keeper.open_lock(folder / keeper.START_LOCK) as start:
        _wait_for(start, folder, seconds=2 * _START_SECONDS, shared=False)
        # Looked at again: another process may have made it meanwhile.
        cluster = open_cluster(folder, env.get("HEADWATER_PG_USER"))
        binaries = find_binaries(cluster.account, env.get("HEADWATER_PG_BIN"))
        cluster = prepare(cluster, binaries)
        return _start(cluster, binaries, database), cluster


def _make_folder(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        if os.geteuid() == 0:  # the server's account passes through, to data of its own
            folder.chmod(0o711)


def _wait_for(lock: BinaryIO, folder: Path, *, seconds: float, shared: bool) -> None:
    deadline = time.monotonic() + seconds
    while not keeper.try_lock(lock, shared=shared):
        if time.monotonic() > deadline:
            doing = "stopping" if shared else "being started by another process"
            raise DatabaseError(
                f"The embedded Postgres in {folder} has been {doing} for {seconds:.0f} seconds; "
                f"read {folder / 'server.log'}, and try again."
            )
        time.sleep(_POLL_SECONDS)


def _start(cluster: Cluster, binaries: Path, database: str) -> Connection:
    deadline, failures, complaint = time.monotonic() + _START_SECONDS, 0, ""
    while failures < _ATTEMPTS and time.monotonic() < deadline:
        since = cluster.log.stat().st_size if cluster.log.exists() else 0
        _spawn_keeper(cluster, binaries)
        if connection := _await(cluster, database, deadline):
            return connection
        complaint = cluster.complaint(since)
        failures += bool(complaint) and not _is_passing(complaint)
        time.sleep(_POLL_SECONDS)
    raise DatabaseError(
        f"The embedded Postgres in {cluster.place} did not start ({complaint or 'it gave no reason'}); "
        f"read {cluster.log} for the whole story."
    )


def _await(cluster: Cluster, database: str, deadline: float) -> Connection | None:
    """A connection as soon as the server is ready; None when its keeper gave up."""
    while time.monotonic() < deadline:
        if connection := _connect(cluster, database):
            return connection
        if not _keeper_lives(cluster):
            return None
        time.sleep(_POLL_SECONDS)
    return None


def _is_passing(complaint: str) -> bool:
    return any(words in complaint for words in _PASSING)


def _keeper_lives(cluster: Cluster) -> bool:
    with keeper.open_lock(cluster.folder / keeper.KEEPER_LOCK) as lock:
        return not keeper.try_lock(lock, shared=True)


def _spawn_keeper(cluster: Cluster, binaries: Path) -> None:
    """Start a keeper, which detaches itself; one that finds another alive goes away again."""
    if cluster.log.exists() and cluster.log.stat().st_size > _LOG_BYTES:
        cluster.log.replace(cluster.log.with_name("server.log.1"))
    orders = [str(path) for path in (cluster.folder, binaries / "postgres", cluster.data, cluster.sockets)]
    if cluster.account.foreign:
        orders += [str(cluster.account.uid), str(cluster.account.gid)]
    with os.fdopen(os.open(cluster.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        subprocess.run(
            [sys.executable, "-I", "-S", keeper.__file__, *orders],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=keeper.ENVIRONMENT,
            start_new_session=True,
            timeout=_START_SECONDS,
            check=False,
        )


def _connect(cluster: Cluster, database: str) -> Connection | None:
    """A connection to the server if it is ready, without waiting for it."""
    if not _keeper_lives(cluster) or not cluster.says_ready():
        return None
    cluster.verify()
    with suppress(psycopg.OperationalError):
        return _open(cluster, database)
    try:
        with _open(cluster, "postgres") as connection:
            create_database(connection, database)
        return _open(cluster, database)
    except psycopg.OperationalError as error:
        if "FATAL:" not in str(error) or _is_passing(str(error)):
            return None
        raise DatabaseError(
            f"The embedded Postgres in {cluster.place} refuses {ADMIN} ({one_line(error)}); restore "
            f"{cluster.secrets}, which held the password of its first start."
        ) from error


def _open(cluster: Cluster, database: str) -> Connection:
    parameters: dict[str, Any] = {**login_parameters(cluster, ADMIN, database), "connect_timeout": 10}
    return psycopg.connect(**parameters, autocommit=True)
