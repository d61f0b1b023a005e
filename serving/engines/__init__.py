"""Runtimes that answer from a bundle: one file each, all of the same shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lineage.errors import NotFoundError
from serving.engines.engine import Engine, probability
from serving.engines.onnxruntime_cpu import OnnxRuntimeCpu
from serving.engines.xgboost_cpu import XgboostCpu

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving.bundle import Bundle

__all__ = ["Engine", "OnnxRuntimeCpu", "XgboostCpu", "open_engine", "probability"]

_ENGINES: dict[str, Callable[[Bundle], Engine]] = {engine.name: engine for engine in (OnnxRuntimeCpu, XgboostCpu)}


def open_engine(bundle: Bundle, name: str = "onnxruntime_cpu") -> Engine:
    """The runtime called `name`, ready to answer from `bundle`.

    Raises NotFoundError for a name that no runtime has, UnsupportedModelError where this one cannot
    hold the model, IntegrityError where the model's file is not what the manifest says.
    """
    if name not in _ENGINES:
        known = tuple(sorted(_ENGINES))
        raise NotFoundError(f"no engine is called {name!r}; use one of {', '.join(known)}.", known)
    return _ENGINES[name](bundle)
