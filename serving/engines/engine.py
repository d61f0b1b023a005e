"""What every runtime offers, and the one place where a margin becomes a probability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Engine(Protocol):
    """A runtime that has opened one bundle; `margin` may be called from several threads."""

    name: str

    def margin(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Margins, float32 of shape (n,), for `columns`: one array of shape (n,) per feature.

        FP32 features are float32 with NaN for missing; BYTES features are strings (dtype object or str)
        with None for missing, and a category that training did not see counts as missing.
        Raises RequestError naming the column that does not fit.
        """
        ...


def probability(margin: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities, float32, of float32 log-odds of any shape.

    p = 1 / (1 + exp(-m)) for m >= 0 and exp(m) / (1 + exp(m)) below, so that exp never overflows;
    computed in float64 and rounded once, to float32.
    """
    wide = np.asarray(margin, np.float64)
    small = np.exp(-np.abs(wide))
    return (np.where(wide >= 0, 1.0, small) / (1.0 + small)).astype(np.float32)
