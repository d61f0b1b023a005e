"""The account that runs the embedded Postgres: ourselves, or an unprivileged one where we are root."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lineage.errors import DatabaseError
from lineage.server.keeper import ENVIRONMENT

# Where root keeps what the account cannot reach below a private home; owner and mode are verified.
_BASES = (Path("/var/lib/headwater"), Path("/var/tmp/headwater"))  # noqa: S108


@dataclass(frozen=True)
class Account:
    """An account of this machine; `foreign` where it is not the one that this process has."""

    name: str
    uid: int
    gid: int
    foreign: bool

    def run(self, command: list[str], seconds: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run `command` as this account, from the root folder and without our environment."""
        who: dict[str, Any] = {}
        if self.foreign:
            who = {"user": self.uid, "group": self.gid, "extra_groups": []}
        return subprocess.run(
            command,
            cwd="/",
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            **who,
        )

    def can_run(self, command: list[str]) -> bool:
        """Whether `command`, run as this account, succeeds."""
        try:
            return self.run(command).returncode == 0
        except OSError:
            return False

    def can_enter(self, folder: Path) -> bool:
        """Whether this account can pass through `folder`, found out by asking as that account."""
        return self.can_run(["/bin/sh", "-c", 'test -x "$1"', "sh", str(folder)])

    def give(self, path: Path) -> None:
        """Make `path` this account's own."""
        if self.foreign:
            os.chown(path, self.uid, self.gid)


def find_account(data: Path, name: str | None) -> Account:
    """The owner of `data` where it exists, otherwise the account `name`, nobody by default; never root."""
    uid = os.geteuid()
    if uid != 0:
        return Account(str(uid), uid, os.getegid(), foreign=False)
    if data.exists():
        status = data.stat()
        return Account(str(status.st_uid), status.st_uid, status.st_gid, foreign=True)
    try:
        entry = pwd.getpwnam(name or "nobody")
    except KeyError:
        entry = None
    if entry is None or entry.pw_uid == 0:
        raise DatabaseError(
            f"Postgres does not run as root, and {name or 'nobody'!r} is no unprivileged account; name one "
            "in HEADWATER_PG_USER, or set DATABASE_URL."
        )
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, foreign=True)


def private_base(account: Account) -> Path:
    """A folder of root's that `account` can pass through, for what it must reach outside the project."""
    for base in _BASES:
        if _is_ours(base) and account.can_enter(base):
            return base
    raise DatabaseError(
        f"The account {account.name} that runs Postgres can enter neither this project nor "
        f"{' nor '.join(map(str, _BASES))}; set DATABASE_URL, or another account in HEADWATER_PG_USER."
    )


def _is_ours(base: Path) -> bool:
    try:
        base.mkdir()
        base.chmod(0o711)
    except FileExistsError:
        status = base.lstat()
        return base.is_dir() and not base.is_symlink() and status.st_uid == 0 and not status.st_mode & 0o022
    except OSError:
        return False
    return True


def make_private(path: Path, account: Account) -> None:
    """A folder that only `account` enters; refuses one that somebody else put there."""
    try:
        path.mkdir(mode=0o700)
        account.give(path)
    except FileExistsError:
        verify_private(path, account)


def verify_private(path: Path, account: Account) -> None:
    """Raise DatabaseError unless `path` is a real folder that only `account` enters."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise DatabaseError(
            f"{path}, where the embedded Postgres is spoken to, was removed while it runs; "
            "stop the processes that use it, and it will be made again."
        ) from None
    if path.is_symlink() or not path.is_dir() or status.st_uid != account.uid or status.st_mode & 0o077:
        raise DatabaseError(
            f"{path} should be a folder of mode 0700 that belongs to user {account.uid} and does not; "
            "find out who made it, and remove it."
        )


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600, as a whole or not at all."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)
