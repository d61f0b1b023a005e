"""Python's regular expressions, run by Polars where it can.

Suites are written for Python's `re`, and pandas runs them with it. A pattern is taken apart by Python's
own parser and written anew for Polars' engine (Rust's regex), which differs in what `$`, `\\w` and `\\s`
mean and in the syntax of character sets. What that engine lacks (look-around, back-references, an
anchor amid a pattern) runs in Python, value by value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from re import _constants as code  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import polars as pl

# Python's \w is str.isalnum or "_", its \s is str.isspace; Rust's sets have marks in the one and lack
# the information separators in the other.
_CATEGORIES = {
    code.CATEGORY_DIGIT: r"\p{Nd}",
    code.CATEGORY_NOT_DIGIT: r"\P{Nd}",
    code.CATEGORY_SPACE: r"[\s\x1c-\x1f]",
    code.CATEGORY_NOT_SPACE: r"[^\s\x1c-\x1f]",
    code.CATEGORY_WORD: r"[\p{L}\p{N}_]",
    code.CATEGORY_NOT_WORD: r"[^\p{L}\p{N}_]",
}
_BEYOND = re.VERBOSE | re.ASCII | re.LOCALE


class _UntranslatableError(Exception):
    """The pattern needs something that Rust's engine has not."""


def contains(values: pl.Expr, pattern: str) -> pl.Expr:
    """Whether Python's `re.search(pattern, value)` finds something; null stays null. ValueError for a bad pattern."""
    translated = translate(pattern)
    if translated is not None:
        return values.str.contains(translated)
    search = re.compile(pattern).search
    return values.map_batches(
        lambda batch: pl.Series([None if value is None else search(value) is not None for value in batch]),
        return_dtype=pl.Boolean,
        is_elementwise=True,
    )


@lru_cache(maxsize=512)
def translate(pattern: str) -> str | None:
    """The pattern for Rust's engine, None where only Python can run it; ValueError for a bad pattern."""
    try:
        tree = parser.parse(pattern)
    except re.error as error:
        raise ValueError(f"The regular expression {pattern!r} is not valid: {error}.") from error
    if tree.state.flags & _BEYOND:
        return None
    try:
        written = _flags(tree.state.flags) + _sequence(list(tree), last=True)
        pl.Series([""]).str.contains(written)  # too large a pattern is refused here
    except (_UntranslatableError, pl.exceptions.ComputeError):
        return None
    return written


def _flags(flags: int) -> str:
    letters = "".join(
        letter for letter, flag in (("i", re.IGNORECASE), ("m", re.MULTILINE), ("s", re.DOTALL)) if flags & flag
    )
    return f"(?{letters})" if letters else ""


def _sequence(items: Sequence[tuple[Any, Any]], last: bool) -> str:
    """`last`: nothing of the pattern follows this sequence."""
    end = len(items) - 1
    return "".join(_item(kind, value, last and at == end) for at, (kind, value) in enumerate(items))


def _item(kind: Any, value: Any, last: bool) -> str:
    if kind is code.LITERAL:
        return _character(value)
    if kind is code.NOT_LITERAL:
        return f"[^{_character(value)}]"
    if kind is code.ANY:
        return "."
    if kind is code.IN:
        return _set(value)
    if kind is code.BRANCH:
        return "(?:" + "|".join(_sequence(list(branch), last) for branch in value[1]) + ")"
    if kind is code.SUBPATTERN:
        return _group(value, last)
    if kind in {code.MAX_REPEAT, code.MIN_REPEAT}:
        return _repeat(kind, value)
    if kind is code.AT:
        return _anchor(value, last)
    raise _UntranslatableError


def _character(number: int) -> str:
    return f"\\x{{{number:x}}}"


def _set(items: Sequence[tuple[Any, Any]]) -> str:
    negated = bool(items) and items[0][0] is code.NEGATE
    return ("[^" if negated else "[") + "".join(_set_item(*item) for item in items[negated:]) + "]"


def _set_item(kind: Any, value: Any) -> str:
    if kind is code.LITERAL:
        return _character(value)
    if kind is code.RANGE:
        return f"{_character(value[0])}-{_character(value[1])}"
    if kind is code.CATEGORY and value in _CATEGORIES:
        return _CATEGORIES[value]
    raise _UntranslatableError


def _group(value: Any, last: bool) -> str:
    _number, added, removed, inner = value
    if (added | removed) & ~(re.IGNORECASE | re.DOTALL | re.MULTILINE):
        raise _UntranslatableError
    on, off = _flags(added)[2:-1], _flags(removed)[2:-1]
    head = f"(?{on}{'-' + off if off else ''}:" if on or off else "(?:"
    return head + _sequence(list(inner), last) + ")"


def _repeat(kind: Any, value: Any) -> str:
    low, high, inner = value
    most = "" if high is code.MAXREPEAT else str(high)
    lazy = "?" if kind is code.MIN_REPEAT else ""
    return f"(?:{_sequence(list(inner), last=False)}){{{low},{most}}}{lazy}"


def _anchor(value: Any, last: bool) -> str:
    if value in {code.AT_BEGINNING, code.AT_BEGINNING_STRING}:
        return "^" if value is code.AT_BEGINNING else r"\A"
    if value is code.AT_END_STRING:
        return r"\z"
    if value is code.AT_END and last:
        # Python's `$` also stands before a newline that ends the text; nothing may follow it here.
        return r"(?:\n?\z)"
    raise _UntranslatableError


def like(values: pl.Expr, pattern: str, escape: str | None = None) -> pl.Expr:
    """Whether SQL's LIKE holds: `%` is any text, `_` any one character; case matters."""
    return values.str.contains(f"(?s)^(?:{_like(pattern, escape)})$")


def _like(pattern: str, escape: str | None) -> str:
    written, literal = "", False
    for letter in pattern:
        if letter == escape and not literal:
            literal = True
            continue
        wild = {"%": ".*", "_": "."}.get(letter) if not literal else None
        written += wild or _character(ord(letter))
        literal = False
    return written
