"""`headwater graph`: the graph around a node of a project, read from its store, in every form."""

import json
import re
import uuid

import pytest
from prov.model import ProvActivity, ProvDocument

from lineage.projection import receive_events

PACKAGE = "depot_graph_verb"


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop, made once."""
    shop = make_shop(PACKAGE)
    shop.run()
    return shop


@pytest.fixture(scope="module")
def space(shop):
    """A namespace in which somebody else's job reads what the shop makes."""
    space = f"s3://{uuid.uuid4().hex}"
    send(shop, space, "report", [{"namespace": "headwater", "name": "shop/totals"}], [named(space, "weekly")])
    return space


def named(space, name):
    return {"namespace": space, "name": name}


def send(shop, space, job, inputs, outputs):
    event = {
        "eventTime": "2013-03-01T12:00:00Z",
        "eventType": "COMPLETE",
        "producer": "https://example.org/test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": str(uuid.uuid4())},
        "job": named(space, job),
        "inputs": inputs,
        "outputs": outputs,
    }
    with shop.store.transaction():
        receive_events(shop.store, [event])


def told(headwater, *arguments):
    """What the verb prints; it must succeed, and say nothing else."""
    code, out, err = headwater("graph", *arguments)
    assert (code, err) == (0, "")
    return out


def test_a_tree(headwater, space):
    """Ancestors and descendants, by the name that other verbs take or by the node's id."""
    expected = """\
dataset shop/features

comes from
└─ job shop.features
   ├─ dataset shop/orders
   │  └─ job shop.orders
   │     └─ dataset shop/raw_orders
   ├─ dataset shop/products
   │  └─ job shop.products
   │     └─ dataset shop/raw_products
   └─ dataset shop/visits
      └─ job shop.visits
         └─ dataset shop/raw_visits

goes into
└─ job shop.late_t0
   └─ dataset shop/late_t0

8 datasets, 5 jobs
"""
    for name in ("shop.features", "shop/features", "dataset:headwater:shop/features"):
        assert told(headwater, name) == expected
    assert told(headwater, "shop-late-t0", "--direction", "upstream", "--depth", "2").splitlines() == [
        "dataset shop/late_t0",
        "",
        "comes from",
        "└─ job shop.late_t0",
        "   └─ dataset shop/features",
        "",
        "2 datasets, 1 job; more than 2 edges away was not looked at",
    ]


def test_what_others_sent(headwater, space):
    """In the same graph, by name where only one node has it; where namespaces differ they are told."""
    told_of_totals = told(headwater, "shop.totals", "--direction", "downstream")

    assert f"└─ job report in {space}\n   └─ dataset weekly in {space}\n" in told_of_totals
    assert told(headwater, "weekly") == told(headwater, f"dataset:{space}:weekly")


def test_a_version_has_the_graph_of_runs(headwater, shop, space):
    """A partition's current version, with the runs and versions behind it; the visits of two months are looked at."""
    sha256 = shop.current("features", "2020-02").sha256

    found = json.loads(told(headwater, "shop.features[2020-02]@current", "--json", "--depth", "2"))

    assert {item["id"] for item in found["graph"]} >= {
        f"dataset:headwater:shop/features#{sha256}",
        f"dataset:headwater:shop/visits#{shop.current('visits', '2020-01').sha256}",
        f"dataset:headwater:shop/visits#{shop.current('visits', '2020-02').sha256}",
    }
    (run,) = (edge["origin"] for edge in found["graph"][0]["inEdges"])
    lines = told(headwater, "shop.features[2020-02]").splitlines()
    assert lines[0] == f"version shop/features@{sha256[:12]}"
    assert re.fullmatch(rf"└─ run shop.features \S+ completed {run.removeprefix('run:')}", lines[3])
    assert told(headwater, run, "--direction", "upstream").startswith("run shop.features ")


def test_json_is_what_the_service_answers(headwater, shop, space):
    """The same envelope, and the graph as it was."""
    found = json.loads(told(headwater, "shop.features", "--json"))
    before = json.loads(told(headwater, "shop.features", "--format", "json", "--as-of", "2999-01-01T00:00:00Z"))

    nodes = {item["id"] for item in found["graph"]}
    assert {"dataset:headwater:shop/features", "job:headwater:shop.late_t0"} <= nodes
    assert "dataset:headwater:shop/totals" not in nodes
    assert nodes == {item["id"] for item in before["graph"]}
    code, out, err = headwater("graph", "shop.features", "--as-of", "2013-01-01T00:00:00Z")
    assert (code, out) == (1, "")
    assert "was not there at 2013-01-01" in err


def test_taken_elsewhere(headwater, shop, space):
    """Events that draw it again, oldest first; and PROV that others read."""
    events = json.loads(told(headwater, "shop.features", "--format", "openlineage"))
    document = ProvDocument.deserialize(content=told(headwater, "shop.features", "--format", "prov"), format="json")

    times = [event["eventTime"] for event in events]
    assert times == sorted(times)
    jobs = {f"shop.{name}" for name in ("orders", "visits", "products", "features", "late_t0")}
    assert {event["job"]["name"] for event in events} == jobs
    assert {event["eventType"] for event in events} == {"START", "COMPLETE"}
    assert len([*document.get_records(ProvActivity)]) == len(jobs)


def test_drawn_for_others(headwater, space):
    """DOT and Mermaid, with a line for each node and each edge."""
    dot, mermaid = (told(headwater, "shop.totals", "--format", form) for form in ("dot", "mermaid"))

    assert dot.startswith("digraph lineage {\n")
    assert '  "dataset:headwater:shop/orders" -> "job:headwater:shop.totals";\n' in dot
    assert mermaid.startswith("flowchart LR\n")
    assert mermaid.count(" --> ") == dot.count(" -> ") == 6


def test_a_limit_is_told(headwater, space):
    """What was left out is said beside the answer, which stays what a program reads."""
    code, out, err = headwater("graph", "shop.features", "--limit", "3", "--json")

    assert (code, len(json.loads(out)["graph"])) == (0, 3)
    assert err == "headwater: There are more nodes than the 3 that are told; --limit N tells N.\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shop.featurs", "did you mean shop.features"),
        ("dataset:headwater:shop/feature", "the nearest are dataset:headwater:shop/features"),
        ("shop.features[2021-02]", "no version of partition '2021-02'"),
        (f"run:{uuid.UUID(int=0)}", "There is no run"),
        ("run:7", "Nothing on record is called 'run:7'"),
    ],
)
def test_a_wrong_name(headwater, space, name, said):
    """One sentence, with the nearest that there are."""
    code, out, err = headwater("graph", name)

    assert (code, out) == (1, "")
    assert err.startswith("headwater: ")
    assert said in err


def test_a_name_of_two_nodes(headwater, shop, space):
    """Neither is guessed."""
    send(shop, f"{space}/a", "twin", [], [named(f"{space}/b", "twin")])

    code, _, err = headwater("graph", "twin")

    assert code == 1
    assert f"'twin' is the name of 2 nodes; write one of dataset:{space}/b:twin, job:{space}/a:twin." in err


def test_before_the_first_run(make_shop, monkeypatch, capsys):
    """What is declared and never ran is told from what nobody knows."""
    from orchestration.cli import main

    fresh = make_shop("depot_graph_fresh")
    monkeypatch.chdir(fresh.root)
    monkeypatch.setenv("HEADWATER_PIPELINES", fresh.package)

    assert main(["graph", "shop.features"]) == 1
    assert "shop.features is in no run yet; run `headwater run shop.features` first" in capsys.readouterr().err


def test_usage(headwater, space):
    """Forms that exclude each other, and no nodes at all, are refused as usage."""
    assert headwater("graph", "shop.features", "--json", "--dot")[0] == 2
    assert headwater("graph", "shop.features", "--limit", "0")[0] == 2
    assert "--format" in headwater("graph", "--help")[1]
