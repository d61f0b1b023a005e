"""How `headwater up` ends."""

from __future__ import annotations

import argparse
import os
import signal
import time
from pathlib import Path

import pytest

from lineage.settings import Settings
from orchestration import up


@pytest.fixture
def restored_signals():
    """The handlers there were before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("restored_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_is_heard_though_the_shell_ignores_it(monkeypatch, number):
    """A script's background job starts with SIGINT ignored; `up` stops at it all the same."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def stay(*_: object, **__: object) -> int:
        os.kill(os.getpid(), number)
        time.sleep(5)
        return 1

    monkeypatch.setattr(up, "_up", stay)
    monkeypatch.setattr(up, "_with_ports", lambda settings, **_: settings)

    assert up.up(argparse.Namespace(once=False), Settings(Path(), Path())) == 0
