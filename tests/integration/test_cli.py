"""The command line: every verb explains itself, speaks to people and programs, and ends with 0, 1 or 2."""

import json
import re

import pytest

from serving.gate import promote

PACKAGE = "depot_cli"
MODEL = "shop-late-t0"
MODEL_VERBS = ("list", "show", "promote", "rollback", "export")


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop with a trained model, everything up to date."""
    shop = make_shop(PACKAGE, trainer="serving.fit:fit")
    shop.run()
    promote(shop.space, MODEL)
    return shop


def verbs(headwater):
    """The verbs that `--help` lists."""
    _, out, _ = headwater("--help")
    return re.findall(r"^    (\w+) ", out, re.MULTILINE)


# --- help and usage


def test_every_verb_has_an_example(headwater):
    """`--help` of every verb, and of what is below it, ends with 0 and shows a command."""
    found = verbs(headwater)
    assert {"up", "run", "list", "doctor", "validate", "dvc", "trace", "replay", "verify", "predict", "models"} <= {
        *found
    }

    for words in [*([verb] for verb in found), *(["models", verb] for verb in MODEL_VERBS)]:
        code, out, err = headwater(*words, "--help")
        assert (code, err) == (0, ""), words
        assert f"example: headwater {' '.join(words)}" in out, words


def test_the_version_is_told(headwater):
    """`--version` names program and version."""
    code, out, _ = headwater("--version")

    assert code == 0
    assert re.fullmatch(r"headwater \d+\.\d+\.\d+\n", out)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "nonsense",
        "run one two",
        "run --partition",
        "run --fast",
        "list everything",
        "trace",
        "replay one two",
        "validate march.csv",
        "predict",
        f"predict {MODEL}",
        f"predict {MODEL} --key K --json FILE",
        "dvc",
        "dvc burn",
        "models",
        "models show",
        "models promote",
        "models rollback one two",
    ],
)
def test_a_wrong_use_ends_with_2(headwater, words):
    """What cannot be parsed is answered with the usage on stderr."""
    code, out, err = headwater(*words.split())

    assert (code, out) == (2, "")
    assert err.startswith("usage: headwater")


# --- what programs read


def test_list_tells_what_there_is(headwater, shop):
    """Every step with its kind, partitions, rows and current versions; for people, a line each."""
    (code, out, err), (_, table, _) = headwater("list", "--json"), headwater("list")

    steps = {row["step"]: row for row in json.loads(out)}
    assert (code, err) == (0, "")
    assert [*steps] == [f"shop.{name}" for name in ("orders", "visits", "products", "features", "totals", "late_t0")]
    assert steps["shop.features"]["inputs"] == ["shop.orders", "shop.visits", "shop.products"]
    assert steps["shop.features"]["versions"]["2020-02"] == shop.current("features", "2020-02").sha256
    assert steps["shop.features"]["row_count"] == 84
    assert len(table.splitlines()) == 1 + len(steps)
    assert re.search(r"^shop\.features +table +2020-01 … 2020-03 \(3\) +84 ", table, re.MULTILINE)


def test_models_are_listed_and_shown(headwater, shop):
    """The champion's version, and one model with its metrics and inputs."""
    digest = shop.current("late_t0").sha256

    (listed, out, _), (shown, one, _), (_, table, _) = (
        headwater(*words.split()) for words in ("models list --json", f"models show {MODEL} --json", "models list")
    )

    assert (listed, shown) == (0, 0)
    assert [(found["name"], found["digest"]) for found in json.loads(out)] == [(MODEL, digest)]
    assert (json.loads(one)["champion"], json.loads(one)["inputs"]) == (digest, ["amount", "cents", "visitors"])
    assert digest[:12] in table


def test_a_prediction_can_be_asked_for_traced_and_replayed(headwater, shop):
    """Predict by key and by features, then follow and repeat the answer by its id."""
    shop.write("features.json", '{"amount": [1], "cents": [450], "visitors": [null]}')

    by_key, by_features, both = (
        headwater("predict", MODEL, *words.split())
        for words in ("--key 2020-01-5", "--json features.json", "--key 2020-01-5 --key nobody")
    )

    assert (by_key[0], by_features[0], both[0]) == (0, 0, 1)
    assert json.loads(both[1])["predictions"][1] == {"key": "nobody", "error": "There is no such key in shop/features."}
    for answer in (json.loads(by_key[1]), json.loads(by_features[1])):
        name = answer["prediction_id"]
        traced, replayed = headwater("trace", name, "--json"), headwater("replay", name, "--json")
        assert (traced[0], json.loads(traced[1])["complete"]) == (0, True)
        assert (replayed[0], json.loads(replayed[1])["margin"]) == (0, answer["predictions"][0]["margin"])
    told = headwater("trace", json.loads(by_key[1])["prediction_id"])[1]
    assert "data/raw/shop/orders/2020-01.csv" in told
    assert told.endswith("complete\n")


def test_a_suite_is_run_on_a_file(headwater, shop):
    """`validate` ends with 1 when a blocking expectation fails, and its JSON says which."""
    kwargs = {"column": "amount", "max_value": 2}
    promise = {"type": "expect_column_values_to_be_between", "kwargs": kwargs, "severity": "critical"}
    shop.write("suite.json", json.dumps({"name": "small", "expectations": [promise], "meta": {}}))

    code, out, _ = headwater("validate", "data/raw/shop/orders/2020-01.csv", "--suite", "suite.json", "--json")

    (found,) = json.loads(out)["expectations"]
    assert (code, json.loads(out)["success"]) == (1, False)
    assert (found["column"], found["success"], found["blocking"]) == ("amount", False, True)


# --- what is not so


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run shop.feature", "did you mean shop.features"),
        ("run nothing.like.it", "headwater list"),
        ("run shop.features --partition 2020-1", "did you mean 2020-01"),
        ("run shop.features --partition March", "2020-01 to 2020-06"),
        ("run shop.features --partition 2020-05", "shop/orders[2020-05]"),
        ("predict shop-late-t9 --key K", f"did you mean {MODEL}?"),
        (f"predict {MODEL} --json nothing.json", "nothing.json"),
        ("models show shop-late", MODEL),
        ("trace nonsense", "'nonsense'"),
        ("replay 3d9a38f9-8cde-4639-bb16-8d7cfb5a6c2f", "3d9a38f9-8cde-4639-bb16-8d7cfb5a6c2f"),
        ("validate nothing.csv --suite nothing", "'nothing'"),
        ("validate nothing.csv --suite suite.json", "nothing.csv"),
    ],
)
def test_what_is_not_so_ends_with_1(headwater, shop, words, said):
    """One sentence on stderr that names what was asked for, and where possible what was meant."""
    shop.write("suite.json", '{"name": "empty", "expectations": [], "meta": {}}')

    code, out, err = headwater(*words.split())

    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("headwater: ")
    assert said in err


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HEADWATER_NOW", "tomorrow", "HEADWATER_NOW='tomorrow'"),
        ("HEADWATER_UI_PORT", "http", "HEADWATER_UI_PORT='http'"),
        ("HEADWATER_PIPELINES", "no_such_package", "no_such_package"),
        ("DATABASE_URL", "not a url", "DATABASE_URL"),
    ],
)
def test_a_wrong_setting_is_named(headwater, monkeypatch, name, value, said):
    """A setting that cannot be used is one sentence with its name."""
    monkeypatch.setenv(name, value)

    code, out, err = headwater("list")

    assert (code, out, err.count("\n")) == (1, "", 1)
    assert said in err


def test_a_pipeline_that_cannot_be_read_is_named(make_shop):
    """An author's mistake is one sentence with the module, not a traceback of ours."""
    shop = make_shop()
    shop.edit("assets/shop.py", "whole=True", "hole=True")

    ran = shop.cli("dvc", "check")

    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "assets.shop" in ran.err
    assert "hole" in ran.err


def test_a_folder_that_cannot_be_written_is_named(headwater, shop):
    """What the system refuses is said in a sentence as well, and other verbs go on working."""
    shop.order_again("2020-03")
    place = shop.table("orders/2020-03")
    place.unlink()
    place.mkdir()
    try:
        code, _, err = headwater("run", "shop.orders", "--partition", "2020-03")
        listed = headwater("list")
    finally:
        place.rmdir()

    assert (code, err.count("\n"), listed[0]) == (1, 1, 0)
    assert "data/tables/shop/orders/2020-03.parquet" in err
    assert headwater("run")[0] == 0


# --- in a shell


def test_the_reader_may_go(shop):
    """`headwater list | head` ends quietly."""
    with shop.start("headwater", "list", "--json") as process:
        process.stdout.close()
        err = process.stderr.read()

    assert (process.returncode, err) == (0, "")


def test_a_project_is_found_from_inside(headwater, shop, monkeypatch):
    """Any folder of the project will do."""
    monkeypatch.chdir(shop.root / "data" / "raw")

    assert headwater("list", "--json")[0] == 0


def test_an_interruption_is_no_failure(headwater, shop, monkeypatch):
    """Ctrl-C ends with 130 and one line; the run is given up, and the next one does what is left."""
    shop.order_again("2020-01")
    with monkeypatch.context() as patched:
        patched.setattr("lineage.run.produce", interrupted)
        ran = headwater("run")
    (state,) = shop.query("select state from run order by started_at desc limit 1")

    again = headwater("run")

    assert ran == (130, "", "headwater: interrupted.\n")
    assert state == {"state": "RUNNING"}
    assert re.search(r"shop\.orders\[2020-01\] +computed", again[1])
    states = [row["state"] for row in shop.query("select state from run order by started_at")]
    assert (states.count("ABORT"), states.count("RUNNING")) == (1, 0)


def interrupted(*given):
    """What Ctrl-C does in the middle of a step."""
    raise KeyboardInterrupt
