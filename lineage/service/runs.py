"""Reading the graph of runs and dataset versions: around one of them, and Marquez's list of the runs upstream."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from lineage.errors import NotFoundError
from lineage.graph.index import Direction, GraphIndex
from lineage.graph.nodes import parse_node_id
from lineage.graph.walks import walk
from lineage.service.catalog import no_run, run_key
from lineage.service.graph import fill_facets, find_node
from lineage.service.marquez import Json, run_json, version_json
from lineage.service.occurrences import Flow, Made, Occurrence, Occurrences, Ran
from lineage.store import Row, Store

# Versions that a message lists.
_LISTED = 5


def is_run_graph_id(node_id: str) -> bool:
    """Whether this is `run:UUID`, `dataset:NAMESPACE:NAME#VERSION`, or a dataset or job."""
    if node_id.startswith("run:"):
        return run_key(node_id.removeprefix("run:")) is not None
    return bool(parse_node_id(node_id))


def read_run_graph(
    store: Store, index: GraphIndex, node_id: str, *, depth: int, limit: int, direction: Direction | None
) -> Json:
    """The runs and versions within `depth` edges of one; of a dataset its newest version, of a job its latest run.

    NotFoundError where there is no such run, dataset, version or job.
    """
    with index:
        index.refresh(store)
        history = Occurrences(store, index)
        start = find_occurrence(store, index, history, node_id)
        found, flows, is_partial = walk(
            history.ask, start, depth=depth, limit=limit, direction=direction, key=lambda node: node.id
        )
        return {"graph": _drawn(store, history, found, flows), "isPartial": is_partial}


def find_occurrence(store: Store, index: GraphIndex, history: Occurrences, node_id: str) -> Occurrence:
    """The run or version that a node id means; the index is held and fresh."""
    if node_id.startswith("run:"):
        return _run(store, node_id.removeprefix("run:"))
    candidates = parse_node_id(node_id)
    entry = find_node(index, candidates)
    if entry.node.kind == "job":
        runs = store.rows("job_runs", job=entry.keys[0], limit=1, offset=0)
        if not runs:
            raise NotFoundError(f"{entry.node.id} has no run yet.")
        return Ran(runs[0]["run_id"])
    (told,) = history.histories([entry])
    # A name may hold a # of its own; what was found by the whole of it has no version behind it.
    version = None if any(node.key in entry.keys for node in candidates if node.id == node_id) else _behind(node_id)
    if version is None:
        return Made(entry, told.newest())
    if version not in told.places:
        raise _no_version(entry.node.id, version, [name for name in told.places if name])
    return Made(entry, version)


def read_upstream_runs(store: Store, index: GraphIndex, run_id: str, *, depth: int) -> Json:
    """A run and those that wrote what it read, `depth` runs far, in Marquez's shape; raises NotFoundError."""
    with index:
        index.refresh(store)
        history = Occurrences(store, index)
        frontier = [_run(store, run_id)]
        told: dict[Ran, Json] = {}
        for _ in range(depth + 1):
            rows = _run_rows(store, frontier)
            fresh: dict[Ran, None] = {}
            for run in frontier:
                inputs = _inputs(history, run, rows[run.run_id])
                told[run] = _upstream_json(rows[run.run_id], inputs)
                fresh |= {Ran(UUID(item["producedByRunId"])): None for item in inputs if item["producedByRunId"]}
            frontier = [run for run in fresh if run not in told]
            if not frontier:
                break
        return {"runs": [*told.values()]}


def _run(store: Store, text: str) -> Ran:
    if (key := run_key(text)) and store.row("graph_run", run_id=key):
        return Ran(key)
    raise no_run(store, text)


def _behind(node_id: str) -> str | None:
    return node_id.rpartition("#")[2] or None if "#" in node_id else None


def _no_version(dataset: str, version: str, known: Sequence[str]) -> NotFoundError:
    near = tuple(difflib.get_close_matches(version, known, n=3)) or tuple(known[-_LISTED:])
    hint = f"; the nearest are {', '.join(near)}" if near else "; none was written yet"
    return NotFoundError(f"{dataset} has no version {version!r}{hint}.", near)


def _run_rows(store: Store, runs: Iterable[Ran]) -> dict[UUID, Row]:
    """What is known of each run; of one that is of several jobs, by the job that spoke last."""
    ids = [run.run_id for run in runs]
    return {row["run_id"]: row for row in store.rows("graph_runs", runs=ids)} if ids else {}


def _inputs(history: Occurrences, run: Ran, row: Row) -> list[Json]:
    began = row["started_at"] or row["created_at"]
    found = []
    for told in history.histories(history.touched([run])):
        for version in dict.fromkeys(version for reader, version in told.reads if reader == run):
            writer = told.writer(version.version, began)
            found.append(
                {
                    "namespace": told.dataset.node.namespace,
                    "name": told.dataset.node.name,
                    "version": version.version,
                    "producedByRunId": str(writer.run_id) if writer and writer != run else None,
                }
            )
    return sorted(found, key=lambda item: (item["namespace"], item["name"], item["version"] or ""))


def _upstream_json(row: Row, inputs: Sequence[Json]) -> Json:
    told = run_json(row)
    return {
        "job": {"namespace": row["namespace"], "name": row["job"], "version": None},
        "run": {"id": told["id"], "start": told["startedAt"], "end": told["endedAt"], "status": told["state"]},
        "inputs": list(inputs),
    }


def _drawn(store: Store, history: Occurrences, found: Sequence[Occurrence], flows: Iterable[Flow]) -> list[Json]:
    """Each node with its data and its edges to the others, as JSON values."""
    into: dict[Occurrence, list[Json]] = {node: [] for node in found}
    out: dict[Occurrence, list[Json]] = {node: [] for node in found}
    for origin, destination in sorted(flows, key=lambda flow: (flow[0].id, flow[1].id)):
        if origin in into and destination in into:
            edge = {"origin": origin.id, "destination": destination.id}
            into[destination].append(edge)
            out[origin].append(edge)
    data = _data(store, history, found)
    return [
        {
            "id": node.id,
            "type": "RUN" if isinstance(node, Ran) else "DATASET_VERSION",
            "data": data[node],
            "inEdges": into[node],
            "outEdges": out[node],
        }
        for node in found
    ]


def _data(store: Store, history: Occurrences, found: Sequence[Occurrence]) -> dict[Occurrence, Json]:
    rows = _run_rows(store, (node for node in found if isinstance(node, Ran)))
    told: dict[Occurrence, Json] = {}
    told |= {node: run_json(rows[node.run_id]) for node in found if isinstance(node, Ran)}
    told |= describe_versions(store, history, [node for node in found if isinstance(node, Made)])
    return told


def describe_versions(store: Store, history: Occurrences, versions: Sequence[Made]) -> dict[Occurrence, Json]:
    """Each version as Marquez shows one, by the run that wrote it first; else by one that read it."""
    told = dict(zip(versions, history.histories_of(versions), strict=True))
    places = {node: history_of.places.get(node.version) for node, history_of in told.items()}
    wanted = [_place(place) for place in places.values() if place]
    rows = store.rows("facets_of_io", places=Jsonb([dict(zip(_PLACE, item, strict=True)) for item in wanted]))
    fill_facets(store, [row["facets"] for row in rows])
    known = {_place(row): row for row in rows}
    return {node: _version_json(node, known[_place(place)] if place else None) for node, place in places.items()}


_PLACE = ("run_id", "job", "dataset", "is_output")


def _place(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] if name == "is_output" else str(row[name]) for name in _PLACE)


def _version_json(node: Made, row: Row | None) -> Json:
    _, namespace, name = node.dataset.node
    if row is None:
        return {"id": {"namespace": namespace, "name": name}, "namespace": namespace, "name": name, "version": None}
    told = {**row, "version": node.version, "job": row["job_name"] if row["is_output"] else None}
    return version_json(namespace, name, told)
