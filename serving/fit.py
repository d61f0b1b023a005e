"""The trainer that models are declared with: a table's files in, a bundle in a folder out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from lineage.errors import DeclarationError
from lineage.ports import TrainedBundle, Training
from lineage.spec import HashSplit, Model, Step, TimeSplit
from serving.bundle import MANIFEST, load_bundle, parity, write_bundle
from serving.card import CARD, model_card
from serving.comparison import compare, describe_data, fit_baselines
from serving.train import ModelSpec, Split, train

if TYPE_CHECKING:
    import polars as pl

# What a declaration says about training that is not XGBoost's own parameter.
_TRAINING = ("rounds", "early_stopping_rounds", "seed", "device")
_DECLARED = ("target", "features", "objective", "split")


def fit(step: Step, tables: tuple[Path, ...], folder: Path, training: Training) -> TrainedBundle:
    """Train the model of `step` on the rows of `tables` whose target is known; its bundle fills `folder`.

    The tables are read in batches, in the order of their rows. The metrics hold, beside what was measured on
    tune and test rows, the baselines' scores on the test rows, and how many of these have the same margin bits
    in ONNX Runtime and XGBoost. The plots are the evaluation's tables, the card is in the bundle.
    """
    import polars as pl

    assert isinstance(step.detail, Model)
    split = cut(pl.scan_parquet(list(tables)), step.detail)
    trained = train(split, _spec(step.detail, step.parameters), training, scratch=folder.parent)
    baselines, table = fit_baselines(trained), f"{step.pipeline}/{step.detail.table}"
    evaluation = compare(trained, baselines)
    data = describe_data(trained, baselines.linear, table, step.detail.split)
    card = model_card(step.model_name, trained, evaluation, data)
    write_bundle(folder, trained, name=step.model_name, dataset={"table": table}, extra={CARD: card})
    bundle = load_bundle(folder)
    same = parity(bundle, split.test)
    metrics = {
        **{name: dict(part) for name, part in trained.metrics.items()},
        **evaluation.metrics(),
        "rows": dict(trained.rows),
        "base_rate": trained.base_rate,
        "best_iteration": trained.best_iteration,
        "onnx_parity": {"rows": same.rows, "exact": same.exact},
    }
    files = (*sorted(bundle.manifest["files"]), MANIFEST)
    return TrainedBundle(bundle.digest, files, metrics, {"device": vars(trained.device)}, evaluation.plots())


def cut(table: pl.LazyFrame, model: Model) -> Split:
    """The rows whose target is known, as the model's split says.

    by_time: train before `tune_from`, tune before `test_from`, test from there on. by_hash: by a digest of the
    column's text. DeclarationError where the table lacks the target or the column, where a row has no value in
    that column, or by_time's is no time or on another clock than the dates. Only that column is read.
    """
    import polars as pl

    split, schema = model.split, table.collect_schema()
    for what, name in (("target", model.target), ("split", split.column)):
        if name not in schema:
            raise DeclarationError(f"{what} names column {name!r}; the table has {schema.names()}.")
    rows = table.filter(pl.col(model.target).is_not_null())
    parts = _by_time(rows, split) if isinstance(split, TimeSplit) else _by_hash(rows, split)
    _require_known(rows, split.column)
    return parts


def _require_known(rows: pl.LazyFrame, column: str) -> None:
    """Every row belongs to a part."""
    import polars as pl

    if lost := rows.select(pl.col(column).null_count()).collect(engine="streaming").item():
        raise DeclarationError(
            f"{lost:,} rows have no {column!r}, by which they are split; fill it in, or filter them out of the table."
        )


def _by_time(rows: pl.LazyFrame, split: TimeSplit) -> Split:
    import polars as pl

    kind = rows.collect_schema()[split.column]
    if not isinstance(kind, pl.Date | pl.Datetime):
        raise DeclarationError(f"by_time names column {split.column!r}, which is {kind}; make it a date or a datetime.")
    clock = kind.time_zone if isinstance(kind, pl.Datetime) else None
    if clock is None:
        _require_plain(split, kind)
    tune_from, test_from = (_instant(text, split.zone, clock) for text in (split.tune_from, split.test_from))
    time = pl.col(split.column)
    return Split(
        train=rows.filter(time < tune_from),
        tune=rows.filter((time >= tune_from) & (time < test_from)),
        test=rows.filter(time >= test_from),
        time=split.column,
        zone=split.zone,
    )


def _require_plain(split: TimeSplit, kind: pl.DataType) -> None:
    """What a split may say of a column that knows no zone: neither a zone nor an offset."""
    column = f"column {split.column!r} is {kind}, which knows no zone"
    if split.zone != "UTC":
        raise DeclarationError(f"by_time says zone={split.zone!r}, but {column}; leave zone out, or give it UTC.")
    for name, text in (("tune_from", split.tune_from), ("test_from", split.test_from)):
        if datetime.fromisoformat(text).tzinfo:
            raise DeclarationError(f"by_time says {name}={text!r}, but {column}; write it without an offset.")


def _by_hash(rows: pl.LazyFrame, split: HashSplit) -> Split:
    import polars as pl

    place = pl.col(split.column).cast(pl.String).map_batches(_places, return_dtype=pl.Float64(), is_elementwise=True)
    test, tune = split.test, split.test + split.tune
    return Split(
        train=rows.filter(place >= tune),
        tune=rows.filter((place >= test) & (place < tune)),
        test=rows.filter(place < test),
    )


def _places(texts: pl.Series) -> pl.Series:
    """Numbers in [0, 1), evenly spread; of a digest, for Polars' own hash may change between its versions."""
    import polars as pl

    # None is of a row that has no target either, and is dropped.
    found = (hashlib.blake2b((text or "").encode(), digest_size=6).digest() for text in texts)
    return pl.Series(texts.name, [int.from_bytes(digest) / 2**48 for digest in found], dtype=pl.Float64)


def _instant(text: str, zone: str, clock: str | None) -> datetime:
    """The instant that `text` names in `zone`, on the clock of the column; as it stands, if that has no zone."""
    instant = datetime.fromisoformat(text)
    if clock is None:
        return instant
    return (instant if instant.tzinfo else instant.replace(tzinfo=ZoneInfo(zone))).astimezone(ZoneInfo(clock))


def _spec(model: Model, parameters: Mapping[str, Any]) -> ModelSpec:
    given = {name: parameters[name] for name in _TRAINING if name in parameters}
    own = {name: value for name, value in parameters.items() if name not in (*_TRAINING, *_DECLARED)}
    return ModelSpec(model.target, model.features, model.objective, own, **given)
