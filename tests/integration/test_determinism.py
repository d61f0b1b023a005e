"""The same bytes on any number of threads and in either engine of Polars, each in a process of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from hashlib import md5

import polars as pl
import pytest

from lineage.compute import Task
from lineage.proof.worktree import compute_in

PACKAGE = "loom"
ORDERS = 150_000

TABLE = """

_SOLD = {
    "sold_5d": history(keys="product", value="amount", known_at="known_at", window="5d", agg="sum"),
    "price_5d": history(keys="product", value="price", known_at="known_at", window="5d", agg="mean", decimals=2),
}


@shop.table(key="id")
def woven(orders, products, visits):
    \"\"\"Orders with their price, their day, and what was sold before: joins, groups and history in one.\"\"\"
    rows = orders.join(products, on="product", how="left").with_columns(asked_at=pl.col("at").cast(pl.Datetime("us")))
    days = rows.group_by("at").agg(pl.col("amount").sum().alias("of_the_day"), pl.len().alias("number"))
    visited = days.join(visits, left_on="at", right_on="day", how="left")
    events = rows.select("product", "amount", "price", known_at=pl.col("asked_at"))
    known = with_history(rows, at="asked_at", events=events, aggregates=_SOLD)
    return known.join(visited, on="at", how="left")
"""

# Threads, and the engine that Polars takes where it may choose.
CIRCUMSTANCES = [(1, "in-memory"), (1, "streaming"), (2, "streaming"), (3, "in-memory"), (3, "streaming")]


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop with enough orders for several threads, in no order, and a table of all that could vary."""
    shop = make_shop(PACKAGE)
    shop.edit(
        f"{PACKAGE}/shop.py", "from loom.money", "from lineage.history import history, with_history\nfrom loom.money"
    )
    shop.write(f"{PACKAGE}/shop.py", shop.path(f"{PACKAGE}/shop.py").read_text() + TABLE)
    numbers = (number * 7919 % ORDERS for number in range(ORDERS))
    lines = (f"{n:06d},2020-01-{n % 28 + 1:02d},{('tea', 'salt', 'rice')[n % 3]},{n % 7},false" for n in numbers)
    shop.raw("orders/2020-01").write_text("\n".join(["id,at,product,amount,late", *lines, ""]))
    for name in ("orders", "visits", "products", "woven"):
        shop.run(name, partition="2020-01")
    return shop


def test_bytes_do_not_depend_on_threads_or_engine(shop, tmp_path):
    """Joins, groups and history of one table, computed again in five processes, have one md5: the recorded one."""
    version = shop.current("woven", "2020-01")
    inputs = tuple(
        (name, shop.current(name, partition))
        for name, partition in (("orders", "2020-01"), ("products", ""), ("visits", "2020-01"))
    )
    task = Task("shop.woven", "2020-01", inputs, {item: shop.object(item) for _, item in inputs})

    def compute(number: int) -> str:
        threads, engine = CIRCUMSTANCES[number]
        folder = tmp_path / str(number)
        folder.mkdir()
        environ = {"POLARS_MAX_THREADS": str(threads), "POLARS_ENGINE_AFFINITY": engine}
        done = compute_in(shop.root, task, folder, shop.space.settings, environ=environ, timeout_seconds=120)
        assert done.error is None, done.error
        return md5(done.path.read_bytes(), usedforsecurity=False).hexdigest()

    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(CIRCUMSTANCES, pool.map(compute, range(len(CIRCUMSTANCES))), strict=True))

    assert found == dict.fromkeys(CIRCUMSTANCES, version.file.md5)
    assert pl.read_parquet(shop.object(version))["sold_5d"].sum() > 0
