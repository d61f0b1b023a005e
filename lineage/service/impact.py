"""Everything downstream of a dataset, a version, a job or a run; of the project's own also models and predictions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from lineage.discover import Project
from lineage.errors import NotFoundError
from lineage.graph.index import Entry, GraphIndex
from lineage.graph.nodes import parse_node_id
from lineage.graph.walks import walk
from lineage.impact import impact, table_of
from lineage.plan import Workspace
from lineage.quarantine import is_quarantine
from lineage.service.graph import find_node
from lineage.service.marquez import Json
from lineage.service.occurrences import Made, Occurrences
from lineage.service.runs import find_occurrence
from lineage.settings import Settings
from lineage.store import Store

_NOTHING: Json = {
    "versions": [],
    "tables": [],
    "models": [],
    "bundles": [],
    "deployments": [],
    "predictions": {"count": 0, "by": {}, "ids": [], "through": [], "next": None},
}


class Reach(NamedTuple):
    """How much is listed: nodes `depth` edges far and at most `limit`, and a page of predictions."""

    depth: int
    limit: int
    predictions: int
    offset: int


def read_impact(store: Store, index: GraphIndex, settings: Settings, node_id: str, reach: Reach) -> Json:
    """What is downstream of a node, nearest first; raises NotFoundError naming the nearest.

    Keys: nodeId, nodes (id and type: runs and versions that came of a run or version, else datasets and jobs),
    isPartial, and those of `lineage.impact.impact` beside its name: of what is not the project's own they are empty.
    """
    with index:
        index.refresh(store)
        history = Occurrences(store, index)
        entry, version, ids, is_partial = _downstream(store, index, history, node_id, reach)
    told = _own(store, settings, entry, version, reach) if entry else _NOTHING
    return {"nodeId": node_id, "nodes": ids, "isPartial": is_partial, **told}


def impact_rows(found: Json) -> Iterator[tuple[Any, ...]]:
    """The same as rows of a table, with predictions counted and not listed."""
    predictions = found["predictions"]
    header, *things = table_of({**found, "predictions": {"ids": [], "through": []}})
    yield header
    for item in found["nodes"]:
        yield item["type"].lower(), item["id"], "", "", "", ""
    yield from things
    yield "predictions", "", "", "", predictions["count"], " ".join(predictions["by"])


def _downstream(
    store: Store, index: GraphIndex, history: Occurrences, node_id: str, reach: Reach
) -> tuple[Entry | None, str | None, list[Json], bool]:
    """The dataset or job that is asked about, its version if one is named, and what is downstream."""
    named = parse_node_id(node_id)
    entry = next((found for node in named if (found := index.find(node)) and node.id == node_id), None)
    if entry is None and ("#" in node_id or node_id.startswith("run:")):
        start = find_occurrence(store, index, history, node_id)
        nodes, _, partial = walk(
            history.ask, start, depth=reach.depth, limit=reach.limit, direction="downstream", key=lambda node: node.id
        )
        told = [{"id": node.id, "type": "DATASET_VERSION" if isinstance(node, Made) else "RUN"} for node in nodes[1:]]
        return (*start, told, partial) if isinstance(start, Made) else (None, None, told, partial)
    entry = entry or find_node(index, named)
    entries, partial = index.walk(entry, reach.depth, reach.limit, "downstream")
    return entry, None, [{"id": item.node.id, "type": item.node.kind.upper()} for item in entries[1:]], partial


def _own(store: Store, settings: Settings, entry: Entry, version: str | None, reach: Reach) -> Json:
    """What rests on a dataset of the project itself, of a job on what it writes; nothing where it is another's."""
    written = [entry] if entry.node.kind == "dataset" else entry.down
    datasets = [item.node.name for item in written if item.node.namespace == settings.namespace]
    dataset = next((name for name in datasets if not is_quarantine(name) or name == entry.node.name), None)
    if dataset is None:
        return _NOTHING
    name = f"{dataset}@{version}" if version else dataset
    try:
        space = Workspace(settings, Project(()), store)
        found = impact(space, name, limit=reach.predictions, offset=reach.offset)
    except NotFoundError:
        # Of this namespace, and yet nothing that the project itself recorded.
        return _NOTHING
    del found["name"]
    return found
