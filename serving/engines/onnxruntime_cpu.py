"""ONNX Runtime on one thread: the fast answer for few rows.

One thread is part of the promise: with more, ONNX Runtime sums a large batch in another order and the
margins lose their last bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lineage.errors import UnsupportedModelError
from serving.engines.columns import look_up, row_count

if TYPE_CHECKING:
    from serving.bundle import Bundle


class OnnxRuntimeCpu:
    """Margins from a bundle's model.onnx, bit-equal to XGBoost's."""

    name = "onnxruntime_cpu"

    def __init__(self, bundle: Bundle) -> None:
        if "model.onnx" not in bundle.manifest["files"]:
            raise UnsupportedModelError(
                f"bundle {bundle.name!r} has no model.onnx ({bundle.manifest['export_refused']}) "
                "Open it with engine 'xgboost_cpu'."
            )
        self._features, self._categories = bundle.features, bundle.categories
        self._known = {name: {value: value for value in seen} for name, seen in bundle.categories.items()}
        # Longer than every category, so that the graph cannot know it: ONNX strings have no null.
        self._absent = {name: "?" * (1 + max(map(len, seen), default=0)) for name, seen in bundle.categories.items()}
        self._session = _session(bundle.read("model.onnx"))

    def margin(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """See `Engine.margin`."""
        if row_count(columns, features=self._features, categories=self._categories) == 0:
            return np.empty(0, np.float32)
        feed = {name: self._fed(name, columns[name]).reshape(-1, 1) for name in self._features}
        margins: NDArray[np.float32] = self._session.run(["margin"], feed)[0]
        return margins.reshape(-1)

    def _fed(self, name: str, column: NDArray[Any]) -> NDArray[Any]:
        if name not in self._categories:
            return column
        return look_up(name, column, known=self._known[name], absent=self._absent[name])


def _session(model: bytes) -> Any:
    """A session on bytes that were verified; weights kept in other files were not, so they are refused."""
    import onnx
    import onnxruntime

    if _has_external_data(onnx.load_model_from_string(model)):
        raise UnsupportedModelError(
            "model.onnx keeps weights in other files, which its digest does not cover; save it as one file."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _has_external_data(message: Any) -> bool:
    """Whether a tensor anywhere inside a protobuf message points out of the file."""
    for field, value in message.ListFields():
        if field.name == "external_data":
            return True
        if field.message_type is None:
            continue
        children = [value] if hasattr(value, "ListFields") else value
        if any(map(_has_external_data, children)):
            return True
    return False
