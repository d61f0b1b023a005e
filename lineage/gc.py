"""Free objects of DVC's cache that nothing on record needs; lineage says what is needed.

What stays: current versions, bundles with an alias, and whatever predictions rest on, each with everything it was made
from; unfinished publications; what DVC's files in the working tree name. Rows in Postgres stay, so that what was freed
is still known. No step runs meanwhile: gc holds the lock of every partition, and those of dvc.lock and of DVC itself.
"""

from __future__ import annotations

import fcntl
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date
from pathlib import Path
from typing import Any

from lineage.errors import HeadwaterError, SettingsError
from lineage.objects import TEMPORARY
from lineage.plan import WHOLE, Workspace, label
from lineage.proof.foundation import foundation
from lineage.proof.tracked import tracked_md5s
from lineage.store import Store, version_of
from lineage.store.store import lock_number
from lineage.tracing.ancestry import recorded_version
from lineage.versions import FileVersion, Version

# What gc waits for, if it has to: called once for each, with its name.
Waiting = Callable[[str], None]


class BusyError(HeadwaterError):
    """Somebody else is at work in the cache."""


_OBJECT = re.compile(r"[0-9a-f]{32}(\.dir)?")
_ATTEMPTS = 100


@dataclass(frozen=True)
class Kept:
    """Objects that stay for one reason, and for none that was looked at before it."""

    reason: str
    objects: int
    size_bytes: int


@dataclass(frozen=True)
class Collected:
    """What gc freed, or would free with `dry_run`, and why the rest stays."""

    objects: int
    size_bytes: int
    indexes: int
    kept: tuple[Kept, ...]
    dry_run: bool

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "kept": [vars(item) for item in self.kept]}


def collect(
    space: Workspace,
    *,
    also: Mapping[str, Sequence[Version]] | None = None,
    dry_run: bool = False,
    waiting: Waiting = lambda _: None,
) -> Collected:
    """Free what nothing needs; `also` are further versions to keep, by the reason.

    Waits for steps that run. Raises SettingsError where a file that says what is needed cannot be read or the cache is
    not the project's own, IntegrityError for a damaged listing, BusyError when steps keep running; then nothing
    was freed.
    """
    folder = _own_cache(space)
    with _nothing_running(space, waiting):
        stored = _stored(folder)
        needed = _needed(space, also or {})
        kept = tuple(_kept(needed, stored))
        freed = {md5: size for md5, size in stored.items() if not any(md5 in md5s for md5s in needed.values())}
        if not dry_run:
            _free(space, freed)
        indexes = _free_indexes(space.settings.home, dry_run=dry_run) if freed else 0
    return Collected(len(freed), sum(freed.values()), indexes, kept, dry_run)


def roots(store: Store) -> dict[str, Sequence[Version]]:
    """reason -> the versions that stay for it, with all that they came from."""
    predicted = [recorded_version(store, **row) for row in store.rows("predicted_versions")]
    return {
        "current versions": store.all_current(),
        "bundles with an alias": [version_of(row) for row in store.rows("aliased_bundles")],
        "predictions": [*predicted, *(version_of(row) for row in store.rows("predicting_bundles"))],
        "unfinished publications": [version_of(row) for row in store.rows("open_publications")],
    }


def freed_on(store: Store, file: FileVersion) -> date | None:
    """When gc freed these bytes (UTC), if it did; written again since then, they are back all the same."""
    row = store.row("freed_object", md5=file.md5)
    return row["freed_at"].astimezone(UTC).date() if row else None


def fate(space: Workspace, file: FileVersion) -> str:
    """What became of bytes that are not to be had: `freed by headwater gc on` a day, or `gone or changed`."""
    freed = None if space.objects.path(file.md5).exists() else freed_on(space.store, file)
    return f"freed by `headwater gc` on {freed}" if freed else "gone or changed"


def _own_cache(space: Workspace) -> Path:
    folder = space.objects.path("00").parent
    if not folder.resolve().is_relative_to(space.root.resolve()):
        raise SettingsError(
            f"{folder} leads to {folder.resolve()}, outside of the project; other projects may need what is in there, "
            "so it is not collected."
        )
    return folder


def _stored(folder: Path) -> dict[str, int]:
    """md5 -> bytes of every object; what has another name is not ours to judge."""
    found = {}
    for path in folder.glob("??/*"):
        md5 = f"{path.parent.name}{path.name}"
        if _OBJECT.fullmatch(md5) and path.is_file():
            found[md5] = path.stat().st_size
    return found


def _needed(space: Workspace, also: Mapping[str, Sequence[Version]]) -> dict[str, set[str]]:
    """reason -> the objects that stay for it."""
    store = space.store
    needed = {reason: _md5s(store, versions) for reason, versions in {**roots(store), **also}.items()}
    return {**needed, "named by dvc.lock or a .dvc file": tracked_md5s(space.root, space.objects)}


def _md5s(store: Store, versions: Sequence[Version]) -> set[str]:
    return {file.md5 for _, file in foundation(store, versions).files()}


def _kept(needed: Mapping[str, set[str]], stored: Mapping[str, int]) -> Iterator[Kept]:
    counted: set[str] = set()
    for reason, md5s in needed.items():
        new = md5s & stored.keys() - counted
        counted |= new
        yield Kept(reason, len(new), sum(stored[md5] for md5 in new))


def _free(space: Workspace, freed: Mapping[str, int]) -> None:
    if not freed:
        return
    # On record first: after a crash in between, what is said to be freed and is there is simply there.
    space.store.run("insert_freed_objects", md5s=list(freed), sizes=list(freed.values()))
    space.store.run("delete_check_wording", md5s=list(freed))
    for md5 in freed:
        space.objects.path(md5).unlink(missing_ok=True)


def _free_indexes(home: Path, *, dry_run: bool) -> int:
    """Remove all indexes: their names do not tell of which versions they are, and any is built again when needed."""
    folders = [path for path in (home / "indexes").glob("??/*") if path.is_dir()]
    for folder in [] if dry_run else folders:
        # Renamed first: who opens it finds all of it or nothing.
        with (
            suppress(FileNotFoundError),
            tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=home / "indexes", ignore_cleanup_errors=True) as away,
        ):
            folder.rename(Path(away) / folder.name)
    return len(folders)


@contextmanager
def _nothing_running(space: Workspace, waiting: Waiting) -> Iterator[None]:
    """Holds what a running step, a publication and DVC hold while they write; waits for who holds it now.

    It waits for one lock at a time and holds none while it waits, so that nobody can wait for it in turn.
    """
    for _ in range(_ATTEMPTS):
        with ExitStack() as held:
            busy = next((name for name in _lock_names(space) if not _try_lock(space.store, name, held)), None)
            if busy is None:
                held.enter_context(_without_dvc(space.root))
                yield
                return
        waiting(busy.removeprefix("step:"))
        with space.store.lock(busy):
            pass
    raise BusyError("Steps kept running, so nothing was freed; run `headwater gc` when there is less to do.")


def _lock_names(space: Workspace) -> Iterator[str]:
    for step in space.project.steps:
        for partition in step.partitions.keys if step.partitions else (WHOLE,):
            yield f"step:{label(step, partition)}"
    # Runs of steps that this working tree does not declare.
    for row in space.store.rows("unfinished_runs"):
        yield f"run:{row['run_id']}"
    # The gate must not let a version answer while its bytes go.
    yield from (f"gate:{step.model_name}" for step in space.project.models())
    yield "dvc.lock"


def _try_lock(store: Store, name: str, held: ExitStack) -> bool:
    row = store.row("try_lock", number=lock_number(name))
    if got := bool(row and row["got"]):
        held.callback(store.row, "unlock", number=lock_number(name))
    return got


@contextmanager
def _without_dvc(root: Path) -> Iterator[None]:
    """DVC's own lock of the repository, which `dvc repro`, `add` and `pull` hold while they touch the cache."""
    path = root / ".dvc" / "tmp" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError("DVC is at work in this project; run `headwater gc` again when it has ended.") from error
        yield
