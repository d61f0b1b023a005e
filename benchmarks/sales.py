"""A project of ten million sales, to measure what shows only at that size: what it costs to run and to trace.

    python -m benchmarks.sales FOLDER [SALES [whole]]
    HEADWATER_ROOT=FOLDER headwater run
    python -m benchmarks.trace FOLDER sales-happy

Writes the pipeline and its raw files, the same bytes each time: a year of sales as a file for each month, their prices
by day, and the stores and products that they are joined with. A row of the feature table rests on some thousand sales
of up to three months; each tenth says whether the buyer was happy, which is what the model learns. `whole` makes one
file of the year, and so tables of one partition.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

# One in twenty is of nothing, and is not in the tables.
SALES = 10_600_000
STORES, PRODUCTS, CUSTOMERS, REGIONS = 300, 2_000, 500_000, 12
STARTS = [datetime(2020 + month // 12, month % 12 + 1, 1) for month in range(13)]

PIPELINE = '''"""Sales: who will be happy with what they bought, asked when they buy."""

import polars as pl

from lineage import Pipeline, by_time, files, monthly
from lineage.history import history, with_history

sales = Pipeline("sales")
MONTHS = monthly("2020-01", "2021-01")

sales.source(
    "receipts",
    files("data/raw/sales/receipts/{partition}.csv"),
    partitions=MONTHS,
    schema={
        "sale": "string",
        "at": "datetime_utc",
        "store": "string",
        "product": "string",
        "customer": "int32",
        "amount": "int32",
        "paid_at": "datetime_utc",
        "happy": "boolean",
    },
)
sales.source(
    "prices",
    files("data/raw/sales/prices/{partition}.csv"),
    partitions=MONTHS,
    schema={"product": "string", "day": "date", "cents": "int32"},
)
sales.source(
    "stores",
    files("data/raw/sales/stores.csv"),
    schema={"store": "string", "region": "string", "size": "int32"},
)
sales.source(
    "products",
    files("data/raw/sales/products.csv"),
    schema={"product": "string", "shelf": "string", "weight": "int32"},
)


def _seen(window, keys=(), **more):
    return history(keys=keys, value="amount", known_at="paid_at", window=window, known_within="3d", **more)


_MEANS = {
    "all_1h": _seen("1h"),
    "region_2h": _seen("2h", "region"),
    "store_1d": _seen("1d", "store"),
    "store_14d": _seen("14d", "store"),
    "shelf_2h": _seen("2h", "shelf"),
    "product_28d": _seen("28d", "product"),
    "store_product_28d": _seen("28d", ("store", "product")),
    "customer_28d": _seen("28d", "customer"),
}
_COUNTS = {
    "store_1d_sales": _seen("1d", "store", agg="count"),
    "store_14d_sales": _seen("14d", "store", agg="count"),
    "product_28d_sales": _seen("28d", "product", agg="count"),
    "customer_28d_sales": _seen("28d", "customer", agg="count"),
}
PAST = {
    **_MEANS,
    **_COUNTS,
    "customer_last": _seen("28d", "customer", agg="last"),
    "product_most_14d": _seen("14d", "product", agg="max"),
}


@sales.table(key="sale")
def tickets(receipts, stores, products):
    """Each sale, with where and what it was."""
    return (
        receipts.filter(pl.col("amount") != 0)
        .join(stores, on="store", how="left", validate="m:1")
        .join(products, on="product", how="left", validate="m:1")
        .with_columns(hour=pl.col("at").dt.truncate("1h"), day=pl.col("at").dt.date())
        .with_columns(sales_that_hour=pl.len().over("store", "hour"))
        .drop("hour")
    )


@sales.table(key="sale", inputs={"past": "tickets"}, look_back={"past": PAST})
def features(tickets, past, prices):
    """What is known of a sale when it is made."""
    rows = with_history(tickets, at="at", events=past, aggregates=PAST)
    return rows.join(prices, on=["product", "day"], how="left", validate="m:1").drop("paid_at", "day")


sales.model(
    "happy",
    table="features",
    target="happy",
    features=["store", "region", "size", "shelf", "weight", "amount", "cents", "sales_that_hour", *PAST],
    split=by_time("at", tune_from="2020-04-01", test_from="2020-05-01"),
    objective="binary:logistic",
    rounds=20,
    max_depth=4,
)
'''

# What makes the year one partition.
WHOLE = {"    partitions=MONTHS,\n": "", "{partition}": "2020", ', look_back={"past": PAST}': ""}


def main(folder: Path, count: int, *, whole: bool) -> None:
    """Write the project and commit its code."""
    pipeline = PIPELINE
    for before, after in WHOLE.items() if whole else ():
        pipeline = pipeline.replace(before, after)
    (folder / "assets").mkdir(parents=True)
    (folder / "assets" / "__init__.py").write_text('"""Pipelines."""\n')
    (folder / "assets" / "sales.py").write_text(pipeline)
    (folder / ".gitignore").write_text(".headwater/\n__pycache__/\n/data/\n")
    for path, frame in raw_files(count):
        of_month = path.parent.name != ""
        _append(frame, folder / "data" / "raw" / "sales" / (path.with_stem("2020") if whole and of_month else path))
    who = ("-c", "user.name=Benchmark", "-c", "user.email=benchmark@example.org", "-c", "commit.gpgsign=false")
    for command in (("init", "--quiet"), ("add", "--all"), (*who, "commit", "--quiet", "--message", "Sales")):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    print(f"{count:,} sales in {folder}")


def _append(frame: pl.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        frame.write_csv(file, include_header=file.tell() == 0, datetime_format="%Y-%m-%dT%H:%M:%SZ")


def raw_files(count: int) -> Iterator[tuple[Path, pl.DataFrame]]:
    """The raw files by their paths; a sale is in the month in which it was made."""
    draw = np.random.default_rng(13)
    stores, products = _named("store", STORES), _named("product", PRODUCTS)
    yield (
        Path("stores.csv"),
        stores.with_columns(region=_one_of("region", REGIONS, STORES, draw), size=_many(9, STORES, draw)),
    )
    yield (
        Path("products.csv"),
        products.with_columns(shelf=_one_of("shelf", 40, PRODUCTS, draw), weight=_many(5_000, PRODUCTS, draw)),
    )
    for month, (start, end) in enumerate(pairwise(STARTS)):
        name = f"{start:%Y-%m}.csv"
        rows = count * (month + 1) // 12 - count * month // 12
        yield Path("receipts", name), _receipts(start, end, rows, draw)
        days = pl.select(day=pl.date_range(start.date(), end.date(), closed="left")).join(products, how="cross")
        yield Path("prices", name), days.select("product", "day", cents=_many(9_000, days.height, draw))


def _receipts(start: datetime, end: datetime, count: int, draw: np.random.Generator) -> pl.DataFrame:
    """Sales of a month in the order in which they were made; some stores and products are sought more."""
    seconds = np.sort(draw.integers(0, int((end - start).total_seconds()), count))
    at = pl.lit(start) + _seconds(seconds)
    paid = at + _seconds(draw.integers(60, 3 * 86_400, count))
    amounts = draw.integers(0, 20, count, dtype=np.int32)
    happy = pl.Series(draw.random(count) * 20 < amounts)
    return pl.select(
        sale=pl.format("{}-{}", pl.lit(f"{start:%Y-%m}"), pl.int_range(count).cast(pl.String).str.zfill(8)),
        at=at,
        store=_one_of("store", STORES, count, draw, steepness=50),
        product=_one_of("product", PRODUCTS, count, draw, steepness=100),
        customer=_many(CUSTOMERS, count, draw),
        amount=pl.Series(amounts),
        # Not all have paid yet, and not all have said what they think.
        paid_at=pl.when(pl.Series(draw.random(count) < 0.98)).then(paid),
        happy=pl.when(pl.Series(draw.random(count) < 0.1)).then(happy),
    )


def _seconds(values: np.ndarray) -> pl.Expr:
    return pl.duration(seconds=pl.lit(pl.Series(values)))


def _named(what: str, count: int) -> pl.DataFrame:
    return pl.select(pl.format("{}{}", pl.lit(what), pl.int_range(count)).alias(what))


def _one_of(what: str, kinds: int, count: int, draw: np.random.Generator, steepness: int = 10_000) -> pl.Series:
    weights = 1 / (np.arange(kinds) + steepness)
    bounds = np.cumsum(weights / weights.sum())
    places = np.minimum(np.searchsorted(bounds, draw.random(count)), kinds - 1)
    return _named(what, kinds)[what].gather(places)


def _many(most: int, count: int, draw: np.random.Generator) -> pl.Series:
    return pl.Series(draw.integers(0, most, count, dtype=np.int32))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else SALES, whole="whole" in sys.argv[3:])
