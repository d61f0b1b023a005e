"""Everything downstream of a node, over HTTP and a real Postgres: of other producers, and of a project's own."""

import csv
import uuid
from io import StringIO

import pytest
from fastapi.testclient import TestClient

from lineage.api import create_app
from lineage.impact import impact
from lineage.settings import Settings


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop, made once."""
    shop = make_shop("depot_graph_impact")
    shop.run()
    return shop


@pytest.fixture(scope="module")
def client(shop):
    with TestClient(create_app(Settings(shop.root, shop.root / ".headwater", pipelines=shop.package), {})) as client:
        yield client


def ask(client, node, status=200, headers=None, **parameters):
    response = client.get("/api/v1/impact", params={"nodeId": node, **parameters}, headers=headers)
    assert response.status_code == status, response.text
    return response


def send(client, space, job, inputs, outputs):
    run = str(uuid.uuid4())
    event = {
        "eventTime": "2013-03-01T12:00:00Z",
        "eventType": "COMPLETE",
        "producer": "https://example.org/test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": run},
        "job": {"namespace": space, "name": job},
        "inputs": [named(space, *item) for item in inputs],
        "outputs": [named(space, *item) for item in outputs],
    }
    assert client.post("/api/v1/lineage", json=event).status_code == 201
    return run


def named(space, name, version):
    return {"namespace": space, "name": name, "facets": {"version": {"datasetVersion": version}}}


def test_own_datasets_versions_and_jobs(client, shop):
    """Models and predictions beside the graph: what `headwater impact` finds."""
    version = shop.current("orders", "2020-01").sha256
    asked = {
        "dataset:headwater:shop/orders": "shop.orders",
        f"dataset:headwater:shop/orders#{version}": f"shop.orders[2020-01]@{version}",
        "job:headwater:shop.features": "shop.features",
    }
    for node, name in asked.items():
        found, expected = ask(client, node).json(), impact(shop.space, name)
        expected.pop("name")

        assert expected["models"] == ["shop-late-t0"]
        assert {key: found[key] for key in expected} == expected
    nodes = {item["id"] for item in ask(client, "dataset:headwater:shop/visits").json()["nodes"]}
    assert {"job:headwater:shop.features", "dataset:headwater:shop/late_t0"} <= nodes
    assert "dataset:headwater:shop/totals" not in nodes


def test_a_version_reaches_only_what_read_it(client, shop):
    """January's visits reach February's features, and not March's; runs and versions, not jobs."""
    version = shop.current("visits", "2020-01").sha256

    nodes = {
        item["id"]: item["type"] for item in ask(client, f"dataset:headwater:shop/visits#{version}").json()["nodes"]
    }

    features = {month: f"dataset:headwater:shop/features#{shop.current('features', month).sha256}" for month in MONTHS}
    assert nodes[features["2020-02"]] == "DATASET_VERSION"
    assert features["2020-03"] not in nodes
    assert set(nodes.values()) == {"DATASET_VERSION", "RUN"}


MONTHS = ("2020-02", "2020-03")


def test_nodes_of_others(client):
    """Whoever else sends events has the graph, and nothing of the project's."""
    space = f"s3://{uuid.uuid4().hex}"
    send(client, space, "one", [("a", "1")], [("b", "1")])
    run = send(client, space, "two", [("b", "1")], [("c", "1")])

    found = ask(client, f"dataset:{space}:a").json()

    assert found["nodes"] == [
        {"id": f"job:{space}:one", "type": "JOB"},
        {"id": f"dataset:{space}:b", "type": "DATASET"},
        {"id": f"job:{space}:two", "type": "JOB"},
        {"id": f"dataset:{space}:c", "type": "DATASET"},
    ]
    assert (found["models"], found["predictions"]["count"], found["isPartial"]) == ([], 0, False)
    assert len(ask(client, f"dataset:{space}:a", depth=1).json()["nodes"]) == 1
    assert ask(client, f"run:{run}").json()["nodes"] == [{"id": f"dataset:{space}:c#1", "type": "DATASET_VERSION"}]


def test_as_a_table(client):
    """A row a thing, and the number of predictions; by format or by Accept."""
    node = "dataset:headwater:shop/features"
    text = ask(client, node, format="csv")
    header, *rows = csv.reader(StringIO(text.text))

    assert text.headers["content-type"].startswith("text/csv")
    assert ask(client, node, headers={"Accept": "text/csv"}).text == text.text
    assert header == ["kind", "name", "partition", "version", "state", "through"]
    assert ["dataset", "dataset:headwater:shop/late_t0", "", "", "", ""] in rows
    assert {"bundle", "job"} <= {row[0] for row in rows}
    assert rows[-1][:5] == ["predictions", "", "", "", "0"]


def test_what_is_not_there(client):
    """404 with the nearest, 400 for what is no id."""
    assert "shop/orders" in ask(client, "dataset:headwater:shop/order", 404).json()["error"]
    assert "no version" in ask(client, "dataset:headwater:shop/orders#x", 404).json()["error"]
    for node in ("shop.orders", "run:7"):
        ask(client, node, 400)
    ask(client, "dataset:headwater:shop/orders", 400, format="xml")
