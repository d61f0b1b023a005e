"""The page that draws the graph, in a real browser over a real service."""

import re
import shutil
import subprocess
import uuid
from html.parser import HTMLParser
from urllib.parse import quote

import pytest

from lineage.projection import record_event
from lineage.settings import Settings
from lineage.store import Store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-component-update",
    "--disable-background-networking",
    "--no-first-run",
    "--enable-logging=stderr",
    "--window-size=1600,1000",
    "--virtual-time-budget=8000",
    "--dump-dom",
]
PATIENCE_SECONDS = 90
HOSTILE = "<img src=x onerror=alert(1)>"
FLOW = [
    ("shop.orders", [], ["shop/orders"], "COMPLETE"),
    ("shop.prices", [], ["shop/prices"], "COMPLETE"),
    ("shop.features", ["shop/orders", "shop/prices"], ["shop/features"], "FAIL"),
    ("shop.late", ["shop/features"], ["shop/late"], "START"),
    # A cycle, and a name that would be markup.
    ("shop.feedback", ["shop/late", "shop/features"], ["shop/orders", f"shop/{HOSTILE}"], "COMPLETE"),
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium; apt-get install chromium")


class Page(HTMLParser):
    """What a browser has made of the page: nodes and arrows of the drawing, and the text of the panel."""

    def __init__(self, html: str, console: str) -> None:
        super().__init__()
        self.nodes, self.arrows, self.tags, self.text, self.console = {}, set(), set(), [], console
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.add(tag)
        if "data-id" in attributes:
            self.nodes[attributes["data-id"]] = attributes
        if "data-from" in attributes:
            self.arrows.add((attributes["data-from"], attributes["data-to"]))

    def handle_data(self, data):
        self.text.append(data)

    def column(self, node):
        """Where a node stands from left to right."""
        return float(re.match(r"translate\(([-\d.]+)", self.nodes[node]["transform"])[1])


@pytest.fixture(scope="module")
def url(tmp_path_factory, lineage_service):
    """A service over a store that knows FLOW."""
    home = tmp_path_factory.mktemp("page")
    settings = Settings(root=home, home=home)
    with Store(settings) as store, store.transaction():
        for number, step in enumerate(FLOW):
            record_event(store, event(number, *step), relay=False)
    with lineage_service(settings) as url:
        yield url


def event(number, job, inputs, outputs, state):
    schema = {"schema": {"fields": [{"name": "order_id", "type": HOSTILE}]}}
    failure = {"errorMessage": {"message": f"{job} broke", "programmingLanguage": "python"}} if state == "FAIL" else {}
    return {
        "eventTime": f"2013-03-01T12:00:{number:02d}Z",
        "eventType": state,
        "producer": "https://example.org/test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": str(uuid.uuid4()), "facets": failure},
        "job": {"namespace": "acme", "name": job},
        "inputs": [{"namespace": "acme", "name": name} for name in inputs],
        "outputs": [{"namespace": "acme", "name": name, "facets": schema} for name in outputs],
    }


@pytest.fixture
def browse(tmp_path):
    def load(url):
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True)
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return Page(done.stdout, "\n".join(console))

    return load


def test_graph_is_drawn(url, browse):
    """Every dataset, job and edge is drawn, jobs by the state of their run, without a script error."""
    page = browse(url)

    jobs = {f"job:acme:{job}": (inputs, outputs) for job, inputs, outputs, _ in FLOW}
    datasets = {f"dataset:acme:{name}" for _, inputs, outputs, _ in FLOW for name in inputs + outputs}
    reads = {(f"dataset:acme:{name}", job) for job, (inputs, _) in jobs.items() for name in inputs}
    writes = {(job, f"dataset:acme:{name}") for job, (_, outputs) in jobs.items() for name in outputs}
    assert "" == page.console
    assert {*jobs, *datasets} == set(page.nodes)
    assert reads | writes == page.arrows
    states = {node.rpartition(".")[2]: page.nodes[node]["class"].split()[-1] for node in jobs}
    assert {"completed", "failed", "running"} == set(states.values())
    assert ("failed", "running") == (states["features"], states["late"])


def test_data_flows_to_the_right(url, browse):
    """Along the pipeline every node stands to the right of what it comes from."""
    page = browse(url)

    way = ["job:acme:shop.orders", "dataset:acme:shop/orders", "job:acme:shop.features", "dataset:acme:shop/features"]
    columns = [page.column(node) for node in way]
    assert sorted(set(columns)) == columns


def test_permalink_opens_the_details(url, browse):
    """?nodeId= chooses a job: its panel tells the error of its latest run, and what it reads and writes."""
    page = browse(f"{url}/?nodeId={quote('job:acme:shop.features')}")

    text = " ".join(page.text)
    assert "" == page.console
    assert "chosen" in page.nodes["job:acme:shop.features"]["class"]
    assert "shop.features broke" in text
    assert {"Reads", "Writes", "Latest run"} <= set(page.text)


def test_names_are_never_markup(url, browse):
    """A name that is markup, in a node, a panel or a schema, shows as the text that it is."""
    page = browse(f"{url}/?nodeId={quote(f'dataset:acme:shop/{HOSTILE}')}")

    assert "" == page.console
    assert "img" not in page.tags
    assert f"shop/{HOSTILE}" in page.text
    assert HOSTILE in page.text
    assert "order_id" in page.text


def test_unknown_node_is_said(url, browse):
    """A permalink to a node that is gone still draws the graph, and says so."""
    page = browse(f"{url}/?nodeId=job:acme:gone")

    assert "There is no job:acme:gone here." in page.text
    assert page.nodes
