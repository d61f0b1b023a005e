"""Evaluation: tables that say what they claim, the same bytes for the same answers."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
import xgboost
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from lineage.plots import plots_of
from lineage.spec import Model, Step, TimeSplit
from serving.evaluate import calibration, errors, evaluate, gain, importance
from serving.scores import auc

OBJECTIVES = ("binary:logistic", "reg:absoluteerror", "reg:squarederror")


def answers(rows: int = 2000, seed: int = 0):
    """Labels that follow the model's margins, three answers and the month of each row."""
    rng = np.random.default_rng(seed)
    margins = rng.normal(-1, 1.5, rows).astype(np.float32)
    labels = (rng.random(rows) < 1 / (1 + np.exp(-margins))).astype(np.float32)
    noisy = (margins + rng.normal(0, 2, rows)).astype(np.float32)
    periods = np.array([f"2013-{11 + number % 2}" for number in range(rows)])
    return labels, {"model": margins, "linear": noisy, "base": np.full(rows, -1, np.float32)}, periods


def read(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


def test_scores_are_the_textbooks():
    """Each answer's AUC, log loss and Brier score are scikit-learn's, to six digits."""
    labels, given, periods = answers()

    found = evaluate("binary:logistic", labels, given, periods).metrics()

    assert ["test", "linear", "base"] == list(found)
    for name, margins in zip(found, given.values(), strict=True):
        chances = 1 / (1 + np.exp(-margins.astype(np.float64)))
        assert found[name]["auc"] == pytest.approx(roc_auc_score(labels, margins), rel=1e-5)
        assert found[name]["logloss"] == pytest.approx(log_loss(labels, chances), rel=1e-5)
        assert found[name]["brier"] == pytest.approx(brier_score_loss(labels, chances), rel=1e-5)


def test_numbers_have_six_digits():
    """What the CPU's exp and log differ by does not reach a file, however large or small the target."""
    labels, given, periods = answers()
    large = {name: margins * np.float32(1e7) for name, margins in given.items()}

    tables = evaluate("reg:squarederror", labels * np.float32(1e7), large, periods).tables

    numbers = [value for table in tables.values() for row in table.rows for value in row if isinstance(value, float)]
    assert len(numbers) > 300
    assert [float(f"{value:.6g}") for value in numbers] == numbers


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_files_are_those_that_dvc_is_told_of(objective):
    """Every plot in dvc.yaml has its file, every file its plot, and the columns drawn are there."""
    labels, given, periods = answers()
    split = TimeSplit("at", "2020-01-15", "2020-02-01")
    model = Model("features", "late", ("id",), split, objective, "serving.fit:fit")
    step = Step("shop", "late", "model", parameters={}, description="", detail=model)

    files = evaluate(objective, labels, given, periods).plots()

    declared = plots_of(step)
    assert {f"{plot.name}.csv" for plot in declared} == set(files)
    for plot in declared:
        drawn = {plot.x, *([plot.y] if isinstance(plot.y, str) else plot.y)}
        assert drawn <= set(files[f"{plot.name}.csv"].decode().partition("\n")[0].split(","))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_rows_leave_headers(objective):
    """Where there are no test rows nothing is scored; the files are there, for DVC expects them."""
    empty = np.empty(0, np.float32)

    found = evaluate(objective, empty, {"model": empty, "base": empty}, np.empty(0, "<U7"))

    assert {} == found.metrics()
    assert all(data.count(b"\n") == 1 and data.endswith(b"\n") for data in found.plots().values())


def test_groups_of_like_predictions_by_hand():
    """Twenty rows make ten pairs; each is the mean of what was predicted and of what came."""
    labels = np.float32([0, 1] * 10)

    table = calibration("reg:squarederror", labels, np.arange(20, dtype=np.float32)[::-1].copy())

    assert ("bin", "rows", "predicted", "observed") == table.columns
    assert tuple((number + 1, 2, 2 * number + 0.5, 0.5) for number in range(10)) == table.rows


def test_equal_predictions_stay_together():
    """A tie is not cut in two by the order of the rows: a constant answer is one group."""
    labels = np.float32([0, 1, 1, 0, 1])

    table = calibration("reg:squarederror", labels, np.float32([7, 7, 7, 7, 7]))

    assert ((1, 5, 7.0, 0.6),) == table.rows


def test_gain_by_hand():
    """A perfect order has all positives first, a constant finds them as they come."""
    labels = np.float32([0, 1, 0, 0])
    table = gain(labels, {"model": np.float32([0, 5, 1, 2]), "base": np.zeros(4, np.float32)})

    rows = {row["share"]: row for row in table.records()}

    assert len(rows) == 101
    assert (rows[0.25]["model"], rows[0.25]["base"]) == (1.0, 0.25)
    assert (rows[0.1]["model"], rows[1.0]["model"], rows[1.0]["base"]) == (0.4, 1.0, 1.0)


def test_area_under_gain_is_auc():
    """The area under the curve of gain, and the AUC, are two ways to say the same."""
    labels, given, _ = answers()
    curve = gain(labels, given)
    rate = float(labels.mean())

    area = np.trapezoid(curve.column("linear"), curve.column("share"))

    assert (area - rate / 2) / (1 - rate) == pytest.approx(auc(labels, given["linear"]), abs=2e-4)


def test_errors_by_hand():
    """Half of the rows are off by no more than the middle error."""
    table = errors(np.float32([0, 0, 0, 0]), {"model": np.float32([1, -2, 3, -4])})

    rows = {row["share"]: row["model"] for row in table.records()}

    assert (rows[0.25], rows[0.26], rows[0.5], rows[0.99]) == (1.0, 2.0, 2.0, 4.0)


def test_months_are_scored_on_their_own():
    """A month's count, means and scores are those of its rows alone, in the order of time."""
    labels, given, periods = answers()
    chosen = periods == "2013-12"

    first, second = evaluate("binary:logistic", labels, given, periods).tables["months"].records()

    alone = evaluate("binary:logistic", labels[chosen], {n: m[chosen] for n, m in given.items()}, periods[chosen])
    assert ("2013-11", "2013-12") == (first["month"], second["month"])
    assert (second["rows"], second["observed"]) == (1000, pytest.approx(labels[chosen].mean(), rel=1e-5))
    for answer, name in (("model", "test"), ("linear", "linear")):
        for score, value in alone.metrics()[name].items():
            assert second[f"{answer}_{score}"] == value


def test_a_month_of_one_class_has_no_auc():
    """An undefined number is an empty cell, not an invented one."""
    labels, given, _ = answers(10)
    months = np.array(["2013-11"] * 9 + ["2013-12"])

    rows = read(evaluate("binary:logistic", labels, given, months).plots()["months.csv"])

    assert "" == rows[1]["model_auc"]
    assert float(rows[1]["model_logloss"]) > 0


def test_rows_without_a_month_are_in_none():
    """Where no time is known there is no month to score, and nothing without a name to draw."""
    labels, given, _ = answers(100)

    found = evaluate("binary:logistic", labels, given, np.full(100, ""))

    assert () == found.tables["months"].rows
    assert found.plots()["months.csv"].startswith(b"month,rows,")
    assert 100 == sum(found.tables["calibration"].column("rows"))


def test_importance_is_the_boosters():
    """Shares of XGBoost's total gain add up to one, the largest first; an unused feature has none."""
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(500, 3))
    names = ["weak", "strong", "constant"]
    matrix[:, 2] = 1
    rows = xgboost.DMatrix(matrix, matrix[:, 1] + 0.3 * matrix[:, 0], feature_names=names)
    booster = xgboost.train({"max_depth": 3}, rows, 5)

    table = importance(booster, names)

    total = booster.get_score(importance_type="total_gain")
    assert ["strong", "weak", "constant"] == table.column("feature")
    assert table.column("share")[0] == pytest.approx(total["strong"] / sum(total.values()), rel=1e-5)
    assert sum(table.column("share")) == pytest.approx(1, abs=1e-5)
    assert (0.0, 0.0, 0) == table.rows[2][1:]
