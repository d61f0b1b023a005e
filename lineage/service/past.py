"""The graph as it was: around a node, by the runs that spoke for their jobs at a time.

It is read from the runs on record, level by level; nodes are told as they are today.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from uuid import UUID

from lineage.errors import NotFoundError
from lineage.graph.index import Direction, Entry, GraphIndex
from lineage.graph.nodes import Node
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
        start = find_node(index, candidates)
        if not store.rows("nodes_as_of", ids=start.keys, time=time):
            raise NotFoundError(f"{start.node.id} was not there at {time.isoformat()}; ask for a later time.")
        flows: set[Flow] = set()
        found: dict[Entry, None] = {start: None}
        is_partial = False
        for way in ("upstream", "downstream") if direction == "both" else (direction,):
            reached, seen, less = _walk(_asking(store, index, time), start, depth, limit, way)
            found |= dict.fromkeys(reached)
            flows |= seen
            is_partial = is_partial or less
        entries = [*found][:limit]
        return draw(store, index, entries, flows, is_partial=is_partial or len(found) > limit)


def _walk(
    ask: _Ask, start: Entry, depth: int, limit: int, direction: str | None
) -> tuple[list[Entry], set[Flow], bool]:
    seen, frontier, flows = {start: None}, [start], set[Flow]()
    for _ in range(depth):
        here = set(frontier)
        near = {
            flow
            for flow in ask(frontier)
            if (direction != "downstream" and flow[1] in here) or (direction != "upstream" and flow[0] in here)
        }
        flows |= near
        fresh = sorted({end for flow in near for end in flow if end not in seen}, key=lambda entry: entry.node)
        room = limit - len(seen)
        seen |= dict.fromkeys(fresh[:room])
        if len(fresh) > room:
            return [*seen], flows, True
        frontier = fresh
        if not frontier:
            break
    return [*seen], flows, False


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
