"""Which rows an expression brings together: none but the row itself, all, those of the same keys, or a window of time.

What is not known to leave rows apart is taken to mix all of them: lineage may then hold too much, never too little.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import polars as pl

from lineage.rows.expressions import Expression, Node, columns_in, expression, name_of

# Kinds that work value by value on what is below them.
_TRANSPARENT = frozenset({"Alias", "BinaryExpr", "Cast", "KeepName", "RenameAlias", "Ternary"})
# Of these Polars cannot say, without the types of columns, what they do: they work value by value.
_BY_VALUE = frozenset({"Intervals", "Reinterpret", "SelectFields", "ToStruct"})
# Functions that look one value up among those of a column, if a column is what they are given. Polars calls them
# separable all the same.
_LOOKING_UP = frozenset({"IsIn", "Replace", "ReplaceStrict"})


@dataclass(frozen=True)
class Mixing:
    """Rows that are brought together: the whole frame, the rows of the same keys, or a window of time.

    `keys` are the trees of a partition's keys, `node` is the tree of a window's expression, as JSON text.
    """

    kind: Literal["whole", "partition", "window"]
    keys: tuple[str, ...] = ()
    node: str = ""

    @property
    def partition_by(self) -> list[pl.Expr]:
        """The expressions by which rows are brought together."""
        return [expression(json.loads(key)) for key in self.keys]

    @property
    def key_columns(self) -> list[str]:
        """The columns of those expressions."""
        return [name for key in self.keys for name in columns_in(json.loads(key))]

    def extreme(self, column: str, how: Literal["Min", "Max"]) -> pl.Expr:
        """The lowest or highest value of `column` in each row's window."""
        ((kind, fields),) = json.loads(self.node).items()
        if kind == "Rolling":
            found = {"Agg": {how: {"input": {"Column": column}, "propagate_nans": False}}}
            return expression({kind: {**fields, "function": found}})
        rolling = fields["function"]["RollingExprBy"]
        # A window with too few values for the author's function is a window still.
        rolling = {**rolling, "function_by": f"{how}By", "options": {**rolling["options"], "min_periods": 1}}
        by = fields["input"][1]
        return expression({kind: {"input": [{"Column": column}, by], "function": {"RollingExprBy": rolling}}})

    @property
    def ordered_by(self) -> pl.Expr | None:
        """What a window that needs no sorted frame orders rows by; None where the frame's order is that of time."""
        ((kind, fields),) = json.loads(self.node).items()
        return None if kind == "Rolling" else expression(fields["input"][1])


Height = Literal["rows", "one", "unknown"]
# Rows that are brought together, and the columns that are taken from them.
Taken = tuple[Mixing, tuple[str, ...]]
WHOLE = Mixing("whole")


def partition(columns: Sequence[str]) -> Mixing:
    """The rows that are equal in `columns`."""
    return Mixing("partition", keys=tuple(json.dumps({"Column": name}) for name in columns))


def mixings(item: Expression) -> list[Taken]:
    """What each row's value takes from which rows, beside what it takes from its own."""
    found: dict[Mixing, dict[str, None]] = {}
    for mixing, columns in _mixings(item.node):
        found.setdefault(mixing, {}).update(dict.fromkeys(columns))
    return [(mixing, tuple(columns)) for mixing, columns in found.items()]


def height(item: Expression) -> Height:
    """How many values a `select` of it gives: one for each row, one, which Polars repeats where others give more, or
    nobody knows before."""
    return _height(item.node)


def _height(node: Node) -> Height:
    if not isinstance(node, dict):
        return "one" if node == "Len" else "unknown"
    ((kind, fields),) = node.items()
    if kind in ("Column", "Field", "Selector", "Rolling"):
        return "rows"
    if kind == "Over":
        return "unknown" if fields["mapping"] == "Explode" else "rows"
    if kind == "Literal":
        return "unknown" if _is_series(fields) else "one"
    if kind == "Agg":
        return "one"
    if kind in ("Function", "AnonymousFunction"):
        return _height_of_function(kind, node, fields)
    if kind in ("Eval", "Sort", "SortBy", "StructEval"):
        return _height(fields["expr"])
    return _highest(_children(fields)) if kind in _TRANSPARENT else "unknown"


def _height_of_function(kind: str, node: Node, fields: Mapping[str, Any]) -> Height:
    if kind == "AnonymousFunction":
        # Of what could not be pickled nobody knows; most of it works row by row.
        flags = fields.get("options", {}).get("flags", "LENGTH_PRESERVING")
        keeps, reduces = "LENGTH_PRESERVING" in flags, "RETURNS_SCALAR" in flags
    else:
        _, keeps, reduces = _does(json.dumps(_isolated(node)))
    return "one" if reduces else _highest(fields["input"]) if keeps else "unknown"


def _highest(nodes: Iterable[Node]) -> Height:
    found = set(map(_height, nodes))
    return "unknown" if "unknown" in found else "rows" if "rows" in found else "one"


def _mixings(node: Node) -> Iterator[Taken]:
    if node == "Element":
        return
    if not isinstance(node, dict):
        yield _whole(node)
        return
    ((kind, fields),) = node.items()
    if kind in ("Column", "Field", "Selector") or (kind == "Literal" and not _is_series(fields)):
        return
    if kind == "Over":
        yield _of_over(node, fields)
    elif kind == "Rolling":
        yield Mixing("window", node=json.dumps(node)), tuple(columns_in(node))
        yield from _mixings(fields["index_column"])
    elif kind == "Function":
        yield from _of_function(node, fields)
    elif kind == "AnonymousFunction":
        # Whoever declares rows= says what it mixes; its inputs may mix by themselves.
        yield from (found for child in fields["input"] for found in _mixings(child))
    elif kind == "Eval" and "Cumulative" not in fields["variant"]:
        # What is done within a list stays within its row.
        yield from _mixings(fields["expr"])
    elif kind == "StructEval":
        yield from (found for child in (fields["expr"], *fields["evaluation"]) for found in _mixings(child))
    elif kind in _TRANSPARENT:
        yield from (found for child in _children(fields) for found in _mixings(child))
    else:
        yield _whole(node)


def _whole(node: Node) -> Taken:
    return WHOLE, tuple(columns_in(node))


def _of_over(node: Node, fields: Mapping[str, Any]) -> Taken:
    keys = fields["partition_by"] or []
    # Keys that themselves bring rows together: whatever these are, they are rows of the frame.
    if not keys or any(True for key in keys for _ in _mixings(key)):
        return _whole(node)
    return Mixing("partition", keys=tuple(json.dumps(key, sort_keys=True) for key in keys)), tuple(columns_in(node))


def _of_function(node: Node, fields: Mapping[str, Any]) -> Iterator[Taken]:
    name, inputs = name_of(fields["function"]), fields["input"]
    if name == "RollingExprBy" and not any(True for child in inputs for _ in _mixings(child)):
        yield Mixing("window", node=json.dumps(node)), tuple(columns_in(node))
    elif not _does(json.dumps(_isolated(node))).leaves_apart or (
        name in _LOOKING_UP and not all(map(_is_plain_literal, inputs[1:]))
    ):
        yield _whole(node)
    else:
        yield from (found for child in inputs if not _is_plain_literal(child) for found in _mixings(child))


def _isolated(node: Node) -> Node:
    """The function alone, on columns."""
    fields = node["Function"]
    inputs = [child if _is_plain_literal(child) else {"Column": "x"} for child in fields["input"]]
    return {"Function": {**fields, "input": inputs}}


class _Doing(NamedTuple):
    """What a function does with rows: whether it leaves them apart, gives one value for each, gives one for all."""

    leaves_apart: bool
    keeps_height: bool
    reduces: bool


@lru_cache(maxsize=4096)
def _does(text: str) -> _Doing:
    function = json.loads(text)["Function"]["function"]
    if _BY_VALUE.intersection(_names(function)):
        return _Doing(True, True, False)
    try:
        found = pl.Expr.deserialize(io.StringIO(text), format="json").meta
        keeps, reduces = found.is_length_preserving(), found.is_scalar()
        return _Doing(found.is_row_separable() and (keeps or reduces), keeps, reduces)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError):
        return _Doing(False, False, False)


def _names(function: Any) -> Iterator[str]:
    if isinstance(function, str):
        yield function
    elif isinstance(function, dict):
        for name, inner in function.items():
            yield name
            yield from _names(inner)


def _is_series(literal: Any) -> bool:
    return isinstance(literal, dict) and "Series" in literal


def _is_plain_literal(node: Node) -> bool:
    return isinstance(node, dict) and "Literal" in node


def _children(fields: Any) -> Iterator[Node]:
    """The expressions right below: what a mapping with one expression kind, or Len, is."""
    if isinstance(fields, dict):
        if len(fields) == 1 and next(iter(fields))[:1].isupper():
            yield fields
        else:
            for key, value in fields.items():
                if key in ("expr", "left", "right", "predicate", "truthy", "falsy", "input"):
                    yield from _children(value)
    elif isinstance(fields, list):
        for item in fields:
            yield from _children(item)
    elif fields == "Len":
        yield fields
