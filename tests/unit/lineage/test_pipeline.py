"""Declarations: what is impossible is refused where it is written, with its name and what was meant."""

from __future__ import annotations

import functools
from datetime import date

import pytest

from lineage import Pipeline, by_hash, by_time, files, from_package, monthly, suite
from lineage.errors import DeclarationError
from lineage.history import history
from lineage.spec import Input

MONTHS = monthly("2020-01", "2021-01")
SPLIT = by_time("at", tune_from="2020-09-01", test_from="2020-11-01")


@pytest.fixture
def shop():
    """A pipeline with a source by month and one in one piece."""
    shop = Pipeline("shop")
    shop.source("orders", files("data/raw/orders/{partition}.csv"), schema={"id": "string"}, partitions=MONTHS)
    shop.source("products", files("data/raw/products.csv"), schema={"id": "string"})
    return shop


def _reading(*names, **parameters):
    """A function `features` with these positional and keyword-only parameters."""
    text = ", ".join([*names, *(["*"] if parameters else []), *(f"{name}={name}" for name in parameters)])
    made = dict(parameters)
    exec(f"def features({text}): ...", made)
    return made["features"]


def _features(shop, *names, parameters=None, **said):
    return shop.table(**said)(_reading(*names, **(parameters or {})))


def _model(shop, **said):
    given = {"table": "orders", "target": "late", "features": ["id"], "split": SPLIT, **said}
    return shop.model("late", **given)


def _source(shop, name="visits", pattern="data/raw/visits.csv", **said):
    return shop.source(name, files(pattern), **{"schema": {"id": "string"}, **said})


ORIGIN = from_package("somewhere", "data/orders.csv")

REFUSED = {
    "a misspelt input": (lambda p: _features(p, "ordrs"), "shop.features: input 'ordrs'.*did you mean 'orders'"),
    "an input like nothing": (lambda p: _features(p, "zzz"), "shop.features: input 'zzz'.*'orders' or 'products'"),
    "an input declared below": (lambda p: _features(p, "later"), "input 'later' is not declared above it"),
    "a step that reads itself": (lambda p: _features(p, "features"), "shop.features reads itself"),
    "a step that reads nothing": (lambda p: _features(p), "shop.features reads nothing"),
    "an input with a default": (lambda p: _features(p, "orders=1"), "shop.features: parameter 'orders' must be"),
    "open arguments": (lambda p: _features(p, "*orders"), "shop.features: parameter 'orders' must be"),
    "two steps of one name": (lambda p: _source(p, "orders"), "shop.orders is declared twice.*already a source"),
    "two tables of one name": (
        lambda p: _features(p, "orders") and _features(p, "orders"),
        "shop.features is declared twice.*already a table",
    ),
    "a lambda": (lambda p: p.table()(lambda orders: orders), "step name '<lambda>'"),
    "a callable that is no function": (
        lambda p: p.table()(functools.partial(_reading("orders"))),
        "shop: functools.partial.*is no function",
    ),
    "a column twice in the key": (
        lambda p: _features(p, "orders", key=["id", "id"]),
        "shop.features: key names id, id",
    ),
    "look_back of what is not declared": (
        lambda p: _features(p, "orders", look_back={"ordrs": 1}),
        "shop.features: input 'ordrs'.*'orders'",
    ),
    "look_back of what is not read": (
        lambda p: _features(p, "orders", look_back={"products": 1}),
        "shop.features: look_back names 'products', which it does not read",
    ),
    "look_back of what has no partitions": (
        lambda p: _features(p, "orders", "products", look_back={"products": 1}),
        "shop.features: look_back of 'products' means nothing",
    ),
    "look_back of a whole": (
        lambda p: _features(p, "orders", look_back={"orders": 1}, whole=True),
        "shop.features: look_back of 'orders' means nothing",
    ),
    "look_back of no number": (
        lambda p: _features(p, "orders", look_back={"orders": True}),
        "shop.features: look_back of 'orders' is True",
    ),
    "look_back into the future": (
        lambda p: _features(p, "orders", look_back={"orders": -1}),
        "shop.features: look_back of 'orders' is -1",
    ),
    "inputs of no parameter": (
        lambda p: _features(p, "orders", inputs={"past": "orders"}),
        "shop.features: inputs names 'past', but it has no such parameter",
    ),
    "inputs that are not declared": (
        lambda p: _features(p, "past", inputs={"past": "ordrs"}),
        "shop.features: input 'ordrs'.*'orders'",
    ),
    "a parameter that is no JSON": (
        lambda p: _features(p, "orders", parameters={"since": date(2020, 1, 1)}),
        "shop.features: parameter 'since' must be a JSON value.*date",
    ),
    "a parameter that is no number": (
        lambda p: _features(p, "orders", parameters={"limit": float("nan")}),
        "shop.features: parameter 'limit' must be a JSON value",
    ),
    "a parameter that comes back changed": (
        lambda p: _features(p, "orders", parameters={"names": {"a": [{1: "x"}]}}),
        "shop.features: parameter 'names' must be a JSON value.*key is no string",
    ),
    "an unknown column type": (
        lambda p: _source(p, schema={"id": "strng"}),
        "shop.visits: column 'id' has unknown type 'strng'; 'string'",
    ),
    "a schema of nothing": (lambda p: _source(p, schema={}), "shop.visits: its schema has no column"),
    "null values that are one text": (lambda p: _source(p, null_values="NA"), r"shop.visits: null_values.*\['NA'\]"),
    "files by partition without partitions": (
        lambda p: _source(p, pattern="data/raw/visits/{partition}.csv"),
        "shop.visits: files with {partition} and partitions= belong together",
    ),
    "partitions without files by partition": (
        lambda p: _source(p, partitions=MONTHS),
        "shop.visits: files with {partition} and partitions= belong together",
    ),
    "a bad step name": (lambda p: _source(p, "Visits"), "step name 'Visits' must be a lower-case identifier"),
    "a name with a dash": (lambda p: _source(p, "site-visits"), "step name 'site-visits' must be"),
    "a fetch split without partitions": (
        lambda p: p.fetch("visits", ORIGIN, split_by="month"),
        r"shop.fetch\('visits'\): give split_by and partitions together",
    ),
    "a fetch split by the unknown": (
        lambda p: p.fetch("visits", ORIGIN, split_by="day", partitions=MONTHS),
        r"shop.fetch\('visits'\): split_by='day' is unknown",
    ),
    "a fetch below its source": (
        lambda p: p.fetch("orders", ORIGIN),
        r"shop.fetch\('orders'\): shop.orders is declared above it",
    ),
    "a source beside what was fetched": (
        lambda p: p.fetch("visits", ORIGIN) or _source(p, "visits"),
        "shop.visits reads 'data/raw/visits.csv', but shop.raw_visits writes 'data/raw/shop/visits/visits.csv'",
    ),
    "a source of other months than fetched": (
        lambda p: (
            p.fetch("visits", ORIGIN, split_by="month", partitions=monthly("2020-01", "2020-03"))
            or _source(p, "visits", "data/raw/shop/visits/{partition}.csv", partitions=MONTHS)
        ),
        "shop.visits: give it the same partitions as shop.raw_visits",
    ),
    "a model of no table": (lambda p: _model(p, table="ordrs"), "shop.late: input 'ordrs'.*'orders'"),
    "a target among the features": (
        lambda p: _model(p, features=["id", "late"]),
        "shop.late: the target 'late' is among its own features",
    ),
    "features that are one text": (lambda p: _model(p, features="id"), "shop.late: features must be a list"),
    "a model of nothing": (lambda p: _model(p, features=[]), "shop.late: features must be a list"),
    "a feature twice": (lambda p: _model(p, features=["id", "id"]), "shop.late: feature 'id' is named twice"),
    "a model parameter that is no JSON": (lambda p: _model(p, seed={1}), "shop.late: parameter 'seed' must be"),
    "a model that reads a model": (
        lambda p: _model(p) or p.model("late2", table="late", target="x", features=["id"], split=SPLIT),
        "shop.late2: input 'late' is not declared",
    ),
}


@pytest.mark.parametrize(("declare", "said"), REFUSED.values(), ids=REFUSED)
def test_the_impossible_is_refused_where_it_is_declared(shop, declare, said):
    """The message names the step and, where a name is wrong, those that were meant."""
    with pytest.raises(DeclarationError, match=said):
        declare(shop)


@pytest.mark.parametrize("name", ["Shop", "my-shop", "1shop", "", "shop.eu", "läden"])
def test_a_pipeline_has_a_plain_name(name):
    """The name becomes a folder, an asset key and a stage: a lower-case identifier fits all."""
    with pytest.raises(DeclarationError, match="pipeline name"):
        Pipeline(name)


def test_inputs_partitioned_differently_are_refused(shop):
    """Two inputs with other months have no month in common that could be meant; `whole` reads all of both."""
    _source(shop, "visits", "data/raw/visits/{partition}.csv", partitions=monthly("2020-01", "2020-03"))

    with pytest.raises(
        DeclarationError, match=r"shop\.features: its inputs orders, visits are partitioned differently"
    ):
        _features(shop, "orders", "visits")

    _features(shop, "orders", "visits", "products", whole=True)
    assert shop.steps["features"].partitions is None


def test_declaring_returns_the_function_unchanged(shop):
    """A step is the author's own function: it can be called and tested as if it were not declared."""
    function = _reading("orders")

    assert shop.table(key="id")(function) is function
    assert shop.steps["features"].function is function


def test_parameters_and_inputs_come_from_the_signature(shop):
    """Positional parameters name inputs in their order, keyword-only ones are recorded with their values."""
    _features(shop, "products", "orders", parameters={"days": 3, "names": ("a", "b")}, look_back={"orders": 2})

    step = shop.steps["features"]

    assert (Input("products"), Input("orders", 2)) == step.inputs
    assert {"days": 3, "names": ["a", "b"]} == dict(step.parameters)
    assert MONTHS == step.partitions


def test_a_step_can_be_read_twice(shop):
    """A parameter may name another step than itself, and look back as far as declared aggregates need."""
    sold = {"sold": history(value="amount", known_at="at", window="60d", agg="sum")}
    _features(shop, "orders", "past", inputs={"past": "orders"}, look_back={"past": sold})

    assert (Input("orders"), Input("past", 4, "orders")) == shop.steps["features"].inputs
    assert [item.step for item in shop.steps["features"].inputs] == ["orders", "orders"]


def test_declared_parameters_cannot_change_later(shop):
    """A list that the author goes on using is not the recorded one."""
    names = ["a"]
    _features(shop, "orders", parameters={"names": names})
    names.append("b")

    parameters = shop.steps["features"].parameters

    assert ["a"] == parameters["names"]
    with pytest.raises(TypeError):
        parameters["names"] = []


@pytest.mark.parametrize(("key", "keys"), [("id", ("id",)), (["id", "at"], ("id", "at")), ((), ())])
def test_a_key_is_one_column_or_several(shop, key, keys):
    """One column may be written as such."""
    _features(shop, "orders", key=key)

    assert keys == shop.steps["features"].key


def test_one_declaration_has_all_its_names(shop):
    """Step, dataset, stage and model name are derived from pipeline and step."""
    _model(shop, rounds=10)
    step = shop.steps["late"]

    assert ["shop.late", "shop/late", "shop-late", "shop-late"] == [
        step.full_name,
        step.dataset,
        step.stage,
        step.model_name,
    ]
    assert 10 == step.parameters["rounds"]
    assert {"column": "at", "tune_from": "2020-09-01", "test_from": "2020-11-01", "zone": "UTC"} == step.parameters[
        "split"
    ]


def test_a_fetched_source_reads_what_is_fetched():
    """A source below its fetch has it as its input, and its files are the fetched ones."""
    shop = Pipeline("shop")
    shop.fetch("orders", ORIGIN, split_by="month", partitions=MONTHS)
    _source(shop, "orders", "data/raw/shop/orders/{partition}.csv", partitions=MONTHS, checks=suite("orders"))

    assert (Input("raw_orders"),) == shop.steps["orders"].inputs
    assert ["raw_orders", "orders"] == list(shop.steps)


@pytest.mark.parametrize(
    ("start", "end", "keys"),
    [
        ("2013-11", "2014-03", ("2013-11", "2013-12", "2014-01", "2014-02")),
        ("2013-12", "2014-01", ("2013-12",)),
        ("0999-12", "1000-02", ("0999-12", "1000-01")),
    ],
)
def test_months_turn_the_year(start, end, keys):
    """The end is exclusive, December is followed by January."""
    assert keys == monthly(start, end).keys


@pytest.mark.parametrize(
    ("key", "count", "keys"),
    [
        ("2013-12", 0, ("2013-12",)),
        ("2014-01", 1, ("2013-12", "2014-01")),
        ("2014-01", 9, ("2013-11", "2013-12", "2014-01")),
        ("2013-11", 3, ("2013-11",)),
    ],
)
def test_months_before_stop_at_the_first(key, count, keys):
    """A look-back reads as many earlier months as there are, oldest first, the month itself last."""
    assert keys == monthly("2013-11", "2014-03").before(key, count)


def test_months_land_as_declared():
    """`first` months land before the clock starts: all of them, unless it says how many."""
    assert [12, 3, 0] == [
        MONTHS.first,
        monthly("2020-01", "2021-01", first=3).first,
        monthly("2020-01", "2021-01", first=0).first,
    ]


@pytest.mark.parametrize(
    ("start", "end", "first"),
    [
        ("2013-1", "2014-01", None),
        ("2013-01-01", "2014-01", None),
        ("2013-13", "2014-01", None),
        ("2013-01", "2014-00", None),
        ("2014-01", "2014-01", None),
        ("2014-02", "2014-01", None),
        ("2013-01", "2014-01", 13),
        ("2013-01", "2014-01", -1),
    ],
)
def test_what_are_no_months_is_refused(start, end, first):
    """The message repeats what was written."""
    with pytest.raises(DeclarationError, match=rf"monthly\('{start}', '{end}'"):
        monthly(start, end, first=first)


@pytest.mark.parametrize(
    "pattern",
    [
        "orders.csv",
        "/data/orders.csv",
        "../data/orders.csv",
        "data/../../orders.csv",
        "data//orders.csv",
        "data/",
        "./orders.csv",
        "data/{month}.csv",
        "data/*.csv",
        "data/{partition.csv",
        "{partition}/orders.csv",
    ],
)
def test_files_lie_in_a_folder_of_the_project(pattern):
    """A path that leaves the project, or a pattern that nobody would fill in, is refused."""
    with pytest.raises(DeclarationError, match="files"):
        files(pattern)


@pytest.mark.parametrize(
    ("pattern", "path", "folder"),
    [
        ("data/raw/products.csv", "data/raw/products.csv", "data/raw"),
        ("data/raw/orders/{partition}.csv", "data/raw/orders/2020-01.csv", "data/raw/orders"),
        ("data/raw/orders/{partition}/part.csv", "data/raw/orders/2020-01/part.csv", "data/raw/orders"),
        ("data/raw/orders-{partition}.csv", "data/raw/orders-2020-01.csv", "data/raw"),
    ],
)
def test_a_pattern_has_a_path_per_month_and_one_folder(pattern, path, folder):
    """The folder is the one that holds the files of all months: what DVC tracks."""
    assert (path, folder) == (files(pattern).path("2020-01"), files(pattern).folder)


def test_a_split_by_time_knows_its_zone():
    """Dates may be those of a place; a place that is none is named."""
    assert by_time("at", tune_from="2020-09-01", test_from="2020-11-01", zone="Asia/Tokyo").zone == "Asia/Tokyo"
    with pytest.raises(DeclarationError, match="there is no time zone 'New York'"):
        by_time("at", tune_from="2020-09-01", test_from="2020-11-01", zone="New York")


@pytest.mark.parametrize(("tune", "test"), [(0.5, 0.5), (0.2, 0), (-0.1, 0.2), (0.2, 1.2)])
def test_a_split_by_hash_leaves_rows_to_train_on(tune, test):
    """Shares that leave nothing to learn from, or nothing to test, are refused."""
    with pytest.raises(DeclarationError, match=r"by_hash\('id'\).*shares"):
        by_hash("id", tune=tune, test=test)


@pytest.mark.parametrize(
    ("tune_from", "test_from"),
    [
        ("2020-11-01", "2020-09-01"),
        ("2020-09-01", "2020-09-01"),
        ("2020-9-1", "2020-11-01"),
        ("2020-09-31", "2020-11-01"),
    ],
)
def test_a_split_by_time_is_in_order(tune_from, test_from):
    """Tuning comes before testing, both on days that exist."""
    with pytest.raises(DeclarationError, match=r"by_time\('at'\)"):
        by_time("at", tune_from=tune_from, test_from=test_from)
