"""The lineage service over HTTP and a real Postgres: events in, the graph out."""

import gzip
import json
import os
import random
import signal
import uuid
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import psycopg
import pytest
from fastapi.testclient import TestClient

from lineage.api import create_app
from lineage.errors import SettingsError
from lineage.server.cluster import open_cluster
from lineage.service.intake import MOST_BYTES
from lineage.settings import Settings
from lineage.store import Store

SCHEMA_URL = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    home = tmp_path_factory.mktemp("service")
    return Settings(root=home, home=home)


@pytest.fixture(scope="module")
def client(settings):
    with TestClient(create_app(settings, {}), raise_server_exceptions=False) as client:
        yield client


def event(space, job, state="COMPLETE", *, inputs=(), outputs=(), second=0, run=None, **facets):
    """A RunEvent; datasets are names, or (name, facets) pairs."""

    def dataset(item):
        name, own = item if isinstance(item, tuple) else (item, {})
        return {"namespace": space, "name": name, "facets": own}

    return {
        "eventTime": f"2013-03-01T12:00:{second:02d}Z",
        "eventType": state,
        "producer": "https://example.org/test",
        "schemaURL": SCHEMA_URL,
        "run": {"runId": str(run or uuid.uuid4()), "facets": facets},
        "job": {"namespace": space, "name": job},
        "inputs": [dataset(item) for item in inputs],
        "outputs": [dataset(item) for item in outputs],
    }


def send(client, *events):
    for item in events:
        response = client.post("/api/v1/lineage", json=item)
        assert (response.status_code, response.content) == (201, b"")


def lineage(client, node, **parameters):
    response = client.get("/api/v1/lineage", params={"nodeId": node, **parameters})
    assert response.status_code == 200, response.text
    return {item["id"]: item for item in response.json()["graph"]}


def names(graph):
    return {f"{item['type'].lower()} {item['data']['name']}" for item in graph.values()}


def encoded(*parts):
    return "/".join(quote(part, safe="") for part in parts)


def events_of(client, space):
    found = client.get("/api/v1/events/lineage", params={"limit": 10_000}).json()["events"]
    return [item for item in found if item.get("job", {}).get("namespace") == space]


def test_event_becomes_graph(client, space):
    """After the 201 the job stands between its input and its output, in Marquez's shape."""
    send(client, event(space, "load", inputs=["raw"], outputs=["table"]))

    graph = lineage(client, f"job:{space}:load")

    job, raw, table = (
        f"{kind}:{space}:{name}" for kind, name in (("job", "load"), ("dataset", "raw"), ("dataset", "table"))
    )
    assert {job, raw, table} == set(graph)
    assert [{"origin": raw, "destination": job}] == graph[job]["inEdges"] == graph[raw]["outEdges"]
    assert [{"origin": job, "destination": table}] == graph[job]["outEdges"] == graph[table]["inEdges"]
    assert (graph[job]["type"], graph[raw]["type"]) == ("JOB", "DATASET")
    assert [{"namespace": space, "name": "raw"}] == graph[job]["data"]["inputs"]
    assert graph[job]["data"]["latestRun"]["state"] == "COMPLETED"


def test_event_is_kept_as_sent(client, space):
    """Reading the events back gives what was sent, facets unknown to anybody included."""
    sent = event(space, "load", inputs=["raw"], unheard={"of": [1, 2.5, None, "é\u2028</script>"]})

    send(client, sent)

    assert [sent] == events_of(client, space)


def test_gzip(client, space):
    """A gzipped event is an event."""
    body = gzip.compress(json.dumps(event(space, "load", outputs=["table"])).encode())

    response = client.post("/api/v1/lineage", content=body, headers={"Content-Encoding": "gzip"})

    assert response.status_code == 201
    assert {"job load", "dataset table"} == names(lineage(client, f"job:{space}:load"))


@pytest.mark.parametrize(
    ("change", "path", "reason"),
    [
        ({"eventTime": "2013-03-01 12:00"}, "$.eventTime", "RFC 3339"),
        ({"run": {"runId": "17"}}, "$.run.runId", "is not a UUID"),
        ({"job": {"namespace": "x"}}, "$.job.name", "is required"),
        ({"outputs": [{"namespace": "x", "name": "y", "facets": 3}]}, "$.outputs[0].facets", "is not an object"),
    ],
)
def test_bad_event_is_refused(client, space, change, path, reason):
    """An event out of spec is refused, with path and reason, and leaves nothing behind."""
    response = client.post("/api/v1/lineage", json={**event(space, "bad"), **change})

    answer = response.json()
    assert (400, path) == (response.status_code, answer["path"])
    assert reason in answer["reason"]
    assert path in answer["error"]
    assert events_of(client, space) == []


def test_other_bodies_are_refused(client):
    """What is no JSON is a 400, what is too much a 413."""
    assert client.post("/api/v1/lineage", content=b"{").status_code == 400
    assert client.post("/api/v1/lineage", content=b" " * (MOST_BYTES + 1)).status_code == 413


def test_batch_keeps_the_good(client, space):
    """Of a batch the events in spec are kept, and the others named by their index."""
    good = [event(space, name, outputs=["table"]) for name in ("a", "b")]

    response = client.post("/api/v1/lineage/batch", json=[good[0], {**good[0], "run": {}}, good[1], 7])

    answer = response.json()
    assert (response.status_code, answer["status"]) == (200, "partial_success")
    summary = {"received": 4, "successful": 2, "failed": 2, "retriable": 0, "non_retriable": 2}
    assert summary == answer["summary"]
    assert [(item["index"], item["retriable"]) for item in answer["failed_events"]] == [(1, False), (3, False)]
    assert answer["failed_events"][0]["reason"] == "$.run.runId is required"
    assert {"job a", "job b", "dataset table"} == names(lineage(client, f"dataset:{space}:table"))


def test_empty_batch(client):
    """A batch of nothing is a success; a batch that is no list is refused."""
    assert client.post("/api/v1/lineage/batch", json=[]).json()["status"] == "success"
    assert client.post("/api/v1/lineage/batch", json={}).status_code == 400


def test_repeats_change_nothing(client, space):
    """An event that is sent again, alone or in a batch, is kept once and drawn once."""
    sent = event(space, "load", inputs=["raw"])
    send(client, sent)
    before = lineage(client, f"job:{space}:load")

    send(client, sent)
    client.post("/api/v1/lineage/batch", json=[sent, sent])

    assert before == lineage(client, f"job:{space}:load")
    assert [sent] == events_of(client, space)


def test_order_of_arrival_does_not_matter(client, space):
    """START after COMPLETE, as concurrent clients send them, gives the same graph, run included."""
    run = uuid.uuid4()
    start = event(space, "load", "START", inputs=["raw"], run=run)
    running = event(space, "load", "RUNNING", inputs=["raw"], run=run, second=1)
    end = event(space, "load", inputs=["raw"], outputs=["table"], run=run, second=3)

    send(client, end, running, start)

    latest = lineage(client, f"job:{space}:load")[f"job:{space}:load"]["data"]["latestRun"]
    assert (latest["state"], latest["durationMs"]) == ("COMPLETED", 3000)
    assert latest["startedAt"] == "2013-03-01T12:00:00Z"


def test_newer_schema_wins(client, space):
    """The fields of a dataset are those of the newest event, whenever that arrives."""
    old, new = (("table", {"schema": {"fields": [{"name": name}]}}) for name in ("old", "new"))

    send(client, event(space, "load", outputs=[new], second=2), event(space, "load", outputs=[old], second=1))

    dataset = client.get(f"/api/v1/namespaces/{encoded(space)}/datasets/table").json()
    assert [field["name"] for field in dataset["fields"]] == ["new"]


def test_version_is_the_one_written(client, space):
    """A later reader of an older version does not change what the dataset's version is."""
    written, read = (("table", {"version": {"datasetVersion": name}}) for name in ("v2", "v1"))

    send(client, event(space, "load", outputs=[written]), event(space, "use", inputs=[read], second=5))

    dataset = client.get(f"/api/v1/namespaces/{encoded(space)}/datasets/table").json()
    assert dataset["currentVersion"] == "v2"


def test_names_with_slashes(client, space):
    """Percent-encoded names reach the dataset, the job and its run, whatever is in them."""
    dataset, job, run = "a/b c.parquet?x=1#%2F", "load/é", uuid.uuid4()
    send(client, event(space, job, outputs=[dataset], run=run))

    found = client.get(f"/api/v1/namespaces/{encoded(space, 'datasets', dataset)}").json()
    wanted = client.get(f"/api/v1/namespaces/{encoded(space, 'jobs', job)}").json()

    assert {"namespace": space, "name": dataset} == found["id"] == wanted["outputs"][0]
    assert str(run) == wanted["latestRun"]["id"]
    assert {"namespace": space, "name": job} == client.get(f"/api/v1/jobs/runs/{run}").json()["job"]
    assert f"dataset:{space}:{dataset}" in lineage(client, f"dataset:{space}:{dataset}")


def test_colons_in_names(client, space):
    """A node is found however its namespace and name divide the colons of its id."""
    send(client, event(f"{space}:5432", "urn:li:2013", outputs=["2013:03"]))

    assert {"job urn:li:2013", "dataset 2013:03"} == names(lineage(client, f"dataset:{space}:5432:2013:03"))
    assert {"job urn:li:2013", "dataset 2013:03"} == names(lineage(client, f"job:{space}:5432:urn:li:2013"))


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (0, {"dataset b"}),
        (1, {"dataset b", "job ab", "job bc"}),
        (2, {"dataset b", "job ab", "job bc", "dataset a", "dataset c"}),
        (20, {"dataset b", "job ab", "job bc", "dataset a", "dataset c", "job cd", "dataset d"}),
    ],
)
def test_depth(client, space, depth, expected):
    """Depth counts edges from the node, upstream and downstream; edges name only nodes that are there."""
    send(client, *(event(space, f"{x}{y}", inputs=[x], outputs=[y]) for x, y in ("ab", "bc", "cd")))

    graph = lineage(client, f"dataset:{space}:b", depth=depth)

    assert expected == names(graph)
    ends = {edge[end] for node in graph.values() for edge in node["inEdges"] + node["outEdges"] for end in edge}
    assert ends <= set(graph)


def test_cycles_end(client, space):
    """A job that reads what it writes, and a ring of jobs, are walked once."""
    send(
        client,
        event(space, "self", inputs=["a"], outputs=["a", "b"]),
        event(space, "back", inputs=["b"], outputs=["a"]),
    )

    graph = lineage(client, f"dataset:{space}:a", depth=1000)

    assert {"dataset a", "dataset b", "job self", "job back"} == names(graph)
    assert sum(len(node["inEdges"]) for node in graph.values()) == 5


def test_partial_answers_say_so(client, space):
    """An answer that had to leave nodes out says that it did."""
    send(client, event(space, "fan", outputs=[f"t{number}" for number in range(9)]))

    narrow = client.get("/api/v1/lineage", params={"nodeId": f"job:{space}:fan", "limit": 4}).json()
    everything = client.get("/api/v1/lineage", params={"limit": 5}).json()

    assert (len(narrow["graph"]), narrow["isPartial"]) == (4, True)
    assert (len(everything["graph"]), everything["isPartial"]) == (5, True)
    assert everything["totalCount"] >= 10


def test_unknown_node_names_the_nearest(client, space):
    """A node that is not there is a 404 with those that look like it."""
    send(client, event(space, "load", outputs=["flights/features"]))

    response = client.get("/api/v1/lineage", params={"nodeId": f"dataset:{space}:flights/feature"})

    assert response.status_code == 404
    assert f"dataset:{space}:flights/features" in response.json()["error"]


@pytest.mark.parametrize(
    "query", ["nodeId=features", "nodeId=dataset:a", "nodeId=", "depth=-1", "depth=x", "limit=0", "nodeId=job:a:b%00"]
)
def test_bad_questions_are_refused(client, query):
    """A node id, depth or limit that is none is a 400 with an error."""
    response = client.get(f"/api/v1/lineage?{query}")

    assert response.status_code == 400
    assert response.json()["error"]


def test_events_are_paged_and_bounded(client, space):
    """Events come newest first or oldest first, between two times, a page at a time, with their total."""
    day = "1999-12-31T23:59"
    for second in range(5):
        send(client, {**event(space, f"j{second}"), "eventTime": f"{day}:{second:02d}Z"})
    bounds = {"after": f"{day}:01Z", "before": f"{day}:04+00:00"}

    def jobs(**parameters):
        answer = client.get("/api/v1/events/lineage", params={**bounds, **parameters}).json()
        return [item["job"]["name"] for item in answer["events"]], answer["totalCount"]

    assert jobs() == (["j3", "j2", "j1"], 3)
    assert jobs(sortDirection="ASC", limit=2) == (["j1", "j2"], 3)
    assert jobs(limit=2, offset=2) == (["j1"], 3)
    assert jobs(offset=50) == ([], 3)
    assert client.get("/api/v1/events/lineage?before=tomorrow").status_code == 400


def test_lists_of_a_namespace(client, space):
    """A namespace lists its datasets and jobs by name, a page at a time; an unknown one is a 404."""
    send(client, event(space, "load", inputs=["raw"], outputs=["table"]))
    base = f"/api/v1/namespaces/{encoded(space)}"

    datasets = client.get(f"{base}/datasets", params={"limit": 1, "offset": 1}).json()
    jobs = client.get(f"{base}/jobs").json()

    assert ([item["name"] for item in datasets["datasets"]], datasets["totalCount"]) == (["table"], 2)
    assert ([item["name"] for item in jobs["jobs"]], jobs["totalCount"]) == (["load"], 1)
    assert space in [item["name"] for item in client.get("/api/v1/namespaces").json()["namespaces"]]
    assert client.get("/api/v1/namespaces/nowhere/datasets").status_code == 404


@pytest.mark.parametrize("path", ["/api/v1/jobs/runs/17", "/api/v1/namespaces/x/jobs/y", "/api/v2", "/ui/none.js"])
def test_what_is_not_there(client, path):
    """Whatever is asked for and not there is a 404 with an error in JSON."""
    response = client.get(path)

    assert response.status_code == 404
    assert response.json()["error"]


def test_concurrent_senders(client, space):
    """Senders that name the same nodes in different orders at the same time are all answered, none deadlocks."""
    shuffle = random.Random(7)
    tables = [f"t{number}" for number in range(12)]

    def deliver(number):
        mixed = [
            event(space, f"j{number % 3}", inputs=shuffle.sample(tables, 8), outputs=shuffle.sample(tables, 8))
            for _ in range(4)
        ]
        if number % 2:
            return client.post("/api/v1/lineage/batch", json=mixed).status_code
        return client.post("/api/v1/lineage", json=mixed[0]).status_code

    with ThreadPoolExecutor(8) as threads:
        codes = list(threads.map(deliver, range(40)))

    assert {200, 201} == set(codes)
    assert len(events_of(client, space)) == 20 + 20 * 4


def test_lost_connections_are_replaced(client, settings, space):
    """When the database drops every connection, the next request is answered all the same."""
    send(client, event(space, "before"))
    with Store(settings) as store, psycopg.connect(store.attachment.owner_url, autocommit=True) as owner:
        owner.execute("set role none")
        owner.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'headwater' and pid <> pg_backend_pid()"
        )

    send(client, event(space, "after"))

    assert {"ok"} == set(client.get("/health").json().values())
    assert len(events_of(client, space)) == 2


def test_killed_server_is_started_again(client, settings, space):
    """When the embedded server is killed, the next request starts it, and nothing acknowledged is lost."""
    send(client, event(space, "before"))
    data = open_cluster(settings.home / "postgres", None).data
    os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    send(client, event(space, "after"))

    assert {"before", "after"} == {item["job"]["name"] for item in events_of(client, space)}


def test_database_that_is_away(tmp_path):
    """Without a database the service answers 503, and says what is wrong."""
    settings = Settings(root=tmp_path, home=tmp_path, database_url="postgresql://u@127.0.0.1:1/x")
    with TestClient(create_app(settings, {}), raise_server_exceptions=False) as client:
        response = client.get("/health")

    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert "Cannot connect" in response.json()["error"]


def test_page_is_served_strictly(client):
    """The page and its scripts come from here only, and other sites' pages may not write."""
    page = client.get("/")

    assert "text/html" in page.headers["Content-Type"]
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert "javascript" in client.get("/ui/graph.js").headers["Content-Type"]
    assert client.get("/ui/graph.js").headers["X-Content-Type-Options"] == "nosniff"
    assert client.post("/api/v1/lineage", json={}, headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.post("/api/v1/lineage", json={}, headers={"Origin": "http://testserver"}).status_code == 400


def test_malformed_backend_is_refused_at_the_door(settings):
    """An OPENLINEAGE_URL that is none stops the service from being made, without being quoted."""
    with pytest.raises(SettingsError) as caught:
        create_app(Settings(root=settings.root, home=settings.home, openlineage_url="u:s3cret@host"), {})

    assert "s3cret" not in str(caught.value)


def test_long_numbers_are_kept_exactly(client, space):
    """Whole numbers of more than 64 bits come back as they were sent."""
    sent = event(space, "load", inputs=["raw"], exact={"of": [2**53 + 1, 10**30, -(2**70)]})

    send(client, sent)

    assert [sent] == events_of(client, space)
    assert client.get(f"/api/v1/jobs/runs/{sent['run']['runId']}").json()["facets"]["exact"] == {
        "of": [2**53 + 1, 10**30, -(2**70)]
    }
