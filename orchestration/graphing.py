"""`headwater graph`: what a dataset, job, run or version comes from and goes into."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from lineage.errors import NotFoundError
from lineage.graph.index import GraphIndex
from lineage.graph.nodes import Node, parse_node_id
from lineage.names import dotted, find_version, parse
from lineage.plan import Workspace
from lineage.service.exports import Asked, is_of_runs, read_events, read_prov
from lineage.service.graph import read_lineage
from lineage.service.past import read_lineage_as_of
from lineage.service.runs import is_run_graph_id, read_run_graph
from lineage.settings import Settings
from orchestration.drawing import DRAWINGS, read_drawing
from orchestration.project import open_workspace

_EXPORTS = {"openlineage": read_events, "prov": read_prov}


def graph(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater graph NODE`."""
    index = GraphIndex()
    with open_workspace(settings) as space:
        node_id = _node_id(space, index, arguments.name)
        asked = Asked(node_id, arguments.depth, arguments.limit, arguments.direction, arguments.as_of)
        found, is_partial = _read(space, index, asked, arguments.form)
    if draw := DRAWINGS.get(arguments.form):
        for line in draw(read_drawing(found, asked.direction or "both", asked.depth)):
            print(line)
    else:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    if is_partial:
        told = f"the {arguments.limit:,} that are told; --limit N tells N."
        print(f"headwater: There are more nodes than {told}", file=sys.stderr)
    return 0


def _read(space: Workspace, index: GraphIndex, asked: Asked, form: str) -> tuple[Any, bool]:
    if read := _EXPORTS.get(form):
        return read(space.store, index, asked)
    answer = _answer(space, index, asked)
    return answer, answer["isPartial"]


def _answer(space: Workspace, index: GraphIndex, asked: Asked) -> dict[str, Any]:
    """What `/lineage` or, of a run or version, `/lineage/runs` answers."""
    node_id, depth, limit, direction, time = asked
    with index:
        index.refresh(space.store)
        if is_of_runs(index, node_id):
            if time:
                raise NotFoundError(f"{node_id} happened once, and is the same as of any time; leave --as-of out.")
            return read_run_graph(space.store, index, node_id, depth=depth, limit=limit, direction=direction)
        nodes = parse_node_id(node_id)
        if time:
            text = read_lineage_as_of(space.store, index, nodes, time, depth=depth, limit=limit, direction=direction)
        else:
            text = read_lineage(space.store, index, nodes, depth=depth, limit=limit, direction=direction)
    found: dict[str, Any] = json.loads(text)
    return found


def _node_id(space: Workspace, index: GraphIndex, text: str) -> str:
    """The node that people mean: an id, a name of the project's own, or the name of just one node."""
    if is_run_graph_id(text):
        return text
    with index:
        index.refresh(space.store)
        try:
            named = parse(space, text)
        except NotFoundError as error:
            return _only(index, text, error)
        if named.file or named.partition or named.selector:
            version = find_version(space, text).version
            return f"{_dataset(space, version.dataset).id}#{version.sha256}"
        node = _dataset(space, named.dataset or "")
        if index.find(node) is None:
            step = dotted(node.name)
            raise NotFoundError(f"{step} is in no run yet; run `headwater run {step}` first, or `headwater run`.")
        return node.id


def _dataset(space: Workspace, name: str) -> Node:
    return Node("dataset", space.settings.namespace, name)


def _only(index: GraphIndex, name: str, error: NotFoundError) -> str:
    """The id of the only node of this name, which another producer may have sent; else the error."""
    found = tuple(sorted(entry.node.id for entry in index.nodes() if entry.node.name == name))
    if len(found) > 1:
        raise NotFoundError(f"{name!r} is the name of {len(found)} nodes; write one of {', '.join(found)}.", found)
    if not found:
        raise error
    return found[0]
