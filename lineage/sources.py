"""Raw bytes: fetched verbatim from where they come from, and read with the types a source declares.

Row number = 0-based ordinal of the record after the header, so row n of the typed table is record n of
the raw file: reading neither drops nor reorders.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
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
    for file in listed:
        if str(file).endswith(origin.path):
            return Path(str(file.locate()))
    raise SourceError(f"{origin.distribution} has no file {origin.path!r}.", origin.path)


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
    return header + months.get(partition, b"")


def _only_member(data: bytes, origin: PackageFile) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if len(names) != 1:
            raise SourceError(f"{origin.path} holds {len(names)} files; name one that holds exactly one.", origin.path)
        return archive.read(names[0])


@lru_cache(maxsize=4)
def _by_month(origin: PackageFile) -> tuple[bytes, dict[str, bytes]]:
    """The header, and the lines of each month, verbatim and in order."""
    data = origin_bytes(origin)
    # Splitting at line ends keeps bytes verbatim; it is only right where no value spans lines.
    if b'"' in data:
        raise SourceError(f"{origin.path} has quoted values, which split_by='month' cannot cut.", origin.path)
    header, *lines = data.splitlines(keepends=True)
    columns = header.rstrip(b"\r\n").split(b",")
    if b"year" not in columns or b"month" not in columns:
        raise SourceError(f"{origin.path}: split_by='month' needs the columns year and month.", origin.path)
    year, month = columns.index(b"year"), columns.index(b"month")
    found: dict[str, list[bytes]] = {}
    for line in lines:
        values = line.split(b",", max(year, month) + 1)
        found.setdefault(f"{int(values[year]):04d}-{int(values[month]):02d}", []).append(line)
    return header, {key: b"".join(group) for key, group in found.items()}


def read(path: Path, source: Source, name: str) -> pl.DataFrame:
    """All records of one raw CSV file, in order, with the declared columns and types.

    Raises SourceError naming file, column and the offending value when bytes do not fit the declaration.
    """
    text = _read_text(path, source, name)
    columns = [_typed(text[column], column, kind, name) for column, kind in source.schema.items()]
    return pl.DataFrame(columns)


def _read_text(path: Path, source: Source, name: str) -> pl.DataFrame:
    try:
        # Everything as text first: a value that does not fit is then named, not guessed at.
        text = pl.read_csv(path, infer_schema=False, null_values=list(source.null_values))
    except FileNotFoundError as error:
        raise SourceError(f"{name}: there is no file {path}.", str(path)) from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SourceError(f"{name}: {path} is not readable as CSV ({_first_line(error)}).", str(path)) from error
    _check_header(text.columns, source, path, name)
    return text


def _check_header(found: list[str], source: Source, path: Path, name: str) -> None:
    declared = list(source.schema)
    missing = [column for column in declared if column not in found]
    extra = [column for column in found if column not in declared]
    if missing or extra:
        parts = [
            f"lacks {', '.join(missing)}" if missing else "",
            f"has undeclared {', '.join(extra)}" if extra else "",
        ]
        raise SourceError(
            f"{name}: the header of {path} {' and '.join(filter(None, parts))}; fix the file or the source's schema.",
            str(path),
        )


def _typed(text: pl.Series, column: str, kind: str, name: str) -> pl.Series:
    typed = _cast(text, kind)
    wrong = (typed.is_null() & text.is_not_null()).arg_true()
    if len(wrong):
        row = wrong[0]
        raise SourceError(
            f"{name}: column {column!r} holds {text[row]!r} in row {row}, which is no {kind} "
            f"({len(wrong)} such values); correct the file or the declared type.",
            name,
        )
    return typed


def _cast(text: pl.Series, kind: str) -> pl.Series:
    if kind == "string":
        return text
    if kind == "boolean":
        return text.replace_strict(_BOOLEANS, default=None, return_dtype=pl.Boolean)
    if kind in ("date", "datetime"):
        return text.str.strptime(_TYPES[kind], strict=False)  # type: ignore[arg-type]
    if kind == "datetime_utc":
        return text.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
    return text.cast(_TYPES[kind], strict=False)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]
