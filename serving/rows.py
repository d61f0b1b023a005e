"""One part of a split, read again for each pass: batches of a fixed size in the order of the table's files.

Nothing is sorted here, for tables are stored in the order of their key and their partitions come oldest
first. Where a batch ends depends on its size alone, not on how Polars happens to chunk what it reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lineage.batches import batches
from serving.engines.columns import encoded, finite_matrix

if TYPE_CHECKING:
    import polars as pl

BATCH_ROWS = 131_072

# Columns of our own among the features.
_LABEL, _MONTH = "\0label", "\0month"


@dataclass(frozen=True)
class Batch:
    """Consecutive rows: `matrix` (n, features) and `labels` (n,) in float32, NaN for what is missing.

    `months`, int32 of shape (n,), counts months since the year 0 on the clock of the split; None where that
    names no time.
    """

    matrix: NDArray[np.float32]
    labels: NDArray[np.float32]
    months: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class Rows:
    """The rows of `part` (train, tune or test), encoded as the model takes them.

    `frame` has the columns `features`, `target` and, where the split is by time, `time`, whose months are those of
    `zone` if it knows zones. `categories` maps string features to their categories in the order of their codes.
    `held` are batches that are kept in memory.
    """

    part: str
    frame: pl.LazyFrame
    features: tuple[str, ...]
    target: str
    categories: Mapping[str, tuple[str, ...]]
    time: str | None = None
    zone: str = "UTC"
    batch_rows: int = BATCH_ROWS
    held: tuple[Batch, ...] | None = None

    def batches(self) -> Iterator[Batch]:
        """All rows from the first one, `batch_rows` at a time, the last batch shorter; may be called again.

        Raises DeclarationError naming a feature that is neither a number, a Boolean nor a string, or that is
        infinite as float32.
        """
        if self.held is not None:
            return iter(self.held)
        # Polars encodes while it reads: what it reads ahead is then float32 already.
        columns = encoded(self.frame.collect_schema(), features=self.features, categories=self.categories)
        return map(self._batch, sliced(self.frame.select(*columns, self._label(), *self._month()), self.batch_rows))

    def keep(self) -> Rows:
        """The same rows with their batches in memory: rows x features x 4 bytes, encoded once."""
        return replace(self, held=tuple(self.batches()))

    def labels(self) -> NDArray[np.float32]:
        """The target of all rows, float32 of shape (n,), NaN for null; no feature is read."""
        frames = sliced(self.frame.select(self._label()), self.batch_rows)
        return np.concatenate([np.empty(0, np.float32), *(frame[_LABEL].to_numpy() for frame in frames)])

    def span(self) -> tuple[str | None, str | None]:
        """First and last month of the rows, `YYYY-MM`, or None and None; only the time is read, and little is kept."""
        import polars as pl

        if self.time is None:
            return None, None
        ends = self.frame.select(*self._month()).select(first=pl.col(_MONTH).min(), last=pl.col(_MONTH).max())
        months = ends.collect(engine="streaming").row(0)
        if None in months:
            return None, None
        first, last = periods(np.array(months, np.int32)).tolist()
        return first, last

    def _batch(self, frame: pl.DataFrame) -> Batch:
        months = frame[_MONTH].to_numpy() if self.time else None
        return Batch(finite_matrix(frame.select(self.features)), frame[_LABEL].to_numpy(), months)

    def _label(self) -> pl.Expr:
        import polars as pl

        return pl.col(self.target).cast(pl.Float32).fill_null(float("nan")).alias(_LABEL)

    def _month(self) -> list[pl.Expr]:
        """The month of each row, if the split is by time."""
        import polars as pl

        if self.time is None:
            return []
        time, kind = pl.col(self.time), self.frame.collect_schema()[self.time]
        if isinstance(kind, pl.Datetime) and kind.time_zone:
            time = time.dt.convert_time_zone(self.zone)
        return [(time.dt.year().cast(pl.Int32) * 12 + time.dt.month().cast(pl.Int32) - 1).alias(_MONTH)]


def sliced(frame: pl.LazyFrame, rows: int) -> Iterator[pl.DataFrame]:
    """`frame` from its first row as frames of exactly `rows` rows, the last one shorter; none if it is empty."""
    import polars as pl

    pending: list[pl.DataFrame] = []
    waiting = 0
    for chunk in batches(frame):
        pending.append(chunk)
        waiting += chunk.height
        if waiting < rows:
            continue
        whole = pl.concat(pending)
        cuts = range(0, waiting - waiting % rows, rows)
        yield from (whole.slice(start, rows) for start in cuts)
        pending, waiting = [whole.slice(len(cuts) * rows)], waiting % rows
    if waiting:
        yield pl.concat(pending)


def periods(months: NDArray[np.int32]) -> NDArray[np.str_]:
    """Months since the year 0 as strings `YYYY-MM`, of the same shape."""
    found, places = np.unique(months, return_inverse=True)
    names = [f"{month // 12:04d}-{month % 12 + 1:02d}" for month in found.tolist()]
    return np.array(names, dtype="<U7")[places]
