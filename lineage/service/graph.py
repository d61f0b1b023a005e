"""Reading the graph of datasets and jobs: around a node, or all of it, in Marquez's envelope."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

from lineage.errors import NotFoundError
from lineage.graph.index import Direction, Entry, GraphIndex
from lineage.graph.nodes import Node
from lineage.service.marquez import Json, dataset_json, job_json, json_bytes
from lineage.store import Row, Store

# Looking for the nearest names compares with each: more than these would be slow.
_MOST_COMPARED = 5_000


def find_node(index: GraphIndex, candidates: Sequence[Node]) -> Entry:
    """The first of `candidates` that exists; raises NotFoundError naming the nearest."""
    for node in candidates:
        if entry := index.find(node):
            return entry
    raise missing(index, candidates[0])


def missing(index: GraphIndex, node: Node) -> NotFoundError:
    """The error that says `node` is not there, and which of the names that are come nearest."""
    names = [entry.node.id for entry in index.nodes() if entry.node.kind == node.kind][:_MOST_COMPARED]
    nearest = tuple(difflib.get_close_matches(node.id, names, n=3, cutoff=0.5))
    hint = f"; the nearest are {', '.join(nearest)}" if nearest else ""
    return NotFoundError(f"There is no {node.kind} {node.name!r} in namespace {node.namespace!r}{hint}.", nearest)


def read_lineage(
    store: Store,
    index: GraphIndex,
    candidates: Sequence[Node],
    *,
    depth: int,
    limit: int,
    direction: Direction | None,
    kind: str | None = None,
) -> bytes:
    """The graph within `depth` edges of a node as JSON; `limit` bounds the number of nodes.

    Of one `kind` (dataset or job) only those are told, with an edge where one leads to another over what is left out.
    """
    with index:
        index.refresh(store)
        entries, is_partial = index.walk(find_node(index, candidates), depth, limit, direction)
        if kind:
            told = [entry for entry in entries if entry.node.kind == kind]
            return draw(store, index, told, _over_others(entries, kind), is_partial=is_partial)
        graph = _graph_json(store, index, entries)
    return b'{"graph":%s,"isPartial":%s}' % (graph, orjson.dumps(is_partial))


def read_graph(store: Store, index: GraphIndex, *, limit: int) -> bytes:
    """All nodes as JSON; the first `limit` of them by name where there are more."""
    with index:
        index.refresh(store)
        entries = sorted(index.nodes(), key=lambda entry: (entry.node.namespace, entry.node.name))
        graph = _graph_json(store, index, entries[:limit])
    return b'{"graph":%s,"isPartial":%s,"totalCount":%d}' % (graph, orjson.dumps(len(entries) > limit), len(entries))


def describe(store: Store, index: GraphIndex, entries: Sequence[Entry]) -> list[bytes]:
    """The data of each node as JSON."""
    return index.data(store, entries, _render)


def fill_facets(store: Store, kept: Iterable[dict[str, list[Any]]]) -> None:
    """Put the bodies of shared facets in, which the store keeps by digest."""
    lacking = [facet for facets in kept for facet in facets.values() if facet[2] is None]
    if lacking:
        digests = list({facet[1] for facet in lacking})
        bodies = {row["digest"].hex: row["body"] for row in store.rows("graph_facets", digests=digests)}
        for facet in lacking:
            facet[2] = bodies[facet[1]]


def _graph_json(store: Store, index: GraphIndex, entries: Sequence[Entry]) -> bytes:
    """Each node with its data and its edges to the others; put together as text, for there may be thousands."""
    chosen = set(entries)
    into = [[other for other in entry.up if other in chosen] for entry in entries]
    out = [[other for other in entry.down if other in chosen] for entry in entries]
    return _nodes_json(store, index, entries, into, out)


def draw(
    store: Store, index: GraphIndex, entries: Sequence[Entry], flows: Iterable[tuple[Entry, Entry]], *, is_partial: bool
) -> bytes:
    """The nodes with these edges between them (what flows into what), as JSON."""
    into: dict[Entry, list[Entry]] = {entry: [] for entry in entries}
    out: dict[Entry, list[Entry]] = {entry: [] for entry in entries}
    for origin, destination in flows:
        if origin in into and destination in into:
            into[destination].append(origin)
            out[origin].append(destination)
    graph = _nodes_json(store, index, entries, list(into.values()), list(out.values()))
    return b'{"graph":%s,"isPartial":%s}' % (graph, orjson.dumps(is_partial))


def _over_others(entries: Sequence[Entry], kind: str) -> Iterator[tuple[Entry, Entry]]:
    """What flows into what among those of a kind, each once, over the others among `entries`."""
    between = [entry for entry in entries if entry.node.kind != kind]
    return iter(dict.fromkeys((up, down) for entry in between for up in entry.up for down in entry.down))


def _nodes_json(
    store: Store,
    index: GraphIndex,
    entries: Sequence[Entry],
    into: Iterable[Iterable[Entry]],
    out: Iterable[Iterable[Entry]],
) -> bytes:
    parts = [
        b'{"id":%s,"type":"%s","data":%s,"inEdges":[%s],"outEdges":[%s]}'
        % (
            entry.id_json,
            entry.node.kind.upper().encode(),
            data,
            b",".join(_edge_json(other, entry) for other in ups),
            b",".join(_edge_json(entry, other) for other in downs),
        )
        for entry, data, ups, downs in zip(entries, index.data(store, entries, _render), into, out, strict=True)
    ]
    return b"[%s]" % b",".join(parts)


def _edge_json(origin: Entry, destination: Entry) -> bytes:
    return b'{"origin":%s,"destination":%s}' % (origin.id_json, destination.id_json)


def describe_whole(store: Store, entry: Entry) -> bytes:
    """The data of one node as JSON, with the facets that the graph leaves out."""
    return _render(store, [entry], leave_out=())[0]


def _render(store: Store, entries: Sequence[Entry], leave_out: Sequence[str] = ("columnLineage",)) -> list[bytes]:
    job_keys, dataset_keys = _keys(entries, "job"), _keys(entries, "dataset")
    jobs = {row["node_id"]: {**row, "tagged": []} for row in store.rows("graph_jobs", ids=job_keys)}
    datasets = {row["node_id"]: {**row, "tagged": []} for row in store.rows("graph_datasets", ids=dataset_keys)}
    for row in datasets.values():
        for name in leave_out:
            row["facets"].pop(name, None)
    for row in store.rows("tagged", ids=[*job_keys, *dataset_keys]):
        (jobs.get(row["node_id"]) or datasets[row["node_id"]])["tagged"].append(row)
    fill_facets(store, [row["facets"] for row in datasets.values()])
    return [
        json_bytes(_job(entry, jobs) if entry.node.kind == "job" else _dataset(entry, datasets)) for entry in entries
    ]


def _job(entry: Entry, rows: dict[object, Row]) -> Json:
    return job_json(rows[entry.keys[0]], _ids_json(entry.up), _ids_json(entry.down))


def _dataset(entry: Entry, rows: dict[object, Row]) -> Json:
    return dataset_json([rows[key] for key in entry.keys])


def _ids_json(entries: Iterable[Entry]) -> list[Json]:
    nodes = sorted(entry.node for entry in entries if not entry.hidden)
    return [{"namespace": namespace, "name": name} for _, namespace, name in nodes]


def _keys(entries: Iterable[Entry], kind: str) -> list[object]:
    return [key for entry in entries if entry.node.kind == kind for key in entry.keys]
