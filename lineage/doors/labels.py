"""What people say beside events: namespaces, sources, tags; and what they delete."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from lineage.doors.asking import Index, Name, NewName, Paged, Pool, Said, json_answer
from lineage.graph.nodes import Node
from lineage.service import labels

_Text = Annotated[str, Field(min_length=1, max_length=1_000)]

doors = APIRouter()


class _Namespace(Said):
    owner_name: _Text | None = None
    description: str | None = None


class _Source(Said):
    type: _Text
    connection_url: _Text
    description: str | None = None


class _Tag(Said):
    description: str | None = None


@doors.get("/api/v1/namespaces/{namespace}")
def get_namespace(pool: Pool, namespace: Name) -> Response:
    """One namespace."""
    return JSONResponse(pool.use(lambda store: labels.read_namespace(store, namespace)))


@doors.put("/api/v1/namespaces/{namespace}")
def put_namespace(pool: Pool, namespace: NewName, said: _Namespace) -> Response:
    """Declare a namespace, or say anew whose it is."""
    owner, description = said.owner_name, said.description
    return JSONResponse(
        pool.use(lambda store: labels.set_namespace(store, namespace, owner=owner, description=description))
    )


@doors.delete("/api/v1/namespaces/{namespace}")
def delete_namespace(pool: Pool, namespace: Name) -> Response:
    """Hide a namespace with all that is in it; newer events bring back what they name."""
    return JSONResponse(pool.use(lambda store: labels.delete_namespace(store, namespace)))


@doors.get("/api/v1/sources")
def get_sources(pool: Pool, page: Paged) -> Response:
    """The sources that were declared, or that datasets say they stand in."""
    return JSONResponse(pool.use(lambda store: labels.list_sources(store, page)))


@doors.get("/api/v1/sources/{source}")
def get_source(pool: Pool, source: Name) -> Response:
    """One source."""
    return JSONResponse(pool.use(lambda store: labels.read_source(store, source)))


@doors.put("/api/v1/sources/{source}")
def put_source(pool: Pool, source: NewName, said: _Source) -> Response:
    """Declare a source."""
    what: dict[str, Any] = {"kind": said.type, "url": said.connection_url, "description": said.description}
    return JSONResponse(pool.use(lambda store: labels.set_source(store, source, **what)))


@doors.get("/api/v1/tags")
def get_tags(pool: Pool, page: Paged) -> Response:
    """The tags that were declared."""
    return JSONResponse(pool.use(lambda store: labels.list_tags(store, page)))


@doors.put("/api/v1/tags/{tag}")
def put_tag(pool: Pool, tag: NewName, said: _Tag | None = None) -> Response:
    """Declare a tag, or describe it."""
    description = said.description if said else None
    return JSONResponse(pool.use(lambda store: labels.set_tag(store, tag, description)))


@doors.post("/api/v1/namespaces/{namespace}/datasets/{name}/tags/{tag}")
def post_dataset_tag(pool: Pool, index: Index, namespace: Name, name: Name, tag: NewName) -> Response:
    """Tag a dataset."""
    return _tag(pool, index, Node("dataset", namespace, name), tag)


@doors.delete("/api/v1/namespaces/{namespace}/datasets/{name}/tags/{tag}")
def delete_dataset_tag(pool: Pool, index: Index, namespace: Name, name: Name, tag: NewName) -> Response:
    """Take a tag of a dataset away."""
    return _tag(pool, index, Node("dataset", namespace, name), tag, removed=True)


@doors.post("/api/v1/namespaces/{namespace}/datasets/{name}/fields/{field}/tags/{tag}")
def post_field_tag(pool: Pool, index: Index, namespace: Name, name: Name, field: Name, tag: NewName) -> Response:
    """Tag a field of a dataset."""
    return _tag(pool, index, Node("dataset", namespace, name), tag, field)


@doors.delete("/api/v1/namespaces/{namespace}/datasets/{name}/fields/{field}/tags/{tag}")
def delete_field_tag(pool: Pool, index: Index, namespace: Name, name: Name, field: Name, tag: NewName) -> Response:
    """Take a tag of a field away."""
    return _tag(pool, index, Node("dataset", namespace, name), tag, field, removed=True)


@doors.post("/api/v1/namespaces/{namespace}/jobs/{name}/tags/{tag}")
def post_job_tag(pool: Pool, index: Index, namespace: Name, name: Name, tag: NewName) -> Response:
    """Tag a job."""
    return _tag(pool, index, Node("job", namespace, name), tag)


@doors.delete("/api/v1/namespaces/{namespace}/jobs/{name}/tags/{tag}")
def delete_job_tag(pool: Pool, index: Index, namespace: Name, name: Name, tag: NewName) -> Response:
    """Take a tag of a job away."""
    return _tag(pool, index, Node("job", namespace, name), tag, removed=True)


@doors.delete("/api/v1/namespaces/{namespace}/datasets/{name}")
def delete_dataset(pool: Pool, index: Index, namespace: Name, name: Name) -> Response:
    """Hide a dataset until a newer event names it."""
    node = Node("dataset", namespace, name)
    return json_answer(pool.use(lambda store: labels.delete_node(store, index, node)))


@doors.delete("/api/v1/namespaces/{namespace}/jobs/{name}")
def delete_job(pool: Pool, index: Index, namespace: Name, name: Name) -> Response:
    """Hide a job until a newer event names it."""
    node = Node("job", namespace, name)
    return json_answer(pool.use(lambda store: labels.delete_node(store, index, node)))


def _tag(pool: Pool, index: Index, node: Node, tag: str, field: str = "", *, removed: bool = False) -> Response:
    return json_answer(pool.use(lambda store: labels.tag(store, index, node, tag, field=field, removed=removed)))
