"""Rows put aside of sources, unions, windows and looks into the past are followed, and so are those that go on."""

import json

import numpy as np
import pytest

from lineage.columns import recorded_columns
from lineage.exclusions import balances
from lineage.ports import Ports
from lineage.proof.recompute import replay_versions
from lineage.trace import Traces
from lineage.tracing.rowreplay import differing, recompute_row, stored_row
from lineage.tracing.tracer import Ask, Tracer
from lineage.verify import verify
from lineage.where import follow_forward

from .conftest import Shop
from .market import make as make_market

FEBRUARY = "2020-02"
# Step -> the column of which rows are put aside, and the bounds of those that go on.
ASIDE = {
    "sales": ("amount", {"max_value": 7}),
    "movements": ("amount", {"min_value": 2}),
    "totals": ("days", {"min_value": 5}),
    "rolled": ("moved", {"max_value": 9}),
    "weekends": ("moved", {"min_value": 5}),
    "features": ("sold_9d", {"max_value": 9}),
}
# Where the market declares these steps, and with its suite.
DECLARED = {
    '"sales", files(': '"sales", checks=suite("sales"), files=files(',
    '(key=["id", "what"])\ndef movements': '(key=["id", "what"], checks=suite("movements"))\ndef movements',
    '(key="shop", whole=True)': '(key="shop", whole=True, checks=suite("totals"))',
    '(key=["id", "what"])\ndef rolled': '(key=["id", "what"], checks=suite("rolled"))\ndef rolled',
    '(key=["shop", "at"])': '(key=["shop", "at"], checks=suite("weekends"))',
    '(key=["id", "what"], inputs': '(key=["id", "what"], checks=suite("features"), inputs',
    "files, monthly\n": "files, monthly, suite\n",
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The market with suites on steps of every kind, up to date."""
    shop = Shop(tmp_path_factory.mktemp("market"), "market_aside")
    with shop.held:
        shop.make(trainer="market_aside.trainer:fit")
        write = shop.write
        # The market writes its pipeline and runs it at once.
        object.__setattr__(shop, "write", lambda name, text: write(name, _with_suites(name, text)))
        for name, (column, bounds) in ASIDE.items():
            entry = {"type": "expect_column_values_to_be_between", "kwargs": {"column": column, **bounds}}
            suite = {"name": name, "expectations": [entry | {"meta": {"action": "quarantine"}}], "meta": {}}
            write(f"validations/suites/shop/{name}.json", json.dumps(suite))
        make_market(shop)
        yield shop


def _with_suites(name, text):
    for before, after in DECLARED.items() if name.endswith("/shop.py") else ():
        assert text.count(before) == 1
        text = text.replace(before, after)
    return text


@pytest.fixture(scope="module")
def tracer(shop):
    """One for all tests, as a service keeps it."""
    return Tracer(shop.space)


def outputs(shop, aside=None):
    """The current versions of tables, or only of what was put aside or was not."""
    found = [version for version in shop.store.all_current() if version.row_count is not None]
    return [version for version in found if aside in (None, version.dataset.endswith(".quarantine"))]


def test_each_step_put_some_rows_aside(shop):
    """And let some go on."""
    for name in ASIDE:
        for dataset in (f"shop/{name}", f"shop/{name}.quarantine"):
            assert sum(version.row_count for version in shop.store.current(dataset).values()) > 0, dataset


def test_every_row_reached_the_table_or_has_one_reason(shop, tracer):
    """For every version that a step read, with those that were put aside among the reasons."""
    seen = set()
    for version in outputs(shop, aside=False):
        name = version.dataset.removeprefix("shop/")
        if tracer.origin(version, None).is_source and name not in ASIDE:
            continue
        for item in balances(tracer, version):
            rows = [row for part in item.excluded for row in part.rows.tolist()]
            assert len(rows) == len(set(rows)) == item.rows - item.reached
            seen |= {(name, part.how) for part in item.excluded}

    # In features a movement is also behind the sums of its shop, in the rows of others that went on.
    assert {(name, "quarantine") for name in ASIDE if name != "features"} <= seen


def test_forwards_is_backwards_turned_round(shop, tracer):
    """From every record of the month's sales, into every table and what was put aside of it."""
    behind = {}
    for version in outputs(shop):
        every = np.arange(version.row_count)
        for (dataset, partition, _), item in tracer.back([Ask(version, every, every)]).items():
            if (dataset, partition) == ("shop/raw_sales", FEBRUARY):
                for asker, row in zip(item.asker.tolist(), item.rows.tolist(), strict=True):
                    behind.setdefault(row, set()).add((version.dataset, version.partition, asker))
    raw = tracer.origin(shop.current("sales", FEBRUARY), None).inputs[0][1]

    for record in range(tracer.origin(shop.current("sales", FEBRUARY), None).records):
        found = {
            (dataset, partition, row)
            for (dataset, partition, _), rows in follow_forward(tracer, raw, record).rows.items()
            for row in rows.tolist()
            if dataset != raw.dataset
        }
        assert found == behind[record]


def test_rows_are_computed_again_from_only_their_records(shop, tracer):
    """Through a source and tables that put rows aside, whatever these had to do with the row."""
    version = shop.current("features", FEBRUARY)
    for position in range(version.row_count):
        computed = recompute_row(shop.space, version, position, tracer=tracer)
        assert differing(stored_row(shop.space, version, position), computed) == []


def test_everything_comes_out_again_and_nothing_is_damaged(shop):
    """Tables, what was put aside, and the row lineage of both."""
    replayed = replay_versions(shop.space, outputs(shop), Ports(), from_source=True)

    assert [(item.version.dataset, item.result, item.differences) for item in replayed if not item.identical] == []
    assert verify(shop.space).damaged == ()


def test_what_rows_are_put_aside_by_is_in_the_column_lineage(shop):
    """Of the table that goes on and of the rows put aside: it decides which rows either has."""
    (row,) = shop.query("select run_id from run where step = 'shop.movements' and state = 'COMPLETE' limit 1")

    for dataset in ("shop/movements", "shop/movements.quarantine"):
        found = recorded_columns(shop.store, row["run_id"], dataset)
        assert found.exact
        assert {"shop/sales", "shop/returns"} == {
            source.dataset for source in found.rows.sources if source.column == "amount"
        }
    (row,) = shop.query("select run_id from run where step = 'shop.sales' and state = 'COMPLETE' limit 1")
    (source,) = recorded_columns(shop.store, row["run_id"], "shop/sales").rows.sources
    assert source == ("shop/raw_sales", "amount")


def test_why_a_row_was_put_aside_is_of_whole_records(shop):
    """The column that says so is no column of any file."""
    (row,) = shop.query(
        "select partition from version where dataset = 'shop/sales.quarantine' and row_count > 0 limit 1"
    )
    name = f"shop/sales.quarantine[{row['partition']}]:0"

    (whole,) = Traces(shop.space).of(name)["sources"]
    (source,) = Traces(shop.space).of(name, feature="quarantine.expectations")["sources"]
    (amount,) = Traces(shop.space).of(name, feature="amount")["sources"]

    assert (source["columns"], source["values"]) == (whole["columns"], whole["values"])
    assert amount["columns"] == ["amount"]
