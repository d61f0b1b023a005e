"""Files of any common kind as lazy frames: what `headwater validate` reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from lineage.errors import SourceError
from validations import csv_rows

# As R and pandas write them.
MISSING = ["", "NA"]


def _csv(path: Path, separator: str) -> pl.LazyFrame:
    options: dict[str, Any] = {"separator": separator, "null_values": MISSING, "try_parse_dates": True}
    csv_rows.require_distinct_names(path, options)
    # The whole file decides about a column's type: a few rows would fail at the first that is of another.
    schema = pl.scan_csv(path, infer_schema_length=None, **options).collect_schema()
    # Without the schema, each pass would read the whole file for the types again.
    frame = pl.scan_csv(path, schema=schema, **options)
    try:
        return csv_rows.readable_rows(frame, [path], options)
    except pl.exceptions.PolarsError as error:
        raise ValueError(csv_rows.told(path, options, error)) from error


_READERS: Mapping[str, Callable[[Path], pl.LazyFrame]] = {
    ".parquet": pl.scan_parquet,
    ".csv": lambda path: _csv(path, ","),
    ".tsv": lambda path: _csv(path, "\t"),
    ".ndjson": lambda path: pl.scan_ndjson(path, infer_schema_length=None),
    ".jsonl": lambda path: pl.scan_ndjson(path, infer_schema_length=None),
    ".json": lambda path: pl.read_json(path, infer_schema_length=None).lazy(),
    ".arrow": pl.scan_ipc,
    ".feather": pl.scan_ipc,
    ".ipc": pl.scan_ipc,
}

# The endings of files' names that can be read.
KINDS = tuple(_READERS)


def open_frame(path: Path) -> pl.LazyFrame:
    """The rows of a file, unread where its format allows; types are inferred where it does not hold them.

    In CSV, an empty field, NA and a field that a row lacks are null, and a blank line is no row; a row with too many
    fields, and a header that names a column twice, are refused whatever is asked later. Known are .parquet, .csv,
    .tsv, .json (a list of objects), .ndjson and .jsonl, .arrow, .feather and .ipc. SourceError names a file that is
    missing, unreadable or of another kind.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise SourceError(f"{path} cannot be read: its name ends in none of {', '.join(KINDS)}.", str(path))
    if not path.is_file():
        raise SourceError(f"There is no file {path}.", str(path))
    try:
        frame = reader(path)
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise unreadable(path, error) from error
    return frame


def unreadable(path: Path, error: BaseException) -> SourceError:
    """The error for a file whose bytes are not what its name says."""
    said = (str(error).strip() or type(error).__name__).partition("\n")[0]
    return SourceError(f"{path} is not readable as {path.suffix.lower()[1:]} ({said}).", str(path))
