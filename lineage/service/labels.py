"""What people say beside events: namespaces and their owners, sources, tags; and what they delete.

Deleting hides: nothing is lost, and an event that is newer than the deletion brings a dataset or job back.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from lineage.errors import NotFoundError
from lineage.graph.index import GraphIndex
from lineage.graph.nodes import Node
from lineage.service.catalog import Page
from lineage.service.graph import describe_whole, find_node
from lineage.service.marquez import Json, namespace_json, source_json
from lineage.store import Store


def read_namespace(store: Store, name: str) -> Json:
    """One namespace; raises NotFoundError."""
    for row in store.rows("graph_namespaces"):
        if row["name"] == name:
            return namespace_json(row)
    raise NotFoundError(f"There is no namespace {name!r}; /api/v1/namespaces lists those that are.")


def set_namespace(store: Store, name: str, *, owner: str | None, description: str | None) -> Json:
    """Declare a namespace, or say anew whose it is."""
    store.run("set_namespace", name=name, owner=owner, description=description)
    return read_namespace(store, name)


def delete_namespace(store: Store, name: str) -> Json:
    """Hide a namespace with all that is in it; returns it as it was."""
    found = read_namespace(store, name)
    with store.transaction():
        store.run("hide_nodes_of_namespace", name=name)
        store.run("hide_namespace", name=name)
    return {**found, "isHidden": True}


def list_sources(store: Store, page: Page) -> Json:
    """The sources that were declared, or that datasets say they stand in."""
    rows = store.rows("sources", name=None, limit=page.limit, offset=page.offset)
    return {"sources": [source_json(row) for row in rows], "totalCount": rows[0]["total"] if rows else 0}


def read_source(store: Store, name: str) -> Json:
    """One source; raises NotFoundError."""
    if row := store.row("sources", name=name, limit=1, offset=0):
        return source_json(row)
    raise NotFoundError(f"There is no source {name!r}; /api/v1/sources lists those that are.")


def set_source(store: Store, name: str, *, kind: str, url: str, description: str | None) -> Json:
    """Declare a source."""
    store.run("set_source", name=name, type=kind, url=url, description=description)
    return read_source(store, name)


def list_tags(store: Store, page: Page) -> Json:
    """The tags that were declared."""
    return {"tags": [dict(row) for row in store.rows("tags", limit=page.limit, offset=page.offset)]}


def set_tag(store: Store, name: str, description: str | None) -> Json:
    """Declare a tag, or describe it."""
    store.run("set_tag", name=name, description=description)
    return {"name": name, "description": description}


def tag(store: Store, index: GraphIndex, node: Node, name: str, *, field: str = "", removed: bool = False) -> bytes:
    """Tag a dataset, one of its fields or a job, or take the tag away; returns the node as JSON.

    A tag that nobody declared is declared by this.
    """
    with index:
        index.refresh(store)
        entry = find_node(index, [node])
        key = entry.keys[0]
        if field:
            _require_field(store, entry.keys, node, field)
        with store.transaction():
            store.run("set_tag", name=name, description=None)
            store.run("set_tagged", node=key, field=field, tag=name, removed=removed)
            store.run("touch_node", node=key)
        return describe_whole(store, entry)


def delete_node(store: Store, index: GraphIndex, node: Node) -> bytes:
    """Hide a dataset or job until an event newer than now names it; it as it was, as JSON."""
    with index:
        index.refresh(store)
        entry = find_node(index, [node])
        found = describe_whole(store, entry)
        store.run("hide_nodes", ids=entry.keys)
        return found


def _require_field(store: Store, keys: Sequence[UUID], node: Node, field: str) -> None:
    known = [item["name"] for row in store.rows("graph_fields", ids=keys) for item in row["fields"] or ()]
    if field not in known:
        raise NotFoundError(f"{node.id} has no field {field!r}; it has {', '.join(known) or 'none that is known'}.")
