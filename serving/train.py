"""A table becomes a booster whose bytes are a function of the rows and the declaration alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lineage.errors import DeclarationError
from serving.engines.columns import matrix_of
from serving.export import OBJECTIVES
from serving.scores import mean, scores

if TYPE_CHECKING:
    import polars as pl
    import xgboost

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
_DEVICE = ("cpu", "training bytes are promised on the CPU only")


@dataclass(frozen=True)
class ModelSpec:
    """What to learn: plain data, checked when it is made (DeclarationError names what is wrong).

    `key` is the column that fixes the order of the training rows, which is part of the model's bytes;
    without it they are taken as they come. `parameters` are XGBoost's own, out of `PARAMETERS`.
    """

    target: str
    features: tuple[str, ...]
    objective: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    rounds: int = 100
    early_stopping_rounds: int | None = None
    seed: int = 0
    key: str | None = None

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise DeclarationError(f"objective {self.objective!r} is not one of {', '.join(OBJECTIVES)}.")
        if unknown := sorted(set(self.parameters) - PARAMETERS):
            raise DeclarationError(f"parameters {unknown} cannot be set; known: {', '.join(sorted(PARAMETERS))}.")
        if not self.features or len(set(self.features)) < len(self.features):
            raise DeclarationError(f"features {self.features} must be at least one, each named once.")
        if reserved := sorted({self.target, "margin", "probability"} & set(self.features)):
            raise DeclarationError(f"{reserved} cannot be features: the target and the outputs have these names.")


@dataclass(frozen=True)
class Split:
    """The rows to learn from, to stop early on, and to report on."""

    train: pl.DataFrame
    tune: pl.DataFrame
    test: pl.DataFrame


@dataclass(frozen=True)
class Trained:
    """A booster and all that serving it needs to know.

    `booster` holds no round after the best one. `categories` maps each string feature to its categories in
    the order of their codes. `metrics` and `rows` are by part (train, tune, test). `base_rate` is the mean
    target of the training rows. `device` is where it was trained, and why there.
    """

    spec: ModelSpec
    booster: xgboost.Booster
    categories: Mapping[str, tuple[str, ...]]
    metrics: Mapping[str, Mapping[str, float]]
    base_rate: float
    rows: Mapping[str, int]
    best_iteration: int
    device: tuple[str, str] = _DEVICE


def train(split: Split, spec: ModelSpec, *, threads: int | None = None) -> Trained:
    """The booster that `spec` declares, learnt from `split.train`, stopped early on `split.tune` only.

    String columns become categoricals: their categories are the distinct strings of the training rows,
    sorted; a string that only appears later counts as missing. Booleans, integers and floats become float32
    before XGBoost sees them, so that what is served is what was learnt. `threads` (all, if None) changes the
    time and not the bytes. Raises DeclarationError for an absent column, a feature of another type, and
    targets that the objective cannot learn.
    """
    rows = _ordered(split, spec)
    categories = _categories(rows["train"], spec)
    parts = {name: _part(frame, name, spec=spec, categories=categories) for name, frame in rows.items()}
    booster, best = _fit(parts, spec, categories=categories, threads=threads)
    return Trained(
        spec=spec,
        booster=booster,
        categories=categories,
        metrics={name: _measured(booster, parts[name], spec) for name in ("tune", "test")},
        base_rate=mean(parts["train"].labels),
        rows={name: frame.height for name, frame in rows.items()},
        best_iteration=best,
    )


def _ordered(split: Split, spec: ModelSpec) -> dict[str, pl.DataFrame]:
    needed = [*spec.features, spec.target, *([spec.key] if spec.key else [])]
    parts = {"train": split.train, "tune": split.tune, "test": split.test}
    for name, part in parts.items():
        if absent := [column for column in needed if column not in part.columns]:
            raise DeclarationError(f"columns {absent} are not in the {name} rows; they have {part.columns}.")
    return {name: part.sort(spec.key) if spec.key else part for name, part in parts.items()}


def _categories(rows: pl.DataFrame, spec: ModelSpec) -> dict[str, tuple[str, ...]]:
    import polars as pl

    strings = (pl.String, pl.Categorical, pl.Enum)
    return {
        name: tuple(rows[name].cast(pl.String).drop_nulls().unique().sort())
        for name in spec.features
        if isinstance(rows.schema[name], strings) or rows.schema[name] in strings
    }


@dataclass(frozen=True)
class _Part:
    """Rows as XGBoost takes them: float32 of shapes (n, features) and (n,)."""

    matrix: NDArray[np.float32]
    labels: NDArray[np.float32]


def _part(rows: pl.DataFrame, name: str, *, spec: ModelSpec, categories: Mapping[str, tuple[str, ...]]) -> _Part:
    """One part encoded; it may be empty unless something is learnt from it."""
    import polars as pl

    learnt = name == "train" or (name == "tune" and spec.early_stopping_rounds is not None)
    labels = rows[spec.target].cast(pl.Float32).fill_null(float("nan")).to_numpy()
    if rows.is_empty() and learnt:
        raise DeclarationError(f"target {spec.target!r} cannot be learnt: there are no {name} rows.")
    if bad := int(np.sum(~np.isfinite(labels))):
        raise DeclarationError(f"{bad} of {len(labels)} {name} rows have no {spec.target!r}; filter them out.")
    if spec.objective == "binary:logistic" and not np.isin(labels, (0, 1)).all():
        raise DeclarationError(f"{spec.target!r} of the {name} rows is not all 0 and 1, as {spec.objective} needs.")
    return _Part(matrix_of(rows, features=spec.features, categories=categories), labels)


def _fit(
    parts: Mapping[str, _Part],
    spec: ModelSpec,
    *,
    categories: Mapping[str, tuple[str, ...]],
    threads: int | None,
) -> tuple[xgboost.Booster, int]:
    """The booster up to its best round, and that round."""
    import xgboost

    def quantized(part: _Part, reference: Any = None) -> Any:
        return xgboost.QuantileDMatrix(
            part.matrix,
            part.labels,
            ref=reference,
            max_bin=spec.parameters.get("max_bin"),
            feature_names=list(spec.features),
            feature_types=["c" if name in categories else "float" for name in spec.features],
            enable_categorical=True,
            nthread=threads,
        )

    learnt, stopping = quantized(parts["train"]), {}
    if spec.early_stopping_rounds is not None:
        tuned = quantized(parts["tune"], learnt)
        stopping = {"evals": [(tuned, "tune")], "early_stopping_rounds": spec.early_stopping_rounds}
    booster = xgboost.train(_parameters(spec, threads), learnt, spec.rounds, verbose_eval=False, **stopping)
    best = int(booster.best_iteration) if stopping else spec.rounds - 1
    # The slice also drops the booster's attributes, where early stopping leaves a score.
    return booster[: best + 1], best


def _parameters(spec: ModelSpec, threads: int | None) -> dict[str, Any]:
    own = {"objective": spec.objective, "seed": spec.seed, "tree_method": "hist", "device": _DEVICE[0]}
    return {**spec.parameters, **own, **({} if threads is None else {"nthread": threads})}


def _measured(booster: xgboost.Booster, part: _Part, spec: ModelSpec) -> dict[str, float]:
    if not len(part.labels):
        return {}
    return scores(spec.objective, part.labels, booster.inplace_predict(part.matrix, predict_type="margin"))
