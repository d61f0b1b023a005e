"""What rests on a dataset, on one version, on a raw file or on single rows: tables, bundles and predictions.

The walk goes forwards from run to run, in one query. Where the same bytes were written more than once, by runs that
read different things, what was read or predicted rests on the run that had written them last by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from psycopg.types.json import Jsonb

from lineage.names import find_versions
from lineage.plan import Workspace
from lineage.store import Row, Store
from lineage.tracing.ancestry import Identity

_ALWAYS = {"since": "-infinity", "until": "infinity"}
_PLACE = ("dataset", "partition", "sha256")
# How a prediction can rest on a thing: by its bundle, by what that was trained on, by the row it was asked about.
_WAYS = ("model", "training", "features")


@dataclass(frozen=True)
class ReachedRows:
    """Rows (positions, 0-based, ascending) of a table's version that something reached through one run that wrote it.

    `since` and `until` are the times, as Postgres writes them, in which it was the last to have written these bytes.
    """

    version: Identity
    rows: Sequence[int] | np.ndarray
    since: str = _ALWAYS["since"]
    until: str = _ALWAYS["until"]


def impact(
    space: Workspace, name: str, *, limit: int = 100, offset: int = 0, rows: Sequence[ReachedRows] | None = None
) -> dict[str, Any]:
    """Everything downstream of `name`, as plain JSON values.

    `name` is a dataset (all its versions: `flights.weather`, `flights.weather[2013-03]`), a version
    (`flights.weather[2013-03]@3fa1b2c3`, `@current`, `@previous`), a model's version (`flights-late-t0@champion`) or a
    recorded file's path (its current version, or that after the @). With `rows` it is only told: what is downstream is
    then these rows of table versions (their own and all that came of them), the bundles that were trained on a
    version that has any of them, and the predictions from exactly these rows, while they were what was reached.

    Keys: name, versions (what was asked about), tables (dataset, partition, version, current, row_count, run_id, step;
    with `rows` the number of `rows` reached instead of the last two), models (their names), bundles (model, version,
    aliases, answers, trained_at, run_id), deployments (decisions on these bundles) and predictions (count; by: way ->
    count; ids, oldest first, at most `limit` from `offset`; through: the ways of each of these, of model, training and
    features; next: the offset after them, None at the end). NotFoundError for a name that nothing answers to.
    """
    store = space.store
    held = spans(rows or ())
    asked = list(dict.fromkeys(item.version for item in rows)) if rows is not None else _asked(space, name)
    outputs = store.rows(
        "reached_outputs", versions=Jsonb(held if rows is not None else _places(asked)), onward=rows is None
    )
    bundles = _spans((row for row in outputs if row["model"]), "training")
    if rows is None:
        bundles += _always(asked, "model")
        tables = _tables(row for row in outputs if not row["model"])
    else:
        tables = _reached_tables(store, rows)
    deployed = store.rows("deployments", bundles=Jsonb(_unique(bundles)))
    return {
        "name": name,
        "versions": [{"dataset": d, "partition": p, "version": v} for d, p, v in asked],
        "tables": tables,
        "models": sorted({row["model"] for row in deployed}),
        "bundles": [_bundle(row) for row in deployed],
        "deployments": [_deployment(row, decision) for row in deployed for decision in row["decisions"]],
        "predictions": _predictions(
            store,
            bundles=bundles,
            versions=[] if rows is not None else _always(asked) + _spans(outputs),
            rows=held,
            page=(limit, offset),
        ),
    }


def table_of(found: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """What `impact` found as a table: a header, then a row a thing, with the same columns for all."""
    yield "kind", "name", "partition", "version", "state", "through"
    for item in found["tables"]:
        state = "current" if item["current"] else "superseded"
        yield "table", item["dataset"], item["partition"], item["version"], state, ""
    for item in found["bundles"]:
        yield "bundle", item["model"], "", item["version"], " ".join(item["aliases"]), ""
    for item in found["deployments"]:
        state = f"{'promoted' if item['promoted'] else 'refused'} by {item['decided_by']} at {item['decided_at']}"
        yield "deployment", item["model"], "", item["version"], state, ""
    predictions = found["predictions"]
    for name, through in zip(predictions["ids"], predictions["through"], strict=True):
        yield "prediction", name, "", "", "", " ".join(through)


def _asked(space: Workspace, name: str) -> list[Identity]:
    found = (item.version for item in find_versions(space, name))
    return [(version.dataset, version.partition, version.sha256) for version in found]


def _places(versions: Iterable[Identity]) -> list[dict[str, str]]:
    return [dict(zip(_PLACE, version, strict=True)) for version in versions]


def distinct(rows: Iterable[ReachedRows]) -> dict[Identity, np.ndarray]:
    """By version the rows (ascending) that were reached, through whichever run."""
    found: dict[Identity, list[Any]] = {}
    for item in rows:
        found.setdefault(item.version, []).append(item.rows)
    return {key: np.unique(np.concatenate(parts)) for key, parts in found.items()}


def _always(asked: Iterable[Identity], through: str = "") -> list[dict[str, str]]:
    """What was asked about itself, whenever it was used."""
    return [{**place, **_ALWAYS, "through": through} for place in _places(asked)]


def _spans(outputs: Iterable[Row], through: str = "") -> list[dict[str, str]]:
    """What was reached, with the time in which it was what the reached run had written."""
    return [{**{name: row[name] for name in (*_PLACE, "since", "until")}, "through": through} for row in outputs]


def _unique(bundles: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    found = dict.fromkeys((item["dataset"], item["sha256"]) for item in bundles)
    return [{"dataset": dataset, "sha256": sha256} for dataset, sha256 in found]


def spans(rows: Iterable[ReachedRows]) -> list[dict[str, Any]]:
    """The versions and times, and the rows as `positions`, as the store's queries take them."""
    return [
        {
            **dict(zip(_PLACE, item.version, strict=True)),
            "since": item.since,
            "until": item.until,
            "positions": np.asarray(item.rows).tolist(),
        }
        for item in rows
    ]


def _tables(outputs: Iterable[Row]) -> list[dict[str, Any]]:
    """Each version once, by the last of the reached runs that wrote it."""
    found: dict[Identity, dict[str, Any]] = {}
    for row in outputs:
        told = found.setdefault(
            (row["dataset"], row["partition"], row["sha256"]),
            {
                "dataset": row["dataset"],
                "partition": row["partition"],
                "version": row["sha256"],
                "current": False,
                "row_count": row["row_count"],
                "run_id": str(row["run_id"]),
                "step": row["step"],
            },
        )
        told["current"] |= row["is_current"]
    return [*found.values()]


def _reached_tables(store: Store, rows: Iterable[ReachedRows]) -> list[dict[str, Any]]:
    reached = distinct(rows)
    return [
        {
            "dataset": row["dataset"],
            "partition": row["partition"],
            "version": row["sha256"],
            "current": row["is_current"],
            "row_count": row["row_count"],
            "rows": len(reached[row["dataset"], row["partition"], row["sha256"]]),
        }
        for row in store.rows("described_versions", versions=Jsonb(_places(reached)))
    ]


def _bundle(row: Row) -> dict[str, Any]:
    return {
        "model": row["model"],
        "version": row["digest"],
        "aliases": row["aliases"],
        "answers": "champion" in row["aliases"],
        "trained_at": row["created_at"].isoformat(),
        "run_id": str(row["run_id"]),
    }


def _deployment(row: Row, decision: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": row["model"], "version": row["digest"], **decision}


def _predictions(store: Store, *, page: tuple[int, int], **what: list[dict[str, Any]]) -> dict[str, Any]:
    limit, offset = page
    given = {name: Jsonb(value) for name, value in what.items()}
    row = store.row("reached_predictions", limit=limit, offset=offset, **given)
    assert row is not None
    listed = row["listed"]
    end = offset + len(listed)
    return {
        "count": row["count"],
        "by": {way: row[way] for way in _WAYS if row[way]},
        "ids": [item["id"] for item in listed],
        "through": [item["through"] for item in listed],
        "next": end if listed and end < row["count"] else None,
    }
