"""What runs said, side by side: nodes, edges, schemas, column lineage, code and row counts, each as one mapping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lineage.graph.index import Entry, GraphIndex
from lineage.graph.nodes import Node
from lineage.service.graph import fill_facets
from lineage.service.marquez import facets_json
from lineage.service.occurrences import Made, Occurrences, Ran
from lineage.store import Row, Store

# What a facet says of itself, and not of what it is about.
_META = ("_producer", "_schemaURL")


@dataclass
class Snapshot:
    """Mappings that two snapshots are compared by; the keys are node ids and names of columns and facets below them."""

    nodes: dict[str, Any] = field(default_factory=dict)
    edges: dict[tuple[str, str], None] = field(default_factory=dict)
    schema: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)
    code: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)


def take_snapshot(
    store: Store, index: GraphIndex, history: Occurrences, runs: Sequence[Ran], only: Entry | None = None
) -> Snapshot:
    """What these runs said; with `only`, of their outputs that dataset's alone. The index is held and fresh."""
    found, ids = Snapshot(), [run.run_id for run in runs]
    io = store.rows("io_of_runs", runs=ids) if ids else []
    fill_facets(store, [row["facets"] for row in io])
    versions = _versions(history, runs)
    for row in io:
        entry = index.of_key(row["dataset"])
        if not (only and row["is_output"] and entry is not only):
            _add_io(found, row, entry, versions)
    for row in store.rows("job_facets_of_runs", runs=ids) if ids else []:
        job = Node("job", row["namespace"], row["name"]).id
        found.nodes[job] = None
        found.code |= {f"{job} {name}": value for name, value in _flat(row["facets"] or {})}
    return found


def _versions(history: Occurrences, runs: Sequence[Ran]) -> dict[Entry, list[str]]:
    """The versions of each dataset that the runs read or wrote."""
    here, found = set(runs), dict[Entry, list[str]]()
    for told in history.histories(history.touched(runs)):
        ends = (end for flow in told.flows() if here & set(flow) for end in flow if isinstance(end, Made))
        found[told.dataset] = sorted({end.version for end in ends if end.version})
    return found


def _add_io(found: Snapshot, row: Row, entry: Entry, versions: Mapping[Entry, list[str]]) -> None:
    job, dataset = Node("job", row["job_namespace"], row["job_name"]).id, entry.node.id
    found.nodes |= {job: None, dataset: versions.get(entry, [])}
    found.edges[(job, dataset) if row["is_output"] else (dataset, job)] = None
    facets = facets_json(row["facets"])
    for item in _objects(_part(facets, "schema").get("fields")):
        found.schema[f"{dataset}:{item.get('name')}"] = item.get("type")
    if not row["is_output"]:
        return
    for name, sources in _column_sources(_part(facets, "columnLineage")):
        found.columns[f"{dataset}:{name}"] = sources
    if counted := {key: value for key, value in _part(facets, "outputStatistics").items() if key not in _META}:
        found.rows[dataset] = counted


def _column_sources(facet: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """By column what it came from and how, in an order of its own: lists of facets have none."""
    fields = facet.get("fields")
    for name, item in fields.items() if isinstance(fields, dict) else ():
        inputs = _objects(item.get("inputFields")) if isinstance(item, dict) else ()
        yield name, sorted({_source(source) for source in inputs})
    if rows := sorted({_source(source) for source in _objects(facet.get("dataset"))}):
        yield "*", rows


def _source(item: Mapping[str, Any]) -> str:
    ways = sorted({str(way.get("subtype") or way.get("type")) for way in _objects(item.get("transformations"))})
    return " ".join([f"dataset:{item.get('namespace')}:{item.get('name')}:{item.get('field')}", *ways])


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as one, with dots: sourceCodeLocation.version."""
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{name}.")
        elif name not in _META:
            yield prefix + name, item


def _part(facets: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = facets.get(name) or {}
    return found


def _objects(value: object) -> Iterable[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
