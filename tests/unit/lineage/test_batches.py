"""Batches of a plan: all of its rows in order, or an error, whatever goes wrong where."""

from __future__ import annotations

import threading

import polars as pl
import pytest

from lineage.batches import batches, panics_as_errors

ROWS = 300_000


def odd(frame: pl.LazyFrame) -> pl.LazyFrame:
    """A plan that makes Polars panic at one late value."""
    width = pl.when(pl.col("id") == ROWS - 10).then(-1).otherwise(8)
    return frame.select("id", name=pl.col("id").cast(pl.String).str.zfill(width))


@pytest.fixture
def frame():
    return pl.LazyFrame({"id": range(ROWS)})


@pytest.fixture(autouse=True)
def no_thread_stays():
    """Whatever happens, what streams a plan ends with it."""
    yield
    assert [] == [thread for thread in threading.enumerate() if thread.name == "batches"]


def test_all_rows_come_in_their_order(frame):
    """Also more of them than wait at once."""
    found = pl.concat(batches(frame.with_columns(double=pl.col("id") * 2)))

    assert found["id"].to_list() == list(range(ROWS))
    assert (found["double"] == found["id"] * 2).all()


def test_no_rows_are_no_error(frame):
    """An empty frame ends."""
    assert 0 == sum(batch.height for batch in batches(frame.filter(pl.col("id") < 0)))


@pytest.mark.parametrize("sorted_last", [False, True])
def test_a_panic_is_an_error(frame, sorted_last, capfd):
    """And no early end, before a sort, which would give no rows, or without, which would give some."""
    plan = odd(frame).sort("id") if sorted_last else odd(frame)

    with pytest.raises(pl.exceptions.ComputeError, match="Polars panicked: "):
        list(batches(plan))


def test_a_panic_elsewhere_is_an_error(frame, capfd):
    """What is collected in the ordinary way panics as an exception that `except Exception` does not see."""
    with pytest.raises(pl.exceptions.ComputeError, match="Polars panicked: "), panics_as_errors():
        odd(frame).collect(engine="streaming")


def test_an_error_is_raised_as_it_is(frame):
    """With its own type."""
    with pytest.raises(pl.exceptions.InvalidOperationError):
        list(batches(frame.select(pl.col("id").cast(pl.Int8))))


def test_who_stops_early_leaves_nothing_behind(frame):
    """Not the thread, though more batches wait."""
    for batch in batches(frame):
        assert batch.height
        break
