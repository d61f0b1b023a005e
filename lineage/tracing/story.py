"""What a trace tells of each thing on the way, as plain JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, time
from typing import Any

import numpy as np

from lineage.ports import about
from lineage.provenance import table_record
from lineage.tracing.ancestry import Origin
from lineage.tracing.predictions import Prediction
from lineage.versions import FileVersion, Version

_LOGISTIC = "binary:logistic"
_ASIDE = "quarantined"


def prediction_record(prediction: Prediction, name: str, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """A prediction, called `name`; `parameters` are those that its model was trained with."""
    answer, row = prediction.answer, prediction.row
    is_logistic = parameters is not None and parameters.get("objective") == _LOGISTIC
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
        **({"probability": _probability(prediction.margin)} if is_logistic else {}),
    }


def bundle_record(bundle: Version) -> dict[str, Any]:
    """A bundle and its files."""
    return {
        "dataset": bundle.dataset,
        "version": bundle.sha256,
        "files": [_file(file) for file in bundle.files],
    }


def features_record(prediction: Prediction, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """The feature row that was predicted from, in the order of training; its place is null where the client sent it."""
    row = prediction.row
    learnt = [name for name in (parameters or {}).get("features") or () if name in row["features"]]
    return {
        "dataset": row["dataset"],
        "partition": row["partition"],
        "version": row["sha256"],
        "position": row["position"],
        "values": {name: row["features"][name] for name in dict.fromkeys([*learnt, *row["features"]])},
    }


def step_record(origin: Origin, rows: int | None) -> dict[str, Any]:
    """A table on the way, the run that wrote it and what that read; `rows` of it are behind what was asked."""
    run = origin.run or {}
    return {
        **table_record(origin.version),
        "run_id": str(run["run_id"]) if run else None,
        "step": run.get("step"),
        "code": run.get("code"),
        "commit": run.get("commit_sha"),
        "rows": rows,
        "inputs": [{"name": name, **table_record(version)} for name, version in origin.inputs],
    }


def check_record(row: Mapping[str, Any]) -> dict[str, Any]:
    """A suite's result: how many expectations held, and in words those that did not; how many rows broke those that
    put rows aside."""
    expectations = row["expectations"]
    failed = [item["text"] for item in expectations if not item["success"]]
    aside = [[_named(item), item[_ASIDE]] for item in expectations if item.get(_ASIDE)]
    return {
        "suite": row["suite"],
        "success": row["success"],
        "expectations": len(expectations),
        "passed": len(expectations) - len(failed),
        "failed": failed,
        **({_ASIDE: aside} if aside else {}),
    }


def plain(value: Any) -> Any:
    """A cell as JSON has it; what JSON has no form for, as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _named(expectation: Mapping[str, Any]) -> str:
    # Results from before `expected` was recorded lack it.
    columns = ", ".join(about(expectation["column"], expectation.get("expected", {})))
    return f"{expectation['kind']}{f' on {columns}' if columns else ''}"


def _file(file: FileVersion) -> dict[str, Any]:
    return {"path": file.path, "sha256": file.sha256, "size_bytes": file.size_bytes}


def _probability(margin: float) -> float:
    """1 / (1 + exp(-margin)) as serving answers it: in float64, rounded once to float32."""
    small = np.exp(-np.abs(np.float64(margin)))
    return float(np.float32((1.0 if margin >= 0 else small) / (1.0 + small)))
