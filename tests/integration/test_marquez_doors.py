"""Marquez's doors for declaring, tagging, deleting and counting, over HTTP and a real Postgres."""

import uuid
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from lineage.api import create_app
from lineage.settings import Settings

TABLE = {
    "type": "DB_TABLE",
    "physicalName": "public.orders",
    "sourceName": "shop",
    "description": "what was bought",
    "fields": [{"name": "id", "type": "INTEGER", "tags": ["KEY"]}, {"name": "email", "type": "VARCHAR"}],
    "tags": ["GOLD"],
}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = tmp_path_factory.mktemp("marquez")
    with TestClient(create_app(Settings(root=home, home=home), {})) as client:
        yield client


@pytest.fixture
def ask(client):
    def ask(method, path, status=200, body=None, **parameters):
        response = client.request(method, f"/api/v1{path}", json=body, params=parameters)
        assert response.status_code == status, response.text
        return response.json()

    return ask


def place(space, kind, name, *more):
    return "/".join(["/namespaces", quote(space, safe=""), kind, quote(name, safe=""), *more])


def send(client, space, job, state="COMPLETE", *, time=None, run=None, inputs=(), outputs=(), facets=None):
    run = run or str(uuid.uuid4())
    body = {
        "eventTime": (time or datetime.now(UTC)).isoformat(),
        "eventType": state,
        "producer": "https://example.org/test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": run},
        "job": {"namespace": space, "name": job},
        "inputs": [{"namespace": space, "name": name} for name in inputs],
        "outputs": [{"namespace": space, "name": name, "facets": facets or {}} for name in outputs],
    }
    response = client.post("/api/v1/lineage", json=body)
    assert response.status_code == 201, response.text
    return run


def test_namespace_is_declared(ask, space):
    path = f"/namespaces/{quote(space, safe='')}"

    declared = ask("PUT", path, body={"ownerName": "ada", "description": "hers"})

    assert (declared["name"], declared["ownerName"], declared["description"]) == (space, "ada", "hers")
    assert ask("GET", path) == declared
    assert declared in ask("GET", "/namespaces")["namespaces"]


def test_deleted_namespace_comes_back_with_an_event(client, ask, space):
    send(client, space, "load", outputs=["a", "b"])
    path = f"/namespaces/{quote(space, safe='')}"

    assert ask("DELETE", path)["isHidden"]
    assert space not in {item["name"] for item in ask("GET", "/namespaces")["namespaces"]}
    ask("GET", path, status=404)
    ask("GET", place(space, "datasets", "a"), status=404)

    send(client, space, "load", outputs=["a"])
    assert ask("GET", path)["name"] == space
    assert ask("GET", f"{path}/datasets")["totalCount"] == 1


def test_source_is_declared_or_seen(client, ask, space):
    name = uuid.uuid4().hex
    declared = ask("PUT", f"/sources/{name}", body={"type": "POSTGRESQL", "connectionUrl": "postgres://db/shop"})
    seen = uuid.uuid4().hex
    send(client, space, "load", outputs=["t"], facets={"dataSource": {"name": seen, "uri": "mysql://db2/shop"}})

    assert (declared["name"], declared["type"], declared["connectionUrl"]) == (name, "POSTGRESQL", "postgres://db/shop")
    assert ask("GET", f"/sources/{name}") == declared
    assert ask("GET", f"/sources/{seen}")["connectionUrl"] == "mysql://db2/shop"
    listed = {item["name"] for item in ask("GET", "/sources", limit=1_000)["sources"]}
    assert {name, seen} <= listed
    ask("GET", "/sources/nowhere", status=404)
    assert "connectionUrl" in ask("PUT", f"/sources/{name}", status=400, body={"type": "POSTGRESQL"})["error"]


def test_dataset_is_declared(client, ask, space):
    declared = ask("PUT", place(space, "datasets", "orders"), body=TABLE)

    assert declared == ask("GET", place(space, "datasets", "orders"))
    assert declared["physicalName"] == "public.orders"
    assert declared["sourceName"] == "shop"
    assert declared["description"] == "what was bought"
    assert declared["tags"] == ["GOLD"]
    assert [(field["name"], field["type"], field["tags"]) for field in declared["fields"]] == [
        ("id", "INTEGER", ["KEY"]),
        ("email", "VARCHAR", []),
    ]
    events = ask("GET", "/events/lineage", limit=10)["events"]
    assert any(event.get("dataset", {}).get("namespace") == space for event in events)


def test_dataset_is_declared_as_output_of_a_run(ask, space):
    ask("PUT", place(space, "jobs", "load"), body={"type": "BATCH", "inputs": [], "outputs": []})
    run = ask("POST", place(space, "jobs", "load", "runs"), status=201, body={})["id"]

    ask("PUT", place(space, "datasets", "orders"), body={**TABLE, "runId": run})
    ask("POST", f"/jobs/runs/{run}/start")
    ask("POST", f"/jobs/runs/{run}/complete")

    assert ask("GET", place(space, "jobs", "load"))["outputs"] == [{"namespace": space, "name": "orders"}]
    assert ask("GET", place(space, "datasets", "orders", "versions"))["versions"][0]["createdByRun"]["id"] == run


def test_stream_is_a_stream(ask, space):
    body = {**TABLE, "type": "STREAM", "schemaLocation": "http://schemas/1"}

    assert ask("PUT", place(space, "datasets", "clicks"), body=body)["type"] == "STREAM"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"type": "FILE"}, "type"),
        ({"fields": [{"type": "INT"}]}, "fields.0.name"),
        ({"sourceName": None}, "sourceName"),
    ],
)
def test_what_is_no_dataset_is_refused_by_name(ask, space, change, named):
    assert named in ask("PUT", place(space, "datasets", "x"), status=400, body={**TABLE, **change})["error"]


def test_job_is_declared_and_redeclared(ask, space):
    path = place(space, "jobs", "load")
    ends = {"inputs": [{"namespace": space, "name": "a"}], "outputs": [{"namespace": space, "name": "b"}]}
    declared = ask(
        "PUT", path, body={"type": "BATCH", **ends, "location": "https://example.org/code", "description": "loads"}
    )

    assert (declared["type"], declared["location"], declared["description"]) == (
        "BATCH",
        "https://example.org/code",
        "loads",
    )
    assert (declared["inputs"], declared["outputs"]) == (ends["inputs"], ends["outputs"])
    assert declared["latestRun"] is None
    assert ask("PUT", path, body={"type": "STREAM", "inputs": [], "outputs": ends["outputs"]})["inputs"] == []
    assert ask("GET", path)["type"] == "STREAM"
    versions = ask("GET", f"{path}/versions")
    assert versions["totalCount"] == 2
    assert [item["inputs"] for item in versions["versions"]] == [[], ends["inputs"]]
    newest = versions["versions"][0]
    assert ask("GET", f"{path}/versions/{newest['version']}") == newest
    ask("GET", f"{path}/versions/{uuid.uuid4()}", status=404)
    ask("GET", f"{path}/versions/none", status=404)


def test_run_goes_through_its_states(ask, space):
    ask("PUT", place(space, "jobs", "load"), body={})
    nominal = {"nominalStartTime": "2013-03-01T00:00:00Z", "nominalEndTime": "2013-04-01T00:00:00Z"}
    run = ask("POST", place(space, "jobs", "load", "runs"), status=201, body={**nominal, "args": {"email": "me"}})

    assert (run["state"], run["args"], run["nominalStartTime"][:10]) == ("NEW", {"email": "me"}, "2013-03-01")
    begun = ask("POST", f"/jobs/runs/{run['id']}/start")
    assert begun["state"] == "RUNNING"
    ended = (datetime.now(UTC) + timedelta(seconds=5)).isoformat().replace("+00:00", "Z")
    failed = ask("POST", f"/jobs/runs/{run['id']}/fail", at=ended)
    assert failed["state"] == "FAILED"
    assert failed["endedAt"] == ended
    assert ask("GET", place(space, "jobs", "load"))["latestRuns"][0]["state"] == "FAILED"
    ask("POST", f"/jobs/runs/{uuid.uuid4()}/start", status=404)
    ask("POST", f"/jobs/runs/{run['id']}/explode", status=400)
    ask("POST", place(space, "jobs", "lod", "runs"), status=404, body={})


def test_run_says_what_it_read_and_wrote(client, ask, space):
    version = {"version": {"datasetVersion": "sha256:ab"}, "schema": {"fields": [{"name": "x"}]}}
    run = send(client, space, "load", inputs=["a"], outputs=["b"], facets=version)

    told = ask("GET", f"/jobs/runs/{run}")

    assert told["inputDatasetVersions"] == [
        {"datasetVersionId": {"namespace": space, "name": "a", "version": None}, "facets": {}}
    ]
    [written] = told["outputDatasetVersions"]
    assert written["datasetVersionId"] == {"namespace": space, "name": "b", "version": "sha256:ab"}


def test_jobs_by_the_state_of_their_last_run(client, ask, space):
    for job, state in (("good", "COMPLETE"), ("bad", "FAIL"), ("running", "START")):
        send(client, space, job, state)
    path = f"/namespaces/{quote(space, safe='')}/jobs"

    def names(*states):
        found = ask("GET", path, lastRunStates=[*states])
        assert found["totalCount"] == len(found["jobs"])
        return [job["name"] for job in found["jobs"]]

    [bad] = ask("GET", path, lastRunStates="FAILED")["jobs"]
    assert [run["state"] for run in bad["latestRuns"]] == ["FAILED"]
    assert names("FAILED") == ["bad"]
    assert names("FAILED", "COMPLETED") == ["bad", "good"]
    assert names("RUNNING") == ["running"]
    assert names("ABORTED") == []
    everywhere = ask("GET", "/jobs", lastRunStates="FAILED", limit=10_000)["jobs"]
    assert {"namespace": space, "name": "bad"} in [job["id"] for job in everywhere]
    ask("GET", path, status=400, lastRunStates="BROKEN")


def test_events_of_a_namespace(client, ask, space):
    send(client, space, "load", outputs=["b"])
    ask("PUT", place(space, "datasets", "orders"), body=TABLE)
    other = f"{space}-other"
    send(client, other, "read", inputs=["x"])

    for path in ("/events", "/events/lineage"):
        found = ask("GET", f"{path}/{quote(space, safe='')}", limit=1)
        assert found["totalCount"] == 2
        assert found["events"][0]["dataset"]["name"] == "orders"
    assert ask("GET", f"/events/{space}")["totalCount"] == 2
    ask("GET", "/events/nowhere", status=404)


def test_name_that_no_index_holds_is_refused(ask):
    assert "1,300 bytes" in ask("PUT", f"/tags/{'x' * 3_000}", status=400)["error"]
    assert "1,300 bytes" in ask("PUT", place("x" * 1_290, "datasets", "y" * 20), status=400, body=TABLE)["error"]


def test_runs_behind_a_run(client, ask, space):
    """What wrote the version that was read, though another has been written since."""
    at = datetime(2013, 3, 1, tzinfo=UTC)

    def versioned(version):
        return {"version": {"datasetVersion": version}}

    def run(job, minute, inputs=(), outputs=()):
        key = str(uuid.uuid4())
        for state, second in (("START", 0), ("COMPLETE", 30)):
            client.post(
                "/api/v1/lineage",
                json={
                    "eventTime": (at + timedelta(minutes=minute, seconds=second)).isoformat(),
                    "eventType": state,
                    "producer": "https://example.org/test",
                    "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
                    "run": {"runId": key},
                    "job": {"namespace": space, "name": job},
                    "inputs": [{"namespace": space, "name": name, "facets": facets} for name, facets in inputs],
                    "outputs": [{"namespace": space, "name": name, "facets": facets} for name, facets in outputs],
                },
            ).raise_for_status()
        return key

    one = run("load", 0, outputs=[("a", versioned("1"))])
    two = run("load", 1, outputs=[("a", versioned("2"))])
    unversioned = run("other", 2, outputs=[("b", {})])
    run("other", 5, outputs=[("b", {})])
    reader = run("join", 4, inputs=[("a", versioned("1")), ("b", {}), ("seed", {})], outputs=[("c", {})])
    last = run("report", 6, inputs=[("c", {}), ("a", versioned("2"))])

    runs = {item["run"]["id"]: item for item in ask("GET", "/runlineage/upstream", runId=last)["runs"]}

    def producers(key):
        return {item["name"]: item["producedByRunId"] for item in runs[key]["inputs"]}

    assert next(iter(runs)) == last
    assert runs[last]["run"]["status"] == "COMPLETED"
    assert set(runs) == {last, reader, one, two, unversioned}
    assert producers(last) == {"c": reader, "a": two}
    assert producers(reader) == {"a": one, "b": unversioned, "seed": None}
    assert runs[one]["inputs"] == []
    assert [item["run"]["id"] for item in ask("GET", "/runlineage/upstream", runId=last, depth=0)["runs"]] == [last]
    assert len(ask("GET", "/runlineage/upstream", runId=last, depth=1)["runs"]) == 3
    ask("GET", "/runlineage/upstream", runId=str(uuid.uuid4()), status=404)


# --- tags


def test_tags_come_and_go(ask, space):
    path = place(space, "datasets", "orders")
    ask("PUT", path, body={**TABLE, "tags": [], "fields": [{"name": "id", "type": "INTEGER"}]})
    tag = uuid.uuid4().hex

    assert ask("PUT", f"/tags/{tag}", body={"description": "careful"}) == {"name": tag, "description": "careful"}
    assert {"name": tag, "description": "careful"} in ask("GET", "/tags", limit=1_000)["tags"]
    assert ask("POST", f"{path}/tags/{tag}")["tags"] == [tag]
    assert ask("POST", f"{path}/fields/id/tags/{tag}")["fields"][0]["tags"] == [tag]
    [node] = ask("GET", "/lineage", nodeId=f"dataset:{space}:orders")["graph"]
    assert node["data"]["tags"] == [tag]
    assert ask("DELETE", f"{path}/tags/{tag}")["tags"] == []
    assert ask("DELETE", f"{path}/fields/id/tags/{tag}")["fields"][0]["tags"] == []
    assert "id" in ask("POST", f"{path}/fields/nothing/tags/{tag}", status=404)["error"]
    ask("POST", f"{place(space, 'datasets', 'order')}/tags/{tag}", status=404)


def test_job_is_tagged(client, ask, space):
    send(client, space, "load")
    path = place(space, "jobs", "load")

    assert ask("POST", f"{path}/tags/GOLD")["tags"] == ["GOLD"]
    assert ask("GET", path)["tags"] == ["GOLD"]
    assert ask("DELETE", f"{path}/tags/GOLD")["tags"] == []


def test_tags_of_a_facet_are_told_and_can_be_taken_away(client, ask, space):
    said = [{"key": "pii", "value": "true", "field": "x"}, {"key": "tier", "value": "gold", "source": "dbt"}]
    facets = {"tags": {"tags": said}, "schema": {"fields": [{"name": "x"}]}}
    send(client, space, "load", outputs=["t"], facets=facets)
    path = place(space, "datasets", "t")

    told = ask("GET", path)
    assert (told["tags"], told["fields"][0]["tags"]) == (["tier:gold"], ["pii"])
    assert ask("DELETE", f"{path}/fields/x/tags/pii")["fields"][0]["tags"] == []
    send(client, space, "load", outputs=["t"], facets=facets)
    assert ask("GET", path)["fields"][0]["tags"] == []


# --- deleting


def test_deleted_dataset_is_hidden_until_it_is_written_again(client, ask, space):
    send(client, space, "load", inputs=["a"], outputs=["b"])
    send(client, space, "report", inputs=["b"], outputs=["c"])
    node = f"dataset:{space}:b"

    assert ask("DELETE", place(space, "datasets", "b"))["name"] == "b"
    ask("GET", place(space, "datasets", "b"), status=404)
    ask("GET", "/lineage", status=404, nodeId=node)
    assert [item["id"] for item in ask("GET", "/lineage", nodeId=f"dataset:{space}:c")["graph"]] == [
        f"dataset:{space}:c",
        f"job:{space}:report",
    ]
    assert ask("GET", place(space, "jobs", "load"))["outputs"] == []
    names = [item["name"] for item in ask("GET", f"/namespaces/{quote(space, safe='')}/datasets")["datasets"]]
    assert names == ["a", "c"]
    assert [item["name"] for item in ask("GET", "/search", q="b", namespace=space)["results"]] == []

    # What was told late of the time before the deletion does not bring it back.
    send(client, space, "load", time=datetime(2013, 3, 1, tzinfo=UTC), inputs=["a"], outputs=["b"])
    ask("GET", place(space, "datasets", "b"), status=404)

    send(client, space, "load", inputs=["a"], outputs=["b"])
    assert len(ask("GET", "/lineage", nodeId=node)["graph"]) == 5
    assert ask("GET", place(space, "jobs", "load"))["outputs"] == [{"namespace": space, "name": "b"}]


def test_another_service_starts_with_what_is_deleted_hidden(client, ask, space):
    send(client, space, "load", outputs=["a", "b"])
    ask("DELETE", place(space, "datasets", "b"))
    ask("DELETE", place(space, "jobs", "load"))

    client.app.state.index._forget()  # as if it began

    assert [item["id"] for item in ask("GET", "/lineage", nodeId=f"dataset:{space}:a")["graph"]] == [
        f"dataset:{space}:a"
    ]
    ask("GET", place(space, "jobs", "load"), status=404)


# --- counting


def test_events_are_counted_by_the_hour_and_by_the_day(client, ask, space):
    def total(period, kind):
        return sum(item[kind] for item in ask("GET", "/stats/lineage-events", period=period, timezone="Asia/Tokyo"))

    before = {(period, kind): total(period, kind) for period in ("DAY", "WEEK") for kind in ("complete", "fail")}
    send(client, space, "load", "COMPLETE")
    send(client, space, "load", "FAIL")
    send(client, space, "load", "FAIL", time=datetime.now(UTC) - timedelta(days=3))
    send(client, space, "load", "COMPLETE", time=datetime.now(UTC) - timedelta(days=30))

    more = {asked: total(*asked) - count for asked, count in before.items()}
    assert more == {("DAY", "complete"): 1, ("DAY", "fail"): 1, ("WEEK", "complete"): 1, ("WEEK", "fail"): 2}
    hours = ask("GET", "/stats/lineage-events", period="day")
    assert len(hours) == 24
    assert all(one["endInterval"] == two["startInterval"] for one, two in pairwise(hours))
    assert len(ask("GET", "/stats/lineage-events", period="WEEK", timezone="Europe/Berlin")) == 7


def test_nodes_are_counted_as_they_grew(client, ask, space):
    before = {
        kind: ask("GET", f"/stats/{kind}", period="WEEK")[-1]["count"] for kind in ("jobs", "datasets", "sources")
    }
    send(client, space, "load", outputs=["a", "b"], facets={"dataSource": {"name": space, "uri": "s3://x"}})
    send(client, space, "old", outputs=["c"], time=datetime.now(UTC) - timedelta(days=3))

    jobs, datasets, sources = (
        [item["count"] - before[kind] for item in ask("GET", f"/stats/{kind}", period="WEEK")] for kind in before
    )

    assert jobs[-1] == 2
    assert datasets[-1] == 3
    assert sources[-1] == 1
    ask("GET", "/stats/lineage-events", status=400, timezone="Mars/Olympus")
    ask("GET", "/stats/jobs", status=400, period="YEAR")
    ask("GET", "/stats/planets", status=400)


@pytest.fixture(scope="module")
def spread(client):
    """Times of events over a few hours of a day that no other test uses, at the edges of hours and between."""
    hour = datetime(1999, 5, 5, 7, tzinfo=UTC)
    times = [hour + timedelta(minutes=minutes) for minutes in (0, 0, 20, 59, 60, 61, 120, 150, 239, 240)]
    for number, time in enumerate(times):
        send(client, "spread", f"job{number}", "OTHER" if number % 2 else "FAIL", time=time)
    # The same event again is the same event.
    send(client, "spread", "job0", "FAIL", time=times[0], run=str(uuid.UUID(int=1)))
    send(client, "spread", "job0", "FAIL", time=times[0], run=str(uuid.UUID(int=1)))
    return [*times, times[0]]


@pytest.mark.parametrize("begin", [0, 10, 20, 60, 61, 130])
@pytest.mark.parametrize("end", [0, 15, 20, 45, 60, 61, 120, 125, 240, 250])
def test_events_between_two_times_are_counted(ask, spread, begin, end):
    """Whether the bounds cut an hour, two or none."""
    after, before = (datetime(1999, 5, 5, 7, tzinfo=UTC) + timedelta(minutes=minutes) for minutes in (begin, end))

    found = ask("GET", "/events/lineage", after=after.isoformat(), before=before.isoformat())

    wanted = [time for time in spread if after <= time < before]
    assert found["totalCount"] == len(found["events"]) == len(wanted)


def test_all_events_are_counted(client, ask, spread):
    everything = ask("GET", "/events/lineage", limit=10_000)

    assert everything["totalCount"] == len(everything["events"])
    assert ask("GET", "/events/lineage", limit=1, offset=10_000)["totalCount"] == everything["totalCount"]
    early = ask("GET", "/events/lineage", before="1999-05-05T07:30:00Z")
    assert early["totalCount"] == len([time for time in spread if time.minute < 30 and time.hour == 7])
