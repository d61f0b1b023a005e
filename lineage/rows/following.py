"""A step's function called on tracked frames: what it returns says where each of its rows came from."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from lineage.errors import RowsLostError
from lineage.frame import TrackedFrame
from lineage.rows.capture import Capture
from lineage.rows.joining import concat
from lineage.spec import Step

_calling = threading.RLock()


def follow(step: Step, inputs: Mapping[str, Sequence[Path]]) -> TrackedFrame:
    """The plan of a table step on the files of its `inputs`, with every row followed; nothing is computed yet.

    Raises RowsLostError where the function does what rows cannot be followed through, or returns a frame that was not
    made of its inputs; and whatever the function raises.
    """
    assert step.function is not None
    capture = Capture(tuple(inputs), step.rows)
    frames = {name: _scanned(capture, name, paths) for name, paths in inputs.items()}
    with _concat_of_tracked_frames():
        result = step.function(**frames, **step.parameters)
    if isinstance(result, TrackedFrame) and result.capture is capture:
        if step.rows is not None and not capture.opaque:
            raise RowsLostError(f"its rows={step.rows!r} is not needed: all that it does can be followed; take it out")
        return result.finished()
    if not isinstance(result, pl.LazyFrame | pl.DataFrame):
        raise TypeError(f"returned {type(result).__name__}, not a Polars frame")
    raise RowsLostError(
        f"returned a {type(result).__name__} that is not made of its inputs by operations that can be followed, so "
        "nobody could say where its rows come from; return what the tracked frames give, without collecting it"
    )


def _scanned(capture: Capture, name: str, paths: Sequence[Path]) -> TrackedFrame:
    column = capture.column()
    return TrackedFrame.of_input(capture, name, pl.scan_parquet(list(paths), row_index_name=column), column)


@contextmanager
def _concat_of_tracked_frames() -> Iterator[None]:
    """Polars' own `concat` takes lazy frames apart; while a step puts its plan together, `pl.concat` is ours.

    Ours is Polars' own for anything else, so that other threads see no difference.
    """
    with _calling:
        before = pl.concat
        pl.concat = concat
        try:
            yield
        finally:
            pl.concat = before
