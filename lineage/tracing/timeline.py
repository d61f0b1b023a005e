"""What is known of a key at a time, without a scan: ordinals sorted by key and instant, in memory-mapped arrays.

An ordinal is the position of a row in the frame that is indexed. Those of one tuple of keys are one run, sorted by
their instants, and by themselves within one instant; a window of time is what lies between two binary searches.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from lineage.tracing.dictionary import MISSING, Array

Side = Literal["left", "right"]

# From about so many on a search for all at once is faster than one after the other.
_FEW = 64
# Where there are more values than so many for each that is searched, it is not worth while to look at all of them.
_MANY = 32
_MOST = np.iinfo(np.int64).max


class Timeline:
    """The timeline in the files that begin with `prefix`, of tuples of `width` keys."""

    def __init__(self, prefix: Path, width: int) -> None:
        self._prefix, self._width = prefix, width
        self._gaps: dict[str, Array] = {}

    def build(self, codes: Sequence[Array], instants: Array, order: Array) -> None:
        """Write the timeline of rows with these codes of their keys (of each key an array) and instants (int64).

        `order` are the ordinals (uint32) of the rows that have an instant, by instant and then by themselves; those
        without one of the keys are left out.
        """
        for one in codes:
            order = order[one[order] != MISSING]
        runs, count = np.zeros(len(order), np.uint32), 1
        for place, one in enumerate(codes):
            pairs = pl.Series(_joined(runs, one[order]))
            distinct = pairs.unique().sort().to_numpy()
            runs, count = (pairs.rank("dense") - 1).to_numpy(), len(distinct)
            self._save(f"pairs{place}", distinct)
        # Sorting narrow integers takes a tenth of the time.
        by_run = np.argsort(runs.astype(np.min_scalar_type(count)), kind="stable")
        ordinals = order[by_run]
        self._save("begins", np.concatenate(([0], np.cumsum(np.bincount(runs, minlength=count)))))
        self._save("instants", instants[ordinals])
        self._save("ordinals", ordinals)

    def save_gaps(self, name: str, present: Array) -> bool:
        """Write as `name` where there are rows for which `present` (by ordinal) is true; False if everywhere."""
        kept = np.flatnonzero(present[self.ordinals]).astype(np.uint32)
        if len(kept) == len(self.ordinals):
            return False
        self._save(name, kept)
        return True

    def kept(self, name: str) -> Array:
        """The places (uint32, ascending) that `save_gaps` wrote as `name`."""
        if name not in self._gaps:
            self._gaps[name] = self._load(name)
        return self._gaps[name]

    @cached_property
    def ordinals(self) -> Array:
        """Ordinals (uint32) in the order of the timeline."""
        return self._load("ordinals")

    @cached_property
    def instants(self) -> Array:
        """The instant (int64) of each."""
        return self._load("instants")

    @cached_property
    def _begins(self) -> Array:
        return self._load("begins")

    @cached_property
    def _pairs(self) -> list[Array]:
        return [self._load(f"pairs{place}") for place in range(self._width)]

    def _load(self, name: str) -> Array:
        # A plain array over the mapped file: numpy's own class for it slows every access.
        return np.asarray(np.load(self._path(name), mmap_mode="r"))

    def _save(self, name: str, array: Array) -> None:
        np.save(self._path(name), array)

    def _path(self, name: str) -> Path:
        return self._prefix.with_name(f"{self._prefix.name}-{name}.npy")

    def runs(self, codes: Sequence[Array], count: int) -> tuple[Array, Array]:
        """Where the run of each of `count` tuples of codes begins and ends; both 0 if there is none."""
        run, known = np.zeros(count, np.int64), np.ones(count, bool)
        for pairs, one in zip(self._pairs, codes, strict=True):
            wanted = _joined(run, one)
            run = np.searchsorted(pairs, wanted)
            known &= run < len(pairs)
            run[~known] = 0
            known[known] = pairs[run[known]] == wanted[known]
        run[~known] = 0
        begins, ends = self._begins[:-1], self._begins[1:]
        found = np.zeros((2, count), np.int64)
        found[:, known] = begins[run[known]], ends[run[known]]
        return found[0], found[1]

    def search(self, begins: Array, ends: Array, wanted: Array, side: Side) -> Array:
        """What `search` finds in the instants, from `begins` to `ends` within one run."""
        values = self.instants
        if not len(values) or len(wanted) * _MANY < len(values):
            return search(values, begins, ends, wanted, side)
        low = int(values.min()) - 1
        width = int(values.max()) + 2 - low
        if width * len(self._begins) > _MOST or low < -_MOST:
            return search(values, begins, ends, wanted, side)
        # One search for all in the instants of all runs, each moved behind those of the run before it.
        before = np.arange(len(self._begins) - 1) * width - low
        run = np.searchsorted(self._begins, begins, "right") - 1
        run[begins == ends] = 0
        moved = values + np.repeat(before, np.diff(self._begins))
        places = np.searchsorted(moved, np.clip(wanted, low, low + width - 1) + before[run], side)
        return np.clip(places, begins, ends)


def search(values: Array, begins: Array, ends: Array, wanted: Array, side: Side) -> Array:
    """What `np.searchsorted` finds, for each of `wanted` in its own sorted part of `values`."""
    if len(wanted) <= _FEW:
        parts = zip(begins.tolist(), ends.tolist(), wanted, strict=True)
        return np.array([begin + values[begin:end].searchsorted(one, side) for begin, end, one in parts], np.int64)
    low, high = begins.copy(), ends.copy()
    is_before = np.less if side == "left" else np.less_equal
    while len(still := np.flatnonzero(low < high)):
        middle = (low[still] + high[still]) // 2
        before = is_before(values[middle], wanted[still])
        low[still[before]] = middle[before] + 1
        high[still[~before]] = middle[~before]
    return low


def in_order(instants: Array, known: Array) -> Array:
    """The ordinals (uint32) of the rows whose instant is `known`, by instant and then by themselves."""
    ordinals = np.flatnonzero(known).astype(np.uint32)
    return ordinals[np.argsort(instants[ordinals], kind="stable")]


def _joined(runs: Array, codes: Array) -> Array:
    """Two numbers of 32 bits as one of 64, so that tuples of any length are looked up key by key."""
    return runs.astype(np.uint64) << np.uint64(32) | codes.astype(np.uint64)
