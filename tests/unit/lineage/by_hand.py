"""Provenance by hand: every operation twice, as Polars and as loops over rows whose every value carries a set of ids.

The loops are what a tracked frame is compared with. They share no code with it, and say what the sets mean:

- a value comes from the values that it was computed from; each row also has why it is there at all;
- a group, a window or a partition of `over` is there because of all its rows, and of their keys;
- what mixes rows otherwise takes the whole frame; a filter or a slice keeps just the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

from lineage import constant
from lineage.frame import TrackedFrame
from lineage.history import history, with_history

Ids = frozenset[tuple[str, int]]
NONE: Ids = frozenset()


class Cell(NamedTuple):
    """A value, and the rows of inputs that it came from."""

    value: Any
    ids: Ids = NONE


@dataclass(eq=False)
class Row:
    """Cells by column, and why the row is there."""

    cells: dict[str, Cell]
    why: Ids

    def __getitem__(self, name: str) -> Any:
        return self.cells[name].value

    def ids(self, *names: str) -> Ids:
        """Where the values of these columns came from."""
        return union(self.cells[name].ids for name in names)

    def having(self, why: Ids = NONE, **cells: Cell) -> Row:
        """The row with other cells, and more reasons."""
        return Row({**self.cells, **cells}, self.why | why)

    def only(self, names: Iterable[str]) -> Row:
        """The row with just these columns."""
        return Row({name: self.cells[name] for name in names}, self.why)


@dataclass
class Table:
    """Rows in their order, and the names of their columns."""

    names: list[str]
    rows: list[Row]

    def having(self, rows: Iterable[Row]) -> Table:
        """The same columns of other rows."""
        return Table(self.names, list(rows))

    def adding(self, name: str, cells: Iterable[Cell]) -> Table:
        """With a column, in the place of one of its name."""
        rows = [row.having(**{name: cell}) for row, cell in zip(self.rows, cells, strict=True)]
        return Table([*self.names, *([] if name in self.names else [name])], rows)

    @property
    def behind(self) -> list[Ids]:
        """All that is behind each row."""
        return [row.why | row.ids(*self.names) for row in self.rows]

    def behind_column(self, name: str) -> list[Ids]:
        """What is behind each row's being there and its value of a column."""
        return [row.why | row.ids(name) for row in self.rows]

    @property
    def values(self) -> list[tuple[Any, ...]]:
        """The values of each row."""
        return [tuple(row[name] for name in self.names) for row in self.rows]


Tables = Mapping[str, Table]
Plans = Mapping[str, pl.LazyFrame]


def union(sets: Iterable[Ids]) -> Ids:
    """All ids of some sets."""
    return frozenset().union(*sets)


def read(name: str, frame: pl.DataFrame, kept: Iterable[int] | None = None) -> Table:
    """An input, or some of its rows: row n comes from itself."""
    rows = []
    for place in range(len(frame)) if kept is None else sorted(kept):
        ids = frozenset({(name, place)})
        rows.append(Row({column: Cell(value, ids) for column, value in frame.row(place, named=True).items()}, ids))
    return Table(frame.columns, rows)


def of_all(rows: Iterable[Row], *names: str) -> Ids:
    """Where these columns of all rows came from, and that they are there."""
    return union(row.why | row.ids(*names) for row in rows)


def groups(rows: Iterable[Row], keys: Sequence[str]) -> list[list[Row]]:
    """Rows by their keys, in the order of the first of each."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return list(found.values())


def present(rows: Iterable[Row], name: str) -> list[Any]:
    """The values that are not null."""
    return [row[name] for row in rows if row[name] is not None]


# What an aggregation gives, as Polars and of the rows of a group; `b` is a second column.
REDUCTIONS: dict[str, tuple[Callable[[str, str], pl.Expr], Callable[[list[Row], str, str], Any]]] = {
    "sum": (lambda a, b: pl.col(a).sum(), lambda rows, a, b: sum(present(rows, a))),
    "min": (lambda a, b: pl.col(a).min(), lambda rows, a, b: min(present(rows, a), default=None)),
    "max": (lambda a, b: pl.col(a).max(), lambda rows, a, b: max(present(rows, a), default=None)),
    "first": (lambda a, b: pl.col(a).first(), lambda rows, a, b: rows[0][a] if rows else None),
    "last": (lambda a, b: pl.col(a).last(), lambda rows, a, b: rows[-1][a] if rows else None),
    "count": (lambda a, b: pl.col(a).count().cast(pl.Int64), lambda rows, a, b: len(present(rows, a))),
    "n_unique": (
        lambda a, b: pl.col(a).n_unique().cast(pl.Int64),
        lambda rows, a, b: len({row[a] for row in rows}),
    ),
    "where": (
        lambda a, b: pl.col(a).filter(pl.col(b) > 1).sum(),
        lambda rows, a, b: sum(present((row for row in rows if row[b] is not None and row[b] > 1), a)),
    ),
}


class Made(NamedTuple):
    """An aggregation: which, and of what columns."""

    how: str
    a: str
    b: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it looks at."""
        return (self.a, self.b) if self.how == "where" else (self.a,)

    @property
    def expr(self) -> pl.Expr:
        """As Polars."""
        return REDUCTIONS[self.how][0](self.a, self.b)

    def of(self, rows: list[Row]) -> Any:
        """By hand."""
        return REDUCTIONS[self.how][1](rows, self.a, self.b)


class Operation:
    """One step of a pipeline."""

    # Whether the rows behind a row make it again without the others: rows by number do not.
    stands_alone = True
    # Whether a row that goes lets no other one in and changes none, which could then come among those of a group.
    is_monotone = False
    # Whether each row that goes in has a part in one row that comes out.
    is_nested = False

    def polars(self, frame: Any, others: Plans) -> Any:
        """As ordinary Polars."""
        raise NotImplementedError

    def by_hand(self, table: Table, others: Tables) -> Table:
        """As loops over rows."""
        raise NotImplementedError


@dataclass
class Compute(Operation):
    """A new column of the row itself, beside the others or with one of them alone."""

    name: str
    a: str
    b: str
    alone: bool

    is_monotone = True

    def polars(self, frame, others):
        made = (pl.col(self.a) + pl.col(self.b).fill_null(1) * 2).alias(self.name)
        return frame.select(pl.col(self.a), made) if self.alone else frame.with_columns(made)

    def by_hand(self, table, others):
        def made(row):
            right = 2 * (1 if row[self.b] is None else row[self.b])
            return Cell(None if row[self.a] is None else row[self.a] + right, row.ids(self.a, self.b))

        found = table.adding(self.name, map(made, table.rows))
        names = [self.a, self.name]
        return Table(names, [row.only(names) for row in found.rows]) if self.alone else found


@dataclass
class Spread(Operation):
    """A reduction of all rows, or of those of the same keys, beside each row."""

    name: str
    made: Made
    keys: tuple[str, ...]

    def polars(self, frame, others):
        expr = self.made.expr.over(self.keys) if self.keys else self.made.expr
        return frame.with_columns(expr.alias(self.name))

    def by_hand(self, table, others):
        found = {}
        for group in groups(table.rows, self.keys):
            cell = Cell(self.made.of(group), of_all(group, *self.made.columns, *self.keys))
            found |= dict.fromkeys(group, cell)
        own = [row.ids(*self.made.columns) for row in table.rows]
        cells = [Cell(found[row].value, found[row].ids | ids) for row, ids in zip(table.rows, own, strict=True)]
        return table.adding(self.name, cells)


@dataclass
class Shift(Operation):
    """The value some rows before: the whole frame is behind it."""

    name: str
    a: str
    n: int

    def polars(self, frame, others):
        return frame.with_columns(pl.col(self.a).shift(self.n).alias(self.name))

    def by_hand(self, table, others):
        ids, count = of_all(table.rows, self.a), len(table.rows)
        places = [place - self.n for place in range(count)]
        cells = [Cell(table.rows[place][self.a] if 0 <= place < count else None, ids) for place in places]
        return table.adding(self.name, cells)


@dataclass
class Number(Operation):
    """The number of each row."""

    name: str

    def polars(self, frame, others):
        return frame.with_row_index(self.name).with_columns(pl.col(self.name).cast(pl.Int64))

    def by_hand(self, table, others):
        ids = of_all(table.rows)
        found = table.adding(self.name, [Cell(place, ids) for place in range(len(table.rows))])
        return Table([self.name, *table.names], found.rows)


@dataclass
class Filter(Operation):
    """The rows whose value is large enough: as a number, or the largest of all or of their keys."""

    a: str
    least: int | None
    keys: tuple[str, ...] = ()

    def __post_init__(self):
        self.is_monotone = self.least is not None

    def polars(self, frame, others):
        if self.least is not None:
            return frame.filter(pl.col(self.a) >= self.least)
        best = pl.col(self.a).max()
        return frame.filter(pl.col(self.a) == (best.over(self.keys) if self.keys else best))

    def by_hand(self, table, others):
        if self.least is not None:
            rows = [row for row in table.rows if row[self.a] is not None and row[self.a] >= self.least]
            return table.having(row.having(row.ids(self.a)) for row in rows)
        kept = {}
        for group in groups(table.rows, self.keys):
            best = max(present(group, self.a), default=None)
            if best is not None:
                kept |= dict.fromkeys((row for row in group if row[self.a] == best), of_all(group, self.a, *self.keys))
        return table.having(row.having(kept[row]) for row in table.rows if row in kept)


@dataclass
class Fill(Operation):
    """Null replaced, by a number or by the value before."""

    a: str
    forward: bool

    def __post_init__(self):
        self.is_monotone = not self.forward

    def polars(self, frame, others):
        filled = pl.col(self.a).fill_null(strategy="forward") if self.forward else pl.col(self.a).fill_null(7)
        return frame.with_columns(filled)

    def by_hand(self, table, others):
        cells, last, ids = [], None, of_all(table.rows, self.a)
        for row in table.rows:
            last = last if row[self.a] is None else row[self.a]
            constant = Cell(7 if row[self.a] is None else row[self.a], row.ids(self.a))
            cells.append(Cell(last, ids) if self.forward else constant)
        return table.adding(self.a, cells)


@dataclass
class FillAll(Operation):
    """Null replaced in all columns; columns of numbers are not apart in it."""

    is_monotone = True

    def polars(self, frame, others):
        return frame.fill_null(0)

    def by_hand(self, table, others):
        return table.having(
            Row({name: Cell(cell.value or 0, cell.ids) for name, cell in row.cells.items()}, row.why)
            for row in table.rows
        )


@dataclass
class Reshape(Operation):
    """Columns renamed, cast, put into a struct and taken out, and some dropped."""

    names: dict[str, str]
    dropped: str | None

    is_monotone = True

    def polars(self, frame, others):
        made = frame.rename(self.names).cast(pl.Int64)
        first, *_ = self.names.values()
        inner = f"in {first}"
        made = (
            made.with_columns(pl.struct(pl.col(first).alias(inner)).alias(first)).unnest(first).rename({inner: first})
        )
        return made.drop([self.dropped] if self.dropped else [])

    def by_hand(self, table, others):
        names = [new for new in self.names.values() if new != self.dropped]
        old = {new: name for name, new in self.names.items()}
        return Table(names, [Row({new: row.cells[old[new]] for new in names}, row.why) for row in table.rows])


@dataclass
class Sort(Operation):
    """Rows in another order, perhaps only the first of them."""

    by: tuple[str, ...]
    down: tuple[bool, ...]
    nulls_last: bool
    best: int | None = None
    largest: bool = True

    def __post_init__(self):
        self.is_monotone = self.best is None

    def polars(self, frame, others):
        if self.best is None:
            return frame.sort(self.by, descending=self.down, nulls_last=self.nulls_last, maintain_order=True)
        if isinstance(frame, TrackedFrame):
            return (frame.top_k if self.largest else frame.bottom_k)(self.best, by=self.by)
        return frame.sort(self.by, descending=self.largest, nulls_last=True, maintain_order=True).head(self.best)

    def by_hand(self, table, others):
        down = self.down if self.best is None else [self.largest] * len(self.by)
        rows = [row.having(row.ids(*self.by)) for row in table.rows]
        for name, flag in reversed(list(zip(self.by, down, strict=True))):
            nulls = [row for row in rows if row[name] is None]
            there = [row for row in rows if row[name] is not None]
            there.sort(key=lambda row, name=name, flag=flag: row[name] * (-1 if flag else 1))
            rows = [*there, *nulls] if self.nulls_last or self.best is not None else [*nulls, *there]
        return table.having(rows[: self.best])


@dataclass
class Slice(Operation):
    """Rows by their number."""

    how: str
    n: int
    offset: int = 0

    def __post_init__(self):
        self.stands_alone = self.how in ("head", "tail", "reverse") or (self.how == "slice" and self.offset == 0)

    def polars(self, frame, others):
        match self.how:
            case "reverse":
                return frame.reverse()
            case "slice":
                return frame.slice(self.offset, self.n)
            case "every":
                return frame.gather_every(self.n + 1, self.offset)
            case _:
                return getattr(frame, self.how)(self.n)

    def by_hand(self, table, others):
        rows = table.rows
        return table.having(
            {
                "reverse": rows[::-1],
                "head": rows[: self.n],
                "tail": rows[-self.n :] if self.n else [],
                "slice": rows[self.offset : self.offset + self.n],
                "every": rows[self.offset :: self.n + 1],
            }[self.how]
        )


def reduced(rows: list[Row], made: Mapping[str, Made]) -> dict[str, Cell]:
    """Aggregations of the rows of a group."""
    return {name: Cell(item.of(rows), of_all(rows, *item.columns)) for name, item in made.items()}


@dataclass
class Group(Operation):
    """A row for each group; the first key may be an expression, groups may be judged."""

    keys: tuple[str, ...]
    made: dict[str, Made]
    halved: bool = False
    least: int | None = None

    is_nested = True

    def polars(self, frame, others):
        keys = [pl.col(key) for key in self.keys]
        if self.halved:
            keys[0] = keys[0] // 2
        grouped = frame.group_by(*keys, maintain_order=True)
        if self.least is not None:
            grouped = grouped.having(pl.len() >= self.least)
        return grouped.agg(item.expr.alias(name) for name, item in self.made.items())

    def by_hand(self, table, others):
        def key(row, name):
            halved = self.halved and name == self.keys[0] and row[name] is not None
            return Cell(row[name] // 2 if halved else row[name])

        keyed = [row.having(**{f"key {name}": key(row, name) for name in self.keys}) for row in table.rows]
        rows = []
        for group in groups(keyed, [f"key {name}" for name in self.keys]):
            if self.least is None or len(group) >= self.least:
                why = of_all(group, *self.keys)
                cells = {name: Cell(group[0][f"key {name}"], why) for name in self.keys}
                rows.append(Row({**cells, **reduced(group, self.made)}, why))
        return Table([*self.keys, *self.made], rows)


@dataclass
class Whole(Operation):
    """One row of the whole frame."""

    made: dict[str, Made]

    is_nested = True

    def polars(self, frame, others):
        return frame.select(item.expr.alias(name) for name, item in self.made.items())

    def by_hand(self, table, others):
        return Table(list(self.made), [Row(reduced(table.rows, self.made), of_all(table.rows))])


@dataclass
class Unique(Operation):
    """One row of those that are equal."""

    subset: tuple[str, ...] | None
    keep: str

    is_nested = True

    def polars(self, frame, others):
        keep = "first" if self.keep == "any" and not isinstance(frame, TrackedFrame) else self.keep
        return frame.unique(self.subset, keep=keep, maintain_order=True)

    def by_hand(self, table, others):
        names, found = self.subset or table.names, {}
        for group in groups(table.rows, names):
            kept = group[-1 if self.keep == "last" else 0]
            if self.keep != "none" or len(group) == 1:
                cells = {name: Cell(kept[name], of_all(group, name)) for name in table.names}
                found[kept] = Row(cells, of_all(group, *names))
        return table.having(found[row] for row in table.rows if row in found)


@dataclass
class Join(Operation):
    """Two frames by keys. No column of the other has the name of one of this, but perhaps of keys."""

    other: str
    left_on: tuple[str, ...]
    right_on: tuple[str, ...]
    how: str
    nulls_equal: bool = False
    coalesce: bool | None = None
    suffix: str = "_right"

    def __post_init__(self):
        self.is_monotone = self.how in ("inner", "cross")

    def polars(self, frame, others):
        other = others[self.other]
        if self.how == "cross":
            return frame.join(other, how="cross", maintain_order="left_right", suffix=self.suffix)
        options = {"nulls_equal": self.nulls_equal, "coalesce": self.coalesce, "suffix": self.suffix}
        order = {"right": "right_left", "semi": "left", "anti": "left"}.get(self.how, "left_right")
        keys = {"left_on": self.left_on, "right_on": self.right_on}
        return frame.join(other, how=self.how, **keys, **options, maintain_order=order)

    def by_hand(self, table, others):
        mine = [row.having(row.ids(*self.left_on)) for row in table.rows]
        theirs = [row.having(row.ids(*self.right_on)) for row in others[self.other].rows]
        matches = {row: [them for them in theirs if self._match(row, them)] for row in mine}
        if self.how == "anti":
            return table.having(row for row in mine if not matches[row])
        if self.how == "semi":
            return table.having(row.having(union(them.why for them in matches[row])) for row in mine if matches[row])
        return self._together(self._pairs(mine, theirs, matches), table.names, others[self.other].names)

    def _match(self, row, them):
        pairs = [(row[a], them[b]) for a, b in zip(self.left_on, self.right_on, strict=True)]
        return all(a == b and (a is not None or self.nulls_equal) for a, b in pairs)

    def _pairs(self, mine, theirs, matches):
        if self.how == "right":
            found = {them: [row for row in mine if them in matches[row]] for them in theirs}
            return [(row, them) for them in theirs for row in found[them] or [None]]
        outer = self.how in ("left", "full")
        pairs = [(row, them) for row in mine for them in matches[row] or ([None] if outer else [])]
        met = {them for _, them in pairs}
        return pairs + [(None, them) for them in theirs if self.how == "full" and them not in met]

    def _together(self, pairs, left, right):
        once = self.how != "cross" and (self.how != "full" if self.coalesce is None else self.coalesce)
        keys = dict(zip(self.left_on, self.right_on, strict=True)) if once else {}
        of_left = [name for name in left if not (self.how == "right" and name in keys)]
        of_right = [name for name in right if self.how == "right" or name not in keys.values()]
        named = {name: f"{name}{self.suffix}" if name in of_left else name for name in of_right}
        rows = []
        for row, them in pairs:
            mine = row or Row(dict.fromkeys(left, Cell(None)), NONE)
            other = them or Row(dict.fromkeys(right, Cell(None)), NONE)
            cells = {name: mine.cells[name] for name in of_left} | {named[name]: other.cells[name] for name in of_right}
            if self.how == "full":
                cells |= {a: Cell(mine[a] if row else other[b], mine.ids(a) | other.ids(b)) for a, b in keys.items()}
            rows.append(Row(cells, mine.why | other.why))
        return Table([*of_left, *named.values()], rows)


@dataclass
class Lookup(Operation):
    """Each row with the one row of its key, as the author says: the other frame then decides only its columns."""

    other: str
    left_on: str
    right_on: str

    def polars(self, frame, others):
        single = others[self.other].unique(self.right_on, keep="first", maintain_order=True)
        keys = {"left_on": self.left_on, "right_on": self.right_on}
        return frame.join(single, how="left", validate="m:1", maintain_order="left_right", **keys)

    def by_hand(self, table, others):
        single = Unique((self.right_on,), "first").by_hand(others[self.other], others)
        names = [name for name in single.names if name != self.right_on]
        rows = []
        for row in table.rows:
            key = row[self.left_on]
            found = [them for them in single.rows if key is not None and them[self.right_on] == key]
            met = row.ids(self.left_on) | union(them.why | them.ids(self.right_on) for them in found)
            rows.append(
                row.having(
                    **{
                        name: Cell(found[0][name] if found else None, met | union(them.ids(name) for them in found))
                        for name in names
                    }
                )
            )
        return Table([*table.names, *names], rows)


@dataclass
class AsOf(Operation):
    """Each row with the latest of the other frame, of the same key if there is one."""

    other: str
    t: str
    at: str
    by: tuple[str, str] | None
    exact: bool

    def polars(self, frame, others):
        mine, theirs = (
            plan.filter(pl.col(name).is_not_null()).sort(name, maintain_order=True)
            for plan, name in ((frame, self.t), (others[self.other], self.at))
        )
        by = {"by_left": self.by[0], "by_right": self.by[1]} if self.by else {}
        options = {"allow_exact_matches": self.exact, "coalesce": False, "check_sortedness": False}
        return mine.join_asof(theirs, left_on=self.t, right_on=self.at, **by, **options)

    def by_hand(self, table, others):
        mine, theirs = (
            sorted((row.having(row.ids(name)) for row in rows if row[name] is not None), key=lambda row: row[name])
            for rows, name in ((table.rows, self.t), (others[self.other].rows, self.at))
        )
        left_keys, right_keys = ((self.t, self.by[0]), (self.at, self.by[1])) if self.by else ((self.t,), (self.at,))
        names = [name for name in others[self.other].names if not (self.by and name == self.by[1])]
        rows = []
        for row in mine:
            found = [them for them in theirs if self._fits(row, them)]
            cells = dict.fromkeys(names, Cell(None, row.why | row.ids(*left_keys)))
            if found:
                them = found[-1]
                met = them.why | them.ids(*right_keys) | row.why | row.ids(*left_keys)
                cells = {name: Cell(them[name], them.ids(name) | met) for name in names}
            rows.append(row.having(**cells))
        return Table([*table.names, *names], rows)

    def _fits(self, row, them):
        same = not self.by or (row[self.by[0]] == them[self.by[1]] and row[self.by[0]] is not None)
        return same and (them[self.at] < row[self.t] or (self.exact and them[self.at] == row[self.t]))


@dataclass
class Past(Operation):
    """An aggregate over what was known of the other frame's rows strictly before a row's time and within hours."""

    name: str
    other: str
    t: str
    known: str
    key: tuple[str, str] | None
    value: str
    agg: str
    hours: int

    def polars(self, frame, others):
        mine, theirs = ({"same key": pl.col(name)} for name in self.key) if self.key else ({}, {})
        known, asked_at = ((pl.col(name) * 3_600_000_000).cast(pl.Datetime("us")) for name in (self.known, self.t))
        events = others[self.other].select(value=pl.col(self.value), known=known, **theirs)
        asked = frame.with_columns(asked=asked_at, **mine)
        value = None if self.agg == "count" else "value"
        declared = history(keys=list(mine), value=value, known_at="known", window=f"{self.hours}h", agg=self.agg)
        found = with_history(asked, at="asked", events=events, aggregates={self.name: declared})
        return found.drop("asked", *mine).with_columns(pl.col(self.name).cast(pl.Int64))

    def by_hand(self, table, others):
        cells = []
        for row in table.rows:
            own = row.ids(self.t, *([self.key[0]] if self.key else []))
            found = [them for them in others[self.other].rows if self._counts(row, them)]
            if self.agg == "last" and found:
                found = [max(reversed(found), key=lambda them: them[self.known])]
            values = [them[self.value] for them in found]
            value = {"count": len, "sum": sum, "max": max, "last": max}[self.agg](values) if values else None
            looked = (self.known, *([self.key[1]] if self.key else []), *([self.value] if self.agg != "count" else []))
            cells.append(Cell(0 if self.agg == "count" and not values else value, own | of_all(found, *looked)))
        return table.adding(self.name, cells)

    def _counts(self, row, them):
        t, known = row[self.t], them[self.known]
        same = self.key is None or (row[self.key[0]] is not None and row[self.key[0]] == them[self.key[1]])
        there = self.agg == "count" or them[self.value] is not None
        return same and there and t is not None and known is not None and t - self.hours <= known < t


@dataclass
class Where(Operation):
    """Pairs of rows of which one value is less than the other."""

    other: str
    a: str
    b: str

    is_monotone = True

    def polars(self, frame, others):
        other = others[self.other]
        if isinstance(frame, TrackedFrame):
            return frame.join_where(other, pl.col(self.a) < pl.col(self.b))
        return frame.join(other, how="cross", maintain_order="left_right").filter(pl.col(self.a) < pl.col(self.b))

    def by_hand(self, table, others):
        rows = [
            Row({**row.cells, **them.cells}, row.why | them.why | row.ids(self.a) | them.ids(self.b))
            for row in table.rows
            for them in others[self.other].rows
            if row[self.a] is not None and them[self.b] is not None and row[self.a] < them[self.b]
        ]
        return Table([*table.names, *others[self.other].names], rows)


def inside(low: int, at: int, high: int, closed: str) -> bool:
    """Whether `at` is in a window."""
    after = low <= at if closed in ("left", "both") else low < at
    return after and (at <= high if closed in ("right", "both") else at < high)


def timely(frame: Any, t: str) -> Any:
    """The rows that have a time, in its order."""
    return frame.filter(pl.col(t).is_not_null()).sort(t, maintain_order=True)


def timely_by_hand(table: Table, t: str) -> list[Row]:
    """The same by hand."""
    return sorted((row.having(row.ids(t)) for row in table.rows if row[t] is not None), key=lambda row: row[t])


def by_key(rows: Iterable[Row], key: str | None) -> list[list[Row]]:
    """Rows by a key in its order, null first, or all of them."""
    found = groups(rows, [key] if key else [])
    return sorted(found, key=lambda group: (group[0][key] is not None, group[0][key] or 0)) if key else found


@dataclass
class Rolling(Operation):
    """A row for each row: aggregations of the window of time that ends, or begins, there."""

    t: str
    period: int
    offset: int | None
    closed: str
    key: str | None
    made: dict[str, Made]

    def polars(self, frame, others):
        offset = None if self.offset is None else f"{self.offset}i"
        how = {"period": f"{self.period}i", "offset": offset, "closed": self.closed}
        rolling = timely(frame, self.t).rolling(self.t, group_by=self.key, **how)
        return rolling.agg(item.expr.alias(name) for name, item in self.made.items())

    def by_hand(self, table, others):
        keys = [*([self.key] if self.key else []), self.t]
        rows = []
        for group in by_key(timely_by_hand(table, self.t), self.key):
            for row in group:
                low = row[self.t] + (-self.period if self.offset is None else self.offset)
                window = [them for them in group if inside(low, them[self.t], low + self.period, self.closed)]
                ids = row.ids(*keys)
                cells = {name: Cell(row[name], ids) for name in keys}
                columns = {
                    name: Cell(item.of(window), of_all(window, *item.columns)) for name, item in self.made.items()
                }
                columns = {name: Cell(cell.value, cell.ids | ids) for name, cell in columns.items()}
                rows.append(Row({**cells, **columns}, row.why))
        return Table([*keys, *self.made], rows)


@dataclass
class Dynamic(Operation):
    """Windows of time that begin every so often, from the first row on."""

    t: str
    every: int
    period: int | None
    offset: int | None
    closed: str
    key: str | None
    made: dict[str, Made]

    def polars(self, frame, others):
        period, offset = (None if item is None else f"{item}i" for item in (self.period, self.offset))
        how = {"every": f"{self.every}i", "period": period, "offset": offset, "closed": self.closed}
        dynamic = timely(frame, self.t).group_by_dynamic(self.t, group_by=self.key, **how)
        return dynamic.agg(item.expr.alias(name) for name, item in self.made.items())

    def by_hand(self, table, others):
        keys = [*([self.key] if self.key else []), self.t]
        anchored = self.period not in (None, self.every) or self.closed == "both"
        rows = []
        for group in by_key(timely_by_hand(table, self.t), self.key):
            first = group[0]
            begin = first[self.t] // self.every * self.every + (self.offset or 0)
            while not inside(
                begin, first[self.t], first[self.t], "both" if self.closed in ("left", "both") else "right"
            ):
                begin -= self.every
            why = first.why | first.ids(*keys) if anchored else NONE
            while begin <= group[-1][self.t]:
                end = begin + (self.period or self.every)
                window = [row for row in group if inside(begin, row[self.t], end, self.closed)]
                if window:
                    ids = of_all(window, *keys)
                    cells = {keys[0]: Cell(group[0][keys[0]], ids), self.t: Cell(begin, ids)}
                    rows.append(Row({**{name: cells[name] for name in keys}, **reduced(window, self.made)}, why | ids))
                begin += self.every
        return Table([*keys, *self.made], rows)


@dataclass
class Window(Operation):
    """A column of each row's window of time; by values, in whatever order rows stand, or of a sorted frame."""

    name: str
    a: str
    t: str
    size: int
    by_values: bool
    closed: str

    def polars(self, frame, others):
        if self.by_values:
            made = pl.col(self.a).rolling_sum_by(self.t, window_size=f"{self.size}i", closed=self.closed, min_samples=2)
            return frame.with_columns(made.alias(self.name))
        made = pl.col(self.a).sum().rolling(self.t, period=f"{self.size}i", closed=self.closed)
        return timely(frame, self.t).with_columns(made.alias(self.name))

    def by_hand(self, table, others):
        rows = table.rows if self.by_values else timely_by_hand(table, self.t)
        return table.having(rows).adding(self.name, [self._cell(row, rows) for row in rows])

    def _cell(self, row, rows):
        own = row.ids(self.a, self.t)
        if row[self.t] is None:
            return Cell(None, own)
        low = row[self.t] - self.size
        window = [
            them for them in rows if them[self.t] is not None and inside(low, them[self.t], row[self.t], self.closed)
        ]
        values = present(window, self.a)
        lacking = self.by_values and len(values) < 2
        return Cell(None if lacking else sum(values), own | of_all(window, self.a, self.t))


@dataclass
class Under(Operation):
    """Frames one under the other: some of its own rows again, columns exchanged, another input or a constant."""

    least: int
    a: str
    b: str
    other: str | None
    relaxed: bool = False

    is_monotone = True

    def _constant(self):
        return {self.a: [1, None], self.b: [2, 2]}

    def polars(self, frame, others):
        how = {"how": "diagonal_relaxed" if self.relaxed else "diagonal"}
        if self.other == "constant":
            made = constant(
                self._constant(), schema=dict.fromkeys(self._constant(), pl.Int32 if self.relaxed else pl.Int64)
            )
            plain = pl.LazyFrame(self._constant(), schema=dict.fromkeys(self._constant(), pl.Int64))
            return pl.concat([frame, made if isinstance(frame, TrackedFrame) else plain], **how)
        if self.other:
            return pl.concat([frame, others[self.other]], **how)
        again = frame.filter(pl.col(self.a) >= self.least).with_columns(pl.col(self.a).alias(self.b))
        return pl.concat([frame, again])

    def by_hand(self, table, others):
        if self.other == "constant":
            made = self._constant()
            more = Table(list(made), [Row({name: Cell(made[name][i]) for name in made}, NONE) for i in range(2)])
        elif self.other:
            more = others[self.other]
        else:
            again = Filter(self.a, self.least).by_hand(table, others)
            more = again.adding(self.b, [row.cells[self.a] for row in again.rows])
        names = [*table.names, *(name for name in more.names if name not in table.names)]
        rows = [
            Row({name: row.cells.get(name, Cell(None)) for name in names}, row.why) for row in table.rows + more.rows
        ]
        return Table(names, rows)


@dataclass
class Beside(Operation):
    """Two frames side by side, by number."""

    other: str
    stands_alone = False

    def polars(self, frame, others):
        return pl.concat([frame, others[self.other]], how="horizontal_extend")

    def by_hand(self, table, others):
        other, rows = others[self.other], []
        for place in range(max(len(table.rows), len(other.rows))):
            mine, theirs = (
                side.rows[place] if place < len(side.rows) else Row(dict.fromkeys(side.names, Cell(None)), NONE)
                for side in (table, other)
            )
            rows.append(Row({**mine.cells, **theirs.cells}, mine.why | theirs.why))
        return Table([*table.names, *other.names], rows)


@dataclass
class Unpivot(Operation):
    """A row for each of some columns."""

    name: str
    on: tuple[str, ...]
    index: tuple[str, ...]

    is_monotone = True

    def polars(self, frame, others):
        return frame.unpivot(self.on, index=self.index, value_name=self.name).drop("variable")

    def by_hand(self, table, others):
        rows = [row.only(self.index).having(**{self.name: row.cells[name]}) for name in self.on for row in table.rows]
        return Table([*self.index, self.name], rows)


@dataclass
class Explode(Operation):
    """Groups gathered into lists, and a row for each value of them again."""

    key: str
    a: str
    n: int

    def polars(self, frame, others):
        gathered = frame.group_by(self.key, maintain_order=True).agg(pl.col(self.a).head(self.n))
        return gathered.explode(self.a)

    def by_hand(self, table, others):
        rows = []
        for group in groups(table.rows, [self.key]):
            why = of_all(group, self.key)
            ids = why | of_all(group, self.a)
            cells = {self.key: Cell(group[0][self.key], why)}
            rows += [Row({**cells, self.a: Cell(row[self.a], ids)}, ids) for row in group[: self.n]]
        return Table([self.key, self.a], rows)


@dataclass
class Pivot(Operation):
    """A row for each group, a column for each value."""

    on: str
    index: str
    a: str
    how: str
    on_columns = (0, 1)

    is_nested = True

    def polars(self, frame, others):
        how = {"index": self.index, "values": self.a, "aggregate_function": self.how}
        return frame.pivot(self.on, self.on_columns, maintain_order=True, **how)

    def by_hand(self, table, others):
        names, rows = [str(value) for value in self.on_columns], []
        for group in groups(table.rows, [self.index]):
            why, ids = of_all(group, self.index), of_all(group, self.on, self.a)
            cells = {self.index: Cell(group[0][self.index], why)}
            for value, name in zip(self.on_columns, names, strict=True):
                found = [row for row in group if row[self.on] == value]
                cells[name] = Cell(REDUCTIONS[self.how][1](found, self.a, self.a), ids)
            rows.append(Row(cells, why))
        return Table([self.index, *names], rows)


@dataclass
class Frames:
    """The frames of a pipeline so far; `name:prefix` is one of them with that before the names of its columns."""

    inputs: Mapping[str, Any]
    renamed: Callable[[Any, str], Any]

    def __post_init__(self):
        self.found = dict(self.inputs)

    def __getitem__(self, name: str) -> Any:
        base, _, prefix = name.partition(":")
        return self.renamed(self.found[base], prefix) if prefix else self.found[base]


def in_polars(operations: Sequence[Operation], inputs: Mapping[str, Any]) -> Any:
    """The pipeline in Polars, on lazy frames of either kind."""

    def renamed(frame: Any, prefix: str) -> Any:
        return frame.rename({name: prefix + name for name in frame.collect_schema()})

    frames = Frames(inputs, renamed)
    frame = frames["a"]
    for number, operation in enumerate(operations):
        frame = frames.found[f"step{number}"] = operation.polars(frame, frames)
    return frame


def in_loops(operations: Sequence[Operation], inputs: Mapping[str, Table]) -> Table:
    """The pipeline by hand."""

    def renamed(table: Table, prefix: str) -> Table:
        rows = [Row({prefix + name: cell for name, cell in row.cells.items()}, row.why) for row in table.rows]
        return Table([prefix + name for name in table.names], rows)

    frames = Frames(inputs, renamed)
    table = frames["a"]
    for number, operation in enumerate(operations):
        table = frames.found[f"step{number}"] = operation.by_hand(table, frames)
    return table
