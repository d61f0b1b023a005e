"""Rows followed back through all the steps of the way: from rows of a table to the records of raw files.

The way goes from version to version, each time through the origins that the run wrote that made it
(`lineage.tracing.rowmap`); a source's table has its file's records in their order. What has been looked up is kept,
for runs and versions never change: asking again costs little.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from uuid import UUID

import numpy as np

from lineage.errors import IntegrityError, NotFoundError
from lineage.gc import fate
from lineage.names import dotted
from lineage.plan import Workspace
from lineage.tracing.ancestry import Identity, Origin, identity, origin_of
from lineage.tracing.lists import Lists
from lineage.tracing.recent import Recent
from lineage.tracing.rowmap import RowMap
from lineage.versions import Version

# How much is kept of what was looked up: origins of some kB (with their runs), maps of some 100 kB, nodes of 1 kB.
_ORIGINS, _MAPS, _NODES = 4_096, 256, 16_384
_ROW_BITS = np.int64(32)
_ROW_MASK = np.int64(2**32 - 1)


@dataclass(frozen=True)
class Ask:
    """Where values in rows of a version came from, or if `columns` is None whatever is in the rows. `asker` numbers
    those who ask, `rows` are positions in the version (both int64, of one length)."""

    version: Version
    asker: np.ndarray
    rows: np.ndarray
    columns: frozenset[str] | None = None


@dataclass(frozen=True)
class Behind:
    """Rows of one version that are behind what was asked: pairs of asker and row, each once, sorted."""

    origin: Origin
    asker: np.ndarray
    rows: np.ndarray

    @property
    def version(self) -> Version:
        """The version whose rows they are."""
        return self.origin.version

    def of(self, asker: int) -> np.ndarray:
        """The rows of one asker, ascending."""
        begin, end = np.searchsorted(self.asker, (asker, asker + 1))
        return self.rows[begin:end]


@dataclass(frozen=True)
class _Node:
    """A version and columns of it, as a run wrote it."""

    key: tuple[Identity, UUID | None]
    origin: Origin = field(compare=False)
    columns: frozenset[str] | None

    @cached_property
    def made_at(self) -> float:
        """When its run started; raw bytes were there before everything."""
        return self.origin.run["started_at"].timestamp() if self.origin.run else 0.0


@dataclass
class Tracer:
    """Follows rows in one workspace, for any number of threads."""

    space: Workspace
    _origins: Recent[tuple[Identity, datetime | None], Origin] = field(default_factory=lambda: Recent(_ORIGINS))
    _maps: Recent[tuple[UUID | None, str], RowMap] = field(default_factory=lambda: Recent(_MAPS))
    _alike: Recent[object, frozenset[str]] = field(default_factory=lambda: Recent(_NODES))
    _nodes: Recent[object, _Node] = field(default_factory=lambda: Recent(_NODES))

    def origin(self, version: Version, before: datetime | None) -> Origin:
        """The run that wrote `version`, the last that ended before `before`, and what it read."""
        key = (identity(version), before)
        return self._origins.get(key, lambda: origin_of(self.space.store, version, before))

    def back(self, asks: Iterable[Ask], before: datetime | None = None) -> dict[Identity, Behind]:
        """Everything behind what is asked, by version: tables on the way (those asked of as well) and raw files.

        `before` is when the rows that are asked of were used. Raises NotFoundError where a step of the way has left no
        record of rows, and IntegrityError where the bytes of one are gone.
        """
        waiting: dict[_Node, list[np.ndarray]] = {}
        found: dict[Identity, list[np.ndarray]] = {}
        origins: dict[Identity, Origin] = {}
        for ask in asks:
            waiting.setdefault(self._node(ask.version, ask.columns, before), []).append(_pairs(ask.asker, ask.rows))
        while waiting:
            # What was made last is made of nothing that waits, so that everything is looked at once.
            node = max(waiting, key=lambda item: item.made_at)
            pairs, origin = _unique(waiting.pop(node)), node.origin
            found.setdefault(identity(origin.version), []).append(pairs)
            origins[identity(origin.version)] = origin
            started = origin.run["started_at"] if origin.run else before
            for version, columns, behind in self._one_step(origin, pairs, node.columns):
                waiting.setdefault(self._node(version, columns, started), []).append(behind)
        return {key: _behind(origins[key], _unique(parts)) for key, parts in found.items()}

    def _node(self, version: Version, columns: frozenset[str] | None, before: datetime | None) -> _Node:
        """What is to be looked at next; columns that came from the same rows are looked at as one."""
        key = (identity(version), columns, before)
        return self._nodes.get(key, lambda: self._new_node(version, columns, before))

    def _new_node(self, version: Version, columns: frozenset[str] | None, before: datetime | None) -> _Node:
        origin = self.origin(version, before)
        key = (identity(version), origin.run["run_id"] if origin.run else None)
        if columns is None or _is_read(origin):
            return _Node(key, origin, None)
        return _Node(key, origin, self._alike.get((key, columns), lambda: self._first_alike(origin, key, columns)))

    def _first_alike(
        self, origin: Origin, key: tuple[Identity, UUID | None], columns: frozenset[str]
    ) -> frozenset[str]:
        """The first columns that were asked about of those which came from the same rows."""
        read = {name for name, item in origin.inputs if _is_read(self.origin(item, _started(origin)))}
        return self._alike.get((key, self.row_map(origin).signature(columns, read)), lambda: columns)

    def _one_step(
        self, origin: Origin, pairs: np.ndarray, columns: frozenset[str] | None
    ) -> Iterable[tuple[Version, frozenset[str] | None, np.ndarray]]:
        """The rows right behind those of one version: version by version of what its run read."""
        if _is_read(origin):
            behind = _pairs(pairs >> _ROW_BITS, self.records(origin, pairs & _ROW_MASK))
            yield from ((version, None, behind) for _, version in origin.inputs)
            return
        unique, places = np.unique(pairs & _ROW_MASK, return_inverse=True)
        askers = pairs >> _ROW_BITS
        for found in self.row_map(origin).back(unique, columns):
            lists = Lists(np.arange(len(pairs) + 1), places).through(found.rows)
            owners, rows = askers[lists.owners], lists.values.astype(np.int64)
            for version, begin, end in _extents(origin, found.input):
                inside = (rows >= begin) & (rows < end)
                if inside.any():
                    yield version, found.columns, _pairs(owners[inside], rows[inside] - begin)

    def records(self, origin: Origin, rows: np.ndarray) -> np.ndarray:
        """Which records of its raw file these rows of a source are: of those numbers, unless some were put aside."""
        return self.row_map(origin).records(rows) if origin.is_source and origin.lineage else rows

    def rows_of_record(self, origin: Origin, record: int) -> np.ndarray:
        """The row of a source that a record of its raw file is; none if it is another output's."""
        if origin.lineage:
            return self.row_map(origin).forward(origin.inputs[0][0], np.array([record]))
        return np.array([record])

    def row_map(self, origin: Origin) -> RowMap:
        """The origins of the rows of a table's version; NotFoundError if its run has left none."""
        if not origin.lineage:
            name = f"{origin.version.dataset}{f'[{origin.version.partition}]' if origin.version.partition else ''}"
            step = str(origin.run["step"]) if origin.run else name
            raise NotFoundError(
                f"Nothing is on record of where the rows of {name} {origin.version.sha256[:12]}… came from: it was "
                f"made before rows were followed. Run `headwater run {step}`, and predict again."
            )
        key = (origin.run["run_id"] if origin.run else None, origin.version.dataset)
        return self._maps.get(key, lambda: self._read_map(origin))

    def _read_map(self, origin: Origin) -> RowMap:
        files = {file.sha256: path for file in origin.lineage if (path := self.space.objects.find(file))}

        def find(name: str) -> tuple[Path, ...]:
            return tuple(self._found(version) for item, version in origin.inputs if item == name)

        return RowMap.of(origin.lineage, files, find, self.space.settings.home)

    def _found(self, version: Version) -> Path:
        """Where the bytes of a table are that is looked at as the past of another."""
        file = version.file
        if (path := self.space.objects.find(file)) is not None:
            return path
        name = dotted(version.dataset, version.partition)
        raise IntegrityError(
            f"{file.path}: the bytes of {name}, version {version.sha256[:12]}…, are {fate(self.space, file)}, so "
            f"rows cannot be followed through them; run the step that writes {name} again.",
            file.path,
            file.sha256,
            None,
        )


def _extents(origin: Origin, name: str) -> Iterable[tuple[Version, int, int]]:
    """The versions of an input, and which positions of the input are their rows."""
    begin = 0
    for item, version in origin.inputs:
        if item == name:
            end = begin + int((origin.records if origin.is_source else version.row_count) or 0)
            yield version, begin, end
            begin = end


def extents(origin: Origin) -> Mapping[str, Sequence[tuple[Version, int, int]]]:
    """For each input of a run the versions that it read, and which positions are the rows of each."""
    return {name: list(_extents(origin, name)) for name in dict.fromkeys(name for name, _ in origin.inputs)}


def _started(origin: Origin) -> datetime | None:
    return origin.run["started_at"] if origin.run else None


def _is_read(origin: Origin) -> bool:
    """Whether each row is a record of a raw file, so that it does not matter which columns were behind what."""
    return origin.is_raw or origin.is_source


def _pairs(asker: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return (asker.astype(np.int64) << _ROW_BITS) | rows.astype(np.int64)


def _unique(parts: Sequence[np.ndarray]) -> np.ndarray:
    pairs = np.concatenate(parts)
    pairs.sort()
    return pairs if len(pairs) < 2 else pairs[np.concatenate(([True], pairs[1:] != pairs[:-1]))]


def _behind(origin: Origin, pairs: np.ndarray) -> Behind:
    return Behind(origin, pairs >> _ROW_BITS, pairs & _ROW_MASK)
