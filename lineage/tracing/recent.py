"""What was looked up last, kept within bounds: a service that traces for months must not grow."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """At most `most` values by key; what nobody has asked for longest goes first.

    For any number of threads. Two that ask at once for what is not there may both look it up, and get one answer.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: K, look_up: Callable[[], V]) -> V:
        """The value of `key`; looked up if it is not there. What `look_up` raises is raised, and nothing is kept."""
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key]
        # Without the lock, which others need for what is there.
        value = look_up()
        with self._lock:
            value = self._found.setdefault(key, value)
            self._found.move_to_end(key)
            if len(self._found) > self._most:
                self._found.popitem(last=False)
        return value
