"""Sending the events on record once more, oldest first, to another OpenLineage backend."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from lineage.backend import Backend, Failure, NoBatchesError
from lineage.errors import HeadwaterError
from lineage.store import Row, Store

_PAGE = 500
# The last wait is the longest; together about a minute.
_WAITS_SECONDS = (0.5, 1, 2, 4, 8, 15, 30)
_LONGEST_WAIT_SECONDS = 60.0
# Nobody changes it while this waits.
_WRONG_KEY = (401, 403, 407)


class ResendError(HeadwaterError):
    """The backend stopped taking events. `sent` says how many it took, `place` where to go on."""

    def __init__(self, reason: str, done: Resent) -> None:
        going_on = f" Go on with --after {done.place}" if done.place else " Try again"
        super().__init__(f"The backend took {done.sent:,} events and then no more ({reason}).{going_on}.")
        self.done = done


@dataclass(frozen=True)
class Wanted:
    """Which events: from `since` on, before `until`, of a namespace, behind the place where an earlier run ended."""

    since: datetime | None = None
    until: datetime | None = None
    namespace: str | None = None
    after: str | None = None


@dataclass(frozen=True)
class Resent:
    """How many events were taken and refused for good, the place of the last, and the refusals since the one before."""

    sent: int = 0
    refused: int = 0
    place: str | None = None
    refusals: tuple[tuple[Mapping[str, Any], str], ...] = ()


def resend(
    store: Store,
    backend: Backend,
    wanted: Wanted,
    *,
    batch: int = 100,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Resent]:
    """Send them, in batches where the backend takes batches; yields how far it is after each.

    What arrives twice is the same event: backends that know repetitions by run id, type and time count it once. Raises
    ResendError when the backend takes none for about a minute, HeadwaterError when `wanted.after` is no place.
    """
    done = Resent(place=wanted.after)
    sender = _Sender(backend, sleep, takes_batches=batch > 1)
    for rows in _pages(store, wanted):
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            failures = sender.send([row["body"] for row in part], done)
            refusals = tuple((part[index]["body"], reason) for index, reason in failures.items())
            taken = len(part) - len(failures)
            done = Resent(done.sent + taken, done.refused + len(failures), _place(part[-1]), refusals)
            yield done


class _Sender:
    """Sends events together or one by one, and waits for a backend that does not take them now."""

    def __init__(self, backend: Backend, sleep: Callable[[float], object], *, takes_batches: bool) -> None:
        self._backend, self._sleep, self._takes_batches = backend, sleep, takes_batches

    def send(self, events: Sequence[Mapping[str, Any]], done: Resent) -> dict[int, str]:
        """The reasons of those that were refused for good, by their place."""
        if self._takes_batches and len(events) > 1:
            try:
                return self._insist(partial(self._backend.send_batch, events), done)
            except NoBatchesError:
                self._takes_batches = False
        failures: dict[int, str] = {}
        for index, event in enumerate(events):
            failures |= self._insist(partial(self._one, index, event), done)
        return failures

    def _one(self, index: int, event: Mapping[str, Any], attempts: int) -> Failure | dict[int, str]:
        failure = self._backend.send(event, attempts)
        if failure is None:
            return {}
        return {index: failure.reason} if failure.final else failure

    def _insist(self, send: Callable[[int], Failure | dict[int, str]], done: Resent) -> dict[int, str]:
        for attempts, wait in enumerate((*_WAITS_SECONDS, None)):
            answer = send(attempts)
            if not isinstance(answer, Failure):
                return answer
            if wait is None or answer.final or answer.status in _WRONG_KEY:
                raise ResendError(answer.reason, done)
            self._sleep(min(max(wait, answer.wait_seconds or 0), _LONGEST_WAIT_SECONDS))
        raise AssertionError


def _pages(store: Store, wanted: Wanted) -> Iterator[list[Row]]:
    time, digest = _parse(wanted.after)
    while True:
        rows = store.rows(
            "events_behind",
            since=wanted.since,
            until=wanted.until,
            namespace=wanted.namespace,
            time=time,
            digest=digest,
            limit=_PAGE,
        )
        if not rows:
            return
        yield rows
        time, digest = rows[-1]["event_time"], rows[-1]["digest"]


def _place(row: Row) -> str:
    return f"{row['event_time'].isoformat()}/{row['digest']}"


def _parse(place: str | None) -> tuple[datetime | None, UUID | None]:
    if place is None:
        return None, None
    time, _, digest = place.partition("/")
    try:
        return datetime.fromisoformat(time), UUID(digest)
    except ValueError:
        raise HeadwaterError(f"{place!r} is no place to go on from; copy it from where the last run ended.") from None
