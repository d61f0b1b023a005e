"""Finish what a crash left after its commit, and forget what came before it. Run at every start."""

from __future__ import annotations

from datetime import UTC, datetime

from lineage import dvc
from lineage.errors import HeadwaterError
from lineage.plan import Workspace
from lineage.projection import record_event
from lineage.provenance import publish
from lineage.quarantine import table_of
from lineage.run import is_current
from lineage.spec import Step
from lineage.store import version_of
from lineage.versions import Version


def recover(space: Workspace) -> list[str]:
    """Bring workspace and store into agreement; returns a line for each thing that was done.

    Committed versions are put into place; runs whose process died are marked ABORT; their unfinished
    files are removed. Safe while other processes run: what they hold is locked, and left alone.
    """
    done = [*_publish(space), *_abort(space)]
    if swept := space.objects.sweep():
        done.append(f"removed unfinished files of {swept} interrupted run{'s' if swept > 1 else ''}")
    return done


def _publish(space: Workspace) -> list[str]:
    done = []
    for version in _open_publications(space):
        place = f"{version.dataset}{_suffix(version.partition)}"
        step = next((step for step in space.project.steps if step.dataset == table_of(version.dataset)), None)
        lock = f"step:{step.full_name}{_suffix(version.partition)}" if step else ""
        if step is None or space.store.is_locked(lock):
            continue
        with space.store.lock(lock):
            # Somebody may have finished it, or committed a newer version, before the lock was ours.
            if version not in _open_publications(space):
                continue
            try:
                _finish(space, step, version)
            except (HeadwaterError, OSError) as error:
                # A lost object, a full disk, a dvc.lock that cannot be read: the step's next run sees to it.
                done.append(f"could not put {place} into place ({error})")
            else:
                done.append(f"put {place} into place")
    return done


def _open_publications(space: Workspace) -> list[Version]:
    return [version_of(row) for row in space.store.rows("open_publications")]


def _finish(space: Workspace, step: Step, version: Version) -> None:
    publish(space, version)
    with space.store.lock("dvc.lock"):
        dvc.record_stage(space, step, up_to_date=lambda: is_current(space, step))
    space.store.run("delete_publication", dataset=version.dataset, partition=version.partition, sha256=version.sha256)


def _abort(space: Workspace) -> list[str]:
    done = []
    for row in space.store.rows("unfinished_runs"):
        if space.store.is_locked(f"run:{row['run_id']}"):
            continue
        with space.store.transaction():
            error = "The process that ran it ended before it did."
            ended = space.store.run(
                "end_run", run_id=row["run_id"], state="ABORT", ended_at=datetime.now(UTC), error=error
            )
            start = space.store.row("start_event", run_id=str(row["run_id"]))
            if ended and start:
                event = {**start["body"], "eventType": "ABORT", "eventTime": datetime.now(UTC).isoformat()}
                record_event(space.store, event, relay=space.settings.openlineage_url is not None)
        if ended:
            done.append(f"forgot the unfinished run of {row['step']}{_suffix(row['partition'])}")
    return done


def _suffix(partition: str) -> str:
    return f"[{partition}]" if partition else ""
