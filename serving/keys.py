"""The keys of a table's rows in memory, and where they stand: as text in columns, found by their hashes.

A dictionary of ten million strings takes gigabytes; this takes twelve bytes a key beside the text itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Keys:
    """The keys of one file's rows, in their order; `Keys.of` makes them."""

    texts: pl.Series
    _hashes: NDArray[np.uint64]
    _places: NDArray[np.uint32]

    @classmethod
    def of(cls, texts: pl.Series) -> Keys:
        """Keys by which rows can be found; a null is no key."""
        hashes = texts.hash().to_numpy()
        places = np.argsort(hashes, kind="stable").astype(np.uint32)
        return cls(texts, hashes[places], places)

    def place(self, key: str, hashed: np.uint64) -> int | None:
        """The position of the row with this key, the last of several; None if there is none.

        `hashed` is what `hashes` says of the key.
        """
        begin, end = (int(self._hashes.searchsorted(hashed, side)) for side in ("left", "right"))
        # Two keys may have one hash.
        alike = reversed(self._places[begin:end].tolist())
        return next((place for place in alike if self.texts[place] == key), None)


def hashes(keys: Sequence[str]) -> NDArray[np.uint64]:
    """What `Keys.place` finds each of these keys by; it holds within this process."""
    import polars as pl

    found: NDArray[np.uint64] = pl.Series(keys, dtype=pl.String).hash().to_numpy()
    return found
