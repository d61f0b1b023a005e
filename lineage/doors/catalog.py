"""What the graph knows by name: namespaces, datasets, jobs, runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from lineage.doors.asking import Index, Name, Paged, Pool, json_answer
from lineage.graph.nodes import Node
from lineage.service import catalog
from lineage.service.marquez import Json
from lineage.service.search import search
from lineage.store import Store

_Kind = Annotated[Literal["run", "job"], Query(alias="type")]
_Filter = Annotated[Literal["DATASET", "JOB", "dataset", "job"] | None, Query(alias="filter")]
_State = Literal["NEW", "RUNNING", "COMPLETED", "FAILED", "ABORTED"]
_States = Annotated[Sequence[_State], Query(alias="lastRunStates")]

doors = APIRouter()


@doors.get("/api/v1/namespaces")
def get_namespaces(pool: Pool) -> Response:
    """Every namespace."""
    return JSONResponse(pool.use(catalog.list_namespaces))


@doors.get("/api/v1/namespaces/{namespace}/datasets")
def get_datasets(pool: Pool, index: Index, namespace: Name, page: Paged) -> Response:
    """The datasets of a namespace."""
    return json_answer(pool.use(lambda store: catalog.list_nodes(store, index, "dataset", namespace, page)))


@doors.get("/api/v1/namespaces/{namespace}/datasets/{name}")
def get_dataset(pool: Pool, index: Index, namespace: Name, name: Name) -> Response:
    """One dataset."""
    return json_answer(pool.use(lambda store: catalog.read_node(store, index, Node("dataset", namespace, name))))


@doors.get("/api/v1/namespaces/{namespace}/datasets/{name}/versions")
def get_versions(pool: Pool, index: Index, namespace: Name, name: Name, page: Paged) -> Response:
    """The versions of a dataset, newest first."""
    dataset = Node("dataset", namespace, name)
    return JSONResponse(pool.use(lambda store: catalog.list_versions(store, index, dataset, page)))


@doors.get("/api/v1/namespaces/{namespace}/datasets/{name}/versions/{version}")
def get_version(pool: Pool, index: Index, namespace: Name, name: Name, version: Name) -> Response:
    """One version of a dataset: its fields and facets as they were, and the run that wrote it."""
    dataset = Node("dataset", namespace, name)
    return JSONResponse(pool.use(lambda store: catalog.read_version(store, index, dataset, version)))


@doors.get("/api/v1/jobs")
def get_all_jobs(pool: Pool, index: Index, page: Paged, states: _States = ()) -> Response:
    """The jobs of all namespaces; or those whose latest run is in one of the states."""
    if states:
        return json_answer(pool.use(lambda store: catalog.list_jobs_by_state(store, index, None, states, page)))
    return json_answer(pool.use(lambda store: catalog.list_all_jobs(store, index, page)))


@doors.get("/api/v1/namespaces/{namespace}/jobs")
def get_jobs(pool: Pool, index: Index, namespace: Name, page: Paged, states: _States = ()) -> Response:
    """The jobs of a namespace; or those whose latest run is in one of the states."""
    if states:
        return json_answer(pool.use(lambda store: catalog.list_jobs_by_state(store, index, namespace, states, page)))
    return json_answer(pool.use(lambda store: catalog.list_nodes(store, index, "job", namespace, page)))


@doors.get("/api/v1/namespaces/{namespace}/jobs/{name}")
def get_job(pool: Pool, index: Index, namespace: Name, name: Name) -> Response:
    """One job, with its latest runs."""
    return json_answer(pool.use(lambda store: catalog.read_job(store, index, Node("job", namespace, name))))


@doors.get("/api/v1/namespaces/{namespace}/jobs/{name}/versions")
def get_job_versions(pool: Pool, index: Index, namespace: Name, name: Name, page: Paged) -> Response:
    """The versions of a job, newest first: what it read and wrote together."""
    job = Node("job", namespace, name)
    return JSONResponse(pool.use(lambda store: catalog.list_job_versions(store, index, job, page)))


@doors.get("/api/v1/namespaces/{namespace}/jobs/{name}/versions/{version}")
def get_job_version(pool: Pool, index: Index, namespace: Name, name: Name, version: Name) -> Response:
    """One version of a job."""
    job = Node("job", namespace, name)
    return JSONResponse(pool.use(lambda store: catalog.read_job_version(store, index, job, version)))


@doors.get("/api/v1/namespaces/{namespace}/jobs/{name}/runs")
def get_runs(pool: Pool, index: Index, namespace: Name, name: Name, page: Paged) -> Response:
    """The runs of a job, newest first."""
    job = Node("job", namespace, name)
    return JSONResponse(pool.use(lambda store: catalog.list_runs(store, index, job, page)))


@doors.get("/api/v1/jobs/runs/{run_id}/facets")
def get_run_facets(pool: Pool, run_id: Name, kind: _Kind = "run") -> Response:
    """The facets of a run, or of its job."""
    return JSONResponse(pool.use(lambda store: catalog.read_run_facets(store, run_id, kind)))


@doors.get("/api/v1/search")
def get_search(
    pool: Pool,
    index: Index,
    q: str,
    kind: _Filter = None,
    namespace: str | None = None,
    sort: Literal["NAME", "UPDATE_AT", "UPDATED_AT"] = "NAME",
    limit: Annotated[int, Query(ge=0, le=1_000)] = 10,
) -> Response:
    """Datasets and jobs whose name holds `q`: those called so first, then those that begin so."""
    chosen = kind.lower() if kind else None
    by_time = sort != "NAME"

    def find(store: Store) -> Json:
        return search(store, index, q, kind=chosen, namespace=namespace, by_time=by_time, limit=limit)

    return JSONResponse(pool.use(find))


@doors.get("/api/v1/jobs/runs/{run_id}")
def get_run(pool: Pool, run_id: Name) -> Response:
    """One run, with its facets."""
    return JSONResponse(pool.use(lambda store: catalog.read_run(store, run_id)))
