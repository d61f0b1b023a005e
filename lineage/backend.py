"""Another OpenLineage backend, to which events are sent over HTTP."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from lineage.errors import SettingsError

# These are about our address, our key or the moment; other 4xx are about the event, which will not change.
_NOT_ABOUT_THE_EVENT = (401, 403, 404, 405, 407, 408, 425, 429)
# A backend that answers 5xx to one event so often, and is there, has a fault that only this event finds.
_MOST_SERVER_ERRORS = 12
# Answers to a batch that say nothing of its events: they may be taken one by one.
_NO_BATCHES = (400, 404, 405, 413, 415, 422, 501)


@dataclass(frozen=True)
class Failure:
    """Why an event was not accepted; `final` when it never will be. `wait_seconds`, `status`: as it said."""

    reason: str
    final: bool
    wait_seconds: float | None = None
    status: int | None = None


class NoBatchesError(Exception):
    """The backend takes no batch, or not this one: its events may be sent one by one."""


class Backend:
    """One connection to an OpenLineage endpoint. It follows no redirects: they would drop the event, not move it."""

    def __init__(
        self, url: str, timeout_seconds: float, api_key: str | None, *, said_by: str = "OPENLINEAGE_URL"
    ) -> None:
        scheme, host, port, self._path = _parse(url, said_by)
        connect = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
        self._connection = connect(host, port, timeout=timeout_seconds)
        self._headers = {"Content-Type": "application/json", **_authorization(api_key)}

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def send(self, event: Mapping[str, Any], attempts: int) -> Failure | None:
        """Deliver one event; None when the backend has accepted it."""
        answer = self._post(self._path, event)
        return answer if isinstance(answer, Failure) else _judge(answer, attempts)

    def send_batch(self, events: Sequence[Mapping[str, Any]], attempts: int) -> Failure | dict[int, str]:
        """Deliver several events; returns the reasons of those that were refused for good, by their place.

        Raises NoBatchesError where a batch is not what the backend takes.
        """
        path, question, query = self._path.partition("?")
        answer = self._post(f"{path}/batch{question}{query}", events)
        if isinstance(answer, Failure):
            return answer
        if answer.status in _NO_BATCHES:
            raise NoBatchesError
        return _judge(answer, attempts) or _refused(answer.body)

    def _post(self, path: str, value: Any) -> _Answer | Failure:
        try:
            self._connection.request("POST", path, json.dumps(value).encode(), self._headers)
            with self._connection.getresponse() as response:
                return _Answer(response.status, response.read(), _seconds(response.headers.get("Retry-After")))
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return Failure(f"{type(error).__name__}: {error}", final=False)


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    wait_seconds: float | None


def _judge(answer: _Answer, attempts: int) -> Failure | None:
    status = answer.status
    if 200 <= status < 300:
        return None
    hopeless = 400 <= status < 500 and status not in _NOT_ABOUT_THE_EVENT
    tiresome = status >= 500 and attempts >= _MOST_SERVER_ERRORS
    return Failure(f"HTTP {status}", hopeless or tiresome, answer.wait_seconds, status)


def _refused(body: bytes) -> dict[int, str]:
    """The events that the answer to a batch names as refused for good."""
    try:
        failed = json.loads(body or b"{}").get("failed_events", [])
        return {int(item["index"]): str(item["reason"]) for item in failed if not item.get("retriable")}
    except (ValueError, AttributeError, TypeError, KeyError):
        return {}


def _seconds(retry_after: str | None) -> float | None:
    """How long Retry-After asks to wait; a date there is as good as nothing, for clocks differ."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else None


def _parse(url: str, said_by: str) -> tuple[str, str, int | None, str]:
    """Scheme, host, port and path to post to."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        # Not quoted: people write passwords into URLs.
        raise SettingsError(f"{said_by} is not an HTTP URL; write it as https://lineage.example.org:5000.")
    path = parts.path.rstrip("/")
    path = path if path.endswith("lineage") else f"{path}/api/v1/lineage"
    return parts.scheme, parts.hostname, port, f"{path}?{parts.query}" if parts.query else path


def _authorization(api_key: str | None) -> dict[str, str]:
    if api_key is None:
        return {}
    if not (api_key.isascii() and api_key.isprintable()):
        raise SettingsError("OPENLINEAGE_API_KEY holds characters that no HTTP header may; copy it again.")
    return {"Authorization": f"Bearer {api_key}"}
