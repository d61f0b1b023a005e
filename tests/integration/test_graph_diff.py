"""What changed between two runs, versions or times, over HTTP and a real Postgres."""

import uuid

import pytest
from fastapi.testclient import TestClient

from lineage.api import create_app
from lineage.settings import Settings

SECTIONS = ["nodes", "edges", "schema", "columns", "code", "rows"]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = tmp_path_factory.mktemp("diff")
    with TestClient(create_app(Settings(root=home, home=home), {})) as client:
        yield client


def send(client, space, second, inputs, version, fields, columns, rows, commit):
    """One run of the job that writes `t`; inputs are pairs of name and version."""
    run = str(uuid.uuid4())
    facets = {
        "version": {"datasetVersion": version},
        "schema": {"fields": [{"name": name, "type": kind} for name, kind in fields.items()]},
        "columnLineage": {
            "fields": {
                name: {"inputFields": [{"namespace": space, "name": source, "field": "x"} for source in sources]}
                for name, sources in columns.items()
            }
        },
    }
    statistics = {"outputStatistics": {"rowCount": rows, "_producer": f"https://example.org/{second}"}}
    event = {
        "eventTime": f"2013-03-01T12:00:{second:02d}Z",
        "eventType": "COMPLETE",
        "producer": "https://example.org/test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": run.upper()},
        "job": {"namespace": space, "name": "load", "facets": {"sourceCodeLocation": {"version": commit}}},
        "inputs": [
            {"namespace": space, "name": name, "facets": {"version": {"datasetVersion": of}}} for name, of in inputs
        ],
        "outputs": [{"namespace": space, "name": "t", "facets": facets, "outputFacets": statistics}],
    }
    response = client.post("/api/v1/lineage", json=event)
    assert response.status_code == 201, response.text
    return run


@pytest.fixture
def runs(client, space):
    """Two runs: another input, column, type, commit and number of rows; the second is sent first."""
    second = send(
        client,
        space,
        20,
        [("a", "a2"), ("c", "c1")],
        "t2",
        {"k": "int", "x": "float", "z": "int"},
        {"x": ["a", "c"]},
        7,
        "beef",
    )
    first = send(
        client, space, 10, [("a", "a1"), ("b", "b1")], "t1", {"k": "int", "x": "int"}, {"x": ["b", "a"]}, 5, "cafe"
    )
    return first, second


def diff(client, status=200, **parameters):
    response = client.get("/api/v1/diff", params={name.strip("_"): value for name, value in parameters.items()})
    assert response.status_code == status, response.text
    return response.json()


def expected(space):
    """What differs between the two runs, whichever way it is asked."""
    a, b, c, t = (f"dataset:{space}:{name}" for name in "abct")
    job = f"job:{space}:load"
    return {
        "nodes": {
            "same": False,
            "changed": {a: [["a1"], ["a2"]], t: [["t1"], ["t2"]]},
            "added": {c: ["c1"]},
            "gone": {b: ["b1"]},
        },
        "edges": {
            "same": False,
            "changed": {},
            "added": [{"origin": c, "destination": job}],
            "gone": [{"origin": b, "destination": job}],
        },
        "schema": {"same": False, "changed": {f"{t}:x": ["int", "float"]}, "added": {f"{t}:z": "int"}, "gone": {}},
        "columns": {"same": False, "changed": {f"{t}:x": [[f"{a}:x", f"{b}:x"], [f"{a}:x", f"{c}:x"]]}} | EMPTY,
        "code": {"same": False, "changed": {f"{job} sourceCodeLocation.version": ["cafe", "beef"]}} | EMPTY,
        "rows": {"same": False, "changed": {t: [{"rowCount": 5}, {"rowCount": 7}]}} | EMPTY,
    }


EMPTY = {"added": {}, "gone": {}}


def test_two_runs(client, space, runs):
    """Everything that they said, and nothing of what is so in both or says only who said it."""
    found = diff(client, from_=f"run:{runs[0]}", to=f"run:{runs[1]}")

    assert {name: found[name] for name in SECTIONS} == expected(space)
    assert (found["kind"], found["same"], found["differs"]) == ("run", False, SECTIONS)
    same = diff(client, from_=f"run:{runs[0]}", to=f"run:{runs[0]}")
    assert (same["same"], same["differs"]) == (True, [])


def test_two_versions(client, space, runs):
    """By the runs that wrote them; of what nobody wrote, only that it is another."""
    found = diff(client, from_=f"dataset:{space}:t#t1", to=f"dataset:{space}:t#t2")
    raw = diff(client, from_=f"dataset:{space}:a#a1", to=f"dataset:{space}:a#a2")

    assert {name: found[name] for name in SECTIONS} == expected(space)
    assert found["kind"] == "version"
    assert raw["differs"] == ["nodes"]
    assert raw["nodes"]["changed"] == {f"dataset:{space}:a": [["a1"], ["a2"]]}


def test_two_times(client, space, runs):
    """The graph around a node as it was, by the runs that spoke for its jobs; only as far as asked."""
    times = {"from_": "2013-03-01T12:00:15Z", "to": "2013-03-01T12:00:25Z"}
    found = diff(client, nodeId=f"dataset:{space}:t", **times)
    near = diff(client, nodeId=f"dataset:{space}:t", depth=1, **times)

    assert {name: found[name] for name in SECTIONS} == expected(space)
    assert not found["isPartial"]
    assert near["edges"]["same"]
    assert near["nodes"]["changed"] == {f"dataset:{space}:t": [["t1"], ["t2"]]}
    assert diff(client, nodeId=f"dataset:{space}:t", from_=times["to"], to="2014-01-01T00:00:00Z")["same"]


def test_what_cannot_be_compared(client, space, runs):
    """400 for what is no name or not of one kind, 404 with the nearest for what is not there."""
    run, version, time = f"run:{runs[0]}", f"dataset:{space}:t#t1", "2013-03-01T12:00:15Z"
    for a, b in ((run, version), (time, run), ("x", "x"), (time, time), (f"job:{space}:load", f"job:{space}:load")):
        assert "error" in diff(client, 400, from_=a, to=b)
    diff(client, 400, from_=run, to=run, nodeId=f"dataset:{space}:t")
    diff(client, 400, from_=time, to=time, nodeId="table")
    diff(client, 400, from_=run)
    assert "t1" in diff(client, 404, from_=version, to=f"dataset:{space}:t#t9")["error"]
    diff(client, 404, from_=run, to=f"run:{uuid.uuid4()}")
    early = diff(client, 404, from_="2012-01-01T00:00:00Z", to=time, nodeId=f"dataset:{space}:t")
    assert "not there" in early["error"]
