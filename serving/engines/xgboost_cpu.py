"""XGBoost itself on the CPU: the reference, and the faster one for many rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serving.engines.columns import codes_of, look_up, row_count

if TYPE_CHECKING:
    from serving.bundle import Bundle


class XgboostCpu:
    """Margins from a bundle's model.ubj; the same bits for any batch size and number of threads."""

    name = "xgboost_cpu"

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        import xgboost

        self._features = bundle.features
        self._codes = {name: codes_of(seen) for name, seen in bundle.categories.items()}
        self._booster = xgboost.Booster(
            {"device": "cpu", "nthread": threads}, model_file=bytearray(bundle.read("model.ubj"))
        )

    def margin(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """See `Engine.margin`."""
        rows = row_count(columns, features=self._features, categories=self._codes)
        if rows == 0:
            return np.empty(0, np.float32)
        matrix = np.empty((rows, len(self._features)), np.float32)
        for place, name in enumerate(self._features):
            matrix[:, place] = self._numbers(name, columns[name])
        margins: NDArray[np.float32] = self._booster.inplace_predict(matrix, predict_type="margin")
        # XGBoost sums -0.0 + -0.0 = -0.0 where ONNX starts from 0.0: one zero for both.
        return margins + np.float32(0)

    def _numbers(self, name: str, column: NDArray[Any]) -> NDArray[Any]:
        if name not in self._codes:
            return column
        return look_up(name, column, known=self._codes[name], absent=float("nan"))
