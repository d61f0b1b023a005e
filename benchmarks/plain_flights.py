"""The flights pipeline as a plain script: the same Polars and XGBoost calls, and nothing around them.

    python -m benchmarks.plain_flights FOLDER

It reads the package's files, writes the tables and the boosters to FOLDER, and records nothing. What Headwater
costs beyond it is what `python -m benchmarks.flights` measures.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import xgboost
from numpy.typing import NDArray

from assets import flights
from lineage.sources import origin_bytes
from lineage.spec import Fetch, Model, Source
from serving.scores import scores

TYPES = {"string": pl.String(), "int32": pl.Int32(), "float64": pl.Float64(), "datetime_utc": pl.Datetime("us", "UTC")}
SOURCES = ("departures", "weather", "planes", "airports", "airlines")


def main(folder: Path) -> None:
    """Raw bytes to three boosters; prints the test scores."""
    raw = {name: read_source(name) for name in SOURCES}
    legs = flights.legs(raw["departures"], raw["airlines"], raw["airports"]).sort("flight_id").collect()
    legs.write_parquet(folder / "legs.parquet")
    for table in ("features", "pushback_features"):
        lookups = (raw[name] for name in ("weather", "planes", "airports"))
        found = getattr(flights, table)(legs.lazy(), legs.lazy(), *lookups)
        found.sort("flight_id").collect().write_parquet(folder / f"{table}.parquet")
    del raw, legs
    for step in flights.flights.steps.values():
        if isinstance(step.detail, Model):
            print(step.name, json.dumps(_train(folder, step.detail, dict(step.parameters), step.name)), flush=True)


def read_source(name: str) -> pl.LazyFrame:
    """The whole year of a source, typed as the pipeline declares it."""
    fetch, source = flights.flights.steps[f"raw_{name}"].detail, flights.flights.steps[name].detail
    assert isinstance(fetch, Fetch)
    assert isinstance(source, Source)
    data = origin_bytes(fetch.origin)
    schema = {column: TYPES[kind] for column, kind in source.schema.items()}
    return pl.read_csv(data, schema_overrides=schema, null_values=list(source.null_values)).lazy()


def _train(folder: Path, model: Model, parameters: dict[str, Any], name: str) -> dict[str, float]:
    rows = pl.read_parquet(folder / f"{model.table}.parquet").filter(pl.col(model.target).is_not_null())
    parts = _split(rows, model)
    own = {"tree_method": "hist", "objective": model.objective}
    trees = {key: parameters[key] for key in set(flights.TREES) - {"rounds", "early_stopping_rounds"}}
    kinds = ["c" if rows.schema[column] == pl.String else "float" for column in model.features]
    given = {"feature_names": list(model.features), "feature_types": kinds, "enable_categorical": True}
    train = xgboost.QuantileDMatrix(*parts[0], **given)
    tune = xgboost.QuantileDMatrix(*parts[1], ref=train, **given)
    booster = xgboost.train(
        own | trees,
        train,
        parameters["rounds"],
        evals=[(tune, "tune")],
        early_stopping_rounds=parameters["early_stopping_rounds"],
        verbose_eval=False,
    )
    booster = booster[: booster.best_iteration + 1]
    booster.save_model(folder / f"{name}.ubj")
    matrix, labels = parts[2]
    return scores(model.objective, labels, booster.inplace_predict(matrix, predict_type="margin"))


def _split(rows: pl.DataFrame, model: Model) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    tune_from, test_from = (
        datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(model.split.zone)).astimezone(UTC)
        for text in (model.split.tune_from, model.split.test_from)
    )
    time = pl.col(model.split.column)
    learnt = rows.filter(time < tune_from)
    categories = {
        name: learnt[name].drop_nulls().unique().sort() for name in model.features if rows[name].dtype == pl.String
    }
    encoded = [
        pl.col(name).cast(pl.Enum(categories[name]), strict=False).to_physical() if name in categories else pl.col(name)
        for name in model.features
    ]
    parts = (learnt, rows.filter(time >= tune_from, time < test_from), rows.filter(time >= test_from))
    return [
        (
            part.select(item.cast(pl.Float32) for item in encoded).to_numpy(),
            part[model.target].cast(pl.Float32).to_numpy(),
        )
        for part in parts
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
