"""Shapes of text: a regular expression that all values of a column match, where there is one that says something.

Values are words (letters and digits of ASCII) with separators between them. If they all have the same separators, the
smallest and the largest have them too: so these two say what to look for, and one streaming pass finds how long each
word is, what it is made of, and whether all values follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import Any

import polars as pl

from validations.exact import exact

_WORD = "[0-9A-Za-z]+"
_SEPARATORS = frozenset(" -_/.:+@#,")
_CLASSES = {"digit": "[0-9]", "upper": "[A-Z]", "lower": "[a-z]"}
# What is longer, or varies more in length, is text that somebody wrote: a shape would say nothing of it.
_MOST_WORDS = 6
_MOST_RUNS = 6
_LONGEST_WORD = 64
_WIDEST = 4
_LONGEST_SHAPE = 100
# A word of these digits that is shorter may as well be a short name.
_SHORTEST_HEX = 4


@dataclass(frozen=True)
class _Word:
    """A word of the values; `classes` are its pieces of one class each, where two values agree on them."""

    name: str
    classes: tuple[str, ...]

    @property
    def follows(self) -> str:
        """What a word of these pieces matches, a group for each."""
        return "^" + "".join(f"({_CLASSES[kind]}+)" for kind in self.classes) + "$"

    def run(self, at: int) -> str:
        """The name of a piece."""
        return f"{self.name}.{at}"


@dataclass(frozen=True)
class _Outline:
    """What the smallest and the largest value of a column have in common: separators, and the words between them."""

    column: str
    separators: tuple[str, ...]
    words: tuple[_Word, ...]

    @property
    def pattern(self) -> str:
        """What the values match, a group for each word."""
        return f"^{_joined(self.separators, [f'({_WORD})'] * len(self.words))}$"


def find_shapes(table: pl.LazyFrame, bounds: Mapping[str, tuple[Any, Any]]) -> dict[str, str]:
    """Column -> a regular expression (for Python and Rust) that all its values match, of columns that have a tight one.

    `bounds` are the smallest and the largest value of each column that is to be looked at.
    """
    looked = (_outline(name, number, low, high) for number, (name, (low, high)) in enumerate(bounds.items()))
    outlines = _followed(table, [outline for outline in looked if outline])
    if not outlines:
        return {}
    asked = [one for outline in outlines for one in _questions(outline)]
    found = _pieces(table, outlines).select(asked).collect(engine="streaming").row(0, named=True)
    shapes = {outline.column: _shape(outline, found) for outline in outlines}
    return {name: shape for name, shape in shapes.items() if shape}


def _outline(name: str, number: int, low: Any, high: Any) -> _Outline | None:
    if not isinstance(low, str) or not isinstance(high, str):
        return None
    separators, others = (tuple(re.split(_WORD, text)) for text in (low, high))
    if separators != others or not 2 <= len(separators) <= _MOST_WORDS + 1 or set("".join(separators)) - _SEPARATORS:
        return None
    pairs = zip(re.findall(_WORD, low), re.findall(_WORD, high), strict=True)
    return _Outline(name, separators, tuple(_word(f"{number}.{at}", *pair) for at, pair in enumerate(pairs)))


def _word(name: str, first: str, last: str) -> _Word:
    classes, others = (tuple(kind for kind, _ in groupby(text, _class)) for text in (first, last))
    return _Word(name, classes if classes == others and len(classes) <= _MOST_RUNS else ())


def _followed(table: pl.LazyFrame, outlines: list[_Outline]) -> list[_Outline]:
    """Those that all values follow, in lengths that differ little: taking values to pieces costs more than this."""
    if not outlines:
        return []
    asked: list[pl.Expr] = []
    for outline in outlines:
        column, length = exact(outline.column), exact(outline.column).str.len_bytes()
        asked.append(column.str.contains(outline.pattern).all().alias(f"{outline.column} follows"))
        asked.append((length.max() - length.min()).alias(f"{outline.column} width"))
    found = table.select(asked).collect(engine="streaming").row(0, named=True)
    return [
        one
        for one in outlines
        if found[f"{one.column} follows"] and found[f"{one.column} width"] <= _WIDEST * len(one.words)
    ]


def _pieces(table: pl.LazyFrame, outlines: list[_Outline]) -> pl.LazyFrame:
    """The words of the values, and the pieces of these, as columns."""
    words = [expression for outline in outlines for expression in _words(outline)]
    runs = [
        pl.col(word.name).str.extract_groups(word.follows).struct.rename_fields(_names(word)).struct.unnest()
        for outline in outlines
        for word in outline.words
        if len(word.classes) > 1
    ]
    return table.select(words).with_columns(runs)


def _words(outline: _Outline) -> Iterator[pl.Expr]:
    column = exact(outline.column)
    if outline.separators == ("", ""):
        yield column.alias(outline.words[0].name)
        return
    groups = column.str.extract_groups(outline.pattern)
    yield groups.struct.rename_fields([word.name for word in outline.words]).struct.unnest()


def _names(word: _Word) -> list[str]:
    return [word.run(at) for at in range(len(word.classes))]


def _class(character: str) -> str:
    return "digit" if character.isdigit() else "upper" if character.isupper() else "lower"


def _questions(outline: _Outline) -> Iterator[pl.Expr]:
    for word in outline.words:
        whole = pl.col(word.name)
        yield from _measures(word.name)
        for kind, letters in (*_CLASSES.items(), ("not hex", "[A-Zg-z]")):
            yield whole.str.contains(letters).any().alias(f"{word.name} {kind}")
        if len(word.classes) > 1:
            yield whole.str.contains(word.follows).all().alias(f"{word.name} follows")
            for name in _names(word):
                yield from _measures(name)


def _measures(name: str) -> Iterator[pl.Expr]:
    piece = pl.col(name)
    yield piece.str.len_bytes().min().alias(f"{name} shortest")
    yield piece.str.len_bytes().max().alias(f"{name} longest")
    yield piece.min().alias(f"{name} min")
    yield piece.max().alias(f"{name} max")


def _shape(outline: _Outline, found: Mapping[str, Any]) -> str | None:
    pieces = [_word_shape(word, found) for word in outline.words]
    told = [piece for piece in pieces if piece is not None]
    if len(told) < len(pieces):
        return None
    shape = f"^{_joined(outline.separators, told)}$"
    # Without a class it is one value.
    return shape if len(shape) <= _LONGEST_SHAPE and "[" in shape else None


def _word_shape(word: _Word, found: Mapping[str, Any]) -> str | None:
    if len(word.classes) > 1 and found[f"{word.name} follows"]:
        runs = zip(_names(word), word.classes, strict=True)
        pieces = [_piece(name, _CLASSES[kind], found) for name, kind in runs]
        told = [piece for piece in pieces if piece is not None]
        return "".join(told) if len(told) == len(pieces) else None
    return _piece(word.name, _letters(word.name, found), found)


def _letters(name: str, found: Mapping[str, Any]) -> str | None:
    """The class of everything in a word; None where it is of any letter and any length."""
    kinds = [_CLASSES[kind].strip("[]") for kind in _CLASSES if found[f"{name} {kind}"]]
    if kinds == ["0-9", "a-z"] and not found[f"{name} not hex"] and found[f"{name} shortest"] >= _SHORTEST_HEX:
        return "[0-9a-f]"
    fixed = found[f"{name} shortest"] == found[f"{name} longest"]
    return f"[{''.join(kinds)}]" if fixed or not {"A-Z", "a-z"} <= {*kinds} else None


def _piece(name: str, letters: str | None, found: Mapping[str, Any]) -> str | None:
    """A class with its length, after the letters that all begin with; None where that is not tight."""
    shortest, longest = found[f"{name} shortest"], found[f"{name} longest"]
    if letters is None or longest > _LONGEST_WORD or longest - shortest > _WIDEST:
        return None
    # What the smallest and the largest begin with, all do. Digits that all begin with are those of this year.
    pairs = zip(found[f"{name} min"], found[f"{name} max"], strict=False)
    begins = "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1] and pair[0].isalpha(), pairs))
    if begins == found[f"{name} max"]:
        return begins
    if len(begins) >= shortest:
        begins = ""
    return f"{begins}{letters}{_times(shortest - len(begins), longest - len(begins))}"


def _times(few: int, many: int) -> str:
    if few == many:
        return "" if few == 1 else f"{{{few}}}"
    return f"{{{few},{many}}}"


def _joined(separators: tuple[str, ...], words: list[str]) -> str:
    quoted = [re.sub(r"[.+]", r"\\\g<0>", text) for text in separators]
    return "".join(piece for pair in zip(quoted, [*words, ""], strict=True) for piece in pair)
