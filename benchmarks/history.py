"""Declared history against the same aggregates written by hand in Polars, on a year of real flights.

    python -m benchmarks.history [ROUNDS]

Both run interleaved in this process; what counts is the ratio of the medians. The hand-written version is the
best we know: events sorted once a key, running sums, two strict as-of joins on rows that stay sorted.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from polars.testing import assert_frame_equal

from lineage import sources
from lineage.history import history, with_history
from lineage.spec import Fetch, History, Source

# Column -> (keys, window): the mean departure delay that was known, and of how many flights.
MEANS: dict[str, tuple[tuple[str, ...], timedelta]] = {
    "origin_2h": (("origin",), timedelta(hours=2)),
    "origin_1d": (("origin",), timedelta(days=1)),
    "carrier_1d": (("carrier",), timedelta(days=1)),
    "carrier_14d": (("carrier",), timedelta(days=14)),
    "route_28d": (("origin", "dest", "carrier"), timedelta(days=28)),
    "tail_1d": (("tailnum",), timedelta(days=1)),
}


def year() -> pl.LazyFrame:
    """All departures of 2013: keys, the scheduled time, the delay and when it was known."""
    from assets.flights import flights

    fetch, source = flights.steps["raw_departures"].detail, flights.steps["departures"].detail
    assert isinstance(fetch, Fetch)
    assert isinstance(source, Source)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "departures.csv"
        path.write_bytes(sources.origin_bytes(fetch.origin))
        departures = sources.read(path, source, "departures")
    at = pl.col("time_hour") + pl.duration(minutes="minute")
    known = (at + pl.duration(minutes="dep_delay")).alias("known_at")
    return departures.select("origin", "carrier", "dest", "tailnum", "dep_delay", at.alias("at"), known).lazy()


def declared(flights: pl.LazyFrame) -> pl.DataFrame:
    """With `history`."""
    aggregates: dict[str, History] = {}
    for name, (keys, window) in MEANS.items():
        hours = f"{int(window.total_seconds()) // 3600}h"
        aggregates[name] = history(keys=keys, value="dep_delay", known_at="known_at", window=hours)
        aggregates[f"{name}_n"] = history(keys=keys, value="dep_delay", known_at="known_at", window=hours, agg="count")
    return with_history(flights, at="at", events=flights, aggregates=aggregates).collect()


def by_hand(flights: pl.LazyFrame) -> pl.DataFrame:
    """Without it."""
    rows = flights.with_row_index("row").sort("at", maintain_order=True)
    known = flights.filter(pl.col("dep_delay").is_not_null()).sort("known_at", maintain_order=True)
    for keys in dict.fromkeys(keys for keys, _ in MEANS.values()):
        totals = known.select(
            *keys,
            "known_at",
            s=pl.col("dep_delay").cast(pl.Int64).cum_sum().over(keys),
            n=pl.col("dep_delay").cum_count().over(keys),
        )
        rows = _as_of(rows, "at", totals, keys).rename({"s": "s1", "n": "n1"})
        for name, (_, window) in ((name, item) for name, item in MEANS.items() if item[0] == keys):
            rows = _as_of(rows.with_columns(start=pl.col("at") - window), "start", totals, keys)
            n = pl.col("n1").fill_null(0).cast(pl.Int64) - pl.col("n").fill_null(0).cast(pl.Int64)
            s = pl.col("s1").fill_null(0) - pl.col("s").fill_null(0)
            rows = rows.with_columns(pl.when(n > 0).then(s / n).alias(name), n.cast(pl.UInt32).alias(f"{name}_n")).drop(
                "s", "n", "start"
            )
        rows = rows.drop("s1", "n1")
    return rows.sort("row").drop("row").collect()


def _as_of(rows: pl.LazyFrame, at: str, totals: pl.LazyFrame, keys: tuple[str, ...]) -> pl.LazyFrame:
    return rows.join_asof(
        totals.rename({"known_at": "known"}),
        left_on=at,
        right_on="known",
        by=list(keys),
        allow_exact_matches=False,
        check_sortedness=False,
        coalesce=False,
    ).drop("known")


def seconds(work: Callable[[pl.LazyFrame], pl.DataFrame], flights: pl.LazyFrame) -> float:
    """How long one run takes."""
    started = time.perf_counter()
    work(flights)
    return time.perf_counter() - started


def main(rounds: int) -> None:
    """Compare, after making sure that both compute the same."""
    flights = year()
    assert_frame_equal(declared(flights), by_hand(flights))
    pairs = [(seconds(declared, flights), seconds(by_hand, flights)) for _ in range(rounds)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    rows = flights.select(pl.len()).collect().item()
    print(f"{rows:,} rows, {2 * len(MEANS)} aggregates, median of {rounds} interleaved rounds")
    print(f"declared {ours:.2f} s, by hand {theirs:.2f} s, ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
