"""A plan's rows batch by batch, and all of them.

Polars' own `collect_batches` ends early, and says nothing, where one of its threads panics, which a single odd value
can bring about.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

# Batches that are ready and not yet taken.
_AHEAD = 2
_LOOK_SECONDS = 0.1


class _Hall:
    """Where one thread leaves batches, and then None or what went wrong, and another takes them until it goes."""

    def __init__(self) -> None:
        self._items: queue.Queue[pl.DataFrame | BaseException | None] = queue.Queue(_AHEAD)
        self._gone = threading.Event()

    def leave(self, item: pl.DataFrame | BaseException | None) -> bool:
        """Whether nobody takes anything any more."""
        while not self._gone.is_set():
            try:
                self._items.put(item, timeout=_LOOK_SECONDS)
            except queue.Full:
                continue
            return False
        return True

    def take(self) -> pl.DataFrame | BaseException | None:
        return self._items.get()

    def go(self) -> None:
        self._gone.set()


def batches(frame: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """The frame's rows in their order, in batches of any size.

    Raises whatever Polars does; a panic within it is a `polars.exceptions.ComputeError`.
    """
    hall = _Hall()
    thread = threading.Thread(target=_stream, args=(frame, hall), name="batches", daemon=True)
    thread.start()
    try:
        while (item := hall.take()) is not None:
            if isinstance(item, BaseException):
                with panics_as_errors():
                    raise item
            yield item
    finally:
        hall.go()
        thread.join()


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """A panic within Polars, which no `except Exception` sees, becomes a `polars.exceptions.ComputeError`."""
    import polars as pl

    try:
        yield
    except pl.exceptions.PanicException as panic:
        raise pl.exceptions.ComputeError(f"Polars panicked: {panic}") from panic


def _stream(frame: pl.LazyFrame, hall: _Hall) -> None:
    end: BaseException | None = None
    try:
        frame.sink_batches(hall.leave, maintain_order=True, engine="streaming")
    except BaseException as error:  # noqa: BLE001 - it is raised where the batches are taken
        end = error
    hall.leave(end)
