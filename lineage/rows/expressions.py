"""What a Polars expression says, read from its own tree: which columns it takes, and whether it is one row's affair.

The tree is the JSON form that Polars gives of an expression (`Expr.meta.serialize`). Which rows an expression brings
together is worked out in `lineage.rows.mixing`, what would not come out the same twice in `lineage.rows.pinning`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from lineage.rows.capture import lost

Node = Any  # JSON: a mapping of one kind to its fields, a string, a list or a number

# Where the arguments of functions are pickled Python.
_PYTHON = ("callback", "Map")


@dataclass(frozen=True, eq=False)
class Expression:
    """One expression of a step, read: `expr` is what Polars computes, `node` its tree. It gives one column, or several
    that cannot be told apart by where they come from."""

    expr: pl.Expr
    node: Node

    @cached_property
    def columns(self) -> list[str]:
        """The columns that it takes values from, each once."""
        return columns_in(self.node)

    @cached_property
    def is_opaque(self) -> bool:
        """Whether Python code that Polars cannot look into is part of it, other than to name columns."""
        renaming = [item["RenameAlias"]["function"] for item in mappings(self.node) if "RenameAlias" in item]
        return any(
            "AnonymousFunction" in item or any(isinstance(item.get(name), list) for name in _PYTHON)
            for item in mappings(self.node)
            if not any(item is other for other in renaming)
        )


def tree(expr: pl.Expr) -> Node:
    """The expression as JSON; ComputeError if it has Python code that cannot be pickled."""
    return json.loads(expr.meta.serialize(format="json"))


def expression(node: Node) -> pl.Expr:
    """The expression of a tree."""
    return pl.Expr.deserialize(io.StringIO(json.dumps(node)), format="json")


def listed(exprs: Iterable[Any], named: Mapping[str, Any]) -> list[pl.Expr]:
    """What Polars takes as expressions (names, lists, values, keywords) as expressions."""
    flat = [inner for item in exprs for inner in (item if _is_list(item) else [item])]
    return [*map(_expr, flat), *(_expr(item).alias(name) for name, item in named.items())]


def _is_list(item: Any) -> bool:
    return isinstance(item, Iterable) and not isinstance(item, str | bytes | pl.Expr | pl.Series | Mapping)


def _expr(item: Any) -> pl.Expr:
    return pl.col(item) if isinstance(item, str) else item if isinstance(item, pl.Expr) else pl.lit(item)


def columns_in(node: Node) -> list[str]:
    """The columns that a tree takes values from, each once; its selectors must be resolved."""
    found: list[str] = []
    for item in mappings(node):
        if isinstance(item.get("Column"), str):
            found.append(item["Column"])
        elif isinstance(item.get("ByName"), dict):
            found += item["ByName"]["names"]
    return list(dict.fromkeys(found))


def apart(expr: pl.Expr, names: Callable[[pl.Expr], Sequence[str]]) -> list[Node]:
    """The trees of the columns that an expression gives, one each where its selectors (all columns, those of a type, …)
    stand for one column each; `names` are those that an expression gives."""
    try:
        node = tree(expr)
    except pl.exceptions.ComputeError:
        columns = expr.meta.root_names() or list(names(pl.all()))
        return [{"AnonymousFunction": {"input": [{"Column": name} for name in dict.fromkeys(columns)]}}]
    chosen = [list(names(expression({"Selector": item["Selector"]}))) for item in mappings(node) if "Selector" in item]
    if not chosen:
        return [node]
    # Polars repeats the expression for each column, unless a function takes them all at once: then it has another name.
    outputs = list(names(expr))
    if all(len(columns) == len(outputs) for columns in chosen):
        single = [
            _chosen(node, iter([{"Column": columns[place]} for columns in chosen])) for place in range(len(outputs))
        ]
        if [[name] for name in outputs] == [list(names(rebuilt(node, expr))) for node in single]:
            return single
    return [_chosen(node, iter([_by_name(columns) for columns in chosen]))]


def _by_name(columns: list[str]) -> Node:
    return {"Selector": {"ByName": {"names": columns, "strict": True}}}


def _chosen(node: Node, columns: Iterator[Node]) -> Node:
    """The tree with its selectors replaced, in the order in which `mappings` comes by them."""
    if isinstance(node, list):
        return node if _is_bytes(node) else [_chosen(child, columns) for child in node]
    if not isinstance(node, dict):
        return node
    if "Selector" in node:
        return next(columns)
    return {key: _chosen(value, columns) for key, value in node.items()}


def made(node: Node, expr: pl.Expr) -> Expression:
    """The expression of a tree that came of `expr`, which it still is if nothing was changed."""
    try:
        changed = node != tree(expr)
    except pl.exceptions.ComputeError:
        changed = False
    return Expression(rebuilt(node, expr) if changed else expr, node)


def rebuilt(node: Node, expr: pl.Expr) -> pl.Expr:
    """The expression of a changed tree of `expr`; refused where the tree does not hold all of it."""
    for item in mappings(node):
        if any(kind in item and item[kind] is None for kind in ("Float", "Float32", "Float64")):
            raise lost(
                f"{expr} (Polars does not say which of NaN and the infinities it has)",
                "name its columns one by one, and compute with such a value in a with_columns of its own",
            )
    try:
        return expression(node)
    except pl.exceptions.ComputeError as error:
        raise lost(str(expr), "name its columns one by one") from error


def mappings(node: Node) -> Iterator[dict[str, Any]]:
    """All mappings of a tree, an outer one before those in it; selectors are not looked into."""
    waiting = [node]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            if "Selector" not in item or "ByName" in item["Selector"]:
                waiting.extend(reversed(item.values()))
        elif isinstance(item, list) and not _is_bytes(item):
            waiting.extend(reversed(item))


def _is_bytes(node: list[Node]) -> bool:
    return bool(node) and isinstance(node[0], int)


def name_of(function: Any) -> str:
    """The name of a function in a tree, the inner one of those in groups such as Boolean."""
    if isinstance(function, str):
        return function
    ((name, inner),) = function.items()
    if name != "Boolean":
        return str(name)
    return inner if isinstance(inner, str) else str(next(iter(inner)))
