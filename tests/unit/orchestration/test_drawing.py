"""Drawings of the graph: a tree without repetition, DOT and Mermaid that hold whatever names there are."""

import re

import pydot
import pytest

from orchestration.drawing import Drawing, dot_lines, mermaid_lines, read_drawing, tree_lines

WICKED = ['say "hi"', "back\\slash\\", "a -> b; c", "<b>&amp;</b>", "#quot; %% `x`", "two\nlines", "ünï [(x)]"]


def drawn(start, flows, direction="both", depth=20, is_partial=False):
    """A drawing of single letters: jobs are capitals."""
    names = dict.fromkeys([start, *(end for flow in flows for end in flow)])
    nodes = {name: ("JOB" if name.isupper() else "DATASET", name) for name in names}
    return Drawing(start, nodes, sorted(flows), direction, depth, is_partial)


def tree(drawing):
    return "\n".join(tree_lines(drawing))


def test_a_tree_of_ancestors_and_descendants():
    """What is asked for on top, each branch in the order of names, and how much it is in all."""
    flows = [("b", "X"), ("a", "X"), ("X", "c"), ("c", "Y"), ("Y", "d"), ("Y", "e"), ("c", "Z"), ("Z", "f")]

    assert tree(drawn("c", flows)) == (
        "dataset c\n"
        "\n"
        "comes from\n"
        "└─ job X\n"
        "   ├─ dataset a\n"
        "   └─ dataset b\n"
        "\n"
        "goes into\n"
        "├─ job Y\n"
        "│  ├─ dataset d\n"
        "│  └─ dataset e\n"
        "└─ job Z\n"
        "   └─ dataset f\n"
        "\n"
        "6 datasets, 3 jobs"
    )


def test_what_several_lead_to_is_told_once():
    """Where it comes again it says so, and what is behind it is not told again."""
    flows = [("s", "A"), ("A", "x"), ("A", "y"), ("x", "B"), ("y", "C"), ("B", "t"), ("C", "t")]

    assert tree(drawn("t", flows)).splitlines()[2:-2] == [
        "comes from",
        "├─ job B",
        "│  └─ dataset x",
        "│     └─ job A",
        "│        └─ dataset s",
        "└─ job C",
        "   └─ dataset y",
        "      └─ job A (above)",
        "",
        "goes into nothing on record",
    ]


def test_a_cycle_ends():
    """A job that adds to what it reads is told once on each side."""
    assert tree(drawn("t", [("t", "A"), ("A", "t")])).splitlines()[2:-2] == [
        "comes from",
        "└─ job A",
        "   └─ dataset t (above)",
        "",
        "goes into",
        "└─ job A",
        "   └─ dataset t (above)",
    ]


def test_a_chain_longer_than_the_stack():
    """Ten thousand nodes in a row are drawn."""
    flows = [(f"n{number:05}", f"n{number + 1:05}") for number in range(10_000)]

    lines = tree(drawn("n00000", flows, depth=10_001)).splitlines()

    assert lines[-3].strip() == "└─ dataset n10000"
    assert lines[-1] == "10,001 datasets"


def test_what_was_left_out_is_said():
    """Nobody takes a part for the whole."""
    flows = [("A", "t"), ("s", "A")]

    assert tree(drawn("t", flows, is_partial=True)).endswith(
        "\ngoes into nothing that is told\n\n2 datasets, 1 job; there are more"
    )
    assert tree(drawn("t", flows, depth=2)).endswith("2 datasets, 1 job; more than 2 edges away was not looked at")
    assert tree(drawn("t", [], depth=0)).splitlines()[2:] == [
        "comes from nothing that is told",
        "",
        "goes into nothing that is told",
        "",
        "1 dataset; more than 0 edges away was not looked at",
    ]
    assert tree(drawn("t", flows, depth=3)).endswith("2 datasets, 1 job")


@pytest.mark.parametrize(("direction", "title"), [("upstream", "comes from"), ("downstream", "goes into")])
def test_only_the_direction_asked_for(direction, title):
    """Nothing is said of where nobody looked."""
    titles = [line for line in tree(drawn("t", [], direction)).splitlines() if "nothing" in line]

    assert titles == [f"{title} nothing on record"]


# What pydot itself calls in pyparsing has other names since.
@pytest.mark.filterwarnings("ignore:.* deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", WICKED)
def test_dot_holds_any_name(name):
    """Graphviz's grammar reads back the nodes, the edge and the label."""
    start = f"dataset:{name}"
    nodes = {start: ("DATASET", name), "job:j": ("JOB", "j")}
    drawing = Drawing(start, nodes, [(start, "job:j")], "both", 20, is_partial=False)

    (graph,) = pydot.graph_from_dot_data("\n".join(dot_lines(drawing)))

    first, second = (node for node in graph.get_nodes() if node.get_name() != "node")
    assert unquoted(first.get("label")) == name
    assert (unquoted(first.get_name()), unquoted(second.get_name())) == (f"dataset:{name}", "job:j")
    assert (first.get("penwidth"), second.get("penwidth"), second.get("shape")) == ("2", None, "box")
    (edge,) = graph.get_edges()
    assert (unquoted(edge.get_source()), unquoted(edge.get_destination())) == (f"dataset:{name}", "job:j")


def unquoted(text):
    """What a quoted string of a label means to Graphviz."""
    assert re.fullmatch(r'"(?:[^"\\]|\\.)*"', text, re.DOTALL)
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r"}.get(found[1], found[1]), text[1:-1])


@pytest.mark.parametrize("name", WICKED)
def test_mermaid_holds_any_name(name):
    """A label is one quoted string on one line, with nothing in it that Mermaid, HTML or Markdown would read."""
    nodes = {"a": ("DATASET", name), "b": ("JOB", "j")}
    drawing = Drawing("a", nodes, [("a", "b")], "both", 20, is_partial=False)

    lines = [*mermaid_lines(drawing)]

    assert lines[0] == "flowchart LR"
    (label,) = re.fullmatch(r'  n0\[\("([^"`<>\\\n]*)"\)\]', lines[1]).groups()
    assert re.sub(r"#(\d+);", lambda found: chr(int(found[1])), label) == name.replace("\n", " ")
    assert lines[2:] == ['  n1["j"]', "  n0 --> n1", "  style n0 stroke-width:3px"]


def test_labels_of_runs_and_versions():
    """Digests short, runs whole, since they are asked for by their ids; other namespaces are named."""
    run = {
        "job": {"namespace": "n", "name": "J"},
        "startedAt": "2013-03-01T12:00:00.5Z",
        "state": "COMPLETED",
        "id": "u",
    }
    nodes = [
        ("v", "DATASET_VERSION", {"namespace": "n", "name": "t", "version": "ab" * 32}),
        ("w", "DATASET_VERSION", {"namespace": "m", "name": "t", "version": "v7"}),
        ("x", "DATASET_VERSION", {"namespace": "n", "name": "t", "version": None}),
        ("r", "RUN", run),
    ]
    graph = [{"id": node, "type": kind, "data": data, "inEdges": [], "outEdges": []} for node, kind, data in nodes]

    drawing = read_drawing({"graph": graph, "isPartial": False}, "both", 20)

    assert [name for _, name in drawing.nodes.values()] == [
        "t@abababababab",
        "t@v7 in m",
        "t",
        "J 2013-03-01T12:00:00 completed u",
    ]
