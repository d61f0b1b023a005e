"""What one pass over a frame is asked for, and the only place where a pass is made.

Every number of a validation run is one column of a single streaming select, however many expectations
ask; rows are fetched by queries of their own, which only expectations that failed put to it.
"""

from __future__ import annotations

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
    """Rows of a query; the queries of one pass that bear the same key are one query."""

    key: str
    rows: pl.LazyFrame
    finish: Callable[[pl.DataFrame], Any]


@dataclass(frozen=True)
class Known:
    """A value for which nothing needs to be read."""

    value: Any


Wanted = Reduced | Fetched | Known


def scan(frame: pl.LazyFrame, wanted: Sequence[Wanted]) -> list[Any]:
    """The finished value of each wanted thing, in order; reads the frame once, or not at all."""
    numbers = [each for each in wanted if isinstance(each, Reduced)]
    queries = {each.key: each.rows for each in wanted if isinstance(each, Fetched)}
    passes = [*([_select(frame, numbers)] if numbers else []), *queries.values()]
    found = _collect(passes)
    values = iter(found[0].row(0)) if numbers else iter(())
    tables = dict(zip(queries, found[1:] if numbers else found, strict=True))
    return [_finished(each, values, tables) for each in wanted]


def _select(frame: pl.LazyFrame, numbers: Sequence[Reduced]) -> pl.LazyFrame:
    return frame.select(each.expression.alias(str(at)) for at, each in enumerate(numbers))


def _collect(passes: list[pl.LazyFrame]) -> list[pl.DataFrame]:
    if not passes:
        return []
    if len(passes) == 1:
        return [passes[0].collect(engine="streaming")]
    return pl.collect_all(passes, engine="streaming")


def _finished(each: Wanted, values: Any, tables: dict[str, pl.DataFrame]) -> Any:
    if isinstance(each, Reduced):
        return each.finish(next(values))
    if isinstance(each, Fetched):
        return each.finish(tables[each.key])
    return each.value
