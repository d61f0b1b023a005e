"""Raw bytes: fetched verbatim from where they come from, and read with the types a source declares.

Row number = 0-based ordinal of the record after the header, so row n of the typed table is record n of
the raw file: reading neither drops nor reorders.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import polars as pl

from lineage.errors import SourceError
from lineage.spec import Fetch, PackageFile, Source

_TYPES: dict[str, pl.DataType] = {
    "string": pl.String(),
    "int64": pl.Int64(),
    "int32": pl.Int32(),
    "float64": pl.Float64(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "datetime": pl.Datetime("us"),
    "datetime_utc": pl.Datetime("us", "UTC"),
}
_BOOLEANS = {
    "true": True,
    "True": True,
    "TRUE": True,
    "1": True,
    "false": False,
    "False": False,
    "FALSE": False,
    "0": False,
}
_DAY = r"\d{4}-\d\d-\d\d"
_TIME = r"[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?"
_ISO = {
    "date": _DAY,
    "datetime": _DAY + _TIME,
    # Without an offset it is UTC, as the type says.
    "datetime_utc": f"{_DAY}{_TIME}(?:Z|[+-]\\d\\d:?\\d\\d)?",
}
# A value that is quoted, or without a carriage return at its end (group 1); and one that has it before a comma.
_RETURNED = re.compile(rb'((?:"[^"]*+(?:"|\Z)[^",\n]*+)++|[^,\n]++(?:(?<!\r)|(?!,)))|[^,\n]++')
# Characters of a value that a message quotes.
_LONGEST = 80


def types(source: Source) -> pl.Schema:
    """The columns of a source's table and their types."""
    return pl.Schema({column: _TYPES[kind] for column, kind in source.schema.items()})


def origin_bytes(origin: PackageFile) -> bytes:
    """The bytes of a data file inside an installed distribution; a zip of one member is opened.

    Raises SourceError naming the distribution when it or the file is not installed.
    """
    data = _installed(origin).read_bytes()
    return _only_member(data, origin) if origin.path.endswith(".zip") else data


def _installed(origin: PackageFile) -> Path:
    try:
        listed = metadata.files(origin.distribution) or []
    except metadata.PackageNotFoundError as error:
        message = f"{origin.distribution} is not installed; add it to the dependencies."
        raise SourceError(message, origin.path) from error
    found = [Path(str(file.locate())) for file in listed if f"/{file}".endswith(f"/{origin.path}")]
    if len(found) > 1:
        raise SourceError(f"{origin.distribution} has {len(found)} files {origin.path!r}; say more of it.", origin.path)
    if not found or not found[0].is_file():
        raise SourceError(f"{origin.distribution} has no file {origin.path!r}.", origin.path)
    return found[0]


def origin_name(origin: PackageFile) -> str:
    """Where bytes came from: distribution, version, path, and the sha256 of the file as it is installed."""
    version = metadata.version(origin.distribution)
    digest = hashlib.sha256(_installed(origin).read_bytes()).hexdigest()
    return f"package:{origin.distribution}=={version}:{origin.path}#sha256={digest}"


def fetch(fetch: Fetch, partition: str | None) -> bytes:
    """The raw bytes of one partition: the header and the matching lines, byte for byte."""
    if fetch.split_by is None or partition is None:
        return origin_bytes(fetch.origin)
    header, months = _by_month(fetch.origin)
    if partition not in months:
        raise SourceError(f"{fetch.origin.path} has no row of {partition}; it has {', '.join(sorted(months))}.", "")
    return header + months[partition]


def _only_member(data: bytes, origin: PackageFile) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if len(names) == 1:
                return archive.read(names[0])
    except zipfile.BadZipFile as error:
        raise SourceError(f"{origin.path} is no readable zip file ({error}).", origin.path) from error
    raise SourceError(f"{origin.path} holds {len(names)} files; name one that holds exactly one.", origin.path)


@lru_cache(maxsize=4)
def _by_month(origin: PackageFile) -> tuple[bytes, dict[str, bytes]]:
    """The header, and the lines of each month, verbatim and in order."""
    data = origin_bytes(origin)
    # Splitting at line ends keeps bytes verbatim; it is only right where no value spans lines.
    if b'"' in data:
        raise SourceError(f"{origin.path} has quoted values, which split_by='month' cannot cut.", origin.path)
    header, *lines = data.splitlines(keepends=True) or [b""]
    columns = header.rstrip(b"\r\n").split(b",")
    if b"year" not in columns or b"month" not in columns:
        raise SourceError(f"{origin.path}: split_by='month' needs the columns year and month.", origin.path)
    year, month = columns.index(b"year"), columns.index(b"month")
    found: dict[str, list[bytes]] = {}
    for number, line in enumerate(lines):
        values = line.rstrip(b"\r\n").split(b",")
        if len(values) != len(columns) or not (values[year].isdigit() and values[month].isdigit()):
            raise SourceError(f"{origin.path}: row {number} tells no year and month: {line[:80]!r}.", origin.path)
        found.setdefault(f"{int(values[year]):04d}-{int(values[month]):02d}", []).append(line)
    return header, {key: b"".join(group) for key, group in found.items()}


def read(path: Path, source: Source, name: str) -> pl.DataFrame:
    """All records of one raw CSV file, in order, with the declared columns and types.

    Where there are several columns, empty lines at the end are no records; in a file of one column, each line
    is one. Raises SourceError naming the file as `name`, row, column and value where bytes do not fit.
    """
    text = _read_text(path, source, name)
    return pl.DataFrame([_typed(text[column], kind, source, name) for column, kind in source.schema.items()])


def _read_text(path: Path, source: Source, name: str) -> pl.DataFrame:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{name}: {path} cannot be read ({error.strerror}).", str(path)) from error
    data = _as_polars_reads_it(data)
    try:
        # Everything as text first: a value that does not fit is then named, not guessed at.
        text = pl.read_csv(data, infer_schema=False, empty_string_is_null=False)
    except pl.exceptions.PolarsError as error:
        why = _not_utf8(data) or _ragged(data) or _first_line(error)
        raise SourceError(f"{name}: not readable as CSV ({why}).", str(path)) from error
    # Polars renames a column that occurs twice, and leaves quotes within a quoted name twice.
    header = next(_records(data), [])
    _check_header(header, source, path, name)
    if wrong := _misread(text.columns, header):
        why = "its header holds a carriage return that ends no line; end lines with \\n or \\r\\n"
        if b"\r" not in data.partition(b"\n")[0].removesuffix(b"\r"):
            why = f"quotes leave open what the column {wrong[:_LONGEST]!r} is called; in a quoted name write each twice"
        raise SourceError(f"{name}: not readable as CSV ({why}).", str(path))
    text.columns = header
    if _commas(text) != data.count(b","):
        why = _ragged(data) or "a row has too few values"
        raise SourceError(f"{name}: not readable as CSV ({why}).", str(path))
    return text


def _as_polars_reads_it(data: bytes) -> bytes:
    """`data` with what Polars has to be given so as to drop nothing.

    Of a carriage return before a comma it drops one, and of the last line a value too many if that is empty and no
    end of line follows. Empty lines at the end are no records where there are several columns.
    """
    if b"," in data.partition(b"\n")[0]:
        data = data.rstrip(b"\r\n")
    if b"\r" in data and b"\r," in data:
        data = _RETURNED.sub(lambda value: value[0] if value[1] else value[0] + b"\r", data)
    return data + b"\n" if data.endswith(b",") else data


def _misread(found: list[str], header: list[str]) -> str | None:
    """The first of Polars' names that is another column's than that of the header."""
    if len(found) != len(header):
        return found[0]
    pairs = zip(found, header, strict=True)
    return next((mine for mine, known in pairs if known not in (mine, mine.replace('""', '"'))), None)


def _commas(text: pl.DataFrame) -> int:
    """How many commas a file with these values has if no row is short: Polars fills short rows up silently."""
    inside = sum(int(text[column].str.count_matches(",", literal=True).sum()) for column in text.columns)
    return inside + sum(name.count(",") for name in text.columns) + (text.width - 1) * (text.height + 1)


def _not_utf8(data: bytes) -> str | None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return f"line {line} has the byte 0x{data[error.start]:02x}, which is not UTF-8"
    return None


def _ragged(data: bytes) -> str | None:
    """The first row that has more or fewer values than the header, in words."""
    # To Python's reader a carriage return ends a line wherever it stands.
    records = _records(re.sub(rb"\r(?!\n)", b" ", data))
    width = len(next(records, []))
    for number, values in enumerate(records):
        if len(values) != width:
            return f"row {number} has {len(values)} values, the header {width}"
    return None


def _records(data: bytes) -> Iterator[list[str]]:
    """The records as Python's own reader sees them, header included; slow, and it ends where it fails."""
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", errors="replace", newline="")
    with suppress(csv.Error):
        yield from csv.reader(text)


def _check_header(found: list[str], source: Source, path: Path, name: str) -> None:
    declared = list(source.schema)
    wrong = {
        "lacks": [column for column in declared if column not in found],
        "has undeclared": [column for column in found if column not in declared],
        "has twice": [column for column, count in Counter(found).items() if count > 1],
    }
    parts = [f"{what} {', '.join(map(repr, columns))}" for what, columns in wrong.items() if columns]
    if parts:
        raise SourceError(
            f"{name}: its header {' and '.join(parts)}; correct the file or the source's schema.", str(path)
        )


def _typed(text: pl.Series, kind: str, source: Source, name: str) -> pl.Series:
    text = text.set(text.is_in(list(source.null_values)), None)
    typed = _cast(text, kind)
    wrong = (typed.is_null() & text.is_not_null()).arg_true()
    if len(wrong):
        row = wrong[0]
        raise SourceError(
            f"{name}: column {text.name!r} holds {text[row][:_LONGEST]!r} in row {row}, which is no {kind} "
            f"({len(wrong)} such values); correct the file or the declared type.",
            name,
        )
    return typed


def _cast(text: pl.Series, kind: str) -> pl.Series:
    if kind == "string":
        return text
    if kind == "boolean":
        return text.replace_strict(_BOOLEANS, default=None, return_dtype=pl.Boolean)
    if kind not in _ISO:
        return text.cast(_TYPES[kind], strict=False)
    # Only ISO 8601: 05/06/2013 is a day in May to some and in June to others.
    whole = text.set(~text.str.contains(f"^(?:{_ISO[kind]})$"), None).str.replace(" ", "T")
    if kind == "date":
        return whole.str.to_date("%Y-%m-%d", strict=False)
    zoned = whole.str.replace(r"(T\d\d:\d\d)(Z|[+-]|$)", "${1}:00$2").str.replace(r"(T[^Z+-]*)$", "${1}Z")
    utc = zoned.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False)
    return utc if kind == "datetime_utc" else utc.dt.replace_time_zone(None)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]
