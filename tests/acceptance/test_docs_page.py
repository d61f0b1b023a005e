"""Data Docs in a real browser over a real service: they fit, ask nobody else, and show hostile values as text."""

import json
import sys

import pytest

from lineage.discover import discover
from lineage.errors import CheckFailedError
from lineage.plan import Workspace
from lineage.ports import Ports
from lineage.run import Door, Runner, run_steps
from lineage.settings import Settings
from lineage.store import Store

from .test_trace_page import CHROMIUM, HOSTILE, Browser

PACKAGE = "docs_shop"
PIPELINE = '''"""A shop whose orders are checked."""

from lineage import Pipeline, files, monthly, suite

shop = Pipeline("shop")
shop.source(
    "orders",
    files("data/raw/shop/orders/{partition}.csv"),
    partitions=monthly("2020-01", "2020-04"),
    checks=suite("orders"),
    schema={"id": "string", "product": "string", "amount": "float64"},
)
'''
EXPECTATIONS = [
    ("expect_table_row_count_to_be_between", "warning", {"min_value": 5}),
    ("expect_column_values_to_be_unique", "critical", {"column": "id"}),
    ("expect_column_values_to_be_in_set", "warning", {"column": "product", "value_set": ["tea", "salt"]}),
    ("expect_column_values_to_match_regex", "warning", {"column": "product", "regex": "^[a-z]{1,200}$"}),
    ("expect_column_max_to_be_between", "critical", {"column": "amount", "max_value": 90}),
]
MONTHS = {"2020-01": ("tea", 1), "2020-02": (HOSTILE, 2), "2020-03": ("very-long-name-" * 20, 91)}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium; apt-get install chromium")


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """A shop with a good month, one with a hostile product, and one that is refused."""
    root = tmp_path_factory.mktemp("docs_shop")
    suite = [{"type": kind, "severity": severity, "kwargs": kwargs} for kind, severity, kwargs in EXPECTATIONS]
    write(root / "validations/suites/shop/orders.json", json.dumps({"name": "orders", "expectations": suite}))
    write(root / PACKAGE / "__init__.py", PIPELINE)
    for month, (product, amount) in MONTHS.items():
        write(root / f"data/raw/shop/orders/{month}.csv", f"id,product,amount\n1,tea,1\n2,{product},{amount}\n")
    settings = Settings(root, root / ".headwater", pipelines=PACKAGE)
    try:
        with Store(settings) as store:
            made = Workspace(settings, discover(settings), store)
            with pytest.raises(CheckFailedError, match=r"shop\.orders\[2020-03\]"):
                run_steps(Runner(made, Ports(), Door("test")), made.project.steps)
            yield made
    finally:
        sys.path.remove(str(root))
        sys.modules.pop(PACKAGE, None)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture(scope="module")
def url(space, lineage_service):
    """The lineage service of the shop."""
    with lineage_service(space.settings) as url:
        yield url


class Reader(Browser):
    """A browser that waits for a page of Data Docs instead of a story."""

    def wait(self, script):
        loaded = "document.readyState == 'complete' && location.pathname.startsWith('/docs')"
        super().wait(loaded if "#story" in script else script)

    def follow(self, part):
        """Click the first link whose target has `part` in it, and wait for the page."""
        self.run(f"document.querySelector('a[href*=\"{part}\"]').click()")
        self.wait(f"location.href.includes('{part}') && document.readyState == 'complete'")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Reader(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def test_from_the_index_to_a_result(browser, url):
    """The refused month stands first and leads to what broke; nothing is asked of any other host."""
    browser.open(f"{url}/docs/")
    assert browser.run("document.querySelector('.chips a').textContent") == "2020-03"
    browser.follow("/orders/2020-03/")

    assert "This version was refused" in browser.run("document.body.innerText")
    assert browser.run("document.querySelector('section h3').textContent") == "amount"
    assert browser.complaints() == ([], [])


def test_hostile_values_are_text(browser, url):
    """A sampled value that would be markup is shown as what it is."""
    browser.open(f"{url}/docs/")
    browser.follow("/orders/2020-02/")

    sampled = browser.run("[...document.querySelectorAll('.found td')].map(cell => cell.textContent)")
    assert HOSTILE in sampled
    assert browser.run("document.querySelectorAll('main img').length") == 0
    assert browser.complaints() == ([], [])


def test_only_what_failed(browser, url):
    """The switch hides the expectations that held, and brings them back."""
    browser.open(f"{url}/docs/")
    browser.follow("/orders/2020-02/")
    shown = "[...document.querySelectorAll('main section > h3')].filter(h => h.offsetParent).map(h => h.textContent)"
    everything = browser.run(shown)

    browser.run("document.querySelector('#failed-only').click()")
    broken = browser.run(shown)
    browser.run("document.querySelector('#failed-only').click()")

    assert {"id", "amount", "product"} <= set(everything)
    assert "product" in broken
    assert not {"id", "amount"} & set(broken)
    assert browser.run(shown) == everything


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_fit(browser, url, width, scheme):
    """At a desk and on a telephone, by day and by night: nothing sticks out, and text can be told from ground."""
    browser.open(f"{url}/docs/", width=width, scheme=scheme)
    refused = browser.run("document.querySelector('.chips a').getAttribute('href')")
    tables, suites = "/docs/validations/shop/orders", "/docs/expectations/shop/orders"
    for path in ("/docs/", tables, refused, suites, "/docs/validations/no/such"):
        browser.open(f"{url}{path}", width=width, scheme=scheme)
        assert browser.run("document.documentElement.scrollWidth") <= width, path
        ink, page = (
            browser.run(f"getComputedStyle(document.body).{part}.match(/\\d+/g).map(Number)")
            for part in ("color", "backgroundColor")
        )
        assert (sum(ink) > sum(page)) == (scheme == "dark")
        assert abs(sum(ink) - sum(page)) > 300
