"""What must hold of a CSV file whichever of its columns are asked about: names that differ, and rows that fit them.

Polars renames a column whose name comes twice, and never looks at fields of columns that nobody asks about.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

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


def require_rows(frame: pl.LazyFrame) -> None:
    """Polars' own error for a row with more fields than the header, or with a value that is not of its column's type.

    One streaming pass over all columns; missing fields at a row's end are missing values, as in pandas.
    """
    frame.select(pl.all().count()).collect(engine="streaming")


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
    quote = options.get("quote_char", '"')
    quoting = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    comment = options.get("comment_prefix")
    try:
        width = len(options.get("schema") or _header(path, options))
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=options.get("separator", ","), **quoting)
            before = options.get("skip_rows", 0) + options.get("skip_lines", 0)
            for row in rows:
                commented = comment and row and row[0].startswith(comment)
                if rows.line_num > before and len(row) > width and not commented:
                    return rows.line_num, len(row), width
    except (csv.Error, ValueError, OSError, pl.exceptions.PolarsError):
        return None
    return None
