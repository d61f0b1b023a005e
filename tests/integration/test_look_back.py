"""A table that reads one step twice, its own month as rows and earlier months as the past."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lineage.history import history, with_history
from lineage.trace import Traces

REPEATS = """

_SOLD = {"sold_28d": history(keys="product", value="amount", known_at="known_at", window="28d", agg="sum")}


@shop.table(key="id", inputs={"past": "orders"}, look_back={"past": _SOLD})
def repeats(orders, past):
    \"\"\"Orders, and how much of their product was ordered before.\"\"\"
    rows = orders.with_columns(asked_at=pl.col("at").cast(pl.Datetime("us")))
    events = past.with_columns(known_at=pl.col("at").cast(pl.Datetime("us")))
    return with_history(rows, at="asked_at", events=events, aggregates=_SOLD)
"""


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop with a table of history, up to date."""
    shop = make_shop("counter")
    shop.edit(
        "counter/shop.py", "from counter.money", "from lineage.history import history, with_history\nfrom counter.money"
    )
    shop.write("counter/shop.py", shop.path("counter/shop.py").read_text() + REPEATS)
    shop.write_month("2020-04")
    shop.run()
    return shop


def test_the_past_is_an_input_of_its_own(shop):
    """February's rows are February's; what they know of is January's too, and not their own day or later."""
    found = pl.read_parquet(shop.table("repeats/2020-02")).sort("at").row(0, named=True)
    orders = pl.concat([pl.read_parquet(shop.table(f"orders/2020-0{month}")) for month in (1, 2)])

    earlier = orders.filter(
        pl.col("product") == found["product"], pl.col("at") < found["at"], pl.col("at") >= pl.date(2020, 1, 4)
    )
    assert found["id"] == "2020-02-1"
    assert found["sold_28d"] == earlier["amount"].sum() > 0
    assert pl.read_parquet(shop.table("repeats/2020-02")).height == 28


def test_a_run_records_which_months_it_read_as_what(shop):
    """Rows of March, the past of January to March: 28 days may begin in February, and be known of January."""
    run = shop.query("select run_id from run where step = 'shop.repeats' and partition = '2020-03'")[0]["run_id"]
    read = shop.query(f"select name, partition from run_input where run_id = '{run}' order by ordinal")
    (event,) = shop.query(f"select body from event where run_id = '{run}' and event_type = 'COMPLETE'")

    assert [("orders", "2020-03"), ("past", "2020-01"), ("past", "2020-02"), ("past", "2020-03")] == [
        (row["name"], row["partition"]) for row in read
    ]
    assert ["shop/orders"] == [item["name"] for item in event["body"]["inputs"]]


def test_of_the_past_other_cells_are_told_than_of_the_row_itself(shop):
    """Of what was ordered before, how much; of the order itself only when it was and of what."""
    found = Traces(shop.space).of("shop.repeats[2020-02]:0", feature="sold_28d")

    february = next(source for source in found["sources"] if source["partition"] == "2020-02")
    january = next(source for source in found["sources"] if source["partition"] == "2020-01")
    assert february["columns"] == ["at", "product"]
    assert january["columns"] == ["at", "product", "amount"]
    assert january["exact"]
    assert all(None not in values for values in january["values"])

    later = Traces(shop.space).of("shop.repeats[2020-02]:25", feature="sold_28d")
    (own,) = pl.read_parquet(shop.table("repeats/2020-02"))[25]["at"].cast(pl.String)
    both = next(source for source in later["sources"] if source["partition"] == "2020-02")
    assert both["columns"] == ["at", "product", "amount"]
    assert [values[0] for values in both["values"] if values[2] is None] == [own]
    assert len(both["values"]) > 1


def test_a_correction_recomputes_the_months_that_look_back_on_it(shop):
    """January corrected: its own rows, February's and March's; April looks back to February only."""
    shop.order_again("2020-01")

    assert {"repeats[2020-01]", "repeats[2020-02]", "repeats[2020-03]"} == {
        label for label in shop.run() if label.startswith("repeats")
    }


def test_a_month_that_lands_late_is_seen_by_later_ones(shop):
    """May's file comes after June's: June is computed again, and as if both had come in their order."""
    shop.write_month("2020-05")
    held_back = [shop.raw(f"{name}/2020-05") for name in ("orders", "visits")]
    for path in held_back:
        path.rename(path.with_suffix(".later"))
    shop.write_month("2020-06")
    shop.run()
    without_may = pl.read_parquet(shop.table("repeats/2020-06"))

    for path in held_back:
        path.with_suffix(".later").rename(path)

    assert {"repeats[2020-05]", "repeats[2020-06]"} == {label for label in shop.run() if label.startswith("repeats")}
    orders = [pl.scan_parquet(shop.table(f"orders/2020-0{month}")) for month in (4, 5, 6)]
    in_order = _sold(orders[-1], pl.concat(orders))
    assert_frame_equal(in_order, pl.read_parquet(shop.table("repeats/2020-06")).select("id", "sold_28d"))
    assert not in_order.equals(without_may.select("id", "sold_28d"))


def _sold(orders, past):
    """What the table holds, computed of all months at once."""
    sold = history(keys="product", value="amount", known_at="at", window="28d", agg="sum")
    found = with_history(orders, at="at", events=past, aggregates={"sold_28d": sold})
    return found.select("id", "sold_28d").sort("id").collect()
