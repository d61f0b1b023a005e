"""What row lineage costs: the flights' tables plain, with positions, and with positions and groups.

    python -m benchmarks.rows [ROUNDS [YEARS]]

Each round computes and writes `legs` and `features` of the whole of 2013, once for each kind and each in a process of
its own, one after the other. With YEARS the flights are there as often, each time a year later: 30 make 10 million.
What counts are the ratios of the medians: CPU from the first call of Polars on, and the peak of memory.
"""

from __future__ import annotations

import hashlib
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from assets import flights
from benchmarks.plain_flights import SOURCES, read_source
from lineage.rows.following import follow
from lineage.rows.origins import ROWS, stored_names, write_stages
from lineage.tables import ROWS_PER_GROUP, write_table

ROOT = Path(__file__).parent.parent
KINDS = ("plain", "positions", "positions and groups")
STEPS = ("legs", "features")


def main(rounds: int, years: int) -> None:
    """Measure and print."""
    with TemporaryDirectory() as folder:
        prepare(Path(folder), years)
        for step in STEPS:
            costs: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
            for _ in range(rounds):
                for kind, found in costs.items():
                    found.append(_measured(Path(folder), step, kind))
            _report(step, costs)


def prepare(folder: Path, years: int) -> None:
    """Write what the steps read, each table as a file for each year."""
    tables = {name: read_source(name).collect() for name in SOURCES}
    lookups = (tables[name].lazy() for name in ("departures", "airlines", "airports"))
    tables["legs"] = flights.legs(*lookups).sort("flight_id").collect()
    for name, table in tables.items():
        for year, shifted in enumerate(_years(table, years)):
            path = folder / name / f"{year:02d}.parquet"
            path.parent.mkdir(exist_ok=True)
            shifted.write_parquet(path, row_group_size=ROWS_PER_GROUP)


def _years(table: pl.DataFrame, years: int) -> Iterator[pl.DataFrame]:
    """The table, and what it would be in later years if it is of any year; planes and airports are the same."""
    times = [name for name, kind in table.schema.items() if kind == pl.Datetime]
    yield table
    for later in range(1, years if times else 1):
        year = [pl.col("year") + later] if "year" in table.columns else []
        named = [pl.col("flight_id") + f"+{later}"] if "flight_id" in table.columns else []
        yield table.with_columns(pl.col(times).dt.offset_by(f"{later}y"), *year, *named)


def _measured(folder: Path, step: str, kind: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.rows", "--of", str(folder), step, kind]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def compute(folder: Path, name: str, kind: str) -> None:
    """Compute and write one table, in this process; prints what it took as JSON."""
    step = flights.flights.steps[name]
    inputs = {item.name: sorted((folder / item.step).glob("*.parquet")) for item in step.inputs}
    started, used = time.monotonic(), time.process_time()
    with TemporaryDirectory(dir=folder) as out:
        rows = _write(step, inputs, Path(out), kind)
        cost = {"seconds": time.monotonic() - started, "cpu": time.process_time() - used, "rows": rows}
        sizes = {path.name: path.stat().st_size for path in Path(out).iterdir()}
        table = hashlib.md5((Path(out) / "table.parquet").read_bytes()).hexdigest()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    beside = sum(sizes.values()) - sizes["table.parquet"]
    print(json.dumps({**cost, "peak_mib": peak, "bytes_a_row": beside / rows, "table": table}))


def _write(step: Any, inputs: dict[str, list[Path]], out: Path, kind: str) -> int:
    path, written = out / "table.parquet", {"key": step.key, "keep_order": False}
    if kind == KINDS[0]:
        frames = {name: pl.scan_parquet(paths) for name, paths in inputs.items()}
        return write_table(step.function(**frames, **step.parameters), path, **written).row_count
    frame = follow(step, inputs)
    names = stored_names(frame.ways.links)
    rows = write_table(frame.result, path, **written, beside=names, rows_path=out / ROWS).row_count
    if kind == KINDS[2]:
        write_stages(frame.capture, frame.ways, out)
    return rows


def _report(step: str, costs: dict[str, list[dict[str, Any]]]) -> None:
    def median(kind: str, what: str) -> float:
        return statistics.median(cost[what] for cost in costs[kind])

    tables = {cost["table"] for found in costs.values() for cost in found}
    print(f"{step}: {costs[KINDS[0]][0]['rows']:,} rows, the same bytes each time: {len(tables) == 1}", flush=True)
    for kind in KINDS:
        cpu, peak = median(kind, "cpu"), median(kind, "peak_mib")
        print(
            f"  {kind:<22}{cpu:7.2f} s of CPU {cpu / median(KINDS[0], 'cpu'):5.2f}x"
            f"{peak:8.0f} MiB {peak / median(KINDS[0], 'peak_mib'):5.2f}x{median(kind, 'bytes_a_row'):7.1f} bytes/row",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--of"]:
        compute(Path(sys.argv[2]), sys.argv[3], sys.argv[4])
    else:
        main(*(int(given) for given in (*sys.argv[1:], *("5", "1")[len(sys.argv) - 1 :])))
