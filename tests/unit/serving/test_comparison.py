"""A trained model beside its baselines, and the card that says what was found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from lineage.ports import Training
from lineage.spec import HashSplit, TimeSplit
from serving.bundle import load_bundle, write_bundle
from serving.card import CARD, Part, model_card, part_of
from serving.comparison import compare, describe_data, fit_baselines
from serving.rows import Rows
from serving.train import ModelSpec, Split, train

TIME = TimeSplit("at", "2013-09-01", "2013-11-01")
SPEC = ModelSpec(
    target="late",
    features=("hour", "carrier", "gust"),
    objective="binary:logistic",
    parameters={"max_depth": 3, "eta": 0.3},
    rounds=20,
    early_stopping_rounds=5,
)


def flights(rows: int, seed: int, months: tuple[str, ...], carriers: str = "ABC") -> pl.DataFrame:
    """Flights that are late by hour and carrier, in a way that no line describes; every other gust is unknown."""
    rng = np.random.default_rng(seed)
    hour, carrier = rng.integers(0, 24, rows), rng.integers(0, len(carriers), rows)
    chance = 1 / (1 + np.exp(3 * np.cos(hour / 3) + (carrier == 1)))
    return pl.DataFrame(
        {
            "hour": hour,
            "carrier": [carriers[code] for code in carrier],
            "gust": [None if place % 2 else 10.0 for place in range(rows)],
            "late": rng.random(rows) < chance,
            "delay": 30 * chance + rng.normal(0, 3, rows),
            "at": [f"{months[place % len(months)]}-15" for place in range(rows)],
        }
    ).with_columns(pl.col("at").str.to_date())


def split(test_rows: int = 600) -> Split:
    """Three parts by time; the test rows have a carrier that training did not see."""
    return Split(
        flights(2000, 1, ("2013-01", "2013-08")),
        flights(500, 2, ("2013-09",)),
        flights(600, 3, ("2013-11", "2013-12"), "ABX").head(test_rows),
        time="at",
    )


def judged(spec: ModelSpec = SPEC, parts: Split | None = None):
    """The trained model, its evaluation and what a card says of its data."""
    trained = train(parts or split(), spec)
    baselines = fit_baselines(trained)
    data = describe_data(trained, baselines.linear, "flights/features", TIME)
    return trained, compare(trained, baselines), data


def card(*given) -> str:
    trained, evaluation, data = given or judged()
    return model_card("flights-late", trained, evaluation, data).decode()


@pytest.mark.parametrize(
    ("objective", "scores"),
    [
        ("binary:logistic", ("auc", "logloss", "brier")),
        ("reg:absoluteerror", ("mae",)),
        ("reg:squarederror", ("rmse",)),
    ],
)
def test_answers_are_compared_on_the_same_rows(objective, scores):
    """Trees beat a line where there is none, and a line beats a constant; the scores are the trainer's own."""
    spec = replace(SPEC, objective=objective, target="late" if objective == "binary:logistic" else "delay")

    trained, evaluation, _ = judged(spec)

    found = evaluation.metrics()
    assert found["test"] == trained.metrics["test"]
    for score in scores:
        sign = -1 if score == "auc" else 1
        assert sign * found["test"][score] < sign * found["linear"][score] < sign * found["base"][score]


def test_baselines_do_not_depend_on_batches():
    """Kept in memory or read again in batches of another size, the rows give the same evaluation."""
    _, evaluation, _ = judged()
    again = train(split(), SPEC, batch_rows=97)

    assert evaluation == compare(again, fit_baselines(again))


def test_training_rows_are_not_read_for_what_training_knew(monkeypatch):
    """The constant is training's own, and what a card says of the data encodes no row."""
    trained = train(split(), SPEC, Training(1))
    monkeypatch.setattr(Rows, "labels", lambda _: pytest.fail("labels were read again"))
    baselines = fit_baselines(trained)
    monkeypatch.setattr(Rows, "batches", lambda _: pytest.fail("rows were encoded again"))

    data = describe_data(trained, baselines.linear, "flights/features", TIME)

    assert ("2013-01", "2013-08") == (data.parts["train"].first, data.parts["train"].last)
    assert baselines.base is trained.base


def test_data_are_described():
    """Parts have counts, months and mean target; features the share of training rows that lack them."""
    trained, _, data = judged()

    assert Part(2000, "2013-01", "2013-08", trained.base_rate) == data.parts["train"]
    assert (500, "2013-09", "2013-09") == (data.parts["tune"].rows, data.parts["tune"].first, data.parts["tune"].last)
    assert ("2013-11", "2013-12") == (data.parts["test"].first, data.parts["test"].last)
    assert {"hour": 0.0, "carrier": 0.0, "gust": 0.5} == pytest.approx(data.missing)


def test_a_part_without_rows_has_no_months():
    """An empty part is said to be empty."""
    assert Part(0) == part_of(np.empty(0, np.float32), np.empty(0, "<U7"))


def test_card_says_what_was_found():
    """Data, split, features, parameters, scores beside baselines, months, limits and replay are all there."""
    text = card()

    chapters = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert ["Data", "Features", "Training", "Scores", "Calibration", "By month", "Use and limits", "Replay"] == chapters
    for said in (
        "# flights-late\n",
        "| train | 2,000 | 2013-01 | 2013-08 |",
        "before 2013-09-01, stopped early on those before 2013-11-01",
        "| `carrier` | 3 categories | 0.0 % |",
        "| `gust` | number | 50.0 % |",
        "| `max_depth` | `3` |",
        "| logistic regression |",
        "| base rate | 0.5 |",
        "| 2013-12 | 300 |",
        "A category of `carrier` that training did not see counts as missing.",
        "Often missing in training: `gust` (50.0 %).",
        "    headwater replay PREDICTION_ID\n",
    ):
        assert said in text


def test_card_is_content_only():
    """Trained again, elsewhere and later, the card has the same bytes."""
    assert card() == card()


def test_best_scores_are_bold():
    """The eye finds the best answer of each score: here the model's AUC, log loss and Brier score."""
    (line,) = [line for line in card().splitlines() if line.startswith("| XGBoost |")]

    assert ["**"] * 3 == [cell.strip()[:2] for cell in line.split("|")[2:5]]


def test_card_names_what_is_not_better():
    """Where a simpler answer is better, or as good, the limits say which, with both numbers."""
    trained, evaluation, data = judged()
    scores = evaluation.tables["scores"]
    worse = replace(scores, rows=(("model", 0.6, 0.7, 0.2, 0.1), ("linear", 0.8, 0.7, 0.3, 0.2)))
    beaten = replace(evaluation, tables={**evaluation.tables, "scores": worse})

    text = card(trained, beaten, data)

    assert "On AUC, logistic regression is better: 0.8 against 0.6." in text
    assert "On log loss, logistic regression is as good: 0.7 against 0.7." in text
    assert "On Brier" not in text
    assert "On ECE" not in text
    own = card(trained, replace(beaten, tables=evaluation.tables), data).partition("On ECE")[0]
    assert not any(word in own for word in ("is as good", "is better"))


def test_card_names_the_worst_month():
    """The month with the largest loss is a limit, unless it has too few rows to tell."""
    trained, evaluation, data = judged()
    months = evaluation.tables["months"]
    first, second = (list(row) for row in months.rows)
    loss = months.columns.index("model_logloss")
    first[loss], second[loss] = 0.4, 0.9
    few = ["2014-01", 3, *second[2:]]
    few[loss] = 5.0
    changed = replace(months, rows=(tuple(first), tuple(second), tuple(few)))

    text = card(trained, replace(evaluation, tables={**evaluation.tables, "months": changed}), data)

    assert "Its worst test month is 2013-12, with a log loss of 0.9;" in text


def test_card_without_test_rows():
    """A model without test rows has a card that says that nothing was scored."""
    text = card(*judged(parts=split(test_rows=0)))

    assert "There are no test rows, so nothing was scored." in text
    assert "| test | 0 |" in text


def test_card_without_a_time():
    """Where rows know no time nothing is said of months: no chapter, no row without a name, no claim in the limits."""
    trained = train(replace(split(), time=None), SPEC)
    baselines = fit_baselines(trained)
    data = describe_data(trained, baselines.linear, "flights/features", HashSplit("id", 0.2, 0.2))

    text = card(trained, compare(trained, baselines), data)

    assert "It has seen 2,000 rows;" in text
    assert "## By month" not in text
    assert "by month" not in text
    assert "it was not scored by any group." in text


def test_card_is_part_of_the_bundle(tmp_path):
    """The manifest covers the card: a changed word is noticed when the bundle is loaded."""
    trained, evaluation, data = judged()
    text = model_card("flights-late", trained, evaluation, data)
    write_bundle(tmp_path / "bundle", trained, name="flights-late", dataset={"table": "x"}, extra={CARD: text})

    bundle = load_bundle(tmp_path / "bundle")

    assert text == bundle.read(CARD)
