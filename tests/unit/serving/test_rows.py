"""Rows in batches: the same ones, of the same size, at every pass."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from lineage.errors import DeclarationError
from serving.engines.columns import matrix_of
from serving.rows import Rows, periods, sliced

CATEGORIES = {"carrier": ("AA", "B6")}
FEATURES = ("wind", "carrier", "holiday")


def table(rows: int) -> pl.DataFrame:
    place = np.arange(rows)
    return pl.DataFrame(
        {
            "at": [datetime(2013, 1 + index % 12, 3) for index in place],
            "wind": [None if index % 7 == 0 else index / 4 for index in place],
            "carrier": [("AA", "B6", "??", None)[index % 4] for index in place],
            "holiday": place % 3 == 0,
            "late": [None if index == 5 else index % 2 == 1 for index in place],
        },
        schema_overrides={"wind": pl.Float64, "carrier": pl.String, "late": pl.Boolean},
    )


def rows(frame: pl.LazyFrame, **given) -> Rows:
    return Rows("train", frame, FEATURES, "late", CATEGORIES, **given)


@pytest.fixture
def scanned(tmp_path) -> pl.LazyFrame:
    """A thousand rows in three files whose row groups end anywhere."""
    whole = table(1_000)
    for name, start, end in (("a", 0, 333), ("b", 333, 334), ("c", 334, 1_000)):
        whole[start:end].write_parquet(tmp_path / f"{name}.parquet", row_group_size=70)
    return pl.scan_parquet([tmp_path / f"{name}.parquet" for name in "abc"])


@pytest.mark.parametrize(("size", "sizes"), [(100, [100] * 10), (300, [300, 300, 300, 100]), (5_000, [1_000])])
def test_batches_have_one_size_whatever_the_files_are(scanned, size, sizes):
    """Where a batch ends follows from its size alone; together they are the rows, in order, each time."""
    whole = matrix_of(table(1_000), features=FEATURES, categories=CATEGORIES)
    found = rows(scanned, batch_rows=size)

    for _ in range(2):
        batches = list(found.batches())

        assert sizes == [len(batch.labels) for batch in batches]
        np.testing.assert_array_equal(whole, np.concatenate([batch.matrix for batch in batches]))
        assert all((np.float32, np.float32) == (batch.matrix.dtype, batch.labels.dtype) for batch in batches)


def test_a_frame_in_memory_has_the_same_batches(scanned):
    """Small frames need no file."""
    for ours, theirs in zip(
        rows(table(1_000).lazy(), batch_rows=64).batches(), rows(scanned, batch_rows=64).batches(), strict=True
    ):
        np.testing.assert_array_equal(ours.matrix, theirs.matrix)
        np.testing.assert_array_equal(ours.labels, theirs.labels)


def test_labels_are_read_without_features(scanned):
    """The labels alone are those of the batches, with NaN for null."""
    found = rows(scanned, batch_rows=64)

    labels = found.labels()

    np.testing.assert_array_equal(np.concatenate([batch.labels for batch in found.batches()]), labels)
    assert [0, 1, 0, 1, 0] == labels[:5].tolist()
    assert np.flatnonzero(np.isnan(labels)).tolist() == [5]


def test_kept_batches_need_no_file_any_more(scanned, tmp_path):
    """What is kept is read once."""
    kept = rows(scanned, batch_rows=300, time="at").keep()
    for path in tmp_path.iterdir():
        path.unlink()

    assert [300, 300, 300, 100] == [len(batch.labels) for batch in kept.batches()]
    assert [300, 300, 300, 100] == [len(batch.labels) for batch in kept.batches()]


def test_no_rows_are_no_batches():
    """An empty part can be read, and gives nothing."""
    found = rows(table(0).lazy())

    assert [] == list(found.batches())
    assert (0,) == found.labels().shape


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([date(2012, 12, 31), date(2013, 1, 1)], ["2012-12", "2013-01"]),
        ([datetime(1, 1, 1), datetime(9999, 12, 31)], ["0001-01", "9999-12"]),
    ],
)
def test_months_of_dates_and_datetimes(times, expected):
    """The month is the one that the time column says, written YYYY-MM."""
    frame = table(2).with_columns(pl.Series("at", times))

    (batch,) = rows(frame.lazy(), time="at").batches()

    assert batch.months is not None
    assert expected == periods(batch.months).tolist()


def test_the_span_of_rows_is_read_without_their_features():
    """First and last month by one small query, also where the features could not even be encoded."""
    frame = table(20).with_columns(pl.lit(1e300).alias("wind"))

    assert ("2013-01", "2013-12") == rows(frame.lazy(), time="at").span()
    assert (None, None) == rows(frame.clear().lazy(), time="at").span()
    assert (None, None) == rows(frame.lazy()).span()


def test_months_of_other_time_zones_are_those_of_utc():
    """New Year's Eve in New York is January for the clock that splits are written in."""
    at = pl.Series("at", [datetime(2012, 12, 31, 22)]).dt.replace_time_zone("America/New_York")

    (batch,) = rows(table(1).with_columns(at).lazy(), time="at").batches()

    assert batch.months is not None
    assert periods(batch.months).tolist() == ["2013-01"]


def test_without_a_time_there_are_no_months():
    """Nothing is invented where the split names no column."""
    (batch,) = rows(table(3).lazy()).batches()

    assert batch.months is None


def test_an_infinite_value_is_named_wherever_it_stands():
    """The last batch is looked at as the first one is."""
    frame = table(100).with_columns(pl.when(pl.col("wind") == 99 / 4).then(1e300).otherwise("wind").alias("wind"))

    with pytest.raises(DeclarationError, match="wind"):
        list(rows(frame.lazy(), batch_rows=10).batches())


@pytest.mark.parametrize("size", [1, 3, 10, 11])
def test_slices_lose_and_repeat_nothing(size):
    """A frame comes in pieces of exactly the size asked for, and a rest."""
    pieces = list(sliced(pl.LazyFrame({"n": range(10)}), size))

    assert [n for piece in pieces for n in piece["n"]] == list(range(10))
    assert all(piece.height == size for piece in pieces[:-1])
