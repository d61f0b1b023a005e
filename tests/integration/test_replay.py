"""Replay: what was computed comes out again, byte for byte, or what is another than it was is named."""

from __future__ import annotations

import importlib
import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from lineage.compute import Task
from lineage.discover import discover
from lineage.errors import NotFoundError
from lineage.names import find_current
from lineage.plan import Workspace
from lineage.ports import Ports
from lineage.proof.recompute import replay_versions
from lineage.proof.worktree import PROCESS_FAILED, compute_in, worktree
from lineage.replay import replay, rests_on
from lineage.tracing.rowreplay import recompute_row
from orchestration.cli import main
from serving.gate import promote
from serving.predict import Predictor

PACKAGE = "depot_replay"
MODEL = "shop-late-t0"
MONTH = "2020-02"
PRICE, DEARER = '(pl.col("price") * 100)', '(pl.col("price") * 101)'


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop with everything up to date and committed, and a model that answers."""
    shop = make_shop(PACKAGE, trainer="serving.fit:fit")
    shop.write("uv.lock", "polars = 2\n")
    shop.commit()
    shop.run()
    promote(shop.space, MODEL)
    return shop


@pytest.fixture(scope="module")
def prediction(shop):
    """A prediction by key."""
    return Predictor(shop.space).by_key(MODEL, [f"{MONTH}-7"]).prediction_id


def now(shop) -> Workspace:
    """The shop as a process sees it that starts now."""
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    importlib.invalidate_caches()
    return Workspace(shop.space.settings, discover(shop.space.settings), shop.store)


@contextmanager
def edited(shop, name, *edits):
    """The shop with pieces of a file replaced, as a new process sees it."""
    text = shop.path(name).read_text()
    try:
        for before, after in zip(edits[::2], edits[1::2], strict=True):
            shop.edit(name, before, after)
        yield now(shop)
    finally:
        shop.write(name, text)
        now(shop)


@contextmanager
def without(*paths: Path):
    """Files moved away, and put back."""
    kept = {path: path.read_bytes() for path in paths if path.exists()}
    for path in kept:
        path.unlink()
    try:
        yield
    finally:
        for path, data in kept.items():
            path.write_bytes(data)


def replayed(space, name, partition=None, **how):
    """The replays of what `name` names, by dataset and partition."""
    named = find_current(space, f"shop.{name}", partition)
    found = replay_versions(space, [item.version for item in named], Ports(), **how)
    return {item.version.dataset.removeprefix("shop/") + item.version.partition: item for item in found}


def one(space, name, partition=None, **how):
    """The replay of one version."""
    (found,) = replayed(space, name, partition, **how).values()
    return found


# --- identical


@pytest.mark.parametrize("name", ["orders", "products", "features", "totals", "late_t0"])
def test_what_was_computed_comes_out_again(shop, name):
    """A source, a table and a model, every partition: computed from what was recorded, the bytes are the same."""
    found = replayed(shop.space, name)

    assert [(item.result, item.recomputed, dict(item.changes)) for item in found.values()] == [
        ("identical", item.version.sha256, {}) for item in found.values()
    ]
    assert len(found) == (3 if name in ("orders", "features") else 1)


def test_a_replay_changes_nothing(shop):
    """No run is recorded, no file of the project is another, and no workshop is left."""
    before = shop.contents(), shop.query("select count(*) from run"), shop.query("select count(*) from event")
    with edited(shop, f"{PACKAGE}/money.py", PRICE, DEARER) as space:
        replayed(space, "late_t0", from_source=True)

    assert before == (shop.contents(), shop.query("select count(*) from run"), shop.query("select count(*) from event"))
    assert not list(shop.path(".dvc/tmp/headwater").iterdir())


def test_a_chain_is_replayed_from_its_raw_files(shop):
    """`--from source`: what a version came from first, each once, and each from what was computed before it."""
    found = replayed(shop.space, "late_t0", from_source=True)
    months = ("2020-01", "2020-02", "2020-03")

    assert {name for name, item in found.items() if item.identical} == set(found)
    assert list(found)[-1] == "late_t0"
    assert set(found) == {
        *(f"{name}{month}" for name in ("orders", "visits", "features") for month in months),
        "products",
        "late_t0",
    }


def test_recorded_bytes_are_read_and_not_those_in_place(shop):
    """A raw file and a table that somebody changed since are not what is replayed from."""
    raw, table = shop.raw(f"orders/{MONTH}"), shop.table(f"orders/{MONTH}")
    kept = raw.read_bytes(), table.read_bytes()
    raw.write_bytes(b"nothing")
    table.write_bytes(b"nothing")
    found = [one(shop.space, name, MONTH) for name in ("orders", "features")]
    raw.write_bytes(kept[0])
    table.write_bytes(kept[1])

    assert [item.result for item in found] == ["identical"] * 2


def test_an_earlier_version_is_replayed(shop):
    """A version that is not current any more is named by how its sha256 begins, or as the one before."""
    before, raw = shop.current("totals"), shop.raw("orders/2020-01")
    text = raw.read_text()
    shop.order_again("2020-01")
    shop.run()
    raw.write_text(text)
    names = f"totals@{before.sha256[:10].upper()}", "totals@previous", "totals"
    found = [one(shop.space, name) for name in names]
    shop.run()

    assert [item.result for item in found] == ["identical"] * 3
    assert before.sha256 == found[0].recomputed == found[1].recomputed != found[2].recomputed


@pytest.mark.parametrize(
    ("name", "partition", "said"),
    [
        ("shop.nothing", None, "shop.nothing"),
        ("shop.features", "2031-01", "'2031-01'"),
        ("shop.totals@0000000", None, "has no version '0000000'; there are "),
        ("shop.totals@zz", None, "has no version 'zz'; there are "),
        (f"shop.features[{MONTH}]", "2020-01", "is of partition 2020-02, not of 2020-01"),
        ("shop.totals", MONTH, "has no version of partition '2020-02'; it has no partitions"),
        ("data/raw/shop/orders/2031-01.csv", None, "did you mean data/raw/shop/orders/2020-01.csv"),
    ],
)
def test_what_is_not_there_is_named(shop, name, partition, said):
    """A table, partition or version that nobody recorded is refused by its name."""
    with pytest.raises(NotFoundError, match=said):
        find_current(shop.space, name, partition)


# --- what differs


def test_a_function_that_changed_is_named(shop):
    """Another helper, another module away: its name, and the first cell that shows it, by key."""
    with edited(shop, f"{PACKAGE}/money.py", PRICE, DEARER) as space:
        found = one(space, "features", MONTH)

    assert (found.result, found.causes) == ("different", ("code",))
    assert found.changes["code"] == [f"changed: {PACKAGE}.money:price_in_cents"]
    (line,) = found.differences
    assert line.startswith(
        "column 'cents' differs in 28 of 28 rows, first at id='2020-02-1': recorded 79, recomputed 80"
    )


def test_a_function_that_changed_to_the_same_result_is_named(shop):
    """The bytes are the same: identical, and yet it is said what has changed."""
    with edited(shop, f"{PACKAGE}/money.py", PRICE, '(100 * pl.col("price"))') as space:
        found = one(space, "features", MONTH)

    assert (found.result, found.causes, list(found.changes)) == ("identical", (), ["code"])


def test_functions_that_are_new_are_named(shop):
    """A helper that came between: it was added, and what the step means by the name has changed."""
    two = "def dear():\n    return price_in_cents() + 1\n\n\ndef price_in_cents():"
    three = "from depot_replay.money import dear as price_in_cents"
    with edited(shop, f"{PACKAGE}/money.py", "def price_in_cents():", two):
        with edited(shop, f"{PACKAGE}/shop.py", "from depot_replay.money import price_in_cents", three) as space:
            found = one(space, "features", MONTH)

    assert found.result == "different"
    assert found.changes["code"] == [
        f"changed: {PACKAGE}.shop:import price_in_cents",
        f"added: {PACKAGE}.money:dear",
    ]


def test_a_parameter_that_changed_is_named(shop):
    """With what it was and what it is."""
    with edited(shop, f"{PACKAGE}/shop.py", "lead_days: int = 1", "lead_days: int = 3") as space:
        found = one(space, "features", MONTH)

    assert (found.result, found.causes) == ("different", ("code", "parameters"))
    assert found.changes["parameters"] == ["parameters.lead_days: recorded 1, now 3"]


def test_a_key_that_changed_is_named(shop):
    """What is declared beside the function decides bytes as well."""
    with edited(
        shop, f"{PACKAGE}/shop.py", '@shop.table(key="id", look', '@shop.table(key=["amount", "id"], look'
    ) as space:
        found = one(space, "features", MONTH)

    assert (found.result, found.causes) == ("different", ("parameters",))
    assert found.changes["parameters"] == ["shape.key: recorded ['id'], now ['amount', 'id']"]
    assert found.differences[0] == "the cells are the same, the order of the rows is not"


def test_columns_in_another_order_are_named(shop):
    """The order of a mapping is on record: JSON itself knows none."""
    with edited(
        shop, f"{PACKAGE}/shop.py", '"amount": "int32", "late": "boolean"', '"late": "boolean", "amount": "int32"'
    ) as space:
        found = one(space, "orders", MONTH)

    assert (found.result, found.causes) == ("different", ("parameters",))
    assert "shape.order.schema" in found.changes["parameters"][0]
    assert found.differences[0].startswith("the columns were in the order id, at, product, amount, late")


def test_an_environment_that_changed_is_named(shop):
    """Another lock and another version of a package: said, though the bytes are the same."""
    version = shop.current("totals")
    where = f"where run_id in (select run_id from run_output where sha256 = '{version.sha256}') returning 1"
    for place, value in (("{lock}", "a"), ("{packages,polars}", "0.9")):
        changed = f"jsonb_set(environment, '{place}', '\"{value}\"')"
        shop.query(f"update run set environment = {changed} {where}")

    found = one(shop.space, "totals")

    assert (found.result, found.causes) == ("identical", ())
    lines = found.changes["environment"]
    assert {line.partition(":")[0] for line in lines} == {"packages.polars", "lock"}
    assert any(line.startswith("packages.polars: recorded '0.9', now ") for line in lines)


def test_an_input_that_is_gone_is_named(shop):
    """Where the recorded bytes are nowhere, nothing is computed in their stead."""
    version = shop.current("orders", MONTH)
    with without(shop.object(version), shop.path(version.file.path)):
        found = one(shop.space, "features", MONTH)
        chain = replayed(shop.space, "features", MONTH, from_source=True)

    assert (found.result, found.causes, found.recomputed) == ("impossible", ("inputs",), None)
    assert f"data/tables/shop/orders/{MONTH}.parquet: the bytes of version" in found.changes["inputs"][0]
    # From the raw files upwards it is computed again.
    assert chain[f"features{MONTH}"].identical


def test_a_step_that_is_not_declared_any_more_is_named(shop):
    """So is one that reads something else than what was recorded."""
    with edited(shop, f"{PACKAGE}/shop.py", "def totals(", "def sums(") as space:
        gone = one(space, "totals")
    with edited(
        shop,
        f"{PACKAGE}/shop.py",
        "whole=True)\ndef totals(orders)",
        'inputs={"sold": "orders"}, whole=True)\ndef totals(sold)',
    ) as space:
        other = one(space, "totals")

    assert [(item.result, item.causes) for item in (gone, other)] == [("impossible", ("code",))] * 2 or (gone, other)
    assert "There is no step 'shop.totals'" in gone.differences[0]
    assert "it reads sold now, and read orders" in other.differences[0]


def test_a_step_that_fails_now_is_a_difference(shop):
    """What it raises is what came out, and what changed is why."""
    with edited(shop, f"{PACKAGE}/money.py", "    return", '    raise ValueError("no price")\n    return') as space:
        found = one(space, "features", MONTH)

    assert (found.result, found.causes) == ("different", ("code",))
    assert "ValueError: no price" in found.differences[0]


def test_a_difference_upstream_is_an_input(shop):
    """In a chain, a table that was computed otherwise explains the one that reads it."""
    with edited(shop, f"{PACKAGE}/money.py", PRICE, DEARER) as space:
        found = replayed(space, "late_t0", from_source=True)

    assert found[f"features{MONTH}"].causes == ("code",)
    assert found["orders2020-01"].identical
    assert list(found["late_t0"].changes) == ["inputs"]
    assert f"shop/features[{MONTH}] was replayed to other bytes" in found["late_t0"].changes["inputs"]


def test_what_never_comes_out_the_same_is_told(make_shop):
    """Nothing on record is another and the bytes are: the step is not deterministic, and where is said."""
    shop = make_shop("depot_dice")
    shop.edit("depot_dice/money.py", '"""Prices."""', '"""Prices."""\n\nimport random')
    shop.edit("depot_dice/money.py", ".round().cast(pl.Int32)", ".round().cast(pl.Int32) + random.randrange(2**30)")
    shop.run("orders", "visits", "products", "features", partition=MONTH)

    found = one(shop.space, "features", MONTH)

    assert (found.result, found.causes) == ("different", ("nondeterminism",))
    assert "computed twice here it gives two results" in found.changes["nondeterminism"][0]
    assert found.differences[0].startswith("column 'cents' differs in 28 of 28 rows, first at id='2020-02-1'")


# --- at the recorded commit


def trees(shop):
    """The worktrees that git knows of."""
    return shop.git("worktree", "list").splitlines()


@pytest.fixture
def moved_on(shop):
    """The code has moved on since everything was computed, and is committed."""
    with edited(shop, f"{PACKAGE}/money.py", PRICE, DEARER) as space:
        shop.commit()
        yield space
    shop.commit()


def test_the_code_of_then_is_had_from_git(shop, moved_on, monkeypatch):
    """With the present code the bytes are others; in a worktree of the recorded commit they are the same."""
    monkeypatch.setenv("PYTHONPATH", str(shop.root), prepend=os.pathsep)
    present = one(moved_on, "features", MONTH)
    then = replayed(moved_on, "features", MONTH, at_commit=True, from_source=True)

    assert present.result == "different"
    assert [(item.result, item.differences) for item in then.values()] == [("identical", ())] * len(then)
    assert len(trees(shop)) == 1


@pytest.mark.parametrize(
    ("commit", "said"),
    [
        ("null", "recorded no commit"),
        ("commit_sha || '+changes'", "changes that were not committed"),
        (f"'{'0' * 40}'", "is not in this repository"),
    ],
)
def test_a_commit_that_cannot_be_had_is_named(shop, commit, said):
    """An unknown commit, one of a changed work tree, one of another repository: said, and nothing is computed."""
    version = shop.current("features", MONTH)
    where = f"where run_id in (select run_id from run_output where sha256 = '{version.sha256}') returning commit_sha"
    (kept,) = {row["commit_sha"] for row in shop.query(f"update run set commit_sha = commit_sha {where}")}
    shop.query(f"update run set commit_sha = {commit} {where}")
    try:
        found = one(shop.space, "features", MONTH, at_commit=True)
    finally:
        shop.query(f"update run set commit_sha = '{kept}' {where}")

    assert (found.result, found.causes) == ("impossible", ("code",))
    assert said in found.differences[0]
    assert len(trees(shop)) == 1


def test_a_worktree_goes_also_on_failure(shop):
    """Whatever happens in it, no folder and no entry of git's is left; the project's own files are not touched."""
    before, sha = shop.git("status", "--porcelain"), shop.git("rev-parse", "HEAD").strip()
    made = []

    def work():
        with worktree(shop.root, sha) as tree:
            made.append(tree)
            (tree / PACKAGE / "money.py").write_text("changed")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    (tree,) = made

    assert not tree.exists()
    assert not tree.parent.exists()
    assert (before, 1) == (shop.git("status", "--porcelain"), len(trees(shop)))


def test_a_process_that_takes_too_long_is_ended(shop, tmp_path):
    """A step that hangs does not hang its replay."""
    version = shop.current("orders", MONTH)
    task = Task("shop.totals", "", (("orders", version),), {version: shop.object(version)})

    found = compute_in(shop.root, task, tmp_path, shop.space.settings, timeout_seconds=0.01)

    assert (found.version, found.failed) == (None, PROCESS_FAILED)
    assert "did not end within 0.01 s" in str(found.error)


# --- predictions


def test_a_prediction_is_replayed(shop, prediction):
    """Feature row and margin come out again; nothing has changed, and nothing is said to have."""
    found = replay(shop.space, prediction, Ports())

    assert (found["result"], found["identical"], found["differences"], found["causes"]) == ("identical", True, [], [])
    assert (found["changes"], found["engine"]) == ({}, found["replayed_by"])
    assert [version.dataset for version in rests_on(shop.space, prediction)] == ["shop/features", "shop/late_t0"]


def test_a_prediction_says_which_functions_have_changed(shop, prediction):
    """The bits are the same, for row and bundle are on record; that the code has moved on is said by name."""
    with edited(shop, f"{PACKAGE}/money.py", PRICE, DEARER) as space:
        found = replay(space, prediction, Ports())

    assert found["result"] == "identical"
    assert found["changes"] == {"code": [f"shop.features: changed: {PACKAGE}.money:price_in_cents"]}


def test_a_row_that_is_computed_otherwise_names_the_code(shop, prediction):
    """A row from its source rows that is not the recorded one is laid at the door of what has changed."""

    def dearer(space, version, position):
        return {"amount": 1, "cents": 80, "visitors": 3}

    with edited(shop, f"{PACKAGE}/money.py", PRICE, DEARER) as space:
        found = replay(space, prediction, Ports(), recompute_row=dearer)

    assert (found["result"], found["causes"]) == ("different", ["code"])
    assert any("computed from its source rows 80" in line for line in found["differences"])


def test_a_row_is_computed_again_from_only_its_source_rows(shop, prediction):
    """All columns of it, bit by bit; by code that has changed since to another one, which is named."""
    as_it_was = replay(shop.space, prediction, Ports(), recompute_row=recompute_row)
    with edited(shop, f"{PACKAGE}/money.py", PRICE, DEARER) as space:
        since = replay(space, prediction, Ports(), recompute_row=recompute_row)
    unasked = replay(shop.space, prediction, Ports())

    assert (as_it_was["result"], as_it_was["row"], as_it_was["row_reason"]) == ("identical", "identical", None)
    assert (since["result"], since["row"], since["causes"]) == ("different", "different", ["code"])
    assert [line.partition(":")[0] for line in since["differences"]] == ["feature cents"]
    assert (unasked["row"], unasked["row_reason"]) == (None, "it was not asked for")


def test_features_of_the_client_have_no_source_rows(shop):
    """The margin is computed again, the row cannot be."""
    columns = {"amount": [1], "cents": [450], "visitors": [None]}
    sent = Predictor(shop.space).by_features(MODEL, columns).prediction_id

    found = replay(shop.space, str(sent), Ports(), recompute_row=recompute_row)

    assert (found["result"], found["row"]) == ("identical", None)
    assert found["row_reason"] == "the client sent the features, so there are no source rows to compute them from"


@contextmanager
def answered(shop, prediction, engine, flipped):
    """A record that says that another engine answered, with some bits of the margin flipped."""
    where = f"where prediction_id = '{prediction}' returning 1"
    (row,) = shop.query(f"select margin_bits from prediction_row where prediction_id = '{prediction}'")
    before = ("onnxruntime_cpu", row["margin_bits"])
    for name, bits in ((engine, f"{int(row['margin_bits'], 16) ^ flipped:08x}"), before):
        shop.query(f"update prediction set engine = '{name}' {where}")
        shop.query(f"update prediction_row set margin_bits = '{bits}' {where}")
        if (name, bits) != before:
            yield


@pytest.mark.parametrize(
    ("flipped", "result"), [(0, "identical"), (1, "within_tolerance(1e-05)"), (1 << 20, "different")]
)
def test_another_engine_answers_within_a_tolerance(shop, prediction, flipped, result):
    """Where the recorded engine is not here another one answers, and how near it comes is the result."""
    with answered(shop, prediction, "cuda", flipped):
        found = replay(shop.space, prediction, Ports())

    assert (found["result"], found["replayed_by"]) == (result, "xgboost_cpu")
    assert found["causes"] == ([] if result == "identical" else ["engine"])
    assert "no engine is called 'cuda'" in found["changes"]["engine"][0]


def test_a_margin_that_nothing_explains_is_said_to_be_so(shop, prediction):
    """Same row, bundle, engine, code and environment, and other bits: no other cause is invented."""
    with answered(shop, prediction, "xgboost_cpu", 1):
        found = replay(shop.space, prediction, Ports())

    assert (found["result"], found["causes"], found["changes"]) == ("different", ["nondeterminism"], {})


# --- the command


@pytest.fixture
def headwater(shop, monkeypatch, capsys):
    """Runs the command in this process, as in the shop's folder; returns (exit code, stdout)."""
    monkeypatch.chdir(shop.root)
    for name in ("HEADWATER_ROOT", "HEADWATER_HOME", "HEADWATER_NOW", "DATABASE_URL", "OPENLINEAGE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HEADWATER_PIPELINES", PACKAGE)

    def run(*arguments):
        code = main(arguments)
        return code, capsys.readouterr().out

    return run


def test_the_command_replays_tables(headwater, shop):
    """For people a line a version, for programs one object; 0 where all are identical."""
    told, out = headwater("replay", "shop.features")
    code, text = headwater("replay", "shop/features", "--partition", MONTH, "--json")
    found = json.loads(text)

    assert (told, code, found["identical"], found["result"]) == (0, 0, True, "identical")
    assert "3 of 3 versions identical" in out
    assert [(item["dataset"], item["partition"]) for item in found["versions"]] == [("shop/features", MONTH)]


@pytest.mark.parametrize(
    ("words", "replayed"),
    [
        ([f"shop.features[{MONTH}]"], [("shop/features", MONTH)]),
        ([f"shop/features[{MONTH}]@{{features}}"], [("shop/features", MONTH)]),
        (["shop.features@{features}"], [("shop/features", MONTH)]),
        (["shop.features@{features}", "--partition", MONTH], [("shop/features", MONTH)]),
        (["shop.features@current", "--partition", MONTH], [("shop/features", MONTH)]),
        ([f"data/tables/shop/features/{MONTH}.parquet"], [("shop/features", MONTH)]),
        ([f"{MODEL}@champion"], [("shop/late_t0", "")]),
        ([f"{MODEL}@{{late_t0}}"], [("shop/late_t0", "")]),
        ([MODEL], [("shop/late_t0", "")]),
    ],
)
def test_what_is_replayed_is_named_as_elsewhere(headwater, shop, words, replayed):
    """Partition, digest, alias, file: whatever names a version for diff and impact names it for replay."""
    digits = {"features": shop.current("features", MONTH).sha256[:12], "late_t0": shop.current("late_t0").sha256[:8]}

    code, text = headwater("replay", *(word.format(**digits) for word in words), "--json")

    found = json.loads(text)["versions"]
    assert (code, [(item["dataset"], item["partition"]) for item in found]) == (0, replayed)


def test_a_raw_file_that_somebody_put_there_is_not_replayed(headwater):
    """It is named like what was computed, and nothing computes it: said, with a 1."""
    code, out = headwater("replay", f"data/raw/shop/orders/{MONTH}.csv")

    assert code == 1
    assert "impossible" in out
    assert "somebody put these bytes there; nothing computes them" in out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shop.featurs", "Nothing on record is called 'shop.featurs'; did you mean shop.features"),
        ("nonsense", "Nothing on record is called 'nonsense'; "),
        (f"shop.features[{MONTH}", "is no name; write it as flights.features[2013-03]@3fa1b2c3"),
        ("0" * 8 + "-0000-0000-0000-" + "0" * 12, "There is no prediction 00000000-"),
    ],
)
@pytest.mark.usefixtures("headwater")
def test_a_name_that_nothing_answers_to_is_one_sentence(name, said, capsys):
    """Neither a prediction nor a version: what there is instead."""
    code = main(("replay", name))

    told = capsys.readouterr().err
    assert (code, told.count("\n")) == (1, 1)
    assert told.startswith("headwater: ")
    assert said in told


def test_the_command_replays_what_a_prediction_rests_on(headwater, prediction):
    """`--from source` computes the table of its features, the model, and all below them as well."""
    code, text = headwater("replay", prediction, "--from", "source", "--json")
    found = json.loads(text)

    assert (code, found["identical"]) == (0, True)
    assert {"shop/orders", "shop/features", "shop/late_t0"} <= {item["dataset"] for item in found["versions"]}
    assert all(item["identical"] for item in found["versions"])


def test_the_command_says_what_differs(headwater, shop, monkeypatch):
    """1, and the lines that name the function and the cells."""
    with edited(shop, f"{PACKAGE}/money.py", PRICE, DEARER):
        code, out = headwater("replay", "shop.features", "--partition", MONTH)

    assert code == 1
    assert f"  code: changed: {PACKAGE}.money:price_in_cents" in out
    assert "  column 'cents' differs in 28 of 28 rows" in out
