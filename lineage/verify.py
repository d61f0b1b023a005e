"""Compare every file that models, predictions and current tables rest on with what was recorded and signed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from lineage.dvc import lock_differences
from lineage.gc import freed_on
from lineage.plan import Workspace
from lineage.proof.foundation import Foundation, foundation
from lineage.proof.manifest import Manifest, is_older, manifest_paths, other_versions, other_ways, read_manifest
from lineage.proof.signing import fault, key_path, known_key
from lineage.proof.tracked import is_whole_listing, listings
from lineage.run import is_current
from lineage.spec import Step
from lineage.store import version_of
from lineage.tracing.ancestry import Identity, identity, recorded_version
from lineage.versions import FileVersion, Version, obstacle, sha256_file

_SHOWN = 4
_IDENTITY = ("dataset", "partition", "version")


@dataclass(frozen=True)
class Damage:
    """A file whose bytes are not the recorded ones, or a record that is not the signed one.

    `version` is what it belongs to, "" for an index or one of DVC's listings. `found` is None where there are no bytes;
    `obstacle` says what is there instead. `fault` says what is wrong where that is not the sha256; `dependents` what
    rests on it. `others` are further versions that recorded the same bytes; what something rests on comes first.
    """

    path: str
    dataset: str
    partition: str
    version: str
    expected: str
    found: str | None
    fault: str = ""
    obstacle: str = ""
    dependents: tuple[str, ...] = ()
    others: tuple[Identity, ...] = ()

    def __str__(self) -> str:
        owners = ((self.dataset, self.partition, self.version), *self.others)
        place = _listed(tuple(dict.fromkeys(_place(dataset, partition) for dataset, partition, _ in owners)))
        state = self.obstacle or "is missing" if self.found is None else f"has sha256 {self.found[:12]}…"
        said = f"{self.path} {self.fault or f'{state}, recorded for {place} as {self.expected[:12]}…'}"
        return f"{said}{f'; on it rest {_listed(self.dependents)}' if self.dependents else ''}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "others": [dict(zip(_IDENTITY, key, strict=True)) for key in self.others]}


@dataclass(frozen=True)
class Verified:
    """How many versions, files and signed manifests were compared, and what was damaged.

    `lock` says where dvc.lock differs from the record, a sentence each: no data is damaged by that.
    """

    versions: int
    files: int
    manifests: int
    damaged: tuple[Damage, ...]
    lock: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "damaged": [item.to_json() for item in self.damaged]}


@dataclass
class _Inspection:
    """One look at everything: each file is hashed once, however many versions name it."""

    space: Workspace
    found: Foundation
    in_place: Mapping[Identity, frozenset[FileVersion]]
    hashes: dict[Path, str | None] = field(default_factory=dict)
    unread: dict[Path, str] = field(default_factory=dict)

    def sha256(self, path: Path) -> str | None:
        if path not in self.hashes:
            try:
                self.hashes[path] = sha256_file(path)
            except OSError as error:
                # All other files are compared all the same.
                self.hashes[path] = None
                self.unread[path] = f"cannot be read ({error.strerror})"
        return self.hashes[path]

    def damage(self, path: Path, key: Identity, expected: str, fault: str = "") -> Damage:
        """What is said of a file whose bytes are not the expected ones."""
        return Damage(self.name(path), *key, expected, self.sha256(path), fault, self.obstacle(path))

    def obstacle(self, path: Path) -> str:
        return self.unread.get(path) or (obstacle(path) if self.sha256(path) is None else "")

    def name(self, path: Path) -> str:
        root = self.space.root
        return str(path.relative_to(root) if path.is_relative_to(root) else path)


def verify(space: Workspace, step: Step | None = None) -> Verified:
    """Hash everything: what is current, and all that served or recorded predictions came from; with `step`, only
    what that model's versions rest on.

    Compared are each version's objects in the cache and, of current versions, the files in their places, row lineage
    included; signed manifests; the copies that are served; indexes; dvc.lock.
    """
    roots = _roots(space, step)
    look = _Inspection(space, found := foundation(space.store, roots), _in_place(space))
    bundles = [version for version in roots if _is_bundle(version)]
    damaged = [*_file_damages(look), *_manifest_damages(look, bundles), *_copy_damages(look, bundles)]
    lock: tuple[str, ...] = ()
    if step is None:
        damaged += [*_listing_damages(look), *_index_damages(look)]
        current = (file for files in look.in_place.values() for file in files)
        lock = tuple(lock_differences(space, current, up_to_date=lambda each: _is_up_to_date(space, each)))
    files = sum(1 for _ in found.files())
    return Verified(len(found.versions), files, len(bundles), tuple(_with_dependents(space, found, damaged)), lock)


def _is_up_to_date(space: Workspace, step: Step) -> bool:
    try:
        return is_current(space, step)
    except OSError:
        # A raw file that cannot be read is damaged, and named as such.
        return False


def check_manifest(space: Workspace, version: Version) -> list[Damage]:
    """What is wrong with the signed manifest of a bundle on record, its signature or the bytes that it names; nothing
    for a bundle from before there were signatures.
    """
    look = _Inspection(space, foundation(space.store, [version]), {})
    return list(_recorded_manifest(look, version, read_manifest(space.store, version)))


def check_way(space: Workspace, version: Version) -> list[Damage]:
    """Where the way back from a bundle is another on record than in its manifest; nothing of one that is not signed."""
    manifest, key = read_manifest(space.store, version), known_key(space.settings.home)
    if manifest is None or key is None or fault(manifest.body, manifest.signature, key):
        return []
    return list(_other_ways(manifest, foundation(space.store, [version])))


def _roots(space: Workspace, step: Step | None) -> list[Version]:
    served = [version_of(row) for row in space.store.rows("served_bundles")]
    if step is not None:
        own = [version for version in served if version.dataset == step.dataset]
        return _distinct([*space.store.current(step.dataset).values(), *own])
    predicted = [recorded_version(space.store, **row) for row in space.store.rows("predicted_versions")]
    return _distinct([*space.store.all_current(), *served, *predicted])


def _distinct(versions: Iterable[Version]) -> list[Version]:
    return list({identity(version): version for version in versions}.values())


def _is_bundle(version: Version) -> bool:
    return any(file.path.startswith("data/models/") for file in version.files)


def _in_place(space: Workspace) -> dict[Identity, frozenset[FileVersion]]:
    """The files that belong into the project, by version.

    A raw file that no fetch step recorded is current as long as the table that was read from it is; the row lineage
    of a version is that of the run that wrote it last.
    """
    current = space.store.all_current()
    found = foundation(space.store, current)
    places: dict[Identity, frozenset[FileVersion]] = {}
    for version in current:
        last = next(iter(found.writings.get(identity(version), ())), None)
        places[identity(version)] = frozenset((*version.files, *(last.lineage if last else ())))
        for raw in (key for name, key in (last.inputs if last else ()) if name == "raw"):
            places[raw] = frozenset(found.versions[raw].files)
    return places


def _file_damages(look: _Inspection) -> Iterator[Damage]:
    for version, file in look.found.files():
        places = [look.space.objects.path(file.md5)]
        if file in look.in_place.get(identity(version), ()):
            places.append(look.space.root / file.path)
        for path in places:
            if (found := look.sha256(path)) != file.sha256:
                is_gone = found is None and path == places[0] and not look.obstacle(path)
                freed = freed_on(look.space.store, file) if is_gone else None
                fault = f"is missing: freed by `headwater gc` on {freed}" if freed else ""
                yield look.damage(path, identity(version), file.sha256, fault)


def _manifest_damages(look: _Inspection, bundles: Iterable[Version]) -> Iterator[Damage]:
    for version in bundles:
        manifest = read_manifest(look.space.store, version)
        wrong = list(_recorded_manifest(look, version, manifest))
        yield from wrong
        if manifest and not wrong:
            yield from _other_ways(manifest, look.found)
        if identity(version) in look.in_place and not (manifest is None and wrong):
            yield from _placed_manifest(look, version, manifest)


def _recorded_manifest(look: _Inspection, version: Version, manifest: Manifest | None) -> Iterator[Damage]:
    """What the manifest in the store says, against its signature, this project's key, and the record."""
    name = f"the signed manifest of {version.dataset} {version.sha256[:12]}…"
    if manifest is None:
        if not is_older(look.space.store, version):
            step = version.dataset.replace("/", ".")
            yield _fault(identity(version), name, f"is not on record; train it again with `headwater run {step}`")
        return
    home = look.space.settings.home
    if (key := known_key(home)) is None:
        yield _fault(identity(version), name, f"cannot be checked, for there is no key {key_path(home)}; put it back")
        return
    if wrong := fault(manifest.body, manifest.signature, key):
        yield _fault(identity(version), name, wrong)
        return
    for differing, subject, wrong in other_versions(manifest, look.found):
        yield _fault(differing, subject, wrong)


def _other_ways(manifest: Manifest, found: Foundation) -> Iterator[Damage]:
    for differing, subject, wrong in other_ways(manifest, found):
        yield _fault(differing, subject, wrong)


def _placed_manifest(look: _Inspection, version: Version, manifest: Manifest | None) -> Iterator[Damage]:
    """The published files, against the manifest in the store; both are missing where the bundle was never signed."""
    for name, data in zip(manifest_paths(version.dataset), _parts(manifest), strict=True):
        found = look.sha256(look.space.root / name)
        if data is None and found is None:
            step = version.dataset.replace("/", ".")
            yield _fault(
                identity(version),
                name,
                f"is missing, for the bundle is older than signatures; run `headwater run {step}`",
            )
        elif data is not None and found != (expected := Manifest(data, b"").sha256):
            yield look.damage(look.space.root / name, identity(version), expected)


def _parts(manifest: Manifest | None) -> tuple[bytes | None, bytes | None]:
    return (manifest.body, manifest.signature) if manifest else (None, None)


def _copy_damages(look: _Inspection, bundles: Iterable[Version]) -> Iterator[Damage]:
    """The private copies that answers come from (serving/registry.py), where there are any."""
    for version in bundles:
        folder = look.space.settings.home / "bundles" / version.sha256
        inside = PurePosixPath("data/models") / version.dataset
        for file in version.files if folder.is_dir() else ():
            if PurePosixPath(file.path).parent == inside:
                path = folder / PurePosixPath(file.path).name
                # Not every file of the folder is named by the bundle's own manifest, and only those are copied.
                is_there = look.sha256(path) is not None or look.obstacle(path)
                if is_there and look.sha256(path) != file.sha256:
                    yield look.damage(path, identity(version), file.sha256)


def _listing_damages(look: _Inspection) -> Iterator[Damage]:
    """DVC's listings of folders: in the cache by md5, and there only once DVC or a run put them there."""
    for folder, md5 in listings(look.space.root):
        path = look.space.objects.path(md5)
        if os.path.lexists(path) and not is_whole_listing(path, md5):
            dataset = folder.removeprefix("data/tables/").removeprefix("data/models/").removeprefix("data/raw/")
            fault = f"is damaged: DVC's listing of {folder}; remove it and run `headwater run`"
            yield look.damage(path, (dataset, "", ""), md5, fault)


def _index_damages(look: _Inspection) -> Iterator[Damage]:
    """Indexes that are not what their manifest says. Nothing rests on them: the next trace builds them again."""
    for path in sorted((look.space.settings.home / "indexes").glob("??/*/manifest.json")):
        try:
            # Reading a pipe waits for who writes to it.
            listed = json.loads(path.read_bytes() if path.is_file() else b"")
            wrong = [name for name in sorted(listed) if look.sha256(path.parent / name) != listed[name]]
        except (ValueError, TypeError, AttributeError, OSError):
            wrong = [path.name]
        for name in wrong:
            file = path.parent / name
            fault = f"is damaged: an index, which the next trace builds again; or remove {look.name(path.parent)}"
            yield look.damage(file, ("", "", ""), "", fault)


def _fault(key: Identity, path: str, fault: str) -> Damage:
    return Damage(path, *key, key[2], None, fault)


def _with_dependents(space: Workspace, found: Foundation, damaged: Iterable[Damage]) -> Iterator[Damage]:
    """Each file once, with every version that recorded it and what rests on any: tables, bundles, how many predictions.

    Versions with the same bytes share one object.
    """
    files: dict[tuple[str, str, str], dict[Identity, Damage]] = {}
    for item in damaged:
        owners = files.setdefault((item.path, item.fault, item.expected), {})
        owners.setdefault((item.dataset, item.partition, item.version), item)
    counts = space.store.rows("prediction_counts") if files else []
    for owners in files.values():
        first, *others = sorted(owners, key=lambda key: not _dependents(found, [key], counts))
        yield replace(owners[first], dependents=_dependents(found, owners, counts), others=tuple(others))


def _dependents(found: Foundation, keys: Iterable[Identity], counts: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    made = found.dependents(keys)
    reached = made.union(keys)
    rows = sum(row["predictions"] for row in counts if not reached.isdisjoint(_pair(row)))
    names = (_named(found.versions[item]) for item in sorted(made))
    return (*names, *([f"{rows:,} prediction{'s' * (rows != 1)}"] if rows else []))


def _pair(row: Mapping[str, Any]) -> set[Identity]:
    """The bundle and, where the features did not come from the client, the table version that predictions rest on."""
    return {(row["bundle"], "", row["digest"]), (row["dataset"], row["partition"], row["sha256"])}


def _named(version: Version) -> str:
    if _is_bundle(version):
        return f"{version.dataset} {version.sha256[:12]}"
    return _place(version.dataset, version.partition)


def _place(dataset: str, partition: str) -> str:
    return f"{dataset}{f'[{partition}]' if partition else ''}"


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names) if more <= 1 else f"{', '.join(names[: _SHOWN - 1])} and {more + 1} more"
