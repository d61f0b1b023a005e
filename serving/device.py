"""Where a model is trained: what was asked for, what was taken, and why."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from lineage.errors import HeadwaterError

# Below, `auto` is the CPU everywhere, so that clones on different machines train the same bytes. Above,
# which is some 5 million rows of 20 features, waiting for the CPU costs more than that.
GPU_FROM_VALUES = 100_000_000

_PROMISES = {
    "cpu": "training bytes are promised on the CPU",
    "cuda": "trained on a GPU, whose bytes are not promised; declare device='cpu' where they must be",
}


class DeviceError(HeadwaterError):
    """The device that was asked for cannot be used."""


@dataclass(frozen=True)
class Device:
    """`requested` is auto, cpu or cuda; `name` the device that trains, cpu or cuda.

    `reason` says why, in words that may differ from machine to machine: it belongs to the run, not to the bundle.
    """

    requested: str
    name: str
    reason: str

    @property
    def promise(self) -> str:
        """What is promised about the bytes of a model trained there: the same words on every machine."""
        return _PROMISES[self.name]


def choose(requested: str, values: int, *, obstacle: Callable[[], str | None] | None = None) -> Device:
    """The device for learning from `values` values (rows x features).

    `auto` takes a GPU that works for `GPU_FROM_VALUES` values or more. `obstacle` tells why no GPU can be used,
    or None; it is asked only if the answer depends on it. Raises DeviceError where `cuda` cannot be had.
    """
    ask = gpu_obstacle if obstacle is None else obstacle
    if requested == "cpu":
        return Device(requested, "cpu", "it was asked for")
    if requested == "auto" and values < GPU_FROM_VALUES:
        return Device(requested, "cpu", f"{values:,} values are fewer than the {GPU_FROM_VALUES:,} that a GPU is for")
    found = ask()
    if requested == "auto":
        why = f"no GPU can be used: {found}" if found else f"a GPU works, and there are {values:,} values"
        return Device(requested, "cpu" if found else "cuda", why)
    if found:
        raise DeviceError(
            f"device 'cuda' was asked for, but {found}; set HEADWATER_DEVICE=cpu (or device='cpu' in the model's "
            "declaration), or train on a machine with an NVIDIA GPU."
        )
    return Device(requested, "cuda", "it was asked for, and a GPU works")


@cache
def gpu_obstacle() -> str | None:
    """Why XGBoost cannot train on a GPU here, or None; found out once per process by training one tree there."""
    import numpy as np
    import xgboost

    if not xgboost.build_info().get("USE_CUDA"):
        return "this XGBoost was built without CUDA"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            rows = xgboost.DMatrix(np.arange(4, dtype=np.float32).reshape(4, 1), np.arange(4))
            booster = xgboost.train({"tree_method": "hist", "device": "cuda"}, rows, 1)
        except xgboost.core.XGBoostError as error:
            return _first_line(str(error))
    # Without a GPU XGBoost only warns, and trains on the CPU.
    if json.loads(booster.save_config())["learner"]["generic_param"]["device"].startswith("cuda"):
        return None
    return _first_line(str(said[0].message)) if said else "XGBoost trained on the CPU instead"


def _first_line(text: str) -> str:
    """What XGBoost said, without its clock and the place in its source."""
    line = next(iter(text.strip().splitlines()), "XGBoost does not say why")
    return line.rpartition(": ")[2].rstrip(".")
