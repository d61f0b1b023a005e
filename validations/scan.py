"""What one pass over a frame is asked for, and the only place where a pass is made.

Every number of a validation run is one column of a single streaming select, however many expectations
ask. Two things are asked by queries of their own, beside it: distinct values and neighbours, for which
Polars would hold in memory whatever else the select reads (one count of distinct values it can bear); and
rows, which only expectations that failed ask for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Reduced:
    """An expression that reduces the whole frame to one value."""

    expression: pl.Expr
    finish: Callable[[Any], Any] = _as_it_is


@dataclass(frozen=True)
class Fetched:
    """Rows of a query of its own; the queries of one pass that bear the same key are one query."""

    key: str
    rows: pl.LazyFrame
    finish: Callable[[pl.DataFrame], Any]


@dataclass(frozen=True)
class Counted:
    """How many distinct rows a query has: the only such count of a pass is the expression, one of several a query."""

    key: str
    rows: pl.LazyFrame
    expression: pl.Expr
    finish: Callable[[int], Any]


@dataclass(frozen=True)
class Known:
    """A value for which nothing needs to be read."""

    value: Any


Wanted = Reduced | Fetched | Counted | Known

# How Polars describes rows that lie by columns, in a file or in memory, and filters of such.
_BY_COLUMNS = re.compile(r"(\s*FILTER .*\n\s*FROM\n)*\s*(Parquet SCAN|Ipc SCAN|DF) ")


def scan(frame: pl.LazyFrame, wanted: Sequence[Wanted]) -> list[Any]:
    """The finished value of each wanted thing, in order; reads the frame once, or not at all."""
    asked = _counting(wanted)
    numbers = [each for each in asked if isinstance(each, Reduced)]
    queries = {each.key: each.rows for each in asked if isinstance(each, Fetched)}
    passes = [*([_select(frame, numbers)] if numbers else []), *queries.values()]
    found = _collect(frame, passes)
    values = iter(found[0].row(0)) if numbers else iter(())
    tables = dict(zip(queries, found[1:] if numbers else found, strict=True))
    return [_finished(each, values, tables) for each in asked]


def _counting(wanted: Sequence[Wanted]) -> list[Reduced | Fetched | Known]:
    """A single count saves reading its column again; of several in one select, each waits for those before it."""
    alone = sum(isinstance(each, Counted) for each in wanted) == 1
    return [_counted(each, alone) if isinstance(each, Counted) else each for each in wanted]


def _counted(each: Counted, alone: bool) -> Reduced | Fetched:
    if alone:
        return Reduced(each.expression, each.finish)
    return Fetched(each.key, each.rows.unique().select(pl.len()), lambda found: each.finish(found.item()))


def _select(frame: pl.LazyFrame, numbers: Sequence[Reduced]) -> pl.LazyFrame:
    return frame.select(each.expression.alias(str(at)) for at, each in enumerate(numbers))


def _collect(frame: pl.LazyFrame, passes: list[pl.LazyFrame]) -> list[pl.DataFrame]:
    if not passes:
        return []
    # Where queries, or the branches of one, share a scan, what the quickest has read waits in memory for the others.
    # A query that reads its few columns itself needs no such store; text would be parsed again for each, and a join
    # be made again.
    share = not _BY_COLUMNS.match(frame.explain(optimized=False))
    flags = pl.QueryOptFlags(comm_subplan_elim=share)
    if len(passes) == 1:
        return [passes[0].collect(engine="streaming", optimizations=flags)]
    return pl.collect_all(passes, engine="streaming", optimizations=flags)


def _finished(each: Reduced | Fetched | Known, values: Any, tables: dict[str, pl.DataFrame]) -> Any:
    if isinstance(each, Reduced):
        return each.finish(next(values))
    if isinstance(each, Fetched):
        return each.finish(tables[each.key])
    return each.value
