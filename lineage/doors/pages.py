"""Pages: the graph, traces, Data Docs; and whether the service is well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

from lineage.doors.asking import Name, Pool
from lineage.errors import NotFoundError
from lineage.service import docs
from lineage.service.pool import StorePool
from lineage.store import Store

UI = Path(__file__).parent.parent / "ui"

doors = APIRouter(include_in_schema=False)


@doors.get("/docs")
@doors.get("/docs/")
def get_docs(pool: Pool) -> Response:
    """Data Docs: what suites found last, failures first."""
    return _docs_page(pool, docs.index_page)


@doors.get("/docs/validations/{pipeline}/{table}")
def get_dataset_docs(pool: Pool, pipeline: Name, table: Name) -> Response:
    """The results of one dataset, newest first."""
    return _docs_page(pool, lambda store: docs.dataset_page(store, f"{pipeline}/{table}"))


@doors.get("/docs/validations/{pipeline}/{table}/{partition}/{version}")
def get_result_docs(
    pool: Pool, pipeline: Name, table: Name, partition: Name, version: Name, run: str | None = None
) -> Response:
    """What a suite found on one version (a beginning of its sha256 does), in the newest run or the one named."""
    return _docs_page(pool, lambda store: docs.result_page(store, f"{pipeline}/{table}", partition, version, run))


@doors.get("/docs/expectations/{pipeline}/{suite}")
def get_suite_docs(pool: Pool, pipeline: Name, suite: Name) -> Response:
    """What a suite expects."""
    return _docs_page(pool, lambda store: docs.suite_page(store, pipeline, suite))


def _docs_page(pool: StorePool, draw: Callable[[Store], str]) -> Response:
    try:
        return HTMLResponse(pool.use(draw))
    except NotFoundError as error:
        return HTMLResponse(docs.missing_page(error), 404)


@doors.get("/health")
def get_health(pool: Pool) -> Response:
    """Whether events can be kept."""
    pool.use(lambda store: store.row("ping"))
    return JSONResponse({"status": "ok"})


@doors.get("/")
def get_page() -> Response:
    """The page that draws the graph."""
    return FileResponse(UI / "index.html")


@doors.get("/trace")
@doors.get("/trace/")
@doors.get("/trace/{name}")
def get_trace_page() -> Response:
    """The page that tells where one prediction comes from."""
    return FileResponse(UI / "trace.html")
