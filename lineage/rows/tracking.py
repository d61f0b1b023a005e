"""What a tracked frame (`lineage.frame`) is made of: a plan with hidden columns, and what every operation needs."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from types import FrameType
from typing import Any, NoReturn, Self, TypeVar

import polars as pl

from lineage.errors import RowsLostError
from lineage.rows import expressions as ex
from lineage.rows.capture import GROUP, HIDDEN, POSITION, Capture, Cut, How, Link, Origin, Origins, Ways, lost
from lineage.rows.constants import Constant
from lineage.rows.expressions import Expression, Node
from lineage.rows.mixing import WHOLE, Mixing, Taken, mixings, partition
from lineage.rows.pinning import is_random, pinned

# What would take data out of a frame in the middle of a step, or past what is followed.
EXITS = frozenset(
    {
        *("collect", "collect_async", "collect_batches", "describe", "execute", "inspect", "profile", "remote", "show"),
        *("sink_batches", "sink_csv", "sink_delta", "sink_iceberg", "sink_ipc", "sink_ndjson", "sink_parquet"),
        *("serialize", "sql", "_collect_eager"),
    }
)


class Tracked(pl.LazyFrame):
    """A frame to Polars, of the columns that its author sees; `plan` is what is computed, `ways` where rows come from.

    `plan` has the columns of the links beside the visible ones. `identity` is a hidden column that is different in each
    row, if there is one. `untouched` is the input that this frame is, as long as nothing was done to it.
    """

    def __init__(
        self,
        capture: Capture,
        plan: pl.LazyFrame,
        ways: Ways,
        identity: str | None = None,
        *,
        untouched: str | None = None,
    ) -> None:
        self.capture, self.plan, self.ways, self.identity, self.untouched = capture, plan, ways, identity, untouched

    @classmethod
    def of_input(cls, capture: Capture, name: str, scan: pl.LazyFrame, column: str) -> Self:
        """The frame of an input: `scan` has the positions of its rows in `column`."""
        link = Link((column,), name)
        columns = {seen: frozenset({(link, seen)}) for seen in scan.collect_schema() if seen != column}
        ways = Ways((link,), columns, frozenset({(link, None)}))
        return cls(capture, scan, ways, column, untouched=name)

    @classmethod
    def _from_pyldf(cls, _: Any) -> NoReturn:
        # Where Polars' own methods end that no tracked frame overrides.
        raise lost(f"{_operation()}()", "docs/tracing.md lists the operations that are followed")

    def __getattribute__(self, name: str) -> Any:
        if name in EXITS:
            raise lost(f"{name}() in the middle of a step", "go on with the lazy frame and return it")
        return super().__getattribute__(name)

    @property
    def _ldf(self) -> Any:  # type: ignore[override]
        # Polars takes it from a frame that is joined to another, which then would not know of these rows. The caller is
        # behind __getattribute__.
        if sys._getframe(2).f_locals.get("self") is not self:
            raise lost(
                f"{_operation()}() is given a tracked frame",
                "let the tracked frame come first, as in tracked.join(…); of Polars' functions on frames only "
                "pl.concat is followed, under this name",
            )
        return self.visible._ldf

    # What the frame looks like

    @cached_property
    def types(self) -> pl.Schema:
        """The visible columns and their types."""
        found = self.plan.collect_schema()
        return pl.Schema({name: kind for name, kind in found.items() if not name.startswith(HIDDEN)})

    @cached_property
    def visible(self) -> pl.LazyFrame:
        """The frame without its hidden columns, as ordinary Polars."""
        return self.plan.select(*self.types)

    @cached_property
    def empty(self) -> pl.LazyFrame:
        """A frame of the same columns without rows: what expressions would give is quickly found out on it."""
        return pl.LazyFrame(schema=self.types)

    @property
    def result(self) -> pl.LazyFrame:
        """The visible columns and those of the links: what is written."""
        return self.plan.select(*self.types, *self.linked)

    @property
    def linked(self) -> list[str]:
        """The columns of the links alone."""
        return list(dict.fromkeys(column for link in self.ways.links for column in link.columns))

    @property
    def hidden(self) -> list[str]:
        """The hidden columns that are carried on."""
        return list(dict.fromkeys([*self.linked, *([self.identity] if self.identity else [])]))

    def finished(self) -> Self:
        """The frame without links that nothing in it needs: what a step returns."""
        return type(self)(self.capture, self.plan, self.ways.only())

    # What expressions say of it

    def read(
        self, exprs: Iterable[Any], named: Mapping[str, Any] | None = None, *, without: Iterable[str] = ()
    ) -> list[Expression]:
        """Expressions one for each column that they give, with their additions in the order of rows and none by chance.

        Selectors stand for no column of `without`.
        """
        fewer = self.empty.drop(without)
        return [found for expr in ex.listed(exprs, named or {}) for found in self._read(expr, fewer)]

    def read_apart(self, exprs: Iterable[Any], operation: str) -> list[Expression]:
        """Expressions that leave rows apart, by which an operation brings rows together; refused otherwise."""
        items = self.read(exprs)
        if any(map(self._taken, items)):
            raise lost(f"{operation} by what mixes rows", "make it a column with with_columns first")
        return items

    def _read(self, expr: pl.Expr, fewer: pl.LazyFrame) -> Iterable[Expression]:
        def names(given: pl.Expr) -> list[str]:
            try:
                return list(fewer.select(given).collect_schema())
            except pl.exceptions.ColumnNotFoundError:
                return list(self.empty.select(given).collect_schema())

        for node in ex.apart(expr, names):
            if is_random(node):
                raise RowsLostError(f"{expr} draws by chance, which cannot be replayed; give it a seed")
            try:
                kept = pinned(node, self._type_of)
            except ValueError as error:
                raise RowsLostError(f"{expr}: {error}") from error
            yield ex.made(kept, expr)

    def _type_of(self, node: Node) -> pl.DataType | None:
        try:
            return next(iter(self.empty.select(ex.expression(node)).collect_schema().values()), None)
        except pl.exceptions.PolarsError:
            return None

    def named(self, *columns: Any) -> list[str]:
        """The names of columns that are chosen by name, type or otherwise."""
        return list(self.empty.select(*columns).collect_schema())

    def gives(self, item: Expression) -> list[str]:
        """The names of the columns that an expression gives."""
        return list(self.empty.select(item.expr).collect_schema())

    # Links

    def mixed(self, items: Sequence[Expression]) -> tuple[Self, list[Origins]]:
        """The frame with links to the rows that expressions bring together, and where the values of each come from."""
        frame, found = self, []
        links: dict[Mixing, Link] = {}
        for item in items:
            origins = set(self.ways.of(item.columns))
            for mixing, columns in self._taken(item):
                if mixing not in links:
                    frame = frame._mixing(mixing)
                    links[mixing] = frame.ways.links[-1]
                origins |= {(links[mixing], name) for name in (*columns, *mixing.key_columns, None)}
            found.append(frozenset(origins))
        return frame, found

    def keyed(self, items: Sequence[Expression]) -> Self:
        """The frame before its rows are brought together by keys: what keys mix is behind the rows themselves."""
        mixing = [item for item in items if self._taken(item)]
        if not mixing:
            return self
        mixed, origins = self.mixed(mixing)
        return mixed._next(mixed.plan, rows=frozenset[Origin]().union(*origins))

    def _taken(self, item: Expression) -> list[Taken]:
        wanted = mixings(item)
        if item.is_opaque and (declared := self._declared()):
            wanted.append((declared, tuple(item.columns)))
        # The whole frame has all that its parts have.
        if WHOLE in dict(wanted):
            names = [name for mixing, taken in wanted for name in (*taken, *mixing.key_columns)]
            return [(WHOLE, tuple(dict.fromkeys(names)))]
        return wanted

    def _declared(self) -> Mixing | None:
        """Which rows the step says that its Python code brings together."""
        rows = self.capture.declared("a user-defined function")
        if rows in ("1:1", "all"):
            return WHOLE if rows == "all" else None
        if unknown := [name for name in keys_of(rows) if name not in self.types]:
            raise RowsLostError(
                f"its rows={rows!r} names column {unknown[0]!r}, which the frame lacks where Python code runs over it; "
                f"it has {', '.join(self.types)}"
            )
        return partition(keys_of(rows))

    def _mixing(self, mixing: Mixing) -> Self:
        if mixing.kind == "window":
            return self._windowed(mixing)
        return self.partitioned(mixing.partition_by)

    def partitioned(self, keys: Sequence[pl.Expr]) -> Self:
        """With a last link from each row to all rows that are equal in `keys`; a group is known by its first row."""
        column = self.capture.column()
        if not keys:
            return self._together(column)
        frame = self.identified()
        assert frame.identity is not None
        plan = frame.plan.with_columns(pl.col(frame.identity).min().over(keys).alias(column))
        stage = self.capture.stage("group", plan.select(pl.col(column).alias(GROUP), *self.linked), self.ways)
        return frame._next(plan, links=[Link((column,), stage)])

    def _together(self, column: str) -> Self:
        nothing = pl.lit(0, dtype=POSITION)
        stage = self.capture.stage("group", self.plan.select(nothing.alias(GROUP), *self.linked), self.ways)
        return self._next(self.plan.with_columns(nothing.alias(column)), links=[Link((column,), stage)])

    def _windowed(self, mixing: Mixing) -> Self:
        """With a link from each row to the rows of its window of time."""
        order = mixing.ordered_by
        place, first, last = (self.capture.column() for _ in range(3))
        if order is None:
            plan, members = self.plan.with_row_index(place), self.plan
        else:
            plan = self.plan.with_columns((order.rank("ordinal") - 1).cast(POSITION).alias(place))
            # Rows without a time have no rank, and are in no window.
            members = self.plan.sort(order, maintain_order=True, nulls_last=True)
        stage = self.capture.stage("window", members.select(*self.linked), self.ways)
        bounds = (mixing.extreme(place, "Min").alias(first), mixing.extreme(place, "Max").alias(last))
        return self._next(plan.with_columns(*bounds).drop(place), links=[Link((first, last), stage)])

    def identified(self) -> Self:
        """With an identity: a hidden column that no two rows share."""
        if self.identity is not None:
            return self
        column = self.capture.column()
        return type(self)(self.capture, self.plan.with_row_index(column), self.ways, column)

    def cut(self, how: How, text: str, after: _Frame) -> _Frame:
        """Note that rows of this frame may lack in `after`; returns `after`."""
        self.capture.cuts.append(Cut(how, text, self.plan, after.plan, self.ways.links))
        return after

    # Other frames

    def followed(self, other: Any, operation: str) -> Self:
        """`other`, if it is a tracked frame of the same call; refused otherwise."""
        if isinstance(other, type(self)) and other.capture is self.capture:
            return other
        if isinstance(other, Constant):
            nowhere = Ways((), dict.fromkeys(other.collect_schema(), frozenset()), frozenset())
            return type(self)(self.capture, pl.LazyFrame._from_pyldf(other._ldf), nowhere)
        raise RowsLostError(
            f"{operation} with a frame that is none of the step's inputs: its rows come from nowhere; make it an "
            "input, or write what is part of the code as lineage.constant({…})"
        )

    def apart_from(self, left: Tracked) -> Self:
        """The frame with no hidden column that `left` has as well."""
        names = {column: self.capture.column() for column in self.hidden if column in left.hidden}
        if not names:
            return self

        ways = self.ways.with_links({link: link.renamed(names) for link in self.ways.links})
        return type(self)(self.capture, self.plan.rename(names), ways, names.get(self.identity or "", self.identity))

    def fresh(self, link: Link) -> Link:
        """The link with columns of its own."""
        return link.renamed({column: self.capture.column() for column in link.columns})

    # The frame after an operation

    def _next(
        self,
        plan: pl.LazyFrame,
        *,
        columns: Mapping[str, Origins] | None = None,
        rows: Iterable[Origin] = (),
        links: Iterable[Link] = (),
        keeps_rows: bool = True,
    ) -> Self:
        """The frame after an operation: `columns` says where values come from if not from where they did, `rows` what
        else decided which rows are there, `links` which are new; `keeps_rows` unless one row can have become two."""
        ways = Ways(
            tuple(dict.fromkeys([*self.ways.links, *links])),
            self.ways.columns if columns is None else columns,
            self.ways.rows.union(rows),
        )
        return type(self)(self.capture, plan, ways, self.identity if keeps_rows else None)

    def _start(
        self,
        plan: pl.LazyFrame,
        link: Link,
        columns: Mapping[str, Iterable[str]],
        keys: Iterable[str],
        *,
        unique: bool = True,
        anchor: Link | None = None,
    ) -> Self:
        """A frame of groups: each of its `columns` comes from those columns of the group's rows, and that a group is
        there from `keys`, also of the rows of `anchor`. `unique` if it has one row for each group."""
        kept = [name for name in plan.collect_schema() if not name.startswith(HIDDEN)]
        links = (link, anchor) if anchor else (link,)
        origins = {name: frozenset({(link, column) for column in (*columns.get(name, ()), None)}) for name in kept}
        rows = frozenset((each, column) for each in links for column in (*keys, None))
        hidden = [column for each in links for column in each.columns]
        return type(self)(
            self.capture, plan.select(*kept, *hidden), Ways(links, origins, rows), hidden[0] if unique else None
        )

    def _chosen(self, after: Iterable[str]) -> Self:
        columns = {name: self.ways.of([name]) for name in after}
        return self._next(self.plan.select(*columns, *self.hidden), columns=columns)

    def _reduced(self, after: pl.LazyFrame, columns: Mapping[str, Iterable[str]], rows: Iterable[str]) -> Self:
        """`after`, made of the visible columns: all rows of the frame are behind each of its rows, which is there
        because of their columns `rows`; each of its `columns` comes from those columns of them."""
        link = self.partitioned([]).ways.links[-1]
        plan = after.with_columns(pl.lit(0, dtype=POSITION).alias(link.columns[0]))
        return self._start(plan, link, columns, rows, unique=False)

    def _filtered(self, predicates: Sequence[Any], constraints: Mapping[str, Any], *, invert: bool) -> Self:
        if any(_is_mask(item) for item in predicates):
            raise lost("a filter by a list of True and False", "make it a column of an input")
        flat = ex.listed(predicates, {})
        flat += [pl.col(name) == value for name, value in constraints.items()]
        items = self.read(flat)
        mixed, origins = self.mixed(items)
        exprs = [item.expr for item in items]
        plan = mixed.plan.remove(*exprs) if invert else mixed.plan.filter(*exprs)
        text = " & ".join(map(str, flat))
        after = mixed._next(plan, rows=frozenset[Origin]().union(*origins))
        return mixed.cut("filter", f"not ({text})" if invert else text, after)

    def _outputs(self, items: Sequence[Expression], origins: Sequence[Origins]) -> dict[str, Origins]:
        """Where the values of the columns that expressions give come from."""
        return {name: origin for item, origin in zip(items, origins, strict=True) for name in self.gives(item)}


_Frame = TypeVar("_Frame", bound=Tracked)


def _operation() -> str:
    """What of Polars an author called: the outermost of its functions on the stack, but for decorators."""
    found, frame = "Polars", inspect.currentframe()
    while frame and (found == "Polars" or _is_polars(frame)):
        name = frame.f_code.co_name
        if _is_polars(frame) and name.isidentifier() and name != "wrapper":
            found = type(frame.f_locals.get("self")).__name__ if name == "__init__" else name
        frame = frame.f_back
    return found


def _is_polars(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith("polars.")


def _is_mask(item: Any) -> bool:
    if isinstance(item, pl.Series):
        return True
    return isinstance(item, Sequence) and not isinstance(item, str) and any(isinstance(value, bool) for value in item)


def keys_of(rows: str) -> list[str]:
    """The columns of `rows="group:<columns>"`."""
    return [name.strip() for name in rows.removeprefix("group:").split(",")]
