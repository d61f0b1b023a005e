"""Rows of the graph's tables in the JSON shapes of Marquez's API, which lineage clients know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def dataset_json(rows: Sequence[Mapping[str, Any]]) -> Json:
    """A dataset; `rows` are of the query graph_datasets: its own name's first, then those of its other names."""
    facets = facets_json(*(row["facets"] for row in rows))
    own = rows[0]
    created, updated = min(row["created_at"] for row in rows), max(row["updated_at"] for row in rows)
    fields = facets.pop("schema", {}).get("fields")
    return {
        "id": {"namespace": own["namespace"], "name": own["name"]},
        "type": "DB_TABLE",
        "name": own["name"],
        "physicalName": own["name"],
        "createdAt": time_text(created),
        "updatedAt": time_text(updated),
        "namespace": own["namespace"],
        "sourceName": _text(facets, "dataSource", "name") or "default",
        "fields": [_field_json(field) for field in fields] if isinstance(fields, list) else [],
        "tags": [],
        "lastModifiedAt": time_text(updated),
        "description": _text(facets, "documentation", "description"),
        "lastLifecycleState": _text(facets, "lifecycleStateChange", "lifecycleStateChange"),
        "currentVersion": _text(facets, "version", "datasetVersion"),
        "facets": facets,
    }


def job_json(row: Mapping[str, Any], inputs: Iterable[Json], outputs: Iterable[Json]) -> Json:
    """A job; `row` is one of the query graph_jobs, inputs and outputs are dataset ids."""
    facets = facets_json(row["facets"])
    run = run_json(row["latest_run"]) if row["latest_run"] else None
    parent = (run["facets"].get("parent") or {}).get("job") if run else None
    return {
        "id": {"namespace": row["namespace"], "name": row["name"]},
        "type": _text(facets, "jobType", "processingType") or "BATCH",
        "name": row["name"],
        "simpleName": row["name"].rpartition(".")[2] or row["name"],
        "parentJobName": parent.get("name") if isinstance(parent, dict) else None,
        "parentJobUuid": None,
        "createdAt": time_text(row["created_at"]),
        "updatedAt": time_text(row["updated_at"]),
        "namespace": row["namespace"],
        "inputs": list(inputs),
        "outputs": list(outputs),
        "location": _text(facets, "sourceCodeLocation", "url"),
        "description": _text(facets, "documentation", "description"),
        "latestRun": run,
        "facets": facets,
    }


def run_json(row: Mapping[str, Any]) -> Json:
    """A run; `row` has run_id, state, facets, started_at, ended_at, created_at, updated_at, maybe namespace and job."""
    facets = facets_json(row["facets"])
    started, ended = _time(row["started_at"]), _time(row["ended_at"])
    return {
        "id": str(row["run_id"]),
        "createdAt": time_text(_time(row["created_at"])),
        "updatedAt": time_text(_time(row["updated_at"])),
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


def facets_json(*kept: Mapping[str, Any]) -> Json:
    """The bodies of facets as the store keeps them (time, digest, body): of one name the latest, unless deleted."""
    newest: dict[str, Any] = {}
    for facets in kept:
        for name, facet in facets.items():
            if name not in newest or facet[:2] > newest[name][:2]:
                newest[name] = facet
    return {name: body for name, (_, _, body) in newest.items() if not body.get("_deleted")}


def version_json(namespace: str, name: str, row: Mapping[str, Any]) -> Json:
    """A version of a dataset; `row` is one of the query dataset_versions, its shared facets filled in."""
    facets = facets_json(row["facets"])
    fields = facets.pop("schema", {}).get("fields")
    job = {"namespace": row["job_namespace"], "name": row["job"]} if row["job"] else None
    written = {"id": str(row["run_id"]), "state": _STATES.get(row["state"], "NEW"), "job": job} if job else None
    return {
        "id": {"namespace": namespace, "name": name},
        "type": "DB_TABLE",
        "name": name,
        "physicalName": name,
        "version": row["version"],
        "createdAt": time_text(row["seen_at"]),
        "namespace": namespace,
        "sourceName": _text(facets, "dataSource", "name") or "default",
        "fields": [_field_json(field) for field in fields] if isinstance(fields, list) else [],
        "tags": [],
        "description": _text(facets, "documentation", "description"),
        "lifecycleState": _text(facets, "lifecycleStateChange", "lifecycleStateChange"),
        "createdByRun": written,
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
    value = (facets.get(facet) or {}).get(key)
    return value if isinstance(value, str) else None
