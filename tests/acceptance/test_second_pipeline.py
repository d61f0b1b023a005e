"""A newcomer's second pipeline: one new file beside the example, over data of another kind."""

import hashlib
import json
import sys

import pytest

PIPELINE = '''"""Orders of a shop, and how many days they take to arrive."""

from __future__ import annotations

import polars as pl

from lineage import Pipeline, by_time, files, monthly

shop = Pipeline("shop")

shop.source(
    "orders",
    files("data/raw/shop/orders/{partition}.csv"),
    partitions=monthly("2024-01", "2024-07"),
    schema={
        "placed_on": "date",
        "number": "int32",
        "customer": "string",
        "product": "string",
        "note": "string",
        "express": "boolean",
        "amount": "float64",
        "days": "int32",
    },
)
shop.source(
    "products",
    files("data/raw/shop/products/products.csv"),
    schema={"product": "string", "grams": "int32"},
    null_values=("", "?"),
)


@shop.table(key=("placed_on", "number"))
def orders_known(orders: pl.LazyFrame, products: pl.LazyFrame, *, heavy_grams: int = 1500) -> pl.LazyFrame:
    """Orders with what is known of their product."""
    return orders.join(products, on="product", how="left").with_columns(
        heavy=pl.col("grams") >= heavy_grams,
        noted=pl.col("note").is_not_null(),
    )


@shop.table(key=("placed_on", "number"), look_back={"orders": 1})
def features(orders_known: pl.LazyFrame, orders: pl.LazyFrame) -> pl.LazyFrame:
    """An order, with how often its customer ordered this month and the month before."""
    return orders_known.join(_loyalty(orders), on="customer", how="left").drop("customer", "note")


@shop.table(whole=True, key="product")
def sales(orders_known: pl.LazyFrame) -> pl.LazyFrame:
    """Orders per product over all months."""
    return orders_known.group_by("product").agg(orders=pl.len(), heavy=pl.col("heavy").first())


shop.model(
    "days",
    table="features",
    target="days",
    features=["product", "express", "amount", "grams", "heavy", "noted", "loyalty"],
    split=by_time("placed_on", tune_from="2024-02-01", test_from="2024-03-01"),
    objective="reg:squarederror",
    rounds=12,
    max_depth=3,
)


def _loyalty(orders: pl.LazyFrame) -> pl.LazyFrame:
    return orders.group_by("customer").agg(loyalty=pl.len())
'''
# Everything that a careless reader of CSV gets wrong: commas, quotes and line ends in values, nulls, umlauts.
CUSTOMERS = ('"Müller, Anna"', '"O\'Neil ""Bob"""', "Zoë", "")
NOTES = ('"ring twice,\nthen wait"', "", '"said ""no"""', "NA")
PRODUCTS = {"lamp": "900", '"desk, oak"': "24000", "rug": "?"}
STEPS = ("orders", "products", "orders_known", "features", "sales", "days")
KEY = "2024-03-05|4"


@pytest.fixture(scope="module")
def shop(copy_of_repository):
    """A clone with the new file and its data, DVC's files rewritten, and the pipeline run step by step."""
    system = copy_of_repository("second")
    (system.root / "assets" / "shop.py").write_text(PIPELINE)
    write_products(system.root)
    for month in (1, 2, 3):
        write_orders(system.root, f"2024-{month:02d}")
    system.headwater("dvc", "sync")
    for step in STEPS:
        system.headwater("run", f"shop.{step}")
    return system


@pytest.fixture(scope="module")
def predicted(shop):
    """One prediction by a key of two columns, a date and a number."""
    return shop.json("predict", "shop-days", "--key", KEY)


def write_products(root):
    path = root / "data/raw/shop/products/products.csv"
    path.parent.mkdir(parents=True)
    path.write_text("product,grams\n" + "".join(f"{name},{grams}\n" for name, grams in PRODUCTS.items()))


def write_orders(root, month, *, first_amount="19.90"):
    path = root / f"data/raw/shop/orders/{month}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["placed_on,number,customer,product,note,express,amount,days"]
    for n in range(48):
        product, express = tuple(PRODUCTS)[n % 3], ("true", "false", "")[n % 5 % 3]
        amount = first_amount if n == 0 else "" if n % 11 == 0 else f"{5 + n * 1.5:.2f}"
        order = f"{month}-{n % 28 + 1:02d},{n},{CUSTOMERS[n % 4]},{product},{NOTES[n % 4]}"
        lines.append(f"{order},{express},{amount},{2 + n % 3 * 2 + (express != 'true')}")
    path.write_text("\n".join(lines) + "\n")


def test_listed_beside_the_example(shop):
    """`list` shows the new steps, with every record of the files counted once."""
    rows = {step["step"]: step["row_count"] for step in shop.json("list", "--json") if step["step"].startswith("shop.")}

    assert {"orders": 144, "products": 3, "orders_known": 144, "features": 144, "sales": 3, "days": None} == {
        name.removeprefix("shop."): count for name, count in rows.items()
    }


def test_predicted_by_its_key(predicted):
    """A regression by a composite key answers with a finite number that is its margin."""
    (entry,) = predicted["predictions"]

    assert KEY == entry["key"]
    assert 1 < entry["margin"] < 10


def test_traced_to_its_files(shop, predicted):
    """The trace names the three files that the row was made from, by the sha256 of their bytes."""
    found = shop.json("trace", predicted["prediction_id"], "--json")

    files = {source["file"]: source["version"] for source in found["sources"]}
    hashed = {name: hashlib.sha256((shop.root / name).read_bytes()).hexdigest() for name in files}
    months = {f"data/raw/shop/orders/2024-{month:02d}.csv" for month in (2, 3)}
    assert found["complete"]
    assert {"data/raw/shop/products/products.csv", *months} == set(files)
    assert hashed == files


def test_unknown_key(shop):
    """A key that the table does not hold is an error of that entry, and exit code 1."""
    done = shop.run(sys.executable, "-m", "orchestration.cli", "predict", "shop-days", "--key", "2024-03-05|99")

    assert 1 == done.returncode
    assert "no such key" in json.loads(done.stdout)["predictions"][0]["error"]


def test_corrected_and_still_replayed(shop, predicted):
    """After a correction of a raw file only what reads it is made anew; the old prediction replays as it was."""
    write_orders(shop.root, "2024-01", first_amount="29.90")

    lines = shop.headwater("run", "shop.orders").splitlines()
    lines += shop.headwater("run", "shop.orders_known").splitlines()
    replayed = shop.json("replay", predicted["prediction_id"], "--json")
    verified = shop.json("verify", "--json")

    computed = {line.split()[0] for line in lines if " computed " in line}
    assert {"shop.orders[2024-01]", "shop.orders_known[2024-01]"} == computed
    assert (True, []) == (replayed["identical"], verified["damaged"])
