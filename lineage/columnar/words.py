"""Expressions of a plan as short text, as one would write them."""

from __future__ import annotations

from typing import Any

# Characters of an expression that are shown.
LONGEST = 80
_DEEPEST = 12
# Columns that Polars and `lineage.history` make for themselves.
_INTERNAL = ("__POLARS", "__history_", "\x1f")
_SYMBOLS = {
    **{"Eq": "==", "EqValidity": "==", "NotEq": "!=", "NotEqValidity": "!=", "Lt": "<", "LtEq": "<=", "Gt": ">"},
    **{"GtEq": ">=", "Plus": "+", "Minus": "-", "Multiply": "*", "Divide": "/", "TrueDivide": "/", "FloorDivide": "//"},
    **{"RustDivide": "/", "Modulus": "%", "And": "&", "LogicalAnd": "&", "Or": "|", "LogicalOr": "|", "Xor": "^"},
}
# What is called with all that it takes, not of the first.
_FREE = frozenset({"as_struct", "coalesce", "datetime_function", "duration", "format", "int_range", "concat"})


def words(nodes: Any, number: int) -> str:
    """The expression of this number, cut where it is long; empty where it is about columns that no author named.

    `nodes` is Polars' NodeTraverser of the plan.
    """
    return shown(_unwrapped(" ".join(_text(nodes, number, _DEEPEST).split())))


def shown(text: str) -> str:
    """The text, cut where it is long; empty where it names a column that no author named."""
    if any(name in text for name in _INTERNAL):
        return ""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _unwrapped(text: str) -> str:
    """Without brackets around all of it."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[1:-1] if place == len(text) - 1 and text.startswith("(") else text
    return text


def _text(nodes: Any, number: int, depth: int) -> str:
    if depth == 0:
        return "…"
    try:
        found = nodes.view_expression(number)
    except NotImplementedError as error:
        return str(error).partition("\n")[0]

    def inner(child: int) -> str:
        return _text(nodes, child, depth - 1)

    kind = type(found).__name__
    if kind == "Column":
        return str(found.name)
    if kind == "Literal":
        return _literal(found.value)
    if kind == "Len":
        return "len()"
    if kind == "Alias":
        return inner(found.expr)
    if kind == "Cast":
        return f"{inner(found.expr)}.cast({_kind(found.dtype)})"
    if kind == "BinaryExpr":
        return f"({inner(found.left)} {_symbol(found.op)} {inner(found.right)})"
    if kind == "Ternary":
        return f"when({inner(found.predicate)}).then({inner(found.truthy)}).otherwise({inner(found.falsy)})"
    if kind == "Window":
        return f"{inner(found.function)}.over({', '.join(map(inner, found.partition_by))})"
    return _called(kind, found, inner)


def _called(kind: str, found: Any, inner: Any) -> str:
    """What is written as a method: of the first expression, given the others."""
    if kind == "Agg":
        name, given = str(found.name), list(found.arguments)
    elif kind == "Function":
        name, given = function_name(found), list(found.input)
    else:
        names = ("expr", "input", "function", "by", "idx", "offset", "length", "index_column")
        parts = [getattr(found, name, None) for name in names]
        name = kind.lower()
        given = [part for part in parts if isinstance(part, int)]
        given += [item for part in parts if isinstance(part, list) for item in part if isinstance(item, int)]
    texts = [inner(item) for item in given]
    name = _snake(name.rpartition(".")[2])
    if name in _FREE or name.endswith("_horizontal"):
        return f"{name}({', '.join(texts)})"
    return f"{texts[0]}.{name}({', '.join(texts[1:])})" if texts else f"{name}()"


def function_name(found: Any) -> str:
    """The name of a function, after that of its family if it has one: `StringFunction.LenChars`, `fill_null`."""
    return str(found.function_data[0])


def _symbol(operator: Any) -> str:
    name = str(operator).rpartition(".")[2]
    return _SYMBOLS.get(name, name)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def _kind(dtype: Any) -> str:
    """A type by its name, without its details."""
    return str(dtype).partition("(")[0]


def _literal(value: Any) -> str:
    return "[…]" if type(value).__name__ == "PySeries" else repr(value) if isinstance(value, str) else str(value)
