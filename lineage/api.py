"""The lineage service: OpenLineage events in, the graph out in Marquez's shapes, traces, and pages that draw both.

A door: it translates HTTP to and from `lineage.projection` and the modules of `lineage.service`. The only module of
`lineage` that knows a web framework.
"""

from __future__ import annotations

import asyncio
import os
from asyncio import wrap_future
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

import psycopg
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import AfterValidator, BeforeValidator
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lineage.errors import DatabaseError, HeadwaterError, NotFoundError
from lineage.graph.index import Direction, GraphIndex
from lineage.graph.nodes import Node, parse_node_id
from lineage.projection import draw_backlog, receive_events
from lineage.relay import Relay
from lineage.service import catalog, docs, graph
from lineage.service.answers import RecordPage, TraceAnswers
from lineage.service.intake import MOST_BYTES, EventError, EventTooLargeError, find_fault, parse_time, read_json
from lineage.service.pool import StorePool
from lineage.service.writer import EventWriter
from lineage.settings import Settings
from lineage.store import Store

_UI = Path(__file__).parent / "ui"
# The page needs nothing from elsewhere, and names that come from events must not become scripts.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def create_app(settings: Settings, environ: Mapping[str, str] | None = None) -> FastAPI:
    """The service of one project. While it runs it also relays events to OPENLINEAGE_URL, if that is set.

    `environ` (the process's own by default) may name OPENLINEAGE_API_KEY, the relay's bearer token. Raises
    SettingsError if either is malformed.
    """
    env = os.environ if environ is None else environ
    relay = None
    if settings.openlineage_url:
        relay = Relay(settings, settings.openlineage_url, api_key=env.get("OPENLINEAGE_API_KEY") or None)
    app = FastAPI(title="Headwater lineage", lifespan=_lifespan(relay), docs_url=None, redoc_url=None)
    app.state.pool = StorePool(settings)
    app.state.index = GraphIndex()
    app.state.traces = TraceAnswers(settings)
    app.router.redirect_slashes = False
    app.include_router(_doors)
    app.mount("/ui", StaticFiles(directory=_UI))
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)
    app.add_middleware(_Gate)
    return app


def _lifespan(relay: Relay | None) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if relay:
            relay.start()
        app.state.writer = EventWriter(app.state.pool, receive_events)
        drawing = asyncio.create_task(_draw_backlog(app.state.pool))
        yield
        drawing.cancel()
        await run_in_threadpool(app.state.writer.close)
        if relay:
            await run_in_threadpool(relay.stop)
        await run_in_threadpool(app.state.traces.close)
        await run_in_threadpool(app.state.pool.close)

    return lifespan


async def _draw_backlog(pool: StorePool) -> None:
    """Draw the events that an older release kept, once the database is there."""
    while True:
        try:
            await run_in_threadpool(pool.use, draw_backlog)
            return
        except DatabaseError:
            await asyncio.sleep(5)


class _Gate:
    """What every request passes: names stay percent-encoded in the path, other sites' pages are turned away."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        # Decoded, a slash inside a name would look like one between names.
        scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
        app = self._app if _is_own_page(scope) else _error(403, "Pages of other sites may not ask here.")
        await app(scope, receive, send_with_headers)


def _is_own_page(scope: Scope) -> bool:
    """Whether a page of ours sent this, or no browser at all: only browsers send an Origin."""
    headers = dict(scope["headers"])
    origin = headers.get(b"origin")
    return origin is None or urlsplit(origin).netloc == headers.get(b"host")


def _error(status: int, message: str, **more: Any) -> JSONResponse:
    return JSONResponse({"error": message, **more}, status)


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _unavailable(_: Request, error: Exception) -> Response:
    response = _error(503, str(error))
    response.headers["Retry-After"] = "1"
    return response


def _out_of_spec(_: Request, error: Any) -> Response:
    status = 413 if isinstance(error, EventTooLargeError) else 400
    return _error(status, str(error), path=error.fault.path, reason=error.fault.reason)


def _bad_parameter(_: Request, error: Any) -> Response:
    first = error.errors()[0]
    return _error(400, f"Parameter {first['loc'][-1]}: {first['msg']}.")


_ANSWERS: dict[type[Exception], Callable[[Request, Any], Response]] = {
    NotFoundError: lambda _, error: _error(404, str(error), candidates=list(error.candidates)),
    DatabaseError: _unavailable,
    HeadwaterError: lambda _, error: _error(500, str(error)),
    EventError: _out_of_spec,
    RequestValidationError: _bad_parameter,
    psycopg.DataError: lambda _, error: _error(400, f"The database cannot keep this: {error}"),
    HTTPException: lambda _, error: _error(error.status_code, error.detail),
}

_doors = APIRouter()


async def _pool(request: Request) -> StorePool:
    pool: StorePool = request.app.state.pool
    return pool


async def _index(request: Request) -> GraphIndex:
    index: GraphIndex = request.app.state.index
    return index


async def _writer(request: Request) -> EventWriter:
    writer: EventWriter = request.app.state.writer
    return writer


async def _traces(request: Request) -> TraceAnswers:
    traces: TraceAnswers = request.app.state.traces
    return traces


async def _sent(request: Request) -> tuple[bytes, str]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise EventTooLargeError
    return bytes(body), request.headers.get("content-encoding", "")


def _time(text: str) -> datetime:
    if time := parse_time(text):
        return time
    raise ValueError("write it as an RFC 3339 time with a zone, such as 2013-03-01T12:00:00Z")


async def _page(
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100, offset: Annotated[int, Query(ge=0, lt=2**63)] = 0
) -> catalog.Page:
    return catalog.Page(limit, offset)


_Pool = Annotated[StorePool, Depends(_pool)]
_Index = Annotated[GraphIndex, Depends(_index)]
_Writer = Annotated[EventWriter, Depends(_writer)]
_Traces = Annotated[TraceAnswers, Depends(_traces)]
_Sent = Annotated[tuple[bytes, str], Depends(_sent)]
_Page = Annotated[catalog.Page, Depends(_page)]
_Name = Annotated[str, AfterValidator(unquote)]
_Time = Annotated[datetime | None, BeforeValidator(_time)]
_Sort = Annotated[Literal["asc", "desc"], BeforeValidator(str.lower), Query(alias="sortDirection")]


@_doors.post("/api/v1/lineage", status_code=201)
async def post_event(sent: _Sent, writer: _Writer) -> Response:
    """Keep one OpenLineage event; the answer comes when it is durable."""
    body = read_json(*sent)
    if fault := find_fault(body.value, plain=body.plain):
        raise EventError(fault)
    await wrap_future(writer.send([body.value]))
    return Response(status_code=201)


@_doors.post("/api/v1/lineage/batch")
def post_batch(sent: _Sent, writer: _Writer) -> Response:
    """Keep the events of a list that are in spec, and say which are not."""
    body = read_json(*sent)
    events = body.value
    if not isinstance(events, list):
        return _error(400, "A batch is a JSON list of events.", path="$", reason="is not a list")
    faults = {index: fault for index, event in enumerate(events) if (fault := find_fault(event, plain=body.plain))}
    good = [event for index, event in enumerate(events) if index not in faults]
    writer.send(good).result()
    failed = [{"index": index, "reason": str(fault), "retriable": False} for index, fault in faults.items()]
    summary = {
        "received": len(events),
        "successful": len(good),
        "failed": len(failed),
        "retriable": 0,
        "non_retriable": len(failed),
    }
    status = "partial_success" if failed else "success"
    return JSONResponse({"status": status, "summary": summary, "failed_events": failed})


@_doors.get("/api/v1/lineage")
def get_lineage(
    pool: _Pool,
    index: _Index,
    node_id: Annotated[str | None, Query(alias="nodeId")] = None,
    depth: Annotated[int, Query(ge=0, le=10_000)] = 20,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 2_000,
    direction: Direction | None = None,
) -> Response:
    """The graph within `depth` edges of a node, or all of it."""
    if node_id is None:
        return _json(pool.use(lambda store: graph.read_graph(store, index, limit=limit)))
    if not (candidates := parse_node_id(node_id)):
        return _error(400, f"nodeId {node_id!r} is not dataset:NAMESPACE:NAME or job:NAMESPACE:NAME.")

    def read(store: Store) -> bytes:
        return graph.read_lineage(store, index, candidates, depth=depth, limit=limit, direction=direction)

    return _json(pool.use(read))


@_doors.get("/api/v1/events/lineage")
def get_events(pool: _Pool, page: _Page, before: _Time = None, after: _Time = None, sort: _Sort = "desc") -> Response:
    """The events, newest first unless asked otherwise."""
    return JSONResponse(pool.use(lambda store: catalog.list_events(store, page, after=after, before=before, sort=sort)))


@_doors.get("/api/v1/namespaces")
def get_namespaces(pool: _Pool) -> Response:
    """Every namespace."""
    return JSONResponse(pool.use(catalog.list_namespaces))


@_doors.get("/api/v1/namespaces/{namespace}/datasets")
def get_datasets(pool: _Pool, index: _Index, namespace: _Name, page: _Page) -> Response:
    """The datasets of a namespace."""
    return _json(pool.use(lambda store: catalog.list_nodes(store, index, "dataset", namespace, page)))


@_doors.get("/api/v1/namespaces/{namespace}/datasets/{name}")
def get_dataset(pool: _Pool, index: _Index, namespace: _Name, name: _Name) -> Response:
    """One dataset."""
    return _json(pool.use(lambda store: catalog.read_node(store, index, Node("dataset", namespace, name))))


@_doors.get("/api/v1/namespaces/{namespace}/jobs")
def get_jobs(pool: _Pool, index: _Index, namespace: _Name, page: _Page) -> Response:
    """The jobs of a namespace."""
    return _json(pool.use(lambda store: catalog.list_nodes(store, index, "job", namespace, page)))


@_doors.get("/api/v1/namespaces/{namespace}/jobs/{name}")
def get_job(pool: _Pool, index: _Index, namespace: _Name, name: _Name) -> Response:
    """One job, with its latest run."""
    return _json(pool.use(lambda store: catalog.read_node(store, index, Node("job", namespace, name))))


@_doors.get("/api/v1/jobs/runs/{run_id}")
def get_run(pool: _Pool, run_id: _Name) -> Response:
    """One run, with its facets."""
    return JSONResponse(pool.use(lambda store: catalog.read_run(store, run_id)))


@_doors.get("/api/v1/traces/{name}")
def get_trace(traces: _Traces, name: _Name, feature: str | None = None) -> Response:
    """Where a prediction, or a row (`flights.features[2013-11]:1000`), or one feature of it comes from."""
    return Response(traces.trace(name, feature=feature), media_type="application/json")


@_doors.get("/api/v1/traces/{name}/records")
def get_records(
    traces: _Traces, page: _Page, name: _Name, source: str, partition: str = "", feature: str | None = None
) -> Response:
    """Records of one source file behind it, verbatim."""
    wanted = RecordPage(source, partition, page.offset, page.limit)
    return Response(traces.records(name, wanted, feature=feature), media_type="application/json")


@_doors.get("/api/v1/where")
def get_where(traces: _Traces, page: _Page, row: str) -> Response:
    """What one row (`flights/departures[2013-01]:826`) reached, and what dropped it where it reached nothing."""
    return Response(traces.where(row, page.limit, page.offset), media_type="application/json")


@_doors.get("/api/v1/exclusions")
def get_exclusions(traces: _Traces, dataset: str, partition: str = "", version: str = "current") -> Response:
    """What became of the rows that went into a partition of a table: how many reached it, and why others did not."""
    name = f"{dataset}[{partition}]@{version}" if partition else f"{dataset}@{version}"
    return Response(traces.exclusions(name), media_type="application/json")


@_doors.get("/docs")
@_doors.get("/docs/")
def get_docs(pool: _Pool) -> Response:
    """Data Docs: what suites found last, failures first."""
    return _docs_page(pool, docs.index_page)


@_doors.get("/docs/validations/{pipeline}/{table}")
def get_dataset_docs(pool: _Pool, pipeline: _Name, table: _Name) -> Response:
    """The results of one dataset, newest first."""
    return _docs_page(pool, lambda store: docs.dataset_page(store, f"{pipeline}/{table}"))


@_doors.get("/docs/validations/{pipeline}/{table}/{partition}/{version}")
def get_result_docs(
    pool: _Pool, pipeline: _Name, table: _Name, partition: _Name, version: _Name, run: str | None = None
) -> Response:
    """What a suite found on one version (a beginning of its sha256 does), in the newest run or the one named."""
    return _docs_page(pool, lambda store: docs.result_page(store, f"{pipeline}/{table}", partition, version, run))


@_doors.get("/docs/expectations/{pipeline}/{suite}")
def get_suite_docs(pool: _Pool, pipeline: _Name, suite: _Name) -> Response:
    """What a suite expects."""
    return _docs_page(pool, lambda store: docs.suite_page(store, pipeline, suite))


def _docs_page(pool: StorePool, draw: Callable[[Store], str]) -> Response:
    try:
        return HTMLResponse(pool.use(draw))
    except NotFoundError as error:
        return HTMLResponse(docs.missing_page(error), 404)


@_doors.get("/health")
def get_health(pool: _Pool) -> Response:
    """Whether events can be kept."""
    pool.use(lambda store: store.row("ping"))
    return JSONResponse({"status": "ok"})


@_doors.get("/")
def get_page() -> Response:
    """The page that draws the graph."""
    return FileResponse(_UI / "index.html")


@_doors.get("/trace")
@_doors.get("/trace/")
@_doors.get("/trace/{name}")
def get_trace_page() -> Response:
    """The page that tells where one prediction comes from."""
    return FileResponse(_UI / "trace.html")
