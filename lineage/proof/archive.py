"""An exported bundle: a folder with the bundle, its provenance and the signature over it, checked anywhere.

    FOLDER/bundle/            the bundle's files
    FOLDER/provenance.json    what it rests on: the bytes that were signed
    FOLDER/manifest.sig       the signature
    FOLDER/public_key.pem     the key that it names; who made the folder could have made that as well

Nothing else is needed to check it: no database, cache or project.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lineage.errors import IntegrityError, NotFoundError
from lineage.objects import sync
from lineage.plan import Workspace
from lineage.proof.manifest import FORMAT, Manifest, read_manifest
from lineage.proof.signing import PublicKey, fault, own_key, read_public_key, read_signature
from lineage.versions import FileVersion, Version, obstacle, sha256_file

_BUNDLE, _PROVENANCE, _SIGNATURE, _KEY = "bundle", "provenance.json", "manifest.sig", "public_key.pem"


@dataclass(frozen=True)
class Checked:
    """What was found of an exported bundle: whose signature it has, and every difference, a sentence each.

    `trusted` says that the key came from the asker and not with the folder. `versions` and `sources` count what the
    provenance says the model rests on.
    """

    dataset: str
    version: str
    signed_by: str
    trusted: bool
    files: int
    versions: int
    sources: int
    faults: tuple[str, ...]


@dataclass(frozen=True)
class _Archive:
    """Where the parts of an exported bundle lie: in one folder, or beside a bundle as a project publishes it."""

    bundle: Path
    provenance: Path
    signature: Path
    key: Path | None


def write_archive(space: Workspace, version: Version, folder: Path) -> PublicKey:
    """Write a bundle on record with all that checks it into `folder`, new or empty; returns the key that signed it.

    All of it appears at once, or nothing. Raises FileExistsError where the folder holds files, NotFoundError for a
    bundle that was never signed, IntegrityError naming a file or a signature that is not what was recorded.
    """
    manifest, key = _signed(space, version)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(errno.EEXIST, "there are files already; name a new or an empty folder", str(folder))
    folder = folder.absolute()
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    (partial / _BUNDLE).mkdir(parents=True)
    try:
        for file in _bundle_files(version):
            shutil.copyfile(_whole(space, file), partial / _BUNDLE / PurePosixPath(file.path).name)
        for name, data in ((_PROVENANCE, manifest.body), (_SIGNATURE, manifest.signature), (_KEY, key.pem.encode())):
            (partial / name).write_bytes(data)
        for path in (*partial.rglob("*"), partial):
            sync(path)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial)
        raise
    sync(folder.parent)
    return key


def check_archive(folder: Path, key: PublicKey | None = None) -> Checked:
    """Compare an exported bundle, or one in its place in a project, with what was signed.

    Without `key` the one in the folder is used, which proves only that nothing changed since somebody signed. Raises
    NotFoundError naming the part that is missing, SettingsError for a key file that holds none.
    """
    parts = _parts(folder)
    trusted, used = key is not None, key or _enclosed_key(parts)
    body, signature = parts.provenance.read_bytes(), parts.signature.read_bytes()
    faults = list(_signature_faults(parts, body, signature, used))
    if trusted and parts.key and (other := read_public_key(parts.key)) != key:
        faults.append(f"{parts.key} is another key ({other.fingerprint[:12]}…) than the one that was given")
    # What was not signed says nothing of the files.
    record = {} if faults else _record(body)
    if record is None:
        faults.append(f"{parts.provenance} was signed, but is not the provenance of a bundle")
    expected = _expected(record) if record else {}
    faults += _file_faults(parts.bundle, expected) if record else ()
    return Checked(
        dataset=record["dataset"] if record else "",
        version=record["bundle"] if record else "",
        signed_by=found.key if (found := read_signature(signature)) else "",
        trusted=trusted,
        files=len(expected),
        versions=len(record["versions"]) if record else 0,
        sources=len(record["sources"]) if record else 0,
        faults=tuple(faults),
    )


def _signed(space: Workspace, version: Version) -> tuple[Manifest, PublicKey]:
    name = f"{version.dataset} {version.sha256[:12]}"
    manifest = read_manifest(space.store, version)
    if manifest is None:
        raise NotFoundError(
            f"{name} was never signed, for it is older than signatures; `headwater run "
            f"{version.dataset.replace('/', '.')}` signs the version that is current."
        )
    key = own_key(space.settings.home)
    if wrong := fault(manifest.body, manifest.signature, key):
        raise IntegrityError(
            f"The signed manifest of {name} {wrong}; `headwater verify` names all that is affected.",
            version.dataset,
            version.sha256,
            None,
        )
    return manifest, key


def _bundle_files(version: Version) -> list[FileVersion]:
    inside = PurePosixPath("data/models") / version.dataset
    return [file for file in version.files if PurePosixPath(file.path).parent == inside]


def _whole(space: Workspace, file: FileVersion) -> Path:
    if path := space.objects.find(file):
        return path
    raise IntegrityError(
        f"{file.path}: the bytes of version {file.sha256[:12]}… are gone or changed, in the cache and in their place; "
        "`headwater verify` names all that is affected.",
        file.path,
        file.sha256,
        None,
    )


def _parts(folder: Path) -> _Archive:
    folder = folder.absolute()
    exported = _Archive(folder / _BUNDLE, folder / _PROVENANCE, folder / _SIGNATURE, folder / _KEY)
    beside = [folder.with_name(f"{folder.name}.{name}") for name in (_PROVENANCE, _SIGNATURE)]
    parts = _Archive(folder, beside[0], beside[1], None) if all(path.is_file() for path in beside) else exported
    for path in (parts.bundle, parts.provenance, parts.signature):
        if not (path.is_dir() if path == parts.bundle else path.is_file()):
            raise NotFoundError(
                f"{folder} is no exported bundle, for there is no {path}; make one with `headwater models export`."
            )
    return parts


def _enclosed_key(parts: _Archive) -> PublicKey:
    if parts.key is None:
        raise NotFoundError(
            f"There is no key beside {parts.bundle}; name one with --public-key FILE (`headwater verify --public-key` "
            "prints that of the project that signed)."
        )
    return read_public_key(parts.key)


def _signature_faults(parts: _Archive, body: bytes, signature: bytes, key: PublicKey) -> Iterator[str]:
    """Which of the two files is not what it was: the one that fits neither the key nor the other."""
    wrong, found, digest = fault(body, signature, key), read_signature(signature), hashlib.sha256(body).hexdigest()
    if wrong and found and found.key == key.fingerprint and digest != found.sha256 and not key.fits(body, found.value):
        yield f"{parts.provenance} has sha256 {digest[:12]}…, signed as {found.sha256[:12]}…"
    elif wrong:
        yield f"{parts.signature} {wrong}"


def _record(body: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(body)
        known = record["format"] == FORMAT and {"bundle", "dataset", "versions", "sources"} <= record.keys()
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if known else None


def _expected(record: Mapping[str, Any]) -> dict[str, str]:
    """Name -> sha256 of each of the bundle's files, by the provenance."""
    inside = PurePosixPath("data/models") / record["dataset"]
    return {
        PurePosixPath(file["path"]).name: file["sha256"]
        for entry in record["versions"]
        if (entry["dataset"], entry["version"]) == (record["dataset"], record["bundle"])
        for file in entry["files"]
        if PurePosixPath(file["path"]).parent == inside
    }


def _file_faults(bundle: Path, expected: Mapping[str, str]) -> Iterator[str]:
    for name, sha256 in sorted(expected.items()):
        if (found := sha256_file(bundle / name)) != sha256:
            state = obstacle(bundle / name) or "is missing" if found is None else f"has sha256 {found[:12]}…"
            yield f"{bundle / name} {state}, signed as {sha256[:12]}…"
    for path in sorted(bundle.iterdir()):
        if path.name not in expected:
            yield f"{path} is not among the files that were signed"
