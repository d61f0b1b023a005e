"""The HTTP door of serving: V2 (the Open Inference Protocol, JSON), and /v1 for keys, records and traces.

A thin door: it turns requests into questions for `serving.predict` and errors into statuses. Every error is
`{"error": "<sentence>"}`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lineage.discover import discover
from lineage.errors import DatabaseError, HeadwaterError, NotFoundError, RequestError
from lineage.plan import Workspace
from lineage.service.answers import RecordPage, TraceAnswers
from lineage.settings import Settings
from lineage.store import Store
from serving import registry, v2
from serving.features import require_text
from serving.log import PredictionLog
from serving.predict import Predictor

BODY_LIMIT_BYTES = 16 << 20
# Predictions whose row ids one call may ask for.
MOST_TRACED = 10_000

# The first that an error is an instance of; anything else that Headwater raises is a 500.
_STATUSES: tuple[tuple[type[HeadwaterError], int], ...] = (
    (RequestError, 400),
    (NotFoundError, 404),
    (DatabaseError, 503),
)


@dataclass(frozen=True)
class Service:
    """What the handlers share: the predictor, a workspace of its own for reading, one reader at a time, and traces.

    A long read must not make predictions wait, nor a long trace other reads: each has another connection.
    """

    predictor: Predictor
    reading: Workspace
    lock: threading.Lock
    traces: TraceAnswers


def create_app(settings: Settings) -> FastAPI:
    """The serving application of one project; the database is opened when it starts, and closed when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        project = discover(settings)
        with Store(settings) as answering, Store(settings) as reading:
            space = Workspace(settings, project, answering)
            traces = TraceAnswers(settings, project)
            app.state.service = Service(Predictor(space), replace(space, store=reading), threading.Lock(), traces)
            try:
                yield
            finally:
                await run_in_threadpool(traces.close)

    app = FastAPI(title="Headwater serving", version=v2.server_metadata()["version"], lifespan=lifespan)
    app.include_router(_router)
    app.add_exception_handler(HeadwaterError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(Exception, _refused)
    return app


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


async def _document(request: Request) -> dict[str, Any]:
    """The request's body as a JSON object, refused as soon as it is too long."""
    if "inference-header-content-length" in request.headers:
        raise RequestError("binary tensors are not served here; send the tensors as JSON.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT_BYTES:
            raise HTTPException(413, f"The body is longer than {BODY_LIMIT_BYTES} bytes; send fewer rows at a time.")
    return _parsed(bytes(body))


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except RecursionError as error:
        raise RequestError("the body is nested too deeply.") from error
    except ValueError as error:
        raise RequestError(f"the body is not JSON ({error}).") from error
    if not isinstance(document, dict):
        raise RequestError("the body is not a JSON object; send one.")
    return document


async def _page(
    source: str,
    partition: str = "",
    offset: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
) -> RecordPage:
    return RecordPage(source, partition, offset, limit)


_Shared = Annotated[Service, Depends(_service)]
_Body = Annotated[dict[str, Any], Depends(_document)]
_Page = Annotated[RecordPage, Depends(_page)]
_router = APIRouter()


def _takes(**properties: Any) -> dict[str, Any]:
    """The OpenAPI description of a body that the handler reads by itself."""
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_INFER = _takes(inputs={"type": "array", "items": {"type": "object"}})
_KEYS = _takes(keys={"type": "array", "items": {"type": "string"}})
_IDS = _takes(predictions={"type": "array", "items": {"type": "string"}, "maxItems": MOST_TRACED})


@_router.get("/health")
@_router.get("/v2/health/live")
def live() -> dict[str, bool]:
    """Whether the process answers."""
    return {"live": True}


@_router.get("/v2/health/ready")
def ready(service: _Shared) -> JSONResponse:
    """Whether the database answers and every trained model loads; 503 with the reason otherwise."""
    try:
        service.predictor.require_ready()
    except HeadwaterError as error:
        return _error(503, str(error))
    return JSONResponse({"ready": True})


@_router.get("/v2")
@_router.get("/v2/", include_in_schema=False)
def server() -> dict[str, Any]:
    """Name, version and extensions of this server."""
    return v2.server_metadata()


@_router.get("/v2/models/{model}")
@_router.get("/v2/models/{model}/versions/{version}")
def model_metadata(service: _Shared, model: str, version: str | None = None) -> dict[str, Any]:
    """The tensors that a model takes and answers."""
    loaded = service.predictor.model(model, version=version)
    return v2.model_metadata(loaded.bundle, loaded.engine.name)


@_router.get("/v2/models/{model}/ready")
@_router.get("/v2/models/{model}/versions/{version}/ready")
def model_ready(service: _Shared, model: str, version: str | None = None) -> JSONResponse:
    """Whether a model loads; 404 for one that there is not, 503 with the reason for one that does not load."""
    try:
        service.predictor.model(model, version=version)
    except NotFoundError:
        raise
    except HeadwaterError as error:
        return _error(503, str(error))
    return JSONResponse({"name": model, "ready": True})


@_router.post("/v2/models/{model}/infer", openapi_extra=_INFER)
@_router.post("/v2/models/{model}/versions/{version}/infer", openapi_extra=_INFER)
def infer(service: _Shared, body: _Body, model: str, version: str | None = None) -> dict[str, Any]:
    """Predict from feature tensors, or from one tensor `key` that names rows of the feature table."""
    predictor = service.predictor
    request = v2.decode(body, predictor.model(model, version=version).bundle)
    if request.keys is not None:
        answer = predictor.by_key(model, request.keys, version=version)
    else:
        answer = predictor.by_features(model, request.columns, version=version)
    return v2.encode(request, answer)


@_router.get("/v1/models")
def models(service: _Shared) -> dict[str, Any]:
    """The trained versions of all models, with their metrics."""
    with service.lock:
        return {"models": registry.list_models(service.reading)}


@_router.post("/v1/models/{model}/predict", openapi_extra=_KEYS)
def predict(service: _Shared, body: _Body, model: str) -> dict[str, Any]:
    """Predict the rows of the model's feature table that `keys` name; an unknown key is an entry with an error."""
    if set(body) != {"keys"} or not isinstance(body["keys"], list):
        raise RequestError('the body must be {"keys": [...]}, a list of strings and nothing else.')
    return service.predictor.by_key(model, body["keys"]).to_json()


@_router.get("/v1/predictions/{prediction}")
def prediction(service: _Shared, prediction: str) -> dict[str, Any]:
    """The record of prediction `ID`, or of its row `ID.i`: model version, features, margin and its bits."""
    with service.lock:
        return PredictionLog(service.reading.store).read(prediction)


@_router.get("/v1/predictions/{prediction}/trace")
def trace(service: _Shared, prediction: str, feature: str | None = None) -> Response:
    """Where prediction `ID` (or `ID.i`), or the value of one of its features, comes from: back to records of files."""
    return _bytes(service.traces.trace(prediction, feature=feature))


@_router.get("/v1/predictions/{prediction}/trace/records")
def trace_records(service: _Shared, page: _Page, prediction: str, feature: str | None = None) -> Response:
    """Records of one source file behind a prediction, verbatim, up to 10,000 at a time."""
    return _bytes(service.traces.records(prediction, page, feature=feature))


@_router.post("/v1/traces/rows", openapi_extra=_IDS)
def trace_rows(service: _Shared, body: _Body) -> Response:
    """The row ids behind up to 10,000 predictions, by source file; an unknown id is an entry with an error."""
    names = body.get("predictions")
    if set(body) != {"predictions"} or not isinstance(names, list):
        raise RequestError('the body must be {"predictions": [...]}, a list of ids and nothing else.')
    if len(names) > MOST_TRACED:
        raise RequestError(f"{len(names):,} predictions are more than {MOST_TRACED:,}; ask for them in parts.")
    return _bytes(service.traces.rows([require_text("predictions", name) for name in names]))


def _bytes(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _refused(_: Request, error: Exception) -> JSONResponse:
    """Any error as a status and a sentence; what was not raised on purpose stays in the server's own log."""
    if isinstance(error, HTTPException):
        return _error(error.status_code, str(error.detail), error.headers)
    if isinstance(error, RequestValidationError):
        return _error(400, "; ".join(f"{item['loc'][-1]}: {item['msg']}" for item in error.errors()))
    if isinstance(error, HeadwaterError):
        return _error(next((status for kind, status in _STATUSES if isinstance(error, kind)), 500), str(error))
    return _error(500, f"Something unexpected went wrong ({type(error).__name__}); the server's log says more.")


def _error(status: int, sentence: str, headers: Any = None) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, headers)
