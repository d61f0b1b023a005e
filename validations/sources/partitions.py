"""Batches of an asset by year, month or day: told by a file's name, or by a column of dates.

A batch is known by its identifiers, such as {"year": 2013, "month": 1}. Those of files have the file's
`path` too, and their parts are text as the name has it, as GX does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import polars as pl
from great_expectations.core.partitioners import (
    ColumnPartitionerDaily,
    ColumnPartitionerMonthly,
    ColumnPartitionerYearly,
    FileNamePartitionerDaily,
    FileNamePartitionerMonthly,
    FileNamePartitionerPath,
    FileNamePartitionerYearly,
)
from great_expectations.datasource.fluent.data_asset.path.file_asset import (
    RegexMissingRequiredGroupsError,
    RegexUnknownGroupsError,
)

from validations.exact import exact

PATH = "path"
YEARLY: tuple[str, ...] = ("year",)
MONTHLY: tuple[str, ...] = ("year", "month")
DAILY: tuple[str, ...] = ("year", "month", "day")

_BY_COLUMN = {
    YEARLY: (ColumnPartitionerYearly, "partition_on_year"),
    MONTHLY: (ColumnPartitionerMonthly, "partition_on_year_and_month"),
    DAILY: (ColumnPartitionerDaily, "partition_on_year_and_month_and_day"),
}
_BY_NAME = {YEARLY: FileNamePartitionerYearly, MONTHLY: FileNamePartitionerMonthly, DAILY: FileNamePartitionerDaily}
_COLUMN_PARTS = {kind: parts for parts, (kind, _) in _BY_COLUMN.items()}
_NAME_PARTITIONERS = (*_BY_NAME.values(), FileNamePartitionerPath)


def by_column(parts: tuple[str, ...], column: str, ascending: bool) -> Any:
    """GX's partitioner for a column of dates."""
    kind, method = _BY_COLUMN[parts]
    # GX saves only what was given: without the method's name it would load another partitioner.
    return kind(column_name=column, sort_ascending=ascending, method_name=method)


def by_name(parts: tuple[str, ...], regex: str | re.Pattern[str], ascending: bool) -> Any:
    """GX's partitioner for names of files; the regex must have exactly the groups of `parts` (GX's errors)."""
    regex = re.compile(regex)
    unnamed = {f"unnamed_group_{at}" for at in set(range(1, regex.groups + 1)) - set(regex.groupindex.values())}
    if missing := set(parts) - set(regex.groupindex):
        raise RegexMissingRequiredGroupsError(missing)
    if unknown := (set(regex.groupindex) | unnamed) - set(parts):
        raise RegexUnknownGroupsError(unknown)
    return _BY_NAME[parts](regex=regex, param_names=parts, sort_ascending=ascending)


def by_path(name: str) -> Any:
    """GX's partitioner for one file."""
    return FileNamePartitionerPath(regex=re.compile(f"{re.escape(name)}$"), param_names=())


def is_by_name(partitioner: Any) -> bool:
    """Whether batches are files."""
    return isinstance(partitioner, _NAME_PARTITIONERS)


def parameters(partitioner: Any) -> tuple[str, ...]:
    """The batch parameters that tell batches apart; ValueError for a partitioner that Polars assets do not have."""
    if partitioner is None:
        return (PATH,)
    if is_by_name(partitioner):
        return (PATH, *partitioner.param_names)
    if type(partitioner) in _COLUMN_PARTS:
        return _COLUMN_PARTS[type(partitioner)]
    raise ValueError(
        f"Polars assets have no {type(partitioner).__name__}; "
        "use add_batch_definition_whole, _path, _yearly, _monthly or _daily."
    )


def batches_of_names(names: Sequence[str], partitioner: Any) -> list[dict[str, Any]]:
    """The identifiers of the files whose name begins with a match of the partitioner's regex."""
    matches = {name: partitioner.regex.match(name) for name in names}
    return [{PATH: name, **match.groupdict()} for name, match in matches.items() if match]


def batches_of_column(frame: pl.LazyFrame, partitioner: Any, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The years, months or days that the column has among those asked for, by one streaming scan of it.

    Rows without a date are in none of them.
    """
    parts = parameters(partitioner)
    column = exact(partitioner.column_name)
    rows = frame.filter(within(frame, partitioner, asked)).select(_part(column, part).alias(part) for part in parts)
    if set(parts) <= set(asked):
        # All is known but whether there is such a row.
        rows = rows.head(1)
    return rows.drop_nulls().unique().collect(engine="streaming").to_dicts()


def within(frame: pl.LazyFrame, partitioner: Any, asked: Mapping[str, Any]) -> pl.Expr:
    """Whether a row's date has the year, month and day that are asked for; ValueError if the column has no dates."""
    name = partitioner.column_name
    kind = require_dates(frame, name)
    column = exact(name)
    equal = [_part(column, part) == int(value) for part, value in asked.items()]
    return pl.all_horizontal(pl.lit(True), *equal, *_near(column, kind, asked))


def require_dates(frame: pl.LazyFrame, column: str) -> pl.DataType:
    """The data type of a column of dates or datetimes; ValueError for others."""
    schema = frame.collect_schema()
    if column not in schema:
        raise ValueError(f"there is no column {column!r} to part batches by; there are {', '.join(schema)}")
    if not isinstance(schema[column], pl.Date | pl.Datetime):
        raise ValueError(
            f"the column {column!r} is {schema[column]}, which has no years: "
            "give a column of dates (for CSV with try_parse_dates=True or schema_overrides), or `regex`"
        )
    return schema[column]


def matching(batches: Sequence[dict[str, Any]], asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The batches whose identifiers equal what is asked for; 4 equals "04"."""
    return [batch for batch in batches if all(_equal(value, batch.get(part)) for part, value in asked.items())]


def ordered(batches: Sequence[dict[str, Any]], partitioner: Any) -> list[dict[str, Any]]:
    """Batches by date (numbers, not text), the last of them first where the partitioner sorts descending."""
    parts = [part for part in parameters(partitioner) if part != PATH]
    ascending = getattr(partitioner, "sort_ascending", True)
    return sorted(batches, key=lambda batch: [_rank(batch[part]) for part in parts], reverse=not ascending)


def _part(column: pl.Expr, part: str) -> pl.Expr:
    number: pl.Expr = getattr(column.dt, part)()
    return number.cast(pl.Int32)


def _near(column: pl.Expr, kind: pl.DataType, asked: Mapping[str, Any]) -> list[pl.Expr]:
    # Year and month of a row are not in a Parquet file's statistics, its least and greatest date are: a
    # range, wide enough for every time zone, spares reading the row groups of other months.
    year, month = int(asked.get("year", 0)), int(asked.get("month", 0))
    if not 1700 <= year <= 2250 or not 0 <= month <= 12:
        return []
    first = date(year, month or 1, 1)
    last = first + timedelta(days=31 if month else 366)
    low, high = (pl.lit(day).cast(kind) for day in (first - timedelta(days=2), last + timedelta(days=2)))
    return [column >= low, column <= high]


def _equal(asked: Any, found: Any) -> bool:
    if asked == found:
        return True
    return _is_number(asked) and _is_number(found) and int(asked) == int(found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, str) and value.isdecimal())


def _rank(value: Any) -> tuple[int, Any]:
    if value is None:
        return (0, 0)
    return (1, int(value)) if _is_number(value) else (2, value)
