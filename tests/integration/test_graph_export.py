"""The graph taken elsewhere, over HTTP and a real Postgres: as events that draw it again, and as W3C PROV."""

import re
import uuid
from contextlib import ExitStack

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prov.constants import PROV
from prov.identifier import QualifiedName
from prov.model import (
    ProvActivity,
    ProvAgent,
    ProvAssociation,
    ProvDerivation,
    ProvDocument,
    ProvEntity,
    ProvGeneration,
    ProvSpecialization,
    ProvUsage,
)

from lineage.api import create_app
from lineage.service.exports import Asked, read_events
from lineage.settings import Settings
from lineage.store import Store

from .test_graph_order import drawn, loaded
from .test_graph_order import events as any_events
from .test_run_graph import dataset

SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs"
# What PROV-N lets stand in the local part of a name.
LETTER = r"[\w/~#]|%[0-9A-F]{2}"
LOCAL = re.compile(rf"(?:{LETTER})(?:(?:{LETTER}|[.-])*(?:{LETTER}|-))?", re.ASCII)


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    """Two services with stores of their own: one that knows things, and one that does not."""
    with ExitStack() as made:

        def start(name):
            home = tmp_path_factory.mktemp(name)
            return made.enter_context(TestClient(create_app(Settings(root=home, home=home), {})))

        yield start("here"), start("elsewhere")


@pytest.fixture
def here(services):
    return services[0]


@pytest.fixture
def elsewhere(services):
    return services[1]


def send(client, event):
    response = client.post("/api/v1/lineage", json=event)
    assert response.status_code == 201, response.text
    return event


def said(kind, second, **what):
    time = f"2013-03-01T12:00:{second:02d}Z"
    return {"eventTime": time, "producer": "https://example.org/shop", "schemaURL": f"{SPEC}/{kind}", **what}


def run_event(space, job, inputs=(), outputs=(), second=0, state="COMPLETE", run=None):
    return said(
        "RunEvent",
        second,
        eventType=state,
        run={"runId": run or str(uuid.uuid4()), "facets": {"shop": {"unknown": [1.5, 2**70]}}},
        job={"namespace": space, "name": job},
        inputs=list(inputs),
        outputs=list(outputs),
    )


def get(client, path, status=200, **parameters):
    response = client.get(f"/api/v1{path}", params=parameters)
    assert response.status_code == status, response.text
    return response.json()


def take(here, elsewhere, node, **parameters):
    """Export a part and send it to the other service; returns the events."""
    events = get(here, "/export", nodeId=node, **parameters)
    response = elsewhere.post("/api/v1/lineage/batch", json=events)
    assert response.status_code == 200, response.text
    assert response.json()["summary"]["successful"] == len(events)
    return events


def shape(answer):
    """The nodes and edges of a graph."""
    edges = {(edge["origin"], edge["destination"]) for item in answer["graph"] for edge in item["outEdges"]}
    return {item["id"]: item["type"] for item in answer["graph"]}, edges


@pytest.fixture
def chain(here, space):
    """a and b become c, c becomes d and e, which e's job reads again; with history that no longer speaks."""
    t = {name: dataset(space, name) for name in "abcdex"}
    old = send(here, run_event(space, "one", [t["x"]], [t["c"]], second=0))
    start = send(here, run_event(space, "one", [t["a"]], second=1, state="START"))
    one = run_event(space, "one", [t["a"], t["b"]], [t["c"]], second=3, run=start["run"]["runId"])
    middle = run_event(space, "one", second=2, state="RUNNING", run=start["run"]["runId"])
    two = run_event(space, "two", [t["c"]], [t["d"]], second=4)
    failed = run_event(space, "two", [t["x"]], second=5, state="FAIL")
    three = run_event(space, "three", [t["c"], t["e"]], [t["e"]], second=6)
    for event in (one, middle, two, failed, three):
        send(here, event)
    return {"old": old, "start": start, "middle": middle, "one": one, "two": two, "failed": failed, "three": three}


@pytest.mark.parametrize("direction", [None, "upstream", "downstream", "both"])
@pytest.mark.parametrize("depth", [0, 1, 2, 20])
def test_the_events_of_a_part_draw_it_again(here, elsewhere, space, chain, direction, depth):
    """Whatever part of the graph is asked for, a service that knows only these events answers the same."""
    how = {"depth": depth, **({"direction": direction} if direction else {})}
    node = f"dataset:{space}:c"
    clean(elsewhere, space)

    take(here, elsewhere, node, **how)

    assert shape(get(elsewhere, "/lineage", nodeId=node, **how)) == shape(get(here, "/lineage", nodeId=node, **how))


def clean(client, space):
    """Hide what an earlier case of the same test sent: namespaces are made anew, so there is nothing."""
    assert client.get("/api/v1/lineage", params={"nodeId": f"dataset:{space}:c"}).status_code == 404


def test_events_are_as_they_came_in_the_order_of_time(here, space, chain):
    """All of the runs that speak, and no others; facets that nobody knows, and whole numbers of any length."""
    assert get(here, "/export", nodeId=f"dataset:{space}:c") == [
        chain[name] for name in ("start", "middle", "one", "two", "three")
    ]
    assert get(here, "/export", nodeId=f"dataset:{space}:c", direction="upstream", format="openlineage") == [
        chain[name] for name in ("start", "middle", "one")
    ]


def test_events_as_of_a_time(here, elsewhere, space, chain):
    """The runs that spoke then, with what they had said by then."""
    node, time = f"dataset:{space}:c", "2013-03-01T12:00:02.5Z"

    events = take(here, elsewhere, node, asOf=time)

    assert events == [chain["old"]]
    assert shape(get(elsewhere, "/lineage", nodeId=node)) == shape(get(here, "/lineage", nodeId=node, asOf=time))


def test_what_job_and_dataset_events_say(here, elsewhere, space):
    """A job that only a JobEvent describes, and what was said last of a dataset; not what was said anew since."""
    job = {"namespace": space, "name": "designed"}
    schema = {"fields": [{"name": "id", "type": "INT"}]}
    first = said("DatasetEvent", 1, dataset=dataset(space, "t", documentation={"description": "old"}))
    second = said("DatasetEvent", 2, dataset=dataset(space, "t", schema=schema))
    third = said("DatasetEvent", 3, dataset=dataset(space, "t", documentation={"description": "new"}))
    fourth = said("DatasetEvent", 4, dataset=dataset(space, "t", documentation={"description": "newer"}))
    designed = said("JobEvent", 5, job=job, inputs=[dataset(space, "t")], outputs=[dataset(space, "u")])
    for event in (fourth, third, second, designed, first):
        send(here, event)

    events = take(here, elsewhere, f"dataset:{space}:u")

    # The first is when the dataset was heard of.
    assert events == [first, second, fourth, designed]
    there, same = (
        next(
            item for item in get(client, "/lineage", nodeId=f"dataset:{space}:u")["graph"] if item["id"].endswith(":t")
        )
        for client in (elsewhere, here)
    )
    assert there == same
    assert there["data"]["description"] == "newer"


def test_names_that_others_gave(here, elsewhere, space):
    """That two names are of one dataset was said by a reader, which is no ancestor; the way over both is there."""
    names = {"symlinks": {"identifiers": [{"namespace": "hive", "name": f"{space}.t", "type": "TABLE"}]}}
    send(here, run_event(space, "load", [dataset(space, "raw")], [dataset("hive", f"{space}.t")]))
    send(here, run_event(space, "read", [dataset(space, "t", **names)], [dataset(space, "u")], second=1))
    node, how = f"dataset:{space}:t", {"direction": "upstream"}

    events = take(here, elsewhere, node, **how)

    ours = shape(get(here, "/lineage", nodeId=node, **how))
    assert set(ours[0]) == {f"dataset:{space}:t", f"job:{space}:load", f"dataset:{space}:raw"}
    assert shape(get(elsewhere, "/lineage", nodeId=node, **how)) == ours
    assert [event["job"]["name"] for event in events if "job" in event] == ["load"]


def test_a_node_of_which_no_run_speaks(here, elsewhere, space, chain):
    """What only runs of the past read is told as a dataset that is there."""
    node = f"dataset:{space}:x"

    (event,) = take(here, elsewhere, node)

    assert (event["dataset"]["name"], event["schemaURL"]) == ("x", f"{SPEC}/DatasetEvent")
    assert shape(get(elsewhere, "/lineage", nodeId=node)) == shape(get(here, "/lineage", nodeId=node))


def test_the_graph_of_runs(here, elsewhere, space):
    """Of a run or a version: the runs that wrote and read it, failed ones too, and versions that nobody's run wrote."""
    told = send(here, said("DatasetEvent", 0, dataset=dataset(space, "a", "v1")))
    send(here, said("DatasetEvent", 9, dataset=dataset(space, "a", "v2")))
    first = send(here, run_event(space, "one", [dataset(space, "a", "v1")], [dataset(space, "b", "w1")], second=1))
    second = send(here, run_event(space, "one", [dataset(space, "a", "v2")], [dataset(space, "b", "w2")], second=2))
    failed = send(here, run_event(space, "two", [dataset(space, "b", "w1")], second=3, state="FAIL"))
    version = f"dataset:{space}:b#w1"

    events = take(here, elsewhere, version)

    assert events == [told, first, failed]
    assert second not in events
    ours = get(here, "/lineage/runs", nodeId=version)
    assert shape(get(elsewhere, "/lineage/runs", nodeId=version)) == shape(ours)
    assert get(here, "/export", nodeId=f"run:{first['run']['runId']}") == events
    get(here, "/export", 404, nodeId=version, asOf="2013-03-01T12:00:00Z")


@pytest.mark.parametrize("form", ["openlineage", "prov"])
def test_a_part_says_that_it_is_one(here, space, chain, form):
    """Where the limit left nodes out a header says so; else there is none."""
    for limit, said_so in ((2, "true"), (100, None)):
        response = here.get("/api/v1/export", params={"nodeId": f"dataset:{space}:c", "format": form, "limit": limit})

        assert response.headers.get("X-Headwater-Partial") == said_so


def test_refusals(here, space, chain):
    """What is no id, no format or not there is named."""
    assert "nodeId 'c'" in get(here, "/export", 400, nodeId="c")["error"]
    assert "format" in get(here, "/export", 400, nodeId=f"dataset:{space}:c", format="rdf")["error"]
    assert get(here, "/export", 404, nodeId=f"dataset:{space}:cc")["candidates"]
    assert "no run" in get(here, "/export", 404, nodeId=f"run:{uuid.uuid4()}", format="prov")["error"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    home = tmp_path_factory.mktemp("drawn")
    with Store(Settings(root=home, home=home)) as store:
        yield store


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    bodies=st.lists(any_events(), min_size=1, max_size=8),
    place=st.integers(0, 20),
    depth=st.sampled_from([1, 2, 20]),
    direction=st.sampled_from([None, "upstream", "downstream", "both"]),
)
def test_any_events_of_a_part_draw_it_again(store, bodies, place, depth, direction):
    """Whatever was sent: names that collide, come and go, runs of several jobs, jobs that never end."""
    drawn(store, bodies, [len(bodies)])
    index = loaded(store)
    nodes = sorted(entry.node for entry in index.nodes())
    node = nodes[place % len(nodes)]
    before = walked(index, node, depth, direction)

    events, _ = read_events(store, index, Asked(node.id, depth, 100, direction))
    drawn(store, events, [len(events)])

    assert walked(loaded(store), node, depth, direction) == before


def walked(index, node, depth, direction):
    """What is around a node: each node with its names, and what flows between them."""
    entries, _ = index.walk(index.find(node), depth, 100, direction)
    flows = {(entry.node, other.node) for entry in entries for other in entry.down if other in entries}
    return {(entry.node, tuple(sorted(entry.keys))) for entry in entries}, flows


# --- PROV


def test_prov_tells_who_made_what_of_what(here, space):
    """Runs as activities with their times, versions as entities, jobs as plans, producers as agents."""
    run = str(uuid.uuid4())
    send(here, run_event(space, "one", [dataset(space, "a", "v1")], second=1, state="START", run=run))
    send(here, run_event(space, "one", [], [dataset(space, "b", "w1")], second=2, run=run))
    send(here, said("DatasetEvent", 0, dataset=dataset(space, "a", "v1")))

    found = get(here, "/export", nodeId=f"dataset:{space}:b", format="prov")

    home = local(space)
    a, b, one = (f"dataset:{home}/a", f"dataset:{home}/b", f"job:{home}/one")
    producer = "producer:https%3A%2F%2Fexample.org%2Fshop"
    assert set(found["entity"]) == {a, b, f"{a}#v1", f"{b}#w1", one}
    assert found["entity"][one]["prov:type"] == {"$": "prov:Plan", "type": "prov:QUALIFIED_NAME"}
    (activity,) = found["activity"].values()
    assert (activity["prov:startTime"], activity["prov:endTime"]) == ("2013-03-01T12:00:01Z", "2013-03-01T12:00:02Z")
    assert [*found["activity"]] == [f"run:{run}"]
    assert relations(found, "used") == [{"activity": f"run:{run}", "entity": f"{a}#v1"}]
    assert relations(found, "wasGeneratedBy") == [
        {"activity": f"run:{run}", "entity": f"{b}#w1", "time": "2013-03-01T12:00:02Z"}
    ]
    assert relations(found, "wasDerivedFrom") == [
        {"generatedEntity": f"{b}#w1", "usedEntity": f"{a}#v1", "activity": f"run:{run}"}
    ]
    assert relations(found, "wasAssociatedWith") == [{"activity": f"run:{run}", "plan": one, "agent": producer}]
    assert relations(found, "specializationOf") == [
        {"specificEntity": f"{a}#v1", "generalEntity": a},
        {"specificEntity": f"{b}#w1", "generalEntity": b},
    ]
    assert found == get(here, "/export", nodeId=f"run:{run}", format="prov")


def relations(found, section):
    return [{name.removeprefix("prov:"): value for name, value in item.items()} for item in found[section].values()]


NAMES = ["-first.", ".", "a b", "ünï/cödé", "x:y,z;(1)='2'", 'q"<>\\', "100%", "#", "t#v", "~"]


def test_prov_is_read_by_others(here, space, chain):
    """The prov package reads it: records of each kind, all of them linked; and writes it again."""
    inputs = [dataset(space, name, f"v {name}") for name in NAMES]
    send(here, run_event(space, "wild. job", inputs, [dataset(space, "c", "new")], second=20))
    text = here.get("/api/v1/export", params={"nodeId": f"dataset:{space}:c", "format": "prov"}).text

    document = ProvDocument.deserialize(content=text, format="json")

    def records(kind):
        return [*document.get_records(kind)]

    things = {str(item.identifier) for kind in (ProvEntity, ProvActivity, ProvAgent) for item in records(kind)}
    assert all(LOCAL.fullmatch(name.partition(":")[2]) for name in things)
    assert len([item for item in records(ProvEntity) if PROV["Plan"] in item.get_asserted_types()]) == 4
    for kind in (ProvUsage, ProvGeneration, ProvDerivation, ProvAssociation, ProvSpecialization):
        ends = [value for record in records(kind) for _, value in record.formal_attributes]
        assert ends
        assert {str(end) for end in ends if isinstance(end, QualifiedName)} <= things
    assert len(records(ProvUsage)) >= len(NAMES)
    assert all(item.get_endTime() for item in records(ProvActivity))
    assert ProvDocument.deserialize(content=document.serialize(format="json"), format="json") == document


def test_versions_of_many_runs_in_prov(here, space):
    """The same bytes of two runs have a generation by each; what was read before it had a version is the dataset."""
    events = [run_event(space, "load", [dataset(space, "s")], [dataset(space, "t", "v")], second=n) for n in (1, 2)]
    runs = sorted(f"run:{send(here, event)['run']['runId']}" for event in events)

    found = get(here, "/export", nodeId=f"dataset:{space}:t#v", format="prov")

    assert sorted(item["activity"] for item in relations(found, "wasGeneratedBy")) == runs
    assert [f"dataset:{local(space)}/s"] * 2 == [item["entity"] for item in relations(found, "used")]


def local(name):
    return name.replace(":", "%3A").replace("/", "%2F")
