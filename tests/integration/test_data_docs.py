"""Data Docs over HTTP: what suites found on real versions, on refused and on freed ones; and what is not there."""

import json
import re
import subprocess
import sys

import pytest
from fastapi.testclient import TestClient

from lineage.api import create_app
from lineage.dvc import sync
from lineage.errors import CheckFailedError
from lineage.gc import collect

PACKAGE = "depot_docs"
HOSTILE = "<script>alert(1)</script>"
SUITE = [
    {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}, "severity": "critical"},
    {
        "type": "expect_column_values_to_be_in_set",
        "kwargs": {"column": "product", "value_set": ["tea", "salt", "rice"]},
        "severity": "warning",
    },
    {
        "type": "expect_column_max_to_be_between",
        "kwargs": {"column": "amount", "max_value": 90},
        "severity": "critical",
    },
]


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop whose orders are checked: January is good, February has a hostile product, March is refused."""
    shop = make_shop(PACKAGE)
    shop.edit(f"{PACKAGE}/shop.py", "by_time, files", "by_time, files, suite")
    shop.edit(f"{PACKAGE}/shop.py", '"late": "boolean"},\n', '"late": "boolean"},\n    checks=suite("orders"),\n')
    shop.write("validations/suites/shop/orders.json", json.dumps({"name": "orders", "expectations": SUITE}))
    append(shop, "2020-02", f"hostile,2020-02-28,{HOSTILE},1,false")
    sync(shop.space)
    shop.run("orders", partition="2020-01")
    shop.run("orders", partition="2020-02")
    append(shop, "2020-03", "dear,2020-03-28,tea,91,false")
    with pytest.raises(CheckFailedError):
        shop.run("orders", partition="2020-03")
    return shop


def append(shop, month, line):
    """Add an order to a month; what stood there before."""
    before = shop.raw(f"orders/{month}").read_text()
    shop.raw(f"orders/{month}").write_text(f"{before}{line}\n")
    return before


@pytest.fixture(scope="module")
def client(shop):
    with TestClient(create_app(shop.space.settings, {})) as client:
        yield client


def read(client, path, status=200):
    """A page, which is HTML under the service's own headers and asks nothing of anybody else."""
    response = client.get(path)
    assert (response.status_code, response.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert response.headers["content-security-policy"].startswith("default-src 'self'")
    assert re.findall(r'(?:src|href)="(?!/)', response.text) == []
    assert "<script" not in response.text
    return response.text


def links(page, part):
    """The targets of a page's links that have `part` in them."""
    return [target for target in re.findall(r'href="([^"]*)"', page) if part in target]


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
def test_index_has_the_newest_failures_first(client, shop, path):
    """A dataset with its suite and its partitions: refused, then warned, then good; each leads to its result."""
    page = read(client, path)

    months = [target.rsplit("/", 2)[1] for target in links(page, "/docs/validations/shop/orders/")]
    assert months == ["2020-03", "2020-02", "2020-01"]
    assert "3 newest results, 1 failed" in page
    assert links(page, "/expectations/") == ["/docs/expectations/shop/orders"]
    assert all("<h2>shop/orders[" in read(client, target) for target in links(page, "/docs/validations/shop/orders/"))


def test_result_of_a_version(client, shop):
    """Counts, GX's words, what was found wrong, and hostile values as text; any beginning of the version names it."""
    sha256 = shop.current("orders", "2020-02").sha256
    page = read(client, f"/docs/validations/shop/orders/2020-02/{sha256}")

    assert page == read(client, f"/docs/validations/shop/orders/2020-02/{sha256[:6]}")
    assert "Passed, with warnings" in page
    assert "<dt>Evaluated Expectations</dt><dd>3</dd>" in page
    assert "values must belong to this set: " in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.index("<h3>product</h3>") < page.index("<h3>id</h3>")
    assert "refused" not in page


def test_refused_version_is_explained(client, shop):
    """What blocked is there to be read, though the version never became visible."""
    (path,) = links(read(client, "/docs/"), "/2020-03/")
    page = read(client, path)

    assert "This version was refused: it never became visible." in page
    assert page.index("<h3>amount</h3>") < page.index("<h3>id</h3>")
    assert "1 (1 blocking)" in page
    assert "2020-03" not in shop.store.current("shop/orders")


def test_history_of_a_dataset(client, shop):
    """Every result of the dataset, newest first, each by its run."""
    page = read(client, "/docs/validations/shop/orders")

    found = links(page, "?run=")
    assert [target.split("/")[5] for target in found] == ["2020-03", "2020-02", "2020-01"]
    for target in found:
        assert target.partition("=")[2] in read(client, target)


def test_suite(client):
    """What is promised, in GX's words."""
    page = read(client, "/docs/expectations/shop/orders")

    assert "values must be unique." in page
    assert "3 expectations, as last checked on shop/orders" in page


@pytest.mark.parametrize(
    "path",
    [
        "/docs/validations/shop/nothing",
        "/docs/validations/shop/orders/2020-02/ffff",
        "/docs/validations/shop/orders/2020-02/%25",
        "/docs/validations/shop/orders/all/0",
        "/docs/validations/%3Cscript%3Ealert(1)%3C%2Fscript%3E/orders",
        "/docs/expectations/shop/nothing",
    ],
)
def test_unknown_is_a_page(client, path):
    """What is not there is said in a sentence, on a page that leads to what there is."""
    page = read(client, path, status=404)

    assert "<h2>Not found</h2>" in page
    assert "/docs/" in links(page, "/docs/")


def test_unknown_run(client, shop):
    """A run that did not check this version is not shown in another's place."""
    sha256 = shop.current("orders", "2020-02").sha256
    page = read(client, f"/docs/validations/shop/orders/2020-02/{sha256}?run=7", status=404)

    assert "by run 7" in page


def test_name_that_nothing_can_have(client):
    """NUL is in no name: refused as everywhere in the service."""
    assert client.get("/docs/validations/shop/orders/2020-02/%00").status_code == 400


def test_the_service_does_without_gx():
    """The pages need what the runs recorded, and not seconds of imports."""
    code = "import sys, lineage.api; print({'great_expectations', 'pandas'} & set(sys.modules))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert found.stdout == "set()\n"


def test_gc_takes_the_words_of_what_it_frees(client, shop):
    """Sampled values go with the rows; that there was a result, and which, stays."""
    before = shop.current("orders", "2020-02")
    raw = append(shop, "2020-02", "new,2020-02-28,tea,1,false")
    shop.run("orders", partition="2020-02")
    collect(shop.space)
    shop.raw("orders/2020-02").write_text(raw)
    kept = read(client, f"/docs/validations/shop/orders/2020-02/{shop.current('orders', '2020-02').sha256}")
    freed = read(client, f"/docs/validations/shop/orders/2020-02/{before.sha256}")

    assert "values must belong to this set: " in kept
    assert "not kept (any more)" in freed
    assert "values must belong to this set: " not in freed
    assert "expect_column_values_to_be_in_set" in freed
    assert "Passed, with warnings" in freed
