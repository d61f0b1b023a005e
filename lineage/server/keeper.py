"""The process that owns the embedded Postgres: it stops the server once nobody uses it.

Run as a script (`python -I -S keeper.py …`), so it imports nothing but the standard library and costs a few
milliseconds. Three locks in the server's folder make up the whole protocol:

    users.lock    shared by every process that is attached; exclusive while the keeper stops the server
    keeper.lock   exclusive for as long as a keeper lives
    start.lock    exclusive while somebody prepares and starts the server

The kernel drops locks with their holder, so kill -9 of anybody leaves nothing to clean up. Whoever holds
users.lock shared knows that the keeper is not stopping the server; whoever finds keeper.lock free knows that
there is no server to be had.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

USERS_LOCK, KEEPER_LOCK, START_LOCK = "users.lock", "keeper.lock", "start.lock"
# Everything that runs the server gets this environment and no other: ours may hold secrets.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}
_POLL_SECONDS = 0.2
# Fast shutdown first; a server that does not answer is stopped at once, then killed.
_STOPS = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Orders:
    """What a keeper is told on its command line, nothing of it secret; no `uid` means its own account."""

    folder: str
    postgres: str
    data: str
    sockets: str
    uid: str = ""
    gid: str = ""

    def account(self) -> dict[str, Any]:
        """Arguments for subprocess that run the server as the account ordered."""
        return {"user": int(self.uid), "group": int(self.gid), "extra_groups": []} if self.uid else {}

    def command(self) -> list[str]:
        """The server's command line; it listens on its unix socket only."""
        sockets = self.sockets.replace('"', '""')
        settings = ("listen_addresses=", f'unix_socket_directories="{sockets}"')
        return [self.postgres, "-D", self.data, *(word for each in settings for word in ("-c", each))]


def open_lock(path: Path) -> BinaryIO:
    """The lock file at `path`, open and not inherited by programs (a plain fork does share its lock)."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0)


def try_lock(file: BinaryIO, *, shared: bool = False) -> bool:
    """Whether `file` could be locked without waiting."""
    with suppress(BlockingIOError):
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        return True
    return False


def main() -> int:
    """Detach, start the server, stop it after its last user; 0 once the keeper is on its own."""
    orders = Orders(*sys.argv[1:])
    folder = Path(orders.folder)
    with open_lock(folder / KEEPER_LOCK) as keeper, open_lock(folder / USERS_LOCK) as users:
        if not try_lock(keeper):
            return 1
        # The lock is held before the parent reports, so a starter sees a living keeper from here on. The
        # parent leaves without unlocking: the descriptor is shared.
        if os.fork():
            os._exit(0)
        keeper.truncate(0)
        keeper.write(f"{os.getpid()}\n".encode())
        _forget_dead_server(Path(orders.data))
        _keep(_start(orders), users)
    return 0


def _start(orders: Orders) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        orders.command(),
        stdin=subprocess.DEVNULL,
        cwd="/",
        env=ENVIRONMENT,
        preexec_fn=_die_with_parent(),
        **orders.account(),
    )


def _die_with_parent() -> Callable[[], None] | None:
    """What makes a child get SIGINT (a fast shutdown) when this process dies, however it dies."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask_the_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:
            os._exit(1)

    return ask_the_kernel


def _keep(server: subprocess.Popen[bytes], users: BinaryIO) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        # Asking again and again instead of waiting for the lock: the server may die meanwhile.
        while server.poll() is None and not try_lock(users):
            time.sleep(_POLL_SECONDS)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _stop(server)


def _stop(server: subprocess.Popen[bytes]) -> None:
    for how, patience_seconds in _STOPS:
        if server.poll() is not None:
            return
        server.send_signal(how)
        with suppress(subprocess.TimeoutExpired):
            server.wait(patience_seconds)


def _forget_dead_server(data: Path) -> None:
    """Remove a postmaster.pid that nobody stands behind.

    After a restart of the machine or container its pid may belong to another process of the same account,
    and Postgres would refuse to start for ever. Every process of a server works in its data folder; where
    that cannot be seen (not Linux), the file stays.
    """
    pid_file, proc = data / "postmaster.pid", Path("/proc")
    if pid_file.exists() and (proc / "self/cwd").exists() and not any(_works_in(p, data) for p in proc.iterdir()):
        pid_file.unlink(missing_ok=True)


def _works_in(process: Path, data: Path) -> bool:
    if not process.name.isdecimal():
        return False
    with suppress(OSError):
        return (process / "cwd").samefile(data)
    return False


if __name__ == "__main__":
    sys.exit(main())
