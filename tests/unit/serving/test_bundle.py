"""A bundle is exactly what was written, or it is refused by the name of the file that differs."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import xgboost

from lineage.errors import DeclarationError, IntegrityError, NotFoundError, UnsupportedModelError
from serving.bundle import Parity, canonical, load_bundle, parity, write_bundle
from serving.engines import open_engine
from serving.train import ModelSpec, Split, Trained, train

DATASET = {"table": "flights/features", "version": "sha256:00"}
FILES = ("manifest.json", "model.onnx", "model.ubj", "profile.json", "signature.json")


def flights(rows: int, seed: int, carriers: str = "ABC") -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    carrier = [None if code == 0 else carriers[code - 1] for code in rng.integers(0, len(carriers) + 1, rows)]
    hour = rng.integers(0, 24, rows)
    return pl.DataFrame({"hour": hour, "wind": rng.normal(size=rows), "carrier": carrier, "late": hour > 14})


@pytest.fixture(scope="module")
def trained() -> Trained:
    spec = ModelSpec("late", ("hour", "wind", "carrier"), "binary:logistic", rounds=8, early_stopping_rounds=2)
    return train(Split(flights(300, 1), flights(100, 2), flights(100, 3)), spec)


def written(folder, trained: Trained, name: str = "flights-late") -> str:
    return write_bundle(folder, trained, name=name, dataset=DATASET, extra={"profile.json": b"{}\n"})


def test_a_bundle_comes_back_as_it_was_written(tmp_path, trained):
    """The digest is the sha256 of the manifest; the signature says what the model takes and answers."""
    digest = written(tmp_path / "bundle", trained)

    bundle = load_bundle(tmp_path / "bundle", digest=digest)

    assert hashlib.sha256((tmp_path / "bundle/manifest.json").read_bytes()).hexdigest() == digest == bundle.digest
    assert (bundle.name, bundle.features) == ("flights-late", ("hour", "wind", "carrier"))
    assert bundle.categories == {"carrier": ("A", "B", "C")}
    assert bundle.signature == {
        "name": "flights-late",
        "inputs": [
            {"name": "hour", "datatype": "FP32", "shape": [-1, 1]},
            {"name": "wind", "datatype": "FP32", "shape": [-1, 1]},
            {"name": "carrier", "datatype": "BYTES", "shape": [-1, 1], "categories": ["A", "B", "C"]},
        ],
        "outputs": [
            {"name": "margin", "datatype": "FP32", "shape": [-1, 1]},
            {"name": "probability", "datatype": "FP32", "shape": [-1, 1]},
        ],
        "replay_output": "margin",
        "objective": "binary:logistic",
        "unknown_category": "missing",
    }


def test_the_manifest_covers_every_other_file(tmp_path, trained):
    """Each file stands in the manifest with its digest and size, and nothing else is in the folder."""
    written(tmp_path / "bundle", trained)

    bundle = load_bundle(tmp_path / "bundle")

    assert set(FILES) == {path.name for path in (tmp_path / "bundle").iterdir()}
    assert {"manifest.json", *bundle.manifest["files"]} == set(FILES)
    for name, entry in bundle.manifest["files"].items():
        data = bundle.read(name)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["size_bytes"], entry["sha256"])
    assert bundle.manifest["dataset"] == DATASET
    assert trained.metrics == bundle.manifest["metrics"]


def test_writing_twice_gives_the_same_digest(tmp_path, trained):
    """A bundle holds content only, so the place and time of writing do not show."""
    first, second = (written(tmp_path / place, trained) for place in ("here", "there"))

    assert first == second
    assert first != written(tmp_path / "renamed", trained, name="other")


def test_a_regression_has_no_probability(tmp_path, trained):
    """Only a logistic model answers with a probability."""
    spec = replace(trained.spec, objective="reg:squarederror")
    parts = Split(flights(300, 1), flights(100, 2), flights(100, 3))
    written(tmp_path / "bundle", train(parts, spec))

    bundle = load_bundle(tmp_path / "bundle")

    assert [output["name"] for output in bundle.signature["outputs"]] == ["margin"]


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_is_named(tmp_path, trained, name):
    """One changed bit anywhere in a bundle is refused with the name of its file."""
    digest = written(tmp_path / "bundle", trained)
    path = tmp_path / "bundle" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    with pytest.raises(IntegrityError, match=name) as caught:
        load_bundle(tmp_path / "bundle", digest=digest)

    assert str(path) == caught.value.path
    assert hashlib.sha256(data).hexdigest() == caught.value.found


@pytest.mark.parametrize("name", ["model.onnx", "signature.json"])
def test_a_missing_file_is_named(tmp_path, trained, name):
    """A file of the manifest that is gone is refused, found is None."""
    written(tmp_path / "bundle", trained)
    (tmp_path / "bundle" / name).unlink()

    with pytest.raises(IntegrityError, match=f"{name} is missing") as caught:
        load_bundle(tmp_path / "bundle")

    assert caught.value.found is None


def test_a_file_that_the_manifest_does_not_know_is_refused(tmp_path, trained):
    """Nothing lies in a bundle that its digest does not cover."""
    written(tmp_path / "bundle", trained)
    (tmp_path / "bundle/notes.txt").write_text("hello")

    with pytest.raises(IntegrityError, match=r"notes\.txt"):
        load_bundle(tmp_path / "bundle")


def test_a_file_that_changes_after_loading_is_refused_when_read(tmp_path, trained):
    """What an engine opens is compared as it is read, not only when the bundle was loaded."""
    written(tmp_path / "bundle", trained)
    bundle = load_bundle(tmp_path / "bundle")
    (tmp_path / "bundle/model.onnx").write_bytes(b"other")

    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        open_engine(bundle)


@pytest.mark.parametrize(
    "manifest",
    [
        b"{",
        b"[]\n",
        canonical({"format": 99, "files": {"signature.json": {}}}),
        canonical({"format": 1, "files": {}}),
        canonical({"format": 1, "files": {"signature.json": {}, "../model.ubj": {}}}),
        json.dumps({"format": 1, "files": {"signature.json": {}}}).encode(),
    ],
    ids=["not json", "not an object", "later format", "no signature", "outside", "spelt otherwise"],
)
def test_a_manifest_of_another_form_is_refused(tmp_path, manifest):
    """Only what `write_bundle` writes is read, in the one spelling it has."""
    (tmp_path / "manifest.json").write_bytes(manifest)

    with pytest.raises(IntegrityError, match=r"manifest\.json"):
        load_bundle(tmp_path)


def test_a_folder_without_a_manifest_is_not_a_bundle(tmp_path):
    """The message asks what the caller may have meant."""
    with pytest.raises(NotFoundError, match=r"manifest\.json"):
        load_bundle(tmp_path)


def test_a_folder_with_files_is_left_alone(tmp_path, trained):
    """A bundle is written into a new folder, and a failed attempt leaves nothing behind."""
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/mine.txt").write_text("keep")

    with pytest.raises(OSError, match="not empty"):
        written(tmp_path / "bundle", trained)

    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "bundle",
        "bundle/mine.txt",
    ]


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "signature.json"])
def test_an_extra_file_cannot_replace_one_of_the_bundle(tmp_path, trained, name):
    """What a bundle writes itself cannot be given from outside."""
    with pytest.raises(DeclarationError, match=name):
        write_bundle(tmp_path / "bundle", trained, name="late", dataset={}, extra={name: b""})


def test_a_booster_that_cannot_be_exported_is_served_by_xgboost(tmp_path, trained):
    """Without model.onnx the manifest says why, and only the xgboost engine opens the bundle."""
    data = xgboost.DMatrix(np.arange(90, dtype=np.float32).reshape(30, 3), np.arange(30) % 2)
    dart = xgboost.train({"booster": "dart", "objective": "binary:logistic"}, data, 2)
    written(tmp_path / "bundle", replace(trained, booster=dart))

    bundle = load_bundle(tmp_path / "bundle")

    assert "dart" in bundle.manifest["export_refused"]
    assert "model.onnx" not in bundle.manifest["files"]
    assert open_engine(bundle, "xgboost_cpu").name == "xgboost_cpu"
    with pytest.raises(UnsupportedModelError, match=r"dart.*xgboost_cpu"):
        open_engine(bundle)


def test_both_engines_of_a_bundle_agree_to_the_bit(tmp_path, trained):
    """Parity counts the rows whose margins have the same bits: all of them."""
    written(tmp_path / "bundle", trained)

    assert Parity(500, 500) == parity(load_bundle(tmp_path / "bundle"), flights(500, 9, "ABXY"))


def test_importing_the_bundle_loads_no_runtime():
    """Heavy libraries load when an engine is opened, not when a module is imported."""
    heavy = "{'xgboost', 'onnx', 'onnxruntime', 'polars'}"
    code = f"import sys, serving.bundle, serving.export; print(sorted({heavy} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
