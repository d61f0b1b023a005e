"""What must hold of a CSV file whichever of its columns are asked about: names that differ, rows that fit them, and
no row of a line that is blank.

Polars renames a column whose name comes twice, and never looks at fields of columns that nobody asks about.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from validations.exact import exact

# The options of polars.scan_csv that say where a file's header is and how its fields are told apart.
_LAYOUT = ("separator", "quote_char", "eol_char", "comment_prefix", "skip_rows", "skip_lines", "encoding")
_TOO_MANY = "found more fields than defined"


def require_distinct_names(path: Path, options: Mapping[str, Any]) -> None:
    """ValueError naming a column that the header names more than once; `options` are those of polars.scan_csv."""
    if not options.get("has_header", True) or options.get("schema") or options.get("new_columns"):
        return
    for name, times in Counter(_header(path, options)).items():
        if times > 1:
            raise ValueError(f"its header names the column {name!r} {times} times: give each column a name of its own")


def readable_rows(frame: pl.LazyFrame, paths: Sequence[Path], options: Mapping[str, Any]) -> pl.LazyFrame:
    """The rows without those of blank lines, which pandas skips; fields missing at a row's end are missing values.

    Polars' own error for a row with more fields than the header, or with a value that is not of its column's type. One
    streaming pass over all columns; a second one where each of them lacks some value.
    """
    added = {options.get("row_index_name"), options.get("include_file_paths")}
    names = [name for name in frame.collect_schema().names() if name not in added]
    values = [exact(name) for name in names]
    counted = frame.select(pl.len(), *(value.count().alias(f"{at}") for at, value in enumerate(values)))
    rows, *present = counted.collect(engine="streaming").row(0)
    if rows in present or not names:
        return frame
    empty = pl.all_horizontal(value.is_null() for value in values)
    if not frame.select(empty.any()).collect(engine="streaming").item():
        return frame
    blank = _blank(paths, options, rows)
    place = "_".join([*names, "row"])
    kept = (empty & pl.col(place).is_in(blank.implode())).not_()
    return frame.with_row_index(place).filter(kept).drop(place) if len(blank) else frame


def told(path: Path, options: Mapping[str, Any], error: Exception) -> str:
    """What is wrong with a CSV file that Polars could not read, with the line of a row that has too many fields."""
    said = (str(error).strip() or type(error).__name__).partition("\n")[0]
    if _TOO_MANY not in said:
        return said
    found = _too_long(path, options)
    if found is None:
        return "a row has more fields than the header: correct it, or quote the field that holds the separator"
    line, fields, width = found
    return (
        f"line {line} has {fields} fields and the header {width}: "
        "correct the line, or quote the field that holds the separator"
    )


def _header(path: Path, options: Mapping[str, Any]) -> list[str]:
    layout = {name: options[name] for name in _LAYOUT if name in options}
    scanned = pl.scan_csv(
        path, has_header=False, infer_schema=False, n_rows=1, raise_if_empty=False, truncate_ragged_lines=True, **layout
    )
    rows = scanned.collect()
    return [name or "" for name in rows.row(0)] if rows.height else []


def _too_long(path: Path, options: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """The line, the fields and the fields allowed of the first row that has too many; None where it is not plain."""
    try:
        width = len(options.get("schema") or _header(path, options))
        for line, row in _rows(path, options):
            if len(row) > width:
                return line, len(row), width
    except (csv.Error, ValueError, OSError, pl.exceptions.PolarsError):
        return None
    return None


def _blank(paths: Sequence[Path], options: Mapping[str, Any], rows: int) -> pl.Series:
    """The places, among all rows of the files, of those that are blank lines; none where it is not plain."""
    try:
        lines = [not row for row in chain.from_iterable(_below_header(path, options) for path in paths)]
    except (csv.Error, ValueError, OSError):
        lines = []
    # As many rows as Polars found, or the two do not mean the same ones.
    blank = pl.Series(lines, dtype=pl.Boolean) if len(lines) == rows else pl.Series(dtype=pl.Boolean)
    return blank.arg_true()


def _below_header(path: Path, options: Mapping[str, Any]) -> Iterator[list[str]]:
    rows = (row for _, row in _rows(path, options))
    if options.get("has_header", True):
        next((row for row in rows if row), None)
    return rows


def _rows(path: Path, options: Mapping[str, Any]) -> Iterator[tuple[int, list[str]]]:
    """Each row's last line and its fields, as Python reads them: none of a blank line."""
    quote = options.get("quote_char", '"')
    quoting = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    comment = options.get("comment_prefix")
    before = options.get("skip_rows", 0) + options.get("skip_lines", 0)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter=options.get("separator", ","), **quoting)
        for row in rows:
            if rows.line_num > before and not (comment and row and row[0].startswith(comment)):
                yield rows.line_num, row
