"""A part of the graph, to be taken elsewhere."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from lineage.doors.asking import Index, Pool, Time, refusal
from lineage.graph.index import Direction
from lineage.service.exports import Asked, read_events, read_prov
from lineage.service.runs import is_run_graph_id

doors = APIRouter()

_READ = {"openlineage": read_events, "prov": read_prov}


@doors.get("/api/v1/export")
def get_export(
    pool: Pool,
    index: Index,
    node_id: Annotated[str, Query(alias="nodeId")],
    form: Annotated[Literal["openlineage", "prov"], Query(alias="format")] = "openlineage",
    depth: Annotated[int, Query(ge=0, le=10_000)] = 20,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 2_000,
    direction: Direction | None = None,
    as_of: Annotated[Time, Query(alias="asOf")] = None,
) -> Response:
    """The graph around a node as the OpenLineage events that draw it, a list for the batch door; or as W3C PROV-JSON.

    Of a dataset or job, the part that `/lineage` answers; of a run or version, that of `/lineage/runs`. The header
    `X-Headwater-Partial: true` says that `limit` left nodes out.
    """
    if not is_run_graph_id(node_id):
        return refusal(
            400, f"nodeId {node_id!r} is not dataset:NAMESPACE:NAME, …#VERSION, job:NAMESPACE:NAME or run:UUID."
        )
    asked = Asked(node_id, depth, limit, direction, as_of)
    found, is_partial = pool.use(lambda store: _READ[form](store, index, asked))
    return JSONResponse(found, headers={"X-Headwater-Partial": "true"} if is_partial else None)
