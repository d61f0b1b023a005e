"""Reading what the graph knows by name: namespaces, their datasets and jobs, runs, and the events themselves."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

import orjson

from lineage.errors import NotFoundError
from lineage.graph.index import Entry, GraphIndex
from lineage.graph.nodes import Node
from lineage.service.graph import describe, describe_whole, fill_facets, find_node
from lineage.service.marquez import (
    Json,
    facets_json,
    job_version_json,
    json_bytes,
    namespace_json,
    run_io_json,
    run_json,
    transitions,
    version_json,
)
from lineage.store import Row, Store

_LATEST_RUNS = 10


class Page(NamedTuple):
    """Which part of a list is wanted."""

    limit: int
    offset: int


def list_namespaces(store: Store) -> Json:
    """Every namespace of a dataset or job."""
    return {"namespaces": [namespace_json(row) for row in store.rows("graph_namespaces")]}


def list_nodes(store: Store, index: GraphIndex, kind: str, namespace: str, page: Page) -> bytes:
    """The datasets or jobs of a namespace by name, as JSON; raises NotFoundError when nothing is in it."""
    with index:
        index.refresh(store)
        found = index.listed(kind, namespace)
        if not found:
            _require_namespace(store, namespace)
        chosen = found[page.offset : page.offset + page.limit]
        listed = _jobs(store, index, chosen) if kind == "job" else b",".join(describe(store, index, chosen))
        return b'{"%ss":[%s],"totalCount":%d}' % (kind.encode(), listed, len(found))


def read_node(store: Store, index: GraphIndex, node: Node) -> bytes:
    """One dataset or job as JSON, also by another name of it; raises NotFoundError naming the nearest."""
    with index:
        index.refresh(store)
        return describe_whole(store, find_node(index, [node]))


def read_job(store: Store, index: GraphIndex, job: Node) -> bytes:
    """One job as JSON, with its ten latest runs; raises NotFoundError naming the nearest."""
    with index:
        index.refresh(store)
        entry = find_node(index, [job])
        described = describe_whole(store, entry)
    runs = _runs(store, store.rows("job_runs", job=entry.keys[0], limit=_LATEST_RUNS, offset=0))
    return b'%s,"latestRuns":%s}' % (described[:-1], json_bytes(runs))


def list_all_jobs(store: Store, index: GraphIndex, page: Page) -> bytes:
    """The jobs of all namespaces, as JSON."""
    with index:
        index.refresh(store)
        found = index.listed("job")
        listed = _jobs(store, index, found[page.offset : page.offset + page.limit])
    return b'{"jobs":[%s],"totalCount":%d}' % (listed, len(found))


def list_jobs_by_state(
    store: Store, index: GraphIndex, namespace: str | None, states: Sequence[str], page: Page
) -> bytes:
    """The jobs, of one namespace or all, whose latest run is in one of these states of Marquez's, as JSON."""
    kept = [event for state in states for event in transitions(state)]
    with index:
        index.refresh(store)
        rows, total = _page(store, "jobs_by_last_state", page, namespace=namespace, states=kept)
        listed = _jobs(store, index, [index.of_key(row["node_id"]) for row in rows])
    return b'{"jobs":[%s],"totalCount":%d}' % (listed, total)


def list_runs(store: Store, index: GraphIndex, job: Node, page: Page) -> Json:
    """The runs of a job, newest first; raises NotFoundError naming the nearest job."""
    with index:
        index.refresh(store)
        key = find_node(index, [job]).keys[0]
    rows = store.rows("job_runs", job=key, limit=page.limit, offset=page.offset)
    count = store.row("count_job_runs", job=key)
    return {"runs": _runs(store, rows), "totalCount": count["total"] if count else 0}


def list_job_versions(store: Store, index: GraphIndex, job: Node, page: Page, version: UUID | None = None) -> Json:
    """What a job read and wrote together, newest first: each such set is a version of it."""
    with index:
        index.refresh(store)
        entry = find_node(index, [job])
        location = orjson.loads(describe_whole(store, entry))["location"]
    rows, total = _page(store, "job_versions", page, job=entry.keys[0], version=version)
    runs = {UUID(run["id"]): run for run in _runs(store, store.rows("runs", ids=[row["run_id"] for row in rows]))}
    versions = [job_version_json(entry.node, row, runs.get(row["run_id"]), location) for row in rows]
    return {"versions": versions, "totalCount": total}


def read_job_version(store: Store, index: GraphIndex, job: Node, version: str) -> Json:
    """One version of a job; raises NotFoundError."""
    if known := run_key(version):
        for found in list_job_versions(store, index, job, Page(1, 0), known)["versions"]:
            return dict(found)
    raise NotFoundError(f"There is no version {version!r} of job {job.name!r}; …/versions lists those that are.")


def list_versions(store: Store, index: GraphIndex, dataset: Node, page: Page, version: str | None = None) -> Json:
    """The versions of a dataset, newest first: those that events name, else one for each complete run that wrote it."""
    with index:
        index.refresh(store)
        entry = find_node(index, [dataset])
    rows, total = _page(store, "dataset_versions", page, ids=entry.keys, version=version)
    fill_facets(store, [row["facets"] for row in rows])
    versions = [version_json(entry.node.namespace, entry.node.name, row) for row in rows]
    return {"versions": versions, "totalCount": total}


def read_version(store: Store, index: GraphIndex, dataset: Node, version: str) -> Json:
    """One version of a dataset; raises NotFoundError."""
    for found in list_versions(store, index, dataset, Page(1, 0), version)["versions"]:
        return dict(found)
    raise NotFoundError(
        f"There is no version {version!r} of dataset {dataset.name!r}; …/versions lists those that are."
    )


def read_run_facets(store: Store, run_id: str, kind: str) -> Json:
    """The facets of a run, or those of its job."""
    run = read_run(store, run_id)
    if kind == "run":
        return {"runId": run["id"], "facets": run["facets"]}
    rows = store.rows("graph_jobs", ids=[Node("job", run["job"]["namespace"], run["job"]["name"]).key])
    return {"runId": run["id"], "facets": facets_json(rows[0]["facets"])}


def read_run(store: Store, run_id: str) -> Json:
    """One run; raises NotFoundError."""
    if (known := run_key(run_id)) and (row := store.row("graph_run", run_id=known)):
        return _runs(store, [row])[0]
    raise no_run(store, run_id)


def no_run(store: Store, run_id: str) -> NotFoundError:
    """The error that says a run is not there, or was pruned."""
    if (known := run_key(run_id)) and (row := store.row("pruned_run", run_id=known)):
        when = f"{row['pruned_at'].astimezone(UTC):%Y-%m-%d}"
        return NotFoundError(
            f"Run {run_id!r} was pruned on {when}; `headwater lineage prune --undo` brings back what was not purged."
        )
    return NotFoundError(f"There is no run {run_id!r}; the latest run of a job is in its latestRun.")


def _jobs(store: Store, index: GraphIndex, jobs: Sequence[Entry]) -> bytes:
    """Jobs as JSON, with how their latest runs went."""
    runs: dict[UUID, list[Json]] = {job.keys[0]: [] for job in jobs}
    for row in store.rows("latest_runs", ids=[*runs], limit=_LATEST_RUNS):
        runs[row["job_id"]].append(run_json(row))
    return b",".join(
        b'%s,"latestRuns":%s}' % (described[:-1], json_bytes(runs[job.keys[0]]))
        for job, described in zip(jobs, describe(store, index, jobs), strict=True)
    )


def _runs(store: Store, rows: Sequence[Row]) -> list[Json]:
    """Runs as JSON, with what they read and wrote."""
    io: dict[tuple[UUID, UUID], list[Row]] = {}
    for row in store.rows("run_io", ids=[row["run_id"] for row in rows]):
        io.setdefault((row["run_id"], row["job"]), []).append(row)
    return [{**run_json(row), **run_io_json(io.get((row["run_id"], row["job_id"]), ()))} for row in rows]


def run_key(text: str) -> UUID | None:
    """A run's id, None for what is none."""
    try:
        return UUID(text)
    except ValueError:
        return None


def list_events(
    store: Store, page: Page, *, after: datetime | None, before: datetime | None, sort: Literal["asc", "desc"]
) -> Json:
    """The events whose time is not before `after` and before `before`, as they were sent."""
    query = "events" if sort == "desc" else "events_oldest_first"
    rows = store.rows(query, limit=page.limit, offset=page.offset, after=after, before=before)
    count = store.row("count_events", after=after, before=before)
    return {"events": [row["body"] for row in rows], "totalCount": count["total"] if count else 0}


def list_events_of(store: Store, namespace: str, page: Page) -> Json:
    """The events that name a job or a dataset of a namespace, newest first; raises NotFoundError."""
    _require_namespace(store, namespace)
    rows, total = _page(store, "events_of_namespace", page, namespace=namespace)
    return {"events": [row["body"] for row in rows], "totalCount": total}


def _require_namespace(store: Store, namespace: str) -> None:
    names = [row["name"] for row in store.rows("graph_namespaces")]
    if namespace not in names:
        nearest = tuple(difflib.get_close_matches(namespace, names)) or tuple(names[:3])
        hint = f"; there are {', '.join(nearest)}" if nearest else ""
        raise NotFoundError(f"There is no namespace {namespace!r}{hint}.", nearest)


def _page(store: Store, query: str, page: Page, **parameters: Any) -> tuple[list[Row], int]:
    if rows := store.rows(query, limit=page.limit, offset=page.offset, **parameters):
        return rows, rows[0]["total"]
    # Behind the last row nobody counts the rows.
    first = store.row(query, limit=1, offset=0, **parameters)
    return [], first["total"] if first else 0
