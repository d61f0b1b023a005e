"""Rows of the graph's tables in the JSON shapes of Marquez's API, which lineage clients know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

# OpenLineage's event types are transitions; Marquez names the state they lead to.
_STATES = {
    "START": "RUNNING",
    "RUNNING": "RUNNING",
    "COMPLETE": "COMPLETED",
    "FAIL": "FAILED",
    "ABORT": "ABORTED",
}


def dataset_json(row: Mapping[str, Any]) -> Json:
    """A dataset; `row` is one of the query graph_datasets."""
    facets = row["facets"]
    return {
        "id": {"namespace": row["namespace"], "name": row["name"]},
        "type": "DB_TABLE",
        "name": row["name"],
        "physicalName": row["name"],
        "createdAt": time_text(row["created_at"]),
        "updatedAt": time_text(row["updated_at"]),
        "namespace": row["namespace"],
        "sourceName": _text(facets, "dataSource", "name") or "default",
        "fields": [_field_json(field) for field in row["fields"]],
        "tags": [],
        "lastModifiedAt": time_text(row["updated_at"]),
        "description": _text(facets, "documentation", "description"),
        "lastLifecycleState": _text(facets, "lifecycleStateChange", "lifecycleStateChange"),
        "currentVersion": _text(facets, "version", "datasetVersion"),
        "facets": facets,
    }


def job_json(row: Mapping[str, Any], inputs: Iterable[Json], outputs: Iterable[Json]) -> Json:
    """A job; `row` is one of the query graph_jobs, inputs and outputs are dataset ids."""
    facets, run = row["facets"], row["latest_run"]
    return {
        "id": {"namespace": row["namespace"], "name": row["name"]},
        "type": _text(facets, "jobType", "processingType") or "BATCH",
        "name": row["name"],
        "simpleName": row["name"],
        "parentJobName": None,
        "parentJobUuid": None,
        "createdAt": time_text(row["created_at"]),
        "updatedAt": time_text(row["updated_at"]),
        "namespace": row["namespace"],
        "inputs": list(inputs),
        "outputs": list(outputs),
        "location": _text(facets, "sourceCodeLocation", "url"),
        "description": _text(facets, "documentation", "description"),
        "latestRun": run_json(run) if run else None,
        "facets": facets,
    }


def run_json(row: Mapping[str, Any]) -> Json:
    """A run; `row` has run_id, state, started_at, ended_at, and perhaps namespace, job, facets, updated_at."""
    facets = row.get("facets") or {}
    started, ended = _time(row["started_at"]), _time(row["ended_at"])
    return {
        "id": row["run_id"],
        "createdAt": time_text(started or _time(row.get("updated_at"))),
        "updatedAt": time_text(_time(row.get("updated_at")) or ended or started),
        "nominalStartTime": _text(facets, "nominalTime", "nominalStartTime"),
        "nominalEndTime": _text(facets, "nominalTime", "nominalEndTime"),
        "state": _STATES.get(row["state"], "RUNNING" if started else "NEW"),
        "startedAt": time_text(started),
        "endedAt": time_text(ended),
        "durationMs": round((ended - started).total_seconds() * 1000) if started and ended else None,
        "args": {},
        "jobVersion": None,
        "job": {"namespace": row["namespace"], "name": row["job"]} if "job" in row else None,
        "facets": facets,
    }


def namespace_json(row: Mapping[str, Any]) -> Json:
    """A namespace; `row` is one of the query graph_namespaces."""
    return {
        "name": row["name"],
        "createdAt": time_text(row["created_at"]),
        "updatedAt": time_text(row["updated_at"]),
        "ownerName": "anonymous",
        "description": None,
        "isHidden": False,
    }


def time_text(time: datetime | None) -> str | None:
    """A time in UTC, as Marquez writes it."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z") if time else None


def _field_json(field: Mapping[str, Any]) -> Json:
    return {
        "name": field["name"],
        "type": field.get("type"),
        "tags": [],
        "description": field.get("description"),
    }


def _time(value: datetime | str | None) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _text(facets: Mapping[str, Any], facet: str, key: str) -> str | None:
    # Facets are kept as they came: nothing in them can be relied on.
    value = facets.get(facet, {}).get(key)
    return value if isinstance(value, str) else None
