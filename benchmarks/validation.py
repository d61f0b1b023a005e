"""Validation at the speed of one scan: GX on Polars beside a hand-written select, GX on pandas, pandera and pointblank.

    python -m benchmarks.validation [ROUNDS [ROWS]]

The table is the legs of 2013 with the weather of their hour, 20 columns, repeated a year later each time until there
are ROWS of them. Each round puts the same 20 questions (benchmarks.validators) to it in all ways, one after the other
and each in a process of its own; all must count the same. Time is from after the imports until the counts are there,
reading included; the peak of memory is the process's, and what of it is above what its imports alone take. What counts
are the ratios of the medians. After the rounds: a checkpoint on three rows, twenty times; and the suite without
uniqueness on the table and on four times as much, to see whether memory grows with it.

pandera and pointblank are left out unless they are there: pip install 'headwater[benchmarks]'.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from benchmarks.validators import SUITE, WAYS, Counts, installed, open_context, run_checkpoint, save_checkpoint

ROOT = Path(__file__).parent.parent
ROWS = 10_000_000
LARGER = 4
SMALL_RUNS = 20
HAND, OURS, PANDAS = tuple(WAYS)[:3]
PACKAGES = ("polars", "great-expectations", "pandas", "pandera", "pointblank")


def main(rounds: int, rows: int) -> None:
    """Measure, compare the counts, and print."""
    ways = [way for way in WAYS if installed(way)]
    with TemporaryDirectory() as name:
        folder = Path(name)
        row = _process("prepare", folder, rows)["bytes"]
        print(_told_before(rounds, rows, folder), flush=True)
        costs: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, found in costs.items():
                found.append(_process("ask", folder / "table", way))
                require_same(way, found[-1]["counts"], costs[HAND][0]["counts"])
        _report(costs)
        for way in sorted(set(WAYS) - set(ways)):
            print(f"{way} is left out: it is not installed; pip install 'headwater[benchmarks]'.")
        _report_small(_process("small", folder))
        _report_growth(rows, row, [_process("ask", folder / table, OURS) for table in ("plain", "larger")])
    print(f"load after {_load()}", flush=True)


def require_same(way: str, counts: Counts, expected: Counts) -> None:
    """SystemExit names what a way counted differently, or lacks; sums differ in their last bits.

    pandera and pointblank tell only how many values broke a promise, and not what a mean or the number of rows is.
    """
    for name, told in expected.items():
        for key, value in told.items():
            found = counts.get(name, {}).get(key)
            left_out = way not in (HAND, OURS, PANDAS) and key != "unexpected_count"
            if not left_out and (found is None or not math.isclose(found, value, rel_tol=1e-9)):
                raise SystemExit(f"{way} has {key} {found} of {name!r}, and the hand-written select has {value}.")


def prepare(folder: Path, rows: int) -> dict[str, Any]:
    """Writes the tables, a file a year, and the checkpoints that ask about them; tells what a row takes in memory."""
    for table in ("table", "plain", "larger", "small"):
        (folder / table).mkdir()
    year = flights_of_a_year()
    for at, part in enumerate(_years(year, rows * LARGER)):
        path = folder / "larger" / f"{at:03d}.parquet"
        part.write_parquet(path)
        if (start := at * year.height) < rows:
            part.head(rows - start).write_parquet(folder / "table" / path.name)
            (folder / "plain" / path.name).hardlink_to(folder / "table" / path.name)
    year.head(3).write_parquet(folder / "small" / "000.parquet")
    for load, _ in (WAYS[OURS], WAYS[PANDAS]):
        load()
    for table, unique in (("table", True), ("small", True), ("plain", False), ("larger", False)):
        save_checkpoint(folder, "polars", table, unique=unique)
    save_checkpoint(folder, "pandas", "table")
    return {"bytes": year.estimated_size() / year.height}


def flights_of_a_year() -> pl.DataFrame:
    """The legs of 2013 with the weather of the hour in which they were due, in 20 columns."""
    from assets import flights
    from benchmarks.plain_flights import read_source

    legs = flights.legs(*(read_source(name) for name in ("departures", "airlines", "airports")))
    weather = read_source("weather").unique(["origin", "time_hour"], keep="first", maintain_order=True)
    return (
        legs.drop("departed_at", "arrived_at")
        .with_columns(hour=pl.col("departs_at").dt.truncate("1h"))
        .join(weather.select("origin", "temp", "visib", hour="time_hour"), on=["origin", "hour"], how="left")
        .drop("hour")
        .sort("departs_at", "flight_id")
        .collect()
    )


def _years(year: pl.DataFrame, rows: int) -> Iterator[pl.DataFrame]:
    times = [name for name, kind in year.schema.items() if kind == pl.Datetime]
    for later in range(math.ceil(rows / year.height)):
        named = [pl.col("flight_id") + f"+{later}"] if later else []
        part = year.with_columns(pl.col(times).dt.offset_by(f"{later}y"), *named)
        yield part.head(rows - later * year.height)


def ask(table: Path, way: str) -> dict[str, Any]:
    """The counts of one way, in this process, and what they cost beyond its imports."""
    load, work = WAYS[way]
    started = time.perf_counter()
    load()
    loaded, imports = time.perf_counter(), _peak()
    used = time.process_time()
    counts = work(table)
    cost = {"imports": loaded - started, "seconds": time.perf_counter() - loaded, "cpu": time.process_time() - used}
    return {**cost, "peak": _peak(), "above": _peak() - imports, "counts": counts}


def small(folder: Path) -> dict[str, Any]:
    """How long each of the runs of a checkpoint on three rows takes, and how much of a core."""
    WAYS[OURS][0]()
    checkpoint = open_context(folder, "polars").checkpoints.get("small")
    clocks = [(time.perf_counter(), time.process_time())]
    for _ in range(SMALL_RUNS):
        run_checkpoint(checkpoint)
        clocks.append((time.perf_counter(), time.process_time()))
    spent = [(end[0] - start[0], end[1] - start[1]) for start, end in pairwise(clocks)]
    return {"seconds": [seconds for seconds, _ in spent], "cpu": [cpu for _, cpu in spent]}


def _peak() -> float:
    """The most memory that this process held so far in MiB; getrusage would tell its parent's, if that held more."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _process(*given: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.validation", "--do", *map(str, given)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    # GX and others may print before.
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _load() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def _told_before(rounds: int, rows: int, folder: Path) -> str:
    size = sum(path.stat().st_size for path in (folder / "table").iterdir()) / 2**20
    there = ", ".join(f"{name} {version(name)}" for name in PACKAGES if installed(name))
    return (
        f"{rows:,} rows of 20 columns ({size:,.0f} MiB of Parquet), {len(SUITE)} expectations, median of {rounds}"
        f" interleaved rounds\n{os.cpu_count()} cores, load before {_load()}; "
        f"Python {platform.python_version()}, {there}"
    )


def _report(costs: dict[str, list[dict[str, Any]]]) -> None:
    def median(way: str, what: str) -> float:
        return float(statistics.median(cost[what] for cost in costs[way]))

    print("| | time | × | CPU | × | peak memory | × | above imports | × | imports |\n|---|" + "---:|" * 9)
    for way in costs:
        cells = [way]
        for what in ("seconds", "cpu", "peak", "above"):
            form = "{:.2f} s" if what in ("seconds", "cpu") else "{:,.0f} MiB"
            cells += [form.format(median(way, what)), f"{median(way, what) / median(HAND, what):.2f}"]
        print("| " + " | ".join([*cells, f"{median(way, 'imports'):.1f} s"]) + " |")
    print(f"GX on pandas takes {median(PANDAS, 'seconds') / median(OURS, 'seconds'):.1f} times as long as on Polars")
    for way, found in costs.items():
        print(f"  {way}: rounds " + ", ".join(f"{cost['seconds']:.2f}" for cost in found) + " s")


def _report_small(found: dict[str, Any]) -> None:
    seconds, cpu = ([taken * 1e3 for taken in found[what]] for what in ("seconds", "cpu"))
    print(
        f"a checkpoint on three rows, {len(seconds)} runs: median {statistics.median(seconds):.0f} ms "
        f"({statistics.median(cpu):.0f} of CPU), the first {seconds[0]:.0f}, most {max(seconds):.0f} ms"
    )


def _report_growth(rows: int, row: float, found: list[dict[str, Any]]) -> None:
    for times, cost in zip((1, LARGER), found, strict=True):
        print(
            f"without uniqueness, {rows * times:,} rows, which are {rows * times * row / 2**20:,.0f} MiB in memory: "
            f"{cost['seconds']:.1f} s, peak {cost['peak']:,.0f} MiB, {cost['above']:,.0f} above imports"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--do"]:
        action, place, rest = sys.argv[2], Path(sys.argv[3]), sys.argv[4:]
        actions = {"prepare": lambda: prepare(place, int(rest[0])), "small": lambda: small(place)}
        done = actions.get(action, lambda: ask(place, rest[0]))()
        print(json.dumps(done, default=float))
    else:
        main(*(int(given) for given in (*sys.argv[1:], *("3", str(ROWS))[len(sys.argv) - 1 :])))
