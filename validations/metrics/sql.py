"""Which queries may be run on named frames, told from their tokens: texts, quoted names and comments are not code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

_TOKEN = re.compile(
    r"""
      (?P<blank> \s+ | --[^\n]* )
    | (?P<comment> /\* )
    | (?P<text> '(?:[^']|'')*' | (?P<dollars>\$\w*\$) .*? (?P=dollars) )
    | (?P<quoted> "(?:[^"]|"")*" | `(?:[^`]|``)*` )
    | (?P<word> \w[\w$@#]* )
    | (?P<sign> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_BEGINNINGS = ("select", "with")


@dataclass(frozen=True)
class Token:
    """A part of a query that is no blank and no comment: a text, a quoted name, a word or a sign."""

    kind: str
    text: str

    @property
    def name(self) -> str:
        """What a word or a quoted name stands for, in small letters; of anything else nothing."""
        return {"word": self.text, "quoted": self.text[1:-1]}.get(self.kind, "").lower()


def refusal(query: str, tables: str) -> str | None:
    """Why a query is not run, None where it may be; `tables` says which it may read.

    A query is a single SELECT, which WITH may lead; a table function such as read_csv reads what is no part of the
    batch.
    """
    tokens = list(_tokens(query))
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    if any(token.kind == "sign" and token.text == ";" for token in tokens):
        return f"it has more than one statement; write a single SELECT on {tables}"
    first = next((token.text for token in tokens if token.text != "("), "nothing")
    if first.lower() not in _BEGINNINGS:
        return f"it begins with {first}; write a single SELECT, or WITH … SELECT, on {tables}"
    for token, following in pairwise(tokens):
        if following.text == "(" and token.name.startswith("read_"):
            return f"its function {token.name} reads files, which are no part of the batch; write {tables} instead"
    return None


def _tokens(query: str) -> Iterator[Token]:
    at = 0
    while found := _TOKEN.match(query, at):
        at = found.end()
        kind = str(found.lastgroup)
        if kind == "comment":
            at = _comment_end(query, at)
        elif kind != "blank":
            yield Token("text" if kind == "dollars" else kind, found[0])


def _comment_end(query: str, at: int) -> int:
    """Where a comment ends: comments may hold comments."""
    depth = 1
    for mark in re.compile(r"/\*|\*/").finditer(query, at):
        depth += 1 if mark[0] == "/*" else -1
        if not depth:
            return mark.end()
    return len(query)
