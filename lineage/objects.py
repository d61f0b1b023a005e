"""Where a version's bytes live: DVC's cache, the only object store, and the one seam that writes files.

Every write is atomic: temporary file on the same file system, fsync, rename, fsync of the directory.
A reader sees the old version or the new one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lineage.errors import IntegrityError
from lineage.versions import FileVersion, known_sha256, sha256_file

# How the name of a file begins that is not yet what it will be.
TEMPORARY = ".headwater-"
# What git must not keep: DVC refuses outs that git tracks, whichever of the two was there first.
DVC_IGNORED = "/config.local\n/tmp\n/cache\n"
DATA_IGNORED = "# DVC keeps these bytes; git keeps dvc.lock, which names them.\n/tables/\n/rows/\n/models/\n"
_READ_ONLY = 0o444
_WRITABLE = 0o644


class Objects:
    """The object store of the project in `root`: objects by md5, in DVC's own layout."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / ".dvc" / "cache" / "files" / "md5"
        self._workshop = root / ".dvc" / "tmp" / "headwater"

    def path(self, md5: str) -> Path:
        """Where the object with this md5 lives; `.dir` objects included."""
        return self._folder / md5[:2] / md5[2:]

    @contextmanager
    def workshop(self) -> Iterator[Path]:
        """A private folder to write new bytes in, on the cache's file system; gone afterwards.

        A lock held for its life tells `sweep` that its owner lives; the kernel drops it on kill -9.
        """
        self._workshop.mkdir(parents=True, exist_ok=True)
        self._hide_from_git()
        with ExitStack() as held:
            # A sweep must not find the folder between its making and its lock.
            with self._guarded(fcntl.LOCK_SH):
                folder = Path(tempfile.mkdtemp(dir=self._workshop))
                fcntl.flock(held.enter_context((folder / ".lock").open("w")), fcntl.LOCK_EX)
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _hide_from_git(self) -> None:
        for folder, text in ((".dvc", DVC_IGNORED), ("data", DATA_IGNORED)):
            path = self._root / folder / ".gitignore"
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)

    def sweep(self) -> int:
        """Remove workshops whose owner died; returns how many."""
        if not self._workshop.exists():
            return 0
        with self._guarded(fcntl.LOCK_EX):
            dead = [folder for folder in self._workshop.glob("*") if not _is_locked(folder / ".lock")]
            for folder in dead:
                shutil.rmtree(folder, ignore_errors=True)
        return len(dead)

    def adopt(self, path: Path, file: FileVersion) -> None:
        """Move `path` (in a workshop) into the cache as the object of `file`."""
        target = self.path(file.md5)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and sha256_file(target) == file.sha256:
            path.unlink()
            return
        sync(path)
        path.chmod(_READ_ONLY)
        _move(path, target)
        sync(target.parent)

    def adopt_copy(self, path: Path, file: FileVersion) -> None:
        """Like `adopt`, for a file that stays where it is."""
        if sha256_file(self.path(file.md5)) == file.sha256:
            return
        with self.workshop() as folder:
            copied = folder / "object"
            shutil.copyfile(path, copied)
            if (found := sha256_file(copied)) != file.sha256:
                message = f"{file.path} changed while it was read; run again once nobody writes to it."
                raise IntegrityError(message, str(path), file.sha256, found)
            self.adopt(copied, file)

    def put_bytes(self, data: bytes, md5: str) -> None:
        """Store `data` as object `md5` (used for DVC's .dir listings)."""
        path = self.path(md5)
        if not path.exists() or path.read_bytes() != data:
            self.write(self.path(md5), data, mode=_READ_ONLY)

    def write(self, target: Path, data: bytes, *, mode: int = _WRITABLE) -> None:
        """Like `write_bytes`, through a workshop: a crash leaves nothing beside `target`."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with self.workshop() as folder, _replacing(target, mode, folder) as temporary:
            temporary.write_bytes(data)

    def place(self, file: FileVersion) -> None:
        """Make the project's file at `file.path` hold exactly this version, copied from the cache.

        A copy, not a hard link: a file that a user edits in place must not change the cache.
        """
        target = self._root / file.path
        if sha256_file(target) == file.sha256:
            return
        origin = self.path(file.md5)
        if (found := sha256_file(origin)) != file.sha256:
            raise IntegrityError(
                f"{file.path}: the stored object {origin.relative_to(self._root)} is "
                f"{'missing' if found is None else 'damaged'}; run the step that writes it again.",
                str(origin),
                file.sha256,
                found,
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        with self.workshop() as folder, _replacing(target, _WRITABLE, folder) as temporary:
            shutil.copyfile(origin, temporary)

    def is_whole(self, file: FileVersion) -> bool:
        """Whether the cache holds these bytes, undamaged."""
        return sha256_file(self.path(file.md5)) == file.sha256

    def find(self, file: FileVersion) -> Path | None:
        """Where these bytes are, undamaged: in the cache, or else in their place in the project; None if nowhere.

        A file that has not been touched since this process read it is not read again.
        """
        places = (self.path(file.md5), self._root / file.path)
        return next((path for path in places if known_sha256(path) == file.sha256), None)

    @contextmanager
    def _guarded(self, how: int) -> Iterator[None]:
        with self._workshop.with_suffix(".lock").open("w") as guard:
            fcntl.flock(guard, how)
            yield


def write_bytes(target: Path, data: bytes, *, mode: int = _WRITABLE) -> None:
    """Write a whole file atomically and durably."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(target, mode, target.parent) as temporary:
        temporary.write_bytes(data)


def sync(path: Path) -> None:
    """Make a file's bytes, or a folder's entries, survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _replacing(target: Path, mode: int, folder: Path) -> Iterator[Path]:
    """A file in `folder` (beside `target` where that is on another file system) that will become `target`."""
    if folder.stat().st_dev != target.parent.stat().st_dev:
        folder = target.parent
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=TEMPORARY, suffix=".tmp")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        sync(temporary)
        temporary.chmod(mode)
        _move(temporary, target)
        sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _move(path: Path, target: Path) -> None:
    try:
        path.replace(target)
    except IsADirectoryError as error:
        # The system names the file that would be moved, which is gone when somebody reads it.
        raise IsADirectoryError(error.errno, error.strerror, str(target)) from error


def _is_locked(path: Path) -> bool:
    with suppress(FileNotFoundError), path.open("r") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
