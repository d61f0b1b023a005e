"""A list of numbers for each of many rows, as two arrays (compressed sparse rows)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Lists(NamedTuple):
    """n lists: the i-th is `values[offsets[i]:offsets[i + 1]]`; `offsets` is int64 of length n + 1."""

    offsets: np.ndarray
    values: np.ndarray

    @classmethod
    def of_mask(cls, there: np.ndarray, values: np.ndarray) -> Lists:
        """Lists of one value where `there` is true, and of none elsewhere."""
        return cls(_offsets(there), values)

    @classmethod
    def of_runs(cls, begins: np.ndarray, ends: np.ndarray) -> Lists:
        """The numbers from each of `begins` to before each of `ends`."""
        offsets = _offsets(ends - begins)
        return cls(offsets, np.arange(offsets[-1]) - np.repeat(offsets[:-1] - begins, ends - begins))

    @classmethod
    def joined(cls, parts: Sequence[Lists], count: int) -> Lists:
        """The lists of several for the same `count` rows, one behind the other."""
        if len(parts) == 1:
            return parts[0]
        owners = np.concatenate([np.empty(0, np.int64), *(part.owners for part in parts)])
        values = np.concatenate([np.empty(0, np.int64), *(part.values.astype(np.int64) for part in parts)])
        order = np.argsort(owners, kind="stable")
        return cls(_offsets(np.bincount(owners, minlength=count)), values[order])

    @property
    def owners(self) -> np.ndarray:
        """For each value the number of its list."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def part(self, number: int) -> np.ndarray:
        """One list."""
        return self.values[self.offsets[number] : self.offsets[number + 1]]

    def spread(self, there: np.ndarray) -> Lists:
        """These lists at the rows where `there` is true, and empty ones at the others."""
        if there.all():
            return self
        lengths = np.zeros(len(there), dtype=np.int64)
        lengths[there] = np.diff(self.offsets)
        return Lists(_offsets(lengths), self.values)

    def through(self, inner: Lists) -> Lists:
        """Each value replaced by the list of that number in `inner`."""
        lengths = np.diff(inner.offsets)[self.values]
        ends = np.concatenate(([0], np.cumsum(lengths)))
        begins = inner.offsets[self.values]
        taken = Lists.of_runs(begins, begins + lengths).values
        return Lists(ends[self.offsets], inner.values[taken])


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
