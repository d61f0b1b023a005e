"""Reading what the graph knows by name: namespaces, their datasets and jobs, runs, and the events themselves."""

from __future__ import annotations

import difflib
from datetime import datetime
from typing import Any, Literal, NamedTuple

from lineage.errors import NotFoundError
from lineage.service.graph import Node, missing, read_datasets, read_jobs
from lineage.service.marquez import Json, namespace_json, run_json
from lineage.store import Row, Store


class Page(NamedTuple):
    """Which part of a list is wanted."""

    limit: int
    offset: int


def list_namespaces(store: Store) -> Json:
    """Every namespace of a dataset or job."""
    return {"namespaces": [namespace_json(row) for row in store.rows("graph_namespaces")]}


def list_datasets(store: Store, namespace: str, page: Page) -> Json:
    """The datasets of a namespace by name; raises NotFoundError when nothing is in it."""
    nodes, total = _nodes(store, "dataset", namespace, page)
    found = read_datasets(store, nodes)
    return {"datasets": [found[node] for node in nodes if node in found], "totalCount": total}


def list_jobs(store: Store, namespace: str, page: Page) -> Json:
    """The jobs of a namespace by name; raises NotFoundError when nothing is in it."""
    nodes, total = _nodes(store, "job", namespace, page)
    found = read_jobs(store, nodes)
    return {"jobs": [found[node] for node in nodes if node in found], "totalCount": total}


def read_dataset(store: Store, namespace: str, name: str) -> Json:
    """One dataset; raises NotFoundError naming the nearest."""
    node = Node("dataset", namespace, name)
    if found := read_datasets(store, [node]):
        return found[node]
    raise missing(store, node)


def read_job(store: Store, namespace: str, name: str) -> Json:
    """One job; raises NotFoundError naming the nearest."""
    node = Node("job", namespace, name)
    if found := read_jobs(store, [node]):
        return found[node]
    raise missing(store, node)


def read_run(store: Store, run_id: str) -> Json:
    """One run; raises NotFoundError."""
    if row := store.row("graph_run", run_id=run_id):
        return run_json(row)
    raise NotFoundError(f"There is no run {run_id!r}; the latest run of a job is in its latestRun.")


def list_events(
    store: Store, page: Page, *, after: datetime | None, before: datetime | None, sort: Literal["asc", "desc"]
) -> Json:
    """The events whose time is not before `after` and before `before`, as they were sent."""
    query = "events" if sort == "desc" else "events_oldest_first"
    rows, total = _page(store, query, page, after=after, before=before)
    return {"events": [row["body"] for row in rows], "totalCount": total}


def _nodes(store: Store, kind: str, namespace: str, page: Page) -> tuple[list[Node], int]:
    rows, total = _page(store, f"{kind}_names", page, namespace=namespace)
    if not total:
        _require_namespace(store, namespace)
    return [Node(kind, namespace, row["name"]) for row in rows], total


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
