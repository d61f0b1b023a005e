"""A part of the graph, to be taken elsewhere: as the OpenLineage events that draw it, or as W3C PROV.

Around a dataset or job it holds the runs that speak for the jobs; around a run or a version, the runs of that graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from lineage.errors import NotFoundError
from lineage.graph.index import Direction, Entry, GraphIndex
from lineage.graph.nodes import Node, parse_node_id
from lineage.graph.observations import observe
from lineage.graph.walks import walk
from lineage.service.declared import node_event
from lineage.service.graph import fill_facets, find_node
from lineage.service.marquez import Json, facets_json
from lineage.service.occurrences import Flow, Made, Occurrences, Ran
from lineage.service.past import walk_as_of
from lineage.service.prov import Story, prov_document
from lineage.service.runs import find_occurrence
from lineage.store import Store

Event = dict[str, Any]


class Asked(NamedTuple):
    """Which part: what is within `depth` edges of a node, at most `limit` nodes, as of `time` (None: today)."""

    node_id: str
    depth: int
    limit: int
    direction: Direction | None
    time: datetime | None = None


class _Part(NamedTuple):
    """Datasets and jobs; the runs (as far as they are of a job); and the moments of events about nodes."""

    entries: Sequence[Entry]
    runs: Sequence[tuple[UUID, UUID | None]]
    moments: Sequence[tuple[Node, Any]]
    flows: Sequence[Flow] | None
    is_partial: bool


def read_events(store: Store, index: GraphIndex, asked: Asked) -> tuple[list[Event], bool]:
    """The events of a part, as they came, oldest first; and whether nodes were left out.

    Sent to an empty service they draw the same part there. Raises NotFoundError naming the nearest.
    """
    with index:
        index.refresh(store)
        part = _part(store, index, Occurrences(store, index), asked)
    return _events(store, part, asked.time), part.is_partial


def read_prov(store: Store, index: GraphIndex, asked: Asked) -> tuple[Json, bool]:
    """What happened in a part as PROV-JSON, and whether nodes were left out; raises NotFoundError as above."""
    with index:
        index.refresh(store)
        history = Occurrences(store, index)
        part = _part(store, index, history, asked)
        flows = _flows(history, part) if part.flows is None else part.flows
        written = _written(history, flows)
    ids = [run for run, _ in part.runs]
    rows = store.rows("graph_runs", runs=ids) if ids else []
    nodes = [entry.node for entry in part.entries]
    return prov_document(Story(nodes, rows, flows, written, _events(store, part, asked.time))), part.is_partial


def is_of_runs(index: GraphIndex, node_id: str) -> bool:
    """Whether this is of the graph of runs: `run:UUID` or `dataset:NAMESPACE:NAME#VERSION`."""
    if node_id.startswith("run:"):
        return True
    # A name may hold a # of its own.
    return "#" in node_id and not any(node.id == node_id and index.find(node) for node in parse_node_id(node_id))


def _part(store: Store, index: GraphIndex, history: Occurrences, asked: Asked) -> _Part:
    if is_of_runs(index, asked.node_id):
        return _part_of_runs(store, index, history, asked)
    named, reach = parse_node_id(asked.node_id), (asked.depth, asked.limit, asked.direction)
    if asked.time is None:
        entries, is_partial = index.walk(find_node(index, named), *reach)
    else:
        depth, limit, direction = reach
        entries, _, is_partial = walk_as_of(
            store, index, named, asked.time, depth=depth, limit=limit, direction=direction
        )
    return _Part(entries, _speakers(store, entries, asked.time), _moments(store, entries), None, is_partial)


def _part_of_runs(store: Store, index: GraphIndex, history: Occurrences, asked: Asked) -> _Part:
    if asked.time:
        raise NotFoundError(f"{asked.node_id} happened once, and is the same as of any time; leave that out.")
    start = find_occurrence(store, index, history, asked.node_id)
    found, flows, is_partial = walk(
        history.ask, start, depth=asked.depth, limit=asked.limit, direction=asked.direction, key=lambda node: node.id
    )
    here = set(found)
    versions = [node for node in found if isinstance(node, Made)]
    # Versions that no run is known to have written, DatasetEvents told of.
    told = [
        (Node("dataset", row["namespace"], row["name"]), write.at)
        for history_of in history.histories(node.dataset for node in versions)
        for row in store.rows("graph_nodes", ids=history_of.dataset.keys)
        for write in history_of.writes
        if write.run is None and Made(history_of.dataset, write.version) in here
    ]
    runs: list[tuple[UUID, UUID | None]] = [(node.run_id, None) for node in found if isinstance(node, Ran)]
    between = [flow for flow in flows if here.issuperset(flow)]
    return _Part([*dict.fromkeys(node.dataset for node in versions)], runs, told, between, is_partial)


def _speakers(store: Store, entries: Iterable[Entry], time: datetime | None) -> list[tuple[UUID, UUID | None]]:
    """The run that speaks for each job, where one does."""
    jobs = [entry.keys[0] for entry in entries if entry.node.kind == "job"]
    rows = store.rows("speakers_as_of", jobs=jobs, time=time) if time else store.rows("speakers", jobs=jobs)
    return [(row["run_id"], row["job"]) for row in rows]


def _moments(store: Store, entries: Iterable[Entry]) -> list[tuple[Node, Any]]:
    """When something was said of each node that still holds."""
    rows = store.rows("graph_nodes", ids=[key for entry in entries for key in entry.keys])
    return [
        (Node(row["kind"], row["namespace"], row["name"]), time)
        for row in rows
        for time in dict.fromkeys([row["created_at"], row["updated_at"], *(said[0] for said in row["facets"].values())])
    ]


def _flows(history: Occurrences, part: _Part) -> list[Flow]:
    """What the runs of a part read and wrote of the datasets in it."""
    here = set(part.entries)
    runs = [Ran(run) for run, _ in part.runs]
    return [flow for flow in history.ask(runs) if all(end.dataset in here for end in flow if isinstance(end, Made))]


def _written(history: Occurrences, flows: Iterable[Flow]) -> dict[Flow, datetime]:
    """When each run wrote what it did, the last time if it did several times."""
    datasets = [end.dataset for flow in flows for end in flow if isinstance(end, Made)]
    return {
        (write.run, Made(told.dataset, write.version)): write.at
        for told in history.histories(datasets)
        for write in told.writes
        if write.run
    }


def _events(store: Store, part: _Part, until: datetime | None) -> list[Event]:
    """Each event once, oldest first, and where none of them tells of a node what has to be told, one that does."""
    runs = [{"run_id": str(run), "job": job and str(job)} for run, job in part.runs]
    said = [{**node._asdict(), "time": str(time)} for node, time in part.moments]
    rows = {
        row["event_id"]: row
        for row in (
            *store.rows("events_of_runs", runs=Jsonb(runs), until=until),
            *store.rows("events_about", said=Jsonb(said), until=until),
        )
    }
    told = [(row["event_time"], row["event_id"], row["body"]) for row in rows.values()]
    # Before the event of the same moment.
    told += [(time, 0, event) for time, event in _untold(store, part.entries, [body for _, _, body in told])]
    return [body for _, _, body in sorted(told, key=lambda item: item[:2])]


def _untold(store: Store, entries: Iterable[Entry], events: Iterable[Event]) -> Iterator[tuple[datetime, Event]]:
    """What only others said: that a node is there, and which other names a dataset has. An event each, and its time."""
    known = observe(events).nodes
    renamed = [key for key, node in known.items() if "symlinks" in node["facets"]]
    for row in store.rows("graph_nodes", ids=[*renamed, *(key for entry in entries for key in entry.keys)]):
        facets, said = row["facets"], known.get(row["node_id"])
        time = row["created_at"]
        if said:
            names = facets.get("symlinks", [])
            if names[:2] == said["facets"].get("symlinks", [])[:2]:
                continue
            facets, time = {"symlinks": names}, datetime.fromisoformat(names[0])
        fill_facets(store, [facets])
        node = Node(row["kind"], row["namespace"], row["name"])
        yield time, node_event(node, facets_json(facets), time.isoformat())
