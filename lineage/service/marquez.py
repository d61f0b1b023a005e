"""Rows of the graph's tables in the JSON shapes of Marquez's API, which lineage clients know."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from lineage.graph.nodes import Node

Json = dict[str, Any]

# OpenLineage's event types are transitions; Marquez names the state they lead to.
_STATES = {
    "START": "RUNNING",
    "RUNNING": "RUNNING",
    "COMPLETE": "COMPLETED",
    "FAIL": "FAILED",
    "ABORT": "ABORTED",
}


def json_bytes(value: Any) -> bytes:
    """A value as JSON; facets may hold whole numbers of any length."""
    try:
        return orjson.dumps(value)
    except TypeError:
        # Whole numbers of more than 64 bits.
        return json.dumps(value, ensure_ascii=False).encode()


def transitions(state: str) -> list[str]:
    """The event types that lead to a state of Marquez's."""
    return [kind for kind, led_to in _STATES.items() if led_to == state] or ["OTHER"]


def dataset_json(rows: Sequence[Mapping[str, Any]]) -> Json:
    """A dataset; `rows` are of the query graph_datasets: its own name's first, then those of its other names.

    Each has `tagged`, its rows of the query of that name.
    """
    facets = facets_json(*(row["facets"] for row in rows))
    tags = _tags([row for several in rows for row in several["tagged"]], facets)
    physical = _text(facets, "headwater_dataset", "physicalName")
    own = rows[0]
    created, updated = min(row["created_at"] for row in rows), max(row["updated_at"] for row in rows)
    fields = facets.pop("schema", {}).get("fields")
    return {
        "id": {"namespace": own["namespace"], "name": own["name"]},
        "type": _dataset_type(facets),
        "name": own["name"],
        "physicalName": physical or own["name"],
        "createdAt": time_text(created),
        "updatedAt": time_text(updated),
        "namespace": own["namespace"],
        "sourceName": _text(facets, "dataSource", "name") or "default",
        "fields": [_field_json(field, tags) for field in fields] if isinstance(fields, list) else [],
        "tags": tags.get("", []),
        "lastModifiedAt": time_text(updated),
        "description": _text(facets, "documentation", "description"),
        "lastLifecycleState": _text(facets, "lifecycleStateChange", "lifecycleStateChange"),
        "currentVersion": _text(facets, "version", "datasetVersion"),
        "columnLineage": _column_lineage(facets.get("columnLineage") or {}),
        "deleted": False,
        "facets": facets,
    }


def job_json(row: Mapping[str, Any], inputs: Iterable[Json], outputs: Iterable[Json]) -> Json:
    """A job; `row` is one of the query graph_jobs with `tagged`, inputs and outputs are dataset ids."""
    facets = facets_json(row["facets"])
    run = run_json(row["latest_run"]) if row["latest_run"] else None
    parent = (run["facets"].get("parent") or {}).get("job") if run else None
    return {
        "id": {"namespace": row["namespace"], "name": row["name"]},
        "type": _job_type(facets),
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
        "tags": _tags(row["tagged"], facets).get("", []),
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
        "state": state_text(row),
        "startedAt": time_text(started),
        "endedAt": time_text(ended),
        "durationMs": round((ended - started).total_seconds() * 1000) if started and ended else None,
        "args": _arguments(facets),
        "jobVersion": None,
        "job": {"namespace": row["namespace"], "name": row["job"]} if "job" in row else None,
        "facets": facets,
    }


def state_text(row: Mapping[str, Any]) -> str:
    """The state of a run as Marquez names it; `row` has state and started_at."""
    return _STATES.get(row["state"], "RUNNING" if row["started_at"] else "NEW")


def run_io_json(rows: Iterable[Mapping[str, Any]]) -> Json:
    """What a run read and wrote, with versions; `rows` are of the query run_io."""
    inputs, outputs = [], []
    for row in rows:
        facets = facets_json(row["facets"])
        version = _text(facets, "version", "datasetVersion")
        named = {"namespace": row["namespace"], "name": row["name"], "version": version}
        if row["is_output"]:
            outputs.append({"datasetVersionId": named, "facets": facets})
        else:
            inputs.append({"datasetVersionId": named, "facets": facets})
    return {"inputDatasetVersions": inputs, "outputDatasetVersions": outputs}


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
    tags = _tags((), facets)
    job = {"namespace": row["job_namespace"], "name": row["job"]} if row["job"] else None
    written = {"id": str(row["run_id"]), "state": _STATES.get(row["state"], "NEW"), "job": job} if job else None
    return {
        "id": {"namespace": namespace, "name": name, "version": row["version"]},
        "type": _dataset_type(facets),
        "name": name,
        "physicalName": _text(facets, "headwater_dataset", "physicalName") or name,
        "version": row["version"],
        "createdAt": time_text(row["seen_at"]),
        "namespace": namespace,
        "sourceName": _text(facets, "dataSource", "name") or "default",
        "fields": [_field_json(field, tags) for field in fields] if isinstance(fields, list) else [],
        "tags": tags.get("", []),
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
        "ownerName": row["owner_name"] or "anonymous",
        "description": row["description"],
        "isHidden": False,
    }


def time_text(time: datetime | None) -> str | None:
    """A time in UTC, as Marquez writes it."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z") if time else None


def source_json(row: Mapping[str, Any]) -> Json:
    """A source of datasets; `row` is one of the query sources."""
    return {
        "type": row["type"],
        "name": row["name"],
        "createdAt": time_text(row["created_at"]),
        "updatedAt": time_text(row["updated_at"]),
        "connectionUrl": row["url"],
        "description": row["description"],
    }


def job_version_json(job: Node, row: Mapping[str, Any], run: Json | None, location: str | None) -> Json:
    """A version of a job; `row` is one of the query job_versions, `run` its latest run."""
    version = str(row["version"])
    return {
        "id": {"namespace": job.namespace, "name": job.name, "version": version},
        "name": job.name,
        "createdAt": time_text(row["created_at"]),
        "updatedAt": time_text(row["updated_at"]),
        "version": version,
        "namespace": job.namespace,
        "location": location,
        "inputs": row["inputs"] or [],
        "outputs": row["outputs"] or [],
        "latestRun": run,
    }


def _field_json(field: Mapping[str, Any], tags: Mapping[str, list[str]]) -> Json:
    return {
        "name": field["name"],
        "type": field.get("type"),
        "tags": tags.get(field["name"], []),
        "description": field.get("description"),
    }


def _tags(said: Iterable[Mapping[str, Any]], facets: Mapping[str, Any]) -> dict[str, list[str]]:
    """The tags of a node ('') and of its fields: those of the tags facet, then what people added and took away."""
    found: dict[str, dict[str, None]] = {}
    listed = (facets.get("tags") or {}).get("tags")
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, dict) and isinstance(item.get("key"), str):
            field = item.get("field")
            found.setdefault(field if isinstance(field, str) else "", {})[_tag(item)] = None
    for row in said:
        here = found.setdefault(row["field"], {})
        if row["removed"]:
            here.pop(row["tag"], None)
        else:
            here[row["tag"]] = None
    return {field: [*names] for field, names in found.items()}


def _tag(item: Mapping[str, Any]) -> str:
    """One name of a key and a value, for clients that know no values."""
    value = str(item.get("value", ""))
    return item["key"] if value.lower() in ("", "true") else f"{item['key']}:{value}"


def _column_lineage(facet: Mapping[str, Any]) -> list[Json]:
    fields = facet.get("fields")
    described = fields.items() if isinstance(fields, dict) else ()
    return [_columns_json(name, field) for name, field in described if isinstance(field, dict)]


def _columns_json(name: str, field: Mapping[str, Any]) -> Json:
    inputs = field.get("inputFields")
    return {
        "name": name,
        "inputFields": [
            {
                "namespace": item.get("namespace"),
                "dataset": item.get("name"),
                "field": item.get("field"),
                **_transformation(item, field),
            }
            for item in (inputs if isinstance(inputs, list) else ())
            if isinstance(item, dict)
        ],
        **_transformation(field, field),
    }


def _transformation(item: Mapping[str, Any], field: Mapping[str, Any]) -> Json:
    ways = item.get("transformations")
    way = ways[0] if isinstance(ways, list) and ways and isinstance(ways[0], dict) else {}
    return {
        "transformationDescription": way.get("description") or field.get("transformationDescription"),
        "transformationType": way.get("subtype") or way.get("type") or field.get("transformationType"),
    }


def _dataset_type(facets: Mapping[str, Any]) -> str:
    kind = _text(facets, "datasetType", "datasetType") or ""
    return "STREAM" if kind.upper() in ("STREAM", "TOPIC") else "DB_TABLE"


def _job_type(facets: Mapping[str, Any]) -> str:
    kind = (_text(facets, "jobType", "processingType") or "BATCH").upper()
    return {"STREAMING": "STREAM"}.get(kind, kind)


def _arguments(facets: Mapping[str, Any]) -> dict[str, str]:
    listed = (facets.get("executionParameters") or {}).get("parameters")
    found = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    return {str(item.get("key")): str(item.get("value")) for item in found}


def _time(value: datetime | str | None) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _text(facets: Mapping[str, Any], facet: str, key: str) -> str | None:
    # Facets are kept as they came: nothing in them can be relied on.
    value = (facets.get(facet) or {}).get(key)
    return value if isinstance(value, str) else None
