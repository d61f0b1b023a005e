"""The lineage service: OpenLineage events in, the graph out in Marquez's shapes, and a page that draws it.

A door: it translates HTTP to and from intake.py, projection.py and graph.py. The only module of `lineage`
that knows a web framework.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import psycopg
from fastapi import APIRouter, Depends, FastAPI, Path as PathPart, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import AfterValidator
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lineage import graph, marquez
from lineage.errors import DatabaseError, NotFoundError
from lineage.intake import MOST_BYTES, EventError, EventTooLargeError, find_fault, parse_time, read_json
from lineage.pool import StorePool
from lineage.projection import receive_events
from lineage.relay import Relay
from lineage.settings import Settings
from lineage.store import Store

_UI = Path(__file__).parent / "ui"
_MOST_NODES = 10_000
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

    `environ` (the process's own by default) may name OPENLINEAGE_API_KEY, the bearer token for the relay.
    """
    env = os.environ if environ is None else environ
    relay = None
    if settings.openlineage_url:
        relay = Relay(settings, settings.openlineage_url, api_key=env.get("OPENLINEAGE_API_KEY"))
    app = FastAPI(title="Headwater lineage", lifespan=_lifespan(relay), docs_url=None, redoc_url=None)
    app.state.pool = StorePool(settings)
    app.router.redirect_slashes = False
    app.include_router(_doors)
    app.mount("/ui", StaticFiles(directory=_UI))
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)
    app.add_middleware(_Edge)
    return app


def _lifespan(relay: Relay | None) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if relay:
            relay.start()
        yield
        if relay:
            await run_in_threadpool(relay.stop)
        await run_in_threadpool(app.state.pool.close)

    return lifespan


class _Edge:
    """What every request passes: names stay percent-encoded in the path, strangers' pages may not write."""

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
        app = self._app if _is_own_page(scope) else _error(403, "This service takes no requests of other sites.")
        await app(scope, receive, send_with_headers)


def _is_own_page(scope: Scope) -> bool:
    """Whether a browser sent this for a page of ours; other clients send no Origin."""
    headers = dict(scope["headers"])
    origin = headers.get(b"origin")
    return origin is None or urlsplit(origin).netloc == headers.get(b"host")


def _error(status: int, message: str, **more: Any) -> JSONResponse:
    return JSONResponse({"error": message, **more}, status)


def _not_found(_: Request, error: Any) -> Response:
    return _error(404, str(error), candidates=list(error.candidates))


def _unavailable(_: Request, error: Any) -> Response:
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
    NotFoundError: _not_found,
    DatabaseError: _unavailable,
    EventError: _out_of_spec,
    RequestValidationError: _bad_parameter,
    psycopg.DataError: lambda _, error: _error(400, f"The database cannot keep this: {error}"),
    HTTPException: lambda _, error: _error(error.status_code, error.detail),
}


async def _pool(request: Request) -> StorePool:
    pool: StorePool = request.app.state.pool
    return pool


def _timestamp(text: str) -> datetime:
    if time := parse_time(text):
        return time
    raise ValueError("write it as an RFC 3339 time with a zone, such as 2013-03-01T12:00:00Z")


_doors = APIRouter()
_Pool = Annotated[StorePool, Depends(_pool)]
_Name = Annotated[str, PathPart(), AfterValidator(unquote)]
_Depth = Annotated[int, Query(ge=0, le=_MOST_NODES)]
_Limit = Annotated[int, Query(ge=1, le=_MOST_NODES)]
_Offset = Annotated[int, Query(ge=0, lt=2**63)]
_Time = Annotated[str | None, Query(), AfterValidator(lambda text: _timestamp(text) if text else None)]


@_doors.post("/api/v1/lineage", status_code=201)
async def post_event(request: Request, pool: _Pool) -> Response:
    """Keep one OpenLineage event; the answer comes when it is durable."""
    event = await _read_body(request)
    if fault := find_fault(event):
        raise EventError(fault)
    await run_in_threadpool(pool.use, lambda store: _keep(store, [event]))
    return Response(status_code=201)


@_doors.post("/api/v1/lineage/batch")
async def post_batch(request: Request, pool: _Pool) -> Response:
    """Keep the events of a list that are in spec, and say which are not."""
    events = await _read_body(request)
    if not isinstance(events, list):
        return _error(400, "A batch is a JSON list of events.", path="$", reason="is not a list")
    faults = {index: fault for index, event in enumerate(events) if (fault := find_fault(event))}
    good = [event for index, event in enumerate(events) if index not in faults]
    await run_in_threadpool(pool.use, lambda store: _keep(store, good))
    return JSONResponse(
        {
            "status": "partial_success" if faults else "success",
            "summary": {
                "received": len(events),
                "successful": len(good),
                "failed": len(faults),
                "retriable": 0,
                "non_retriable": len(faults),
            },
            "failed_events": [
                {"index": index, "reason": str(fault), "retriable": False} for index, fault in faults.items()
            ],
        }
    )


async def _read_body(request: Request) -> Any:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise EventTooLargeError
    return await run_in_threadpool(read_json, bytes(body), request.headers.get("content-encoding", ""))


def _keep(store: Store, events: list[dict[str, Any]]) -> None:
    with store.transaction():
        receive_events(store, events)


@_doors.get("/api/v1/lineage")
def get_lineage(
    pool: _Pool,
    node_id: Annotated[str | None, Query(alias="nodeId")] = None,
    depth: _Depth = 20,
    limit: _Limit = 2_000,
) -> Response:
    """The graph within `depth` edges of a node, or all of it."""
    if node_id is None:
        return JSONResponse(pool.use(lambda store: graph.read_graph(store, limit=limit)))
    if not (candidates := graph.parse_node_id(node_id)):
        return _error(400, f"nodeId {node_id!r} is not dataset:NAMESPACE:NAME or job:NAMESPACE:NAME.")

    def read(store: Store) -> Any:
        return graph.read_lineage(store, graph.find_node(store, candidates), depth=depth, limit=limit)

    return JSONResponse(pool.use(read))


@_doors.get("/api/v1/events/lineage")
def get_events(
    pool: _Pool, request: Request, before: _Time = None, after: _Time = None, page: _Page = None
) -> Response: ...
