"""How good a model is, beside what it must beat: tables of scores, calibration, gain, months and features.

Numbers keep six significant digits: the rest is the CPU's exp and log, and DVC compares bytes.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serving.scores import LOGISTIC, groups, losses, predicted, scores, short

if TYPE_CHECKING:
    import xgboost

_PERCENT = np.arange(101)
_REGRESSION = "reg:absoluteerror"
_TEST = {"model": "test"}  # metrics speak of the model by the part of the rows it was scored on

Answers = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Table:
    """Rows of text, numbers and, where a score is undefined, None."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def records(self) -> list[dict[str, Any]]:
        """Each row as column -> value."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def column(self, name: str) -> list[Any]:
        """The values of one column."""
        return [row[self.columns.index(name)] for row in self.rows]

    def csv(self) -> bytes:
        """The table as CSV with a header, UTF-8, lines ending in a newline; None is empty."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return stream.getvalue().encode()


@dataclass(frozen=True)
class Evaluation:
    """The tables of an evaluation, by name; the answers compared are in the order they were given.

    `scores`: a row for each answer. `calibration`: rows of like predictions, by ascending prediction. `gain`
    (binary:logistic): the share of the positives among the rows with the highest margins, or `errors`
    (regressions): the absolute error that a share of rows stays within. `months`: scores by month, with count
    and mean target. `importance`: a row for each feature.
    """

    objective: str
    tables: Mapping[str, Table]

    def metrics(self) -> dict[str, dict[str, float]]:
        """Score -> value of the model under `test`, of the others under their names, without what is undefined."""
        found = {record.pop("answer"): record for record in self.tables["scores"].records()}
        return {
            _TEST.get(answer, answer): {name: value for name, value in record.items() if value is not None}
            for answer, record in found.items()
        }

    def plots(self) -> dict[str, bytes]:
        """File name -> CSV of each table, the same names for every model of an objective."""
        return {f"{name}.csv": table.csv() for name, table in self.tables.items()}


def evaluate(
    objective: str,
    labels: NDArray[np.float32],
    answers: Answers,
    periods: Sequence[str] | NDArray[Any],
    importance: Table | None = None,
) -> Evaluation:
    """Judge `answers` (name -> float32 margins of shape (n,), the model's first) by float32 `labels` (n,).

    `periods` is the month of each row, such as 2013-11, or "" where it is not known: such rows are in no month.
    There may be no rows: the tables are empty then.
    """
    model = next(iter(answers.values()))
    curve = ("gain", gain(labels, answers)) if objective == LOGISTIC else ("errors", errors(labels, answers))
    return Evaluation(
        objective,
        {
            "scores": _scores(objective, labels, answers),
            "calibration": calibration(objective, labels, model),
            curve[0]: curve[1],
            "months": _months(objective, labels, answers, np.asarray(periods)),
            "importance": importance or Table(_IMPORTANCE, ()),
        },
    )


def calibration(objective: str, labels: NDArray[np.float32], margins: NDArray[np.float32]) -> Table:
    """Mean prediction and mean target of ten groups of like predictions: columns bin, rows, predicted, observed.

    Groups are of equal count as far as ties allow, so that each mean rests on as many rows as the next.
    """
    place = groups(margins)
    counts = np.bincount(place)
    expected = np.bincount(place, predicted(objective, margins)) / counts
    observed = np.bincount(place, labels.astype(np.float64)) / counts
    rows = zip(range(1, len(counts) + 1), counts.tolist(), short(expected), short(observed), strict=True)
    return Table(("bin", "rows", "predicted", "observed"), tuple(rows))


def gain(labels: NDArray[np.float32], answers: Answers) -> Table:
    """For each percent of the rows, highest margins first, the share of all positives that is among them.

    Columns share, then one by answer. Rows with the same margin come in any order: the expected share counts.
    Empty where there is no positive.
    """
    shares = _PERCENT / 100
    known = labels.sum() > 0
    found = [np.interp(shares, *_cumulated(labels, margins)) for margins in answers.values()] if known else []
    return Table(("share", *answers), tuple(zip(short(shares), *map(short, found), strict=True)) if known else ())


def errors(labels: NDArray[np.float32], answers: Answers) -> Table:
    """For each percent of the rows up to 99, the absolute error that they stay within.

    Columns share, then one by answer. The regression error characteristic of Bi and Bennett (2003), its axes
    exchanged.
    """
    percent = _PERCENT[1:-1]
    if not len(labels):
        return Table(("share", *answers), ())
    places = -(-len(labels) * percent // 100) - 1
    found = [np.sort(losses(_REGRESSION, labels, margins))[places] for margins in answers.values()]
    return Table(("share", *answers), tuple(zip(short(percent / 100), *map(short, found), strict=True)))


_IMPORTANCE = ("feature", "share", "gain", "splits")


def importance(booster: xgboost.Booster, features: Sequence[str]) -> Table:
    """What each feature gave the booster: its share of all gain, mean gain of a split, number of splits.

    XGBoost's own gain: by how much splits on the feature lowered the training loss. The largest share first.
    """
    total, mean, splits = (booster.get_score(importance_type=kind) for kind in ("total_gain", "gain", "weight"))
    whole = math.fsum(total.values()) or 1.0
    ranked = sorted(features, key=lambda feature: (-total.get(feature, 0.0), feature))
    shares = short([total.get(feature, 0.0) / whole for feature in ranked])
    means = short([mean.get(feature, 0.0) for feature in ranked])
    counts = [int(splits.get(feature, 0)) for feature in ranked]
    return Table(_IMPORTANCE, tuple(zip(ranked, shares, means, counts, strict=True)))


def _names(objective: str) -> tuple[str, ...]:
    return ("auc", "logloss", "brier", "ece") if objective == LOGISTIC else ("mae", "rmse")


def _scored(objective: str, labels: NDArray[np.float32], margins: NDArray[np.float32]) -> list[float | None]:
    found = scores(objective, labels, margins)
    # A score that is undefined (the AUC of a single class) is no number.
    return [found.get(name) for name in _names(objective)]


def _scores(objective: str, labels: NDArray[np.float32], answers: Answers) -> Table:
    rows = ((name, *_scored(objective, labels, margins)) for name, margins in answers.items())
    return Table(("answer", *_names(objective)), tuple(rows) if len(labels) else ())


def _months(objective: str, labels: NDArray[np.float32], answers: Answers, periods: NDArray[Any]) -> Table:
    months, place = np.unique(periods, return_inverse=True)
    columns = ("month", "rows", "observed", "predicted")
    scored = [f"{answer}_{name}" for answer in answers for name in _names(objective)]
    rows = (
        (str(month), *_month(objective, labels, answers, place == number))
        for number, month in enumerate(months)
        if month
    )
    return Table((*columns, *scored), tuple(rows))


def _month(objective: str, labels: NDArray[np.float32], answers: Answers, chosen: NDArray[np.bool_]) -> list[Any]:
    own = labels[chosen]
    model = predicted(objective, next(iter(answers.values()))[chosen])
    means = short([own.astype(np.float64).sum() / len(own), model.sum() / len(own)])
    found = [_scored(objective, own, margins[chosen]) for margins in answers.values()]
    return [len(own), *means, *(value for values in found for value in values)]


def _cumulated(
    labels: NDArray[np.float32], margins: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The share of rows, and of positives, down to each distinct margin from the highest."""
    distinct, place = np.unique(margins, return_inverse=True)
    rows = np.bincount(place, minlength=len(distinct))[::-1].cumsum()
    positives = np.bincount(place, labels)[::-1].cumsum()
    return np.append(0, rows) / rows[-1], np.append(0, positives) / positives[-1]
