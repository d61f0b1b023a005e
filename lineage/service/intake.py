"""OpenLineage events from outside: read from a request's bytes, and refused by name when out of spec.

What is refused is what the spec's 2-0-2 schema forbids in an event's frame and what Postgres cannot keep.
Facets that nobody here knows are kept as they came.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from lineage.errors import HeadwaterError
from lineage.graph.nodes import LONGEST_NAME_BYTES, is_too_long

MOST_BYTES = 16 * 2**20
# What can be written as fast JSON; Postgres would keep more.
_DEEPEST = 250

_EVENT_TYPES = ("START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+")
_PLAIN_KEY = re.compile(r"\w+", re.ASCII)
_DIGITS, _LONG_NUMBER = bytes.maketrans(b"123456789", b"0" * 9), b"0" * 20
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Fault:
    """Why an event is out of spec: the JSON path of the place, and what is wrong with it."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


class EventError(HeadwaterError):
    """A request body that is no OpenLineage event; `fault` says where and why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"The event is out of spec: {fault}.")
        self.fault = fault


class EventTooLargeError(EventError):
    """A request body of more than MOST_BYTES, packed or unpacked."""

    def __init__(self) -> None:
        super().__init__(Fault("$", f"is larger than {MOST_BYTES:,} bytes; send fewer events at a time"))


@dataclass(frozen=True)
class Sent:
    """The JSON value of a request's body. Of a `plain` one every number is finite and every text is one."""

    value: Any
    plain: bool


def read_json(body: bytes, encoding: str = "") -> Sent:
    """The JSON value in `body`, which may be gzipped; raises EventError or EventTooLargeError."""
    text = _unpack(body, encoding)
    # The fast reader makes floats of whole numbers that are longer than 64 bits.
    if _LONG_NUMBER not in text.translate(_DIGITS):
        with suppress(ValueError):
            return Sent(orjson.loads(text), plain=True)
    try:
        return Sent(json.loads(text, parse_constant=_refuse_constant), plain=False)
    except (ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        raise EventError(Fault("$", f"is not JSON ({reason})")) from None


def find_fault(event: object, *, plain: bool = False) -> Fault | None:
    """The first thing that is wrong with an event, None if it is a Run-, Job- or DatasetEvent of the spec.

    `plain` is what Sent says of it, and saves looking at each value.
    """
    return next(_event(event, plain), None)


def parse_time(text: str) -> datetime | None:
    """The time an RFC 3339 timestamp names, None if it is none or has no zone."""
    if not _RFC3339.fullmatch(text):
        return None
    try:
        time = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    # Years at the very ends leave the calendar of Python or Postgres once another zone reads them.
    return time if 1 < time.year < 9999 else None


def _unpack(body: bytes, encoding: str) -> bytes:
    if encoding.strip().lower() in ("", "identity"):
        return body
    if encoding.strip().lower() not in ("gzip", "x-gzip"):
        raise EventError(Fault("$", f"has Content-Encoding {encoding!r}; send it plain or as gzip"))
    try:
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(body)).read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise EventError(Fault("$", f"is not gzip, as its Content-Encoding says ({error})")) from None
    if len(unpacked) > MOST_BYTES:
        raise EventTooLargeError
    return unpacked


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


# The generators below yield what is wrong. A reader stops at the first, so that the lines after a yield
# may rely on what it asked for.


def _event(event: object, plain: bool) -> Iterator[Fault]:
    if not isinstance(event, dict):
        yield Fault("$", "is not a JSON object")
        return
    if not (plain and _writes(event)):
        yield from _storable(event)
    yield from _frame(event)
    needed = _parts_needed(event)
    if "run" in event or "run" in needed:
        yield from _run(event)
    if "job" in event or "job" in needed:
        yield from _named(event.get("job"), "$.job")
    if "dataset" in event or "dataset" in needed:
        yield from _named(event.get("dataset"), "$.dataset")
    yield from _datasets(event, "inputs", "inputFacets")
    yield from _datasets(event, "outputs", "outputFacets")


def _parts_needed(event: Mapping[str, Any]) -> tuple[str, ...]:
    if "run" in event or "eventType" in event or event["schemaURL"].endswith("RunEvent"):
        return ("run", "job")
    if "dataset" in event or event["schemaURL"].endswith("DatasetEvent"):
        return ("dataset",)
    return ("job",)


def _frame(event: Mapping[str, Any]) -> Iterator[Fault]:
    yield from _text(event, "eventTime", "$")
    if parse_time(event["eventTime"]) is None:
        yield Fault("$.eventTime", "is not an RFC 3339 time with a zone, such as 2013-03-01T12:00:00Z")
    for key in ("producer", "schemaURL"):
        yield from _text(event, key, "$")
        if not _URI.fullmatch(event[key]):
            yield Fault(f"$.{key}", "is not an absolute URI")
    if "eventType" in event and event["eventType"] not in _EVENT_TYPES:
        yield Fault("$.eventType", f"is not one of {', '.join(_EVENT_TYPES)}")


def _run(event: Mapping[str, Any]) -> Iterator[Fault]:
    yield from _object(event, "run", "$")
    yield from _text(event["run"], "runId", "$.run")
    if not _UUID.fullmatch(event["run"]["runId"]):
        yield Fault("$.run.runId", "is not a UUID")
    yield from _facets(event["run"], "facets", "$.run")


def _datasets(event: Mapping[str, Any], key: str, own_facets: str) -> Iterator[Fault]:
    datasets = event.get(key, [])
    if not isinstance(datasets, list):
        yield Fault(f"$.{key}", "is not a list")
    for index, dataset in enumerate(datasets):
        path = f"$.{key}[{index}]"
        yield from _named(dataset, path)
        yield from _facets(dataset, own_facets, path)


def _named(value: object, path: str) -> Iterator[Fault]:
    """A job or a dataset: an object with namespace, name and perhaps facets."""
    if not isinstance(value, dict):
        yield Fault(path, "is required" if value is None else "is not an object")
        return
    for key in ("namespace", "name"):
        yield from _text(value, key, path)
    if is_too_long(value["namespace"], value["name"]):
        yield Fault(path, f"has a namespace and name of more than {LONGEST_NAME_BYTES:,} bytes")
    yield from _facets(value, "facets", path)
    yield from _schema(value.get("facets", {}).get("schema", {}), f"{path}.facets.schema")


def _schema(schema: Mapping[str, Any], path: str) -> Iterator[Fault]:
    fields = schema.get("fields", [])
    if not isinstance(fields, list):
        yield Fault(f"{path}.fields", "is not a list")
    for index, field in enumerate(fields):
        if not isinstance(field, dict):
            yield Fault(f"{path}.fields[{index}]", "is not an object")
        yield from _text(field, "name", f"{path}.fields[{index}]")


def _facets(owner: Mapping[str, Any], key: str, path: str) -> Iterator[Fault]:
    if key not in owner:
        return
    yield from _object(owner, key, path)
    for name in owner[key]:
        yield from _object(owner[key], name, f"{path}.{key}")


def _object(owner: Mapping[str, Any], key: str, path: str) -> Iterator[Fault]:
    if key not in owner:
        yield Fault(_join(path, key), "is required")
    elif not isinstance(owner[key], dict):
        yield Fault(_join(path, key), "is not an object")


def _text(owner: Mapping[str, Any], key: str, path: str) -> Iterator[Fault]:
    if key not in owner:
        yield Fault(_join(path, key), "is required")
    elif not isinstance(owner[key], str):
        yield Fault(_join(path, key), "is not a string")
    elif not owner[key]:
        yield Fault(_join(path, key), "is empty")


def _writes(event: object) -> bool:
    """Whether a plain event can be written, and without a NUL; else it is looked at more closely."""
    try:
        return b"\\u0000" not in orjson.dumps(event)
    except TypeError:
        return False


def _storable(value: object, path: str = "$", depth: int = 0) -> Iterator[Fault]:
    """What JSON allows and Postgres' jsonb does not keep."""
    if depth > _DEEPEST:
        yield Fault(path, f"is nested more than {_DEEPEST} levels deep")
    elif isinstance(value, str) and _UNSTORABLE.search(value):
        yield Fault(path, "holds a NUL character or half a surrogate pair")
    elif isinstance(value, float) and not math.isfinite(value):
        yield Fault(path, "is a number too large to keep")
    elif isinstance(value, dict):
        for key, item in value.items():
            if _UNSTORABLE.search(key):
                yield Fault(path, "has a key with a NUL character or half a surrogate pair")
            yield from _storable(item, _join(path, key), depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _storable(item, f"{path}[{index}]", depth + 1)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if _PLAIN_KEY.fullmatch(key) else f"{path}[{json.dumps(key)}]"
