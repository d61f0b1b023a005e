"""The tracked lazy frame: ordinary Polars, with every row knowing which rows of the inputs it came from.

A step's function is handed these. To it they are LazyFrames of the columns that it sees; the plan underneath also has
hidden columns (`lineage.rows.capture`), which each operation here carries on, and which cost a few per cent. An
operation that is not written here makes a frame that has lost its rows, and is refused where it is called.

Order is pinned on the way: joins and groups keep the order of rows, sorts are stable, and floats are added in the
order of rows, so that what a step computes is the same at any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import polars as pl
import polars.selectors as cs

from lineage.rows.capture import HIDDEN, lost
from lineage.rows.expressions import Expression
from lineage.rows.mixing import Height, height
from lineage.rows.tracking import Tracked

if TYPE_CHECKING:
    from lineage.rows.grouping import TrackedGroupBy


class TrackedFrame(Tracked):
    """A LazyFrame whose rows know where they came from (`Tracked` says how)."""

    # Columns

    def select(self, *exprs: Any, **named_exprs: Any) -> TrackedFrame:
        """Rows stay rows where an expression gives one value a row; otherwise all of them are behind each."""
        items = self.read(exprs, named_exprs)
        mixed, origins = self.mixed(items)
        heights = {item: self._height(item) for item in items}
        if "rows" not in heights.values() or "unknown" in heights.values():
            columns = {name: item.columns for item in items for name in self.gives(item)}
            uncounted = [name for item in items if heights[item] != "one" for name in item.columns]
            return self._reduced(self.visible.select(item.expr for item in items), columns, uncounted)
        plan = mixed.plan.select(*mixed.hidden, *(item.expr for item in items))
        return mixed._next(plan, columns=self._outputs(items, origins))

    def _height(self, item: Expression) -> Height:
        # Of Python code nobody knows but its author, who has said that it gives a value for each row.
        found = height(item)
        return "rows" if found == "unknown" and item.is_opaque and self.capture.rows not in (None, "all") else found

    def with_columns(self, *exprs: Any, **named_exprs: Any) -> TrackedFrame:
        """Rows stay rows; expressions that mix rows add what they mix."""
        items = self.read(exprs, named_exprs)
        mixed, origins = self.mixed(items)
        plan = mixed.plan.with_columns(item.expr for item in items)
        return mixed._next(plan, columns={**self.ways.columns, **self._outputs(items, origins)})

    select_seq = select
    with_columns_seq = with_columns

    def drop(self, *columns: Any, strict: bool = True) -> TrackedFrame:
        """Fewer columns."""
        return self._chosen(self.empty.drop(*columns, strict=strict).collect_schema())

    def rename(self, mapping: Any, *, strict: bool = True) -> TrackedFrame:
        """The same columns under other names."""
        after = self.empty.rename(mapping, strict=strict).collect_schema()
        names = dict(zip(self.types, after, strict=True))
        columns = {new: self.ways.of([old]) for old, new in names.items()}
        return self._next(self.plan.rename({old: new for old, new in names.items() if old != new}), columns=columns)

    def cast(self, dtypes: Any, *, strict: bool = True) -> TrackedFrame:
        """The same columns as other types."""
        after = self.empty.cast(dtypes, strict=strict).collect_schema()
        changed = [pl.col(name).cast(kind, strict=strict) for name, kind in after.items() if kind != self.types[name]]
        return self._next(self.plan.with_columns(changed))

    def fill_nan(self, value: Any) -> TrackedFrame:
        """NaN replaced in the columns of floats."""
        return self.with_columns(pl.col(name).fill_nan(value) for name in self.named(cs.float()))

    def interpolate(self) -> TrackedFrame:
        """Gaps filled from the rows around them."""
        return self.with_columns(pl.col(name).interpolate() for name in self.types)

    def shift(self, n: Any = 1, *, fill_value: Any = None) -> TrackedFrame:
        """Values moved down by `n` rows."""
        return self.with_columns(pl.col(name).shift(n, fill_value=fill_value) for name in self.types)

    def unnest(self, columns: Any = None, *more_columns: Any, separator: str | None = None) -> TrackedFrame:
        """The fields of structs as columns."""
        opened = self.named(cs.struct() if columns is None else columns, *more_columns)
        plan = self.plan.unnest(opened, separator=separator)
        inside = self.ways.of(opened)
        kept = {name: origins for name, origins in self.ways.columns.items() if name not in opened}
        names = [name for name in plan.collect_schema() if not name.startswith(HIDDEN)]
        return self._next(plan, columns={name: kept.get(name, inside) for name in names})

    def set_sorted(self, column: Any, *more_columns: Any, **how: Any) -> TrackedFrame:
        """What the author says of the order of rows."""
        return self._next(self.plan.set_sorted(column, *more_columns, **how))

    def match_to_schema(self, schema: Any, **how: Any) -> TrackedFrame:
        """The columns of `schema`, where each is there and needs no filling."""
        after = self.empty.match_to_schema(schema, **how).collect_schema()
        if missing := [name for name in after if name not in self.types]:
            raise lost(f"match_to_schema that inserts {missing[0]!r}", "add it with with_columns")
        return self.select(pl.col(name).cast(kind) for name, kind in after.items())

    def with_row_index(self, name: str = "index", offset: int = 0) -> TrackedFrame:
        """The number of each row, which all rows have a part in."""
        number = (pl.int_range(pl.len()) + offset).cast(pl.get_index_type())
        return self.with_columns(number.alias(name))._chosen([name, *self.types])

    # Rows

    def filter(self, *predicates: Any, **constraints: Any) -> TrackedFrame:
        """The rows for which all predicates hold."""
        return self._filtered(predicates, constraints, invert=False)

    def remove(self, *predicates: Any, **constraints: Any) -> TrackedFrame:
        """The rows for which the predicates do not hold."""
        return self._filtered(predicates, constraints, invert=True)

    def drop_nulls(self, subset: Any = None) -> TrackedFrame:
        """The rows without null in the columns of `subset`, or in any."""
        names = self.named(pl.all() if subset is None else subset)
        return self.filter(pl.col(name).is_not_null() for name in names) if names else self

    def drop_nans(self, subset: Any = None) -> TrackedFrame:
        """The rows without NaN in the columns of `subset`, or in any of floats."""
        names = self.named(cs.float() if subset is None else subset)
        return self.filter(pl.col(name).is_not_nan() | pl.col(name).is_null() for name in names) if names else self

    def sort(self, by: Any, *more_by: Any, **how: Any) -> TrackedFrame:
        """The rows in another order; equal ones in the order that they had."""
        items = self.read((by, *more_by))
        mixed, origins = self.mixed(items)
        plan = mixed.plan.sort([item.expr for item in items], **{**how, "maintain_order": True})
        return mixed._next(plan, rows=(origin for found in origins for origin in found))

    def top_k(self, k: int, *, by: Any, reverse: Any = False) -> TrackedFrame:
        """The `k` largest rows; of equal ones the first."""
        return self._extreme(k, by, reverse, largest=True)

    def bottom_k(self, k: int, *, by: Any, reverse: Any = False) -> TrackedFrame:
        """The `k` smallest rows; of equal ones the first."""
        return self._extreme(k, by, reverse, largest=False)

    def _extreme(self, k: int, by: Any, reverse: Any, *, largest: bool) -> TrackedFrame:
        exprs = [item.expr for item in self.read((by,))]
        flags = list(reverse) if isinstance(reverse, Sequence) else [reverse] * len(exprs)
        return self.sort(exprs, descending=[flag != largest for flag in flags], nulls_last=True).slice(0, k)

    def reverse(self) -> TrackedFrame:
        """The rows from last to first."""
        return self._next(self.plan.reverse())

    def slice(self, offset: int, length: int | None = None) -> TrackedFrame:
        """Some rows by their number."""
        return self.cut("slice", f"slice({offset}, {length})", self._next(self.plan.slice(offset, length)))

    def tail(self, n: int = 5) -> TrackedFrame:
        """The last rows."""
        return self.cut("slice", f"tail({n})", self._next(self.plan.tail(n)))

    def gather_every(self, n: int, offset: int = 0) -> TrackedFrame:
        """Every n-th row."""
        return self.cut("slice", f"gather_every({n}, {offset})", self._next(self.plan.gather_every(n, offset)))

    def gather(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: rows that are chosen by numbers from elsewhere."""
        raise lost("gather()", "give the rows a key, and join on it")

    def unique(self, subset: Any = None, *, keep: Any = "any", **how: Any) -> TrackedFrame:
        """One row of those that are equal in `subset`; all of them are behind it."""
        items = self.read((pl.all() if subset is None else subset,))
        keys, names = [item.expr for item in items], [name for item in items for name in item.columns]
        grouped = self.keyed(items).partitioned(keys)
        how |= {"keep": "first" if keep == "any" else keep, "maintain_order": True}
        kept = grouped.plan.unique(keys, **how)
        # What the row itself carried is in its group.
        own = {name: [name] for name in self.types}
        after = self._start(kept, grouped.ways.links[-1], own, names)
        if keep != "none":
            return after
        return self.cut("dedup", f"unique({', '.join(map(str, keys))}, keep={keep!r})", after)

    def explode(self, columns: Any, *more_columns: Any, **how: Any) -> TrackedFrame:
        """A row for each value of lists."""
        names = self.named(columns, *more_columns)
        after = self._next(self.plan.explode(names, **how), rows=self.ways.of(names), keeps_rows=False)
        # A list without values may give no row.
        return self.cut("filter", f"explode({', '.join(names)})", after)

    def unpivot(
        self, on: Any = None, *, index: Any = None, variable_name: Any = None, value_name: Any = None
    ) -> TrackedFrame:
        """A row for each column of `on`, column after column."""
        from lineage.rows.joining import concat

        kept = [] if index is None else self.named(index)
        names = [name for name in self.types if name not in kept] if on is None else self.named(on)
        options = {"index": index, "variable_name": variable_name, "value_name": value_name}
        *_, (variable, _), (value, kind) = self.empty.unpivot(on, **options).collect_schema().items()
        # Polars' own gives rows in an order that depends on how it takes them up.
        parts = [
            self.select(*kept, pl.lit(name).alias(variable), pl.col(name).cast(kind).alias(value)) for name in names
        ]
        made: TrackedFrame = concat(parts) if parts else self._next(self.plan.unpivot([], index=[*kept, *self.hidden]))
        return made

    def pivot(self, on: Any, on_columns: Any, *, index: Any = None, values: Any = None, **how: Any) -> TrackedFrame:
        """A row for each group of `index`, a column for each value of `on`."""
        crosswise = self.named(on)
        rest = [name for name in self.types if name not in crosswise]
        picked = None if values is None else self.named(values)
        by = [name for name in rest if name not in (picked or [])] if index is None else self.named(index)
        taken = [name for name in rest if name not in by] if picked is None else picked
        self._require_pinned(how.get("aggregate_function"), taken)
        grouped = self.partitioned([pl.col(name) for name in by])
        link = grouped.ways.links[-1]
        how |= {"maintain_order": True}
        plan = grouped.plan.pivot(crosswise, on_columns, index=[*by, *link.columns], values=taken, **how)
        made = [name for name in plan.collect_schema() if name not in by]
        columns = {name: [name] for name in by} | {name: [*crosswise, *taken] for name in made}
        return self._start(plan, link, columns, by)

    def _require_pinned(self, aggregate: Any, values: Sequence[str]) -> None:
        adds = isinstance(aggregate, pl.Expr) or aggregate in ("sum", "mean")
        if adds and not all(self.types[name].is_integer() for name in values):
            raise lost(
                "pivot() that adds what are no whole numbers",
                "aggregate with group_by and filter() instead, which adds in the order of rows",
            )

    # Frames together

    def join(self, other: pl.LazyFrame, on: Any = None, how: Any = "inner", **options: Any) -> TrackedFrame:
        """Rows of both frames side by side; each row has come from a row of either."""
        from lineage.rows.joining import join

        return join(self, other, on, how, options)

    def join_asof(self, other: pl.LazyFrame, **options: Any) -> TrackedFrame:
        """Each row with the nearest of the other frame."""
        from lineage.rows.joining import join_asof

        return join_asof(self, other, options)

    def join_where(self, other: pl.LazyFrame, *predicates: Any, **options: Any) -> TrackedFrame:
        """All pairs of rows for which the predicates hold."""
        from lineage.rows.joining import join_where

        return join_where(self, other, predicates, options)

    def merge_sorted(self, other: pl.LazyFrame, key: Any, **how: Any) -> TrackedFrame:
        """Two sorted frames as one; of equal rows those of this frame first."""
        from lineage.rows.joining import merge_sorted

        return merge_sorted(self, other, key, how)

    def update(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: it may match rows by their number."""
        raise lost("update()", "join the other frame on a key and coalesce the columns")

    # Groups

    def group_by(self, *by: Any, **named_by: Any) -> TrackedGroupBy:  # type: ignore[override]
        """Groups of rows, in the order in which the first of each comes; all rows of a group are behind it."""
        from lineage.rows.grouping import groups

        named_by.pop("maintain_order", None)
        return groups(self, by, named_by)

    def group_by_dynamic(self, index_column: Any, *, group_by: Any = None, **how: Any) -> TrackedGroupBy:  # type: ignore[override]
        """Windows of time as groups."""
        from lineage.rows.grouping import dynamic

        return dynamic(self, index_column, group_by, how)

    def rolling(self, index_column: Any, *, group_by: Any = None, **how: Any) -> TrackedGroupBy:  # type: ignore[override]
        """A window of time for each row."""
        from lineage.rows.grouping import rolling

        return rolling(self, index_column, group_by, how)

    def map_batches(self, function: Callable[[pl.DataFrame], pl.DataFrame], **how: Any) -> TrackedFrame:
        """Python code on the whole frame, as its step declares with rows=."""
        from lineage.rows.grouping import mapped

        return mapped(self, function, how)

    # One row of the whole frame

    def count(self) -> TrackedFrame:
        """How many values each column has."""
        return self.select(pl.all().count())

    def null_count(self) -> TrackedFrame:
        """How many values each column lacks."""
        return self.select(pl.all().null_count())

    def max(self) -> TrackedFrame:
        """The largest value of each column."""
        return self.select(pl.all().max())

    def min(self) -> TrackedFrame:
        """The smallest value of each column."""
        return self.select(pl.all().min())

    def sum(self) -> TrackedFrame:
        """The sum of each column."""
        return self._numbers(lambda column: column.sum())

    def mean(self) -> TrackedFrame:
        """The mean of each column."""
        return self._numbers(lambda column: column.mean())

    def median(self) -> TrackedFrame:
        """The median of each column."""
        return self._numbers(lambda column: column.median())

    def std(self, ddof: int = 1) -> TrackedFrame:
        """The standard deviation of each column."""
        return self._numbers(lambda column: column.std(ddof))

    def var(self, ddof: int = 1) -> TrackedFrame:
        """The variance of each column."""
        return self._numbers(lambda column: column.var(ddof))

    def quantile(self, quantile: Any, interpolation: Any = "nearest") -> TrackedFrame:
        """A quantile of each column."""
        return self._numbers(lambda column: column.quantile(quantile, interpolation))

    def _numbers(self, reduced: Callable[[pl.Expr], pl.Expr]) -> TrackedFrame:
        """What Polars' reductions of frames do: null where a column has no such reduction."""
        return self.select(
            reduced(pl.col(name)) if _works(reduced, kind) else pl.lit(None, dtype=kind).alias(name)
            for name, kind in self.types.items()
        )

    # The frame itself

    def pipe_with_schema(self, function: Callable[[Any, pl.Schema], Any]) -> Any:
        """What `function` makes of the frame and its schema."""
        return function(self, self.collect_schema())

    def clone(self) -> TrackedFrame:
        """The frame itself: nothing changes it."""
        return self

    cache = __copy__ = clone

    def __deepcopy__(self, memo: Any = None) -> TrackedFrame:
        return self


def _works(reduced: Callable[[pl.Expr], pl.Expr], kind: pl.DataType) -> bool:
    try:
        pl.DataFrame(schema={"x": kind}).select(reduced(pl.col("x")))
    except pl.exceptions.PolarsError:
        return False
    return True
