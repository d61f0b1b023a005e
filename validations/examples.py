"""A few rows that break an expectation, whole enough to be recognized: read only where it failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from validations.exact import exact
from validations.quarantine import row_expressions, schema_engine
from validations.references import columns_read

# Rows of an expectation, columns of a row, characters of a cell: to be looked at, and kept with the result.
MOST_ROWS, MOST_COLUMNS, LONGEST_CELL = 5, 8, 60

# How the rows of a table are counted in traces: from 0.
_PLACE = "row"

Table = dict[str, Any]


def example_rows(frame: pl.LazyFrame, failed: Mapping[int, Mapping[str, Any]]) -> dict[int, Table]:
    """The first rows that break each of these expectations (GX configurations), by the same keys.

    Each as {"header": names, "table": rows of texts}: the row's number from 0, the columns that the expectation reads,
    then the table's first others. What is not about single rows has none; so has what Polars cannot read once more.
    """
    schema = frame.collect_schema()
    engine = schema_engine(schema)
    found: dict[int, Table] = {}
    for at, item in failed.items():
        expressions = row_expressions(item, engine, schema)
        if expressions is None:
            continue
        names = _columns(item["kwargs"], schema.names())
        place = next(name for name in _places() if name not in schema)
        broken = frame.with_row_index(place).filter(expressions[0]).head(MOST_ROWS)
        try:
            rows = broken.select(pl.col(place), *map(exact, names)).collect(engine="streaming")
        except pl.exceptions.PolarsError:
            continue
        if len(rows):
            found[at] = {
                "header": [_PLACE, *names],
                "table": [[[_cell(value)] for value in row] for row in rows.iter_rows()],
            }
    return found


def _places() -> Iterable[str]:
    yield _PLACE
    yield from (f"{_PLACE}_{number}" for number in range(1_000_000))


def _columns(kwargs: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    read = [name for name in columns_read(kwargs) if name in names]
    return [*dict.fromkeys([*read, *names])][:MOST_COLUMNS]


def _cell(value: Any) -> str:
    # Postgres keeps no NUL in JSON.
    text = "null" if value is None else str(value).replace("\0", "\N{SYMBOL FOR NULL}")
    return text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]}…"
