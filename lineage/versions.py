"""Identity of bytes: a version is the sha256 of what was written, its address the md5 that DVC uses."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lineage.errors import IntegrityError

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class FileVersion:
    """One file of a version: its path relative to the project's root and what identifies its bytes."""

    path: str
    sha256: str
    md5: str
    size_bytes: int


@dataclass(frozen=True)
class Version:
    """What a run wrote for one partition of a dataset. `sha256` is its identity.

    For a table that is the file's own sha256; for a bundle, the sha256 of its manifest. `partition` is
    "" for an unpartitioned dataset; `fields` are (name, type) pairs; `row_count` is None for models.
    """

    dataset: str
    partition: str
    sha256: str
    files: tuple[FileVersion, ...]
    row_count: int | None = None
    fields: tuple[tuple[str, str], ...] = ()
    origin: str | None = None

    @property
    def file(self) -> FileVersion:
        """The only file of a table's or raw file's version."""
        (only,) = self.files
        return only

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(item.size_bytes for item in self.files)


def digest_file(path: Path, name: str) -> FileVersion:
    """The version of the bytes in `path`, to be known as `name` (a path relative to the root)."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    size = 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            sha256.update(block)
            md5.update(block)
            size += len(block)
    return FileVersion(name, sha256.hexdigest(), md5.hexdigest(), size)


def sha256_file(path: Path) -> str | None:
    """sha256 (hex) of a file's bytes, None when there is no such file: nothing, a folder, a pipe.

    Raises OSError for a file that cannot be read.
    """
    try:
        # Asked before it is opened: opening a pipe waits for who writes to it.
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None


def obstacle(path: Path) -> str:
    """What stands where a file should, in words such as "is a folder"; "" where a file or nothing does."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "is a link to nothing" if path.is_symlink() else ""
    if stat.S_ISREG(mode):
        return ""
    return "is a folder" if stat.S_ISDIR(mode) else "is no file"


def known_sha256(path: Path) -> str | None:
    """sha256 (hex) of a file's bytes as they were when this process read them last, None when they cannot be had.

    Read again when the file's inode, size or times have changed, and not otherwise: for answers in milliseconds.
    """
    try:
        state = path.stat()
        return _sha256_of(path, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    except OSError:
        return None


@lru_cache(maxsize=65_536)
def _sha256_of(path: Path, *_state: int) -> str | None:
    return sha256_file(path)


def require_bytes(path: Path, expected: str, name: str) -> None:
    """Raise IntegrityError unless `path` holds exactly the bytes with sha256 `expected`."""
    found = sha256_file(path)
    if found == expected:
        return
    state = obstacle(path) or "is missing" if found is None else f"holds other bytes (sha256 {found[:12]}…)"
    raise IntegrityError(
        f"{name} {state}; its recorded version is {expected[:12]}…. Restore it with `headwater run` on the step "
        "that writes it; `headwater verify` shows everything affected.",
        str(path),
        expected,
        found,
    )


def canonical_json(value: Any) -> bytes:
    """The one byte form of a JSON value: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def json_digest(value: Any) -> str:
    """sha256 (hex) of `canonical_json(value)`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def directory_md5(entries: Mapping[str, str]) -> tuple[str, bytes]:
    """DVC's identity of a directory from `relpath -> md5`: (`<md5>.dir`, the bytes of the .dir object)."""
    listing = [{"md5": md5, "relpath": relpath} for relpath, md5 in sorted(entries.items())]
    text = json.dumps(listing, sort_keys=True).encode()
    return f"{hashlib.md5(text, usedforsecurity=False).hexdigest()}.dir", text


def files_to_json(files: Iterable[FileVersion]) -> list[dict[str, Any]]:
    """Plain JSON of file versions, as the store keeps them."""
    return [vars(item) for item in files]


def files_from_json(rows: Iterable[Mapping[str, Any]]) -> tuple[FileVersion, ...]:
    """The inverse of `files_to_json`."""
    return tuple(FileVersion(**row) for row in rows)
