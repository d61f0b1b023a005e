"""The flights pipeline under Headwater against the same calls in a plain script: time and peak memory.

    python -m benchmarks.flights [ROUNDS]

Each round runs, one after the other and in processes of their own: the plain script (benchmarks.plain_flights),
`headwater run` of a new clone without checks, and with checks. Postgres runs already; nothing else is prepared.
What counts are the ratios of the medians.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from lineage.postgres import attach
from lineage.settings import read_settings

ROOT = Path(__file__).parent.parent
KINDS = ("plain script", "headwater, no checks", "headwater, checks")


@dataclass(frozen=True)
class Cost:
    """What one process took."""

    seconds: float
    peak_mib: float


def main(rounds: int) -> None:
    """Measure and print."""
    costs: dict[str, list[Cost]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        with TemporaryDirectory() as folder:
            costs[KINDS[0]].append(_measured([sys.executable, "-m", "benchmarks.plain_flights", folder], ROOT))
        for kind in KINDS[1:]:
            costs[kind].append(_platform(checks=kind == KINDS[2]))
    plain = _median(costs[KINDS[0]])
    for kind, found in costs.items():
        cost = _median(found)
        print(
            f"{kind:<22}{cost.seconds:7.1f} s  {cost.seconds / plain.seconds:5.2f}x"
            f"{cost.peak_mib:8.0f} MiB  {cost.peak_mib / plain.peak_mib:5.2f}x"
        )


def _platform(*, checks: bool) -> Cost:
    with TemporaryDirectory() as folder:
        root = Path(folder) / "clone"
        _clone(root)
        if not checks:
            path = root / "assets" / "flights.py"
            path.write_text(re.sub(r"checks=suite\([^)]*\),?", "", path.read_text()))
        command = [sys.executable, "-m", "orchestration.cli"]
        subprocess.run([*command, "dvc", "sync"], cwd=root, env=_environment(root), check=True, capture_output=True)
        with attach(read_settings(_environment(root) | {"HEADWATER_ROOT": str(root)})):
            cost = _measured([*command, "run"], root)
            again = _measured([*command, "run"], root)
            repro = _measured([sys.executable, "-m", "dvc", "repro"], root)
        print(f"checks={checks}, nothing to do: run {again.seconds:.1f} s, dvc repro {repro.seconds:.1f} s", flush=True)
        return cost


def _clone(root: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)


def _environment(root: Path) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")} | {
        "PYTHONPATH": str(root)
    }


def _measured(command: list[str], root: Path) -> Cost:
    started = time.monotonic()
    with subprocess.Popen(command, cwd=root, env=_environment(root), stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Cost(time.monotonic() - started, usage.ru_maxrss / 1024)


def _median(found: list[Cost]) -> Cost:
    return Cost(*(statistics.median(values) for values in zip(*(vars(item).values() for item in found), strict=True)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
