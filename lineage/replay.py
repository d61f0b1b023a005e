"""Compute a recorded prediction again, from its recorded feature row and bundle, and compare bits."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from lineage.ancestry import recorded_version
from lineage.errors import IntegrityError
from lineage.plan import Workspace
from lineage.ports import Ports
from lineage.predictions import Prediction, find_prediction
from lineage.versions import FileVersion


def replay(space: Workspace, name: str, ports: Ports) -> dict[str, Any]:
    """Whether prediction `name` comes out again: `identical`, both margins, and what differs if it does not.

    Two comparisons: the recorded feature row with the row of the recorded table version, value by value
    (skipped for features that the client sent), and the margin's 32 bits with those on record.
    Raises NotFoundError for an unknown id and IntegrityError when recorded bytes are gone.
    """
    prediction = find_prediction(space.store, name)
    differences = _changed_features(space, prediction)
    recomputed = _margin(space, prediction, ports)
    recorded = bytes.fromhex(prediction.row["margin_bits"])[::-1]
    if recomputed != recorded:
        differences.append(f"margin: recorded {_number(recorded)!r}, recomputed {_number(recomputed)!r}")
    return {
        "prediction_id": name,
        "result": "different" if differences else "identical",
        "identical": not differences,
        "engine": prediction.answer["engine"],
        "margin": _number(recomputed),
        "margin_bits": recomputed[::-1].hex(),
        "recorded_margin_bits": prediction.row["margin_bits"],
        "differences": differences,
    }


def _margin(space: Workspace, prediction: Prediction, ports: Ports) -> bytes:
    answer = prediction.answer
    bundle = recorded_version(space.store, answer["bundle_dataset"], "", answer["digest"])
    files = {
        Path(file.path).name: _bytes_of(space, file) for file in bundle.files if file.path.startswith("data/models/")
    }
    return ports.score(files, prediction.row["features"], answer["engine"])


def _changed_features(space: Workspace, prediction: Prediction) -> list[str]:
    row = prediction.row
    if row["dataset"] is None:
        return []
    version = recorded_version(space.store, row["dataset"], row["partition"], row["sha256"])
    path = _bytes_of(space, version.file)
    stored = pl.scan_parquet(path).slice(row["position"], 1).select(list(row["features"])).collect()
    if stored.is_empty():
        return [f"feature row: {version.file.path} has no row {row['position']}"]
    return _differing(row["features"], stored.row(0, named=True))


def _differing(recorded: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    return [
        f"feature {name}: recorded {value!r}, in the table {stored[name]!r}"
        for name, value in recorded.items()
        if _comparable(value) != _comparable(stored[name])
    ]


def _comparable(value: Any) -> Any:
    """A value as the model sees it: numbers as float32 bits, NaN as missing."""
    if value is None or isinstance(value, str):
        return value
    # There is one zero: jsonb keeps no sign of it, and no margin depends on it.
    number = float(value) + 0.0
    return None if number != number else struct.pack("<f", number)


def _bytes_of(space: Workspace, file: FileVersion) -> Path:
    """A path whose bytes are those of `file`: the cached object, or the project's file."""
    if path := space.objects.find(file):
        return path
    raise IntegrityError(
        f"{file.path}: the bytes of version {file.sha256[:12]}… are neither in the cache nor in place, "
        "so this cannot be replayed; `dvc pull` may bring them back.",
        file.path,
        file.sha256,
        None,
    )


def _number(bits: bytes) -> float:
    value: float = struct.unpack("<f", bits)[0]
    return value
