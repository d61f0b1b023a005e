"""Row numbers as runs: `[first, last]`, both included. What traces give instead of thousands of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


def ranges(rows: np.ndarray) -> list[list[int]]:
    """The runs of `rows`, which are sorted and unique (uint32, or another integer type), as plain numbers."""
    found: list[list[int]] = runs(rows).tolist()
    return found


def runs(rows: np.ndarray) -> np.ndarray:
    """Like `ranges`, as an array (runs, 2) of the type of `rows`: for runs in their millions."""
    begins = _begins(rows, after=1)
    # A run ends where the next one begins, or with the last row.
    ends = np.append(begins[1:], True)[: len(rows)]
    return np.column_stack((rows[begins], rows[ends]))


def union(*parts: np.ndarray) -> np.ndarray:
    """The rows that are in any part: sorted, unique, uint32. Parts may be unsorted and hold rows twice."""
    rows = np.concatenate([np.empty(0, np.uint32), *(part.astype(np.uint32, copy=False) for part in parts)])
    rows.sort()
    return np.compress(_begins(rows, after=0), rows)


def count(found: Iterable[Sequence[int]]) -> int:
    """How many rows these ranges hold; no two of them overlap."""
    return sum(last - first + 1 for first, last in found)


def page(found: Sequence[Sequence[int]] | np.ndarray, *, offset: int, limit: int) -> np.ndarray:
    """Up to `limit` rows (uint32) of these ranges or runs, in order, after the first `offset` rows of them."""
    if not len(found):
        return np.empty(0, np.uint32)
    firsts, lasts = np.asarray(found, dtype=np.int64).T
    # How many rows there are up to each run's end: row number n is in the first run with more than n.
    totals = np.cumsum(lasts - firsts + 1)
    numbers = np.arange(min(offset, totals[-1]), min(offset + limit, totals[-1]))
    place = np.searchsorted(totals, numbers, side="right")
    rows = lasts[place] + 1 - (totals[place] - numbers)
    return np.asarray(rows, dtype=np.uint32)


def _begins(rows: np.ndarray, *, after: int) -> np.ndarray:
    """Of each row, whether it is anything but its forerunner plus `after`."""
    begins = np.ones(len(rows), dtype=bool)
    np.not_equal(np.diff(rows), after, out=begins[1:])
    return begins
