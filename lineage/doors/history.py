"""What happened: runs, and the versions that they read and wrote."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from lineage.doors.asking import Index, Pool, refusal
from lineage.graph.index import Direction
from lineage.graph.nodes import parse_node_id
from lineage.service.catalog import run_key
from lineage.service.differences import Around, kind_of, read_difference
from lineage.service.runs import is_run_graph_id, read_run_graph, read_upstream_runs

_RunId = Annotated[str | None, Query(alias="runId")]

doors = APIRouter()


@doors.get("/api/v1/lineage/runs")
def get_run_graph(
    pool: Pool,
    index: Index,
    run_id: _RunId = None,
    node_id: Annotated[str | None, Query(alias="nodeId")] = None,
    depth: Annotated[int, Query(ge=0, le=10_000)] = 20,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 2_000,
    direction: Direction | None = None,
) -> Response:
    """The graph of runs and dataset versions around a run or a version.

    A dataset stands for its newest version, a job for its latest run.
    """
    if (run_id is None) == (node_id is None):
        return refusal(400, "Ask with runId or with nodeId, and not with both.")
    asked = node_id if node_id is not None else f"run:{run_id}"
    if not is_run_graph_id(asked):
        return refusal(
            400, f"{asked!r} is not run:UUID, dataset:NAMESPACE:NAME#VERSION, dataset:NAMESPACE:NAME or job:…."
        )
    return JSONResponse(
        pool.use(lambda store: read_run_graph(store, index, asked, depth=depth, limit=limit, direction=direction))
    )


@doors.get("/api/v1/runlineage/upstream")
def get_upstream_runs(
    pool: Pool,
    index: Index,
    run_id: Annotated[str, Query(alias="runId")],
    depth: Annotated[int, Query(ge=0, le=10_000)] = 20,
) -> Response:
    """A run and those that wrote what it read, each with its inputs, as Marquez lists them."""
    if run_key(run_id) is None:
        return refusal(400, f"runId {run_id!r} is not a UUID.")
    return JSONResponse(pool.use(lambda store: read_upstream_runs(store, index, run_id, depth=depth)))


@doors.get("/api/v1/diff")
def get_diff(
    pool: Pool,
    index: Index,
    a: Annotated[str, Query(alias="from")],
    b: Annotated[str, Query(alias="to")],
    node_id: Annotated[str | None, Query(alias="nodeId")] = None,
    depth: Annotated[int, Query(ge=0, le=10_000)] = 20,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 2_000,
) -> Response:
    """What came, went and changed between two runs, two versions of datasets, or two times around a node."""
    kinds = [kind_of(text) for text in (a, b)]
    if None in kinds or kinds[0] != kinds[1]:
        return refusal(
            400,
            f"{a!r} and {b!r} cannot be compared; write two of run:UUID, of dataset:NAMESPACE:NAME#VERSION, or of "
            "times such as 2013-03-01T12:00:00Z.",
        )
    around = Around(parse_node_id(node_id), depth, limit) if node_id else None
    if (kinds[0] == "time") != bool(around and around.candidates):
        return refusal(400, "Two times need a nodeId, dataset:NAMESPACE:NAME or job:…; runs and versions take none.")
    return JSONResponse(pool.use(lambda store: read_difference(store, index, a, b, around)))
