"""The trainer that models are declared with: a table's files in, a bundle in a folder out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineage.errors import DeclarationError
from lineage.ports import TrainedBundle
from lineage.spec import Model, Step, TimeSplit
from serving.bundle import MANIFEST, load_bundle, parity, write_bundle
from serving.train import ModelSpec, Split, train

if TYPE_CHECKING:
    import polars as pl

# What a declaration says about training that is not XGBoost's own parameter.
_TRAINING = ("rounds", "early_stopping_rounds", "seed", "key")
_DECLARED = ("target", "features", "objective", "split")


def fit(step: Step, tables: tuple[Path, ...], folder: Path) -> TrainedBundle:
    """Train the model of `step` on the rows of `tables` whose target is known; its bundle fills `folder`.

    The metrics hold, beside what was measured on tune and test rows, how many of the test rows have the
    same margin bits in ONNX Runtime and XGBoost.
    """
    import polars as pl

    assert isinstance(step.detail, Model)
    rows = pl.scan_parquet(list(tables)).filter(pl.col(step.detail.target).is_not_null()).collect()
    split = cut(rows, step.detail.split)
    trained = train(split, _spec(step.detail, step.parameters))
    write_bundle(folder, trained, name=step.model_name, dataset={"table": f"{step.pipeline}/{step.detail.table}"})
    bundle = load_bundle(folder)
    same = parity(bundle, split.test)
    metrics = {
        **{name: dict(part) for name, part in trained.metrics.items()},
        "rows": dict(trained.rows),
        "base_rate": trained.base_rate,
        "best_iteration": trained.best_iteration,
        "onnx_parity": {"rows": same.rows, "exact": same.exact},
    }
    return TrainedBundle(bundle.digest, (*sorted(bundle.manifest["files"]), MANIFEST), metrics)


def cut(rows: pl.DataFrame, split: TimeSplit) -> Split:
    """Rows by time: train before `tune_from`, tune before `test_from`, test from there on."""
    import polars as pl

    if split.column not in rows.columns:
        raise DeclarationError(f"by_time names column {split.column!r}; the table has {rows.columns}.")
    time = pl.col(split.column)
    aware = isinstance(kind := rows.schema[split.column], pl.Datetime) and kind.time_zone is not None
    tune_from, test_from = (_instant(text, aware=aware) for text in (split.tune_from, split.test_from))
    return Split(
        train=rows.filter(time < tune_from),
        tune=rows.filter((time >= tune_from) & (time < test_from)),
        test=rows.filter(time >= test_from),
    )


def _instant(text: str, *, aware: bool) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant.replace(tzinfo=UTC) if aware and instant.tzinfo is None else instant


def _spec(model: Model, parameters: Mapping[str, Any]) -> ModelSpec:
    given = {name: parameters[name] for name in _TRAINING if name in parameters}
    own = {name: value for name, value in parameters.items() if name not in (*_TRAINING, *_DECLARED)}
    return ModelSpec(model.target, model.features, model.objective, own, **given)
