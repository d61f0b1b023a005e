"""How many there were: events, datasets, jobs and sources over a day or a week."""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BeforeValidator

from lineage.doors.asking import Pool
from lineage.service.statistics import Period, count_events, count_nodes

_Period = Annotated[Period, BeforeValidator(str.upper)]


def _known(zone: str) -> str:
    try:
        return ZoneInfo(zone).key
    except (OSError, ValueError, LookupError):
        raise ValueError("write it as a time zone's name, such as Europe/Berlin or UTC") from None


_Zone = Annotated[str, AfterValidator(_known), Query(alias="timezone")]

doors = APIRouter()


@doors.get("/api/v1/stats/lineage-events")
def get_event_counts(pool: Pool, period: _Period = "DAY", zone: _Zone = "UTC") -> Response:
    """Events by type, hour by hour of a day or day by day of a week."""
    return JSONResponse(pool.use(lambda store: count_events(store, period, zone)))


@doors.get("/api/v1/stats/{kind}")
def get_counts(
    pool: Pool,
    kind: Literal["jobs", "datasets", "sources"],
    period: _Period = "DAY",
    zone: _Zone = "UTC",
) -> Response:
    """How many jobs, datasets or sources there were at the end of each hour or day."""
    return JSONResponse(pool.use(lambda store: count_nodes(store, kind.removesuffix("s"), period, zone)))
