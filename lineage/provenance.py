"""Provenance: how a version came to be, as plain JSON, for traces and for the signed manifest beside each bundle.

A bundle holds content only, so that equal training gives equal bytes; who made it, when and from which commit stands
in `<model>.provenance.json` beside it, signed by `<model>.manifest.sig`. A committed version's files are put into their
places from here too (`publish`), with what is said of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lineage.plan import Workspace
from lineage.proof.manifest import Manifest, contents, manifest_paths, moment, read_manifest, spelled, store_manifest
from lineage.proof.signing import fault, known_key, sign
from lineage.quarantine import quarantine_of
from lineage.tables import table_path
from lineage.tracing.ancestry import Origin, ancestry, identity, raw_files
from lineage.versions import FileVersion, Version, sha256_file


def publish(space: Workspace, version: Version) -> None:
    """Put a committed version into its place in the project: its files, what says which rows they came from, and
    beside a bundle its provenance and the signature over it.
    """
    for file in (*version.files, *_row_lineage(space, version)):
        space.objects.place(file)
    if not _is_bundle(space, version):
        _remove_old_quarantine(space, version)
        return
    manifest = sign_bundle(space, version)
    _remove_others(space, version)
    for path, data in zip(_paths(space, version), (manifest.body, manifest.signature), strict=True):
        space.objects.write(path, data)


def is_published(space: Workspace, version: Version) -> bool:
    """Whether what `publish` writes beside a version's own files is there, and is what it wrote."""
    if any(sha256_file(space.root / file.path) != file.sha256 for file in _row_lineage(space, version)):
        return False
    if not _is_bundle(space, version):
        return True
    manifest, paths = read_manifest(space.store, version), _paths(space, version)
    placed = [path.read_bytes() if path.is_file() else None for path in paths]
    return manifest is not None and placed == [manifest.body, manifest.signature] and _is_ours(space, manifest)


def sign_bundle(space: Workspace, version: Version) -> Manifest:
    """The signed manifest of a bundle on record: the one that there is, or a new one where that says something else.

    Raises SettingsError where the private key cannot be used.
    """
    record = {"bundle": version.sha256, **_manifest_record(ancestry(space.store, [version]))}
    body, manifest = spelled(record), read_manifest(space.store, version)
    if manifest is None or manifest.body != body or not _is_ours(space, manifest):
        manifest = Manifest(body, sign(space.settings.home, body))
        store_manifest(space.store, version, manifest)
    return manifest


def _is_ours(space: Workspace, manifest: Manifest) -> bool:
    key = known_key(space.settings.home)
    return key is not None and fault(manifest.body, manifest.signature, key) is None


def _manifest_record(origins: list[Origin]) -> dict[str, Any]:
    return {**training_record(origins), "dataset": origins[0].version.dataset, **contents(origins)}


def _row_lineage(space: Workspace, version: Version) -> tuple[FileVersion, ...]:
    """The row-lineage files of the run that wrote a version last."""
    dataset, partition, sha256 = identity(version)
    row = space.store.row("run_that_wrote", dataset=dataset, partition=partition, sha256=sha256, before=None)
    return space.store.run_lineage(row["run_id"], dataset) if row else ()


def _is_bundle(space: Workspace, version: Version) -> bool:
    return any(step.dataset == version.dataset for step in space.project.models())


def _remove_old_quarantine(space: Workspace, version: Version) -> None:
    """Remove the rows that a table's checks put aside once and do not now: nobody shall take them for present ones."""
    dataset = quarantine_of(version.dataset)
    if version.partition not in space.store.current(dataset):
        (space.root / table_path(dataset, version.partition)).unlink(missing_ok=True)


def _paths(space: Workspace, version: Version) -> list[Path]:
    return [space.root / name for name in manifest_paths(version.dataset)]


def _remove_others(space: Workspace, version: Version) -> None:
    """Remove what an earlier version of a model left in its folders and this one does not have."""
    places = {space.root / file.path for file in version.files}
    for kind in ("models", "metrics"):
        for path in (space.root / "data" / kind / version.dataset).glob("*"):
            if path.is_file() and path not in places:
                path.unlink()


def training_record(origins: list[Origin]) -> dict[str, Any]:
    """How a model came to be: its run, code, parameters and environment, the tables and the raw files under it.

    `origins` is the ancestry of the model's version, itself first.
    """
    model = origins[0]
    run = model.run or {}
    return {
        "run_id": str(run["run_id"]) if run else None,
        "step": run.get("step"),
        "commit": run.get("commit_sha"),
        "code": run.get("code"),
        "parameters": run.get("parameters"),
        "environment": run.get("environment"),
        "started_at": moment(run["started_at"]) if run else None,
        "ended_at": moment(run["ended_at"]) if run else None,
        "tables": [table_record(version) for _, version in model.inputs],
        "rows": sum(version.row_count or 0 for _, version in model.inputs),
        "sources": source_records(origins),
    }


def table_record(version: Version) -> dict[str, Any]:
    """What identifies a table version, and how many rows it has."""
    return {
        "dataset": version.dataset,
        "partition": version.partition,
        "version": version.sha256,
        "row_count": version.row_count,
    }


def source_records(origins: Iterable[Origin]) -> list[dict[str, Any]]:
    """The raw files under `origins`: which version of which file, where it came from, how many records it has."""
    return [
        {
            "dataset": dataset,
            "partition": version.partition,
            "version": version.sha256,
            "file": version.file.path,
            "origin": version.origin,
            "count": reader.records,
            "ranges": None,
            "rows": None,
            "values": None,
        }
        for dataset, version, reader in raw_files(origins)
    ]
