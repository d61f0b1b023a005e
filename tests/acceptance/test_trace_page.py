"""The page that tells where a prediction comes from, in a real browser over a real service."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from urllib.parse import quote

import pytest

from lineage.discover import discover
from lineage.plan import Workspace
from lineage.ports import Ports
from lineage.run import Door, Runner, run_steps
from lineage.settings import Settings
from lineage.store import Store
from serving.gate import promote
from serving.predict import Predictor

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-component-update",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-pipe",
)
PATIENCE_SECONDS = 60
PACKAGE = "page_shop"
MODEL = "shop-late"
HOSTILE = "<img src=x onerror=alert(1)>"
ORDERS = 250
PIPELINE = '''"""A shop's orders, their products, and which of them will be late."""

import polars as pl

from lineage import Pipeline, by_time, files

shop = Pipeline("shop")
shop.source(
    "orders",
    files("data/raw/shop/orders/orders.csv"),
    schema={"id": "string", "at": "date", "product": "string", "amount": "float64", "late": "boolean"},
)
shop.source("products", files("data/raw/shop/products/products.csv"), schema={"product": "string", "price": "float64"})


@shop.table(key="id")
def features(orders, products):
    """Orders with the price of the product."""
    return orders.join(products, on="product", how="left", validate="m:1")


@shop.table(key="product")
def totals(orders):
    """What was sold of each product."""
    return orders.group_by("product").agg(pl.len())


SPLIT = by_time("at", tune_from="2020-01-20", test_from="2020-01-25")
shop.model("late", table="features", target="late", features=["amount", "price"], split=SPLIT, rounds=3)
'''

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium; apt-get install chromium")


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """A shop with a trained model."""
    root = tmp_path_factory.mktemp("shop")
    for name, lines in (("orders", _orders()), ("products", ["product,price", "tea,4.5", f"{HOSTILE},1"])):
        path = root / f"data/raw/shop/{name}/{name}.csv"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join([*lines, ""]))
    (root / PACKAGE).mkdir()
    (root / PACKAGE / "__init__.py").write_text(PIPELINE)
    settings = Settings(root, root / ".headwater", pipelines=PACKAGE)
    try:
        with Store(settings) as store:
            made = Workspace(settings, discover(settings), store)
            run_steps(Runner(made, Ports(), Door("test")), made.project.steps)
            promote(made, MODEL)
            yield made
    finally:
        sys.path.remove(str(root))
        sys.modules.pop(PACKAGE, None)


def _orders():
    products = ("tea", HOSTILE)
    rows = [
        f"{row},2020-01-{row % 28 + 1:02d},{products[row % 2]},{row % 7},{str(row % 3 == 0).lower()}"
        for row in range(ORDERS)
    ]
    return ["id,at,product,amount,late", *rows]


@pytest.fixture(scope="module")
def url(space, lineage_service):
    """The lineage service of the shop."""
    with lineage_service(space.settings) as url:
        yield url


@pytest.fixture(scope="module")
def name(space):
    """A prediction by key: order 8, of a product whose name would be markup if the page let it."""
    return str(Predictor(space).by_key(MODEL, ["9"]).prediction_id)


class Browser:
    """A Chromium of our own, spoken to through two pipes in its DevTools protocol."""

    def __init__(self, profile):
        command_reader, self._commands = os.pipe()
        self._answers, answer_writer = os.pipe()
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        # The protocol wants the pipes to be descriptors 3 and 4.
        shell = ["bash", "-c", f'exec "$@" 3<&{command_reader} 4>&{answer_writer}', "bash", *command]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(shell, pass_fds=(command_reader, answer_writer), **streams)
        os.close(command_reader)
        os.close(answer_writer)
        self._stopper = threading.Timer(3 * PATIENCE_SECONDS, self._process.kill)
        self._stopper.start()
        self._number, self._rest, self._session = 0, b"", None
        self.events = []
        target = next(item for item in self.send("Target.getTargets")["targetInfos"] if item["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method, **parameters):
        """The result of a command; events that come before it are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self):
        while b"\0" not in self._rest:
            block = os.read(self._answers, 1 << 20)
            assert block, "Chromium ended"
            self._rest += block
        line, _, self._rest = self._rest.partition(b"\0")
        return json.loads(line)

    def run(self, script):
        """The value of a JavaScript expression in the page."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, script):
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + 20
        while not self.run(script):
            assert time.monotonic() < deadline, f"not true: {script}\n{self.run('document.body.innerText')}"
            time.sleep(0.05)

    def open(self, url, *, width=1280, height=900, scheme="light"):
        """Load a page in a window of this size, until its story is there."""
        self.events.clear()
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.send("Page.navigate", url=url)
        self.wait("document.querySelector('#story') && !document.querySelector('#story').hasAttribute('aria-busy')")

    def press(self, key, *, code=None, text=""):
        """A key on the keyboard, down and up."""
        number = {"Tab": 9, "Enter": 13}[key]
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=code or key, windowsVirtualKeyCode=number, **more
            )

    def complaints(self):
        """What the page said on its console, and what it asked of any other host."""
        said = [event for event in self.events if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")]
        asked = [
            event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"
        ]
        return said, [url for url in asked if not url.startswith(("http://127.0.0.1:", "data:"))]

    def close(self):
        self._stopper.cancel()
        self._process.kill()
        self._process.wait(PATIENCE_SECONDS)
        os.close(self._commands)
        os.close(self._answers)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def table(browser, source):
    """The shown records of a source's section, as lists of texts, the row number first."""
    place = f"section[data-source='{source}'] .records tbody tr"
    return browser.run(
        f"[...document.querySelectorAll({json.dumps(place)})].map(r => [...r.children].map(c => c.textContent))"
    )


def test_the_story_is_told(browser, url, name, space):
    """Prediction, model, training, row and sources, with the records verbatim, without a complaint of the browser."""
    browser.open(f"{url}/trace/{name}")

    text = browser.run("document.body.innerText")
    bundle = space.store.current("shop/late")[""].sha256
    assert browser.complaints() == ([], [])
    assert [text.find(word) >= 0 for word in (name, "Complete", bundle[:12], "shop.late", "shop/features")] == [
        True
    ] * 5
    headings = browser.run("[...document.querySelectorAll('.way h3')].map(h => h.textContent)")
    assert headings == ["Prediction", "Model", "Training", "Feature row"]
    assert table(browser, "shop/orders") == [["9", "9", "2020-01-10", HOSTILE, "2", "true"]]
    assert table(browser, "shop/products") == [["1", HOSTILE, "1"]]
    assert browser.run("document.querySelectorAll('#story img').length") == 0


def test_a_feature_opens_at_its_permalink(browser, url, name):
    """?feature= opens that one: the price came from the product, and the address stays what can be sent on."""
    browser.open(f"{url}/trace/{name}?feature=price")
    browser.wait("document.querySelectorAll('.opened .records').length == 2")

    opened = browser.run("[...document.querySelectorAll('.opened h3')].map(h => h.textContent)")
    assert opened == ["shop/orders: 1", "shop/products: 1"]
    assert browser.run("document.querySelector('#permalink').href") == f"{url}/trace/{name}?feature=price"
    assert browser.complaints() == ([], [])


def test_the_next_records_come_at_a_key(browser, url):
    """With the keyboard alone: to the button, and the next hundred, until there are no more."""
    browser.open(f"{url}/trace/{quote('shop.totals:1')}")
    assert len(table(browser, "shop/orders")) == 100

    browser.run("document.querySelector('section[data-source=\"shop/orders\"] .scroll').focus()")
    browser.press("Tab")
    assert browser.run("document.activeElement.textContent") == "Next 25"
    browser.press("Enter", text="\r")
    browser.wait("document.querySelectorAll('section .records tbody tr').length == 125")

    rows = [int(row[0]) for row in table(browser, "shop/orders")]
    assert rows == [row for row in range(ORDERS) if row % 2 == 0]
    assert browser.run("document.querySelector('section button').hidden")
    assert browser.complaints() == ([], [])


def test_empty_and_unknown_say_what_to_do(browser, url):
    """Without a name the page asks for one; an unknown one is said in the service's own sentence."""
    browser.open(f"{url}/trace")
    assert "Enter the id of a prediction" in browser.run("document.querySelector('#message').textContent")
    assert browser.run("document.activeElement.id") == "name"

    browser.open(f"{url}/trace/{quote(HOSTILE, safe='')}")
    assert f"{HOSTILE!r} is not a prediction's id" in browser.run("document.querySelector('#message').textContent")
    assert browser.run("document.querySelectorAll('#story img').length") == 0


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits(browser, url, name, width, scheme):
    """At a desk and on a telephone, by day and by night: nothing sticks out, and text can be told from ground."""
    browser.open(f"{url}/trace/{name}?feature=price", width=width, scheme=scheme)
    browser.wait("document.querySelectorAll('.opened .records').length == 2")

    assert browser.run("document.documentElement.scrollWidth") <= width
    ink, page = (
        browser.run(f"getComputedStyle(document.body).{part}.match(/\\d+/g).map(Number)")
        for part in ("color", "backgroundColor")
    )
    assert (sum(ink) > sum(page)) == (scheme == "dark")
    assert abs(sum(ink) - sum(page)) > 300
