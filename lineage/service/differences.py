"""What is different between two runs, two versions of datasets, or the graph at two times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from lineage.changes import compare
from lineage.graph.index import GraphIndex
from lineage.graph.nodes import Node
from lineage.service.intake import parse_time
from lineage.service.marquez import Json
from lineage.service.occurrences import Made, Occurrences, Ran
from lineage.service.past import walk_as_of
from lineage.service.runs import find_occurrence, is_run_graph_id
from lineage.service.snapshots import Snapshot, take_snapshot
from lineage.store import Store


@dataclass(frozen=True)
class Around:
    """Which part of the graph two times are compared in."""

    candidates: Sequence[Node]
    depth: int
    limit: int


def kind_of(text: str) -> str | None:
    """Whether this names a `run`, a `version` or a `time`; None if nothing that can be compared."""
    if parse_time(text):
        return "time"
    if not is_run_graph_id(text) or text.startswith("job:"):
        return None
    return "run" if text.startswith("run:") else "version"


def read_difference(store: Store, index: GraphIndex, a: str, b: str, around: Around | None = None) -> Json:
    """What came, went and changed from `a` to `b`, which are of one kind; times need `around`. Raises NotFoundError.

    Keys: kind, from, to, same, differs (names of the sections that are not the same), isPartial, and the sections
    nodes, edges, schema, columns, code and rows, each with same, changed ([before, after]), added and gone.
    """
    with index:
        index.refresh(store)
        history = Occurrences(store, index)
        sides = [_side(store, index, history, text, around) for text in (a, b)]
    (one, less), (other, lesser) = sides
    before, after = asdict(one), asdict(other)
    sections = {name: compare(before[name], after[name]) for name in before}
    for name in ("added", "gone"):
        pairs = sorted(sections["edges"][name])
        sections["edges"][name] = [{"origin": origin, "destination": destination} for origin, destination in pairs]
    differs = [name for name, section in sections.items() if not section["same"]]
    head = {"kind": kind_of(a), "from": a, "to": b, "same": not differs, "differs": differs}
    return {**head, "isPartial": less or lesser, **sections}


def _side(
    store: Store, index: GraphIndex, history: Occurrences, text: str, around: Around | None
) -> tuple[Snapshot, bool]:
    if around and (time := parse_time(text)):
        return _as_of(store, index, history, time, around)
    node = find_occurrence(store, index, history, text)
    if isinstance(node, Ran):
        return take_snapshot(store, index, history, [node]), False
    return _of_version(store, index, history, node), False


def _of_version(store: Store, index: GraphIndex, history: Occurrences, version: Made) -> Snapshot:
    """A version by the run that wrote it first; of one that nobody wrote only that it is there."""
    (told,) = history.histories([version.dataset])
    writer = told.first_writer(version.version)
    found = take_snapshot(store, index, history, [writer] if writer else [], version.dataset)
    found.nodes[version.dataset.node.id] = [version.version] if version.version else []
    return found


def _as_of(
    store: Store, index: GraphIndex, history: Occurrences, time: datetime, around: Around
) -> tuple[Snapshot, bool]:
    entries, _, is_partial = walk_as_of(
        store, index, around.candidates, time, depth=around.depth, limit=around.limit, direction=None
    )
    jobs = [entry.keys[0] for entry in entries if entry.node.kind == "job"]
    runs = [Ran(row["run_id"]) for row in store.rows("speakers_as_of", jobs=jobs, time=time)]
    found = take_snapshot(store, index, history, runs)
    # Runs at the rim name datasets that are further away.
    ids = {entry.node.id for entry in entries}
    found.nodes = {entry: found.nodes.get(entry) for entry in ids}
    found.edges = {edge: None for edge in found.edges if ids.issuperset(edge)}
    return found, is_partial
