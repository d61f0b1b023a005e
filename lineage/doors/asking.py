"""What the doors share: what a request brings, and how an answer is written."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from fastapi import Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from pydantic.alias_generators import to_camel

from lineage.graph.columns import ColumnIndex
from lineage.graph.index import GraphIndex
from lineage.graph.nodes import LONGEST_NAME_BYTES
from lineage.service import catalog
from lineage.service.answers import TraceAnswers
from lineage.service.intake import MOST_BYTES, EventTooLargeError, parse_time
from lineage.service.pool import StorePool
from lineage.service.writer import EventWriter
from lineage.settings import Settings


class Said(BaseModel):
    """What a body says; its names are camelCase there."""

    model_config = ConfigDict(alias_generator=to_camel)


def refusal(status: int, message: str, **more: Any) -> JSONResponse:
    """An error as all doors write it; `code` and `message` are what clients of Marquez show."""
    return JSONResponse({"error": message, "code": status, "message": message, **more}, status)


def json_answer(body: bytes) -> Response:
    """What is JSON already."""
    return Response(body, media_type="application/json")


async def _pool(request: Request) -> StorePool:
    pool: StorePool = request.app.state.pool
    return pool


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _index(request: Request) -> GraphIndex:
    index: GraphIndex = request.app.state.index
    return index


async def _columns(request: Request) -> ColumnIndex:
    columns: ColumnIndex = request.app.state.columns
    return columns


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


def _new_name(text: str) -> str:
    name = unquote(text)
    if len(name.encode()) > LONGEST_NAME_BYTES:
        raise ValueError(f"a name has at most {LONGEST_NAME_BYTES:,} bytes")
    return name


def _time(text: str) -> datetime:
    if time := parse_time(text):
        return time
    raise ValueError("write it as an RFC 3339 time with a zone, such as 2013-03-01T12:00:00Z")


async def _page(
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100, offset: Annotated[int, Query(ge=0, lt=2**63)] = 0
) -> catalog.Page:
    return catalog.Page(limit, offset)


Pool = Annotated[StorePool, Depends(_pool)]
ColumnLineage = Annotated[ColumnIndex, Depends(_columns)]
Configured = Annotated[Settings, Depends(_settings)]
Index = Annotated[GraphIndex, Depends(_index)]
Writer = Annotated[EventWriter, Depends(_writer)]
Traces = Annotated[TraceAnswers, Depends(_traces)]
Sent = Annotated[tuple[bytes, str], Depends(_sent)]
Paged = Annotated[catalog.Page, Depends(_page)]
Name = Annotated[str, AfterValidator(unquote)]
# One that the store is to keep.
NewName = Annotated[str, AfterValidator(_new_name)]
Time = Annotated[datetime | None, BeforeValidator(_time)]
Sort = Annotated[Literal["asc", "desc"], BeforeValidator(str.lower), Query(alias="sortDirection")]
