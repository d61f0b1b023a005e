"""The lineage service's API described: OpenAPI for programs, a page for people."""

import json
import re

import pytest
from fastapi.testclient import TestClient

from lineage.api import create_app
from lineage.settings import Settings


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = tmp_path_factory.mktemp("description")
    with TestClient(create_app(Settings(root=home, home=home), {})) as client:
        yield client


@pytest.fixture(scope="module")
def spec(client):
    return client.get("/openapi.json").json()


def doors(spec):
    return [(path, method, door) for path, methods in spec["paths"].items() for method, door in methods.items()]


def test_description_is_whole(spec):
    """Every reference leads somewhere, and no two doors have one name."""
    names = re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(spec))
    operations = [door["operationId"] for _, _, door in doors(spec)]

    assert spec["openapi"].startswith("3.")
    assert set(names) <= set(spec["components"]["schemas"])
    assert len(operations) == len(set(operations)) > 40


def test_every_door_says_what_it_answers_and_how_it_refuses(spec):
    for path, method, door in doors(spec):
        assert door["summary"].strip(), (path, method)
        assert "422" not in door["responses"], path
        assert door["responses"]["default"]["content"]["application/json"]["schema"] == {
            "$ref": "#/components/schemas/Refusal"
        }


def test_refusals_have_the_described_form(client, spec):
    described = spec["components"]["schemas"]["Refusal"]

    for path in ("/api/v1/namespaces/nowhere", "/api/v1/lineage?nodeId=x", "/api/v1/lineage?depth=x", "/nowhere"):
        body = client.get(path).json()
        assert set(described["required"]) <= set(body) <= set(described["properties"]), path


def test_page_lists_every_door(client, spec):
    response = client.get("/docs/api")

    assert response.status_code == 200
    assert "default-src 'self'" in response.headers["content-security-policy"]
    listed = re.findall(r"<summary><code>(\w+) ([^<]+)</code>", response.text)
    assert sorted(listed) == sorted((method.upper(), path) for path, method, _ in doors(spec))
    assert "physicalName" in response.text
    assert "upstream, downstream, both" in response.text
