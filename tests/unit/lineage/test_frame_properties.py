"""Row lineage is exact: random pipelines give the sets that loops find, and those rows alone the row again."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from . import by_hand as bh
from .followed import followed

MOST_ROWS = 60
CLOSED = ("left", "right", "both", "none")

numbers = st.one_of(st.none(), st.integers(0, 3))
times = st.one_of(st.none(), st.integers(0, 8))


def inputs() -> st.SearchStrategy[dict[str, pl.DataFrame]]:
    """Two small tables of whole numbers, with duplicates and nulls."""

    def table(names: str) -> st.SearchStrategy[pl.DataFrame]:
        row = st.fixed_dictionaries({name: times if name == "t" else numbers for name in names})
        kinds = dict.fromkeys(names, pl.Int64)
        return st.lists(row, max_size=6).map(lambda rows: pl.DataFrame(rows, schema=kinds))

    return st.fixed_dictionaries({"a": table("ktv"), "b": table("kuv")})


class Draw:
    """Draws operations that fit a table of these columns; `frames` are those that there have been."""

    def __init__(self, draw, operations, names, frames):
        self.draw, self.number, self.names, self.frames = draw, len(operations), names, frames
        self.is_one_row = any(isinstance(operation, bh.Whole) for operation in operations)

    def of(self, *values):
        return self.draw(st.sampled_from(values))

    def name(self):
        return self.of(*self.names)

    def some(self, most):
        return tuple(self.draw(st.lists(st.sampled_from(self.names), min_size=1, max_size=most, unique=True)))

    def keys(self, most=2):
        return self.some(most) if self.of(True, False) else ()

    def flag(self):
        return self.draw(st.booleans())

    def new(self, of="n"):
        return f"{of}{self.number}"

    def made(self, but=()):
        wanted = self.draw(st.lists(st.sampled_from(sorted(bh.REDUCTIONS)), min_size=1, max_size=2))
        found = {}
        for place, how in enumerate(wanted):
            found[f"{self.new('m')}{place}"] = bh.Made(how, self.name(), self.name())
        return found

    def other(self, prefix=True):
        name = self.of(*self.frames)
        mark = f"p{self.number}" if prefix else ""
        return f"{name}:{mark}" if prefix else name, [mark + column for column in self.frames[name]]

    # Operations

    def compute(self):
        return bh.Compute(self.new(), self.name(), self.name(), self.flag())

    def spread(self):
        made = bh.Made(self.of(*sorted(bh.REDUCTIONS)), self.name(), self.name())
        return bh.Spread(self.new(), made, self.keys())

    def shift(self):
        return bh.Shift(self.new(), self.name(), self.of(-1, 1, 2))

    def number_rows(self):
        return bh.Number(self.new("i"))

    def filter(self):
        return bh.Filter(self.name(), self.of(None, 0, 1, 2), self.keys())

    def fill(self):
        return bh.FillAll() if self.of(1, 2, 3) == 1 else bh.Fill(self.name(), self.flag())

    def reshape(self):
        names = {name: self.new(f"r{place}") if self.flag() else name for place, name in enumerate(self.names)}
        return bh.Reshape(names, self.of(None, *names.values()) if len(names) > 1 else None)

    def sort(self):
        by = self.some(2)
        down = tuple(self.flag() for _ in by)
        return bh.Sort(by, down, self.flag(), self.of(None, None, 1, 3), self.flag())

    def slice(self):
        return bh.Slice(self.of("head", "tail", "slice", "every", "reverse"), self.of(0, 1, 2, 3), self.of(0, 1, 2))

    def group(self):
        return bh.Group(self.some(2), self.made(), self.flag(), self.of(None, None, 2))

    def whole(self):
        return bh.Whole(self.made())

    def unique(self):
        return bh.Unique(self.of(None, self.some(2)), self.of("first", "last", "any", "none"))

    def join(self):
        # Of a frame that can have one row only Polars takes the order to be nobody's concern.
        outer = () if self.is_one_row else ("right", "full")
        how = self.of("inner", "left", *outer, "semi", "anti", "cross")
        own_names = self.flag()
        other, names = self.other(prefix=own_names)
        left = () if how == "cross" else self.some(2)
        right = tuple(self.of(*names) for _ in left)
        if len(set(right)) < len(right):
            left, right = left[:1], right[:1]
        coalesce = self.of(None, None, True, False)
        return bh.Join(other, left, right, how, self.flag(), coalesce, suffix=f"_s{self.number}")

    def lookup(self):
        other, names = self.other()
        return bh.Lookup(other, self.name(), self.of(*names))

    def as_of(self):
        other, names = self.other()
        t, at = self.name(), self.of(*names)
        mine, theirs = [name for name in self.names if name != t], [name for name in names if name != at]
        by = (self.of(*mine), self.of(*theirs)) if mine and theirs and self.flag() else None
        return bh.AsOf(other, t, at, by, self.flag())

    def past(self):
        other, names = self.other()
        key = (self.name(), self.of(*names)) if self.flag() else None
        agg = self.of("sum", "count", "max", "last")
        return bh.Past(self.new(), other, self.name(), self.of(*names), key, self.of(*names), agg, self.of(1, 2, 4))

    def where(self):
        other, names = self.other()
        return bh.Where(other, self.name(), self.of(*names))

    def rolling(self):
        t = self.name()
        key = self.of(None, *(name for name in self.names if name != t))
        return bh.Rolling(t, self.of(1, 2), self.of(None, None, -1, 0, 1), self.of(*CLOSED), key, self.made())

    def dynamic(self):
        t = self.name()
        key = self.of(None, *(name for name in self.names if name != t))
        lasts, offset = self.of(None, 1, 2, 3), self.of(None, None, -1, 1)
        return bh.Dynamic(t, self.of(1, 2, 3), lasts, offset, self.of(*CLOSED), key, self.made())

    def window(self):
        return bh.Window(self.new(), self.name(), self.name(), self.of(1, 2), self.flag(), self.of(*CLOSED))

    def under(self):
        other = self.of(None, "constant", *self.frames)
        return bh.Under(self.of(0, 1), self.name(), self.name(), other, self.flag())

    def beside(self):
        return bh.Beside(self.other()[0])

    def unpivot(self):
        on = self.some(2)
        return bh.Unpivot(self.new(), on, tuple(name for name in self.names if name not in on))

    def explode(self):
        key = self.name()
        return bh.Explode(key, self.of(*(name for name in self.names if name != key)), self.of(0, 1, 2))

    def pivot(self):
        on, index, a = self.draw(st.permutations(self.names).filter(lambda names: names[1] not in ("0", "1")))[:3]
        return bh.Pivot(on, index, a, self.of("max", "min", "first", "last", "sum"))


# What comes first is drawn most.
KINDS = (
    *(
        "join",
        "group",
        "filter",
        "spread",
        "unique",
        "compute",
        "under",
        "rolling",
        "as_of",
        "lookup",
        "past",
        "window",
        "dynamic",
        "where",
    ),
    *("sort", "slice", "fill", "shift", "unpivot", "explode", "pivot", "whole", "number_rows", "reshape", "beside"),
)
NEEDED = {"explode": 2, "pivot": 3}


@st.composite
def pipelines(draw):
    """Inputs, and up to six operations on them that give tables of moderate size."""
    given_inputs = draw(inputs())
    tables = {name: bh.read(name, frame) for name, frame in given_inputs.items()}
    names = {name: table.names for name, table in tables.items()}
    operations, table = [], tables["a"]
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(KINDS))
        if len(table.names) < NEEDED.get(kind, 1):
            continue
        operation = getattr(Draw(draw, operations, table.names, names), kind)()
        after = bh.in_loops([*operations, operation], tables)
        if len(after.rows) <= MOST_ROWS and len(after.names) <= 12:
            operations.append(operation)
            table, names[f"step{len(operations) - 1}"] = after, after.names
    return given_inputs, operations


def _check(given_inputs, operations):
    tables = {name: bh.read(name, frame) for name, frame in given_inputs.items()}
    expected = bh.in_loops(operations, tables)
    with tempfile.TemporaryDirectory() as folder:
        found = followed(lambda **frames: bh.in_polars(operations, frames), Path(folder), given_inputs)

        assert (expected.names, expected.values) == (found.table.columns, found.table.rows())
        assert expected.behind == found.back()
        for name in expected.names:
            assert expected.behind_column(name) == found.back([name]), name
        _check_forward(found, expected, given_inputs)
    plain = bh.in_polars(operations, {name: frame.lazy() for name, frame in given_inputs.items()})
    assert_frame_equal(plain.collect(engine="in-memory"), found.table)
    if all(operation.stands_alone for operation in operations):
        _check_alone(given_inputs, operations, expected)


def _check_forward(found, expected, given_inputs):
    """Forwards is backwards turned round."""
    for name, frame in given_inputs.items():
        there = [any((name, row) in ids for ids in expected.behind) for row in range(len(frame))]
        assert there == found.rows.reached(name, len(frame)).tolist()
        some = np.arange(0, len(frame), 3)
        assert there[::3] == found.rows.reached(name, len(frame), among=some)[some].tolist()
        for row in range(len(frame)):
            came = [place for place, ids in enumerate(expected.behind) if (name, row) in ids]
            assert came == found.rows.forward(name, np.array([row])).tolist()


def _check_alone(given_inputs, operations, expected):
    """The rows behind a row make it again without all others, and without any one of these.

    Where rows could let others in (a group of those that are best of theirs), only for one such operation: else what
    is absent would have to be named as well. Groups of groups need all that is in them, and nothing else.
    """
    monotone = sum(not operation.is_monotone for operation in operations) <= 1
    nested = all(operation.is_monotone or operation.is_nested for operation in operations)
    for values, ids in list(zip(expected.values, expected.behind, strict=True))[:12]:
        kept = {name: {row for source, row in ids if source == name} for name in given_inputs}
        if monotone or nested:
            assert values in _again(given_inputs, operations, kept), (values, sorted(ids))
        for name, frame in given_inputs.items() if monotone else ():
            for gone in set(range(len(frame))) - kept[name]:
                others = {other: set(range(len(each))) for other, each in given_inputs.items()}
                others[name].discard(gone)
                assert values in _again(given_inputs, operations, others), (values, sorted(ids), name, gone)


def _again(given_inputs, operations, kept):
    tables = {name: bh.read(name, frame, kept[name]) for name, frame in given_inputs.items()}
    return bh.in_loops(operations, tables).values


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(pipelines())
def test_every_row_is_followed_to_the_rows_behind_it(drawn):
    """Sets, values, columns, and the way forwards, of whatever an author may write."""
    _check(*drawn)
