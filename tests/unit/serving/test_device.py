"""Devices: the CPU unless a GPU pays and works; a GPU that was asked for is there, or it is said what to do."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import xgboost

from lineage.errors import HeadwaterError
from lineage.ports import Training
from serving import device
from serving.device import GPU_FROM_VALUES, DeviceError, choose, gpu_obstacle
from serving.train import ModelSpec, Split, train

MANY = GPU_FROM_VALUES


def never() -> str | None:
    raise AssertionError("nobody had to look for a GPU")


def works() -> str | None:
    return None


def lacks() -> str | None:
    return "no GPU was found"


@pytest.mark.parametrize(
    ("requested", "values", "obstacle", "name", "reason"),
    [
        ("auto", MANY - 1, never, "cpu", "99,999,999 values are fewer than the 100,000,000"),
        ("auto", MANY, works, "cuda", "a GPU works, and there are 100,000,000 values"),
        ("auto", MANY, lacks, "cpu", "no GPU can be used: no GPU was found"),
        ("cpu", MANY, never, "cpu", "it was asked for"),
        ("cuda", 1, works, "cuda", "it was asked for"),
    ],
)
def test_the_device_and_the_reason(requested, values, obstacle, name, reason):
    """Every answer has its reason; below the size that pays, no machine is asked, so that all answer alike."""
    found = choose(requested, values, obstacle=obstacle)

    assert (found.requested, found.name) == (requested, name)
    assert reason in found.reason


def test_a_gpu_that_was_asked_for_and_is_not_there():
    """Nothing falls back in silence: the message says why, and what to set."""
    with pytest.raises(DeviceError, match=r"no GPU was found.*HEADWATER_DEVICE=cpu.*device='cpu'"):
        choose("cuda", 1, obstacle=lacks)
    assert issubclass(DeviceError, HeadwaterError)


def test_what_is_promised_does_not_name_the_machine():
    """The words in a bundle follow from the device alone."""
    two = [choose("auto", MANY, obstacle=lambda: "driver 1"), choose("auto", MANY, obstacle=lambda: "driver 2")]

    assert two[0].promise == two[1].promise == choose("cpu", 1).promise
    assert two[0].reason != two[1].reason


def test_a_build_without_cuda_is_an_obstacle(monkeypatch):
    """What XGBoost was built with is asked before a device is touched."""
    monkeypatch.setattr(xgboost, "build_info", lambda: {"USE_CUDA": False})
    monkeypatch.setattr(xgboost, "train", never)

    assert gpu_obstacle.__wrapped__() == "this XGBoost was built without CUDA"


@pytest.mark.parametrize("fails", [False, True], ids=["falls back", "raises"])
def test_a_device_that_xgboost_cannot_use_is_an_obstacle(monkeypatch, fails):
    """Whether XGBoost raises or only warns and trains on the CPU: it is no GPU, in one line."""
    original = xgboost.train

    def trained(parameters, *rest):
        if fails:
            raise xgboost.core.XGBoostError("[12:00:00] /x/context.cc:53: Check failed: no driver\nStack trace:\n 1")
        warnings.warn("[12:00:00] WARNING: /x/context.cc:53: No visible GPU is found.", stacklevel=1)
        return original({**parameters, "device": "cpu"}, *rest)

    monkeypatch.setattr(xgboost, "build_info", lambda: {"USE_CUDA": True})
    monkeypatch.setattr(xgboost, "train", trained)

    assert gpu_obstacle.__wrapped__() == ("no driver" if fails else "No visible GPU is found")


def test_a_gpu_is_looked_for_once(monkeypatch):
    """Trying a device takes a second and memory on it: a process does it once."""
    asked: list[bool] = []
    monkeypatch.setattr(xgboost, "build_info", lambda: asked.append(True) or {"USE_CUDA": False})
    gpu_obstacle.cache_clear()
    try:
        assert gpu_obstacle() == gpu_obstacle()
        assert len(asked) == 1
    finally:
        gpu_obstacle.cache_clear()


@pytest.mark.gpu
def test_a_gpu_trains_nearly_the_same_model(tmp_path):
    """Where there is a GPU: it trains, twice the same bytes, and answers on the CPU as the CPU's model does."""
    if obstacle := device.gpu_obstacle():
        pytest.skip(f"no GPU can be used: {obstacle}")
    rng = np.random.default_rng(1)
    frame = pl.DataFrame({name: rng.normal(size=20_000) for name in "ab"}).with_columns(late=pl.col("a") > pl.col("b"))
    spec = ModelSpec("late", ("a", "b"), "binary:logistic", rounds=20, device="cuda")
    parts = Split(frame, frame.clear(), frame.head(5_000))

    first, second, cpu = (train(parts, one, batch_rows=3_000) for one in (spec, spec, replace(spec, device="cpu")))
    small = train(parts, spec, Training(memory_bytes=1), scratch=tmp_path, batch_rows=3_000)

    assert first.device.name == "cuda"
    assert len({bytes(one.booster.save_raw("ubj")) for one in (first, second, small)}) == 1
    assert first.metrics["test"]["auc"] == pytest.approx(cpu.metrics["test"]["auc"], abs=0.01)
