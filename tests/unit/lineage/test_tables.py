"""Tables as files: the same rows are the same bytes, and what is read is what was written."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineage import tables
from lineage.errors import StepFailedError
from lineage.tables import ROWS_PER_GROUP, check_key, write_table

ROWS = 1_000


@pytest.fixture
def small_groups(monkeypatch):
    """Row groups of a hundred rows, so that small frames have several."""
    monkeypatch.setattr(tables, "ROWS_PER_GROUP", 100)


def _frame(rows: int = ROWS) -> pl.DataFrame:
    numbers = pl.Series("id", range(rows))
    return pl.DataFrame(
        {
            "id": numbers,
            "carrier": (numbers % 7).cast(pl.String),
            "delay": pl.select(pl.when(numbers % 5 > 0).then(numbers / 3)).to_series(),
            "at": pl.select(pl.datetime(2020, 1, 1, time_zone="UTC") + pl.duration(minutes=numbers)).to_series(),
            "late": numbers % 3 == 0,
        }
    )


def _bytes(frame, folder, *, key=("id",), keep_order=False):
    write_table(frame, folder / "table.parquet", key=key, keep_order=keep_order)
    return (folder / "table.parquet").read_bytes()


def _in_chunks(frame, *lengths):
    parts, start = [], 0
    for length in lengths:
        parts.append(frame.slice(start, length))
        start += length
    return pl.concat([*parts, frame.slice(start)], rechunk=False)


LAYOUTS = {
    "one chunk": lambda frame: frame.rechunk(),
    "many chunks": lambda frame: _in_chunks(frame, 1, 99, 0, 250, 3),
    "lazy": lambda frame: frame.lazy(),
    "read from a file": lambda frame: frame.lazy().filter(pl.col("id") >= 0),
    "upside down": lambda frame: frame.reverse(),
    "shuffled": lambda frame: frame.sample(fraction=1, shuffle=True, seed=7),
    "put together": lambda frame: pl.concat([frame.lazy().slice(600), frame.lazy().slice(0, 600)]),
    "joined": lambda frame: frame.lazy().join(frame.lazy().select("id"), on="id", maintain_order="none"),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("key", [("id",), ("carrier", "id"), ()], ids=lambda key: "+".join(key) or "no key")
def test_the_same_rows_are_the_same_bytes(tmp_path, small_groups, layout, key):
    """Neither the order in which rows came nor how they lay in memory shows in the file."""
    frame = _frame()

    assert _bytes(frame, tmp_path, key=key) == _bytes(layout(frame), tmp_path, key=key)


@given(st.permutations([*range(6)]), st.lists(st.integers(0, 6), max_size=3))
@settings(max_examples=40, deadline=None)
def test_rows_without_a_key_have_one_order(tmp_path_factory, order, cuts):
    """Even rows that are equal as numbers (0.0 and -0.0, NaN) have their place when there is no key."""
    frame = pl.DataFrame({"x": [0.0, -0.0, float("nan"), None, 0.0, -0.0], "y": [1, 1, None, 1, 1, 2]})
    folder = tmp_path_factory.mktemp("table")

    assert _bytes(frame, folder, key=()) == _bytes(_in_chunks(frame[order], *cuts), folder, key=())


def _write_many(path):
    kinds = pl.Series(["x", "y", "z", "z"] * 5_000, dtype=pl.Categorical)
    rows = pl.LazyFrame({"id": range(20_000), "kind": kinds}).with_columns(n=pl.col("id") * 7919 % 20_000)
    late = rows.filter(pl.col("n") != 5).with_columns(x=pl.col("id") / 3)
    write_table(late, path, key=("kind", "n"), keep_order=False)


ELSEWHERE = f"""
import sys
import polars as pl
from lineage.tables import write_table
known = pl.Series(["q", "z", "y"], dtype=pl.Categorical)
pl.Config.set_streaming_chunk_size(777)
{inspect.getsource(_write_many)}
_write_many(sys.argv[1])
"""


@pytest.mark.parametrize("threads", ["1", "3"])
def test_another_process_writes_the_same_bytes(tmp_path, threads):
    """Another number of threads, another size of batches, categories known from elsewhere: nothing of it shows."""
    _write_many(tmp_path / "here")

    environ = {**os.environ, "POLARS_MAX_THREADS": threads}
    subprocess.run([sys.executable, "-c", ELSEWHERE, tmp_path / "there"], env=environ, check=True)

    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()


@pytest.mark.parametrize(
    ("rows", "groups"),
    [(0, [0]), (1, [1]), (99, [99]), (100, [100]), (101, [100, 1]), (200, [100, 100]), (250, [100, 100, 50])],
)
def test_row_groups_are_full(tmp_path, small_groups, rows, groups):
    """Every row group has exactly as many rows as all others, but the last."""
    written = write_table(_in_chunks(_frame(rows), 3, 120), tmp_path / "t.parquet", key=("id",), keep_order=False)

    metadata = pq.ParquetFile(tmp_path / "t.parquet").metadata

    assert groups == [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert rows == written.row_count


def test_row_groups_have_their_declared_size(tmp_path):
    """The size that is pinned is the size that is written."""
    write_table(pl.LazyFrame({"id": range(ROWS_PER_GROUP + 1)}), tmp_path / "t.parquet", key=("id",), keep_order=False)

    metadata = pq.ParquetFile(tmp_path / "t.parquet").metadata

    assert [131_072, 1] == [metadata.row_group(number).num_rows for number in range(2)]


@pytest.mark.parametrize("keep_order", [True, False])
def test_an_empty_table_has_its_columns(tmp_path, keep_order):
    """No rows make a readable file with the schema."""
    frame = _frame().clear()

    written = write_table(frame, tmp_path / "t.parquet", key=("id",), keep_order=keep_order)
    back = pl.read_parquet(tmp_path / "t.parquet")

    assert frame.schema == back.schema
    assert 0 == written.row_count == back.height
    assert ("at", "Datetime(time_unit='us', time_zone='UTC')") in written.fields


def _decimals(rows):
    return pl.Series([Decimal(number) / 4 for number in rows], dtype=pl.Decimal(20, 2))


FIRST = datetime(2020, 1, 1, tzinfo=UTC)
COLUMNS = {
    "nulls": lambda rows: pl.Series([None if n % 3 else n for n in rows]),
    "only nulls": lambda rows: pl.Series([None] * len(rows), dtype=pl.Float64),
    "no type": lambda rows: pl.Series([None] * len(rows), dtype=pl.Null),
    "String": lambda rows: pl.Series([f"ä{n % 7}" if n % 5 else None for n in rows]),
    "Boolean": lambda rows: pl.Series([None if n % 5 == 0 else n % 2 == 0 for n in rows]),
    "Datetime": lambda rows: pl.Series([FIRST.replace(tzinfo=None) + timedelta(minutes=n) for n in rows]),
    "Datetime UTC": lambda rows: pl.Series([FIRST + timedelta(minutes=n) for n in rows]),
    "Datetime New York": lambda rows: pl.Series([FIRST + timedelta(hours=n) for n in rows]).dt.convert_time_zone(
        "America/New_York"
    ),
    "Datetime ms": lambda rows: pl.Series([FIRST + timedelta(minutes=n) for n in rows]).cast(pl.Datetime("ms", "UTC")),
    "Datetime ns": lambda rows: pl.Series([FIRST + timedelta(minutes=n) for n in rows]).cast(pl.Datetime("ns")),
    "Date": lambda rows: pl.Series([date(2020, 1, 1) + timedelta(days=n) for n in rows]),
    "Time": lambda rows: pl.Series([time(n % 24, 30) for n in rows]),
    "Duration": lambda rows: pl.Series([timedelta(seconds=n) for n in rows]),
    "Decimal": _decimals,
    "Binary": lambda rows: pl.Series([bytes([n % 256]) for n in rows]),
    "Int8": lambda rows: pl.Series([n % 100 for n in rows], dtype=pl.Int8),
    "UInt64": lambda rows: pl.Series([2**64 - 1 - n for n in rows], dtype=pl.UInt64),
    "Float32": lambda rows: pl.Series([n / 3 for n in rows], dtype=pl.Float32),
    "Float64": lambda rows: pl.Series([float("nan") if n % 4 == 0 else -n / 3 for n in rows]),
    "List": lambda rows: pl.Series([[n, None] if n % 2 else [] for n in rows]),
    "List of nothing": lambda rows: pl.Series([None if n % 2 else [None] for n in rows], dtype=pl.List(pl.Int64)),
    "Array": lambda rows: pl.Series([[n, n + 1] for n in rows], dtype=pl.Array(pl.Int64, 2)),
    "Struct": lambda rows: pl.Series([{"a": n, "b": [str(n)]} for n in rows]),
    "Enum": lambda rows: pl.Series(["xyz"[n % 3] for n in rows], dtype=pl.Enum(["z", "y", "x"])),
    "Categorical": lambda rows: pl.Series(["xyz"[n % 3] for n in rows], dtype=pl.Categorical),
    "List of Categorical": lambda rows: pl.Series([["xyz"[n % 3]] for n in rows], dtype=pl.List(pl.Categorical)),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_what_is_read_is_what_was_written(tmp_path, small_groups, kind):
    """Every type keeps its values, its nulls and itself, through any layout, to the same bytes."""
    frame = pl.DataFrame({"id": range(250), "x": COLUMNS[kind](range(250))})

    first = _bytes(frame, tmp_path)
    again = _bytes(_in_chunks(frame.sample(fraction=1, shuffle=True, seed=3), 7, 130), tmp_path)
    back = pl.read_parquet(tmp_path / "table.parquet")

    assert first == again
    assert frame.schema == back.schema
    assert frame.equals(back, null_equal=True)


REFUSED = {
    "Object": pl.Series([object()], dtype=pl.Object),
    "Int128": pl.Series([1], dtype=pl.Int128),
    "UInt128": pl.Series([1], dtype=pl.UInt128),
    "List(Int128)": pl.Series([[1]], dtype=pl.List(pl.Int128)),
    "Struct({'a': Int128})": pl.Series([{"a": 1}], dtype=pl.Struct({"a": pl.Int128})),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_type_without_a_place_in_a_file_is_named(tmp_path, kind):
    """What could not be read back is refused with its column and type, before anything is written."""
    frame = pl.DataFrame({"id": [1], "odd": REFUSED[kind]})

    with pytest.raises(TypeError) as caught:
        write_table(frame, tmp_path / "t.parquet", key=("id",), keep_order=False)

    assert f"column 'odd' is of type {kind}" in str(caught.value)
    assert not (tmp_path / "t.parquet").exists()


def test_a_frame_of_nothing_is_refused(tmp_path):
    """A table has columns."""
    with pytest.raises(TypeError, match="no columns"):
        write_table(pl.LazyFrame(), tmp_path / "t.parquet", key=(), keep_order=False)


def test_an_unknown_key_is_named(tmp_path):
    """A key that the frame has not is refused with the columns that it has."""
    with pytest.raises(ValueError, match="its key names column 'idd'; the frame has id, carrier"):
        write_table(_frame(), tmp_path / "t.parquet", key=("idd",), keep_order=False)


def test_a_source_keeps_its_order(tmp_path, small_groups):
    """With `keep_order`, row n of the file is row n of the frame, in any number of chunks."""
    frame = _frame().sample(fraction=1, shuffle=True, seed=1)

    once = _bytes(frame, tmp_path, keep_order=True)
    again = _bytes(_in_chunks(frame, 1, 333, 17), tmp_path, keep_order=True)

    assert once == again
    assert frame.equals(pl.read_parquet(tmp_path / "table.parquet"))


def test_rows_stand_in_the_order_of_the_key(tmp_path, small_groups):
    """A table is stored in the order of its key."""
    _bytes(_frame().reverse(), tmp_path, key=("carrier", "id"))

    back = pl.read_parquet(tmp_path / "table.parquet")

    assert back.equals(back.sort("carrier", "id"))


KEYS = {
    "not unique": ({"a": [1, 2, 1], "b": ["x", "y", "z"]}, ["a"], r"its key a is not unique: 2 rows have a=1;"),
    "not unique together": (
        {"a": [1, 1, 1], "b": ["x", "y", "y"]},
        ["a", "b"],
        r"its key a\+b is not unique: 2 rows have a=1, b='y';",
    ),
    "null": ({"a": [1, None], "b": ["x", "y"]}, ["a"], "its key a is null in row 1 as they are stored: a=None;"),
    "partly null": (
        {"a": [1, 2], "b": ["x", None]},
        ["a", "b"],
        r"its key a\+b is null in row 1 as they are stored: a=2, b=None;",
    ),
    "named like a count": ({"len": [1, 1], "count": [1, 1]}, ["len", "count"], "2 rows have len=1, count=1"),
    "of floats": ({"a": [0.0, -0.0]}, ["a"], "2 rows have a=0.0|2 rows have a=-0.0"),
    "long": ({"a": ["x" * 9_999] * 2}, ["a"], "2 rows have a='x{79};"),
}


@pytest.mark.parametrize(("data", "key", "said"), KEYS.values(), ids=KEYS)
def test_a_key_that_is_none_is_shown(tmp_path, data, key, said):
    """A key that is null or not unique fails the step, with an example to look for."""
    write_table(pl.DataFrame(data), tmp_path / "t.parquet", key=key, keep_order=False)

    with pytest.raises(StepFailedError, match=rf"^shop\.features\[2020-01\]: .*(?:{said})") as caught:
        check_key(tmp_path / "t.parquet", key, "shop.features", "2020-01")

    assert ("shop.features", "2020-01") == (caught.value.step, caught.value.partition)


@pytest.mark.parametrize("key", [(), ("id",), ("carrier", "id")])
def test_a_good_key_passes(tmp_path, key):
    """A unique key without nulls says nothing; neither does a table without one, or without rows."""
    for rows in (0, ROWS):
        write_table(_frame(rows), tmp_path / "t.parquet", key=key, keep_order=False)

        assert check_key(tmp_path / "t.parquet", key, "shop.features", None) is None
