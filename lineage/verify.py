"""Compare every file that models, predictions and current tables rest on with what was recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lineage.ancestry import ancestry, identity, raw_files
from lineage.plan import Workspace
from lineage.store import version_of
from lineage.versions import FileVersion, Version, sha256_file


@dataclass(frozen=True)
class Damage:
    """A file whose bytes are not the recorded ones; `found` is None when it is missing."""

    path: str
    dataset: str
    partition: str
    expected: str
    found: str | None

    def __str__(self) -> str:
        place = f"{self.dataset}{f'[{self.partition}]' if self.partition else ''}"
        state = "is missing" if self.found is None else f"has sha256 {self.found[:12]}…"
        return f"{self.path} {state}, recorded for {place} as {self.expected[:12]}…"


@dataclass(frozen=True)
class Verified:
    """How many versions and files were compared, and what was damaged."""

    versions: int
    files: int
    damaged: tuple[Damage, ...]


def verify(space: Workspace) -> Verified:
    """Hash everything: what is current, and all that served or recorded predictions came from.

    Each version's object in the cache is compared; of current versions, the file in its place too.
    """
    current = space.store.all_current()
    served = [version_of(row) for row in space.store.rows("served_bundles")]
    predicted = [_predicted(space, row) for row in space.store.rows("predicted_versions")]
    origins = ancestry(space.store, [*current, *served, *predicted])
    everything = {identity(origin.version): origin.version for origin in origins}
    in_place = {identity(version) for version in current}
    # A raw file that no fetch step recorded is current as long as the table that was read from it is.
    in_place |= {identity(raw) for _, raw, reader in raw_files(origins) if identity(reader.version) in in_place}
    damaged: dict[str, Damage] = {}
    files = 0
    for key, version in everything.items():
        for file in version.files:
            files += 1
            for damage in _damages(space, version, file, in_place=key in in_place):
                damaged[damage.path] = damage
    return Verified(len(everything), files, tuple(damaged.values()))


def _predicted(space: Workspace, row: dict[str, str]) -> Version:
    found = space.store.version(row["dataset"], row["partition"], row["sha256"])
    assert found is not None  # a foreign key holds it
    return found


def _damages(space: Workspace, version: Version, file: FileVersion, *, in_place: bool) -> Iterator[Damage]:
    cached = space.objects.path(file.md5)
    places = [(cached, str(cached.relative_to(space.root)))]
    if in_place:
        places.append((space.root / file.path, file.path))
    for path, name in places:
        found = sha256_file(path)
        if found != file.sha256:
            yield Damage(name, version.dataset, version.partition, file.sha256, found)
