"""How well margins answer labels: the scores of a model, and of whatever it is compared with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.engines.engine import probability

_DECIMALS = 9  # of a score: what differs beyond is the CPU's exp and log, not the model


def scores(objective: str, labels: NDArray[np.float32], margins: NDArray[np.float32]) -> dict[str, float]:
    """How well float32 `margins` of shape (n,) answer `labels`, rounded to nine decimals.

    auc, logloss and brier for binary:logistic (no auc where there is only one class), mae and rmse for
    regression, whose margin is the answer itself.
    """
    truth, answer = labels.astype(np.float64), margins.astype(np.float64)
    if objective != "binary:logistic":
        error = answer - truth
        found = {"mae": mean(np.abs(error)), "rmse": math.sqrt(mean(error**2))}
    else:
        # -log p = log(1 + exp(m)) - y m: exact in the margin where the probability has rounded to 0 or 1.
        found = {
            "logloss": mean(np.logaddexp(0.0, answer) - truth * answer),
            "brier": mean((probability(margins).astype(np.float64) - truth) ** 2),
        }
        if 0 < truth.sum() < len(truth):
            found["auc"] = auc(labels, margins)
    return {name: round(value, _DECIMALS) for name, value in found.items()}


def auc(labels: NDArray[np.float32], scores: NDArray[np.float32]) -> float:
    """The chance that a positive scores above a negative, a tie counting half; both must occur.

    Mann and Whitney's U over the number of pairs, counted in integers.
    """
    _, place = np.unique(scores, return_inverse=True)
    positives = np.bincount(place, weights=labels == 1).astype(np.int64)
    negatives = np.bincount(place, weights=labels != 1).astype(np.int64)
    below = np.cumsum(negatives) - negatives
    wins_twice = int(np.sum(positives * (2 * below + negatives)))
    return wins_twice / (2 * int(positives.sum()) * int(negatives.sum()))


def mean(values: NDArray[Any]) -> float:
    """The mean, summed exactly, whatever the order of the values."""
    return math.fsum(values) / len(values)
