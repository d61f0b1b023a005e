"""Provenance: how a version came to be, as plain JSON, for traces and for the file beside each bundle.

A bundle holds content only, so that equal training gives equal bytes; who made it, when and from which
commit stands in `<bundle>.provenance.json` beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lineage.ancestry import Origin, ancestry, raw_files
from lineage.plan import Workspace
from lineage.versions import Version


def publish(space: Workspace, version: Version) -> None:
    """Put a committed version into its place in the project; a bundle gets its provenance beside it."""
    for file in version.files:
        space.objects.place(file)
    if path := _provenance_path(space, version):
        record = {"bundle": version.sha256, **training_record(ancestry(space.store, [version]))}
        _remove_others(space, version)
        space.objects.write(path, (json.dumps(record, indent=2, sort_keys=True, default=str) + "\n").encode())


def is_published(space: Workspace, version: Version) -> bool:
    """Whether what `publish` writes beside a version's own files is there."""
    path = _provenance_path(space, version)
    return path is None or path.exists()


def _remove_others(space: Workspace, version: Version) -> None:
    """Remove what an earlier version of a model left in its folders and this one does not have."""
    places = {space.root / file.path for file in version.files}
    for kind in ("models", "metrics"):
        for path in (space.root / "data" / kind / version.dataset).glob("*"):
            if path.is_file() and path not in places:
                path.unlink()


def _provenance_path(space: Workspace, version: Version) -> Path | None:
    if any(step.dataset == version.dataset for step in space.project.models()):
        return space.root / f"data/models/{version.dataset}.provenance.json"
    return None


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
        "started_at": run["started_at"].isoformat() if run else None,
        "ended_at": run["ended_at"].isoformat() if run else None,
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
            "count": reader.version.row_count,
            "ranges": None,
            "rows": None,
            "values": None,
        }
        for dataset, version, reader in raw_files(origins)
    ]
