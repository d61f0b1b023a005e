"""The graph around a node, or all of it."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import BeforeValidator

from lineage.doors.asking import ColumnLineage, Index, Pool, Time, json_answer, refusal
from lineage.graph.index import Direction
from lineage.graph.nodes import parse_node_id
from lineage.service import graph
from lineage.service.columns import Asked, candidates, read_column_lineage
from lineage.service.past import read_lineage_as_of
from lineage.store import Store


def _one_kind(text: str) -> str | None:
    """dataset or job; nothing where both are named."""
    kinds = {kind.strip().lower() for kind in text.split(",")}
    if not kinds <= {"dataset", "job"}:
        raise ValueError("write DATASET, JOB or both with a comma between")
    return kinds.pop() if len(kinds) == 1 else None


_Types = Annotated[str | None, BeforeValidator(_one_kind)]

doors = APIRouter()


@doors.get("/api/v1/lineage")
def get_lineage(
    pool: Pool,
    index: Index,
    node_id: Annotated[str | None, Query(alias="nodeId")] = None,
    depth: Annotated[int, Query(ge=0, le=10_000)] = 20,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 2_000,
    direction: Direction | None = None,
    as_of: Annotated[Time, Query(alias="asOf")] = None,
    types: _Types = None,
) -> Response:
    """The graph within `depth` edges of a node, today or as it was; or all of it.

    `types=DATASET` leaves the jobs out and joins datasets directly, `types=JOB` the other way round.
    Without `direction` everything connected, as Marquez answers; `both` means all ancestors and all descendants.
    """
    if node_id is None:
        return json_answer(pool.use(lambda store: graph.read_graph(store, index, limit=limit)))
    if not (nodes := parse_node_id(node_id)):
        return refusal(400, f"nodeId {node_id!r} is not dataset:NAMESPACE:NAME or job:NAMESPACE:NAME.")

    if types and as_of:
        return refusal(400, "types tells the graph of today; leave types or asOf out.")

    def read(store: Store) -> bytes:
        if as_of:
            return read_lineage_as_of(store, index, nodes, as_of, depth=depth, limit=limit, direction=direction)
        return graph.read_lineage(store, index, nodes, depth=depth, limit=limit, direction=direction, kind=types)

    return json_answer(pool.use(read))


@doors.get("/api/v1/column-lineage")
def get_column_lineage(
    pool: Pool,
    index: Index,
    columns: ColumnLineage,
    node_id: Annotated[str, Query(alias="nodeId")],
    depth: Annotated[int, Query(ge=0, le=10_000)] = 20,
    downstream: Annotated[bool, Query(alias="withDownstream")] = False,
    indirect: bool = True,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 2_000,
) -> Response:
    """The columns that feed a column (datasetField:), a dataset's or a job's, and `withDownstream` those they feed.

    `indirect=false` leaves out what only decides about values: filters, keys, orders.
    """
    if not candidates(node_id):
        return refusal(400, f"nodeId {node_id!r} is not datasetField:NAMESPACE:DATASET:FIELD, dataset:… or job:….")
    asked = Asked(node_id, depth, downstream, indirect, limit)
    return json_answer(orjson.dumps(pool.use(lambda store: read_column_lineage(store, index, columns, asked))))
