"""Group commit: events that several senders wait for are kept in one transaction, one such after the other.

A commit costs a disk flush, however many events it holds; and one writer at a time need wait for no other.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from lineage.errors import DatabaseError
from lineage.service.pool import StorePool
from lineage.store import Store

Events = Sequence[dict[str, Any]]

# Events of one transaction: more would only make the first of them wait longer.
_MOST = 1_000


class _Parcel(NamedTuple):
    """The events of one request, and who waits for them."""

    events: Events
    kept: Future[None]


class EventWriter:
    """Keeps events with `keep(store, events)`, inside a transaction. Close it: what was sent until then is kept."""

    def __init__(self, pool: StorePool, keep: Callable[[Store, Events], None]) -> None:
        self._pool, self._keep = pool, keep
        self._parcels: queue.SimpleQueue[_Parcel | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="event writer", daemon=True)
        self._thread.start()

    def send(self, events: Events) -> Future[None]:
        """Done when the events are durable; fails with what kept them from it, and then none of them are kept."""
        kept: Future[None] = Future()
        # A sender who goes away does not take the event back.
        kept.set_running_or_notify_cancel()
        self._parcels.put(_Parcel(events, kept))
        return kept

    def close(self) -> None:
        """Keep what was sent, and end."""
        self._parcels.put(None)
        self._thread.join()

    def _run(self) -> None:
        while parcels := self._next():
            try:
                self._write([event for parcel in parcels for event in parcel.events])
            except DatabaseError as error:
                for parcel in parcels:
                    parcel.kept.set_exception(error)
            except Exception as error:  # noqa: BLE001 - it is the senders' to hear
                self._write_apart(parcels, error)
            else:
                for parcel in parcels:
                    parcel.kept.set_result(None)

    def _next(self) -> list[_Parcel]:
        """All parcels that wait, at least one; none when it is time to end."""
        first = self._parcels.get()
        if first is None:
            return []
        found, count = [first], len(first.events)
        while count < _MOST and not self._parcels.empty():
            parcel = self._parcels.get()
            if parcel is None:
                self._parcels.put(None)
                break
            found.append(parcel)
            count += len(parcel.events)
        return found

    def _write_apart(self, parcels: list[_Parcel], error: Exception) -> None:
        """One sender's events are not lost over another's."""
        for parcel in parcels:
            try:
                if len(parcels) == 1:
                    raise error
                self._write(parcel.events)
            except Exception as own:  # noqa: BLE001 - it is the sender's to hear
                parcel.kept.set_exception(own)
            else:
                parcel.kept.set_result(None)

    def _write(self, events: Events) -> None:
        def write(store: Store) -> None:
            with store.transaction():
                self._keep(store, events)

        self._pool.use(write)
