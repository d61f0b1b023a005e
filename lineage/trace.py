"""From a prediction back to the files it came from, every hash on the way checked.

File level: which versions of which raw files a prediction rests on. `rows` and `values` of a source stay
null until rows are tracked; `complete` says that the way ends in raw files and that all bytes are there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lineage.ancestry import Origin, ancestry, identity, raw_files, recorded_version
from lineage.plan import Workspace
from lineage.predictions import Prediction, find_prediction
from lineage.provenance import source_records, table_record, training_record
from lineage.versions import FileVersion, Version, sha256_file


def trace(space: Workspace, name: str) -> dict[str, Any]:
    """The trace of prediction `name` (`ID` or `ID.i`), as plain JSON values.

    Keys: prediction, bundle, training, features, steps (every table version on the way), sources,
    complete, notes (raw files that changed since), problems (what is missing or differs, by file).
    Raises NotFoundError for an unknown id.
    """
    prediction = find_prediction(space.store, name)
    made_at = prediction.answer["made_at"]
    bundle = recorded_version(space.store, prediction.answer["bundle_dataset"], "", prediction.answer["digest"])
    training = ancestry(space.store, [bundle], made_at)
    row = _feature_version(space, prediction)
    way = ancestry(space.store, [row] if row else [], made_at)
    origins = list({identity(origin.version): origin for origin in [*training, *way]}.values())
    problems = [*unrecorded(origins), *damaged(space, origins)]
    return {
        "prediction": _prediction(prediction, name),
        "bundle": _bundle(bundle),
        "training": training_record(training),
        "features": _features(prediction),
        "steps": [_step(origin) for origin in way if not origin.is_raw],
        "sources": source_records(way),
        "complete": not problems,
        "notes": _notes(space, way),
        "problems": problems,
    }


def unrecorded(origins: Iterable[Origin]) -> list[str]:
    """Where the way back through `origins` breaks off before a raw file, a sentence each."""
    return [
        f"no run is on record that wrote {origin.version.dataset} {origin.version.sha256[:12]}…"
        if origin.run is None
        else f"nothing is on record that {origin.version.dataset} {origin.version.sha256[:12]}… was made from"
        for origin in origins
        if origin.is_raw and origin.version.origin is None
    ]


def damaged(space: Workspace, origins: Iterable[Origin]) -> list[str]:
    """Files of `origins` whose recorded bytes are neither in the object cache nor in place, a sentence each."""
    return [
        f"{file.path}: the bytes of version {file.sha256[:12]}… are gone or changed"
        for origin in origins
        for file in origin.version.files
        if space.objects.find(file) is None
    ]


def _feature_version(space: Workspace, prediction: Prediction) -> Version | None:
    row = prediction.row
    return recorded_version(space.store, row["dataset"], row["partition"], row["sha256"]) if row["dataset"] else None


def _notes(space: Workspace, origins: Iterable[Origin]) -> list[str]:
    """Raw files that have been changed or removed since: the trace stands on the bytes that the cache kept."""
    return [
        f"{version.file.path} has changed since; the bytes of version {version.sha256[:12]}… are in the cache"
        for _, version, _ in raw_files(origins)
        if sha256_file(space.root / version.file.path) != version.sha256
    ]


def _prediction(prediction: Prediction, name: str) -> dict[str, Any]:
    answer, row = prediction.answer, prediction.row
    return {
        "id": name,
        "model": answer["model"],
        "model_version": answer["digest"],
        "made_at": answer["made_at"].isoformat(),
        "caller": answer["caller"],
        "engine": answer["engine"],
        "request_sha256": answer["request_sha256"],
        "inputs": answer["features_from"],
        "key": row["key"],
        "margin": prediction.margin,
        "margin_bits": row["margin_bits"],
    }


def _bundle(bundle: Version) -> dict[str, Any]:
    return {
        "dataset": bundle.dataset,
        "version": bundle.sha256,
        "files": [_file(file) for file in bundle.files],
    }


def _features(prediction: Prediction) -> dict[str, Any]:
    row = prediction.row
    return {
        "dataset": row["dataset"],
        "partition": row["partition"],
        "version": row["sha256"],
        "position": row["position"],
        "values": row["features"],
    }


def _step(origin: Origin) -> dict[str, Any]:
    run = origin.run or {}
    return {
        **table_record(origin.version),
        "run_id": str(run["run_id"]) if run else None,
        "step": run.get("step"),
        "commit": run.get("commit_sha"),
        "inputs": [{"name": name, **table_record(version)} for name, version in origin.inputs],
    }


def _file(file: FileVersion) -> dict[str, Any]:
    return {"path": file.path, "sha256": file.sha256, "size_bytes": file.size_bytes}
