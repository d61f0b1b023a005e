"""Forwards: what a row reached is exactly what has it behind, and what dropped it is named."""

import json
import random
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient

from lineage.api import create_app
from lineage.errors import CheckFailedError, NotFoundError
from lineage.impact import impact
from lineage.ports import Ports
from lineage.run import Door, Runner, run_steps
from lineage.tracing.ancestry import Identity
from lineage.tracing.tracer import Ask, Tracer
from lineage.where import follow_forward, where
from orchestration.cli import main
from serving.features import FeatureRow
from serving.log import Asked, PredictedRow, PredictionLog

from .market import LOOKUPS, MONTHS, STEPS, Market

MODEL = "shop-sale"
FEBRUARY = "2020-02"
TABLES = [(name, partition) for name in STEPS for partition in (("",) if name == "totals" else MONTHS)]


@pytest.fixture(scope="module")
def tracer(market):
    """One for all tests, as a service keeps it."""
    return Tracer(market[0].space)


def name_of(key: Identity):
    """(step, partition) of a version of the shop's."""
    return key[0].removeprefix("shop/"), key[1]


def record_prediction(shop, name, partition, position, model="sale"):
    """The id of a prediction from a row of a table, by the model that was trained last."""
    version, digest = shop.current(name, partition), shop.current(model).sha256
    found = FeatureRow(f"key {position}", version.dataset, partition, version.sha256, position, {"amount": 1.0})
    row = PredictedRow(0, {"amount": 1.0}, np.float32(0.5), found)
    asked = Asked(f"shop-{model.replace('_', '-')}", digest, "xgboost_cpu", "table", "0" * 64)
    return str(PredictionLog(shop.store).record(asked, [row]))


# --- against plain Python


@pytest.mark.parametrize(("name", "partition"), TABLES)
def test_what_is_behind_each_row_is_what_plain_python_says(market, tracer, name, partition):
    """Backwards from every row of every table, through all steps: the same rows of tables and records of files."""
    shop, plain = market
    count = plain.count((name, partition))
    version, every = shop.current(name, partition), np.arange(count)

    behind = tracer.back([Ask(version, every, every)])

    tables = {name_of((key[0], key[1], "")): item for key, item in behind.items() if item.origin.inputs}
    found = [{(place, row) for place, item in tables.items() for row in item.of(at).tolist()} for at in range(count)]
    assert found == [plain.behind((name, partition), at) for at in range(count)]
    assert count > 3


def reached_in_plain_python(plain: Market):
    """(place, row) -> the rows of tables that have it behind them."""
    found = {}
    for place in plain.tables:
        for at in range(plain.count(place)):
            for origin in plain.behind(place, at) - {(place, at)}:
                found.setdefault(origin, set()).add((place, at))
    return found


def test_a_record_reaches_exactly_the_rows_that_have_it_behind_them(market, tracer):
    """Forwards is backwards turned round: of every lookup row, and of a sample of the others."""
    shop, plain = market
    every = [(place, at) for place in plain.sources for at in range(plain.count(place))]
    lookups = [item for item in every if item[0][0] in LOOKUPS]
    expected = reached_in_plain_python(plain)

    for place, at in (*lookups, *random.Random(5).sample(every, 50)):
        version = shop.current(*place)
        rows = follow_forward(tracer, version, at).rows
        found = {(name_of(key), row) for key, part in rows.items() for row in part.tolist()} - {(place, at)}
        assert found == expected.get((place, at), set()), (place, at)
    assert {place for (place, _) in expected} >= {(name, "") for name in LOOKUPS if name != "banned"}


# --- what is said


def first(plain, place, **values):
    """The number of the first row of a source with these values."""
    rows = plain.sources[place]
    return next(at for at, row in enumerate(rows) if all(row[name] == value for name, value in values.items()))


@pytest.mark.parametrize(
    ("place", "values", "by", "how", "reason"),
    [
        (("sales", FEBRUARY), {"amount": None}, "movements", "filter", 'col("amount").is_not_null()'),
        (("sales", FEBRUARY), {"amount": 0}, "movements", "filter", '(col("amount")) > '),
        (("sales", FEBRUARY), {"shop": None}, "singles", "filter", 'col("shop").is_not_null()'),
        (("products", ""), {"product": "ink"}, "priced", "join", "on product"),
        (("products", ""), {"product": "ink"}, "features", "filter", 'col("grade")'),
        (("shops", ""), {"shop": "moon"}, "priced", "join", "on shop"),
        (("banned", ""), {"product": "glue"}, "priced", "join", "anti on product"),
        (("visits", FEBRUARY), {"shop": None}, "features", "window", "in no row's window"),
    ],
)
def test_a_dropped_row_names_the_step_and_what_dropped_it(market, tracer, place, values, by, how, reason):
    """Of two filters in a row that which dropped it; a lookup row that nothing matched; an event that nobody saw."""
    shop, plain = market
    version, position = shop.current(*place), first(plain, place, **values)

    dropped = follow_forward(tracer, version, position).dropped

    (item,) = (item for item in dropped if item["step"] == f"shop.{by}")
    assert (item["how"], reason in item["reason"]) == (how, True)


def test_a_step_that_a_row_reached_did_not_drop_it(market, tracer):
    """Another partition, or another input of the step, may have left it out all the same."""
    shop, plain = market
    for at in range(0, plain.count(("visits", "2020-01")), 5):
        found = follow_forward(tracer, shop.current("visits", "2020-01"), at)
        tables = {name_of(key)[0] for key in found.rows} - {"visits"}
        assert {"features"} == tables | {item["step"].removeprefix("shop.") for item in found.dropped}
        assert len(found.dropped) == (0 if tables else 1)


def test_a_row_may_be_used_but_not_what_came_of_another(market, tracer):
    """A shop's city has a part in no total, though there are totals of the shop."""
    shop, plain = market
    dropped = follow_forward(tracer, shop.current("shops"), first(plain, ("shops", ""), shop="north")).dropped

    assert [(item["step"], item["how"]) for item in dropped] == [("shop.totals", "unmatched")]


def test_models_and_predictions_that_a_row_reached_are_listed(market, tracer):
    """Predictions from exactly the rows that have it behind them, and all by a model that learnt from its table."""
    shop, plain = market
    made = {at: record_prediction(shop, "features", FEBRUARY, at) for at in range(12)}
    version = shop.current("sales", FEBRUARY)
    expected = reached_in_plain_python(plain)

    for at in (first(plain, ("sales", FEBRUARY), amount=8), first(plain, ("sales", FEBRUARY), amount=None)):
        rows = {row for place, row in expected.get((("sales", FEBRUARY), at), ()) if place == ("features", FEBRUARY)}
        found = where(tracer, f"shop/sales[{FEBRUARY}]:{at}")
        through = dict(zip(found["predictions"]["ids"], found["predictions"]["through"], strict=True))
        assert {name for name, ways in through.items() if "features" in ways} == {made[row] for row in rows & {*made}}
        assert {*through} == ({*made.values()} if rows else set())
        assert found["models"] == ([MODEL] if rows else [])
        assert found["row"]["version"] == shop.space.store.run_inputs(writer(shop, version))[0][1].sha256
    assert rows == set()


def writer(shop, version):
    """The run that wrote a version last."""
    dataset, partition, sha256 = key(version)
    return shop.store.row("run_that_wrote", dataset=dataset, partition=partition, sha256=sha256, before=None)["run_id"]


def key(version) -> Identity:
    """What a version is known by."""
    return version.dataset, version.partition, version.sha256


def test_tables_are_told_with_counts_and_ranges(market, tracer):
    """How many rows of each version, and which, as ranges."""
    _, plain = market
    at = first(plain, ("products", ""), product="tea", grade=1)

    tables = where(tracer, f"shop.products:{at}")["tables"]

    expected = {}
    for place, row in reached_in_plain_python(plain)[("products", ""), at]:
        expected.setdefault(place, set()).add(row)
    spread = {
        (item["dataset"].removeprefix("shop/"), item["partition"]): {
            row for begin, end in item["ranges"] for row in range(begin, end + 1)
        }
        for item in tables
    }
    assert spread.pop(("products", "")) == {at}
    assert spread == expected
    assert {item["rows"] for item in tables if item["dataset"] == "shop/features"} == {
        len(rows) for place, rows in expected.items() if place[0] == "features"
    }


# --- names


@pytest.mark.parametrize(
    "name",
    ["shop/sales[2020-02]", "shop.sales[2020-02]", "shop/sales/2020-02.csv", "data/raw/shop/sales/2020-02.csv"],
)
def test_a_record_has_several_names(market, tracer, name):
    """By source and partition, with a slash or a dot, or by its file."""
    found = where(tracer, f"{name}:3")

    record = market[1].files["sales/2020-02.csv"].splitlines()[4]
    assert ",".join(found["row"]["values"]) == record
    assert found["row"]["file"] == "data/raw/shop/sales/2020-02.csv"


def test_a_row_of_a_table_is_followed_from_there(market, tracer):
    """The tables made of it, not those beside it."""
    _, plain = market
    found = where(tracer, f"shop.movements[{FEBRUARY}]:0")

    expected = {place for place, _ in reached_in_plain_python(plain)[("movements", FEBRUARY), 0]}
    assert {(item["dataset"].removeprefix("shop/"), item["partition"]) for item in found["tables"]} == expected
    assert "values" not in found["row"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shop.sales[2020-02]", "lacks the row's number; write shop.sales[2020-02]:0 for the first of "),
        ("shop/sales/2020-02.csv", "lacks the row's number; write shop/sales/2020-02.csv:0 for the first."),
        ("shop.sales", "of 3 partitions; name a row of one, as in shop.sales[2020-01]:0, its first"),
        ("shop.sale", "a model, which has no rows"),
        ("nonsense", "is no row; write it as flights/departures[2013-01]:826"),
        ("shop.sales[2020-02]:-1", "is no row"),
        ("shop.sales[2020-02]:99999", "has no row 99999; it has "),
        ("shop.sales[2020-09]:1", "has no version of partition '2020-09'"),
        ("shop.sales:1", "is of 3 partitions; name one, as in shop.sales[2020-01]"),
        ("shop.slaes[2020-02]:1", "did you mean shop.sales"),
        ("shop/sales/2020-09.csv:1", "did you mean data/raw/shop/sales/2020-0"),
        ("shop-sale:1", "is a model, which has no rows"),
        ("shop.singles[2020-02]:500", "(rows 0 to "),
        (":1", "is no row"),
    ],
)
def test_a_name_that_is_none_says_what_there_is(tracer, name, said):
    """One sentence, with the nearest names or the rows that there are."""
    with pytest.raises(NotFoundError) as refusal:
        where(tracer, name)

    assert said in str(refusal.value)


# --- doors


def test_the_command_prints_lines_and_json(market, monkeypatch, capsys):
    """The record as it stands, tables with ranges, what dropped it; and the same as JSON."""
    shop, plain = market
    at = first(plain, ("sales", FEBRUARY), amount=None)
    monkeypatch.chdir(shop.root)
    monkeypatch.setenv("HEADWATER_PIPELINES", shop.package)

    assert main(["where", f"shop.sales[{FEBRUARY}]:{at}"]) == 0
    lines = capsys.readouterr().out
    assert main(["where", f"shop.sales[{FEBRUARY}]:{at}", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert main(["impact", f"shop.sales[{FEBRUARY}]:{at}", "--json"]) == 0
    same = json.loads(capsys.readouterr().out)

    assert f"data/raw/shop/sales/{FEBRUARY}.csv:{at}" in lines
    assert f"tables        shop/sales[{FEBRUARY}]@" in lines
    assert f" 1 row   {at}\n" in lines
    assert f"dropped       by shop.movements[{FEBRUARY}], as sales: filter: " in lines
    assert told == same
    assert told["row"]["position"] == at


def test_the_service_answers_the_same(market, tracer):
    """GET /api/v1/where, with pages; a name that there is not is 404."""
    shop, _ = market
    with TestClient(create_app(shop.space.settings, {}), base_url="http://127.0.0.1") as service:
        found = service.get("/api/v1/where", params={"row": "shop.products:0", "limit": 2})
        unknown = service.get("/api/v1/where", params={"row": "shop.product:0"})
        unasked = service.get("/api/v1/where")

    assert found.json() == json.loads(json.dumps(where(tracer, "shop.products:0", limit=2), default=str))
    assert (unknown.status_code, unknown.json()["candidates"]) == (
        404,
        ["shop.products", *unknown.json()["candidates"][1:]],
    )
    assert unasked.status_code == 400


# --- what came later


@dataclass
class Corrected:
    """A shop in which February was corrected, and what was there before."""

    shop: object
    orders: str
    features: str
    prediction: str


@pytest.fixture(scope="module")
def corrected(make_shop):
    """A prediction was made from February's features, then February's orders were corrected."""
    shop = make_shop("depot_where")
    shop.run()
    before = shop.space.store.run_inputs(writer(shop, shop.current("orders", FEBRUARY)))[0][1]
    march = shop.current("features", "2020-03").sha256
    prediction = record_prediction(shop, "features", FEBRUARY, 3, model="late_t0")
    shop.order_again(FEBRUARY)
    shop.order_again("2020-03")
    features = shop.current("features", FEBRUARY).sha256
    shop.run()
    assert march != shop.current("features", "2020-03").sha256
    return Corrected(shop, before.sha256, features, prediction)


def test_a_replaced_file_is_followed_to_what_still_rests_on_it(corrected):
    """The features that a prediction was made from; not what was computed anew, nor superseded tables nobody used."""
    shop = corrected.shop
    position = int(shop.store.row("prediction_rows", prediction_id=corrected.prediction)["position"])
    record = next(
        at
        for at in range(28)
        if position
        in follow_forward(Tracer(shop.space), shop.current("orders", FEBRUARY), at).rows.get(
            key(shop.current("features", FEBRUARY)), []
        )
    )

    old = where(Tracer(shop.space), f"data/raw/shop/orders/{FEBRUARY}.csv@{corrected.orders[:12]}:{record}")
    new = where(Tracer(shop.space), f"data/raw/shop/orders/{FEBRUARY}.csv:{record}")
    other = where(Tracer(shop.space), "shop.orders[2020-03]@previous:3")

    versions = {item["version"] for item in old["tables"] if item["dataset"] == "shop/features"}
    assert versions == {corrected.features}
    assert (old["predictions"]["ids"], corrected.prediction in old["predictions"]["ids"]) == (
        [corrected.prediction],
        True,
    )
    assert new["predictions"]["ids"] == []
    assert {item["current"] for item in new["tables"]} == {True}
    # The bundle that answered was trained on all of March as it was.
    assert {item["current"] for item in other["tables"]} == {False}


def test_what_holds_a_row_up_is_said(corrected):
    """A step that fails on it has dropped it for now; a blocking check says which."""
    shop = corrected.shop
    text = shop.raw("visits/2020-03").read_text()
    shop.write("data/raw/shop/visits/2020-03.csv", text.replace("2020-03-05,", "the 5th,"))
    with pytest.raises(Exception, match="holds 'the 5th'"):
        shop.run("visits", partition="2020-03")

    found = where(Tracer(shop.space), "data/raw/shop/visits/2020-03.csv:0")

    assert found["tables"] == []
    assert [(item["step"], item["partitions"], item["how"]) for item in found["dropped"]] == [
        ("shop.visits", ["2020-03"], "failure")
    ]
    assert "holds 'the 5th'" in found["dropped"][0]["reason"]
    shop.write("data/raw/shop/visits/2020-03.csv", text.replace("2020-03-05,", "2020-03-31,"))
    shop.run("visits", partition="2020-03")
    assert where(Tracer(shop.space), "data/raw/shop/visits/2020-03.csv:0")["dropped"] == []


def test_impact_of_rows_is_where(corrected):
    """`headwater impact` of a version tells all of it; of a row, what that row reached."""
    shop = corrected.shop
    version = shop.current("orders", FEBRUARY)
    whole = impact(shop.space, f"shop.orders[{FEBRUARY}]@current")
    row = where(Tracer(shop.space), f"shop.orders[{FEBRUARY}]:0")

    assert {item["dataset"] for item in row["tables"]} - {version.dataset} == {
        item["dataset"] for item in whole["tables"]
    }
    assert row["versions"] == [{name: row["row"][name] for name in ("dataset", "partition", "version")}]


DEAR = '''

@shop.table(key="id", checks=suite("dear"))
def dear(features):
    """Orders of dear products."""
    return features.filter(pl.col("cents") > 400).select("id", "product", "cents")


@shop.table(key="id")
def known(features):
    """What was ordered, of whatever price."""
    return features.select("id", "product")
'''
CHECKER = '''"""A checker that counts rows, so that this needs no Great Expectations."""

import polars as pl

from lineage.ports import CheckReport, Expectation


def few(suite, table, parameters):
    """No table has more than ten rows."""
    count = pl.scan_parquet(table).select(pl.len()).collect().item()
    return CheckReport(suite.stem, (Expectation("at most ten rows", None, count <= 10, True, {"rows": count}),))
'''


@pytest.fixture(scope="module")
def dear(make_shop):
    """A shop in which tables read tables that a lookup row reached, one of them checked; and what runs it."""
    shop = make_shop("depot_dear")
    pipeline = "depot_dear/shop.py"
    shop.edit(pipeline, "files, monthly", "files, monthly, suite")
    shop.edit(pipeline, 'on="product", how="left"', 'on="product", how="left", validate="m:1"')
    shop.write(pipeline, shop.path(pipeline).read_text() + DEAR)
    shop.write("depot_dear/checker.py", CHECKER)
    shop.write("validations/suites/shop/dear.json", "{}")
    runner = Runner(shop.space, Ports(checker="depot_dear.checker:few"), Door("test"))
    run_steps(runner, shop.space.project.steps)
    return shop, runner


def test_a_lookup_row_is_followed_through_tables_that_read_what_it_reached(dear):
    """Its price lets rows into the one; in the other, which reads these rows as well, it has no part."""
    shop, _ = dear
    found = where(Tracer(shop.space), "shop.products:0")

    features, made = (pl.read_parquet(shop.table(f"{name}/{FEBRUARY}"))["product"] for name in ("features", "dear"))
    tables = {(item["dataset"], item["partition"]): item["rows"] for item in found["tables"]}
    assert tables["shop/features", FEBRUARY] == features.to_list().count("tea") == len(made) > 1
    assert tables["shop/dear", FEBRUARY] == len(made)
    assert [(item["step"], item["how"]) for item in found["dropped"]] == [("shop.known", "unused")]


def test_a_row_that_a_check_holds_up_is_dropped_by_it(dear):
    """The suite that keeps out the row that came last is named; a lookup row had been let in by then."""
    shop, runner = dear
    for _ in range(2):
        shop.order_again(FEBRUARY)
    with pytest.raises(CheckFailedError) as failed:
        run_steps(runner, shop.space.project.steps)

    last = where(Tracer(shop.space), f"shop.orders[{FEBRUARY}]:29")
    lookup = where(Tracer(shop.space), "shop.products:0")

    (item,) = (item for item in last["dropped"] if item["step"] == "shop.dear")
    assert (item["partitions"], item["input"], item["how"]) == ([FEBRUARY], "features", "check")
    assert item["reason"] == str(failed.value)
    assert {item["dataset"] for item in last["tables"]} == {"shop/orders", "shop/features", "shop/totals"}
    assert "shop.dear" not in {item["step"] for item in lookup["dropped"]}
