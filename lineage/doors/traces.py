"""Rows followed back and forth."""

from __future__ import annotations

from fastapi import APIRouter, Response

from lineage.doors.asking import Name, Paged, Traces
from lineage.service.answers import RecordPage

doors = APIRouter()


@doors.get("/api/v1/traces/{name}")
def get_trace(traces: Traces, name: Name, feature: str | None = None) -> Response:
    """Where a prediction, or a row (`flights.features[2013-11]:1000`), or one feature of it comes from."""
    return Response(traces.trace(name, feature=feature), media_type="application/json")


@doors.get("/api/v1/traces/{name}/records")
def get_records(
    traces: Traces, page: Paged, name: Name, source: str, partition: str = "", feature: str | None = None
) -> Response:
    """Records of one source file behind it, verbatim."""
    wanted = RecordPage(source, partition, page.offset, page.limit)
    return Response(traces.records(name, wanted, feature=feature), media_type="application/json")


@doors.get("/api/v1/where")
def get_where(traces: Traces, page: Paged, row: str) -> Response:
    """What one row (`flights/departures[2013-01]:826`) reached, and what dropped it where it reached nothing."""
    return Response(traces.where(row, page.limit, page.offset), media_type="application/json")


@doors.get("/api/v1/exclusions")
def get_exclusions(traces: Traces, dataset: str, partition: str = "", version: str = "current") -> Response:
    """What became of the rows that went into a partition of a table: how many reached it, and why others did not."""
    name = f"{dataset}[{partition}]@{version}" if partition else f"{dataset}@{version}"
    return Response(traces.exclusions(name), media_type="application/json")
