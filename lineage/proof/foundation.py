"""Everything that some versions rest on: what verify compares, what a manifest is held against, and what gc keeps.

Wider than one trace's ancestry: where several runs wrote the same bytes, it holds what each of them read, for traces
of different times go through different runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from lineage.store import Row, Store, version_of
from lineage.tracing.ancestry import Identity, identity
from lineage.versions import FileVersion, Version, files_from_json


@dataclass(frozen=True)
class Writing:
    """One complete run that wrote a version: its record, what it read by name, and its row-lineage files."""

    run: Row
    inputs: tuple[tuple[str, Identity], ...]
    lineage: tuple[FileVersion, ...]


@dataclass(frozen=True)
class Foundation:
    """Versions, themselves included, and the runs that wrote each, the latest first; bytes from outside have none."""

    versions: Mapping[Identity, Version]
    writings: Mapping[Identity, tuple[Writing, ...]]

    def files(self) -> Iterator[tuple[Version, FileVersion]]:
        """Every file, row lineage included, with the version that it belongs to; of a version each file once."""
        for key, version in self.versions.items():
            lineage = (file for writing in self.writings.get(key, ()) for file in writing.lineage)
            yield from ((version, file) for file in dict.fromkeys((*version.files, *lineage)))

    def dependents(self, keys: Iterable[Identity]) -> set[Identity]:
        """What was made from any of these versions, directly or not."""
        found: set[Identity] = set()
        queue = [*keys]
        while queue:
            reached = self._readers.get(queue.pop(), set()) - found
            found |= reached
            queue += reached
        return found

    @cached_property
    def _readers(self) -> dict[Identity, set[Identity]]:
        readers: dict[Identity, set[Identity]] = {}
        for key, writings in self.writings.items():
            for writing in writings:
                for _, read in writing.inputs:
                    readers.setdefault(read, set()).add(key)
        return readers


def foundation(store: Store, versions: Iterable[Version]) -> Foundation:
    """What `versions` rest on."""
    found = {identity(version): version for version in map(version_of, store.rows("foundation", **_keys(versions)))}
    writings: dict[Identity, list[Writing]] = {}
    for row in store.rows("writings", **_keys(found.values())):
        inputs = tuple((name, (dataset, partition, sha256)) for name, dataset, partition, sha256 in row.pop("inputs"))
        key = (row.pop("dataset"), row.pop("output_partition"), row.pop("sha256"))
        writings.setdefault(key, []).append(Writing(row, inputs, files_from_json(row.pop("lineage"))))
    return Foundation(found, {key: tuple(runs) for key, runs in writings.items()})


def _keys(versions: Iterable[Version]) -> dict[str, list[str]]:
    datasets, partitions, digests = [], [], []
    for dataset, partition, digest in map(identity, versions):
        datasets.append(dataset)
        partitions.append(partition)
        digests.append(digest)
    return {"datasets": datasets, "partitions": partitions, "digests": digests}
