"""Open the project for a door: settings, declarations, store, and a runner that has recovered from crashes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lineage.discover import discover
from lineage.plan import Workspace
from lineage.ports import Ports
from lineage.recover import recover
from lineage.run import Door, Progress, Runner
from lineage.settings import Settings
from lineage.store import Store


@contextmanager
def open_workspace(settings: Settings) -> Iterator[Workspace]:
    """The declared steps and the store; what a crash left is finished first."""
    project = discover(settings)
    with Store(settings) as store:
        space = Workspace(settings, project, store)
        recover(space)
        yield space


def make_runner(space: Workspace, door: Door, progress: Progress = lambda _: None) -> Runner:
    """A runner with Headwater's own checker, trainer and scorer."""
    return Runner(space, Ports(), door, progress)
