"""Rows that checks put aside: kept beside the table with the reason, and followed as exactly as those that go on."""

import csv
import json

import dagster as dg
import numpy as np
import polars as pl
import pytest

from lineage.errors import CheckFailedError, NotFoundError, SettingsError
from lineage.exclusions import balances, ledger
from lineage.gc import collect
from lineage.ports import Ports
from lineage.proof.recompute import replay_versions
from lineage.quarantine import EXPECTATIONS, SOURCE
from lineage.recover import recover
from lineage.replay import replay
from lineage.run import Door, Runner, run_steps
from lineage.trace import Traces
from lineage.tracing.rowreplay import differing, recompute_row, stored_row
from lineage.tracing.tracer import Ask, Tracer
from lineage.verify import verify
from lineage.where import where
from orchestration.build import build_definitions
from serving.gate import promote
from serving.predict import Predictor

MODEL = "shop-late-t0"
MONTH = "2020-02"
RAW = f"shop/orders/{MONTH}.csv"
ASIDE = {"meta": {"action": "quarantine"}}
AMOUNT = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "amount", "min_value": 0, "max_value": 50}}
PRODUCT = {"type": "expect_column_values_to_be_in_set"}
PRODUCT["kwargs"] = {"column": "product", "value_set": ["tea", "salt", "rice"]}
KNOWN = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}}
VISITORS = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "visitors", "min_value": 3}}
SAID_AMOUNT = "expect_column_values_to_be_between on amount (min_value=0, max_value=50)"
SAID_PRODUCT = "expect_column_values_to_be_in_set on product (value_set=['tea', 'salt', 'rice'])"
SAID_VISITORS = "expect_column_values_to_be_between on visitors (min_value=3)"
# Record -> what it breaks, in the order of the suite.
BAD = {3: [SAID_AMOUNT], 9: [SAID_AMOUNT, SAID_PRODUCT], 10: [SAID_PRODUCT]}
PLANTED = {
    3: f"{MONTH}-bad,{MONTH}-03,tea,-5,false",
    9: f"{MONTH}-worse,{MONTH}-08,lead,999,true",
    10: f"{MONTH}-lead,{MONTH}-08,lead,2,true",
    # The key of another order, on a day with few visitors: of the two only one goes on.
    20: f"{MONTH}-9,{MONTH}-05,tea,1,false",
}


def write_suite(shop, name, *expectations):
    text = json.dumps({"name": name, "expectations": list(expectations), "meta": {}})
    shop.write(f"validations/suites/shop/{name}.json", text)


def make(make_shop, package, trainer=""):
    shop = make_shop(package, trainer=trainer)
    pipeline = f"{package}/shop.py"
    shop.edit(pipeline, "files, monthly", "files, monthly, suite")
    shop.edit(pipeline, '"late": "boolean"},', '"late": "boolean"},\n    checks=suite("orders"),')
    shop.edit(pipeline, 'look_back={"visits": 1}', 'look_back={"visits": 1}, checks=suite("features")')
    write_suite(shop, "orders", AMOUNT | ASIDE, KNOWN, PRODUCT | ASIDE)
    write_suite(shop, "features", VISITORS | ASIDE)
    lines = shop.raw(f"orders/{MONTH}").read_text().splitlines()
    for record, line in sorted(PLANTED.items()):
        lines.insert(record + 1, line)
    shop.raw(f"orders/{MONTH}").write_text("\n".join([*lines, ""]))
    shop.write("uv.lock", "polars = 2\n")
    assert shop.cli("dvc", "sync").code == 0
    shop.commit()
    return shop


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop whose orders and features put rows aside, up to date, with a model that answers."""
    shop = make(make_shop, "depot_aside", "serving.fit:fit")
    shop.run()
    promote(shop.space, MODEL)
    return shop


@pytest.fixture(scope="module")
def records(shop):
    """The records of the month's orders as they stand in the file."""
    with shop.raw(f"orders/{MONTH}").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def prediction(shop):
    """A prediction from a row behind those that were put aside."""
    return Predictor(shop.space).by_key(MODEL, [f"{MONTH}-21"]).prediction_id


def current(shop, name, aside=False):
    return shop.store.current(f"shop/{name}{'.quarantine' * aside}")[MONTH]


def stored(shop, name, aside=False):
    return pl.read_parquet(shop.path(current(shop, name, aside).file.path)).to_dicts()


# --- what is kept where


def test_a_source_keeps_its_bad_records_beside_it(shop, records):
    """Each with its own columns, what it broke in the order of the suite, and where it stands in the raw file."""
    good = [row["id"] for record, row in enumerate(records) if record not in BAD]

    assert [row["id"] for row in stored(shop, "orders")] == good
    assert [(row["id"], row["amount"]) for row in stored(shop, "orders", aside=True)] == [
        (records[record]["id"], int(records[record]["amount"])) for record in BAD
    ]
    assert [(row[EXPECTATIONS], row[SOURCE]) for row in stored(shop, "orders", aside=True)] == [
        (broken, [f"{RAW}:{record}"]) for record, broken in BAD.items()
    ]


def few_visitors(row):
    return row["at"].day * 13 % 50 in (13 + 1, 13 + 2)


def test_a_table_keeps_its_bad_rows_beside_it(shop):
    """In the order of its key, which is judged of the rows that go on; their ids are rows of the inputs' files."""
    kept, aside = stored(shop, "features"), stored(shop, "features", aside=True)
    orders = stored(shop, "orders")

    assert {row["id"] for row in aside} == {row["id"] for row in orders if few_visitors(row)}
    assert len(kept) + len(aside) == len(orders)
    assert not any(few_visitors(row) for row in kept)
    assert f"{MONTH}-9" in {row["id"] for row in kept} & {row["id"] for row in aside}
    for row in aside:
        assert row[EXPECTATIONS] == [SAID_VISITORS]
        told = dict(text.rpartition(":")[::2] for text in row[SOURCE])
        order = orders[int(told[current(shop, "orders").file.path])]
        assert (order["id"], order["at"]) == (row["id"], row["at"])
        assert {name.split("/")[3] for name in told} == {"orders", "visits", "products"}


def test_a_partition_without_bad_rows_has_a_quarantine_without_rows(shop):
    """So that it is there to be read for every month."""
    version = shop.store.current("shop/orders.quarantine")["2020-01"]

    assert version.row_count == 0
    assert pl.read_parquet(shop.path(version.file.path)).is_empty()


def test_bytes_are_those_of_the_same_rows_without_the_bad_ones(shop, make_shop):
    """What was put aside leaves nothing in the table."""
    other = make(make_shop, "depot_clean")
    lines = other.raw(f"orders/{MONTH}").read_text().splitlines()
    kept = [line for record, line in enumerate(lines[1:]) if record not in BAD]
    other.raw(f"orders/{MONTH}").write_text("\n".join([lines[0], *kept, ""]))

    other.run("orders", partition=MONTH)

    assert current(other, "orders").sha256 == current(shop, "orders").sha256


# --- backwards


def test_every_row_is_traced_to_its_own_records(shop, records):
    """Of the source, of the table that it feeds, and of what either put aside."""
    traces = Traces(shop.space)
    for name, aside in (("orders", False), ("orders", True), ("features", False), ("features", True)):
        version = current(shop, name, aside)
        for at, row in enumerate(stored(shop, name, aside)):
            found = traces.table_row(version, at)
            (orders,) = (source for source in found["sources"] if source["file"].endswith(RAW))
            assert found["complete"], found["problems"]
            ((first, last),) = orders["ranges"].tolist()
            assert first == last
            assert (records[first]["id"], records[first]["at"]) == (row["id"], f"{row['at']}")
            assert dict(zip(orders["columns"], orders["values"][0], strict=True)) == records[first]
            assert orders["records"] == len(records)
            assert [rows for _, rows in orders["checks"][0]["quarantined"]] == [2, 2]


def test_a_group_is_traced_to_the_records_that_went_on(shop, records):
    """A whole table that reads the source in all months."""
    version = shop.store.current("shop/totals")[""]
    found = {row["product"]: at for at, row in enumerate(pl.read_parquet(shop.table("totals/all")).to_dicts())}
    told = Traces(shop.space).table_row(version, found["tea"])
    (source,) = (item for item in told["sources"] if item["partition"] == MONTH)
    rows = [row for first, last in source["ranges"].tolist() for row in range(first, last + 1)]

    expected = [at for at, row in enumerate(records) if row["product"] == "tea" and at not in BAD]
    assert rows == expected


def test_a_record_is_asked_for_by_its_number_in_the_file(shop, records):
    """Whether it went on or not, it is where it is now."""
    traces = Traces(shop.space)
    kept, aside = (traces.of(f"shop.orders[{MONTH}]:{record}") for record in (11, 9))

    assert (kept["table"]["dataset"], kept["values"]["id"]) == ("shop/orders", records[11]["id"])
    assert (aside["table"]["dataset"], aside["values"]["id"]) == ("shop/orders.quarantine", records[9]["id"])
    assert [source["rows"] for source in kept["sources"]] == [[11]]
    assert [source["rows"] for source in aside["sources"]] == [[9]]


def test_the_row_ids_of_what_was_put_aside_can_be_asked_for(shop):
    """Each leads to the row that it names."""
    traces = Traces(shop.space)
    row = stored(shop, "features", aside=True)[0]
    (name,) = (text for text in row[SOURCE] if "/orders/" in text)

    found = traces.of(name)
    again = traces.of(stored(shop, "orders", aside=True)[0][SOURCE][0])

    assert (found["table"]["dataset"], found["values"]["id"]) == ("shop/orders", row["id"])
    assert again["values"]["id"] == f"{MONTH}-bad"


def test_the_reason_comes_from_the_columns_that_were_judged(shop):
    """And its other columns from theirs."""
    version = current(shop, "features", aside=True)
    columns = Traces(shop.space).table_row(version, 0)["columns"]

    assert "shop/visits" in {item["dataset"] for item in columns[EXPECTATIONS]}
    assert {item["dataset"] for item in columns["amount"]} >= {"shop/orders"}


def test_a_prediction_is_traced_and_replayed(shop, prediction, records):
    """Through a source and a table that both put rows aside."""
    found = Traces(shop.space).prediction(prediction)
    (orders,) = (source for source in found["sources"] if source["file"].endswith(RAW))
    assert found["complete"], found["problems"]
    assert [values[0] for values in orders["values"]] == [f"{MONTH}-21"]
    assert orders["rows"] == [next(at for at, row in enumerate(records) if row["id"] == f"{MONTH}-21")]

    again = replay(shop.space, prediction, Ports(), recompute_row=recompute_row)

    assert (again["result"], again["row"], again["differences"]) == ("identical", "identical", [])


def test_a_row_is_computed_again_from_only_its_records(shop):
    """Also one whose key another row had that was put aside."""
    version = current(shop, "features")
    for at, row in enumerate(stored(shop, "features")):
        if row["id"] in (f"{MONTH}-9", f"{MONTH}-28", f"{MONTH}-1"):
            computed = recompute_row(shop.space, version, at)
            assert differing(stored_row(shop.space, version, at), computed) == []
    with pytest.raises(NotFoundError, match="put aside"):
        recompute_row(shop.space, current(shop, "features", aside=True), 0)


# --- forwards


def test_where_says_what_put_a_record_aside(shop):
    """It is in the quarantine, and the step that it did not get through names the expectation that it broke first."""
    tracer = Tracer(shop.space)
    for record, broken in BAD.items():
        found = where(tracer, f"shop.orders[{MONTH}]:{record}")

        assert [(table["dataset"], table["rows"]) for table in found["tables"]] == [("shop/orders.quarantine", 1)]
        assert [(item["step"], item["how"], item["reason"]) for item in found["dropped"]] == [
            ("shop.orders", "quarantine", broken[0])
        ]
        assert (found["bundles"], found["predictions"]["count"]) == ([], 0)


def test_where_finds_a_record_behind_those_that_were_put_aside(shop, prediction, records):
    """At its place in the source's table, in what came of it, and in the prediction."""
    record = next(at for at, row in enumerate(records) if row["id"] == f"{MONTH}-21")
    found = where(Tracer(shop.space), f"{RAW}:{record}")
    tables = {table["dataset"]: table["ranges"] for table in found["tables"]}

    at = [row["id"] for row in stored(shop, "orders")].index(f"{MONTH}-21")
    assert np.asarray(tables["shop/orders"]).tolist() == [[at, at]]
    assert at == record - len(BAD)
    assert "shop/features" in tables
    assert prediction in found["predictions"]["ids"]


def test_where_says_what_put_the_row_of_a_table_aside(shop, records):
    """The record went through the source, and the table's check kept its row out."""
    record = next(at for at, row in enumerate(records) if row["id"] == f"{MONTH}-5")
    found = where(Tracer(shop.space), f"{RAW}:{record}")

    assert {table["dataset"] for table in found["tables"]} >= {"shop/orders", "shop/features.quarantine"}
    assert "shop/features" not in {table["dataset"] for table in found["tables"]}
    assert [(item["step"], item["how"], item["reason"]) for item in found["dropped"]] == [
        ("shop.features", "quarantine", SAID_VISITORS)
    ]


def test_forwards_is_backwards_turned_round(shop, records):
    """For every record of the month."""
    tracer = Tracer(shop.space)
    behind = {}
    for name, aside in (("orders", False), ("orders", True), ("features", False), ("features", True)):
        version = current(shop, name, aside)
        every = np.arange(version.row_count)
        for (dataset, partition, _), item in tracer.back([Ask(version, every, every)]).items():
            if (dataset, partition) == ("shop/raw_orders", MONTH):
                for asker, row in zip(item.asker.tolist(), item.rows.tolist(), strict=True):
                    behind.setdefault(row, set()).add((version.dataset, asker))

    for record in range(len(records)):
        found = where(tracer, f"{RAW}:{record}")["tables"]
        rows = {
            (table["dataset"], row)
            for table in found
            if table["partition"] == MONTH
            for first, last in np.asarray(table["ranges"]).tolist()
            for row in range(first, last + 1)
        }
        assert rows == behind[record]


@pytest.mark.parametrize("name", ["orders", "features"])
def test_every_row_of_the_inputs_reached_the_table_or_has_its_reason(shop, records, name):
    """rows = reached + excluded, and those that were put aside are counted by the expectation."""
    tracer = Tracer(shop.space)
    first = balances(tracer, current(shop, name))[0]
    excluded = {(item.how, item.text): item.rows.tolist() for item in first.excluded}

    assert first.rows == first.reached + sum(map(len, excluded.values()))
    if name == "orders":
        assert first.rows == len(records)
        assert excluded == {("quarantine", SAID_AMOUNT): [3, 9], ("quarantine", SAID_PRODUCT): [10]}
    else:
        low = [at for at, row in enumerate(stored(shop, "orders")) if few_visitors(row)]
        assert excluded == {("quarantine", SAID_VISITORS): low}


def test_a_lookup_row_that_only_rows_put_aside_had_is_excluded_for_them(shop):
    """The visits of the day before."""
    found = ledger(Tracer(shop.space), f"shop.features[{MONTH}]")
    (visits,) = (item for item in found["inputs"] if (item["input"], item["partition"]) == ("visits", MONTH))
    days = {
        item["how"]: [row + 1 for first, last in np.asarray(item["ranges"]).tolist() for row in range(first, last + 1)]
        for item in visits["excluded"]
    }

    assert days["quarantine"] == [4, 27]
    assert visits["rows"] == visits["reached"] + sum(item["count"] for item in visits["excluded"])


# --- replay, verify, gc, DVC


def test_everything_comes_out_again(shop):
    """From the raw files upwards, what was put aside as well."""
    versions = [current(shop, name, aside) for name in ("orders", "features") for aside in (False, True)]

    replayed = replay_versions(shop.space, versions, Ports(), from_source=True)

    assert [(item.version.dataset, item.result, item.differences) for item in replayed if not item.identical] == []
    assert {item.version for item in replayed} >= set(versions)


def test_verify_finds_nothing_wrong(shop):
    """No file is damaged, and dvc.lock is that of the record."""
    found = verify(shop.space)

    assert (found.damaged, found.lock) == ((), ())


def test_verify_finds_a_damaged_quarantine(shop):
    """Which the next run puts back."""
    path = shop.path(current(shop, "orders", aside=True).file.path)
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(b"damaged")

    found = verify(shop.space)
    shop.run("orders", partition=MONTH)

    assert [item.path for item in found.damaged] == [current(shop, "orders", aside=True).file.path]
    assert path.read_bytes() == whole


def test_gc_keeps_what_is_put_aside_now(shop):
    """Its files and those that say where its rows came from."""
    collect(shop.space)

    assert verify(shop.space).damaged == ()


def test_two_clones_have_one_lock(shop, clone_shop):
    """What DVC tracks is a function of the content; nothing is left for it to do."""
    shop.commit()
    cloned = clone_shop(shop)
    before = cloned.path("dvc.lock").read_bytes()
    for name in ("orders", "visits", "products"):
        cloned.execute("cp", "-r", str(shop.path(f"data/raw/shop/{name}")), str(cloned.path("data/raw/shop/")))

    ran = cloned.cli("run", "shop.orders")
    more = cloned.cli("run", "shop.visits")

    assert (ran.code, more.code) == (0, 0), ran.err + more.err
    assert cloned.path("dvc.lock").read_bytes() == before
    assert cloned.contents("data/tables/shop/orders.quarantine") == shop.contents("data/tables/shop/orders.quarantine")
    assert "data/tables/shop/orders.quarantine" in shop.path("dvc.lock").read_text()


def test_dvc_has_nothing_to_do(shop):
    """The quarantine is an out of the stage."""
    status = shop.dvc("status", "shop-orders", "shop-features")

    assert (status.code, status.out.strip()) == (0, "Data and pipelines are up to date."), status.err


def test_a_crash_before_it_was_put_into_place_is_mended(shop):
    """The next start finishes what was committed."""
    version = current(shop, "orders", aside=True)
    key = {"dataset": version.dataset, "partition": version.partition, "sha256": version.sha256}
    shop.store.run("insert_publication", **key)
    shop.path(version.file.path).unlink()

    done = recover(shop.space)

    assert done == [f"put shop/orders.quarantine[{MONTH}] into place"]
    assert shop.path(version.file.path).exists()
    assert shop.store.rows("open_publications") == []


# --- told


def test_the_run_the_list_and_the_ledger_count_them(shop, headwater):
    """One number a partition."""
    _, ran, _ = headwater("run", "shop.orders")
    _, listed, _ = headwater("list")
    _, excluded, _ = headwater("excluded", f"shop.orders[{MONTH}]")
    _, rows, _ = headwater("list", "--json")

    assert [line.split()[-2:] for line in ran.splitlines()] == [[n, "quarantined"] for n in ("0", "3", "0")]
    assert "(3 quarantined)" in next(line for line in listed.splitlines() if line.startswith("shop.orders"))
    assert [" ".join(line.split()) for line in excluded.splitlines()[2:]] == [
        f"2 quarantine: {SAID_AMOUNT}",
        f"1 quarantine: {SAID_PRODUCT}",
    ]
    assert {row["step"]: row["quarantined"] for row in json.loads(rows)}["shop.totals"] is None


def test_check_results_and_events_say_it(shop):
    """How many rows broke each; and the quarantine is a dataset that the run wrote."""
    version = current(shop, "orders")
    where_it_is = f"where dataset = 'shop/orders' and sha256 = '{version.sha256}'"
    (row,) = shop.query(f"select run_id, expectations from check_result {where_it_is}")
    (event,) = shop.query(f"select body from event where run_id = '{row['run_id']}' and event_type = 'COMPLETE'")

    assert [item["quarantined"] for item in row["expectations"]] == [2, 0, 2]
    assert all(item["success"] for item in row["expectations"])
    outputs = {item["name"]: item for item in event["body"]["outputs"]}
    assert outputs.keys() == {"shop/orders", "shop/orders.quarantine"}
    assert outputs["shop/orders.quarantine"]["outputFacets"]["outputStatistics"]["rowCount"] == len(BAD)
    fields = [field["name"] for field in outputs["shop/orders.quarantine"]["facets"]["schema"]["fields"]]
    assert fields[-2:] == [EXPECTATIONS, SOURCE]


def test_dagster_shows_them(shop, tmp_path):
    """In the metadata of the materialization, and with the suite's asset check by expectation."""
    definitions = build_definitions(shop.space.settings, shop.space.project)
    asset, name = dg.AssetKey(["shop", "orders"]), "suite_orders"
    selection = dg.AssetSelection.assets(asset) | dg.AssetSelection.checks(dg.AssetCheckKey(asset, name))
    job = dg.define_asset_job("orders", selection=selection)
    definitions = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job]))
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        result = definitions.resolve_job_def("orders").execute_in_process(instance=instance, partition_key=MONTH)

    (made,) = result.asset_materializations_for_node("shop__orders")[:1]
    (check,) = result.get_asset_check_evaluations()
    assert made.metadata["quarantined_rows"].value == len(BAD)
    assert check.metadata["quarantined"].value == [
        f"shop.orders[{MONTH}]: expect_column_values_to_be_between amount: 2 rows",
        f"shop.orders[{MONTH}]: expect_column_values_to_be_in_set product: 2 rows",
    ]


def test_what_came_through_other_doors_is_reported_with_its_count(shop):
    """As the queue of reports has it."""
    (row,) = shop.query(
        "select body from dagster_report where dataset = 'shop/features' and partition = '2020-02' limit 1"
    )

    assert row["body"]["quarantined"] == current(shop, "features", aside=True).row_count


# --- limits and changes


@pytest.fixture(scope="module")
def strict(make_shop):
    """A shop of its own, whose suites are changed."""
    shop = make(make_shop, "depot_strict")
    shop.run("orders", partition=MONTH)
    return shop


def run_orders(shop):
    return run_steps(Runner(shop.space, Ports(), Door("test")), [shop.space.project.step("shop.orders")], MONTH)


def limited(mostly, **more):
    return {**AMOUNT, "kwargs": {**AMOUNT["kwargs"], "mostly": mostly}} | ASIDE | more


def test_more_bad_rows_than_mostly_lets_pass_block(strict):
    """Nothing becomes visible, and the sentence has both counts."""
    before = current(strict, "orders"), current(strict, "orders", aside=True)
    write_suite(strict, "orders", limited(0.95))

    with pytest.raises(CheckFailedError, match=r"unexpected_count=2.*mostly=0\.95") as refusal:
        run_orders(strict)

    assert "element_count=32" in str(refusal.value)
    assert (current(strict, "orders"), current(strict, "orders", aside=True)) == before
    write_suite(strict, "orders", limited(0.9))
    (outcome,) = run_orders(strict)
    assert outcome.aside is not None
    assert (outcome.aside.row_count, outcome.version.row_count) == (2, 30)


def test_a_warning_lets_them_go_and_says_so(strict):
    """The rows are put aside all the same."""
    write_suite(strict, "orders", limited(0.95, severity="warning"))

    (outcome,) = run_orders(strict)

    (report,) = outcome.checks
    assert [(item.success, item.quarantined) for item in report.expectations] == [(False, 2)]
    assert outcome.aside is not None
    assert outcome.aside.row_count == 2


def test_a_suite_that_marks_nothing_more_leaves_no_quarantine(strict):
    """Neither on record nor in its place; records are rows again, by their number."""
    path = strict.path(current(strict, "orders", aside=True).file.path)
    assert path.exists()
    write_suite(strict, "orders", KNOWN)

    (outcome,) = run_orders(strict)

    assert outcome.aside is None
    assert strict.store.current("shop/orders.quarantine") == {}
    assert not path.exists()
    found = Traces(strict.space).of(f"shop.orders[{MONTH}]:9")
    assert (found["table"]["position"], found["values"]["id"]) == (9, f"{MONTH}-worse")


def test_what_cannot_put_rows_aside_is_refused_when_the_suite_is_read(strict):
    """File, expectation and reason; before anything is computed into place."""
    unique = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}}
    write_suite(strict, "orders", KNOWN, unique | ASIDE)

    with pytest.raises(SettingsError, match=r"orders\.json: expectation 2 .*unique.* depends on other rows"):
        run_orders(strict)
