"""The scores by which models are judged."""

from __future__ import annotations

import math

import numpy as np
import pytest

from serving.scores import auc, ece, losses, scores


@pytest.mark.parametrize(
    ("labels", "margins", "expected"),
    [
        ([0, 1], [0.1, 0.2], 1.0),
        ([1, 0], [0.1, 0.2], 0.0),
        ([0, 1, 0, 1], [5, 5, 5, 5], 0.5),
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.75),
        ([0, 1, 1, 0, 1], [1, 1, 2, 2, 3], 4 / 6),
    ],
)
def test_auc_counts_a_tie_as_half(labels, margins, expected):
    """AUC is the share of (positive, negative) pairs in the right order."""
    assert expected == auc(np.float32(labels), np.float32(margins))


def test_metrics_of_a_classifier_by_hand():
    """Log loss and Brier score of two rows at p = 1/2 and p = 3/4."""
    margins = np.float32([0, math.log(3)])

    found = scores("binary:logistic", np.float32([0, 1]), margins)

    assert -(math.log(1 / 2) + math.log(3 / 4)) / 2 == pytest.approx(found["logloss"], rel=1e-5)
    assert pytest.approx(found["brier"], rel=1e-5) == (1 / 4 + 1 / 16) / 2
    assert found["auc"] == 1.0


def test_log_loss_stays_finite_where_the_probability_is_one():
    """A margin of 1000 on the wrong side costs 1000, not infinity."""
    assert scores("binary:logistic", np.float32([0]), np.float32([1000]))["logloss"] == 1000.0


def test_there_is_no_auc_of_a_single_class():
    """An undefined number is left out, not invented."""
    assert {"logloss", "brier", "ece"} == set(scores("binary:logistic", np.float32([1, 1]), np.float32([0, 1])))


def test_metrics_of_a_regression_by_hand():
    """Errors of 3 and -4: mean absolute 3.5, root of the mean square sqrt(12.5)."""
    found = scores("reg:squarederror", np.float32([1, 2]), np.float32([4, -2]))

    assert {"mae": 3.5, "rmse": float(f"{math.sqrt(12.5):.6g}")} == found


@pytest.mark.parametrize(
    ("objective", "score"), [("binary:logistic", "logloss"), ("reg:absoluteerror", "mae"), ("reg:squarederror", "mae")]
)
def test_losses_are_of_each_row_and_their_mean_is_the_score(objective, score):
    """What the gate weighs row by row is what the metrics say on average, in six digits."""
    rng = np.random.default_rng(3)
    labels, margins = np.float32(rng.integers(0, 2, 500)), np.float32(rng.normal(size=500))

    found = losses(objective, labels, margins)

    assert (found.dtype, found.shape) == (np.float64, (500,))
    assert scores(objective, labels, margins)[score] == float(f"{found.mean():.6g}")


def test_numbers_have_six_digits_whatever_their_size():
    """A score of a target in millions is as short as that of one in thousandths."""
    labels = np.random.default_rng(4).normal(size=100)

    for size in (1e-4, 1.0, 1e7):
        found = scores("reg:squarederror", np.float32(labels * size), np.zeros(100, np.float32))
        assert [float(f"{value:.6g}") for value in found.values()] == list(found.values())


def test_calibration_error_by_hand():
    """Half of the rows at 0.5 that come true always, half at 0.75 that come true every other time: 0.375."""
    labels = np.float32([1, 1, 1, 1, 0, 1, 0, 1])
    margins = np.float32([0] * 4 + [np.log(3)] * 4)

    assert ece(labels, margins) == pytest.approx((0.5 + 0.25) / 2, abs=1e-7)
