"""Compute a recorded prediction again and compare bits; where they differ, say which of what it rests on does.

Comparisons: the feature row on record with the row of the recorded table version, that row with one computed anew
from its source rows (where a `RowComputer` is given, as there is in `lineage.tracing.rowreplay`), and the margin's 32
bits with those of the recorded engine.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from lineage.compute import Task, present
from lineage.errors import IntegrityError, NotFoundError, StepFailedError
from lineage.plan import Workspace
from lineage.ports import Ports
from lineage.proof.recompute import CAUSES, run_changes
from lineage.tracing.ancestry import Origin, origin_of, recorded_version
from lineage.tracing.predictions import Prediction, find_prediction
from lineage.tracing.rowreplay import differing, stored_row
from lineage.versions import FileVersion, Version

# A row of a table version by its position, computed anew from the source rows it came from: column -> value.
RowComputer = Callable[[Workspace, Version, int], Mapping[str, Any]]

# Another engine than the recorded one answers within this much of 1, or of the margin where that is larger.
TOLERANCE = 1e-5
# Every bundle can be answered from by this one.
_OTHER_ENGINE = "xgboost_cpu"


@dataclass(frozen=True)
class _Recomputed:
    """What came of computing a feature row again: `identical`, `different`, or None and the reason."""

    result: str | None
    reason: str | None = None
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Margin:
    """A recomputed margin: its 4 bytes (little-endian float32), the engine, and why it is not the recorded one."""

    bits: bytes
    engine: str
    excuse: str | None = None

    @property
    def number(self) -> float:
        """The margin as a float."""
        return _number(self.bits)


def replay(space: Workspace, name: str, ports: Ports, *, recompute_row: RowComputer | None = None) -> dict[str, Any]:
    """Whether prediction `name` comes out again, as plain JSON values.

    `result` is `identical`, `within_tolerance(ε)` (the recorded engine is not here, and another one answers so
    nearly the same) or `different`; `differences` are sentences on what is seen, `causes` name what of code, inputs,
    parameters, environment and engine explains them, and `changes` say by cause what is another than on record, also
    where the bits are the same. `row` is `identical` or `different`: the table's row, all its columns bit by bit, and
    one computed from only the records behind it. It is None where that was not done, and `row_reason` says why.
    Features that the client sent are compared with nothing.
    Raises NotFoundError for an unknown id and IntegrityError when recorded bytes are gone.
    """
    prediction = find_prediction(space.store, name)
    row = _recomputed_row(space, prediction, recompute_row)
    features = [*_stored_row(space, prediction), *row.differences]
    margin = _margin(space, prediction, ports)
    recorded = bytes.fromhex(prediction.row["margin_bits"])[::-1]
    result, differences = _compared(recorded, margin)
    if features:
        result = "different"
    changes = _changes(space, prediction, margin)
    return {
        "prediction_id": name,
        "result": result,
        "identical": result == "identical",
        "row": row.result,
        "row_reason": row.reason,
        "engine": prediction.answer["engine"],
        "replayed_by": margin.engine,
        "margin": margin.number,
        "margin_bits": margin.bits[::-1].hex(),
        "recorded_margin_bits": prediction.row["margin_bits"],
        "differences": [*features, *differences],
        "causes": [] if result == "identical" else _causes(changes, features, margin),
        "changes": changes,
    }


def rests_on(space: Workspace, name: str) -> list[Version]:
    """The table version that prediction `name` took its features from, if any, and the bundle that answered."""
    prediction = find_prediction(space.store, name)
    row = _feature_version(space, prediction)
    return [*([row] if row else []), _bundle(space, prediction)]


# --- what is compared


def _stored_row(space: Workspace, prediction: Prediction) -> list[str]:
    """How the feature row on record differs from the row of the recorded table version."""
    version, row = _feature_version(space, prediction), prediction.row
    if version is None:
        return []
    stored = pl.scan_parquet(_bytes_of(space, version.file)).slice(row["position"], 1)
    found = stored.select(list(row["features"])).collect()
    if found.is_empty():
        return [f"feature row: {version.file.path} has no row {row['position']}"]
    return _differing(row["features"], found.row(0, named=True), "in the table")


def _recomputed_row(space: Workspace, prediction: Prediction, recompute: RowComputer | None) -> _Recomputed:
    """How the feature row on record, and the row of the table, differ from one computed from only its source rows."""
    version, position = _feature_version(space, prediction), prediction.row["position"]
    if version is None:
        return _Recomputed(None, "the client sent the features, so there are no source rows to compute them from")
    if recompute is None:
        return _Recomputed(None, "it was not asked for")
    try:
        row = recompute(space, version, position)
    except NotFoundError as error:
        return _Recomputed(None, str(error))
    except StepFailedError as error:
        return _Recomputed("different", None, (f"feature row, computed from its source rows: {error}",))
    stored, where = stored_row(space, version, position), "computed from its source rows"
    features = _differing(prediction.row["features"], row, where)
    told = {line.partition(":")[0].removeprefix("feature ") for line in features}
    others = [
        f"column {name} of the row: stored {stored.get(name)!r}, {where} {row.get(name)!r}"
        for name in differing(stored, row)
        if name not in told
    ]
    return _Recomputed("different" if features or others else "identical", None, (*features, *others))


def _compared(recorded: bytes, margin: _Margin) -> tuple[str, list[str]]:
    """The result as far as the margin goes, and what to say of it."""
    if margin.bits == recorded:
        return "identical", []
    before, now = _number(recorded), margin.number
    said = f"margin: recorded {before!r}, recomputed {now!r}"
    if margin.excuse is None:
        return "different", [said]
    near = abs(now - before) <= TOLERANCE * max(1.0, abs(before))
    return f"within_tolerance({TOLERANCE:g})" if near else "different", [f"{said}, by {margin.engine}: {margin.excuse}"]


def _margin(space: Workspace, prediction: Prediction, ports: Ports) -> _Margin:
    bundle = _bundle(space, prediction)
    files = {
        Path(file.path).name: _bytes_of(space, file) for file in bundle.files if file.path.startswith("data/models/")
    }
    engine, features = prediction.answer["engine"], prediction.row["features"]
    try:
        return _Margin(ports.score(files, features, engine), engine)
    except NotFoundError as error:
        if engine == _OTHER_ENGINE or "model.ubj" not in files:
            raise
        # The engine that answered is not on this machine.
        return _Margin(ports.score(files, features, _OTHER_ENGINE), _OTHER_ENGINE, str(error))


# --- why it differs


def _changes(space: Workspace, prediction: Prediction, margin: _Margin) -> dict[str, list[str]]:
    """What is another than when the features were made and the model was trained, by cause, with the step's name."""
    made_at = prediction.answer["made_at"]
    versions = [_feature_version(space, prediction), _bundle(space, prediction)]
    found: dict[str, list[str]] = {}
    for version in (item for item in versions if item):
        origin = origin_of(space.store, version, made_at)
        for cause, lines in _since(space, origin).items():
            found.setdefault(cause, []).extend(f"{_step(origin)}: {line}" for line in lines)
    if margin.excuse:
        found["engine"] = [margin.excuse]
    return {cause: found[cause] for cause in CAUSES if cause in found}


def _since(space: Workspace, origin: Origin) -> dict[str, list[str]]:
    if origin.run is None:
        return {}
    task = Task(origin.run["step"], origin.version.partition, origin.inputs, {})
    return run_changes(space, origin.run, present(space, task))


def _step(origin: Origin) -> str:
    return str(origin.run["step"]) if origin.run else origin.version.dataset


def _causes(changes: Mapping[str, list[str]], features: list[str], margin: _Margin) -> list[str]:
    """What explains a difference: another feature row, another engine, or else whatever has changed since."""
    if features and not any("source rows" in line for line in features):
        return ["inputs"]
    if margin.excuse and not features:
        return ["engine"]
    return list(changes) or ["nondeterminism"]


def _differing(recorded: Mapping[str, Any], found: Mapping[str, Any], where: str) -> list[str]:
    return [
        f"feature {name}: recorded {value!r}, {where} {found.get(name)!r}"
        for name, value in recorded.items()
        if _comparable(value) != _comparable(found.get(name))
    ]


def _comparable(value: Any) -> Any:
    """A value as the model sees it: numbers as float32 bits, NaN as missing."""
    if value is None or isinstance(value, str):
        return value
    # There is one zero: jsonb keeps no sign of it, and no margin depends on it.
    number = float(value) + 0.0
    return None if number != number else struct.pack("<f", number)


def _feature_version(space: Workspace, prediction: Prediction) -> Version | None:
    row = prediction.row
    return recorded_version(space.store, row["dataset"], row["partition"], row["sha256"]) if row["dataset"] else None


def _bundle(space: Workspace, prediction: Prediction) -> Version:
    answer = prediction.answer
    return recorded_version(space.store, answer["bundle_dataset"], "", answer["digest"])


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
