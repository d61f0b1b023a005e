"""The graph of runs and dataset versions, over HTTP and a real Postgres."""

import uuid

import pytest
from fastapi.testclient import TestClient

from lineage.api import create_app
from lineage.settings import Settings


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = tmp_path_factory.mktemp("runs")
    with TestClient(create_app(Settings(root=home, home=home), {})) as client:
        yield client


def dataset(space, name, version=None, **facets):
    named = {"version": {"datasetVersion": version}} if version else {}
    return {"namespace": space, "name": name, "facets": {**named, **facets}}


def send(client, space, job, inputs=(), outputs=(), second=0, state="COMPLETE", run=None):
    run = run or str(uuid.uuid4())
    event = {
        "eventTime": f"2013-03-01T12:00:{second:02d}Z",
        "eventType": state,
        "producer": "https://example.org/test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": run},
        "job": {"namespace": space, "name": job},
        "inputs": list(inputs),
        "outputs": list(outputs),
    }
    response = client.post("/api/v1/lineage", json=event)
    assert response.status_code == 201, response.text
    return run


def get(client, path, status=200, **parameters):
    response = client.get(f"/api/v1{path}", params=parameters)
    assert response.status_code == status, response.text
    return response.json()


def flows(answer):
    """The edges, each found at both of its ends."""
    into = {(edge["origin"], edge["destination"]) for item in answer["graph"] for edge in item["inEdges"]}
    out = {(edge["origin"], edge["destination"]) for item in answer["graph"] for edge in item["outEdges"]}
    assert into == out
    return into


def test_versions_that_events_name(client, space):
    """A run read the version that it says, not what was written since; the graph of today has only the newest."""
    first = send(client, space, "load", [], [dataset(space, "t", "v1")], second=0)
    second = send(client, space, "load", [], [dataset(space, "t", "v2")], second=1)
    reader = send(client, space, "read", [dataset(space, "t", "v1")], [dataset(space, "u", "w1")], second=2)
    v1, w1 = f"dataset:{space}:t#v1", f"dataset:{space}:u#w1"

    found = get(client, "/lineage/runs", runId=reader)

    assert flows(found) == {(f"run:{first}", v1), (v1, f"run:{reader}"), (f"run:{reader}", w1)}
    assert not found["isPartial"]
    nodes = {item["id"]: item for item in found["graph"]}
    assert (nodes[v1]["type"], nodes[v1]["data"]["version"]) == ("DATASET_VERSION", "v1")
    assert nodes[v1]["data"]["createdByRun"]["id"] == first
    assert nodes[f"run:{reader}"]["data"]["job"] == {"namespace": space, "name": "read"}
    alone = get(client, "/lineage/runs", nodeId=f"dataset:{space}:t#v2")
    assert flows(alone) == {(f"run:{second}", f"dataset:{space}:t#v2")}
    assert get(client, "/lineage/runs", nodeId=f"dataset:{space}:t") == alone
    assert get(client, "/lineage/runs", nodeId=f"job:{space}:read") == found


def test_a_read_without_a_version_is_of_the_newest_before_it_began(client, space):
    """Whatever came while it ran, and whatever order the events came in."""
    reader = str(uuid.uuid4())
    send(client, space, "read", [dataset(space, "t")], second=9, run=reader)
    late = send(client, space, "load", [], [dataset(space, "t")], second=5)
    early = send(client, space, "load", [], [dataset(space, "t")], second=1)
    failed = send(client, space, "load", [], [dataset(space, "t")], second=2, state="FAIL")
    send(client, space, "read", [dataset(space, "t")], second=3, state="START", run=reader)

    found = {item["id"] for item in get(client, "/lineage/runs", runId=reader)["graph"]}

    assert f"run:{early}" in found
    assert not found & {f"run:{late}", f"run:{failed}"}


def test_a_run_that_adds_to_what_it_reads(client, space):
    """It read what the run before wrote, and not its own."""
    runs = [send(client, space, "add", [dataset(space, "t")], [dataset(space, "t")], second=s) for s in range(3)]

    chain = get(client, "/runlineage/upstream", runId=runs[2])["runs"]

    assert [item["run"]["id"] for item in chain] == runs[::-1]
    assert [item["inputs"][0]["producedByRunId"] for item in chain] == [runs[1], runs[0], None]
    assert chain[2]["inputs"] == [{"namespace": space, "name": "t", "version": None, "producedByRunId": None}]
    assert [item["run"]["id"] for item in get(client, "/runlineage/upstream", runId=runs[2], depth=1)["runs"]] == [
        runs[2],
        runs[1],
    ]


def test_directions_depth_and_limit(client, space):
    """Only what a version came from, or what came of it, as far as asked."""
    one = send(
        client, space, "one", [dataset(space, "a", "1")], [dataset(space, "b", "1"), dataset(space, "side", "1")]
    )
    two = send(client, space, "two", [dataset(space, "b", "1")], [dataset(space, "c", "1")], second=1)

    def names(**parameters):
        found = get(client, "/lineage/runs", nodeId=f"dataset:{space}:b#1", **parameters)
        return {item["id"].removeprefix(f"dataset:{space}:") for item in found["graph"]}

    up, down = {"b#1", f"run:{one}", "a#1"}, {"b#1", f"run:{two}", "c#1"}
    assert names(direction="upstream") == up
    assert names(direction="downstream") == down
    assert names(direction="both") == up | down
    assert names() == up | down | {"side#1"}
    assert names(depth=1) == {"b#1", f"run:{one}", f"run:{two}"}
    assert get(client, "/lineage/runs", nodeId=f"dataset:{space}:b#1", limit=2)["isPartial"]


def test_same_bytes_of_several_runs(client, space):
    """All of them wrote the version; a reader's is the one that had written it last by then."""
    runs = [send(client, space, "load", [], [dataset(space, "t", "v")], second=s) for s in (1, 2, 8)]
    reader = send(client, space, "read", [dataset(space, "t", "v")], second=5)

    version = f"dataset:{space}:t#v"
    assert flows(get(client, "/lineage/runs", runId=reader)) == {
        *((f"run:{run}", version) for run in runs),
        (version, f"run:{reader}"),
    }
    (told, *_) = get(client, "/runlineage/upstream", runId=reader)["runs"]
    assert told["inputs"] == [{"namespace": space, "name": "t", "version": "v", "producedByRunId": runs[1]}]
    assert told["job"] == {"namespace": space, "name": "read", "version": None}
    assert told["run"]["status"] == "COMPLETED"


def test_what_is_not_there_is_told(client, space):
    """404 with the nearest, 400 for what is no id."""
    send(client, space, "load", [], [dataset(space, "t", "v12")])
    unknown = str(uuid.uuid4())

    assert "v12" in get(client, "/lineage/runs", 404, nodeId=f"dataset:{space}:t#v13")["error"]
    assert get(client, "/lineage/runs", 404, nodeId=f"dataset:{space}x:t")["candidates"]
    for path in ("/lineage/runs", "/runlineage/upstream"):
        assert unknown in get(client, path, 404, runId=unknown)["error"]
        get(client, path, 400, runId="seven")
        get(client, path, 400)
    get(client, "/lineage/runs", 400, nodeId="table:x")
    get(client, "/lineage/runs", 400, runId=unknown, nodeId=f"dataset:{space}:t")


def test_own_runs_read_each_partition(make_shop):
    """A model reads every month: each is a version of its own, though the event names them as one."""
    shop = make_shop("depot_run_graph")
    shop.run()
    months = {f"dataset:headwater:shop/features#{shop.current('features', m).sha256}" for m in ("2020-01", "2020-02")}
    settings = Settings(root=shop.root, home=shop.root / ".headwater", pipelines=shop.package)

    with TestClient(create_app(settings, {})) as client:
        model = f"dataset:headwater:shop/late_t0#{shop.current('late_t0').sha256}"
        found = get(client, "/lineage/runs", nodeId=model, direction="upstream")

    nodes = {item["id"]: item for item in found["graph"]}
    assert months <= set(nodes)
    assert all(nodes[month]["inEdges"] for month in months)
    assert any("shop/orders#" in name for name in nodes)
