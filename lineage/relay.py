"""Sending recorded events on to the additional backend that OPENLINEAGE_URL names.

A run only queues its events, in its own transaction; this sends them, in order, whenever the backend answers.
No transaction is open while sending. An event may arrive twice (after a crash between sending and forgetting
it), none is lost.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg

from lineage.backend import Backend
from lineage.errors import DatabaseError
from lineage.settings import Settings, read_settings
from lineage.store import Row, Store

_LOCK = "relay"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Relayed:
    """What one round of sending came to: events accepted and events kept for later."""

    sent: int
    failed: int


def relay_once(
    store: Store, url: str, *, limit: int = 100, timeout_seconds: float = 2.0, api_key: str | None = None
) -> Relayed:
    """Send at most `limit` due events to the backend at `url`, oldest first; never raises for a dead backend.

    The first event that cannot be delivered now ends the round and waits, with those behind it, for its next
    attempt. Does nothing while another relay is sending. Raises SettingsError if `url` is none.
    """
    backend = Backend(url, timeout_seconds, api_key)
    if store.is_locked(_LOCK):
        return Relayed(0, 0)
    with store.lock(_LOCK), backend:
        return _send_all(store, backend, store.rows("relay_queue", limit=limit))


def _send_all(store: Store, backend: Backend, events: list[Row]) -> Relayed:
    sent = failed = 0
    for event in events:
        failure = backend.send(event["body"], event["attempts"])
        if failure is None:
            store.run("delete_relay", event_id=event["event_id"])
            sent += 1
            continue
        failed += 1
        query = "refuse_relay" if failure.final else "postpone_relay"
        store.run(query, event_id=event["event_id"], error=failure.reason)
        if not failure.final:
            break
    return Relayed(sent, failed)


def send_in_background(settings: Settings) -> None:
    """Start a process that sends what is queued and ends; nobody waits for it.

    For doors that are gone before a backend has answered: a dead one must cost a run nothing.
    """
    if settings.openlineage_url is None:
        return
    quiet = subprocess.DEVNULL
    subprocess.Popen(
        [sys.executable, "-m", "lineage.relay"],
        cwd=settings.root,
        stdin=quiet,
        stdout=quiet,
        stderr=quiet,
        start_new_session=True,
    )


def main(environ: Mapping[str, str] | None = None, *, deadline_seconds: float = 60.0) -> None:
    """Send everything that is due now, until it is sent, refused, or `deadline_seconds` have passed."""
    settings = read_settings(environ)
    if settings.openlineage_url is None:
        return
    api_key = (os.environ if environ is None else environ).get("OPENLINEAGE_API_KEY") or None
    deadline = time.monotonic() + deadline_seconds
    with Store(settings) as store:
        while time.monotonic() < deadline and relay_once(store, settings.openlineage_url, api_key=api_key).sent:
            pass


class Relay:
    """Sends what is due, in the background, from start() to stop()."""

    def __init__(self, settings: Settings, url: str, *, api_key: str | None = None, pause_seconds: float = 1.0) -> None:
        Backend(url, 1.0, api_key)  # A mistake in them is better heard at the start than never.
        self._settings, self._url, self._api_key = settings, url, api_key
        self._pause_seconds = pause_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._backend_answers = True

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the round in progress; what is not sent stays queued."""
        self._stopped.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with Store(self._settings) as store:
                    self._send_until_stopped(store)
            except (DatabaseError, psycopg.Error) as error:
                _log.warning("The relay lost the database and will try again: %s", error)
                self._stopped.wait(5 * self._pause_seconds)

    def _send_until_stopped(self, store: Store) -> None:
        while not self._stopped.is_set():
            done = relay_once(store, self._url, limit=20, api_key=self._api_key)
            self._report(done)
            if not done.sent:
                self._stopped.wait(self._pause_seconds)

    def _report(self, done: Relayed) -> None:
        if done.failed and self._backend_answers:
            _log.warning("The backend at OPENLINEAGE_URL does not accept events; they wait, table relay says why.")
        if done.sent and not self._backend_answers:
            _log.warning("The backend at OPENLINEAGE_URL accepts events again.")
        if done != Relayed(0, 0):
            self._backend_answers = not done.failed


if __name__ == "__main__":
    main()
