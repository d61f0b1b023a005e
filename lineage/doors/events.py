"""Events in, and as they were sent."""

from __future__ import annotations

from asyncio import wrap_future
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from lineage.doors.asking import Name, Paged, Pool, Sent, Sort, Time, Writer, refusal
from lineage.service import catalog
from lineage.service.intake import EventError, find_fault, read_json


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    """For the API's description: bodies are read as bytes here."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json"
_EVENT = _body({"type": "object", "description": f"a RunEvent, JobEvent or DatasetEvent of {_SPEC}"})
_EVENTS = _body({"type": "array", "description": f"a list of events of {_SPEC}", "items": {"type": "object"}})

doors = APIRouter()


@doors.post("/api/v1/lineage", status_code=201, openapi_extra=_EVENT)
async def post_event(sent: Sent, writer: Writer) -> Response:
    """Keep one OpenLineage event; the answer comes when it is durable."""
    body = read_json(*sent)
    if fault := find_fault(body.value, plain=body.plain):
        raise EventError(fault)
    await wrap_future(writer.send([body.value]))
    return Response(status_code=201)


@doors.post("/api/v1/lineage/batch", openapi_extra=_EVENTS)
def post_batch(sent: Sent, writer: Writer) -> Response:
    """Keep the events of a list that are in spec, and say which are not."""
    body = read_json(*sent)
    events = body.value
    if not isinstance(events, list):
        return refusal(400, "A batch is a JSON list of events.", path="$", reason="is not a list")
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


# Some clients ask here, and not where Marquez answers.
@doors.get("/api/v1/events")
@doors.get("/api/v1/events/lineage")
def get_events(pool: Pool, page: Paged, before: Time = None, after: Time = None, sort: Sort = "desc") -> Response:
    """The events, newest first unless asked otherwise."""
    return JSONResponse(pool.use(lambda store: catalog.list_events(store, page, after=after, before=before, sort=sort)))


# Some clients do not encode what they put there. What is applied first is asked first.
@doors.get("/api/v1/events/{namespace:path}")
@doors.get("/api/v1/events/lineage/{namespace:path}")
def get_events_of_namespace(pool: Pool, namespace: Name, page: Paged) -> Response:
    """The events of the jobs and datasets of a namespace, newest first."""
    return JSONResponse(pool.use(lambda store: catalog.list_events_of(store, namespace, page)))
