"""Prune old runs and events from what the lineage service tells; bring them back, or remove them for good.

What stays, whatever its age: of each job and dataset what was newest, which draws the current graph and the graph as of
any time since; runs that have not ended; runs that current versions, models and kept predictions rest on, as for gc;
and what is still to be sent on. Everything else from before a time is marked; what is newer than all that was known of
a run takes its mark away, and so does whoever prunes or purges when the run is needed again (decision 017).

Work is done in small transactions under the lock of those who draw, so that events come in meanwhile. It may be killed
at any time: to ask for the same again finishes it. The project's own record of its runs is not touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from lineage.gc import roots
from lineage.projection import draw_backlog
from lineage.proof.foundation import foundation
from lineage.store import Row, Store
from lineage.versions import Version

_LOCK = "prune"
# Jobs or datasets that are looked at together, and rows that one transaction changes.
_NODES, _ROWS = 200, 1_000
# Why runs stay is told in the order of ranks: 0 and 1 are the newest, 99 those that have not ended.
_FIRST_RANK, _UNSENT_RANK = 2, 98

Reasons = Mapping[str, Sequence[Version]]
# One batch of some work; how many rows it changed, None when nothing is left to do.
_Batch = Callable[[], int | None]


@dataclass(frozen=True)
class Counts:
    """Runs, declarations (job events, and versions that no run wrote) and events; None where nobody counted."""

    runs: int = 0
    declarations: int = 0
    events: int | None = 0

    def __bool__(self) -> bool:
        return any(vars(self).values())


@dataclass(frozen=True)
class Pruned:
    """What was pruned, or would be with `dry_run`, and what from before that time stays; `reasons` count its runs."""

    before: datetime
    dry_run: bool
    pruned: Counts
    kept: Counts
    reasons: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        kept = {**vars(self.kept), "reasons": {**self.reasons}}
        told = {"before": self.before.isoformat(), "dry_run": self.dry_run}
        return {**told, "pruned": {**vars(self.pruned)}, "kept": kept}


def prune(store: Store, before: datetime, *, also: Reasons | None = None, dry_run: bool = False) -> Pruned:
    """Leave runs and events from before a time out of answers; `also` are further versions to keep, by the reason.

    A run is from before it if all that is known of it is; its events go with it. A dry run counts no events.
    """
    draw_backlog(store)
    with store.lock(_LOCK):
        _note_needed(store, also or {})
        if dry_run:
            known = retention_horizon(store) or before
            return _told(store, before, max(before, known))
        noted = store.row("insert_pruning", before=before)
        assert noted is not None
        at, horizon = noted["pruned_at"], noted["horizon"]
        _release(store, horizon)
        times = {"before": before, "horizon": horizon, "pruned_at": at, "limit": _ROWS}
        runs = Counter(found["designed"] for jobs in _chunks(store, "job") for found in _mark_runs(store, jobs, times))
        versions = sum(_mark_versions(store, datasets, times) for datasets in _chunks(store, "dataset"))
        events, kept = _mark_events(store, times)
        marked = Counts(runs[False], runs[True] + versions, events)
        if not marked:
            # Of the graph before then nothing is missing.
            store.run("delete_pruning", pruned_at=at)
        return _told(store, before, horizon, marked, kept)


def undo(store: Store) -> Counts:
    """Bring everything back that was pruned and was not to be removed for good."""
    with store.lock(_LOCK):
        after = _purged_until(store)
        runs = Counter(
            row["designed"] for row in _pages(store, lambda: store.rows("restore_runs", after=after, limit=_ROWS))
        )
        versions = _repeat(store, lambda: store.run("restore_versions", after=after, limit=_ROWS) or None)
        events = _repeat(store, lambda: _number(store.row("restore_events", after=after, limit=_ROWS), "total") or None)
        store.run("undo_prunings")
    return Counts(runs[False], runs[True] + versions, events)


def purge(store: Store, until: datetime, *, also: Reasons | None = None) -> Counts:
    """Remove for good what was pruned until then; what is needed again by now comes back instead."""
    draw_backlog(store)
    with store.lock(_LOCK):
        _note_needed(store, also or {})
        store.run("note_purge", until=until)
        # Of one that was killed something may be left.
        if not (noted := _purged_until(store)):
            return Counts()
        until, horizon, runs = noted, retention_horizon(store), Counter[bool]()
        _repeat(store, partial(_purge_runs, store, until, horizon, runs))
        versions = _repeat(store, partial(_purge_versions, store, until, horizon))
        events = _settle_events(store, until)
    return Counts(runs[False], runs[True] + versions, events)


def retention_horizon(store: Store) -> datetime | None:
    """Of the time before it not all is told any more; None where nothing is pruned."""
    row = store.row("retention_horizon")
    return row["horizon"] if row else None


def _note_needed(store: Store, also: Reasons) -> None:
    """Write down which runs something outside the graph rests on, each with the first reason."""
    needed = {reason: _runs_behind(store, versions) for reason, versions in {**roots(store), **also}.items()}
    with store.transaction():
        store.run("clear_needed")
        for rank, (reason, runs) in enumerate(needed.items(), _FIRST_RANK):
            store.run("insert_needed", runs=runs, rank=rank, reason=reason)
        store.run("insert_unsent", rank=_UNSENT_RANK, reason="waiting to be sent")


def _runs_behind(store: Store, versions: Sequence[Version]) -> list[UUID]:
    writings = foundation(store, versions).writings.values()
    return [*{writing.run["run_id"] for several in writings for writing in several}]


def _release(store: Store, horizon: datetime) -> None:
    """Take away the marks of what is needed, or newest, by now; their events come back after them."""
    for jobs in _chunks(store, "job"):
        _once(store, partial(store.run, "release_runs", jobs=jobs, horizon=horizon))
    for datasets in _chunks(store, "dataset"):
        _once(store, partial(store.run, "release_versions", datasets=datasets, horizon=horizon))
    _settle_events(store, None)


def _mark_runs(store: Store, jobs: Sequence[UUID], times: Mapping[str, Any]) -> Iterator[Row]:
    yield from _pages(store, partial(store.rows, "mark_runs", jobs=jobs, **times))


def _mark_versions(store: Store, datasets: Sequence[UUID], times: Mapping[str, Any]) -> int:
    return _repeat(store, lambda: store.run("mark_versions", datasets=datasets, **times) or None)


def _mark_events(store: Store, times: Mapping[str, Any]) -> tuple[int, int]:
    """How many events were marked, and how many stay."""
    place: dict[str, Any] = {"time": "-infinity", "event_id": 0}
    seen = Counter[str]()

    def page() -> int | None:
        row = store.row("mark_events", **place, **times)
        if row is None or not row["total"]:
            return None
        place.update(time=row["time"], event_id=row["event_id"])
        seen["kept"] += row["kept"]
        return int(row["total"] - row["kept"])

    return _repeat(store, page), seen["kept"]


def _settle_events(store: Store, until: datetime | None) -> int:
    """Bring events back whose runs are back, and remove the others that were pruned until then; how many were."""
    place = {"event_id": 0}

    def page() -> int | None:
        row = store.row("settle_events", **place, until=until, limit=_ROWS)
        if row is None or not row["total"]:
            return None
        place["event_id"] = row["event_id"]
        return int(row["gone"])

    return _repeat(store, page)


def _purge_runs(store: Store, until: datetime, horizon: datetime | None, found: Counter[bool]) -> int | None:
    jobs = [row["job"] for row in store.rows("purgeable_jobs", until=until, limit=_NODES)]
    # An event may have come since that lets one of them speak for its job.
    store.run("release_runs", jobs=jobs, horizon=horizon)
    rows = store.rows("purge_runs", until=until, jobs=jobs, limit=_ROWS)
    found.update(row["designed"] for row in rows)
    return len(rows) if jobs else None


def _purge_versions(store: Store, until: datetime, horizon: datetime | None) -> int | None:
    datasets = [row["dataset"] for row in store.rows("purgeable_datasets", until=until, limit=_NODES)]
    store.run("release_versions", datasets=datasets, horizon=horizon)
    return store.run("purge_versions", until=until, datasets=datasets, limit=_ROWS) if datasets else None


def _told(
    store: Store, before: datetime, horizon: datetime, marked: Counts | None = None, kept_events: int | None = None
) -> Pruned:
    """What came of it; without `marked`, what would."""
    reasons, ranks, going, staying = Counter[str](), dict[str, int](), Counter[bool](), Counter[bool]()
    for jobs in _chunks(store, "job"):
        for row in store.rows("old_runs", jobs=jobs, before=before, horizon=horizon):
            (staying if row["reason"] else going)[row["designed"]] += row["total"]
            if row["reason"] and not row["designed"]:
                reasons[row["reason"]] += row["total"]
                ranks[row["reason"]] = row["rank"]
    for datasets in _chunks(store, "dataset"):
        versions = store.row("old_versions", datasets=datasets, before=before, horizon=horizon)
        going[True] += _number(versions, "total")
        staying[True] += _number(versions, "kept")
    return Pruned(
        before,
        marked is None,
        Counts(going[False], going[True], None) if marked is None else marked,
        Counts(staying[False], staying[True], kept_events),
        {reason: reasons[reason] for reason in sorted(reasons, key=lambda name: ranks[name])},
    )


def _purged_until(store: Store) -> datetime | None:
    row = store.row("purged_until")
    return row["time"] if row else None


def _number(row: Row | None, name: str) -> int:
    return int(row[name]) if row else 0


def _chunks(store: Store, kind: str) -> Iterator[list[UUID]]:
    """All jobs or datasets, some at a time."""
    last = None
    while chunk := [row["node_id"] for row in store.rows("nodes_behind", kind=kind, last=last, limit=_NODES)]:
        yield chunk
        last = chunk[-1]


def _once(store: Store, batch: Callable[[], Any]) -> Any:
    """What a batch returns; nobody draws meanwhile."""
    with store.transaction():
        store.run("lock_graph")
        return batch()


def _repeat(store: Store, batch: _Batch) -> int:
    """Do batches until nothing is left to do; how many rows they changed."""
    total = 0
    while (changed := _once(store, batch)) is not None:
        total += changed
    return total


def _pages(store: Store, batch: Callable[[], list[Row] | None]) -> Iterator[Row]:
    """Do batches until nothing is left to do; the rows that they changed."""
    while rows := _once(store, batch):
        yield from rows
