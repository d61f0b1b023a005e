"""The column lineage of steps as they are declared: tables, sources and models."""

from __future__ import annotations

import polars as pl
import pytest

import lineage
from lineage import Pipeline, by_hash, files
from lineage.columnar.steps import Input, model_columns, source_columns, table_columns
from lineage.columns import Source, Transformation
from lineage.errors import ColumnsUnknownError
from lineage.ports import QuarantineRule
from lineage.spec import Model, Step
from lineage.spec import Source as SourceDetail

ORDERS = Input("shop/orders", pl.Schema({"id": pl.String, "day": pl.Date, "amount": pl.Int32, "late": pl.Boolean}))
AMOUNT = QuarantineRule(0, "amount is positive", pl.col("amount") <= 0, pl.lit(value=True))


def step_of(function, rows=None, **parameters):
    """A table's step with this function."""
    return Step("shop", "table", "table", parameters, "", function=function, rows=rows)


def named(influences):
    """Source columns as text, with the subtypes of what they do."""
    return {f"{source.dataset}.{source.column}": [how.subtype for how in told] for source, told in influences.items()}


def test_inputs_are_told_by_their_datasets():
    """Two inputs of one dataset are one; a parameter is the function's own."""

    def counted(orders, past, *, least):
        earlier = past.filter(pl.col("amount") >= least).group_by("day").agg(n=pl.len())
        return orders.join(earlier, on="day", how="left", validate="m:1").select("id", "n")

    found = table_columns(step_of(counted, least=3), {"orders": ORDERS, "past": ORDERS})

    assert named(found.columns["id"].sources) == {"shop/orders.id": ["IDENTITY"]}
    assert named(found.columns["n"].sources) == {
        "shop/orders.amount": ["FILTER"],
        "shop/orders.day": ["GROUP_BY", "JOIN"],
    }


def test_constants_come_from_no_input():
    """What stands in the code is no column of anything."""

    def named_days(orders):
        known = lineage.constant({"late": [True, False], "word": ["late", "in time"]})
        return orders.join(known, on="late", how="left", validate="m:1").select("id", "word")

    found = table_columns(step_of(named_days), {"orders": ORDERS})

    assert named(found.columns["word"].sources) == {"shop/orders.late": ["JOIN"]}


def test_python_code_is_bounded_by_the_columns_that_it_is_given():
    """And its table says that it may be fewer."""

    def doubled(orders):
        return orders.select("id", "amount").map_batches(lambda frame: frame)

    found = table_columns(step_of(doubled, rows="1:1"), {"orders": ORDERS})

    assert not found.exact
    assert set(named(found.columns["id"].sources)) == {"shop/orders.amount", "shop/orders.id"}


def test_rules_that_put_rows_aside_decide_which_rows_there_are():
    """Of tables by where their column comes from, of sources by the raw file's."""

    def renamed(orders):
        return orders.select("id", amount=pl.col("amount") * 2)

    table = table_columns(step_of(renamed), {"orders": ORDERS}, lambda schema: [AMOUNT] if "amount" in schema else [])
    source = source_columns(SourceDetail(files("data/raw/o.csv"), {"amount": "int32"}, ()), "shop/raw_orders", [AMOUNT])

    assert named(table.rows.sources) == {"shop/orders.amount": ["FILTER"]}
    assert named(source.rows.sources) == {"shop/raw_orders.amount": ["FILTER"]}


def test_columns_of_a_source_are_the_raw_files():
    """Text as it stands, anything else as it is read."""
    detail = SourceDetail(files("data/raw/o.csv"), {"id": "string", "at": "datetime_utc"}, ())

    found = source_columns(detail, "shop/raw_orders")

    assert found.columns["id"].sources == {Source("shop/raw_orders", "id"): (Transformation("DIRECT", "IDENTITY"),)}
    assert found.columns["at"].sources == {
        Source("shop/raw_orders", "at"): (Transformation("DIRECT", "TRANSFORMATION", "at.cast(Datetime)"),)
    }


def test_a_model_predicts_from_features_and_has_learnt_its_target():
    """Rows were chosen by the column that splits them."""
    shop = Pipeline("shop")
    detail = Model("orders", "late", ("amount", "day"), by_hash("id"), "binary:logistic", "serving.fit:fit")
    step = Step(shop.name, "late_t0", "model", {}, "", detail=detail)

    found = model_columns(step, detail, "shop/orders")

    assert named(found.columns["prediction"].sources) == {
        "shop/orders.amount": ["TRANSFORMATION"],
        "shop/orders.day": ["TRANSFORMATION"],
        "shop/orders.late": ["AGGREGATION"],
    }
    assert named(found.rows.sources) == {"shop/orders.id": ["FILTER"]}


def test_a_frame_from_elsewhere_is_refused():
    """What nobody knows the columns of is not passed over."""

    def elsewhere(orders):
        return orders.join(pl.defer(lambda: pl.DataFrame({"id": ["a"]}), schema={"id": pl.String}), on="id")

    with pytest.raises(ColumnsUnknownError, match="what Python code reads, which is none of the step's inputs"):
        table_columns(step_of(elsewhere), {"orders": ORDERS})
