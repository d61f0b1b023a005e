"""Marquez's older doors: datasets, jobs, runs and their states, declared one by one. Each is kept as an event."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from concurrent.futures import Future
from functools import partial
from typing import Annotated, Literal
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from lineage.doors.asking import Index, Name, Pool, Said, Time, Writer, json_answer
from lineage.graph.nodes import Node
from lineage.service import catalog, declared, labels
from lineage.service.intake import EventError, find_fault

_Text = Annotated[str, Field(min_length=1)]

doors = APIRouter()


class _Field(Said):
    name: _Text
    type: str | None = None
    description: str | None = None
    tags: tuple[_Text, ...] = ()


class _Dataset(Said):
    type: Literal["DB_TABLE", "STREAM"]
    physical_name: _Text
    source_name: _Text
    schema_location: str | None = None
    fields: tuple[_Field, ...] = ()
    tags: tuple[_Text, ...] = ()
    description: str | None = None
    run_id: UUID | None = None


class _DatasetId(Said):
    namespace: _Text
    name: _Text


class _Job(Said):
    type: Literal["BATCH", "STREAM", "SERVICE"] = "BATCH"
    inputs: tuple[_DatasetId, ...] = ()
    outputs: tuple[_DatasetId, ...] = ()
    location: str | None = None
    description: str | None = None
    context: dict[str, str] | None = None
    run_id: UUID | None = None


class _Run(Said):
    id: UUID | None = None
    nominal_start_time: Time = None
    nominal_end_time: Time = None
    args: Annotated[dict[str, str], Field(default_factory=dict)]


@doors.put("/api/v1/namespaces/{namespace}/datasets/{name}")
def put_dataset(pool: Pool, index: Index, writer: Writer, namespace: Name, name: Name, said: _Dataset) -> Response:
    """Declare a dataset: its schema, its source; with `runId`, as that run's output."""
    node = Node("dataset", namespace, name)
    source = pool.use(lambda store: store.row("sources", name=said.source_name, limit=1, offset=0))
    declaration = declared.DatasetDeclaration(
        said.type,
        said.source_name,
        source["url"] if source else "",
        said.physical_name,
        said.schema_location,
        said.description,
        [field.model_dump(exclude={"tags"}) for field in said.fields],
    )
    if said.run_id is None:
        event = declared.dataset_event(node, declaration)
    else:
        event = declared.written_event(said.run_id, _job_of(pool, said.run_id), node, declaration)
    _keep(writer, event).result()
    for field, tags in (("", said.tags), *((field.name, field.tags) for field in said.fields)):
        for tag in tags:
            pool.use(partial(labels.tag, index=index, node=node, name=tag, field=field))
    return json_answer(pool.use(lambda store: catalog.read_node(store, index, node)))


@doors.put("/api/v1/namespaces/{namespace}/jobs/{name}")
def put_job(pool: Pool, index: Index, writer: Writer, namespace: Name, name: Name, said: _Job) -> Response:
    """Declare a job: what it reads and writes, where its code stands; with `runId`, also that this run does."""
    node = Node("job", namespace, name)
    declaration = declared.JobDeclaration(
        said.type, _datasets(said.inputs), _datasets(said.outputs), said.location, said.description, said.context
    )
    _keep(writer, declared.job_event(node, declaration)).result()
    if said.run_id:
        _keep(writer, declared.read_and_written_event(said.run_id, node, declaration)).result()
    return json_answer(pool.use(lambda store: catalog.read_job(store, index, node)))


@doors.post("/api/v1/namespaces/{namespace}/jobs/{name}/runs")
def post_run(
    pool: Pool, index: Index, writer: Writer, namespace: Name, name: Name, said: _Run | None = None
) -> Response:
    """Declare a run of a job, which has not begun; 201 with where it stands."""
    job, run = Node("job", namespace, name), said or _Run(args={})
    pool.use(lambda store: catalog.read_node(store, index, job))
    key = run.id or uuid.uuid4()
    nominal = tuple(time.isoformat() if time else None for time in (run.nominal_start_time, run.nominal_end_time))
    _keep(writer, declared.new_run_event(key, job, nominal=(nominal[0], nominal[1]), arguments=run.args)).result()
    answer = pool.use(lambda store: catalog.read_run(store, str(key)))
    return JSONResponse(answer, 201, {"Location": f"/api/v1/jobs/runs/{quote(str(key))}"})


@doors.post("/api/v1/jobs/runs/{run_id}/{transition}")
def post_state(
    pool: Pool,
    writer: Writer,
    run_id: Name,
    transition: declared.Transition,
    at: Time = None,
) -> Response:
    """Take a run to its next state, now or as of `at`."""
    job = _job_of(pool, run_id)
    _keep(writer, declared.state_event(UUID(run_id), job, transition, at)).result()
    return JSONResponse(pool.use(lambda store: catalog.read_run(store, run_id)))


def _keep(writer: Writer, event: declared.Event) -> Future[None]:
    if fault := find_fault(event):
        raise EventError(fault)
    return writer.send([event])


def _job_of(pool: Pool, run: UUID | str) -> Node:
    job = pool.use(lambda store: catalog.read_run(store, str(run)))["job"]
    return Node("job", job["namespace"], job["name"])


def _datasets(ids: Iterable[_DatasetId]) -> list[Node]:
    return [Node("dataset", item.namespace, item.name) for item in ids]
