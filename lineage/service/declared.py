"""What clients of Marquez's older doors declare, as the OpenLineage events that say the same.

So a declaration is kept, ordered and drawn as every event is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from lineage.events import PRODUCER
from lineage.graph.nodes import Node

Event = dict[str, Any]

_SPEC = "https://openlineage.io/spec"
# The versions of the facets that are written here.
_VERSIONS = {
    "DatasourceDatasetFacet": "1-0-1",
    "DatasetTypeDatasetFacet": "1-0-1",
    "DocumentationDatasetFacet": "1-1-0",
    "DocumentationJobFacet": "1-1-0",
    "ExecutionParametersRunFacet": "1-0-0",
    "JobTypeJobFacet": "2-0-4",
    "NominalTimeRunFacet": "1-0-1",
    "SchemaDatasetFacet": "1-2-0",
    "SourceCodeLocationJobFacet": "1-1-0",
}
# What a run does to come to a state, as paths of Marquez's doors name it.
Transition = Literal["start", "complete", "fail", "abort"]


@dataclass(frozen=True)
class DatasetDeclaration:
    """A dataset as `PUT /namespaces/{ns}/datasets/{name}` describes it; `fields` have name, type and description."""

    kind: str
    source: str
    source_url: str
    physical_name: str
    schema_location: str | None = None
    description: str | None = None
    fields: Sequence[Mapping[str, Any]] = field(default=())


@dataclass(frozen=True)
class JobDeclaration:
    """A job as `PUT /namespaces/{ns}/jobs/{name}` describes it."""

    kind: str
    inputs: Sequence[Node]
    outputs: Sequence[Node]
    location: str | None = None
    description: str | None = None
    context: Mapping[str, str] | None = None


def dataset_event(dataset: Node, said: DatasetDeclaration) -> Event:
    """A DatasetEvent of now that says what the dataset is."""
    return _event("DatasetEvent", _now(), dataset={**_named(dataset), "facets": _dataset_facets(said)})


def written_event(run: UUID, job: Node, dataset: Node, said: DatasetDeclaration) -> Event:
    """A RunEvent of now that says the same of a dataset, and that the run writes it."""
    return _run_event(run, job, "OTHER", _now(), outputs=[{**_named(dataset), "facets": _dataset_facets(said)}])


def node_event(node: Node, facets: Event, time: str) -> Event:
    """A DatasetEvent or JobEvent of a time that says that a node is there, with these facets."""
    kind = "JobEvent" if node.kind == "job" else "DatasetEvent"
    return _event(kind, time, **{node.kind: {**_named(node), "facets": facets}})


def job_event(job: Node, said: JobDeclaration) -> Event:
    """A JobEvent of now that says what the job is, reads and writes."""
    return _event("JobEvent", _now(), job={**_named(job), "facets": _job_facets(said)}, **_ends(said))


def read_and_written_event(run: UUID, job: Node, said: JobDeclaration) -> Event:
    """A RunEvent of now that says a run reads and writes what its job does."""
    return _run_event(run, job, "OTHER", _now(), **_ends(said))


def new_run_event(
    run: UUID, job: Node, *, nominal: tuple[str | None, str | None], arguments: Mapping[str, str]
) -> Event:
    """A RunEvent of now that says there is a run, which has not begun; `nominal`: from when to when it is for."""
    facets: dict[str, Any] = {}
    start, end = nominal
    if start:
        until = {"nominalEndTime": end} if end else {}
        facets["nominalTime"] = _facet("NominalTimeRunFacet", nominalStartTime=start, **until)
    if arguments:
        given = [{"key": name, "value": value} for name, value in arguments.items()]
        facets["executionParameters"] = _facet("ExecutionParametersRunFacet", parameters=given)
    return _run_event(run, job, "OTHER", _now(), facets=facets)


def state_event(run: UUID, job: Node, transition: Transition, time: datetime | None) -> Event:
    """A RunEvent that takes a run to its next state, now if there is no `time`."""
    return _run_event(run, job, transition.upper(), time.astimezone(UTC).isoformat() if time else _now())


def _run_event(run: UUID, job: Node, state: str, time: str, *, facets: Event | None = None, **ends: Any) -> Event:
    said = {"runId": str(run), "facets": facets or {}}
    return _event("RunEvent", time, eventType=state, run=said, job=_named(job), **ends)


def _event(kind: str, time: str, **said: Any) -> Event:
    return {
        "eventTime": time,
        "producer": PRODUCER,
        "schemaURL": f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/{kind}",
        **said,
    }


def _facet(kind: str, **said: Any) -> Event:
    url = f"{_SPEC}/facets/{_VERSIONS[kind]}/{kind}.json#/$defs/{kind}"
    return {"_producer": PRODUCER, "_schemaURL": url, **said}


def _own_facet(base: str, **said: Any) -> Event:
    return {"_producer": PRODUCER, "_schemaURL": f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/{base}", **said}


def _dataset_facets(said: DatasetDeclaration) -> Event:
    fields = [{name: value for name, value in item.items() if value is not None} for item in said.fields]
    kind = "STREAM" if said.kind == "STREAM" else "TABLE"
    place = {"uri": said.source_url} if said.source_url else {}
    own = {"physicalName": said.physical_name, "schemaLocation": said.schema_location}
    return {
        "schema": _facet("SchemaDatasetFacet", fields=fields),
        "dataSource": _facet("DatasourceDatasetFacet", name=said.source, **place),
        "datasetType": _facet("DatasetTypeDatasetFacet", datasetType=kind),
        **_documentation("DocumentationDatasetFacet", said.description),
        # What the spec has no facet for.
        "headwater_dataset": _own_facet("DatasetFacet", **own),
    }


def _job_facets(said: JobDeclaration) -> Event:
    processing = "STREAMING" if said.kind == "STREAM" else said.kind
    facets = {"jobType": _facet("JobTypeJobFacet", processingType=processing, integration="HEADWATER")}
    if said.location:
        facets["sourceCodeLocation"] = _facet("SourceCodeLocationJobFacet", type="url", url=said.location)
    if said.context:
        facets["headwater_context"] = _own_facet("JobFacet", context=dict(said.context))
    return {**facets, **_documentation("DocumentationJobFacet", said.description)}


def _documentation(kind: str, description: str | None) -> Event:
    return {} if description is None else {"documentation": _facet(kind, description=description)}


def _ends(said: JobDeclaration) -> dict[str, Any]:
    return {"inputs": [_named(node) for node in said.inputs], "outputs": [_named(node) for node in said.outputs]}


def _named(node: Node) -> Event:
    return {"namespace": node.namespace, "name": node.name}


def _now() -> str:
    return datetime.now(UTC).isoformat()
