"""The API described: as OpenAPI for programs, and as a page."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse

from lineage.service.apidocs import api_page

_REFUSAL = {
    "type": "object",
    "required": ["error", "code", "message"],
    "properties": {
        "error": {"type": "string", "description": "what failed, with which names, and what to do next"},
        "code": {"type": "integer", "description": "the HTTP status"},
        "message": {"type": "string", "description": "the same as error, where clients of Marquez look"},
        "path": {"type": "string", "description": "the JSON path of what is out of spec in an event"},
        "reason": {"type": "string", "description": "what is wrong there"},
        "candidates": {"type": "array", "items": {"type": "string"}, "description": "the nearest names there are"},
    },
}

doors = APIRouter(include_in_schema=False)


@doors.get("/docs/api")
def get_api_page(request: Request) -> Response:
    """Every door with what it takes."""
    return HTMLResponse(api_page(request.app.openapi()))


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description of all doors of `app`, with errors as they are answered here."""
    spec = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    refused = {
        "description": "What was asked is not so, or cannot be read; `error` says what and why.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}},
    }
    for methods in spec["paths"].values():
        for door in methods.values():
            # The framework's own form of an error, which no door answers with.
            door["responses"].pop("422", None)
            door["responses"]["default"] = refused
            door["summary"] = door["description"].partition("\n")[0]
    schemas = spec.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Refusal"] = _REFUSAL
    return spec
