"""The exclusion ledger: each row that a step read reached its table, or has one reason why not."""

import json
from collections import Counter

import polars as pl
import pytest
from fastapi.testclient import TestClient
from psycopg.types.json import Jsonb

from lineage.api import create_app
from lineage.errors import NotFoundError
from lineage.exclusions import balances, ledger
from lineage.tracing.tracer import Tracer
from lineage.where import where
from orchestration.cli import main

from .market import MONTHS, STEPS

FEBRUARY = "2020-02"
TABLES = [(name, partition) for name in STEPS for partition in (("",) if name == "totals" else MONTHS)]
# (input, (step, partition) that it read, row)
Row = tuple[str, tuple[str, str], int]


@pytest.fixture(scope="module")
def tracer(market):
    """One for all tests, as a service keeps it."""
    return Tracer(market[0].space)


def reasons_on_record(found) -> dict[Row, tuple[str, str]]:
    """What dropped each row, after seeing that no row has two reasons."""
    rows = [
        ((item.input, (item.version.dataset.removeprefix("shop/"), item.version.partition), row), (part.how, part.text))
        for item in found
        for part in item.excluded
        for row in part.rows.tolist()
    ]
    assert len(rows) == len(dict(rows))
    return dict(rows)


def reasons_in_plain_python(plain, name, partition) -> dict[Row, tuple[str, str]]:
    """What dropped each row, and a piece of what is said of it."""
    reasons = plain.tables[name, partition].reasons
    return {
        (given, *plain.located(name, partition, given, row)): why
        for given, rows in reasons.items()
        for row, why in rows.items()
    }


@pytest.mark.parametrize(("name", "partition"), TABLES)
def test_every_row_reached_the_table_or_has_its_reason(market, tracer, name, partition):
    """Version by version of what was read: the rows, and for each why, that plain Python finds."""
    shop, plain = market

    found = balances(tracer, shop.current(name, partition))

    said, expected = reasons_on_record(found), reasons_in_plain_python(plain, name, partition)
    assert said.keys() == expected.keys()
    assert {row: said[row] for row in said if said[row][0] != expected[row][0]} == {}
    assert {row: said[row] for row in said if expected[row][1] not in said[row][1]} == {}
    for item in found:
        assert item.rows == item.version.row_count == item.reached + sum(len(part.rows) for part in item.excluded)
    read = [(given, place) for given in STEPS[name][1] for place in plain.reads(name, partition, given)]
    assert [
        (item.input, (item.version.dataset.removeprefix("shop/"), item.version.partition)) for item in found
    ] == read


def test_all_kinds_of_reasons_were_among_them(market):
    """The market has rows that were dropped by each."""
    plain = market[1]
    kinds = Counter(
        (name, why[0]) for name, partition in TABLES for why in reasons_in_plain_python(plain, name, partition).values()
    )

    assert {kind for _, kind in kinds} == {"filter", "join", "dedup", "window", "unmatched"}
    assert min(kinds.values()) > 0


def test_the_command_counts_rows_by_reason(market, monkeypatch, capsys):
    """A line an input, one a reason; and as JSON with the rows as ranges."""
    shop, plain = market
    monkeypatch.chdir(shop.root)
    monkeypatch.setenv("HEADWATER_PIPELINES", shop.package)

    assert main(["excluded", f"shop.movements[{FEBRUARY}]"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert main(["excluded", f"shop/movements[{FEBRUARY}]", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)

    reasons = plain.tables["movements", FEBRUARY].reasons["sales"]
    first = sum(text == "is_not_null" for _, text in reasons.values())
    rows, lost = len(plain.sources["sales", FEBRUARY]), len(reasons)
    version = shop.current("sales", FEBRUARY).sha256[:12]
    expected = f"sales         shop/sales[{FEBRUARY}]@{version}  {rows} rows: {rows - lost} reached it, {lost} did not"
    assert lines[1] == expected
    assert lines[2] == f"{'':<14}{first:>9}  filter: " + 'col("amount").is_not_null()'
    (sales, returns) = told["inputs"]
    assert (sales["rows"], sales["reached"]) == (rows, rows - lost)
    spread = [row for part in sales["excluded"] for a, b in part["ranges"] for row in range(a, b + 1)]
    assert sorted(spread) == sorted(reasons)
    assert (told["dataset"], told["rows"], returns["dataset"]) == (
        "shop/movements",
        plain.count(("movements", FEBRUARY)),
        "shop/returns",
    )


def test_a_table_of_no_partitions_is_asked_for_by_its_name(market, tracer):
    """What it read of each month is told apart."""
    told = ledger(tracer, "shop.totals")

    assert [(item["input"], item["partition"]) for item in told["inputs"]] == [
        *(("movements", month) for month in MONTHS),
        ("shops", ""),
    ]


def test_the_service_answers_the_same(market, tracer):
    """GET /api/v1/exclusions, by dataset and partition; a version of it may be named; what is not there is 404."""
    shop, _ = market
    sha256 = shop.current("priced", FEBRUARY).sha256
    with TestClient(create_app(shop.space.settings, {}), base_url="http://127.0.0.1") as service:

        def get(**parameters):
            return service.get("/api/v1/exclusions", params=parameters)

        found = get(dataset="shop/priced", partition=FEBRUARY)
        version = get(dataset="shop.priced", partition=FEBRUARY, version=sha256[:8])
        whole, unknown = get(dataset="shop/totals"), get(dataset="shop/priced", partition="2020-09")
        source = get(dataset="shop/sales", partition=FEBRUARY)

    assert found.json() == version.json() == ledger(tracer, f"shop.priced[{FEBRUARY}]")
    assert whole.json() == ledger(tracer, "shop.totals")
    assert (unknown.status_code, source.status_code) == (404, 404)
    assert "drops nothing" in source.json()["error"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (f"shop.sales[{FEBRUARY}]", "drops nothing: each record of a source's file is a row of it"),
        ("data/raw/shop/shops.csv", "drops nothing"),
        ("shop-sale", "is a model: it reads its table whole, and its split says which rows it learns from"),
        ("shop.movements", "is of 3 partitions; name one, as in shop.movements[2020-01]"),
        ("shop.movements[2020-07]", "has no version of partition '2020-07'"),
        ("shop.movement[2020-02]", "did you mean shop.movements"),
    ],
)
def test_what_is_no_table_says_what_it_is(tracer, name, said):
    """One sentence that says why there is no ledger, or what there is."""
    with pytest.raises(NotFoundError) as refusal:
        ledger(tracer, name)

    assert said in str(refusal.value)


@pytest.fixture
def unkept(market):
    """A table whose run has not kept what it left out, as runs did not once; afterwards it has again."""
    shop, _ = market
    version = shop.current("singles", FEBRUARY)
    where_it_is = f"where sha256 = '{version.sha256}' and dataset = 'shop/singles'"
    (row,) = shop.query(f"select run_id, lineage from run_output {where_it_is}")
    kept = [file for file in row["lineage"] if "exclusions" not in file["path"]]
    update = b"update run_output set lineage = %s where run_id = %s"
    shop.store._connection.execute(update, (Jsonb(kept), row["run_id"]))
    yield version
    shop.store._connection.execute(update, (Jsonb(row["lineage"]), row["run_id"]))


def test_a_run_that_kept_no_reasons_says_so(market, unkept):
    """The ledger asks for the step to be run again; `where` still tells all that was reached."""
    shop, plain = market
    dropped = next(at for at, row in enumerate(plain.sources["sales", FEBRUARY]) if row["shop"] is None)

    with pytest.raises(NotFoundError, match=r"Run `headwater run shop\.singles`"):
        ledger(Tracer(shop.space), f"shop.singles[{FEBRUARY}]")
    found = where(Tracer(shop.space), f"shop.sales[{FEBRUARY}]:{dropped}")

    assert ("shop.singles", "unknown") in [(item["step"], item["how"]) for item in found["dropped"]]


def test_reasons_are_the_same_bytes_every_time(market):
    """They are part of what a run writes, and of what a replay compares."""
    shop, _ = market
    version = shop.current("priced", FEBRUARY)
    run = shop.store.row(
        "run_that_wrote", dataset="shop/priced", partition=FEBRUARY, sha256=version.sha256, before=None
    )
    files = {file.path.rpartition("/")[2]: file for file in shop.store.run_lineage(run["run_id"])}

    stored = pl.read_parquet(shop.space.objects.path(files["exclusions.parquet"].md5))

    assert stored.columns == ["input", "cut", "position"]
    assert stored.sort("input", "cut", "position").equals(stored)
