"""A trained model beside what it must beat: the baselines learnt from its training rows, and its test rows judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lineage.spec import HashSplit, TimeSplit
from serving.baseline import Constant, Labels, Linear, Matrix, fit_linear
from serving.card import Data, Part, part_of
from serving.evaluate import Evaluation, evaluate, importance

if TYPE_CHECKING:
    from serving.train import Trained


@dataclass(frozen=True)
class Baselines:
    """What a model must beat: a linear model and a constant of the same rows, features and objective."""

    linear: Linear
    base: Constant


def fit_baselines(trained: Trained) -> Baselines:
    """The baselines of the rows that `trained` learnt from, read about six times, in its batches."""
    rows = trained.parts["train"]

    def batches() -> Iterator[tuple[Matrix, Labels]]:
        return ((batch.matrix, batch.labels) for batch in rows.batches())

    sizes = {trained.spec.features.index(name): len(found) for name, found in trained.categories.items()}
    return Baselines(fit_linear(trained.spec.objective, batches, sizes), trained.base)


def compare(trained: Trained, baselines: Baselines) -> Evaluation:
    """The model and its baselines on the test rows; all tables but the importance are empty where there are none."""
    test = trained.scored["test"]
    answers = {name: np.empty(len(test.labels), np.float32) for name in vars(baselines)}
    start = 0
    for batch in trained.parts["test"].batches():
        for name, baseline in vars(baselines).items():
            answers[name][start : start + len(batch.labels)] = baseline.margins(batch.matrix)
        start += len(batch.labels)
    gained = importance(trained.booster, trained.spec.features)
    return evaluate(trained.spec.objective, test.labels, {"model": test.margins, **answers}, test.periods, gained)


def describe_data(trained: Trained, linear: Linear, table: str, split: TimeSplit | HashSplit) -> Data:
    """What a card says of the rows of `table` that the model was trained and scored on."""
    first, last = trained.parts["train"].span()
    parts = {"train": Part(trained.rows["train"], first, last, trained.base_rate)}
    parts |= {name: part_of(found.labels, found.periods) for name, found in trained.scored.items()}
    return Data(table, split, parts, dict(zip(trained.spec.features, linear.missing.tolist(), strict=True)))
