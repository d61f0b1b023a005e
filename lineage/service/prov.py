"""W3C PROV: runs as activities, dataset versions as entities, jobs as plans, producers as agents; written as PROV-JSON.

The form is that of the W3C member submission (https://www.w3.org/submissions/prov-json/), names are those of PROV-N.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import product
from typing import Any, NamedTuple
from urllib.parse import quote

from lineage.events import PRODUCER
from lineage.graph.nodes import Node
from lineage.service.marquez import Json, state_text, time_text
from lineage.service.occurrences import Flow, Made, Occurrence, Ran
from lineage.store import Row

_PREFIXES = {
    "prov": "http://www.w3.org/ns/prov#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "headwater": f"{PRODUCER}/prov#",
    "dataset": f"{PRODUCER}/prov/dataset/",
    "job": f"{PRODUCER}/prov/job/",
    "producer": f"{PRODUCER}/prov/producer/",
    "run": "urn:uuid:",
}


class Story(NamedTuple):
    """What is told: datasets and jobs, rows of the query graph_runs, what these runs read and wrote, when they wrote
    it, and the events that said so."""

    nodes: Sequence[Node]
    runs: Sequence[Row]
    flows: Sequence[Flow]
    written: Mapping[Flow, datetime]
    events: Sequence[Mapping[str, Any]]


def prov_document(story: Story) -> Json:
    """A PROV-JSON document; what there is nothing of is left out."""
    versions = sorted({end for flow in story.flows for end in flow if isinstance(end, Made)}, key=_id)
    datasets = {node for node in story.nodes if node.kind == "dataset"} | {item.dataset.node for item in versions}
    jobs = {node for node in story.nodes if node.kind == "job"} | {_job(row) for row in story.runs}
    producers = _producers(story.events)
    flows = sorted(story.flows, key=lambda flow: (flow[0].id, flow[1].id))
    sections: dict[str, Iterable[tuple[str, Json]]] = {
        "entity": (
            *((_node(node), _dataset(node)) for node in sorted(datasets)),
            *((_node(node), _plan(node)) for node in sorted(jobs)),
            *((_name(item), _version(item)) for item in versions if item.version is not None),
        ),
        "activity": ((f"run:{row['run_id']}", _activity(row)) for row in story.runs),
        "agent": ((_agent(uri), _software(uri)) for uri in sorted(set().union(*producers.values()))),
        "used": _numbered("used", map(_usage, (flow for flow in flows if isinstance(flow[1], Ran)))),
        "wasGeneratedBy": _numbered("gen", _generations(flows, story.written)),
        "wasDerivedFrom": _numbered("der", _derivations(flows)),
        "wasAssociatedWith": _numbered("assoc", _associations(story.runs, producers)),
        "specializationOf": _numbered("spec", map(_kinship, (item for item in versions if item.version is not None))),
    }
    told = {section: dict(items) for section, items in sections.items()}
    return {"prefix": _PREFIXES, **{section: items for section, items in told.items() if items}}


# --- names


def _local(*parts: str) -> str:
    """The local part of a qualified name: percent-encoded, and neither beginning nor ending as PROV-N forbids."""
    text = "/".join(quote(part, safe="") for part in parts)
    first = f"%{ord(text[0]):02X}" if text[0] in "-." else text[0]
    text = first + text[1:]
    return f"{text[:-1]}%2E" if text.endswith(".") else text


def _node(node: Node) -> str:
    return f"{node.kind}:{_local(node.namespace, node.name)}"


def _name(item: Occurrence) -> str:
    """A run or a version; what no version is known of stands for its dataset."""
    if isinstance(item, Ran):
        return item.id
    _, namespace, name = item.dataset.node
    return f"dataset:{_local(namespace, name)}" + (f"#{_local(item.version)}" if item.version else "")


def _agent(uri: str) -> str:
    return f"producer:{_local(uri)}"


def _id(item: Made) -> str:
    return item.id


def _numbered(word: str, relations: Iterable[Json]) -> Iterator[tuple[str, Json]]:
    """Relations with names that only the document knows."""
    return ((f"_:{word}{number}", said) for number, said in enumerate(relations, start=1))


# --- entities, activities, agents


def _kind(name: str) -> Json:
    return {"prov:type": {"$": name, "type": "prov:QUALIFIED_NAME"}}


def _named(node: Node) -> Json:
    return {"headwater:namespace": node.namespace, "headwater:name": node.name}


def _dataset(node: Node) -> Json:
    return {**_kind("headwater:Dataset"), "prov:label": node.name, **_named(node)}


def _plan(node: Node) -> Json:
    return {**_kind("prov:Plan"), "prov:label": node.name, **_named(node)}


def _version(item: Made) -> Json:
    node = item.dataset.node
    label = f"{node.name}@{item.version}"
    return {
        **_kind("headwater:DatasetVersion"),
        "prov:label": label,
        **_named(node),
        "headwater:version": item.version,
    }


def _activity(row: Row) -> Json:
    times = {"prov:startTime": time_text(row["started_at"]), "prov:endTime": time_text(row["ended_at"])}
    known = {name: time for name, time in times.items() if time}
    return {**known, **_kind("headwater:Run"), "prov:label": row["job"], "headwater:state": state_text(row)}


def _software(uri: str) -> Json:
    return {**_kind("prov:SoftwareAgent"), "prov:label": uri, "headwater:uri": {"$": uri, "type": "xsd:anyURI"}}


# --- relations


def _usage(flow: Flow) -> Json:
    return {"prov:activity": _name(flow[1]), "prov:entity": _name(flow[0])}


def _generations(flows: Iterable[Flow], written: Mapping[Flow, datetime]) -> Iterator[Json]:
    for flow in flows:
        run, made = flow
        if isinstance(made, Made):
            said = {"prov:entity": _name(made), "prov:activity": _name(run)}
            time = time_text(written.get(flow))
            yield {**said, "prov:time": time} if time else said


def _derivations(flows: Sequence[Flow]) -> Iterator[Json]:
    """What a run wrote came of what it read."""
    read: dict[Occurrence, list[Occurrence]] = {}
    wrote: dict[Occurrence, list[Occurrence]] = {}
    for origin, destination in flows:
        if isinstance(destination, Ran):
            read.setdefault(destination, []).append(origin)
        else:
            wrote.setdefault(origin, []).append(destination)
    for run, outputs in wrote.items():
        for output, source in product(outputs, read.get(run, ())):
            if output != source:
                yield {
                    "prov:generatedEntity": _name(output),
                    "prov:usedEntity": _name(source),
                    "prov:activity": _name(run),
                }


def _associations(runs: Iterable[Row], producers: Mapping[tuple[str, Node], set[str]]) -> Iterator[Json]:
    for row in runs:
        job = _job(row)
        said = {"prov:activity": f"run:{row['run_id']}", "prov:plan": _node(job)}
        for uri in sorted(producers.get((str(row["run_id"]), job), ())):
            yield {**said, "prov:agent": _agent(uri)}


def _kinship(item: Made) -> Json:
    return {"prov:specificEntity": _name(item), "prov:generalEntity": _node(item.dataset.node)}


def _job(row: Row) -> Node:
    return Node("job", row["namespace"], row["job"])


def _producers(events: Iterable[Mapping[str, Any]]) -> dict[tuple[str, Node], set[str]]:
    """By run and job who told of them."""
    found: dict[tuple[str, Node], set[str]] = {}
    for event in events:
        if "run" in event:
            job = Node("job", event["job"]["namespace"], event["job"]["name"])
            found.setdefault((event["run"]["runId"].lower(), job), set()).add(event["producer"])
    return found
