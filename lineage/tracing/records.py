"""The records of a raw CSV file as they stand in it, by row number: what a trace shows.

Record n is row n of what `lineage.sources.read` makes of the same bytes. Where each record ends is an index,
made at the first use; values are read from the file, which is hashed at its first open in a process. Values are
verbatim where that reader is not: it drops a carriage return before a comma.
"""

from __future__ import annotations

import csv
import mmap
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from lineage.errors import NotFoundError, SourceError
from lineage.indexes import open_arrays, save
from lineage.versions import json_digest, require_bytes

# Of the rules by which records are told apart: part of each index's name.
_RULES = 1
_BLOCK_BYTES = 1 << 24
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NEWLINE, _RETURN, _QUOTE = b'\n\r"'

# A value is quoted if it begins with a quote; then a comma or newline ends it only after an even number of quotes.
_QUOTED = rb'(?:"[^"]*+(?:"|\Z)[^",\n]*+)++'
_VALUE = re.compile(_QUOTED + rb"|[^,]*+")
_RECORD = re.compile(rb"(?:%b|[^,\n]*+)(?:,(?:%b|[^,\n]*+))*+" % (_QUOTED, _QUOTED))
# What may stand before a quote that opens a value and after one that closes it.
_BESIDE = np.zeros(256, dtype=bool)
_BESIDE[list(b',\n"')] = True


@dataclass(frozen=True, eq=False)
class Records:
    """The records of the file at `path`, whose version is `sha256`; `name` is what messages call it.

    `columns` are the header's, in the file's order. `ends` (uint32, or uint64 in files over 4 GiB) holds where
    the header and each record end, in bytes.
    """

    path: Path
    sha256: str
    name: str
    columns: tuple[str, ...]
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.ends) - 1

    def values(self, rows: Sequence[int] | np.ndarray) -> list[list[str]]:
        """The values of each of these records, in the order of `rows`: text as written, quoted values unquoted.

        An empty value is "", nothing is null. Raises NotFoundError naming the file for a row it does not have,
        IntegrityError if the file has changed.
        """
        try:
            return [_split(data) for data in self._read(rows)]
        except UnicodeDecodeError as error:
            message = f"{self.name}: a record holds bytes that are not UTF-8 ({error.object[:80]!r})."
            raise SourceError(message, str(self.path)) from error

    def record(self, row: int) -> bytes:
        """The bytes of one record, without the end of its line; raises as `values`."""
        (data,) = self._read([row])
        return data

    def _read(self, rows: Sequence[int] | np.ndarray) -> Iterator[bytes]:
        numbers = self._require(rows)
        starts, stops = self.ends[numbers] + 1, self.ends[numbers + 1]
        with _opened(self.path, self.sha256, self.name) as file:
            for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
                yield os.pread(file, stop - start, start).removesuffix(b"\r")

    def _require(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        numbers = np.asarray(rows, dtype=np.int64)
        wrong = numbers[(numbers < 0) | (numbers >= len(self))]
        if len(wrong):
            known = f"rows 0 to {len(self) - 1}" if len(self) else "none"
            raise NotFoundError(f"{self.name} has no row {wrong[0]}; it has {len(self)} records ({known}).")
        return numbers


def open_records(home: Path, path: Path, sha256: str, *, name: str | None = None) -> Records:
    """The records of the raw CSV file at `path` (an object in the cache), which must be version `sha256`.

    `home` is `Settings.home`, where the index is; `name` is what messages call the file. Raises IntegrityError
    if the file is missing or holds other bytes.
    """
    name = name or path.name
    ends = open_arrays(home, _index_name(sha256), lambda folder: _build(folder, path, sha256, name))["ends"]
    with _opened(path, sha256, name) as file:
        header = os.pread(file, int(ends[0]), 0)
    columns = _split(header.removeprefix(_BYTE_ORDER_MARK).removesuffix(b"\r"))
    return Records(path, sha256, name, tuple(columns), ends)


@contextmanager
def _opened(path: Path, sha256: str, name: str) -> Iterator[int]:
    """A descriptor of the file, after its bytes were compared."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        require_bytes(path, sha256, name)
        raise
    try:
        _check(path, sha256, name, _state(file))
        yield file
    finally:
        os.close(file)


def _state(file: int) -> tuple[int, ...]:
    stat = os.fstat(file)
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_ctime_ns


@lru_cache(maxsize=4096)
def _check(path: Path, sha256: str, name: str, state: tuple[int, ...]) -> None:  # noqa: ARG001
    """Compare the file's bytes, once for each `state` of it, which is part of the cache's key."""
    require_bytes(path, sha256, name)


@lru_cache(maxsize=4096)
def _index_name(sha256: str) -> str:
    return json_digest({"index": "records", "rules": _RULES, "sha256": sha256})


def _split(record: bytes) -> list[str]:
    if b'"' not in record:
        return record.decode().split(",")
    if b"\r" not in record:
        # Faster than below, and the same where it is sure of itself.
        with suppress(csv.Error):
            return next(csv.reader([record.decode()], strict=True))
    return _split_slowly(record)


def _split_slowly(record: bytes) -> list[str]:
    values, place = [], 0
    while place <= len(record):
        found = _VALUE.match(record, place)
        assert found is not None  # nothing is a value too
        values.append(_unquoted(found[0].decode()))
        place = found.end() + 1
    return values


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    return re.sub('"("?)', r"\1", value[1:-1])


def _build(folder: Path, path: Path, sha256: str, name: str) -> None:
    with _opened(path, sha256, name) as file:
        ends = _record_ends(file)
        # Somebody may have written to it meanwhile.
        _check(path, sha256, name, _state(file))
    if not len(ends):
        raise SourceError(f"{name} is empty; a raw file begins with its header.", str(path))
    save(folder, ends=ends.astype(np.uint32) if ends[-1] < 2**32 else ends.astype(np.uint64))


def _record_ends(file: int) -> np.ndarray:
    """Where the header and each record end: offsets of newlines outside quotes, or of the end of the file."""
    scan = _Scan()
    for offset in range(0, os.fstat(file).st_size, _BLOCK_BYTES):
        # With what stands before the block and after it; lines end at both ends of a file.
        before = os.pread(file, 1, offset - 1) if offset else b"\n"
        block, after = os.pread(file, _BLOCK_BYTES, offset), os.pread(file, 2, offset + _BLOCK_BYTES)
        scan.take(block, before, after.ljust(2, b"\n"))
    return scan.ends() if scan.is_tidy and not scan.inside else _ends_by_value(file, scan.stop)


class _Scan:
    """Finds the ends of records by the parity of quotes, many bytes at once.

    That is right where each quote opens or closes a value or is one of two within; else `is_tidy` gets False.
    """

    def __init__(self) -> None:
        self.is_tidy, self.inside = True, 0
        self._size, self._last = 0, 0
        self._has_line, self._is_wide = False, False
        self._newlines: list[np.ndarray] = []

    def take(self, block: bytes, before: bytes, after: bytes) -> None:
        if not self._has_line:
            line, newline, _ = block.partition(b"\n")
            self._is_wide |= b"," in line
            self._has_line = bool(newline)
        self._newlines.append(self._outside(block, before, after) + self._size)
        if content := block.rstrip(b"\r\n"):
            self._last = self._size + len(content)
        self._size += len(block)

    def _outside(self, block: bytes, before: bytes, after: bytes) -> np.ndarray:
        """Positions of the newlines in `block` that no quotes enclose."""
        data = np.frombuffer(block, np.uint8)
        newlines = np.flatnonzero(data == _NEWLINE)
        if b'"' not in block:
            return newlines if not self.inside else newlines[:0]
        quotes = np.flatnonzero(data == _QUOTE)
        self._judge(np.frombuffer(before + block + after, np.uint8), quotes + 1)
        outside = (np.searchsorted(quotes, newlines) + self.inside) % 2 == 0
        self.inside = (self.inside + len(quotes)) % 2
        return np.compress(outside, newlines)

    def _judge(self, data: np.ndarray, quotes: np.ndarray) -> None:
        opening, closing = quotes[self.inside :: 2], quotes[1 - self.inside :: 2]
        ends_line = (data[closing + 1] == _RETURN) & (data[closing + 2] == _NEWLINE)
        begins = _BESIDE[data[opening - 1]]
        if self._size == 0 and data[1:4].tobytes() == _BYTE_ORDER_MARK:
            begins |= opening == 4
        self.is_tidy &= bool(begins.all() and (_BESIDE[data[closing + 1]] | ends_line).all())

    @property
    def stop(self) -> int:
        """Where the last record ends at the latest: empty lines at the end are records of one column only."""
        return self._last if self._is_wide else self._size

    def ends(self) -> np.ndarray:
        newlines = np.concatenate(self._newlines) if self._newlines else np.empty(0, np.int64)
        newlines = newlines[newlines < self.stop]
        # The last line may lack its newline, and then the end of the file ends it.
        is_ended = self.stop == 0 or (len(newlines) > 0 and int(newlines[-1]) == self.stop - 1)
        return newlines if is_ended else np.append(newlines, self.stop)


def _ends_by_value(file: int, stop: int) -> np.ndarray:
    """Like `_Scan.ends`, value by value: for quotes in the middle of values, which open none."""
    ends = array("q")
    with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as data:
        place = len(_BYTE_ORDER_MARK) if data[:3] == _BYTE_ORDER_MARK else 0
        while place < stop:
            found = _RECORD.match(data, place, stop)
            assert found is not None  # nothing is a value too
            ends.append(found.end())
            place = found.end() + 1
    return np.array(ends, np.int64)
