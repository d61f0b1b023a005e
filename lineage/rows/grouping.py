"""Groups and windows of tracked frames: what `group_by`, `group_by_dynamic`, `rolling` and Python code on whole frames
make of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import polars as pl

from lineage.errors import RowsLostError
from lineage.frame import TrackedFrame
from lineage.rows.capture import ASKED, POSITION, Link, Origins, lost
from lineage.rows.expressions import Expression
from lineage.rows.joining import side_by_side
from lineage.rows.tracking import keys_of
from lineage.spec import History

_Apply = Callable[[pl.LazyFrame], Any]


@dataclass(frozen=True)
class TrackedGroupBy:
    """Groups of rows, to be aggregated. `grouped` makes Polars' own group-by of a plan.

    `link` leads from a group to its rows, `keys` are the columns by which they were grouped; `carried` are the
    aggregations that give the columns of the links. `anchor` leads to a row that decides where groups begin. `each` if
    there is a group for each row, in the rows' order.
    """

    frame: TrackedFrame
    grouped: _Apply
    link: Link
    keys: tuple[str, ...]
    carried: tuple[pl.Expr, ...]
    predicates: tuple[Expression, ...] = ()
    anchor: Link | None = None
    each: bool = False

    def agg(self, *aggs: Any, **named_aggs: Any) -> TrackedFrame:
        """A row for each group."""
        items = self._read(aggs, named_aggs)
        made = [item.expr for item in items]
        columns = self._origins(items)
        every = self._rows(self.grouped(self.frame.plan).agg(*made, *self.carried), columns)
        if not self.predicates:
            return every
        predicates = [item.expr for item in self.predicates]
        having = self.grouped(self.frame.plan).having(*predicates).agg(*made, *self.carried)
        return every.cut("filter", f"having {' & '.join(map(str, predicates))}", self._rows(having, columns))

    def _rows(self, plan: pl.LazyFrame, behind: Mapping[str, Sequence[str]]) -> TrackedFrame:
        judged = [name for item in self.predicates for name in item.columns]
        if self.each and (by := self._key_names[:-1]):
            # Polars gives these groups in whatever order; within one, windows come in the order of its rows.
            plan = plan.sort(by, maintain_order=True)
        groups = self.frame._start(plan, self.link, behind, [*self.keys, *judged], anchor=self.anchor)
        if not self.each:
            return groups
        own = self.frame.ways.of(self.keys)
        found = groups.ways.columns.items()
        columns = {name: own if name in self._key_names else own | origins for name, origins in found}
        return side_by_side(self.frame._chosen([]), groups, columns)

    def _origins(self, items: Sequence[Expression]) -> dict[str, Sequence[str]]:
        """The columns of a group's rows that the columns of its result come from: a key or a bound from the keys."""
        made: dict[str, Sequence[str]] = dict.fromkeys(self._key_names, self.keys)
        for item in items:
            made |= dict.fromkeys(self._given(item.expr), item.columns)
        return made

    def having(self, *predicates: Any) -> TrackedGroupBy:
        """Only the groups for which the predicates hold."""
        if self.each:
            raise lost("rolling(…).having()", "aggregate, and filter the rows that come of it")
        return replace(self, predicates=(*self.predicates, *self._read(predicates, {})))

    def map_groups(self, function: Callable[[pl.DataFrame], pl.DataFrame], schema: Any) -> TrackedFrame:
        """Python code on each group; all rows of the group are behind each row that it returns."""
        self.frame.capture.declared("map_groups")
        if len(self.link.columns) > 1:
            raise lost("map_groups() of windows", "collect the values with agg(), and write the rest as expressions")
        (carried,), (column,) = self.carried, self.link.columns

        def with_link(group: pl.DataFrame) -> pl.DataFrame:
            found = group.select(carried).item()
            return function(group.select(self.frame.types.names())).with_columns(pl.lit(found, POSITION).alias(column))

        full = None if schema is None else {**schema, column: POSITION()}
        made = self.grouped(self.frame.plan).map_groups(with_link, schema=full)
        columns = dict.fromkeys(made.collect_schema(), self.frame.types.names())
        return self.frame._start(made, self.link, columns, self.frame.types, unique=False)

    def len(self, name: str | None = None) -> TrackedFrame:
        """How many rows each group has."""
        return self.agg(pl.len() if name is None else pl.len().alias(name))

    def all(self) -> TrackedFrame:
        """The values of each group as lists."""
        return self.agg(pl.all())

    def first(self, **how: Any) -> TrackedFrame:
        """The first row of each group."""
        return self.agg(pl.all().first(**how))

    def last(self, **how: Any) -> TrackedFrame:
        """The last row of each group."""
        return self.agg(pl.all().last(**how))

    def max(self) -> TrackedFrame:
        """The largest values of each group."""
        return self.agg(pl.all().max())

    def min(self) -> TrackedFrame:
        """The smallest values of each group."""
        return self.agg(pl.all().min())

    def sum(self) -> TrackedFrame:
        """The sums of each group."""
        return self.agg(pl.all().sum())

    def mean(self) -> TrackedFrame:
        """The means of each group."""
        return self.agg(pl.all().mean())

    def median(self) -> TrackedFrame:
        """The medians of each group."""
        return self.agg(pl.all().median())

    def n_unique(self) -> TrackedFrame:
        """How many different values each group has."""
        return self.agg(pl.all().n_unique())

    def quantile(self, quantile: Any, interpolation: Any = "nearest") -> TrackedFrame:
        """A quantile of the values of each group."""
        return self.agg(pl.all().quantile(quantile, interpolation))

    def head(self, n: int = 5) -> TrackedFrame:
        """The first rows of each group."""
        return self._some(pl.all().head(n))

    def tail(self, n: int = 5) -> TrackedFrame:
        """The last rows of each group."""
        return self._some(pl.all().tail(n))

    def _some(self, chosen: pl.Expr) -> TrackedFrame:
        lists = self.agg(chosen)
        return lists.explode(list(self._given(chosen)))

    @cached_property
    def _key_names(self) -> list[str]:
        """The columns that say which group a row of the result is."""
        return list(self.grouped(self.frame.empty).agg().collect_schema())

    def _given(self, expr: pl.Expr) -> list[str]:
        """The columns that an aggregation gives."""
        return list(self.grouped(self.frame.empty).agg(expr).collect_schema())[len(self._key_names) :]

    def _read(self, exprs: Sequence[Any], named: Mapping[str, Any]) -> list[Expression]:
        """The aggregations; a selector stands for the columns that are no keys, as in Polars."""
        if exprs and isinstance(exprs[0], dict):
            raise TypeError("agg takes expressions, not a dictionary; use keywords")
        others = self._given(pl.all())
        items = self.frame.read(exprs, named, without=[name for name in self.frame.types if name not in others])
        if any(item.is_opaque for item in items):
            self.frame.capture.declared("a user-defined function in an aggregation")
        return items


def groups(frame: TrackedFrame, by: Sequence[Any], named: Mapping[str, Any]) -> TrackedGroupBy:
    """Groups of equal keys: a group is known by the first of its rows."""
    items = frame.read(by, named)
    keys = [item.expr for item in items]
    keyed = frame.keyed(items).partitioned(keys)
    link = keyed.ways.links[-1]
    names = tuple(name for item in items for name in item.columns)
    carried = (pl.col(str(keyed.identity)).min().alias(link.columns[0]),)
    return TrackedGroupBy(keyed, lambda plan: plan.group_by(*keys, maintain_order=True), link, names, carried)


def dynamic(frame: TrackedFrame, index_column: Any, group_by: Any, how: Mapping[str, Any]) -> TrackedGroupBy:
    """Windows of time that begin at regular times: known by the first and the last of their rows."""
    return _windows(frame, "group_by_dynamic", index_column, group_by, how, each=False)


def rolling(frame: TrackedFrame, index_column: Any, group_by: Any, how: Mapping[str, Any]) -> TrackedGroupBy:
    """A window of time for each row, of rows of the same keys where there are some."""
    return _windows(frame, "rolling", index_column, group_by, how, each=True)


def _windows(
    frame: TrackedFrame, kind: str, index_column: Any, group_by: Any, how: Mapping[str, Any], *, each: bool
) -> TrackedGroupBy:
    items = [] if group_by is None else frame.read_apart((group_by,), f"{kind}()")
    index = frame.read_apart((index_column,), f"{kind}()")
    keys = [item.expr for item in items]
    names = tuple(name for item in (*index, *items) for name in item.columns)
    if keys:
        # The rows of a window then stand together, and windows come in this order.
        frame = frame._next(frame.plan.sort(keys, maintain_order=True))
    place, first, last = (frame.capture.column() for _ in range(3))
    stage = frame.capture.stage("window", frame.plan.select(*frame.linked), frame.ways)
    placed = frame._next(frame.plan.with_row_index(place))
    carried = [pl.col(place).min().alias(first), pl.col(place).max().alias(last)]
    anchor = None
    if not each and not _tiles(how):
        anchor = Link((frame.capture.column(), frame.capture.column()), stage)
        earliest = pl.col(place).min().over(keys) if keys else pl.col(place).min()
        placed = placed._next(placed.plan.with_columns(earliest.alias(column) for column in anchor.columns))
        carried += [pl.col(column).min() for column in anchor.columns]

    def grouped(plan: pl.LazyFrame) -> Any:
        return getattr(plan, kind)(*(item.expr for item in index), group_by=keys or None, **how)

    link = Link((first, last), stage)
    return TrackedGroupBy(placed, grouped, link, names, tuple(carried), anchor=anchor, each=each)


def _tiles(how: Mapping[str, Any]) -> bool:
    """Whether windows lie side by side at places that the clock decides: otherwise they begin with the first row."""
    on_the_clock = how.get("start_by", "window") == "window"
    return on_the_clock and how.get("period") in (None, how["every"]) and how.get("closed") != "both"


def mapped(
    frame: TrackedFrame, function: Callable[[pl.DataFrame], pl.DataFrame], how: Mapping[str, Any]
) -> TrackedFrame:
    """Python code on a whole frame, with rows mapped as its step declares."""
    rows = frame.capture.declared("map_batches")
    if rows == "1:1":
        return _row_by_row(frame, function, how)
    made = frame.visible.map_batches(function, **how)
    if rows == "all":
        return frame._reduced(made, dict.fromkeys(made.collect_schema(), frame.types.names()), frame.types)
    names = keys_of(rows)
    grouped = frame.partitioned([pl.col(name) for name in names])
    link = grouped.ways.links[-1]
    ids = grouped.plan.select(*names, *link.columns).unique(names, keep="first", maintain_order=True)
    joined = made.join(ids, on=names, how="left", maintain_order="left", nulls_equal=True)
    columns = dict.fromkeys(made.collect_schema(), frame.types.names())
    return frame._start(joined, link, columns, frame.types, unique=False)


def _row_by_row(
    frame: TrackedFrame, function: Callable[[pl.DataFrame], pl.DataFrame], how: Mapping[str, Any]
) -> TrackedFrame:
    hidden = frame.hidden

    def with_hidden(whole: pl.DataFrame) -> pl.DataFrame:
        made = function(whole.select(frame.types.names()))
        if made.height != whole.height:
            raise RowsLostError(f'rows="1:1" is not so: of {whole.height} rows map_batches made {made.height}')
        return made.hstack(whole.select(hidden))

    schema = how.get("schema") or frame.types
    plan = frame.plan.map_batches(with_hidden, **{**how, "schema": {**schema, **dict.fromkeys(hidden, POSITION())}})
    every: Origins = frame.ways.of(frame.types)
    return frame._next(plan, columns=dict.fromkeys(schema, every))


def looked_back(
    rows: TrackedFrame,
    events: pl.LazyFrame,
    at: str,
    aggregates: Mapping[str, History],
    compute: Callable[[pl.LazyFrame, pl.LazyFrame], pl.LazyFrame],
) -> TrackedFrame:
    """Aggregates over the past: which events counted for which row is worked out when somebody asks.

    What it takes is kept: what each row asked (its keys and its time), and what was known of the events, unless these
    are an input as it stands.
    """
    past, asking = rows.followed(events, "with_history"), rows.identified()
    assert asking.identity is not None
    plan = compute(asking.plan, past.visible)
    keys = list(dict.fromkeys(key for item in aggregates.values() for key in item.keys))
    needed = [(*item.keys, item.known_at, *filter(None, [item.value])) for item in aggregates.values()]
    known = list(dict.fromkeys(name for names in needed for name in names))
    described = {name: vars(item) for name, item in aggregates.items()}
    details = {"at": at, "events": past.untouched, "aggregates": described}
    asked = asking.plan.select(pl.col(asking.identity).alias(ASKED), *dict.fromkeys([*keys, at]))
    stage = rows.capture.stage("past", past.plan.select(*known, *past.linked), past.ways, details, asked)
    link = Link((asking.identity,), stage)
    columns = {name: rows.ways.of([*item.keys, at]) | {(link, name)} for name, item in aggregates.items()}
    return asking._next(plan, columns={**rows.ways.columns, **columns}, links=[link])
