"""The lineage service: OpenLineage events in, the graph out in Marquez's shapes, traces, and pages that draw both.

Its doors stand in `lineage.doors`; here they are put together.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache, partial
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit

import psycopg
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lineage.doors import (
    catalog,
    declaring,
    description,
    events,
    exports,
    graph,
    history,
    impact,
    labels,
    pages,
    statistics,
    traces,
)
from lineage.doors.asking import refusal
from lineage.errors import DatabaseError, HeadwaterError, NotFoundError
from lineage.graph.columns import ColumnIndex
from lineage.graph.index import GraphIndex
from lineage.projection import draw_backlog, receive_events
from lineage.relay import Relay
from lineage.service.answers import TraceAnswers
from lineage.service.intake import EventError, EventTooLargeError
from lineage.service.pool import StorePool
from lineage.service.writer import EventWriter
from lineage.settings import Settings

# The page needs nothing from elsewhere, and names that come from events must not become scripts.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


# By what they are called in the API's description.
_ROOMS = {
    "events": events,
    "graph": graph,
    "runs and versions": history,
    "impact": impact,
    "exports": exports,
    "catalog": catalog,
    "said by hand": declaring,
    "namespaces, sources, tags": labels,
    "statistics": statistics,
    "rows": traces,
    "description": description,
    "pages": pages,
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
    app = FastAPI(
        title="Headwater lineage",
        description="OpenLineage events in, the graph out in Marquez's shapes; traces of rows.",
        version=metadata.version("headwater"),
        lifespan=_lifespan(relay),
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.pool = StorePool(settings)
    app.state.index = GraphIndex()
    app.state.columns = ColumnIndex()
    app.state.traces = TraceAnswers(settings)
    app.router.redirect_slashes = False
    for name, room in _ROOMS.items():
        app.include_router(room.doors, tags=[name])
    spec = cache(partial(description.describe, app))
    app.openapi = spec  # type: ignore[method-assign]
    app.mount("/ui", StaticFiles(directory=pages.UI))
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
        app = self._app if _is_own_page(scope) else refusal(403, "Pages of other sites may not ask here.")
        await app(scope, receive, send_with_headers)


def _is_own_page(scope: Scope) -> bool:
    """Whether a page of ours sent this, or no browser at all: only browsers send an Origin."""
    headers = dict(scope["headers"])
    origin = headers.get(b"origin")
    return origin is None or urlsplit(origin).netloc == headers.get(b"host")


def _unavailable(_: Request, error: Exception) -> Response:
    response = refusal(503, str(error))
    response.headers["Retry-After"] = "1"
    return response


def _out_of_spec(_: Request, error: Any) -> Response:
    status = 413 if isinstance(error, EventTooLargeError) else 400
    return refusal(status, str(error), path=error.fault.path, reason=error.fault.reason)


def _bad_parameter(_: Request, error: Any) -> Response:
    first = error.errors()[0]
    place, *path = map(str, first["loc"])
    named = f"In the body, {'.'.join(path)}" if place == "body" else f"Parameter {path[-1]}"
    return refusal(400, f"{named}: {first['msg']}.")


_ANSWERS: dict[type[Exception], Callable[[Request, Any], Response]] = {
    NotFoundError: lambda _, error: refusal(404, str(error), candidates=list(error.candidates)),
    DatabaseError: _unavailable,
    HeadwaterError: lambda _, error: refusal(500, str(error)),
    EventError: _out_of_spec,
    RequestValidationError: _bad_parameter,
    psycopg.DataError: lambda _, error: refusal(400, f"The database cannot keep this: {error}"),
    HTTPException: lambda _, error: refusal(error.status_code, error.detail),
}
