"""A table becomes a booster whose bytes are a function of the rows and the declaration alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lineage.errors import DeclarationError
from lineage.ports import Training
from serving.baseline import Constant, fit_constant
from serving.device import Device, choose
from serving.export import OBJECTIVES
from serving.rows import BATCH_ROWS, Rows, periods
from serving.scores import mean, scores

if TYPE_CHECKING:
    import polars as pl
    import xgboost

    from serving.matrices import Quantizer

# What a declaration may set. XGBoost only warns about a name it does not know, so a typo would train
# another model; and names that decide the kind of booster, the device or the seed have their own place.
PARAMETERS = frozenset(
    {
        *("eta", "learning_rate", "gamma", "min_split_loss", "max_depth", "max_leaves", "grow_policy"),
        *("min_child_weight", "max_delta_step", "subsample", "colsample_bytree", "colsample_bylevel"),
        *("colsample_bynode", "lambda", "reg_lambda", "alpha", "reg_alpha", "max_bin", "num_parallel_tree"),
        *("max_cat_to_onehot", "max_cat_threshold", "monotone_constraints", "interaction_constraints"),
        *("base_score", "scale_pos_weight", "eval_metric"),
    }
)
_DEVICES = ("auto", "cpu", "cuda")
_BYTES_PER_VALUE = 4  # of float32; XGBoost's bins, where a value is missing, take as much


@dataclass(frozen=True)
class ModelSpec:
    """What to learn: plain data, checked when it is made (DeclarationError names what is wrong).

    `parameters` are XGBoost's own, out of `PARAMETERS`. `device` is auto, cpu or cuda; what it says wins over
    the process's setting.
    """

    target: str
    features: tuple[str, ...]
    objective: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    rounds: int = 100
    early_stopping_rounds: int | None = None
    seed: int = 0
    device: str | None = None

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise DeclarationError(f"objective {self.objective!r} is not one of {', '.join(OBJECTIVES)}.")
        if unknown := sorted(set(self.parameters) - PARAMETERS):
            raise DeclarationError(f"parameters {unknown} cannot be set; known: {', '.join(sorted(PARAMETERS))}.")
        if type(self.rounds) is not int or self.rounds < 1:
            raise DeclarationError(f"rounds is {self.rounds!r}; declare how many trees to grow: 1, 2, …")
        if self.device is not None and self.device not in _DEVICES:
            raise DeclarationError(f"device {self.device!r} is not one of {', '.join(_DEVICES)}.")
        if not self.features or len(set(self.features)) < len(self.features):
            raise DeclarationError(f"features {self.features} must be at least one, each named once.")
        if reserved := sorted({self.target, "margin", "probability"} & set(self.features)):
            raise DeclarationError(f"{reserved} cannot be features: the target and the outputs have these names.")


@dataclass(frozen=True)
class Split:
    """The rows to learn from, to stop early on, and to report on, each in the order that they are learnt in.

    Lazy frames are read in batches, several times. `time` is the column (date or datetime) that they were cut
    by; without it no period of a row is known.
    """

    train: pl.DataFrame | pl.LazyFrame
    tune: pl.DataFrame | pl.LazyFrame
    test: pl.DataFrame | pl.LazyFrame
    time: str | None = None
    zone: str = "UTC"


@dataclass(frozen=True)
class Scored:
    """What is known of each row of a part, in its order: float32 `labels` and `margins` of shape (n,).

    `periods` are the rows' months on the split's clock, strings `YYYY-MM` of shape (n,); "" where that names no time.
    """

    labels: NDArray[np.float32]
    margins: NDArray[np.float32]
    periods: NDArray[np.str_]


@dataclass(frozen=True)
class Trained:
    """A booster and all that serving it needs to know.

    `booster` holds no round after the best one, and answers on the CPU. `categories` maps each string feature
    to its categories in the order of their codes. By part (train, tune, test): `parts` are the rows, to be read
    again, and `rows` their number. By part (tune, test): `scored` and `metrics`. `base_rate` is the mean
    target of the training rows, `base` the constant that answers them best. `device` is where it was trained, and
    why there.
    """

    spec: ModelSpec
    booster: xgboost.Booster
    categories: Mapping[str, tuple[str, ...]]
    metrics: Mapping[str, Mapping[str, float]]
    base_rate: float
    base: Constant
    rows: Mapping[str, int]
    best_iteration: int
    device: Device
    parts: Mapping[str, Rows]
    scored: Mapping[str, Scored]


def train(
    split: Split,
    spec: ModelSpec,
    training: Training | None = None,
    *,
    scratch: Path | None = None,
    batch_rows: int = BATCH_ROWS,
) -> Trained:
    """The booster that `spec` declares, learnt from `split.train`, stopped early on `split.tune` only.

    String columns become categoricals: their categories are the distinct strings of the training rows,
    sorted; a string that only appears later counts as missing. Booleans, integers and floats become float32
    before XGBoost sees them, so that what is served is what was learnt. On the CPU neither `training` (memory,
    threads) nor `batch_rows` changes the bytes; `scratch` is the folder for pages of rows that do not fit.
    Raises DeclarationError for an absent column, a feature of another type, and targets that the objective
    cannot learn; DeviceError where a GPU was asked for and cannot be used.
    """
    training = training or Training()
    parts = _parts(split, spec, batch_rows)
    labels = {name: _labels(rows, spec) for name, rows in parts.items()}
    counts = {name: len(found) for name, found in labels.items()}
    device = choose(spec.device or training.device, counts["train"] * len(spec.features))
    layout = _layout(counts, spec, training, device)
    if layout.kept:
        parts = {name: rows.keep() for name, rows in parts.items()}
    # Of the training labels this is all that is needed from here on.
    base_rate, base = mean(labels["train"]), fit_constant(spec.objective, labels.pop("train"))
    booster, best = _fit(parts, spec, layout, scratch)
    scored = {name: _scored(booster, parts[name], labels[name]) for name in ("tune", "test")}
    return Trained(
        spec=spec,
        booster=booster,
        categories=parts["train"].categories,
        metrics={name: _measured(found, spec) for name, found in scored.items()},
        base_rate=base_rate,
        base=base,
        rows=counts,
        best_iteration=best,
        device=device,
        parts=parts,
        scored=scored,
    )


def _parts(split: Split, spec: ModelSpec, batch_rows: int) -> dict[str, Rows]:
    import polars as pl

    frames = {"train": split.train.lazy(), "tune": split.tune.lazy(), "test": split.test.lazy()}
    needed = [*spec.features, spec.target, *([split.time] if split.time else [])]
    for name, frame in frames.items():
        schema = frame.collect_schema()
        if absent := [column for column in needed if column not in schema]:
            raise DeclarationError(f"columns {absent} are not in the {name} rows; they have {schema.names()}.")
        if not (schema[spec.target].is_numeric() or schema[spec.target] == pl.Boolean):
            kind = schema[spec.target]
            raise DeclarationError(
                f"target {spec.target!r} of the {name} rows is {kind}; make it a number or a Boolean."
            )
    categories = _categories(frames["train"], spec)
    return {
        name: Rows(name, frame, spec.features, spec.target, categories, split.time, split.zone, batch_rows)
        for name, frame in frames.items()
    }


def _categories(frame: pl.LazyFrame, spec: ModelSpec) -> dict[str, tuple[str, ...]]:
    import polars as pl

    schema = frame.collect_schema()
    strings = (pl.String, pl.Categorical, pl.Enum)
    found = {}
    for name in (name for name in spec.features if isinstance(schema[name], strings)):
        distinct = frame.select(pl.col(name).cast(pl.String)).drop_nulls().unique().collect(engine="streaming")
        found[name] = tuple(distinct[name].sort())
    return found


def _labels(rows: Rows, spec: ModelSpec) -> NDArray[np.float32]:
    """The labels of one part; it may be empty unless something is learnt from it."""
    learnt = rows.part == "train" or (rows.part == "tune" and spec.early_stopping_rounds is not None)
    labels = rows.labels()
    if not len(labels) and learnt:
        raise DeclarationError(f"target {spec.target!r} cannot be learnt: there are no {rows.part} rows.")
    if bad := int(np.sum(~np.isfinite(labels))):
        raise DeclarationError(f"{bad} of {len(labels)} {rows.part} rows have no {spec.target!r}; filter them out.")
    if spec.objective == "binary:logistic" and not np.isin(labels, (0, 1)).all():
        what = f"{spec.target!r} of the {rows.part} rows"
        raise DeclarationError(f"{what} is not all 0 and 1, as {spec.objective} needs.")
    return labels


@dataclass(frozen=True)
class _Layout:
    """Whether encoded batches are `kept` in memory, whether XGBoost's matrices are `paged`, and the machine."""

    kept: bool
    paged: bool
    threads: int | None
    device: str


def _layout(counts: Mapping[str, int], spec: ModelSpec, training: Training, device: Device) -> _Layout:
    learnt = counts["train"] + (counts["tune"] if spec.early_stopping_rounds is not None else 0)
    row = len(spec.features) * _BYTES_PER_VALUE
    kept = (learnt + sum(counts.values())) * row <= training.memory_bytes
    # A GPU learns from what its own memory holds. And where leaves are medians of sampled rows, XGBoost 3.2
    # takes them page by page: another model for every size of a page.
    whole = device.name == "cuda" or (
        spec.objective == "reg:absoluteerror" and spec.parameters.get("subsample", 1) != 1
    )
    return _Layout(kept, learnt * row > training.memory_bytes and not whole, training.threads, device.name)


def _fit(
    parts: Mapping[str, Rows], spec: ModelSpec, layout: _Layout, scratch: Path | None
) -> tuple[xgboost.Booster, int]:
    """The booster up to its best round, and that round."""
    from serving.matrices import Quantizer, page_folder

    with page_folder(scratch, needed=layout.paged) as pages:
        booster = _boosted(parts, spec, layout, Quantizer(spec.parameters.get("max_bin"), layout.threads, pages))
    stopped = spec.early_stopping_rounds is not None
    best = int(booster.best_iteration) if stopped else spec.rounds - 1
    # The slice also drops the booster's attributes, where early stopping leaves a score.
    booster = booster[: best + 1]
    booster.set_param({"device": "cpu"})
    return booster, best


def _boosted(parts: Mapping[str, Rows], spec: ModelSpec, layout: _Layout, quantizer: Quantizer) -> xgboost.Booster:
    """The booster with all its rounds; the matrices are gone when this returns, and their pages may go."""
    import xgboost

    learnt, stopping = quantizer.matrix(parts["train"]), {}
    if spec.early_stopping_rounds is not None:
        tuned = quantizer.matrix(parts["tune"], learnt)
        stopping = {"evals": [(tuned, "tune")], "early_stopping_rounds": spec.early_stopping_rounds}
    return xgboost.train(_parameters(spec, layout), learnt, spec.rounds, verbose_eval=False, **stopping)


def _parameters(spec: ModelSpec, layout: _Layout) -> dict[str, Any]:
    own = {"objective": spec.objective, "seed": spec.seed, "tree_method": "hist", "device": layout.device}
    return {**spec.parameters, **own, **({} if layout.threads is None else {"nthread": layout.threads})}


def _scored(booster: xgboost.Booster, rows: Rows, labels: NDArray[np.float32]) -> Scored:
    margins, found = np.empty(len(labels), np.float32), np.full(len(labels), "", "<U7")
    start = 0
    for batch in rows.batches():
        here = slice(start, start := start + len(batch.labels))
        margins[here] = booster.inplace_predict(batch.matrix, predict_type="margin")
        if batch.months is not None:
            found[here] = periods(batch.months)
    return Scored(labels, margins, found)


def _measured(scored: Scored, spec: ModelSpec) -> dict[str, float]:
    return scores(spec.objective, scored.labels, scored.margins) if len(scored.labels) else {}
