"""What the gate weighs: losses row by row, against a champion, its record, or the base rate; and the way back."""

from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from lineage import Pipeline, by_time, files
from lineage.errors import DatabaseError, IntegrityError
from serving import contest
from serving.bundle import Bundle
from serving.contest import standard_error
from serving.promotion import Condition, Decision, champion_before, decision_of, read_decision, told

LABELS = np.array([0, 1] * 50, np.float32)
RIGHT = np.where(LABELS == 1, 2.0, -2.0).astype(np.float32)
# As good on average as one that is right, give or take what a hundred rows can tell.
NOISY = RIGHT + np.tile(np.array([0.11, 0.11, -0.1, -0.1], np.float32), 25)
WRONG = -RIGHT
# A version is called after the column that holds its margins.
ROWS = pl.DataFrame({"right": RIGHT, "noisy": NOISY, "wrong": WRONG, "late": LABELS})


class ColumnEngine:
    """Answers with the only feature of a bundle, as it is."""

    def __init__(self, bundle, _name):
        self._feature = bundle.features[0]

    def margin(self, columns):
        return columns[self._feature]


def bundle(column, *, objective="binary:logistic", target="late", **manifest):
    """A version that answers with a column of the rows; as many of its training rows were late as not."""
    signature = {"objective": objective, "inputs": [{"name": column, "datatype": "FP32"}]}
    return Bundle(None, column, signature, {"target": target, "base_rate": 0.5, "constant": 0.0, **manifest})


@pytest.fixture
def step():
    shop = Pipeline("shop")
    shop.source("orders", files("data/raw/orders.csv"), schema={"at": "date", "size": "int32", "late": "boolean"})
    split = by_time("at", tune_from="2020-02-01", test_from="2020-03-01")
    shop.model("late", table="orders", target="late", features=["size"], split=split)
    return shop.steps["late"]


@pytest.fixture
def space(step):
    """Just enough of a workspace: the model's table by name, and no record of any run."""
    table = SimpleNamespace(dataset="shop/orders")
    store = SimpleNamespace(row=lambda *_, **__: None, current=lambda _: {})
    return SimpleNamespace(project=SimpleNamespace(inputs=lambda _: (table,)), store=store)


@pytest.fixture
def judge(monkeypatch, space, step):
    """Judges one version against another, both called after columns of the rows."""

    def run(challenger, champion=None, *, rows=ROWS, versions=(), metrics=None):
        known = {name: bundle(name) for name in ("right", "noisy", "wrong", "gone")} | dict(versions)
        monkeypatch.setattr(contest, "open_engine", ColumnEngine)
        monkeypatch.setattr(contest, "load_version", lambda _space, _step, digest: known[digest])
        monkeypatch.setattr(contest, "require_bundle", lambda *_: {"run_id": None, "metrics": metrics or {}})
        monkeypatch.setattr(
            contest, "_test_rows", lambda _space, _step, columns: [rows.select(*dict.fromkeys(columns))]
        )
        return contest.judge(space, step, challenger, champion)

    return run


@pytest.mark.parametrize(
    ("challenger", "champion", "passed", "said"),
    [
        ("right", "wrong", True, "better by"),
        ("right", "right", True, "the same"),
        ("noisy", "right", True, "within one standard error"),
        ("wrong", "right", False, "more than one standard error"),
    ],
)
def test_a_challenger_may_not_be_worse_beyond_noise(judge, challenger, champion, passed, said):
    """The mean difference of the losses, row by row, is weighed against one standard error of itself."""
    found = judge(challenger, champion)

    assert (found.passed, found.name) == (passed, "evaluation")
    assert said in found.text
    assert (found.measured["score"], found.measured["rows"]) == ("logloss", 100)
    gap = found.measured["challenger"] - found.measured["champion"]
    assert found.measured["difference"] == pytest.approx(gap, abs=1e-5)
    assert passed == (gap <= found.measured["standard_error"])


def test_losses_are_paired(judge):
    """What makes rows hard for both is no noise: a small loss on every row refuses a challenger."""
    right = RIGHT * np.tile(np.array([0.1, 0.1, 2.0, 2.0], np.float32), 25)
    rows = ROWS.with_columns(right=right, wrong=right * np.float32(0.97))

    found = judge("wrong", "right", rows=rows)

    unpaired = standard_error(np.logaddexp(0, rows["wrong"].to_numpy()) - LABELS * rows["wrong"].to_numpy())
    assert not found.passed
    assert found.measured["difference"] < unpaired


@pytest.mark.parametrize(
    ("challenger", "passed", "said"), [("right", True, "is beaten"), ("wrong", False, "not beaten")]
)
def test_the_first_champion_beats_the_base_rate(judge, challenger, passed, said):
    """With nothing to be compared with, a model must know more than how often it happens."""
    found = judge(challenger)

    assert found.passed == passed
    assert said in found.text
    assert (found.measured["champion"], found.measured["base"]) == (None, pytest.approx(np.log(2), rel=1e-5))


@pytest.mark.parametrize(
    ("objective", "constant", "passed", "said"),
    [
        ("reg:absoluteerror", 0.0, False, "the median 0, with 0.2, is not beaten"),
        ("reg:squarederror", 0.5, True, "the mean 0.5, with 0.5, is beaten"),
    ],
)
def test_a_regression_s_first_champion_beats_its_own_constant(judge, objective, constant, passed, said):
    """Of a skewed target the mean is easily beaten in absolute error: the bar is the constant of the objective."""
    rows = pl.DataFrame({"right": np.full(100, 0.25, np.float32), "late": np.float32([0, 0, 0, 0, 1] * 20)})
    rows = rows if objective == "reg:absoluteerror" else rows.with_columns(late=LABELS)
    version = bundle("right", objective=objective, constant=constant)
    if passed:
        rows = rows.with_columns(right=LABELS * np.float32(0.5) + np.float32(0.25))

    found = judge("right", rows=rows, versions={"right": version})

    assert (found.passed, found.measured["score"]) == (passed, "mae")
    assert said in found.text


def test_a_version_that_does_not_know_its_constant_is_no_first_champion(judge):
    """A bundle from before constants were kept says so instead of being measured by something else."""
    old = Bundle(None, "right", bundle("right").signature, {"target": "late", "base_rate": 0.5})

    found = judge("right", versions={"right": old})

    assert not found.passed
    assert "train it again" in found.text


def test_a_regression_is_judged_by_its_mae(judge):
    """The deciding score of anything but binary:logistic is the mean absolute error."""
    versions = {name: bundle(name, objective="reg:squarederror") for name in ("right", "wrong")}

    found = judge("wrong", "right", versions=versions)

    assert (found.passed, found.measured["score"], found.measured["challenger"]) == (False, "mae", 2.5)


def test_a_champion_that_cannot_be_scored_is_known_by_its_record(judge):
    """Where its features are no longer in the table, the champion's own test score counts, and the text says so."""
    better, worse = (judge("right", "gone", metrics={"test": {"logloss": score}}) for score in (0.5, 0.01))

    assert (better.passed, worse.passed) == (True, False)
    assert all("cannot be scored on these rows" in item.text and "gone" in item.text for item in (better, worse))
    assert better.measured["champion"] == 0.5


def test_a_champion_without_any_score_counts_as_none(judge):
    """With neither rows nor a record to compare, the base rate is what there is to beat."""
    found = judge("right", "gone")

    assert found.passed
    assert "no logloss on record" in found.text
    assert "base rate" in found.text


def test_another_question_is_no_comparison(judge):
    """A champion that learnt another target is not asked for this one."""
    found = judge("right", "wrong", versions={"wrong": bundle("wrong", target="size")})

    assert found.passed
    assert "binary:logistic of size" in found.text


def test_no_test_rows_no_promotion(judge):
    """Without rows nothing is known of a version, and the text says what to do."""
    found = judge("right", "wrong", rows=ROWS.clear())

    assert not found.passed
    assert "move test_from" in found.text
    assert "headwater models promote shop-late" in found.text


def test_a_version_that_cannot_be_loaded_does_not_pass(judge, monkeypatch, space, step):
    """Damage is a reason, not a crash; a database that went away is no reason against a version."""

    def refuse(error):
        def load(*_):
            raise error

        monkeypatch.setattr(contest, "load_version", load)

    refuse(IntegrityError("model.ubj is missing.", "model.ubj", "a", None))
    assert "cannot be scored: model.ubj is missing" in contest.judge(space, step, "right", None).text
    refuse(DatabaseError("gone"))
    with pytest.raises(DatabaseError):
        contest.judge(space, step, "right", None)


def test_one_row_shows_no_noise():
    """A single difference has no spread, so that being worse on it is being worse."""
    assert standard_error(np.array([0.3])) == 0.0
    assert standard_error(np.array([1.0, 3.0])) == pytest.approx(1.0)


def row(digest, before, by="gate", *, promoted=True):
    return {"digest": digest, "champion_before": before, "decided_by": by, "promoted": promoted}


@pytest.mark.parametrize(
    ("decisions", "expected"),
    [
        ([], None),
        ([row("a", None)], None),
        ([row("a", None), row("b", "a")], "a"),
        ([row("a", None), row("b", "a", promoted=False)], None),
        ([row("a", None), row("b", "a"), row("c", "b"), row("b", "c", "rollback")], "a"),
        ([row("a", None), row("b", "a"), row("a", "b", "rollback")], None),
        ([row("a", None), row("b", "a"), row("a", "b", "rollback"), row("c", "a", "promote")], "a"),
        ([row("b", "from before the gate")], "from before the gate"),
    ],
)
def test_the_way_back(decisions, expected):
    """Every rollback goes one champion further back; what was refused or taken back is no champion before."""
    assert champion_before(list(reversed(decisions))) == expected


def test_a_decision_is_read_as_it_was_kept():
    """What comes from the database is the decision that was made."""
    conditions = (Condition("evaluation", False, "worse", {"score": "mae"}, overridden=True),)
    made = Decision("shop-late", "b" * 64, "a" * 64, True, conditions, "promote", datetime.now(UTC))

    found = made.to_json()
    read = decision_of({**found, "digest": found["version"], "decided_at": made.decided_at})

    assert read == read_decision(found) == made
    assert (made.champion, made.reasons) == ("b" * 64, ("worse",))


def test_a_line_says_what_became_of_a_version():
    """Promoted with the scores of both, refused with every reason, overridden with what was."""
    scores = Condition("evaluation", True, "fine", {"score": "logloss", "challenger": 0.46812, "champion": 0.4721})
    bad = [Condition(name, False, f"{name} is wrong") for name in ("parity", "trace")]
    fresh = {"model": "shop-late", "challenger": "b" * 64, "champion_before": "a" * 64, "is_new": True}

    promoted = told(Decision(**fresh, promoted=True, conditions=(scores,)))
    refused = told(Decision(**fresh, promoted=False, conditions=(scores, *bad)))

    assert promoted == f"promoted    {'b' * 12} (logloss 0.4681, before 0.4721)"
    assert refused == f"not promoted: {'b' * 12}, parity is wrong; trace is wrong"
