"""The columns that an expectation refers to, and those of them that a table lacks."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_COLUMN = ("column", "column_A", "column_B")
_COLUMNS = ("column_list", "column_set")
_LOCAL = "__local__"
_QUOTED = re.compile(r"`([^`]*)`")


@dataclass(frozen=True)
class Lacking:
    """A column that is not there, those of the table that are named most like it, and all of the table's."""

    column: str
    nearest: tuple[str, ...]
    columns: tuple[str, ...]

    def told(self, table: str) -> str:
        """The rest of a sentence that begins with the expectation."""
        it_has = ", ".join(self.columns) or "no columns"
        hint = f"did you mean {' or '.join(self.nearest)}?" if self.nearest else f"it has {it_has}."
        return f"reads {self.column!r}, which {table} lacks; {hint}"


def lacking(kwargs: Mapping[str, Any], columns: Sequence[str]) -> Iterator[Lacking]:
    """The columns that an expectation's kwargs name and that are none of these, each once."""
    for column in dict.fromkeys(columns_read(kwargs)):
        if column not in columns:
            yield Lacking(column, tuple(difflib.get_close_matches(column, columns, n=3)), tuple(columns))


def columns_read(kwargs: Mapping[str, Any]) -> Iterator[str]:
    """The columns that an expectation's kwargs name, those of its row condition included."""
    for name in _COLUMN:
        if isinstance(column := kwargs.get(name), str):
            yield column
    for name in _COLUMNS:
        if isinstance(several := kwargs.get(name), list):
            yield from (column for column in several if isinstance(column, str))
    yield from condition_columns(kwargs.get("row_condition"))


def condition_columns(condition: Any) -> Iterator[str]:
    """The columns that a row condition names: in GX's own form, or as text in the language of pandas queries.

    Of text that cannot be read nothing is told: running the suite will say so.
    """
    if isinstance(condition, str):
        yield from _names(condition)
    elif isinstance(condition, list):
        for item in condition:
            yield from condition_columns(item)
    elif isinstance(condition, dict):
        column, text = condition.get("column"), condition.get("pass_through_filter")
        if isinstance(column, dict) and isinstance(column.get("name"), str):
            yield column["name"]
        if isinstance(text, str):
            yield from _names(text)
        yield from condition_columns(condition.get("conditions"))


def _names(text: str) -> Iterator[str]:
    """The bare and `quoted` names of a pandas query, and those in col("…")."""
    quoted: dict[str, str] = {}

    def placeholder(found: re.Match[str]) -> str:
        return quoted.setdefault(found[0], f"quoted_{len(quoted)}_")

    try:
        tree = ast.parse(_QUOTED.sub(placeholder, text).strip().replace("@", _LOCAL), mode="eval")
    except (SyntaxError, ValueError):
        return
    known = {name: text.strip("`") for text, name in quoted.items()}
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node not in called and not node.id.startswith(_LOCAL):
            yield known.get(node.id, node.id)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "col":
            names = (item.value for item in node.args if isinstance(item, ast.Constant))
            yield from (name for name in names if isinstance(name, str))
