"""The way back: which run wrote a version, from which versions, down to raw files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from lineage.errors import NotFoundError
from lineage.store import Row, Store
from lineage.versions import FileVersion, Version

Identity = tuple[str, str, str]


@dataclass(frozen=True)
class Origin:
    """A version, the run that wrote it and what that run read; both empty for a raw file.

    `lineage` are the files beside a table that say which rows of the inputs each of its rows came from; a source has
    them where its checks put rows aside, and `read` is then how many records its file has.
    """

    version: Version
    run: Row | None
    inputs: tuple[tuple[str, Version], ...]
    lineage: tuple[FileVersion, ...] = ()
    read: int | None = None

    @property
    def is_source(self) -> bool:
        """Whether each of its rows is a record of a raw file."""
        return bool(self.inputs) and self.inputs[0][0] == "raw"

    @property
    def records(self) -> int | None:
        """Of a source how many records its raw file has."""
        return self.version.row_count if self.read is None else self.read

    @property
    def is_raw(self) -> bool:
        """Whether the way back ends here: bytes that came from outside."""
        return not self.inputs


def identity(version: Version) -> Identity:
    """What makes a version the same version."""
    return (version.dataset, version.partition, version.sha256)


def ancestry(store: Store, versions: Iterable[Version], before: datetime | None = None) -> list[Origin]:
    """`versions` and everything they came from, each once, nearest first.

    Where the same bytes were written by several runs, the last one counts that ended before they were read: those of
    `versions` before `before`, what a run read before it started.
    """
    found: dict[Identity, Origin] = {}
    queue = [(version, before) for version in versions]
    while queue:
        version, used_at = queue.pop(0)
        if identity(version) not in found:
            found[identity(version)] = origin = origin_of(store, version, used_at)
            started = origin.run["started_at"] if origin.run else used_at
            queue += [(item, started) for _, item in origin.inputs]
    return list(found.values())


def raw_files(origins: Iterable[Origin]) -> Iterator[tuple[str, Version, Origin]]:
    """(source dataset, raw version, the origin that read it) for every raw file among `origins`."""
    for origin in origins:
        for name, version in origin.inputs:
            if name == "raw":
                yield origin.version.dataset, version, origin


def recorded_version(store: Store, dataset: str, partition: str, sha256: str) -> Version:
    """A version that something on record names; NotFoundError when the record itself is gone."""
    found = store.version(dataset, partition, sha256)
    if found is None:
        raise NotFoundError(f"Version {sha256[:12]}… of {dataset} is not on record; was the database replaced?")
    return found


def origin_of(store: Store, version: Version, before: datetime | None = None) -> Origin:
    """The run that wrote `version`, the last that ended before `before`, and what it read."""
    dataset, partition, sha256 = identity(version)
    row = store.row("run_that_wrote", dataset=dataset, partition=partition, sha256=sha256, before=before)
    if row is None:
        return Origin(version, None, ())
    return origin_by(store, version, row["run_id"])


def origin_by(store: Store, version: Version, run_id: UUID) -> Origin:
    """A version as this run wrote it, and what the run read."""
    run, inputs = store.row("run", run_id=run_id), tuple(store.run_inputs(run_id))
    found = Origin(version, run, inputs, store.run_lineage(run_id, version.dataset))
    if not (found.is_source and found.lineage):
        return found
    # Each record either went on or was put aside.
    return replace(found, read=sum(item.row_count or 0 for item in store.run_outputs(run_id)))
