"""The processes that `headwater up` keeps: started, watched, restarted, and stopped with all they started."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lineage.errors import HeadwaterError, SettingsError

_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 10.0
_RESTARTS = 3
# A service that ran for so long and ended is started again, however often that was before.
_STEADY_SECONDS = 60.0
# Our own services are on loopback, where no proxy of the environment leads.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Service:
    """A process to keep: its command, and the URL that answers when it is ready (None: ready at once)."""

    name: str
    command: Sequence[str]
    ready_url: str | None = None


@dataclass
class Kept:
    """A started service; `restarts` counts those since it last ran steadily."""

    service: Service
    process: subprocess.Popen[bytes]
    restarts: int = 0
    started: float = field(default_factory=time.monotonic)

    def replace(self, process: subprocess.Popen[bytes]) -> None:
        """Take `process` for the one that ended."""
        self.restarts = 1 if self._ran_steadily() else self.restarts + 1
        self.process, self.started = process, time.monotonic()

    def keeps_ending(self) -> bool:
        """Whether starting it again has not helped so far."""
        return self.restarts >= _RESTARTS and not self._ran_steadily()

    def _ran_steadily(self) -> bool:
        return time.monotonic() - self.started > _STEADY_SECONDS


@dataclass
class Services:
    """Services of one `up`. Use it in a `with` block: leaving it stops every process and its children."""

    environment: Mapping[str, str]
    root: Path
    logs: Path
    kept: list[Kept] = field(default_factory=list)

    def __enter__(self) -> Services:
        self.logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, service: Service) -> None:
        """Start a service; its output goes to <logs>/<name>.log."""
        self.kept.append(Kept(service, self._spawn(service)))

    def wait_until_ready(self, timeout_seconds: float = 90.0) -> None:
        """Return when every service answers; HeadwaterError with the end of its log when one ends or never does."""
        deadline = time.monotonic() + timeout_seconds
        for kept in self.kept:
            while not _answers(kept.service.ready_url):
                self._require_running()
                if time.monotonic() > deadline:
                    name = kept.service.name
                    raise HeadwaterError(f"{name} gave no answer in {timeout_seconds:.0f} s; see {self.logs}.")
                time.sleep(0.1)
        self._require_running()

    def _require_running(self) -> None:
        for kept in self.kept:
            if (code := kept.process.poll()) is not None:
                name = kept.service.name
                raise HeadwaterError(f"{name} ended with {code} at its start: {self._log_end(kept.service)}")

    def watch(self) -> str | None:
        """Restart what ended; returns what happened in words. HeadwaterError when one keeps ending."""
        for kept in self.kept:
            code = kept.process.poll()
            if code is None:
                continue
            name = kept.service.name
            if kept.keeps_ending():
                raise HeadwaterError(f"{name} ended again and again (last with {code}): {self._log_end(kept.service)}")
            kept.replace(self._spawn(kept.service))
            return f"{name} ended with {code} and was started again ({self.logs / (name + '.log')})"
        return None

    def stop(self) -> None:
        """Stop every service with its children: SIGTERM, then SIGKILL to those that stay."""
        for kept in reversed(self.kept):
            _signal_group(kept.process, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        for kept in self.kept:
            with suppress(subprocess.TimeoutExpired):
                kept.process.wait(max(0.1, deadline - time.monotonic()))
            _signal_group(kept.process, signal.SIGKILL)
            kept.process.wait()
        self.kept.clear()

    def _spawn(self, service: Service) -> subprocess.Popen[bytes]:
        with (self.logs / f"{service.name}.log").open("ab") as log:
            return spawn(service.command, environment=self.environment, root=self.root, output=log.fileno())

    def _log_end(self, service: Service) -> str:
        lines = (self.logs / f"{service.name}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it said nothing"


def spawn(
    command: Sequence[str], *, environment: Mapping[str, str], root: Path, output: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own that dies with this one, even on kill -9 (Linux)."""
    return subprocess.Popen(
        command,
        env=dict(environment),
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )


def ask(request: urllib.request.Request | str, *, timeout_seconds: float) -> Any:
    """Open a URL of one of our services, past any proxy; raises what urllib raises."""
    return _DIRECT.open(request, timeout=timeout_seconds)


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_free(port: int, what: str, variable: str) -> None:
    """SettingsError naming the setting when something listens on `port` already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SettingsError(
                f"Port {port} for the {what} is taken; stop what listens there or set {variable} to another port."
            ) from error


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # The group outlives its leader when a child stays behind, so this is sent even after it ended.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _answers(url: str | None) -> bool:
    if url is None:
        return True
    try:
        with ask(url, timeout_seconds=2) as answer:
            return bool(answer.status < 400)
    except (urllib.error.URLError, OSError):
        return False
