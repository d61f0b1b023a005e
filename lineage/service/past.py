"""The graph as it was: around a node, by the runs that spoke for their jobs at a time.

It is read from the runs on record, level by level; nodes are told as they are today. Where runs of then were pruned,
nothing is told: the others alone would draw another graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from uuid import UUID

from lineage.errors import NotFoundError
from lineage.graph.index import Direction, Entry, GraphIndex
from lineage.graph.nodes import Node
from lineage.graph.walks import walk
from lineage.retention import retention_horizon
from lineage.service.graph import draw, find_node
from lineage.store import Store

# What flows into what.
Flow = tuple[Entry, Entry]
# Flows at some nodes, and the direction in which they are followed.
_Ask = Callable[[Sequence[Entry]], set[Flow]]


def read_lineage_as_of(
    store: Store,
    index: GraphIndex,
    candidates: Sequence[Node],
    time: datetime,
    *,
    depth: int,
    limit: int,
    direction: Direction | None,
) -> bytes:
    """The graph within `depth` edges of a node as of `time`, as JSON; NotFoundError where it was not there yet."""
    with index:
        index.refresh(store)
        entries, flows, is_partial = walk_as_of(
            store, index, candidates, time, depth=depth, limit=limit, direction=direction
        )
        return draw(store, index, entries, flows, is_partial=is_partial)


def walk_as_of(
    store: Store,
    index: GraphIndex,
    candidates: Sequence[Node],
    time: datetime,
    *,
    depth: int,
    limit: int,
    direction: Direction | None,
) -> tuple[list[Entry], set[Flow], bool]:
    """The nodes, the flows met and whether nodes were left out; the index is held and fresh. NotFoundError as above."""
    start = find_node(index, candidates)
    _refuse_pruned(store, time)
    if not store.rows("nodes_as_of", ids=start.keys, time=time):
        raise NotFoundError(f"{start.node.id} was not there at {time.isoformat()}; ask for a later time.")
    ask = _asking(store, index, time)
    return walk(ask, start, depth=depth, limit=limit, direction=direction, key=_node)


def _refuse_pruned(store: Store, time: datetime) -> None:
    horizon = retention_horizon(store)
    if horizon and time < horizon:
        raise NotFoundError(
            f"The graph as of {time.isoformat()} was pruned: of runs from before {horizon.isoformat()} only those are "
            "told that are needed. Ask for a time from then on; `headwater lineage prune --undo` brings back what was "
            "not purged."
        )


def _node(entry: Entry) -> Node:
    return entry.node


def _asking(store: Store, index: GraphIndex, time: datetime) -> _Ask:
    def ask(entries: Sequence[Entry]) -> set[Flow]:
        """The flows at these nodes as of the time, both ways."""
        jobs = {entry.keys[0] for entry in entries if entry.node.kind == "job"}
        datasets = [key for entry in entries if entry.node.kind == "dataset" for key in entry.keys]
        # Whoever ever touched a dataset may have done so then.
        others = {row["job"] for row in store.rows("jobs_that_touched", datasets=datasets)}
        here = set(entries)
        flows = _flows(index, store, jobs | others, time)
        return {flow for flow in flows if flow[0] in here or flow[1] in here}

    return ask


def _flows(index: GraphIndex, store: Store, jobs: Iterable[UUID], time: datetime) -> set[Flow]:
    found: set[Flow] = set()
    for row in store.rows("job_edges_as_of", jobs=list(jobs), time=time):
        job, dataset = index.of_key(row["job"]), index.of_key(row["dataset"])
        found.add((job, dataset) if row["is_output"] else (dataset, job))
    return found
