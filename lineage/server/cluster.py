"""Where the embedded server's data lie, and how they come into being.

The server's folder (`<home>/postgres`) holds the locks, the secrets and the log, and normally data and
sockets too. Only where we are root and the account that runs Postgres cannot reach that folder, as under a
0700 home, do data and sockets lie in a private folder elsewhere, which the file `location` names.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from lineage.errors import DatabaseError
from lineage.server.account import Account, find_account, make_private, private_base, verify_private, write_private
from lineage.server.roles import LOGIN_ROLE

ADMIN = "headwater_admin"
# A unix socket's address has 108 bytes, the last of them zero; some systems have fewer.
_LONGEST_SOCKET_BYTES = 100
_HOUR_SECONDS = 3600.0
_SETTINGS = (
    "max_connections=200",
    # Memory that is used when there is that much data, and not before.
    "shared_buffers=256MB",
    # After a checkpoint each page that is touched is logged whole: the fewer of them the less is written.
    "max_wal_size=2GB",
    "checkpoint_timeout=15min",
    "timezone=UTC",
    "log_timezone=UTC",
    "log_checkpoints=off",
)


@dataclass(frozen=True)
class Cluster:
    """A server's files: `folder` has locks, secrets and log, `place` data and sockets; often they are one."""

    folder: Path
    place: Path
    account: Account
    identity: str = ""

    @property
    def data(self) -> Path:
        return self.place / "data"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets.json"

    @property
    def sockets(self) -> Path:
        """The folder of the unix socket, as every process computes it."""
        return socket_folder(self.place, self.account.uid, self.identity)

    def password(self, user: str) -> str:
        """The password that `user` was made with."""
        try:
            return str(json.loads(self.secrets.read_text())[user])
        except (OSError, ValueError, KeyError) as error:
            raise DatabaseError(
                f"{self.secrets} has no password for {user}; restore it, or remove {self.folder} to begin "
                "with an empty database."
            ) from error

    def complaint(self, since: int = 0) -> str:
        """The last thing the log says from byte `since` on, preferring what was fatal."""
        if not self.log.exists():
            return ""
        lines = self.log.read_bytes()[since:].decode(errors="replace").strip().splitlines()
        grave = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
        return (grave or lines or [""])[-1].strip()

    def says_ready(self) -> bool:
        """Whether the server declares itself ready; it may have been killed since."""
        # Asking this file first keeps attempts that must fail out of the server's log. The state is its
        # eighth line.
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready"

    def verify(self) -> None:
        """Raise DatabaseError where somebody else could be listening on the socket."""
        verify_private(self.sockets, self.account)


def socket_folder(place: Path, uid: int, identity: str) -> Path:
    """A folder in `place`, or a short private one named after it where libpq could not use that.

    A socket's address must not be too long, and libpq takes a comma for the end of a host. The folder's name
    differs from one life of the place to the next: a server that outlives the removal of its files removes its
    socket by name when it stops.
    """
    folder = place / f"run-{identity[:8]}"
    address = os.fsencode(folder / ".s.PGSQL.5432")
    if len(address) <= _LONGEST_SOCKET_BYTES and b"," not in address:
        return folder
    return Path(f"/tmp/headwater-{uid}-{_digest(place, identity)}")  # noqa: S108 - owner and mode are verified


def open_cluster(folder: Path, account_name: str | None) -> Cluster:
    """The cluster of `folder` as it stands: cheap, and changes nothing."""
    place, identity = _remembered(folder) or folder, folder / "id"
    account = find_account(place / "data", account_name)
    return Cluster(folder, place, account, identity.read_text() if identity.exists() else "")


def prepare(cluster: Cluster, binaries: Path) -> Cluster:
    """The cluster with its data made and reachable; whoever calls holds start.lock."""
    place = _settle(cluster.folder, cluster.account)
    settled = replace(cluster, place=place, identity=_identity(cluster.folder))
    if not settled.data.exists():
        if not settled.secrets.exists():
            words = {user: secrets.token_urlsafe(32) for user in (ADMIN, LOGIN_ROLE)}
            write_private(settled.secrets, json.dumps(words))
        _create_data(settled, binaries)
    make_private(settled.sockets, settled.account)
    return settled


def _remembered(folder: Path) -> Path | None:
    location = folder / "location"
    return Path(location.read_text()) if location.exists() else None


def _settle(folder: Path, account: Account) -> Path:
    """Where the data are or shall be."""
    if place := _remembered(folder):
        return _follow(folder, place, account)
    if not account.foreign or account.can_enter(folder):
        return folder
    if (folder / "data").exists():
        raise DatabaseError(
            f"Account {account.name} owns the database in {folder} but cannot enter that folder any more; "
            "make the folders above it searchable again (chmod o+x)."
        )
    base = private_base(account)
    sweep(base)
    return _move_in(folder, base / _digest(folder, _identity(folder)))


def _follow(folder: Path, place: Path, account: Account) -> Path:
    """The place that `folder` remembers: it comes along when `folder` was moved, not when it was copied."""
    if not place.is_dir():
        raise DatabaseError(
            f"The database of {folder} lay in {place}, which is gone; put it back, or remove {folder} to "
            "begin with an empty database."
        )
    home, expected = Path((place / "home").read_text()), place.with_name(_digest(folder, _identity(folder)))
    if place == expected or (home.exists() and home.samefile(folder)):
        return place
    if (home / "id").exists() and (home / "id").read_text() == _identity(folder):
        for name in ("location", "id", "secrets.json"):
            (folder / name).unlink()
        return _settle(folder, account)
    place.rename(expected)
    return _move_in(folder, expected)


def sweep(base: Path) -> None:
    """Remove the data in `base` whose home was temporary and has been gone for an hour, as after tests.

    Others stay: their homes may be on a disk that is not mounted, or about to be attached to where they moved.
    """
    for note in base.glob("*/home"):
        with suppress(OSError):
            home, data = Path(note.read_text()), note.with_name("data")
            idle = time.time() - data.stat().st_mtime > _HOUR_SECONDS and not (data / "postmaster.pid").exists()
            if idle and home.is_relative_to("/tmp") and not home.exists():  # noqa: S108 - nothing is written there
                shutil.rmtree(note.parent)


def _move_in(folder: Path, place: Path) -> Path:
    place.mkdir(exist_ok=True)
    place.chmod(0o711)
    write_private(place / "home", str(folder))
    write_private(folder / "location", str(place))
    return place


def _digest(folder: Path, identity: str) -> str:
    """Names a folder and this life of it: a clone deleted and made anew never meets the old one's data."""
    return hashlib.sha256(os.fsencode(folder) + b"\n" + identity.encode()).hexdigest()[:16]


def _identity(folder: Path) -> str:
    path = folder / "id"
    if not path.exists():
        write_private(path, secrets.token_hex(16))
    return path.read_text()


def _create_data(cluster: Cluster, binaries: Path) -> None:
    """Run initdb in a folder of its own and move the result into place: data are whole or absent."""
    for left in cluster.place.glob("init-*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix="init-", dir=cluster.place))
    try:
        _initdb(cluster, binaries, work)
        (work / "data").rename(cluster.data)
    finally:
        shutil.rmtree(work)


def _initdb(cluster: Cluster, binaries: Path, work: Path) -> None:
    word = work / "password"
    write_private(word, cluster.password(ADMIN))
    cluster.account.give(work)
    cluster.account.give(word)
    command = [str(binaries / "initdb"), "-D", str(work / "data"), "-U", ADMIN, f"--pwfile={word}"]
    # The builtin provider sorts alike on every machine, whatever its C library.
    command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "-E", "UTF8"]
    command += ["-A", "scram-sha-256", "--data-checksums", *(f"--set={setting}" for setting in _SETTINGS)]
    done = cluster.account.run(command, seconds=300)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DatabaseError(f"initdb could not create the database in {cluster.place} ({last}).")
