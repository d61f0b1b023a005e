"""How well margins answer labels: the scores of a model, and of whatever it is compared with."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.engines.engine import probability

LOGISTIC = "binary:logistic"
BINS = 10
# Of a number on record: what differs beyond is the CPU's exp and log, not the model.
_DIGITS = 6


def losses(objective: str, labels: NDArray[Any], margins: NDArray[Any]) -> NDArray[np.float64]:
    """What each of `margins` (n,) costs by its label (n,): the log loss, or of a regression the absolute error."""
    truth, answer = labels.astype(np.float64), margins.astype(np.float64)
    if objective != LOGISTIC:
        return np.abs(answer - truth)
    # -log p = log(1 + exp(m)) - y m: exact in the margin where the probability has rounded to 0 or 1.
    found: NDArray[np.float64] = np.logaddexp(0.0, answer) - truth * answer
    return found


def loss_name(objective: str) -> str:
    """The score that is the mean of the losses, which decides between two models."""
    return "logloss" if objective == LOGISTIC else "mae"


def scores(objective: str, labels: NDArray[np.float32], margins: NDArray[np.float32]) -> dict[str, float]:
    """How well float32 `margins` of shape (n,) answer `labels`, in six significant digits.

    auc, logloss, brier and ece for binary:logistic (no auc where there is only one class), mae and rmse for
    regression, whose margin is the answer itself. There must be rows.
    """
    found = {loss_name(objective): mean(losses(objective, labels, margins))}
    truth, answer = labels.astype(np.float64), predicted(objective, margins)
    if objective != LOGISTIC:
        found["rmse"] = math.sqrt(mean((answer - truth) ** 2))
    else:
        found |= {"brier": mean((answer - truth) ** 2), "ece": ece(labels, margins)}
        if 0 < truth.sum() < len(truth):
            found["auc"] = auc(labels, margins)
    return dict(zip(found, short(found.values()), strict=True))


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


def ece(labels: NDArray[np.float32], margins: NDArray[np.float32]) -> float:
    """Expected calibration error of log-odds: |mean probability - share of positives|, averaged over rows.

    Over ten groups of equal count (Naeini, Cooper and Hauskrecht 2015; equal counts: Nixon et al. 2019).
    """
    apart = np.bincount(groups(margins), predicted(LOGISTIC, margins) - labels)
    return float(np.abs(apart).sum() / len(labels))


def groups(margins: NDArray[np.float32]) -> NDArray[np.intp]:
    """The group of each margin: tenths of the rows by margin, equal margins together, numbered without gaps."""
    cuts = [-(-len(margins) * tenth // BINS) - 1 for tenth in range(1, BINS)]
    edges = np.sort(margins)[cuts] if len(margins) else margins
    return np.unique(np.searchsorted(edges, margins), return_inverse=True)[1]


def predicted(objective: str, margins: NDArray[np.float32]) -> NDArray[np.float64]:
    """What margins say, in the target's own unit."""
    return (probability(margins) if objective == LOGISTIC else margins).astype(np.float64)


def mean(values: NDArray[Any]) -> float:
    """The mean, summed exactly, whatever the order of the values."""
    return math.fsum(values) / len(values)


def short(values: Iterable[float]) -> list[float]:
    """Numbers as they go on record: six significant digits."""
    # Adding 0 makes -0 a plain 0.
    return [float(f"{value:.{_DIGITS}g}") + 0.0 for value in values]
