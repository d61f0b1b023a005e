"""The model card of a bundle: what it predicts, from what, how well beside simpler answers, and where it ends.

Generated, so that it cannot say what was not measured; content only, so that equal training writes equal
bytes. Its parts are those of Mitchell et al., Model Cards for Model Reporting (2019).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lineage.spec import HashSplit, TimeSplit
from serving.evaluate import Evaluation
from serving.scores import loss_name

if TYPE_CHECKING:
    from serving.train import Trained

CARD = "card.md"

_ANSWERS = {
    "binary:logistic": {"model": "XGBoost", "linear": "logistic regression", "base": "base rate"},
    "reg:absoluteerror": {"model": "XGBoost", "linear": "least squares", "base": "median"},
    "reg:squarederror": {"model": "XGBoost", "linear": "least squares", "base": "mean"},
}
_SCORES = {"auc": "AUC", "logloss": "log loss", "brier": "Brier", "ece": "ECE", "mae": "MAE", "rmse": "RMSE"}
# A feature with a larger share of gaps is named among the limits.
_OFTEN_MISSING = 0.25
# A month with so many times fewer rows than the average month is not called the worst.
_FEW = 10


@dataclass(frozen=True)
class Part:
    """Some of the rows: how many, their first and last month where known, and their mean target."""

    rows: int
    first: str | None = None
    last: str | None = None
    mean: float | None = None


@dataclass(frozen=True)
class Data:
    """What a model was made from: the table, the cut, its parts by name, and each feature's missing share."""

    table: str
    split: TimeSplit | HashSplit
    parts: Mapping[str, Part]
    missing: Mapping[str, float]


def part_of(labels: NDArray[np.float32], periods: Sequence[str] | NDArray[Any]) -> Part:
    """The part that has these float32 targets (n,) in these months (n,)."""
    if not len(labels):
        return Part(0)
    return Part(len(labels), str(min(periods)), str(max(periods)), float(np.mean(labels, dtype=np.float64)))


def model_card(name: str, trained: Trained, evaluation: Evaluation, data: Data) -> bytes:
    """The card of the model called `name`, as Markdown in UTF-8; a function of the bundle's content alone."""
    chapters = {
        "": _head(name, trained),
        "Data": _data(trained, data),
        "Features": _features(trained, evaluation, data),
        "Training": _training(trained),
        "Scores": _scores(evaluation, data),
        "Calibration": _calibration(evaluation),
        "By month": _months(evaluation, data),
        "Use and limits": (f"* {line}" for line in _limits(trained, evaluation, data)),
        "Replay": _replay(name),
    }
    written = {title: told for title, lines in chapters.items() if (told := list(lines))}
    texts = ["\n".join([*([f"## {title}", ""] if title else []), *lines]) for title, lines in written.items()]
    return ("\n\n".join(texts) + "\n").encode()


def answer_name(objective: str, answer: str) -> str:
    """What people call an answer: `linear` of binary:logistic is logistic regression."""
    return _ANSWERS.get(objective, {}).get(answer, answer)


def score_table(evaluation: Evaluation) -> list[str]:
    """The comparison as lines of a Markdown table, the best of each score in bold; none where nothing was scored."""
    table = evaluation.tables["scores"]
    if not table.rows:
        return []
    best = {name: _best(name, table.column(name)) for name in table.columns[1:]}
    rows = (
        [
            answer_name(evaluation.objective, record["answer"]),
            *(
                f"**{_number(record[name])}**" if record[name] == best[name] else _number(record[name])
                for name in table.columns[1:]
            ),
        ]
        for record in table.records()
    )
    return list(_table(["", *(_SCORES[name] for name in table.columns[1:])], rows))


def _head(name: str, trained: Trained) -> list[str]:
    what = {
        "binary:logistic": "the probability that `{}` is true",
        "reg:absoluteerror": "the median of `{}`",
        "reg:squarederror": "the mean of `{}`",
    }[trained.spec.objective].format(trained.spec.target)
    trees = trained.best_iteration + 1
    return [
        f"# {name}",
        "",
        f"Predicts {what}, from {len(trained.spec.features)} features, by {trees} rounds of boosted trees (XGBoost, "
        f"`{trained.spec.objective}`).",
    ]


def _data(trained: Trained, data: Data) -> Iterator[str]:
    split, parts = data.split, data.parts
    yield (f"Rows of `{data.table}` whose `{trained.spec.target}` is known, cut by `{split.column}`: {split.rule}.")
    yield ""
    rate = "rate" if trained.spec.objective == "binary:logistic" else "mean"
    rows = (
        [name, f"{part.rows:,}", part.first or "", part.last or "", _number(part.mean)] for name, part in parts.items()
    )
    yield from _table(["part", "rows", "first month", "last month", f"{rate} of `{trained.spec.target}`"], rows)


def _features(trained: Trained, evaluation: Evaluation, data: Data) -> Iterator[str]:
    yield "By their share of the gain, which is by how much splits on them lowered the training loss."
    yield ""
    shares = {record["feature"]: record["share"] for record in evaluation.tables["importance"].records()}
    ranked = [*shares, *(name for name in trained.spec.features if name not in shares)]
    rows = (
        [
            f"`{name}`",
            f"{len(trained.categories[name])} categories" if name in trained.categories else "number",
            _percent(data.missing.get(name)),
            _percent(shares.get(name)),
        ]
        for name in ranked
    )
    yield from _table(["feature", "type", "missing in training", "gain"], rows)


def _training(trained: Trained) -> Iterable[str]:
    spec = trained.spec
    stopped = "" if spec.early_stopping_rounds is None else f", early stopping after {spec.early_stopping_rounds}"
    own = [[f"`{name}`", f"`{value}`"] for name, value in sorted(spec.parameters.items())]
    values = [
        ["rounds", f"{spec.rounds} at most{stopped}; {trained.best_iteration + 1} kept"],
        ["seed", str(spec.seed)],
    ]
    return _table(["parameter", "value"], [*values, *own])


def _scores(evaluation: Evaluation, data: Data) -> Iterator[str]:
    lines = score_table(evaluation)
    if not lines:
        yield "There are no test rows, so nothing was scored."
        return
    yield f"On {data.parts['test'].rows:,} test rows, beside simpler answers that saw the same training rows."
    yield ""
    yield from lines
    tenth = [record for record in _records(evaluation, "gain") if record["share"] == 0.1]
    for record in tenth:
        yield ""
        yield (
            f"The tenth of the rows with the highest predictions holds {_percent(record['model'])} of the positives, "
            f"{_number(record['model'] / 0.1)} times its share."
        )


def _calibration(evaluation: Evaluation) -> Iterator[str]:
    yield "Test rows in groups of like predictions: what was predicted on average, and what came on average."
    if evaluation.objective == "reg:absoluteerror":
        yield "A median is predicted: where the target is skewed, its mean lies on the side of the longer tail."
    yield ""
    rows = (
        [f"{record['rows']:,}", _number(record["predicted"]), _number(record["observed"])]
        for record in _records(evaluation, "calibration")
    )
    yield from _table(["rows", "predicted", "observed"], rows)


def _months(evaluation: Evaluation, data: Data) -> Iterator[str]:
    """Nothing where no month is known."""
    if not _records(evaluation, "months"):
        return
    zone = f" ({data.split.zone})" if isinstance(data.split, TimeSplit) else ""
    yield f"Test rows by month{zone}, the model's scores."
    yield ""
    names = [name for name in evaluation.tables["scores"].columns if name != "answer"]
    rows = (
        [
            record["month"],
            f"{record['rows']:,}",
            _number(record["observed"]),
            _number(record["predicted"]),
            *(_number(record[f"model_{name}"]) for name in names),
        ]
        for record in _records(evaluation, "months")
    )
    yield from _table(["month", "rows", "observed", "predicted", *(_SCORES[name] for name in names)], rows)


def _limits(trained: Trained, evaluation: Evaluation, data: Data) -> Iterator[str]:
    yield f"Meant for rows like those of `{data.table}`, at the moment at which its features are known."
    train = data.parts["train"]
    span = f" from {train.first} to {train.last}" if train.first else ""
    yield f"It has seen {train.rows:,} rows{span}; what other seasons or years bring, it extrapolates."
    yield from _weak_scores(evaluation)
    yield from _weak_months(evaluation)
    if trained.categories:
        names = ", ".join(f"`{name}`" for name in trained.categories)
        yield f"A category of {names} that training did not see counts as missing."
    if gaps := [name for name, share in data.missing.items() if share > _OFTEN_MISSING]:
        yield f"Often missing in training: {', '.join(f'`{name}` ({_percent(data.missing[name])})' for name in gaps)}."
    scored = "scored by month and by no other group" if _records(evaluation, "months") else "not scored by any group"
    yield f"Its answers are associations in past rows, not effects; it was {scored}."


def _weak_scores(evaluation: Evaluation) -> Iterator[str]:
    """Scores in which a simpler answer is as good, or better."""
    table = evaluation.tables["scores"]
    for name in table.columns[1:]:
        values = dict(zip(table.column("answer"), table.column(name), strict=True))
        own = values.pop("model", None)
        for answer, value in values.items():
            if own is not None and value is not None and _best(name, [own, value]) == value:
                called = answer_name(evaluation.objective, answer)
                same = ", the same answer for every row," if answer == "base" else ""
                verdict = "as good" if value == own else "better"
                yield f"On {_SCORES[name]}, {called}{same} is {verdict}: {_number(value)} against {_number(own)}."


def _weak_months(evaluation: Evaluation) -> Iterator[str]:
    """The month with the worst scores, of those that have rows enough to tell."""
    months = _records(evaluation, "months")
    enough = sum(record["rows"] for record in months) / (_FEW * max(len(months), 1))
    months = [record for record in months if record["rows"] >= enough]
    if len(months) < 2:
        return
    name = loss_name(evaluation.objective)
    worst = max(months, key=lambda record: record[f"model_{name}"])
    yield (
        f"Its worst test month is {worst['month']}, with a {_SCORES[name]} of {_number(worst[f'model_{name}'])}; there "
        f"it predicts {_number(worst['predicted'])} on average, where {_number(worst['observed'])} came."
    )


def _replay(name: str) -> list[str]:
    return [
        "Every prediction keeps its feature row and the bits of its margin; the same bundle gives the same bits.",
        "",
        f"    headwater predict {name} --key KEY",
        "    headwater trace PREDICTION_ID",
        "    headwater replay PREDICTION_ID",
    ]


def _records(evaluation: Evaluation, table: str) -> list[dict[str, Any]]:
    return evaluation.tables[table].records() if table in evaluation.tables else []


def _best(name: str, values: Iterable[float | None]) -> float | None:
    """The best of some values of a score: the largest AUC, the smallest of any other."""
    known = [value for value in values if value is not None]
    return (max if name == "auc" else min)(known, default=None)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
