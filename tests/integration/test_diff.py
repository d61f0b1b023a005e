"""What differs between two versions of a table, two bundles or two predictions, and what does not."""

import json
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from lineage.diff import diff
from lineage.discover import Project
from lineage.errors import NotFoundError
from lineage.plan import Workspace
from lineage.versions import Version
from serving.features import FeatureRow
from serving.log import Asked, PredictedRow, PredictionLog

PACKAGE = "depot_diff"
MODEL = "shop-late-t0"
JANUARY = "shop.features[2020-01]"


@dataclass(frozen=True)
class Past:
    """January's features: as made, after an order and a price, after a change of the code, and the runs of the same
    bytes by other code; and a prediction of each of the first two models."""

    features: list[Version]
    runs: list[str]
    predictions: list[str]


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop; what happened in it is told by `past`."""
    return make_shop(PACKAGE)


@pytest.fixture(scope="module")
def past(shop):
    """The shop ran as made; again after an order and a price; and twice with other code."""
    features, runs, predictions = [], [], []

    def note():
        features.append(shop.current("features", "2020-01"))
        runs.append(latest_run(shop))

    shop.run()
    note()
    predictions.append(predict(shop, amount=2.0, cents=450.0))
    shop.order_again("2020-01")
    shop.edit("data/raw/shop/products/products.csv", "tea,4.5", "tea,5.5")
    shop.run()
    note()
    predictions.append(predict(shop, amount=2.0, cents=550.0))
    shop.edit(f"{PACKAGE}/shop.py", "lead_days: int = 1", "lead_days: int = 2")
    shop.edit(f"{PACKAGE}/shop.py", "cents=price_in_cents()\n    )", f"cents=price_in_cents()\n    ){MORE}")
    shop.edit(f"{PACKAGE}/money.py", "* 100)", "* 100 + 1)")
    assert shop.cli("run", "shop.features", "--partition", "2020-01").code == 0
    note()
    shop.edit(f"{PACKAGE}/money.py", "* 100 + 1)", "* 100 + 2 - 1)")
    assert shop.cli("run", "shop.features", "--partition", "2020-01").code == 0
    note()
    return Past(features, runs, predictions)


MORE = '.with_columns(pl.col("amount").cast(pl.Int64), rush=pl.col("amount") > 3).drop("late")'


def latest_run(shop):
    """The run that wrote January's features last."""
    (row,) = shop.query("""select run_id from run join run_output using (run_id)
        where dataset = 'shop/features' and run_output.partition = '2020-01' order by ended_at desc limit 1""")
    return str(row["run_id"])


def predict(shop, **features):
    """The id of a prediction of January's fifth row, by the model that was trained last."""
    version = shop.current("features", "2020-01")
    found = FeatureRow("2020-01-5", version.dataset, version.partition, version.sha256, 5, features)
    asked = Asked(MODEL, shop.current("late_t0").sha256, "xgboost_cpu", "table", "0" * 64)
    margin = np.float32(features["cents"] / 1000)
    return str(PredictionLog(shop.store).record(asked, [PredictedRow(0, features, margin, found)]))


def features_of(past, number):
    """January's features, by name."""
    return f"{JANUARY}@{past.features[number].sha256}"


def frame(shop, version):
    """A version's rows."""
    return pl.read_parquet(shop.object(version))


# --- tables


def test_a_version_is_itself(shop, past):
    """A version compared with itself, however it is called, differs in nothing."""
    found = diff(shop.space, f"{JANUARY}@current", JANUARY.replace(".", "/", 1))

    assert (found["same"], found["differs"], found["notes"]) == (True, [], [])
    assert found["rows"]["unchanged"] == 29


def test_other_inputs_are_named_with_the_rows_that_they_changed(shop, past):
    """An order and a price: which versions were replaced, which rows are new, and which cells of which rows changed."""
    found = diff(shop.space, features_of(past, 0), features_of(past, 1)[len(JANUARY) :], examples=100)

    assert found["differs"] == ["inputs", "rows", "bytes"]
    assert [item["dataset"] for item in found["inputs"]["replaced"]] == ["shop/orders", "shop/products"]
    assert found["inputs"]["replaced"][0]["row_counts"] == [28, 29]
    before, after = (frame(shop, version) for version in past.features[:2])
    tea = before.filter(pl.col("product") == "tea")["id"].to_list()
    rows = found["rows"]
    assert (rows["key"], rows["counts"]) == (["id"], [28, 29])
    assert (rows["only_a"], rows["only_b"], rows["changed"], rows["unchanged"]) == (0, 1, len(tea), 28 - len(tea))
    assert rows["cells"] == {"price": len(tea), "cents": len(tea)}
    assert [item["key"]["id"] for item in rows["examples"]["changed"]] == tea
    first = rows["examples"]["changed"][0]
    assert first["cells"] == {"price": [4.5, 5.5], "cents": [450, 550]}
    assert [side["id"][row] for side, row in zip((before, after), first["rows"], strict=True)] == [
        first["key"]["id"]
    ] * 2
    assert [item["key"]["id"] for item in rows["examples"]["only_b"]] == ["2020-01-again-29"]


def test_other_code_is_named_down_to_the_function(shop, past):
    """Code, parameters and schema: which function changed, which parameter, which column is new, gone or retyped."""
    found = diff(shop.space, features_of(past, 1), features_of(past, 2))

    assert found["differs"] == ["code", "parameters", "schema", "rows", "bytes"]
    changed = found["code"]["definitions"]["changed"]
    assert {f"{PACKAGE}.money:price_in_cents", f"{PACKAGE}.shop:features"} <= set(changed)
    assert "lineage.tables:write_table" not in changed
    assert found["parameters"]["changed"] == {"lead_days": [1, 2]}
    assert found["schema"] == {
        "same": False,
        "added": {"rush": "Boolean"},
        "gone": {"late": "Boolean"},
        "retyped": {"amount": ["Int32", "Int64"]},
        "reordered": False,
    }
    # What became an Int64 is still the same amount.
    assert set(found["rows"]["cells"]) == {"cents", "visitors"}


def test_two_runs_of_the_same_bytes_differ_in_what_ran(shop, past):
    """Other code, equal bytes: a run's id stands for what it wrote, a version for its last run."""
    assert past.features[2] == past.features[3]

    found = diff(shop.space, past.runs[2], past.runs[3])

    assert found["differs"] == ["code"]
    assert [*found["code"]["definitions"]["changed"]] == [f"{PACKAGE}.money:price_in_cents"]
    assert [found[side]["run_id"] for side in "ab"] == past.runs[2:]
    assert diff(shop.space, past.runs[3], features_of(past, 2))["same"]


def test_without_a_key_whole_rows_are_compared(shop, past):
    """A source's rows have none: the new line is there once more."""
    found = diff(shop.space, "shop.orders[2020-01]@previous", "@current")["rows"]

    assert (found["key"], found["only_a"], found["only_b"], found["unchanged"]) == ([], 0, 1, 28)
    (example,) = found["examples"]["only_b"]
    assert example["key"]["id"] == "2020-01-again-29"
    assert example["key"]["at"] == "2020-01-28"


def test_the_key_of_a_step_that_is_gone_is_on_record(shop, past):
    """Nobody declares the table any more: rows are paired by the key that both runs recorded."""
    steps = tuple(step for step in shop.space.project.steps if step.name != "features")
    space = Workspace(shop.space.settings, Project(steps), shop.store)

    assert diff(space, features_of(past, 0), features_of(past, 1))["rows"]["key"] == ["id"]


def test_what_was_not_recorded_is_said(shop, past):
    """Runs from before code and declarations were recorded: digests are compared, and a note says what is missing."""
    ids = ", ".join(f"'{run}'" for run in past.runs[:3])
    steps = tuple(step for step in shop.space.project.steps if step.name != "features")
    space = Workspace(shop.space.settings, Project(steps), shop.store)
    with forgotten(shop, ids):
        found = diff(space, past.runs[1], past.runs[2])

    assert (found["code"]["same"], found["code"]["definitions"]) == (False, None)
    assert found["declaration"]["same"] is None
    assert found["rows"]["key"] == []
    assert any("from before it was recorded" in note for note in found["notes"])


@contextmanager
def forgotten(shop, ids):
    """Inside, these runs recorded neither definitions nor declaration; rolled back afterwards."""
    connection = shop.store._connection
    with connection.transaction(force_rollback=True):
        connection.execute(f"update run set declaration = null, code = 'x' || code where run_id in ({ids})".encode())
        yield


def test_lost_bytes_are_said_and_the_rest_is_compared(shop, past):
    """Without the object nothing is known of rows but their number."""
    path = shop.object(past.features[0])
    data = path.read_bytes()
    path.unlink()
    try:
        found = diff(shop.space, features_of(past, 0), features_of(past, 1))
    finally:
        path.write_bytes(data)

    assert (found["rows"]["same"], found["rows"]["counts"]) == (None, [28, 29])
    assert found["notes"] == [f"rows cannot be compared: the bytes of {features_of(past, 0)} are gone"]
    assert found["differs"] == ["inputs", "bytes"]


def test_a_raw_file_differs_by_its_bytes(shop, past):
    """Raw bytes have no rows of their own; the source that reads them has."""
    found = diff(shop.space, "data/raw/shop/orders/2020-01.csv@previous", "@current")

    assert found["differs"] == ["bytes"]
    assert "rows are known of the source" in found["notes"][0]


# --- bundles


def test_bundles_differ_by_what_they_learnt(shop, past):
    """Training tables, metrics and files; and the model by its name, its dataset or its alias."""
    found = diff(shop.space, f"{MODEL}@previous", "@challenger")

    assert found["kind"] == "bundle"
    assert found["differs"] == ["inputs", "metrics", "files", "bytes"]
    assert [item["partition"] for item in found["inputs"]["replaced"]] == ["2020-01", "2020-02", "2020-03"]
    assert found["metrics"]["changed"] == {"learnt": [336, 337]}
    assert set(found["files"]["changed"]) >= {"data/models/shop/late_t0/model.txt", "data/metrics/shop/late_t0.json"}
    assert [*found["files"]["gone"]] == ["data/models/shop/late_t0/notes.txt"]
    assert diff(shop.space, "shop.late_t0", f"{MODEL}@challenger")["same"]


# --- predictions


def test_predictions_differ_by_model_row_and_features(shop, past):
    """Which model, which row of which version, which values of which features, and which margin."""
    one, other = past.predictions

    found = diff(shop.space, one, f"{other}.0")

    assert found["differs"] == ["model", "row", "features", "margin"]
    assert found["features"]["changed"] == {"cents": [450.0, 550.0]}
    assert found["row"]["changed"] == {"version": [past.features[0].sha256, past.features[1].sha256]}
    assert found["margin"]["values"] == [float(np.float32(0.45)), float(np.float32(0.55))]
    assert diff(shop.space, one, f"{one}.0")["same"]


# --- names


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (JANUARY, "shop.totals", "compare two versions of one table or model, or two predictions"),
        ("shop.features@current", JANUARY, "shop.features@current is of 3 partitions; name one, as in shop.features"),
        (f"{JANUARY}@", JANUARY, "is no name"),
        (f"{JANUARY}@zz", JANUARY, "has no version 'zz'; there are "),
        ("0" * 8 + "-0000-0000-0000-" + "0" * 12, JANUARY, "There is no prediction 00000000"),
        ("shop.featurs", JANUARY, "did you mean shop.features"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(shop, past, a, b, said):
    """Names that nothing answers to, or too much, or that are not of one kind."""
    with pytest.raises(NotFoundError) as caught:
        diff(shop.space, a, b)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


# --- the verb


def test_the_verb_ends_as_diff_does(headwater, past):
    """0 when nothing differs, 1 when something does, 2 when they cannot be compared."""
    same, differs, unknown, usage = (
        headwater("diff", *words)
        for words in ((JANUARY, JANUARY), past.predictions, (JANUARY, "shop.totals"), (JANUARY,))
    )

    assert [same[0], differs[0], unknown[0], usage[0]] == [0, 1, 2, 2]
    assert unknown[1] == ""
    assert unknown[2].startswith("headwater: ")


def test_the_verb_speaks_to_people_and_programs(headwater, shop, past):
    """The same facts as JSON and as lines: the function, the column and the cells by name."""
    words = ("diff", features_of(past, 1), features_of(past, 2), "--examples", "1")

    (code, out, err), (_, text, _) = headwater(*words, "--json"), headwater(*words)

    assert (code, err) == (1, "")
    assert json.loads(out) == json.loads(json.dumps(diff(shop.space, *words[1:3], examples=1), default=str))
    for line in (
        f"~ {PACKAGE}.money:price_in_cents",
        "~ lead_days  1 → 2",
        "~ amount  Int32 → Int64",
        "+ rush  Boolean",
        "29 → 29, by id",
        "29 changed, 0 only in a, 0 only in b, 0 the same",
        "differ        code, parameters, schema, rows, bytes",
    ):
        assert line in text, text
    for kind in (["diff", *past.predictions], ["diff", f"{MODEL}@previous", "@current"]):
        assert "\ndiffer  " in headwater(*kind)[1]
