"""Row numbers as ranges: `[first, last]`, both included. What traces give instead of thousands of numbers."""

from __future__ import annotations

import numpy as np


def ranges(rows: np.ndarray) -> list[list[int]]:
    """The ranges of `rows`, which are sorted and unique (uint32, or another integer type), as plain numbers."""
    begins = np.ones(len(rows), dtype=bool)
    np.not_equal(np.diff(rows), 1, out=begins[1:])
    # A range ends where the next one begins, or with the last row.
    ends = np.append(begins[1:], True)[: len(rows)]
    found: list[list[int]] = np.column_stack((rows[begins], rows[ends])).tolist()
    return found
