"""Files of any common kind as lazy frames: what `headwater validate` reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from lineage.errors import SourceError
from validations import csv_rows
from validations.exact import exact

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

    Of a folder: those of all files below it, which must be of one kind and have the same columns, by their names.

    In CSV, an empty field, NA and a field that a row lacks are null, and a blank line is no row; a row with too many
    fields, and a header that names a column twice, are refused whatever is asked later. Known are .parquet, .csv,
    .tsv, .json (a list of objects), .ndjson and .jsonl, .arrow, .feather and .ipc. SourceError names a file that is
    missing, unreadable or of another kind.
    """
    if path.is_dir():
        return _open_folder(path)
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


def _open_folder(folder: Path) -> pl.LazyFrame:
    # As of a folder that an asset reads: what begins with a dot or an underscore is no data.
    below = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in _READERS)
    kept = [path for path in below if not any(part[0] in "._" for part in path.relative_to(folder).parts)]
    kinds = sorted({path.suffix.lower() for path in kept})
    if not kinds:
        raise SourceError(
            f"The folder {folder} has no file that can be read: a name must end in one of {', '.join(KINDS)}.",
            str(folder),
        )
    if len(kinds) > 1:
        raise SourceError(
            f"The folder {folder} has files of several kinds ({', '.join(kinds)}): name one of them, "
            "or a folder of one kind.",
            str(folder),
        )
    frames = [open_frame(path) for path in kept]
    names = frames[0].collect_schema().names()
    for path, frame in zip(kept, frames, strict=True):
        if set(found := frame.collect_schema().names()) != set(names):
            raise SourceError(
                f"The folder {folder} is no table: {path.name} has the columns {', '.join(found)}, and {kept[0].name} "
                f"{', '.join(names)}; validate each by itself.",
                str(folder),
            )
    return _together(folder, [frame.select(map(exact, names)) for frame in frames])


def _together(folder: Path, frames: list[pl.LazyFrame]) -> pl.LazyFrame:
    schemas = [frame.collect_schema() for frame in frames]
    for name in schemas[0]:
        kinds = {schema[name] for schema in schemas} - {pl.Null()}
        # Numbers widen; anything else Polars would turn into text, unasked.
        if len(kinds) > 1 and not all(kind.is_numeric() for kind in kinds):
            raise SourceError(
                f"The files of the folder {folder} do not agree in the type of {name!r} "
                f"({', '.join(sorted(map(str, kinds)))}); validate each by itself.",
                str(folder),
            )
    return pl.concat(frames, how="vertical_relaxed")


def unreadable(path: Path, error: BaseException) -> SourceError:
    """The error for a file whose bytes are not what its name says, or for a folder of such."""
    said = (str(error).strip() or type(error).__name__).partition("\n")[0]
    if path.is_dir():
        return SourceError(f"A file below {path} is not readable ({said}).", str(path))
    return SourceError(f"{path} is not readable as {path.suffix.lower()[1:]} ({said}).", str(path))
