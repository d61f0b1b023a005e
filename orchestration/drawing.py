"""The graph around a node as text: a tree to read, DOT for Graphviz, and Mermaid for Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# How the types of the API's nodes are called, in the order in which they are counted.
_WORDS = {
    "DATASET": ("dataset", "datasets"),
    "JOB": ("job", "jobs"),
    "DATASET_VERSION": ("version", "versions"),
    "RUN": ("run", "runs"),
}
# What is next to each node, in one direction.
_Near = Mapping[str, Sequence[str]]

_DOT_SHAPES = {"JOB": "box", "RUN": "box", "DATASET": "cylinder", "DATASET_VERSION": "cylinder"}
_MERMAID_SHAPES = {"JOB": ("[", "]"), "RUN": ("([", "])"), "DATASET": ("[(", ")]"), "DATASET_VERSION": ("[(", ")]")}
# Where it ends a quoted label, begins an entity or is read as HTML or Markdown.
_MERMAID_ESCAPED = str.maketrans({letter: f"#{ord(letter)};" for letter in '"#&<>`\\'} | {"\n": " ", "\r": " "})
_DOT_ESCAPED = str.maketrans({'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True)
class Drawing:
    """Nodes by id (type, and what it is called), what flows into what, and the node that was asked for.

    `direction` (upstream, downstream or both) and `depth` in edges say how far was looked, `is_partial` that nodes
    were left out.
    """

    start: str
    nodes: Mapping[str, tuple[str, str]]
    flows: Sequence[tuple[str, str]]
    direction: str
    depth: int
    is_partial: bool


def read_drawing(answer: Mapping[str, Any], direction: str, depth: int) -> Drawing:
    """The drawing of what `/lineage` or `/lineage/runs` answers, where the node asked for stands first."""
    graph = answer["graph"]
    home = graph[0]["data"].get("namespace")
    nodes = {item["id"]: (item["type"], _label(item, home)) for item in graph}
    flows = [(edge["origin"], edge["destination"]) for item in graph for edge in item["outEdges"]]
    return Drawing(graph[0]["id"], nodes, sorted(flows), direction, depth, answer["isPartial"])


def tree_lines(drawing: Drawing) -> Iterator[str]:
    """What a node comes from, what it goes into, and how much that is.

    A node that several lead to is told with all that is behind it once; the others say that it stands above.
    """
    kind, name = drawing.nodes[drawing.start]
    yield f"{_WORDS[kind][0]} {name}"
    farthest = 0
    for title, near in _ways(drawing):
        yield ""
        branches = [*_branches(drawing, near)]
        is_known = drawing.depth and not drawing.is_partial
        yield title if branches else f"{title} nothing {'on record' if is_known else 'that is told'}"
        yield from branches
        farthest = max(farthest, _farthest(drawing.start, near))
    yield ""
    yield _count(drawing) + _beyond(drawing, farthest)


def dot_lines(drawing: Drawing) -> Iterator[str]:
    """The drawing in DOT, Graphviz's language; nodes are called by their ids."""
    yield "digraph lineage {"
    yield "  rankdir=LR;"
    for node, (kind, name) in drawing.nodes.items():
        width = ", penwidth=2" if node == drawing.start else ""
        yield f"  {_dot(node)} [label={_dot(name)}, shape={_DOT_SHAPES[kind]}{width}];"
    yield from (f"  {_dot(origin)} -> {_dot(destination)};" for origin, destination in drawing.flows)
    yield "}"


def mermaid_lines(drawing: Drawing) -> Iterator[str]:
    """The drawing as a flowchart of Mermaid, which GitHub and others draw in Markdown."""
    short = {node: f"n{number}" for number, node in enumerate(drawing.nodes)}
    yield "flowchart LR"
    for node, (kind, name) in drawing.nodes.items():
        opening, closing = _MERMAID_SHAPES[kind]
        yield f'  {short[node]}{opening}"{name.translate(_MERMAID_ESCAPED)}"{closing}'
    yield from (f"  {short[origin]} --> {short[destination]}" for origin, destination in drawing.flows)
    yield f"  style {short[drawing.start]} stroke-width:3px"


DRAWINGS: dict[str, Callable[[Drawing], Iterable[str]]] = {
    "text": tree_lines,
    "dot": dot_lines,
    "mermaid": mermaid_lines,
}


def _label(item: Mapping[str, Any], home: str | None) -> str:
    """What people call a node; its namespace is told where it is not that of the node asked for."""
    data = item["data"]
    if item["type"] == "RUN":
        # One that never said it began has only been heard of.
        time = (data["startedAt"] or data["createdAt"])[:19]
        return f"{data['job']['name']} {time} {data['state'].lower()} {data['id']}"
    name = data["name"]
    if item["type"] == "DATASET_VERSION" and data["version"]:
        digest = data["version"]
        name += f"@{digest[:12] if len(digest) == 64 else digest}"
    return name if home in (None, data["namespace"]) else f"{name} in {data['namespace']}"


def _ways(drawing: Drawing) -> Iterator[tuple[str, _Near]]:
    """For each direction that was asked for its title, and what is next to each node in it."""
    for direction, title, node, other in (("upstream", "comes from", 1, 0), ("downstream", "goes into", 0, 1)):
        if drawing.direction in (direction, "both"):
            near: dict[str, list[str]] = {}
            for flow in drawing.flows:
                near.setdefault(flow[node], []).append(flow[other])
            yield title, near


def _farthest(start: str, near: _Near) -> int:
    """How many edges away the farthest node is."""
    seen, frontier, edges = {start}, [start], -1
    while frontier:
        edges += 1
        fresh = {other for node in frontier for other in near.get(node, ())} - seen
        seen |= fresh
        frontier = [*fresh]
    return edges


def _beyond(drawing: Drawing, farthest: int) -> str:
    """What has to be known of that which is not told."""
    if drawing.is_partial:
        return "; there are more"
    edges = f"{drawing.depth} edge{'' if drawing.depth == 1 else 's'}"
    return f"; more than {edges} away was not looked at" if farthest >= drawing.depth else ""


def _branches(drawing: Drawing, near: _Near) -> Iterator[str]:
    told = {drawing.start}
    # Not by recursion: a chain may be longer than Python's stack.
    waiting = _row(drawing, near.get(drawing.start, ()), "")
    while waiting:
        node, indent, is_last = waiting.pop()
        kind, name = drawing.nodes[node]
        above = " (above)" if node in told else ""
        yield f"{indent}{'└─' if is_last else '├─'} {_WORDS[kind][0]} {name}{above}"
        if node not in told:
            told.add(node)
            waiting += _row(drawing, near.get(node, ()), indent + ("   " if is_last else "│  "))


def _row(drawing: Drawing, nodes: Iterable[str], indent: str) -> list[tuple[str, str, bool]]:
    """Nodes that hang on one, with whether each is the last of them; the first stands at the end of the list."""
    named = sorted(nodes, key=lambda node: (drawing.nodes[node][1], node), reverse=True)
    return [(node, indent, place == 0) for place, node in enumerate(named)]


def _count(drawing: Drawing) -> str:
    kinds = [kind for kind, _ in drawing.nodes.values()]
    counts = {kind: kinds.count(kind) for kind in _WORDS}
    return ", ".join(f"{count:,} {_WORDS[kind][count > 1]}" for kind, count in counts.items() if count)


def _dot(text: str) -> str:
    return f'"{text.translate(_DOT_ESCAPED)}"'
