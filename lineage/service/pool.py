"""A few Stores for many threads: each is lent to one piece of work at a time."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import TypeVar

import psycopg

from lineage.errors import DatabaseError
from lineage.settings import Settings
from lineage.store import Store

T = TypeVar("T")


class StorePool:
    """At most `size` Stores, opened when first needed; close it when no work is running any more."""

    def __init__(self, settings: Settings, *, size: int = 4, timeout_seconds: float = 30) -> None:
        self._settings, self._size, self._timeout_seconds = settings, size, timeout_seconds
        # Last in, first out: a quiet service keeps using one connection.
        self._slots: queue.LifoQueue[Store | None] = queue.LifoQueue()
        for _ in range(size):
            self._slots.put(None)

    def use(self, work: Callable[[Store], T]) -> T:
        """What `work` returns when given a Store; it runs a second time if the connection was lost.

        So it must be repeatable. Raises DatabaseError when the database cannot be reached.
        """
        store = self._take()
        try:
            store = store or Store(self._settings)
            return _with_second_try(work, store)
        except psycopg.OperationalError as error:
            raise DatabaseError("The database went away and could not be reached again; try later.") from error
        finally:
            self._slots.put(store)

    def close(self) -> None:
        """Close every Store; the pool opens new ones if it is used again."""
        for _ in range(self._size):
            if store := self._take():
                store.close()
        for _ in range(self._size):
            self._slots.put(None)

    def _take(self) -> Store | None:
        try:
            return self._slots.get(timeout=self._timeout_seconds)
        except queue.Empty:
            raise DatabaseError(f"All {self._size} database connections are busy; try again.") from None


def _with_second_try(work: Callable[[Store], T], store: Store) -> T:
    try:
        return work(store)
    except (DatabaseError, psycopg.OperationalError):
        # A connection that died while idle shows it only when used; the Store then makes a new one.
        return work(store)
