"""A draft of a suite from a profile of a table, in Great Expectations' own JSON, for an author to edit.

What is structure blocks: columns, types, keys, values that are never missing. What is a guess from this data warns:
ranges, sets, shapes, tolerated shares of missing values. The same rows give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl

from lineage.errors import SourceError
from validations.drafting.bounds import float_range, share_below, time_range, whole_range
from validations.drafting.profile import Column, Profile, profile
from validations.readers import open_frame

_MOST_IN_SET = 20
# Rows that there are for each value of a set, at least.
_ROWS_PER_VALUE = 10
_WIDTH = 110
_LONGEST_EXAMPLE = 40
# What JSON readers and 64-bit columns hold.
_INT64 = (-(2**63), 2**63 - 1)
_UINT64 = (0, 2**64 - 1)

Draft = dict[str, Any]


@dataclass(frozen=True)
class Drafted:
    """What a suite is drafted for: its name, the declared key, and whether the table has one file a month."""

    name: str
    key: tuple[str, ...] = ()
    monthly: bool = False


def propose(files: Sequence[Path], drafted: Drafted) -> Draft:
    """A suite that holds for each of the files, and for all of them together; `validations.readers` says which kinds.

    Raises SourceError naming the files when they cannot be read as one table.
    """
    try:
        found = profile([open_frame(path) for path in files], [drafted.key] if drafted.key else [])
    except (pl.exceptions.PolarsError, OSError) as error:
        place = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
        why = (str(error).strip() or type(error).__name__).partition("\n")[0]
        raise SourceError(f"{place} cannot be profiled as one table ({why}).", str(files[0])) from error
    return draft(found, drafted)


def draft(found: Profile, drafted: Drafted) -> Draft:
    """The suite that a profile suggests."""
    expectations = [*_table(found, drafted)]
    for column in found.columns:
        expectations += _column(column, drafted)
    meta = {"great_expectations_version": metadata.version("great-expectations")}
    return {"name": drafted.name, "expectations": expectations, "meta": meta}


def suite_text(suite: Mapping[str, Any]) -> str:
    """A suite as the text of its file: what fits stands on one line, so that a change of it is one line too."""
    return _text(suite, 0) + "\n"


def _text(value: Any, indent: int, used: int = 0) -> str:
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not value or not isinstance(value, dict | list) or (indent > 0 and indent + used + len(line) < _WIDTH):
        return line
    inner = indent + 2
    if isinstance(value, dict):
        names = [f"{json.dumps(name, ensure_ascii=False)}: " for name in value]
        items = [name + _text(item, inner, len(name)) for name, item in zip(names, value.values(), strict=True)]
    elif any(isinstance(item, dict | list) for item in value):
        items = [_text(item, inner) for item in value]
    else:
        return _filled([json.dumps(item, ensure_ascii=False) for item in value], indent)
    start, end = ("{", "}") if isinstance(value, dict) else ("[", "]")
    between = f",\n{' ' * inner}"
    return f"{start}\n{' ' * inner}{between.join(items)}\n{' ' * indent}{end}"


def _filled(items: Sequence[str], indent: int) -> str:
    """A list of plain values, as many to a line as fit."""
    margin = " " * (indent + 2)
    lines = [margin + items[0]]
    for item in items[1:]:
        if len(lines[-1]) + len(item) + 3 < _WIDTH:
            lines[-1] += f", {item}"
        else:
            lines.append(margin + item)
    return ",\n".join(["[\n" + lines[0], *lines[1:]]) + f"\n{' ' * indent}]"


def _expect(kind: str, notes: str, *, guess: bool = False, **kwargs: Any) -> Draft:
    severity = "warning" if guess else "critical"
    return {"type": f"expect_{kind}", "kwargs": kwargs, "severity": severity, "notes": notes}


def _table(found: Profile, drafted: Drafted) -> Iterator[Draft]:
    names = [column.name for column in found.columns]
    notes = f"All {len(names)} columns."
    yield _expect("table_columns_to_match_set", notes, column_set=names, exact_match=True)
    if found.rows:
        yield _expect("table_row_count_to_be_between", f"{found.rows:,} rows when this was drafted.", min_value=1)
    if len(drafted.key) > 1 and drafted.key in found.unique_keys:
        notes = f"The declared key: unique in {found.rows:,} rows."
        yield _expect("compound_columns_to_be_unique", notes, column_list=list(drafted.key))


def _column(column: Column, drafted: Drafted) -> Iterator[Draft]:
    kind = column.dtype.base_type().__name__
    yield _expect(
        "column_values_to_be_of_type", f"Stored as {column.dtype}{_span(column)}.", column=column.name, type_=kind
    )
    yield from _known(column)
    yield from _unique(column, drafted)
    if (values := _set(column)) is not None:
        notes = f"{f'All {len(values)} values' if len(values) > 1 else 'The only value'} in {column.known:,} rows."
        yield _expect("column_values_to_be_in_set", notes, guess=True, column=column.name, value_set=values)
    else:
        yield from _range(column, drafted)
    if column.shape:
        notes = f"All {column.known:,} values, from {_shown(column.minimum)} to {_shown(column.maximum)}."
        yield _expect("column_values_to_match_regex", notes, guess=True, column=column.name, regex=column.shape)


def _span(column: Column) -> str:
    """Bounds that no expectation tells: of times, of whose next values nothing is known."""
    return f", {column.minimum} to {column.maximum}" if column.dtype.is_temporal() and column.known else ""


def _known(column: Column) -> Iterator[Draft]:
    if not column.rows:
        return
    if not column.missing:
        yield _expect("column_values_to_not_be_null", f"Known in all {column.rows:,} rows.", column=column.name)
        return
    known, rows = column.least_known
    share = share_below(known, rows)
    if share is not None:
        part = "" if rows == column.rows else f"; in one partition in {rows - known:,} of {rows:,}"
        notes = f"Missing in {column.missing:,} of {column.rows:,} rows{part}."
        yield _expect("column_values_to_not_be_null", notes, guess=True, column=column.name, mostly=share)


def _unique(column: Column, drafted: Drafted) -> Iterator[Draft]:
    if not column.unique:
        return
    declared = (column.name,) == drafted.key
    notes = f"{'The declared key: unique' if declared else 'Unique'} in {column.rows:,} rows."
    # A table that declares its key does not promise that other columns go on being unique.
    guess = bool(drafted.key) and not declared
    yield _expect("column_values_to_be_unique", notes, guess=guess, column=column.name)


def _set(column: Column) -> list[Any] | None:
    """The column's values, where they are a set and neither a range nor a coincidence of few rows."""
    values = column.values
    if not values or len(values) > _MOST_IN_SET or len(values) * _ROWS_PER_VALUE > column.known:
        return None
    if column.dtype.is_integer():
        return None if _has_no_gaps(column) and len(values) > 1 else list(values)
    return list(values) if isinstance(column.dtype, pl.String | pl.Categorical | pl.Enum) else None


def _has_no_gaps(column: Column) -> bool:
    return column.values is not None and len(column.values) == column.maximum - column.minimum + 1


def _range(column: Column, drafted: Drafted) -> Iterator[Draft]:
    if not column.known:
        return
    low, high = _bounds(column, drafted)
    bounds = {name: value for name, value in (("min_value", low), ("max_value", high)) if value is not None}
    if bounds:
        notes = f"{column.minimum} to {column.maximum}." if column.dtype.is_numeric() else f"{_times(column)}."
        yield _expect("column_values_to_be_between", notes, guess=True, column=column.name, **bounds)


def _bounds(column: Column, drafted: Drafted) -> tuple[Any, Any]:
    low, high = column.minimum, column.maximum
    if column.dtype.is_integer():
        if _has_no_gaps(column):
            return low, high
        least, most = _UINT64 if column.dtype == pl.UInt64 else _INT64
        found = whole_range(low, high)
        return max(found[0], least), min(found[1], most)
    if column.dtype.is_float():
        return float_range(low, high)
    # A month's times are of that month. In JSON a time is text: without a zone pandas would compare it as text.
    if isinstance(low, datetime) and low.tzinfo is not None and not drafted.monthly:
        first, last = time_range(low, high)
        return first.isoformat(), last.isoformat()
    return None, None


def _times(column: Column) -> str:
    return f"{column.minimum.isoformat()} to {column.maximum.isoformat()}"


def _shown(value: str) -> str:
    return value if len(value) <= _LONGEST_EXAMPLE else f"{value[:_LONGEST_EXAMPLE]}…"
