"""Joins of a plan: which column comes from which side, and what decided that rows met."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from lineage.columnar.edges import Value, merged
from lineage.columnar.frame import Frame
from lineage.errors import ColumnsUnknownError

# How a join says that each row of the left frame meets one of the right at most.
_AT_MOST_ONE = ("ManyToOne", "OneToOne")


@dataclass(frozen=True)
class Join:
    """A join of two frames. `keys` decide which rows meet, `names` are those of the keys of the left and the right;
    `options` are Polars' own, `schema` the columns of the result. `once` if the author says that a left row stays one.
    """

    left: Frame
    right: Frame
    keys: Sequence[Value]
    names: Sequence[tuple[str, str]]
    options: Sequence[Any]
    schema: Sequence[str]
    once: bool

    @property
    def how(self) -> str:
        """Its kind, as Polars calls it."""
        return _kind(self.options[0])

    @property
    def by(self) -> list[tuple[str, str]]:
        """Of an as-of join the columns of the left and the right that are equal."""
        if self.how != "AsOf":
            return []
        return list(zip(self.options[0][4] or (), self.options[0][5] or (), strict=True))


def joined(join: Join) -> Frame:
    """The frame of a join."""
    left, right = join.left, join.right
    equal = [frame.columns[name] for pair in join.by for frame, name in zip((left, right), pair, strict=True)]
    keys = [*join.keys, *(value.deciding("JOIN", "") for value in equal)]
    if join.how in ("Semi", "Anti"):
        return left.only(join.schema).deciding(*keys, right.rows)
    columns = _columns(join)
    if join.how == "AsOf" or (join.how == "Left" and join.once):
        met = [*keys, right.rows, *([right.order, left.order] if join.how == "AsOf" else [])]
        theirs = {name: merged([value, *met]) for name, (side, value) in columns.items() if side is right}
        mine = {name: value for name, (side, value) in columns.items() if side is left}
        return Frame({name: (mine | theirs)[name] for name in join.schema}, left.rows, left.order)
    values = {name: value.plain() for name, (_, value) in columns.items()}
    if join.how == "Full" and join.options[4]:
        # A key is that of whichever row there is.
        values |= {
            mine: merged([left.columns[mine], right.columns[theirs]]).lifted("TRANSFORMATION", "coalesce()")
            for mine, theirs in join.names
        }
    order = merged([left.order, right.order])
    return Frame(values, left.rows, order).deciding(*keys, right.rows)


def _columns(join: Join) -> dict[str, tuple[Frame, Value]]:
    """For each column of the result the side that it comes from, and where from."""
    for mine, theirs in _candidates(join):
        suffix = str(join.options[3])
        names = [*mine, *(f"{name}{suffix}" if name in mine else name for name in theirs)]
        if names == list(join.schema):
            sides = [(join.left, name) for name in mine] + [(join.right, name) for name in theirs]
            return {made: (side, side.columns[name]) for made, (side, name) in zip(join.schema, sides, strict=True)}
    raise ColumnsUnknownError(f"a join ({join.how}) gives {', '.join(join.schema)}, of which the sides are not clear.")


def _candidates(join: Join) -> Iterator[tuple[list[str], list[str]]]:
    """Which columns of the left and of the right may be there: keys that are in both perhaps once."""
    mine, theirs = list(join.left.columns), list(join.right.columns)
    on, by = join.names, join.by
    if join.how == "Right":
        yield [name for name in mine if name not in {left for left, _ in on}], theirs
    for pairs in ([*on, *by], by, on, []):
        yield mine, [name for name in theirs if name not in {right for _, right in pairs}]


def _kind(how: Any) -> str:
    return str(how) if isinstance(how, str) else str(how[0])


def promised(frame: pl.LazyFrame, nodes: Any) -> Mapping[int, bool]:
    """For the number of each join in a plan whether its author says `validate="m:1"`, which the plan does not show.

    It stands in the other form that Polars gives of the query. Where that cannot be read, or has other joins than the
    plan, nothing is said of any.
    """
    joins = list(_joins(nodes))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            written = list(_written(json.loads(frame.serialize(format="json"))))
    except (pl.exceptions.PolarsError, ValueError, LookupError, TypeError):
        return {}
    if [how for how, _ in written] != [how for _, how in joins]:
        return {}
    found: dict[int, bool] = {}
    for (number, _), (_, once) in zip(joins, written, strict=True):
        # A join that stands in the plan twice is one.
        found[number] = once and found.get(number, True)
    return found


def _joins(nodes: Any) -> Iterator[tuple[int, str]]:
    """The joins of a plan, those of the left side first."""
    waiting = [nodes.get_node()]
    while waiting:
        number = waiting.pop()
        nodes.set_node(number)
        try:
            found = nodes.view_current_node()
        except NotImplementedError:
            found = None
        if type(found).__name__ == "Join":
            yield number, _kind(found.options[0])
        nodes.set_node(number)
        waiting += reversed(nodes.get_inputs())


def _written(node: Any) -> Iterator[tuple[str, bool]]:
    """The joins of a query as Polars writes it, in the same order: their kind, and whether a left row stays one."""
    children: Iterable[Any] = node if isinstance(node, list) else ()
    if isinstance(node, dict):
        if isinstance(join := node.get("Join"), dict):
            arguments = join["options"]["args"]
            how = arguments["how"]
            yield how if isinstance(how, str) else next(iter(how)), arguments["validation"] in _AT_MOST_ONE
        children = node.values()
    for child in children:
        yield from _written(child)
