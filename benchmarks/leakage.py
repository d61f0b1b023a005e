"""What leaks are worth: the table of docs/leakage.md, on a year of real flights.

    python -m benchmarks.leakage

The same trees learn from the same rows, once with the features that were known and once with history keyed on the
scheduled departure, as it is often written by hand. Takes about two minutes on two cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from assets import flights
from benchmarks.plain_flights import SOURCES, read_source
from lineage.history import with_history
from lineage.spec import Model
from serving.fit import cut
from serving.train import ModelSpec, train

SCHEDULE = [*flights._SCHEDULE, *flights._PLACE]


def main() -> None:
    """Train four models and print how they do on November and December."""
    raw = {name: read_source(name) for name in SOURCES}
    legs = flights.legs(raw["departures"], raw["airlines"], raw["airports"]).collect()
    lookups = [raw[name] for name in ("weather", "planes", "airports")]
    # In the order in which the pipeline's files hold them: row order is part of a model.
    month = pl.col("departs_at").dt.convert_time_zone("America/New_York").dt.month()
    known = flights.features(legs.lazy(), legs.lazy(), *lookups).sort(month, "flight_id").collect()
    with TemporaryDirectory() as folder:
        honest, leaking = Path(folder) / "honest.parquet", Path(folder) / "leaking.parquet"
        known.write_parquet(honest)
        _leaking(known, legs).sort(month, "flight_id").write_parquet(leaking)
        _report("schedule only", honest, SCHEDULE)
        _report("schedule and weather", honest, [*SCHEDULE, *flights._WEATHER])
        _report("and history, keyed on when it was known", honest, flights._KNOWN)
        _report("and history, keyed on the scheduled departure", leaking, flights._KNOWN)


def _leaking(known: pl.DataFrame, legs: pl.DataFrame) -> pl.DataFrame:
    """The features with every aggregate over what was scheduled before, whether or not it had happened."""
    leaky = {name: replace(item, known_at="departs_at") for name, item in flights.PAST.items()}
    rows = known.drop(leaky).join(legs.select("flight_id", "tailnum"), on="flight_id")
    return with_history(rows.lazy(), at="departs_at", events=legs.lazy(), aggregates=leaky).collect()


def _report(name: str, table: Path, features: Sequence[str]) -> None:
    step = flights.flights.steps["late_t0"]
    assert isinstance(step.detail, Model)
    trees = {
        key: value for key, value in flights.TREES.items() if key not in ("rounds", "early_stopping_rounds", "seed")
    }
    own = {key: flights.TREES[key] for key in ("rounds", "early_stopping_rounds", "seed")}
    spec = ModelSpec(step.detail.target, tuple(features), step.detail.objective, trees, **own)
    found = train(cut(pl.scan_parquet(table), step.detail), spec).metrics["test"]
    print(f"{name:<48}" + "  ".join(f"{key} {found[key]:.4f}" for key in ("auc", "logloss", "brier")), flush=True)


if __name__ == "__main__":
    main()
