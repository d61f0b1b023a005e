"""What can always be computed again from recorded bytes: folders of arrays in HEADWATER_HOME, mapped into memory.

An index may be deleted at any time and is then built again; nothing else depends on it. Its name says all
that decides its content, so one that is there and whole is right. A manifest tells whether it is whole: it is
compared with the bytes at the first open in a process, and again when a file's inode, size or ctime has changed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from lineage.objects import TEMPORARY, sync
from lineage.versions import canonical_json, sha256_file

Build = Callable[[Path], None]

_MANIFEST = "manifest.json"
_ATTEMPTS = 3

# (name, inode, bytes, ctime in ns) of each file of an index: changes when one is written to or replaced.
_State = tuple[tuple[str, int, int, int], ...]


def index(home: Path, name: str, build: Build) -> Path:
    """The folder of index `name`, built if it is absent or damaged; `home` is `Settings.home`.

    `name` is the hex digest of all that decides the content (`versions.json_digest`). `build` writes plain
    files into the empty folder that it is given; if it raises, nothing is left. Of two builders at once,
    the later one's work is thrown away.
    """
    folder = home / "indexes" / name[:2] / name
    if not _is_whole(folder):
        with _draft(home / "indexes") as draft:
            build(draft)
            _seal(draft)
            _place(draft, folder)
    return folder


def arrays(folder: Path) -> Mapping[str, np.ndarray]:
    """The arrays of the index in `folder` by name: mapped into memory, read-only."""
    return _mapped(folder, _state(folder))


def open_arrays(home: Path, name: str, build: Build) -> Mapping[str, np.ndarray]:
    """`arrays(index(...))`, also while somebody deletes indexes."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(FileNotFoundError):
            return arrays(index(home, name, build))
    return arrays(index(home, name, build))


def save(folder: Path, /, **values: np.ndarray) -> None:
    """Write each array as `<keyword>.npy` into `folder`: what a build calls."""
    for name, value in values.items():
        np.save(folder / f"{name}.npy", value, allow_pickle=False)


@lru_cache(maxsize=512)
def _mapped(folder: Path, state: _State) -> Mapping[str, np.ndarray]:
    paths = [folder / name for name, *_ in state if name.endswith(".npy")]
    # As plain arrays: indexing a np.memmap makes another one each time, which is slow.
    found = {path.stem: np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray) for path in paths}
    return MappingProxyType(found)


def _state(folder: Path) -> _State:
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.stat()) for entry in entries]
    return tuple(sorted((name, stat.st_ino, stat.st_size, stat.st_ctime_ns) for name, stat in found))


def _is_whole(folder: Path) -> bool:
    try:
        return _fits(folder, _state(folder))
    except FileNotFoundError:
        return False


@lru_cache(maxsize=4096)
def _fits(folder: Path, state: _State) -> bool:
    """Whether the bytes in `folder` are those of its manifest; `state` is what the answer holds for."""
    names = {name for name, *_ in state} - {_MANIFEST}
    try:
        listed = json.loads((folder / _MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(listed, dict) and listed == {name: sha256_file(folder / name) for name in names}


def _seal(folder: Path) -> None:
    digests = {path.name: sha256_file(path) for path in folder.iterdir()}
    (folder / _MANIFEST).write_bytes(canonical_json(digests))
    for path in folder.iterdir():
        path.chmod(0o600)
        sync(path)
    sync(folder)


def _place(draft: Path, folder: Path) -> None:
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    with _locked(folder.parent, fcntl.LOCK_EX):
        # Somebody may have been faster, and others may read what he built.
        if _is_whole(folder):
            return
        with suppress(FileNotFoundError):
            folder.rename(draft.with_name(f"{draft.name}.damaged"))
        draft.rename(folder)
        sync(folder.parent)


@contextmanager
def _draft(place: Path) -> Iterator[Path]:
    """A private folder in `place`, gone afterwards unless it was renamed; drafts whose owner died go as well.

    The owner holds a lock on it, which the kernel drops on kill -9.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    place.mkdir(mode=0o700, exist_ok=True)
    with ExitStack() as held:
        # A sweep must not find the folder between its making and its lock.
        with _locked(place, fcntl.LOCK_EX):
            _sweep(place)
            folder = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=place))
            held.enter_context(_locked(folder, fcntl.LOCK_EX))
        try:
            yield folder
        finally:
            for left in place.glob(f"{folder.name}*"):
                shutil.rmtree(left, ignore_errors=True)


def _sweep(place: Path) -> None:
    for folder in place.glob(f"{TEMPORARY}*"):
        with suppress(BlockingIOError, FileNotFoundError), _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
