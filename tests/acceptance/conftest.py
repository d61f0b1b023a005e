"""Whole systems for the acceptance tests: copies of this repository, or other ones, each driven by its own command."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from lineage.api import create_app
from lineage.server.cluster import open_cluster
from lineage.settings import Settings
from orchestration.services import free_port

REPOSITORY = Path(__file__).parents[2]
PORTS = ("HEADWATER_UI_PORT", "HEADWATER_LINEAGE_PORT", "HEADWATER_SERVING_PORT")
# How long a service in a thread may take to end.
SERVICE_SECONDS = 60
# What a shell of ours may have set, and a system under test must not see.
FOREIGN = ("HEADWATER_", "DAGSTER_", "DATABASE_URL", "OPENLINEAGE_URL", "PYTHONPATH", "DVC_", "GIT_", "PG")
# What makes of the example's year the two months that most tests can do with.
TWO_MONTHS = {
    'monthly("2013-01", "2014-01")': 'monthly("2013-01", "2014-01", first=2)',
    'tune_from="2013-09-01", test_from="2013-11-01"': 'tune_from="2013-02-08", test_from="2013-02-15"',
    '"rounds": 600': '"rounds": 20',
}
GIT_IDENTITY = ("-c", "user.name=Test", "-c", "user.email=test@example.org")


@dataclass
class System:
    """A repository on disk and an environment in which its `headwater` command runs.

    `code` is the folder its packages are imported from: the repository itself, or where a wheel was installed.
    """

    root: Path
    code: Path
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in PORTS})
    extra: dict[str, str] = field(default_factory=dict)
    started: list["subprocess.Popen[str]"] = field(default_factory=list)

    @property
    def urls(self) -> dict[str, str]:
        """Where its services answer, as `headwater up` names them."""
        numbers = zip(("dagster", "lineage", "serving"), self.ports.values(), strict=True)
        return {name: f"http://127.0.0.1:{port}" for name, port in numbers}

    @property
    def environment(self) -> dict[str, str]:
        """Ours without anything that was set for another system; programs of the virtual environment come first."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
        ports = {name: str(port) for name, port in self.ports.items()}
        return {**own, "PATH": path, "PYTHONPATH": str(self.code), **ports, **self.extra}

    def run(self, *command: str, seconds: float = 120.0) -> "subprocess.CompletedProcess[str]":
        """Run a program in the repository to its end, whatever its exit code."""
        process = self._start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=seconds)
        finally:
            _kill(process)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def headwater(self, *arguments: str, seconds: float = 120.0) -> str:
        """What `headwater` printed; fails the test with everything it said when its exit code is not 0."""
        done = self.run(sys.executable, "-m", "orchestration.cli", *arguments, seconds=seconds)
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str, seconds: float = 120.0) -> Any:
        """The JSON that `headwater` printed."""
        return json.loads(self.headwater(*arguments, seconds=seconds))

    def start_up(self) -> "subprocess.Popen[str]":
        """`headwater up`, left running; what it says goes to up.log beside the repository."""
        with (self.root.parent / "up.log").open("w") as log:
            command = (sys.executable, "-m", "orchestration.cli", "up")
            return self._start(command, stdout=log.fileno(), stderr=log.fileno())

    def said(self) -> str:
        """What the last `headwater up` has said so far."""
        return (self.root.parent / "up.log").read_text()

    def processes(self) -> dict[int, str]:
        """Processes of this system that live now, by id, as their command lines."""
        ours = {os.getpid(), os.getppid()}
        marks = [os.fsencode(path) for path in (self.root, self._database_place())]
        found = {int(entry.name): _words(entry, marks) for entry in Path("/proc").iterdir() if entry.name.isdecimal()}
        return {number: words for number, words in found.items() if words and number not in ours}

    def close(self) -> None:
        """End everything that this system started and that still lives."""
        for process in self.started:
            _kill(process)
        for number in self.processes():
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)

    def _start(self, command: tuple[str, ...], **streams: Any) -> "subprocess.Popen[str]":
        process = subprocess.Popen(command, cwd=self.root, env=self.environment, text=True, **streams)
        self.started.append(process)
        return process

    def _database_place(self) -> Path:
        folder = self.root / ".headwater" / "postgres"
        return open_cluster(folder, None).place if folder.exists() else folder


def wait_for(promise: Callable[[], Any], what: str, *, seconds: float = 60.0) -> Any:
    """What `promise` returns once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := promise()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """`wait_for`, for tests: they cannot import from here."""
    return wait_for


@pytest.fixture(scope="session")
def lineage_service() -> Callable[[Settings], AbstractContextManager[str]]:
    """Runs the lineage service of a project in a thread, while its URL is in use."""

    @contextmanager
    def serve(settings: Settings) -> Iterator[str]:
        config = uvicorn.Config(create_app(settings, {}), port=0, log_level="warning", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            wait_for(lambda: server.started or not thread.is_alive(), "the lineage service answers")
            assert thread.is_alive()
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(SERVICE_SECONDS)

    return serve


@pytest.fixture(scope="module")
def make_system(tmp_path_factory) -> Iterator[Callable[..., System]]:
    """Makes systems from a folder that exists; everything they started ends with the module."""
    made: list[System] = []

    def make(root: Path, *, code: Path | None = None) -> System:
        made.append(System(root, code or root))
        return made[-1]

    yield make
    for system in made:
        system.close()


@pytest.fixture(scope="module")
def copy_of_repository(tmp_path_factory, make_system) -> Callable[..., System]:
    """Makes a fresh clone of this repository as it stands now, without the files that match `without`.

    With `year` the example keeps all of its months; otherwise only the first two land.
    """

    if not (REPOSITORY / ".git").exists():
        pytest.skip("needs a git checkout, to know what belongs to it")

    def copy(name: str, *, without: str | None = None, year: bool = False) -> System:
        root = tmp_path_factory.mktemp(name) / "clone"
        for path in _repository_files():
            if without is None or not path.match(without):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / path, root / path)
        if (example := root / "assets" / "flights.py").exists() and not year:
            example.write_text(_two_months(example.read_text()))
        commit_all(root)
        return make_system(root)

    return copy


def commit_all(root: Path) -> None:
    """Make `root` a git repository whose only commit holds everything in it."""
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "As it is"]):
        subprocess.run(["git", *GIT_IDENTITY, *command], cwd=root, check=True, timeout=60)


def _two_months(text: str) -> str:
    for whole, cut in TWO_MONTHS.items():
        assert text.count(whole) == 1, f"{whole!r} stands {text.count(whole)} times in the example"
        text = text.replace(whole, cut)
    return text


def _repository_files() -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60)
    names = [Path(name) for name in done.stdout.split("\0") if name]
    return [name for name in names if (REPOSITORY / name).is_file()]


def _words(entry: Path, marks: list[bytes]) -> str:
    """The command line of a process that has one of `marks` in it, in its environment or as its folder."""
    with suppress(OSError):
        command = (entry / "cmdline").read_bytes()
        facts = command + (entry / "environ").read_bytes() + os.fsencode((entry / "cwd").readlink())
        if any(mark in facts for mark in marks):
            return command.replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def _kill(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        process.kill()
    process.wait(timeout=30)
