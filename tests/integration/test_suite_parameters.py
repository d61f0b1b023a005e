"""A suite that asks for its partition: rows of another month are put aside, and traced and replayed as ever."""

import json

import polars as pl
import pytest

from lineage.ports import Ports
from lineage.proof.recompute import replay_versions
from lineage.quarantine import EXPECTATIONS

MONTH = "2020-02"
OF_THE_MONTH = {
    "type": "expect_column_values_to_be_between",
    "kwargs": {
        "column": "at",
        "min_value": {"$PARAMETER": "start"},
        "max_value": {"$PARAMETER": "end"},
        "strict_max": True,
    },
    "meta": {"action": "quarantine"},
}
SUITE = "validations/suites/shop/orders.json"


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop in which an order of January stands in the file of February."""
    shop = make_shop("depot_months")
    pipeline = "depot_months/shop.py"
    shop.edit(pipeline, "files, monthly", "files, monthly, suite")
    shop.edit(pipeline, '"late": "boolean"},', '"late": "boolean"},\n    checks=suite("orders"),')
    shop.write(SUITE, json.dumps({"name": "orders", "expectations": [OF_THE_MONTH]}))
    file = shop.raw(f"orders/{MONTH}")
    file.write_text(f"{file.read_text()}stray,2020-01-09,tea,1,false\n")
    assert shop.cli("dvc", "sync").code == 0
    shop.run()
    return shop


def test_a_row_of_another_month_is_put_aside(shop):
    """It says what it broke with the days of its partition; nothing of the other months is."""
    aside = {
        key: pl.read_parquet(shop.path(version.file.path))
        for key, version in shop.store.current("shop/orders.quarantine").items()
    }

    assert {key: frame["id"].to_list() for key, frame in aside.items() if len(frame)} == {MONTH: ["stray"]}
    assert aside[MONTH][EXPECTATIONS].to_list() == [
        ["expect_column_values_to_be_between on at (min_value=2020-02-01, max_value=2020-03-01, strict_max=True)"]
    ]


def test_the_month_comes_out_again_the_same(shop):
    """Replaying it in scratch puts the same row aside."""
    version = shop.store.current("shop/orders")[MONTH]

    assert [item.result for item in replay_versions(shop.space, [version], Ports())] == ["identical"]


def test_suite_check_and_validate_know_the_parameters(shop):
    """`suite check` takes the newest month's; a file has those that its user gives."""
    assert shop.cli("suite", "check", "shop/orders").code == 0
    given = ("--parameter", "start=2020-02-01", "--parameter", "end=2020-03-01")

    passed, failed, unknown = (
        shop.cli("validate", path, "--suite", "shop/orders", *parameters)
        for path, parameters in (
            (f"data/tables/shop/orders/{MONTH}.parquet", given),
            (f"data/raw/shop/orders/{MONTH}.csv", given),
            (f"data/tables/shop/orders/{MONTH}.parquet", ()),
        )
    )

    assert [passed.code, failed.code, unknown.code] == [0, 1, 1]
    assert "'start'" in unknown.out
    assert "--parameter" in unknown.out
    assert shop.cli("validate", "x.csv", "--suite", "shop/orders", "--parameter", "month").code == 2
