"""Rows as XGBoost's quantized matrices: in memory, or in pages on disk.

Both hold the same bins, so that the same trees are grown from them. XGBoost is loaded with this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import clear_frames
from typing import Any

import xgboost

from serving.rows import Batch, Rows


@dataclass(frozen=True)
class Quantizer:
    """How rows become matrices: XGBoost's `max_bin` and `threads`; `pages` is the folder for those on disk."""

    max_bin: int | None
    threads: int | None
    pages: Path | None

    def matrix(self, rows: Rows, reference: xgboost.DMatrix | None = None) -> xgboost.DMatrix:
        """`rows` in the bins of `reference`, or in bins of their own; what `rows` raises while it is read."""
        options = {"max_bin": self.max_bin, "nthread": self.threads, "ref": reference, "enable_categorical": True}
        if self.pages is None:
            return xgboost.QuantileDMatrix(_Batches(rows), **options)
        return xgboost.ExtMemQuantileDMatrix(_Batches(rows, self.pages / rows.part), **options)


@contextmanager
def page_folder(parent: Path | None, *, needed: bool) -> Iterator[Path | None]:
    """A private folder in `parent` (the system's place for such, if None) that is removed afterwards; None if not."""
    if not needed:
        yield None
        return
    with TemporaryDirectory(prefix=".pages-", dir=parent, ignore_cleanup_errors=True) as folder:
        try:
            yield Path(folder)
        except BaseException as error:
            # The frames that failed hold matrices, which take their pages with them: first these, then the folder.
            clear_frames(error.__traceback__)
            raise


class _Batches(xgboost.DataIter):  # type: ignore[misc]
    """Rows as XGBoost asks for them, which is several times from the first one."""

    def __init__(self, rows: Rows, cache: Path | None = None) -> None:
        self._rows = rows
        self._types = ["c" if name in rows.categories else "float" for name in rows.features]
        self._left: Iterator[Batch] = iter(())
        self.reset()
        super().__init__(cache_prefix=None if cache is None else str(cache))

    def reset(self) -> None:
        """Begin again."""
        self._left = self._rows.batches()

    def next(self, input_data: Callable[..., Any]) -> bool:
        """Hand over the next batch; False if there is none."""
        batch = next(self._left, None)
        if batch is None:
            return False
        names = list(self._rows.features)
        input_data(data=batch.matrix, label=batch.labels, feature_names=names, feature_types=self._types)
        return True
