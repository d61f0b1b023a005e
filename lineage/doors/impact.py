"""What rests on a thing."""

from __future__ import annotations

import csv
from io import StringIO
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from lineage.doors.asking import Configured, Index, Paged, Pool, refusal
from lineage.service.impact import Reach, impact_rows, read_impact
from lineage.service.runs import is_run_graph_id

doors = APIRouter()


@doors.get("/api/v1/impact")
def get_impact(
    request: Request,
    pool: Pool,
    index: Index,
    settings: Configured,
    page: Paged,
    node_id: Annotated[str, Query(alias="nodeId")],
    depth: Annotated[int, Query(ge=0, le=10_000)] = 10_000,
    form: Annotated[Literal["json", "csv"] | None, Query(alias="format")] = None,
) -> Response:
    """Everything downstream of a dataset, version, job or run, with models, deployments and counts of predictions.

    `limit` and `offset` page the ids of predictions. As CSV for spreadsheets, asked for by `format` or by Accept.
    """
    if not is_run_graph_id(node_id):
        return refusal(
            400, f"nodeId {node_id!r} is not dataset:NAMESPACE:NAME, …#VERSION, job:NAMESPACE:NAME or run:UUID."
        )
    reach = Reach(depth, 10_000, page.limit, page.offset)
    found = pool.use(lambda store: read_impact(store, index, settings, node_id, reach))
    if form == "csv" or (form is None and "text/csv" in request.headers.get("accept", "")):
        text = StringIO()
        csv.writer(text, lineterminator="\n").writerows(impact_rows(found))
        return Response(text.getvalue(), media_type="text/csv")
    return JSONResponse(found)
