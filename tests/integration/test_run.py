"""The runner: it computes what changed and nothing else, and a failure changes nothing that was there."""

import json

import pytest

from lineage.columnar import plan as plans
from lineage.errors import IntegrityError, NotFoundError, SourceError, StepFailedError
from lineage.plan import make_plan
from lineage.ports import Ports
from lineage.produce import produce

MODULE = "depot"
SUITE = {
    "name": "totals",
    "expectations": [
        {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "amount", "max_value": 1},
            "severity": "critical",
        }
    ],
    "meta": {},
}


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop that tests change by its data; it runs in this process."""
    shop = make_shop(MODULE)
    shop.run()
    yield shop
    assert_consistent(shop)


@pytest.fixture
def current_shop(shop):
    """The same, with everything up to date."""
    shop.run()
    return shop


@pytest.fixture(scope="module")
def new_shop(make_shop):
    """A shop that tests change by its code; everything runs in new processes."""
    shop = make_shop()
    shop.store  # noqa: B018 - keeps the server running
    yield shop
    assert_consistent(shop)


@pytest.fixture(scope="module")
def first_run(new_shop):
    """What the first run in that shop did."""
    return new_shop.cli("run")


@pytest.fixture
def edited_shop(new_shop, first_run):
    """The shop after its first run; everything is up to date between tests."""
    return new_shop


def assert_consistent(shop):
    """Every run has its events, every current version its run, every input its version."""
    events = shop.query("select run_id, array_agg(event_type order by event_id) as types from event group by run_id")
    states = {str(row["run_id"]): row["state"] for row in shop.query("select run_id, state from run")}
    assert {row["run_id"]: row["types"] for row in events} == {key: ["START", state] for key, state in states.items()}
    assert not shop.query("select from run where state = 'RUNNING' or (state = 'FAIL') <> (error is not null)")
    assert not shop.query(
        "select from current_version c where not exists (select from run r join run_output o using (run_id)"
        " where r.run_id = c.run_id and r.state = 'COMPLETE'"
        " and (o.dataset, o.partition, o.sha256) = (c.dataset, c.partition, c.sha256))"
    )
    assert not shop.query(
        "select from run r where state = 'COMPLETE' and not exists (select from run_output o where o.run_id = r.run_id)"
    )
    assert not shop.query(
        "select from run_input i where not exists (select from version v"
        " where (v.dataset, v.partition, v.sha256) = (i.dataset, i.partition, i.sha256))"
    )
    assert not shop.query("select from publication")


def last_run(shop, step, partition=""):
    """The latest run on record of a step's partition."""
    text = (
        f"select * from run where step = 'shop.{step}' and partition = '{partition}' order by started_at desc limit 1"
    )
    return shop.query(text)[0]


def assert_failed(shop, before, step, partition=""):
    """The last run of the partition is on record as failed, and nothing that was there has changed."""
    failed = last_run(shop, step, partition)
    (event,) = shop.query(f"select body from event where run_id = '{failed['run_id']}' and event_type = 'FAIL'")
    assert failed["state"] == "FAIL"
    assert event["body"]["run"]["facets"]["errorMessage"]["message"] == failed["error"]
    assert shop.contents() == before
    assert not list((shop.root / ".dvc/tmp/headwater").iterdir())


def assert_one_sentence(ran, *words):
    """The command failed with exit code 1 and one line that holds these words."""
    assert (ran.code, ran.err.count("\n")) == (1, 1), ran.err
    assert all(word in ran.err for word in ("headwater: ", *words)), ran.err


# --- what is computed


def test_everything_runs_once(edited_shop, first_run, everything):
    """A new project is computed in order, and a second run finds it all up to date."""
    second = edited_shop.cli("run")

    assert (first_run.code, first_run.err, first_run.states) == (0, "", dict.fromkeys(everything, "computed"))
    assert (second.code, second.err, second.states) == (0, "", dict.fromkeys(everything, "up to date"))


@pytest.mark.parametrize(
    ("file", "before", "after", "computed"),
    [
        pytest.param("assets/shop.py", '"""What was sold', '# Why.\n    """All that was sold', set(), id="comment"),
        pytest.param("assets/money.py", '"""Prices."""', '"""Prices."""\n\nUNUSED = 1\n', set(), id="unreached"),
        pytest.param("assets/money.py", "* 100", "* 100.0", {"features"}, id="helper, same bytes"),
        pytest.param("assets/money.py", "* 100.0", "* 1000", {"features", "late_t0"}, id="helper"),
        pytest.param(
            "assets/shop.py", "lead_days: int = 1", "lead_days: int = 2", {"features", "late_t0"}, id="parameter"
        ),
        pytest.param(
            "assets/shop.py",
            '@shop.table(key="id", look',
            '@shop.table(key=["at", "id"], look',
            {"features", "late_t0"},
            id="key",
        ),
        pytest.param("assets/shop.py", '"visits": 1', '"visits": 2', {"features"}, id="look-back"),
        pytest.param("assets/shop.py", "rounds=3", "rounds=4", {"late_t0"}, id="model parameter"),
        pytest.param("assets/trainer.py", 'f"{learnt}\\n"', 'f"{learnt}."', {"late_t0"}, id="trainer"),
    ],
)
def test_an_edit_recomputes_what_reaches_it(edited_shop, everything, file, before, after, computed):
    """Code that a step reaches, and its parameters, decide whether it is computed; comments and docstrings do not."""
    edited_shop.edit(file, before, after)

    ran = edited_shop.cli("run")

    assert ran.code == 0, ran.err
    assert ran.computed == {label for label in everything if label.partition("[")[0] in computed}


@pytest.mark.parametrize(
    ("name", "line", "computed"),
    [
        pytest.param(
            "orders/2020-02",
            "new,2020-02-03,tea,1,false",
            {"orders[2020-02]", "features[2020-02]", "totals", "late_t0"},
            id="orders",
        ),
        pytest.param(
            "visits/2020-01",
            "2020-01-31,7",
            {"visits[2020-01]", "features[2020-01]", "features[2020-02]", "late_t0"},
            id="visits, which February looks back to",
        ),
        pytest.param("visits/2020-03", "2020-03-31,7", {"visits[2020-03]", "features[2020-03]"}, id="visits, unused"),
        pytest.param(
            "products/products",
            "coffee,9.5",
            {"products", "features[2020-01]", "features[2020-02]", "features[2020-03]"},
            id="product, unused",
        ),
    ],
)
def test_a_raw_file_recomputes_what_depends_on_it(current_shop, name, line, computed):
    """A changed raw file reaches its partition and what reads it; where bytes come out the same, it ends there."""
    current_shop.raw(name).write_text(f"{current_shop.raw(name).read_text()}{line}\n")

    assert current_shop.run() == computed
    assert current_shop.run() == set()


def test_a_month_that_lands_is_computed(current_shop):
    """New files are new partitions of what reads them all; the others stay as they are."""
    current_shop.write_month("2020-04")

    expected = {"orders[2020-04]", "visits[2020-04]", "features[2020-04]", "totals", "late_t0"}
    assert current_shop.run() == expected


def test_a_correction_taken_back_gives_the_old_version(current_shop):
    """The same bytes are the same version, computed again because the run before read others."""
    raw, before = current_shop.raw("orders/2020-01"), current_shop.current("totals")
    original = raw.read_text()
    current_shop.order_again("2020-01")
    current_shop.run()
    raw.write_text(original)

    computed = current_shop.run()

    assert computed == {"orders[2020-01]", "features[2020-01]", "totals", "late_t0"}
    assert current_shop.current("totals") == before


def test_what_a_model_no_longer_has_leaves_its_folder(current_shop):
    """The folder of a bundle holds the files of its current version and no others."""
    folder = current_shop.path("data/models/shop/late_t0")
    seen = set()
    for _ in range(2):
        current_shop.order_again("2020-03")
        current_shop.run()
        seen.add(frozenset(path.name for path in folder.iterdir()))

    assert seen == {frozenset({"manifest.json", "model.txt"}), frozenset({"manifest.json", "model.txt", "notes.txt"})}


# --- what fails


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param('raise ValueError("no tea")', "of assets.shop: ValueError: no tea", id="raises"),
        pytest.param("return 1", "TypeError: returned int, not a Polars frame", id="no frame"),
    ],
)
def test_a_failing_function_leaves_the_version_before(edited_shop, body, said):
    """A step that fails says so in one sentence and on record, and runs again once it is corrected."""
    before, current = edited_shop.contents(), edited_shop.current("totals")
    right = 'return orders.group_by("product").agg(pl.col("amount").sum())'
    edited_shop.edit("assets/shop.py", right, body)

    failed = edited_shop.cli("run", "shop.totals")
    edited_shop.edit("assets/shop.py", body, right)

    assert_one_sentence(failed, "shop.totals", said)
    assert_failed(edited_shop, before, "totals")
    assert edited_shop.current("totals") == current
    assert edited_shop.cli("run", "shop.totals").states == {"totals": "up to date"}


def test_a_panic_within_polars_leaves_the_version_before(edited_shop):
    """What one odd value makes of Polars is a failure of the step, and no table without rows."""
    before, current = edited_shop.contents(), edited_shop.current("totals")
    right = 'return orders.group_by("product").agg(pl.col("amount").sum())'
    width = 'pl.when(pl.col("amount") > 0).then(-1).otherwise(8)'
    odd = f'{right}.with_columns(pl.col("product").str.zfill({width}))'
    edited_shop.edit("assets/shop.py", right, odd)

    failed = edited_shop.cli("run", "shop.totals")
    edited_shop.edit("assets/shop.py", odd, right)

    # Rust's own account of it stands before.
    assert failed.code == 1
    assert failed.err.splitlines()[-1].startswith("headwater: shop.totals failed: ComputeError: Polars panicked: ")
    assert_failed(edited_shop, before, "totals")
    assert edited_shop.current("totals") == current


def test_a_failing_trainer_leaves_the_version_before(edited_shop):
    """A model that cannot be trained is a failed run like any other, and the champion stays."""
    before, right = edited_shop.contents(), "    learnt = pl.scan"
    edited_shop.edit("assets/trainer.py", right, f'    {{}}["cups"]\n{right}')

    failed = edited_shop.cli("run", "shop.late_t0")
    edited_shop.edit("assets/trainer.py", f'    {{}}["cups"]\n{right}', right)

    assert_one_sentence(failed, "shop.late_t0", "KeyError: 'cups'")
    assert_failed(edited_shop, before, "late_t0")
    assert edited_shop.cli("run", "shop.late_t0").states == {"late_t0": "up to date"}


def test_a_blocking_check_keeps_the_version_before(edited_shop):
    """A version that its suite refuses is not taken over, and the sentence says which promise it broke."""
    before, code = edited_shop.contents(), edited_shop.path("assets/shop.py").read_text()
    edited_shop.edit("assets/shop.py", "whole=True", 'whole=True, checks=suite("totals")')
    edited_shop.edit("assets/shop.py", "files, monthly", "files, monthly, suite")
    edited_shop.write("validations/suites/shop/totals.json", json.dumps(SUITE))

    failed = edited_shop.cli("run", "shop.totals")
    edited_shop.write("assets/shop.py", code)

    assert_one_sentence(failed, "shop.totals", "'totals'", "expect_column_values_to_be_between on amount", "previous")
    assert_failed(edited_shop, before, "totals")
    assert edited_shop.cli("run", "shop.totals").states == {"totals": "up to date"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param("2020-02-5,2020-02-06,tea,1,false", "2020-02-5", id="twice"),
        pytest.param(",2020-02-06,tea,1,false", "null", id="none"),
    ],
)
def test_a_key_that_is_none_leaves_the_version_before(current_shop, line, said):
    """Rows that the declared key cannot tell apart, or that have none, fail the table with an example."""
    raw, before = current_shop.raw("orders/2020-02"), current_shop.contents("data/tables/shop/features", "data/models")
    original = raw.read_text()
    raw.write_text(f"{original}{line}\n")

    with pytest.raises(StepFailedError, match=rf"shop\.features\[2020-02\].* key id .*{said}") as failed:
        current_shop.run()
    raw.write_text(original)

    assert (failed.value.step, failed.value.partition) == ("shop.features", "2020-02")
    assert last_run(current_shop, "features", "2020-02")["state"] == "FAIL"
    assert current_shop.contents("data/tables/shop/features", "data/models") == before
    assert "features[2020-02]" not in current_shop.run()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(bytes(range(256)) * 8, (), id="garbage"),
        pytest.param(b"id,at,product,amount,late\n\xff\x00,2020-01-01,tea,1,true\n", (), id="not UTF-8"),
        pytest.param(b"", (), id="empty"),
        pytest.param(b"id,at,product,count,late\na,2020-01-01,tea,1,true\n", ("lacks", "amount", "count"), id="header"),
        pytest.param(
            b"id,at,product,amount,late\na,2020-01-01,tea,1,true\nb,2020-01-01,tea,1.5,true\n",
            ("column 'amount'", "'1.5'", "row 1"),
            id="type",
        ),
        pytest.param(b"id,at,product,amount,late\na,2020-01-01,tea,1,true,7\n", (), id="too long a row"),
        pytest.param(b"id,at,product,amount,late\na,2020-01-01,tea\n", (), id="too short a row"),
    ],
)
def test_a_corrupted_raw_file_is_refused(current_shop, content, said):
    """Raw bytes that are not what was declared fail with file, column and row; the version before stays."""
    raw, before = current_shop.raw("orders/2020-02"), current_shop.contents()
    original = raw.read_bytes()
    raw.write_bytes(content)
    try:
        with pytest.raises(SourceError) as refused:
            current_shop.run()
    finally:
        raw.write_bytes(original)

    message = str(refused.value)
    assert all(word in message for word in ("shop.orders[2020-02]", "data/raw/shop/orders/2020-02.csv", *said)), message
    assert message.isprintable()
    assert_failed(current_shop, before, "orders", "2020-02")
    assert current_shop.run() == set()


def test_partitions_before_a_failure_stand(current_shop):
    """What was computed before a partition failed is current, in place, and nothing is left for the next start."""
    last = current_shop.raw("visits/2020-03")
    current_shop.raw("visits/2020-01").write_text(
        current_shop.raw("visits/2020-01").read_text().replace(",13\n", ",14\n")
    )
    original = last.read_text()
    last.write_text("nothing\n")
    try:
        with pytest.raises(SourceError, match=r"shop\.visits\[2020-03\]"):
            current_shop.run()
    finally:
        last.write_text(original)

    assert current_shop.current("visits", "2020-01").sha256 in current_shop.contents().values()
    assert not current_shop.query("select from publication")
    assert "visits[2020-01]" not in current_shop.run()


def test_what_an_input_lacks_is_named(make_shop):
    """A step whose inputs have no version, or a source without files, does not pass for done: it names them."""
    shop = make_shop("depot_lacking")

    with pytest.raises(
        NotFoundError, match=r"shop\.features lacks .* \(shop\.orders, shop\.visits, shop\.products\); run"
    ):
        shop.run("features")
    with pytest.raises(NotFoundError, match=r"shop\.features\[2020-02\] reads shop/orders\[2020-02\]"):
        shop.run("features", partition="2020-02")
    with pytest.raises(NotFoundError, match=r"shop\.late_t0 reads shop/features"):
        shop.run("late_t0")
    with pytest.raises(
        SourceError, match=r"shop\.orders\[2020-06\]: there is no file data/raw/shop/orders/2020-06\.csv"
    ):
        shop.run("orders", partition="2020-06")
    shop.raw("products/products").unlink()
    with pytest.raises(SourceError, match=r"shop\.products: there is no file data/raw/shop/products/products\.csv"):
        shop.run("products")
    for month in ("2020-01", "2020-02", "2020-03"):
        shop.raw(f"visits/{month}").unlink()
    with pytest.raises(SourceError, match=r"shop\.visits: there is no file data/raw/shop/visits/\{partition\}\.csv"):
        shop.run("visits")
    assert shop.query("select from run") == []


# --- what was tampered with


def test_a_tampered_table_is_refused_and_restored(current_shop, damage):
    """A step does not read bytes that nobody recorded; the step that writes them puts the recorded ones back."""
    table, before = current_shop.table("orders/2020-01"), current_shop.contents()
    damage(table)
    current_shop.order_again("2020-02")
    current_shop.run("orders", partition="2020-02")

    with pytest.raises(
        IntegrityError, match=r"shop\.totals: data/tables/shop/orders/2020-01\.parquet holds other bytes"
    ):
        current_shop.run("totals")

    assert current_shop.run("orders", partition="2020-01") == set()
    assert (
        current_shop.contents()["data/tables/shop/orders/2020-01.parquet"]
        == before["data/tables/shop/orders/2020-01.parquet"]
    )
    assert current_shop.run("totals") == {"totals"}


def test_a_lost_version_is_computed_again(current_shop, damage):
    """Where neither the file nor its object is what was recorded, the step runs and gives the same bytes."""
    version = current_shop.current("totals")
    damage(current_shop.table("totals/all"))
    damage(current_shop.object(version))

    assert current_shop.run("totals") == {"totals"}
    assert current_shop.current("totals") == version
    assert current_shop.space.objects.is_whole(version.file)
    assert current_shop.run() == set()


def test_a_missing_file_is_put_back(current_shop):
    """A table and a bundle that somebody removed come back from the cache."""
    before = current_shop.contents()
    current_shop.table("totals/all").unlink()
    current_shop.path("data/models/shop/late_t0/model.txt").unlink()

    assert current_shop.run() == set()
    assert current_shop.contents() == before


def test_a_run_reads_what_it_says_it_read(current_shop, tmp_path):
    """A version that is replaced between plan and reading is read all the same: from the cache."""
    before = current_shop.current("totals")
    step = current_shop.space.project.step("shop.totals")
    plan = make_plan(current_shop.space, step, "")
    current_shop.order_again("2020-01")
    current_shop.run("orders")

    produced = produce(current_shop.space, plan, tmp_path, Ports())

    assert produced.version == before
    assert current_shop.run("totals") == {"totals"}


# --- at the same time


@pytest.mark.parametrize("wanted", [("shop.visits",), ()], ids=["one step", "everything"])
def test_two_processes_compute_once(edited_shop, finished, wanted):
    """Of two processes that are asked for the same, one computes and the other finds it done."""
    before = len(edited_shop.query("select from run where state = 'COMPLETE'"))
    for month in ("2020-01", "2020-02", "2020-03"):
        visits = edited_shop.raw(f"visits/{month}")
        visits.write_text(visits.read_text().replace(f"{month}-02,", f"{month}-02,1"))

    started = [edited_shop.start("headwater", "run", *wanted) for _ in range(2)]
    one, other = [finished(process) for process in started]

    assert (one.code, other.code, one.err, other.err) == (0, 0, "", "")
    assert not one.computed & other.computed
    after = len(edited_shop.query("select from run where state = 'COMPLETE'"))
    assert len(one.computed | other.computed) == after - before > 0


def test_events_say_which_columns_columns_came_from(shop):
    """The COMPLETE of a source, a table and a model; START knows of none."""
    shop.run()
    bodies = [row["body"] for row in shop.query("select body from event order by event_id")]
    facets = {
        (body["job"]["name"].partition(".")[2], body["eventType"]): body["outputs"][0]["facets"].get("columnLineage")
        for body in bodies
        if body["eventType"] in ("START", "COMPLETE")
    }

    def sources(step, column):
        return {(item["name"], item["field"]) for item in facets[step, "COMPLETE"]["fields"][column]["inputFields"]}

    assert {name for name, state in facets if state == "START" and facets[name, state]} == set()
    assert sources("products", "price") == {("shop/raw_products", "price")}
    assert sources("features", "cents") == {("shop/products", "price")}
    assert sources("features", "visitors") == {("shop/visits", "visitors")}
    assert {("shop/features", "visitors"), ("shop/features", "late")} < sources("late_t0", "prediction")
    assert {(item["name"], item["field"]) for item in facets["features", "COMPLETE"]["dataset"]} == {
        ("shop/orders", "product"),
        ("shop/products", "product"),
        ("shop/orders", "at"),
        ("shop/visits", "day"),
    }


def test_a_run_goes_on_where_its_columns_are_not_known(shop, monkeypatch, caplog):
    """A Polars whose plans nobody here knows: the run says so, and its event has no such facet."""
    monkeypatch.setattr(plans, "KNOWN_VERSIONS", frozenset())
    shop.order_again("2020-03")

    assert "features[2020-03]" in shop.run()

    warned = [record.getMessage() for record in caplog.records if "column lineage" in record.getMessage()]
    assert any(text.startswith("shop.features[2020-03]: its column lineage is not known: Polars") for text in warned)
    (last,) = shop.query(
        "select body from event where event_type = 'COMPLETE' and body #>> '{job,name}' = 'shop.features'"
        " order by event_id desc limit 1"
    )
    assert "columnLineage" not in last["body"]["outputs"][0]["facets"]
