"""The folder that is served: the model twice, what it takes and answers, and a manifest over all of it.

A bundle holds content only, so that the same training gives the same bytes anywhere. Its digest is the
sha256 of manifest.json, which names the sha256 of every other file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lineage.errors import DeclarationError, IntegrityError, NotFoundError, UnsupportedModelError
from lineage.objects import sync
from serving.engines import open_engine
from serving.engines.columns import columns_of
from serving.rows import BATCH_ROWS, sliced

if TYPE_CHECKING:
    import polars as pl

    from serving.train import Trained

MANIFEST = "manifest.json"
FORMAT = 1
_OWN = frozenset({MANIFEST, "model.onnx", "model.ubj", "signature.json"})


@dataclass(frozen=True)
class Bundle:
    """A folder whose files were, when it was loaded, exactly those of its manifest."""

    folder: Path
    digest: str
    signature: Mapping[str, Any]
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.signature["name"])

    @property
    def features(self) -> tuple[str, ...]:
        """The inputs, in the order of the booster's features."""
        return tuple(field["name"] for field in self.signature["inputs"])

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """String input -> its categories, in the order of their codes."""
        strings = (field for field in self.signature["inputs"] if field["datatype"] == "BYTES")
        return {field["name"]: tuple(field["categories"]) for field in strings}

    def read(self, name: str) -> bytes:
        """The bytes of one file; IntegrityError if they are no longer those of the manifest."""
        return _verified(self.folder / name, self.manifest["files"][name]["sha256"])


@dataclass(frozen=True)
class Parity:
    """Of `rows` rows, `exact` had the same margin bits in both engines."""

    rows: int
    exact: int


def write_bundle(
    folder: Path,
    trained: Trained,
    *,
    name: str,
    dataset: Mapping[str, Any],
    extra: Mapping[str, bytes] | None = None,
) -> str:
    """Write the bundle of `trained` and return its digest; all of it appears at once, or nothing.

    `folder` must be absent or empty. `dataset` says what it was trained on, in JSON (versions, not paths or
    times). `extra` are further files to cover, such as a reference profile. Where the booster cannot be
    exported there is no model.onnx, and the manifest says why. Raises OSError where `folder` holds files,
    DeclarationError for an extra file that has the name of one of the bundle's own.
    """
    if taken := sorted(_OWN & set(extra or {})):
        raise DeclarationError(f"extra files cannot be called {taken}; a bundle writes these itself.")
    model, refused = _exported(trained)
    files = {**(extra or {}), **model, "signature.json": canonical(_signature(trained, name))}
    manifest = canonical({**_summary(trained), "dataset": dict(dataset), "export_refused": refused} | _sums(files))
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        for file, data in {**files, MANIFEST: manifest}.items():
            _write(partial / file, data)
        sync(partial)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial)
        raise
    sync(folder.parent)
    return hashlib.sha256(manifest).hexdigest()


def load_bundle(folder: Path, *, digest: str | None = None) -> Bundle:
    """The bundle in `folder`, every byte of it compared with its manifest, and that with `digest` if given.

    Raises NotFoundError where there is no manifest, IntegrityError naming the first file that differs, is
    missing, or that the manifest does not know.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise NotFoundError(f"{folder} holds no {MANIFEST}; is it a model's bundle?")
    raw = path.read_bytes() if digest is None else _verified(path, digest)
    manifest = _manifest(path, raw)
    if strangers := sorted({entry.name for entry in folder.iterdir()} - {MANIFEST, *manifest["files"]}):
        raise IntegrityError(
            f"{folder} holds {strangers}, which its manifest does not name; move them out of the bundle.",
            str(folder / strangers[0]),
            "no such file",
            None,
        )
    for name, entry in manifest["files"].items():
        _verified(folder / name, entry["sha256"])
    signature = json.loads(_verified(folder / "signature.json", manifest["files"]["signature.json"]["sha256"]))
    return Bundle(folder, hashlib.sha256(raw).hexdigest(), signature, manifest)


def parity(bundle: Bundle, frame: pl.DataFrame | pl.LazyFrame) -> Parity:
    """How many rows of `frame` (the model's features, any number of rows) both engines answer alike.

    A lazy frame is read in batches, and no answer is kept.
    """
    engines = [open_engine(bundle, name) for name in ("onnxruntime_cpu", "xgboost_cpu")]
    rows = exact = 0
    for batch in sliced(frame.lazy().select(*bundle.features), BATCH_ROWS):
        columns = columns_of(batch, features=bundle.features, categories=bundle.categories)
        ours, theirs = (engine.margin(columns) for engine in engines)
        rows, exact = rows + batch.height, exact + int(np.sum(ours.view(np.uint32) == theirs.view(np.uint32)))
    return Parity(rows, exact)


def canonical(value: Any) -> bytes:
    """JSON with one spelling: sorted keys, two spaces, UTF-8, a newline at the end, no NaN."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def _exported(trained: Trained) -> tuple[dict[str, bytes], str | None]:
    """The model's files, and why there is no ONNX among them if there is none."""
    from serving.export import to_onnx

    files = {"model.ubj": bytes(trained.booster.save_raw("ubj"))}
    try:
        model = to_onnx(trained.booster, features=trained.spec.features, categories=trained.categories)
    except UnsupportedModelError as error:
        return files, str(error)
    return {**files, "model.onnx": model}, None


def _signature(trained: Trained, name: str) -> dict[str, Any]:
    def column(column: str, datatype: str, **more: Any) -> dict[str, Any]:
        return {"name": column, "datatype": datatype, "shape": [-1, 1], **more}

    logistic = trained.spec.objective == "binary:logistic"
    return {
        "name": name,
        "inputs": [
            column(feature, "BYTES", categories=list(trained.categories[feature]))
            if feature in trained.categories
            else column(feature, "FP32")
            for feature in trained.spec.features
        ],
        "outputs": [column(output, "FP32") for output in ("margin", "probability")[: 1 + logistic]],
        "replay_output": "margin",
        "objective": trained.spec.objective,
        "unknown_category": "missing",
    }


def _summary(trained: Trained) -> dict[str, Any]:
    spec, device = trained.spec, trained.device
    return {
        "format": FORMAT,
        "target": spec.target,
        "objective": spec.objective,
        "parameters": dict(spec.parameters),
        "rounds": spec.rounds,
        "early_stopping_rounds": spec.early_stopping_rounds,
        "seed": spec.seed,
        "best_iteration": trained.best_iteration,
        "rows": dict(trained.rows),
        "base_rate": trained.base_rate,
        "constant": trained.base.margin,
        "metrics": {part: dict(found) for part, found in trained.metrics.items()},
        "device": {"name": device.name, "promise": device.promise},
    }


def _sums(files: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)} for name, data in files.items()
        }
    }


def _manifest(path: Path, raw: bytes) -> dict[str, Any]:
    """The manifest in `raw`, which must be spelt as `write_bundle` spells it and know the signature."""
    try:
        manifest = json.loads(raw)
        plain = all(Path(name).name == name for name in manifest["files"])
        known = manifest["format"] == FORMAT and "signature.json" in manifest["files"]
        whole = plain and known and canonical(manifest) == raw
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        found = hashlib.sha256(raw).hexdigest()
        raise IntegrityError(f"{path} is not a manifest of format {FORMAT}.", str(path), "a manifest", found)
    return dict(manifest)


def _verified(path: Path, expected: str) -> bytes:
    """The bytes of the file at `path`, if they are the ones that `expected` is the sha256 of."""
    data = path.read_bytes() if path.is_file() else None
    found = None if data is None else hashlib.sha256(data).hexdigest()
    if data is None or found != expected:
        state = "is missing" if found is None else f"has sha256 {found}"
        raise IntegrityError(
            f"{path} {state}, its bundle recorded {expected}; restore the version that was written.",
            str(path),
            expected,
            found,
        )
    return data


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
