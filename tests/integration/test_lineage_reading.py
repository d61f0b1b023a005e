"""What lineage clients ask by name and by column, over HTTP and a real Postgres, in Marquez's shapes."""

import uuid
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from lineage.api import create_app
from lineage.settings import Settings


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = tmp_path_factory.mktemp("reading")
    with TestClient(create_app(Settings(root=home, home=home), {})) as client:
        yield client


def dataset(space, name, version=None, columns=None, fields=(), **facets):
    found = {"schema": {"fields": [{"name": field, "type": "int"} for field in fields]}} if fields else {}
    found |= {"version": {"datasetVersion": version}} if version else {}
    found |= {"columnLineage": columns} if columns else {}
    return {"namespace": space, "name": name, "facets": {**found, **facets}}


def send(client, space, job, inputs=(), outputs=(), second=0, state="COMPLETE", **run_facets):
    run = str(uuid.uuid4())
    response = client.post(
        "/api/v1/lineage",
        json={
            "eventTime": f"2013-03-01T12:00:{second:02d}Z",
            "eventType": state,
            "producer": "https://example.org/test",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
            "run": {"runId": run, "facets": run_facets},
            "job": {"namespace": space, "name": job, "facets": {"documentation": {"description": "what it does"}}},
            "inputs": list(inputs),
            "outputs": list(outputs),
        },
    )
    assert response.status_code == 201, response.text
    return run


def get(client, path, status=200, **parameters):
    response = client.get(f"/api/v1{path}", params=parameters)
    assert response.status_code == status, response.text
    return response.json()


def place(space, kind, name, *more):
    return "/".join(["/namespaces", quote(space, safe=""), kind, quote(name, safe=""), *more])


# --- search


@pytest.fixture(scope="module")
def named(client):
    """A namespace with names that hold one word in different places."""
    space = f"s3://{uuid.uuid4().hex}"
    names = ["shop.zebra", "zebra", "zebra_old", "white_zebra", "shop.zebras", "bazebra"]
    send(client, space, "load.zebra", outputs=[dataset(space, name) for name in names])
    return space


def test_search_ranks(client, named):
    """What is called so, then what begins so, segments, words, the rest; whatever the case."""
    found = get(client, "/search", q="ZEBRA", namespace=named)

    assert [item["name"] for item in found["results"]] == [
        "shop.zebra",
        "zebra",
        "load.zebra",
        "zebra_old",
        "shop.zebras",
        "white_zebra",
        "bazebra",
    ]
    assert found["totalCount"] == 7
    assert found["results"][1] == {
        "type": "DATASET",
        "name": "zebra",
        "namespace": named,
        "nodeId": f"dataset:{named}:zebra",
        "updatedAt": "2013-03-01T12:00:00Z",
    }


def test_search_is_bounded_and_filtered(client, named, space):
    """Only jobs, only a few, and what came since the last search."""
    assert [item["name"] for item in get(client, "/search", q="zebra", filter="JOB", namespace=named)["results"]] == [
        "load.zebra"
    ]
    assert len(get(client, "/search", q="zebra", limit=2)["results"]) == 2
    assert get(client, "/search", q="zebra", namespace=space)["results"] == []

    send(client, space, "new", outputs=[dataset(space, "okapi")])

    assert [item["name"] for item in get(client, "/search", q="okap")["results"]] == ["okapi"]
    assert get(client, "/search", q="")["results"] == []
    get(client, "/search", 400)


# --- jobs, runs, versions


def test_runs_of_a_job(client, space):
    """Newest first, by pages, with how many there are."""
    runs = [send(client, space, "load", outputs=[dataset(space, "t")], second=second) for second in range(3)]

    found = get(client, place(space, "jobs", "load", "runs"), limit=2)
    rest = get(client, place(space, "jobs", "load", "runs"), limit=2, offset=2)

    assert [item["id"] for item in (*found["runs"], *rest["runs"])] == runs[::-1]
    assert found["totalCount"] == rest["totalCount"] == 3
    assert found["runs"][0]["job"] == {"namespace": space, "name": "load"}
    assert "nearest" in get(client, place(space, "jobs", "lode", "runs"), 404)["error"]


def test_jobs_of_all_namespaces(client, space):
    """By namespace and name, by pages."""
    send(client, space, "load", outputs=[dataset(space, "t")])

    found = get(client, "/jobs", limit=10_000)

    assert {"namespace": space, "name": "load"} in [item["id"] for item in found["jobs"]]
    assert found["totalCount"] == len(found["jobs"])
    assert len(get(client, "/jobs", limit=1)["jobs"]) == 1


def test_facets_of_a_run_and_of_its_job(client, space):
    """As they were sent."""
    run = send(client, space, "load", nominalTime={"nominalStartTime": "2013-01-01T00:00:00Z"})

    assert get(client, f"/jobs/runs/{run}/facets") == {
        "runId": run,
        "facets": {"nominalTime": {"nominalStartTime": "2013-01-01T00:00:00Z"}},
    }
    assert get(client, f"/jobs/runs/{run}/facets", type="job")["facets"] == {
        "documentation": {"description": "what it does"}
    }


def test_versions_of_a_dataset(client, space):
    """Named ones once, with the run that wrote them first; a run that named none made one; newest first."""
    first = send(client, space, "load", outputs=[dataset(space, "t", "v1", fields=["a"])], second=0)
    send(client, space, "load", outputs=[dataset(space, "t", "v1", fields=["a"])], second=1)
    third = send(client, space, "load", outputs=[dataset(space, "t", "v2", fields=["a", "b"])], second=2)
    fourth = send(client, space, "load", outputs=[dataset(space, "t")], second=3)
    send(client, space, "load", outputs=[dataset(space, "t")], second=4, state="FAIL")

    found = get(client, place(space, "datasets", "t", "versions"))

    derived, *named = found["versions"]
    assert found["totalCount"] == 3
    assert [(item["version"], item["createdByRun"]["id"]) for item in named] == [("v2", third), ("v1", first)]
    assert (len(uuid.UUID(derived["version"]).hex), derived["createdByRun"]["id"]) == (32, fourth)
    assert [[field["name"] for field in item["fields"]] for item in named] == [["a", "b"], ["a"]]
    assert get(client, place(space, "datasets", "t", "versions", "v1")) == named[1]
    assert "'v9'" in get(client, place(space, "datasets", "t", "versions", "v9"), 404)["error"]


# --- columns


def column(space, dataset, field, *transformations):
    return {"namespace": space, "name": dataset, "field": field, "transformations": list(transformations)}


SAME = {"type": "DIRECT", "subtype": "IDENTITY", "description": "", "masking": False}
SUM = {"type": "DIRECT", "subtype": "AGGREGATION", "description": "sum(a)", "masking": False}
KEY = {"type": "INDIRECT", "subtype": "GROUP_BY", "description": "", "masking": False}


@pytest.fixture
def chain(client, space):
    """raw.a -> clean.a -> daily.total, grouped by clean.k."""
    clean = {"fields": {"a": {"inputFields": [column(space, "raw", "a", SAME)]}}}
    daily = {
        "fields": {"total": {"inputFields": [column(space, "clean", "a", SUM)]}},
        "dataset": [column(space, "clean", "k", KEY)],
    }
    send(client, space, "clean", [dataset(space, "raw")], [dataset(space, "clean", columns=clean, fields=["a", "k"])])
    send(client, space, "daily", [dataset(space, "clean")], [dataset(space, "daily", columns=daily)])
    return space


def fields(client, node, **parameters):
    graph = get(client, "/column-lineage", nodeId=node, **parameters)["graph"]
    return {item["id"].rpartition("://")[2].partition(":")[2]: item for item in graph}


def test_columns_upstream(client, chain):
    """All that feeds a column, with what each step did; what only decides is left out when asked."""
    found = fields(client, f"datasetField:{chain}:daily:total")

    assert set(found) == {"daily:total", "clean:a", "clean:k", "raw:a"}
    total = found["daily:total"]
    assert total["type"] == "DATASET_FIELD"
    assert (total["data"]["dataset"], total["data"]["field"], total["data"]["transformationType"]) == (
        "daily",
        "total",
        "AGGREGATION",
    )
    assert [(item["field"], item["transformations"]) for item in total["data"]["inputFields"]] == [
        ("a", [SUM]),
        ("k", [KEY]),
    ]
    assert {"origin": f"datasetField:{chain}:clean:a", "destination": f"datasetField:{chain}:daily:total"} in total[
        "inEdges"
    ]
    assert found["clean:a"]["data"]["fieldType"] == "int"
    assert set(fields(client, f"datasetField:{chain}:daily:total", indirect="False")) == {
        "daily:total",
        "clean:a",
        "raw:a",
    }
    assert set(fields(client, f"datasetField:{chain}:daily:total", depth=1)) == {"daily:total", "clean:a", "clean:k"}


def test_columns_downstream_of_a_dataset_and_of_a_job(client, chain):
    """Downstream when asked; a dataset's are all its columns, a job's those that it writes."""
    assert set(fields(client, f"datasetField:{chain}:raw:a")) == {"raw:a"}
    assert set(fields(client, f"datasetField:{chain}:raw:a", withDownstream="True")) == {
        "raw:a",
        "clean:a",
        "daily:total",
    }
    assert set(fields(client, f"dataset:{chain}:clean")) == {"clean:a", "raw:a"}
    assert set(fields(client, f"job:{chain}:daily", indirect="false")) == {"daily:total", "clean:a", "raw:a"}


def test_the_newest_column_lineage_of_a_job_holds(client, chain):
    """What it said before is gone; in the old form of the facet as well."""
    old = {
        "fields": {
            "total": {
                "inputFields": [{"namespace": chain, "name": "raw", "field": "b"}],
                "transformationType": "IDENTITY",
                "transformationDescription": "as it is",
            }
        }
    }
    fields(client, f"dataset:{chain}:daily")
    send(client, chain, "daily", [dataset(chain, "raw")], [dataset(chain, "daily", columns=old)], second=9)

    found = fields(client, f"dataset:{chain}:daily")

    assert set(found) == {"daily:total", "raw:b"}
    data = found["daily:total"]["data"]
    assert (data["transformationType"], data["transformationDescription"]) == ("IDENTITY", "as it is")


def test_what_comes_to_read_a_column_is_told_to_who_asked_before(client, chain):
    """Answers are kept in parts; a job that is new, or says other things than before, is in the next answer."""
    asked = {"node": f"datasetField:{chain}:raw:a", "withDownstream": "true"}
    fields(client, **asked)
    other = {"fields": {"b": {"inputFields": [column(chain, "raw", "a", SAME)]}}}
    send(client, chain, "other", [dataset(chain, "raw")], [dataset(chain, "other", columns=other)])

    assert set(fields(client, **asked)) == {"raw:a", "clean:a", "daily:total", "other:b"}

    less = {"fields": {"b": {"inputFields": [column(chain, "raw", "z", SAME)]}}}
    send(client, chain, "other", [dataset(chain, "raw")], [dataset(chain, "other", columns=less)], second=9)

    assert set(fields(client, **asked)) == {"raw:a", "clean:a", "daily:total"}


def test_a_dataset_that_only_columns_name_is_in_the_graph(client, space):
    """As dbt names a seed: no input, and yet what the table comes from."""
    columns = {"fields": {"id": {"inputFields": [column(space, "seed", "id", SAME)]}}}
    send(client, space, "model", [], [dataset(space, "table", columns=columns)])

    graph = get(client, "/lineage", nodeId=f"dataset:{space}:table", direction="upstream")["graph"]

    assert {item["data"]["name"] for item in graph} == {"table", "model", "seed"}


def test_facets_that_name_badly_cost_nothing(client, space):
    """Names that are too long, or none, in columns and symlinks: the event is kept, and the rest of it is drawn."""
    long = "".join(str(uuid.uuid4()) for _ in range(400))
    bad = [column(space, long, "id"), column(space, "", "id"), {"field": "id"}, 7, column(space, "seed", "id", SAME)]
    facets = {"symlinks": {"identifiers": [{"namespace": space, "name": long}, {"namespace": 7}, None]}}
    send(
        client,
        space,
        "model",
        [],
        [dataset(space, "table", columns={"fields": {"id": {"inputFields": bad}}}, **facets)],
    )

    assert set(fields(client, f"datasetField:{space}:table:id")) == {"table:id", "seed:id"}


def test_columns_follow_other_names(client, space):
    """A dataset that one producer calls by its path and another by its table is one."""
    named = {"identifiers": [{"namespace": space, "name": "db.clean", "type": "TABLE"}]}
    clean = {"fields": {"a": {"inputFields": [column(space, "raw", "a", SAME)]}}}
    last = {"fields": {"a": {"inputFields": [column(space, "db.clean", "a", SAME)]}}}
    send(client, space, "one", [], [dataset(space, "/clean", columns=clean, symlinks=named)])
    send(client, space, "two", [dataset(space, "db.clean")], [dataset(space, "last", columns=last)])

    assert set(fields(client, f"datasetField:{space}:last:a")) == {"last:a", "/clean:a", "raw:a"}
    graph = get(client, "/lineage", nodeId=f"dataset:{space}:db.clean", direction="both")["graph"]
    assert {item["data"]["name"] for item in graph} == {"raw", "one", "/clean", "two", "last"}


def test_what_is_no_column_is_told(client, chain):
    """400 for what is no node id, 404 with the nearest for what is not there."""
    get(client, "/column-lineage", 400, nodeId="column:x")
    assert "total" in get(client, "/column-lineage", 404, nodeId=f"datasetField:{chain}:daily:totl")["error"]
    get(client, "/column-lineage", 404, nodeId=f"datasetField:{chain}:dayly:total")


# --- directions


def test_directions(client, space):
    """Upstream, downstream, both; without one, everything connected, as Marquez answers."""
    send(client, space, "one", [dataset(space, "a")], [dataset(space, "b"), dataset(space, "side")])
    send(client, space, "two", [dataset(space, "b")], [dataset(space, "c")])

    def names(**parameters):
        graph = get(client, "/lineage", nodeId=f"dataset:{space}:b", **parameters)["graph"]
        return {item["data"]["name"] for item in graph}

    assert names(direction="upstream") == {"b", "one", "a"}
    assert names(direction="downstream") == {"b", "two", "c"}
    assert names(direction="both") == {"b", "one", "a", "two", "c"}
    assert names() == {"b", "one", "a", "two", "c", "side"}
    get(client, "/lineage", 400, nodeId=f"dataset:{space}:b", direction="sideways")


def test_the_run_that_speaks_for_a_job(client, space):
    """A later run that fails or has only begun changes nothing; one that completes does."""

    def inputs():
        return [item["name"] for item in get(client, place(space, "jobs", "load"))["inputs"]]

    send(client, space, "load", [dataset(space, "a")], [dataset(space, "t")], second=0)
    send(client, space, "load", [dataset(space, "b")], [dataset(space, "t")], second=1, state="FAIL")
    send(client, space, "load", [dataset(space, "c")], [dataset(space, "t")], second=2, state="START")
    before = inputs()
    send(client, space, "load", [dataset(space, "d")], [dataset(space, "t")], second=3)

    assert (before, inputs()) == (["a"], ["d"])


# --- as of then


def test_the_graph_as_it_was(client, space):
    """By the runs that had ended by then: other inputs before, nothing of what came later, no node before its first."""
    send(client, space, "load", [dataset(space, "a")], [dataset(space, "t")], second=10)
    send(client, space, "read", [dataset(space, "t")], [dataset(space, "u")], second=20)
    send(client, space, "load", [dataset(space, "b")], [dataset(space, "t")], second=30)
    send(client, space, "load", [dataset(space, "c")], [dataset(space, "t")], second=40, state="FAIL")

    def names(second, direction="both"):
        time = f"2013-03-01T12:00:{second:02d}Z"
        graph = get(client, "/lineage", nodeId=f"dataset:{space}:t", asOf=time, direction=direction)["graph"]
        return {item["data"]["name"] for item in graph}

    assert names(15) == {"a", "load", "t"}
    assert names(20) == {"a", "load", "t", "read", "u"}
    assert names(35) == names(59) == {"b", "load", "t", "read", "u"}
    assert names(25, "upstream") == {"a", "load", "t"}
    assert names(25, "downstream") == {"t", "read", "u"}
    assert (
        "not there" in get(client, "/lineage", 404, nodeId=f"dataset:{space}:t", asOf="2013-03-01T11:00:00Z")["error"]
    )
    get(client, "/lineage", 400, nodeId=f"dataset:{space}:t", asOf="yesterday")


def test_a_graph_as_it_was_has_its_edges(client, space):
    """Those of then, from one to the other, and says when it is not all."""
    send(client, space, "load", [dataset(space, "a"), dataset(space, "b")], [dataset(space, "t")], second=1)
    send(client, space, "load", [dataset(space, "b")], [dataset(space, "t")], second=5)
    then = {"nodeId": f"job:{space}:load", "asOf": "2013-03-01T12:00:02Z"}

    graph = {item["data"]["name"]: item for item in get(client, "/lineage", **then)["graph"]}

    assert {edge["origin"] for edge in graph["load"]["inEdges"]} == {f"dataset:{space}:a", f"dataset:{space}:b"}
    assert [edge["destination"] for edge in graph["load"]["outEdges"]] == [f"dataset:{space}:t"]
    assert [edge["origin"] for edge in graph["t"]["inEdges"]] == [f"job:{space}:load"]
    assert get(client, "/lineage", **then, limit=2)["isPartial"]
    assert not get(client, "/lineage", **then)["isPartial"]


# --- one type of node


def test_datasets_are_joined_over_their_jobs(client, space):
    send(client, space, "load", inputs=[dataset(space, "a"), dataset(space, "b")], outputs=[dataset(space, "c")])
    send(client, space, "report", inputs=[dataset(space, "c")], outputs=[dataset(space, "d")])

    def edges(**asked):
        graph = get(client, "/lineage", nodeId=f"dataset:{space}:c", **asked)["graph"]
        ids = {node["id"] for node in graph}
        into = {(edge["origin"], edge["destination"]) for node in graph for edge in node["inEdges"]}
        out = {(edge["origin"], edge["destination"]) for node in graph for edge in node["outEdges"]}
        assert into == out
        assert all(end in ids for edge in into for end in edge)
        return {tuple(end.rpartition(":")[2] for end in edge) for edge in into}

    assert edges(types="DATASET") == {("a", "c"), ("b", "c"), ("c", "d")}
    assert edges(types="dataset", direction="upstream") == {("a", "c"), ("b", "c")}
    assert edges(types="JOB") == {("load", "report")}
    assert len(edges(types="DATASET,JOB")) == len(edges()) == 5
    get(client, "/lineage", status=400, nodeId=f"dataset:{space}:c", types="TABLE")
    get(client, "/lineage", status=400, nodeId=f"dataset:{space}:c", types="JOB", asOf="2013-03-01T00:00:00Z")


def test_whole_numbers_of_any_length(client, space):
    """Facets that nobody knows come back as they were sent, also in the graph and with the job's runs."""
    facet = {"counted": 2**70, "_producer": "https://example.org/test"}
    send(client, space, "load", outputs=[dataset(space, "t", shop=facet)], shop=facet)

    graph = {item["type"]: item["data"] for item in get(client, "/lineage", nodeId=f"dataset:{space}:t")["graph"]}

    assert graph["DATASET"]["facets"]["shop"] == graph["JOB"]["latestRun"]["facets"]["shop"] == facet
    assert get(client, place(space, "jobs", "load"))["latestRuns"][0]["facets"]["shop"] == facet
