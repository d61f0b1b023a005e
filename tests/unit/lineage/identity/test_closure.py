"""A function that another one made differs by what it holds."""

from __future__ import annotations

import importlib
import sys

import pytest

from lineage.errors import DeclarationError
from lineage.identity.code import code_digest, reached

FACTORIES = """\
import functools, math
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
import factories.low


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True)
class Limit:
    minutes: int


class Opaque:
    pass


def make(value):
    def step(t):
        return value
    return step


def by_default(value):
    def step(t, limit=value):
        return limit
    return step


def recursive():
    def step(t):
        return step(t - 1) if t else 0
    return step


def one(t): return 1
def two(t): return 2


double = lambda t: 2 * t
triple = lambda t: 3 * t


def wrapped(function, times):
    @functools.wraps(function)
    def wrapper(t):
        return [function(t) for _ in range(times)]
    return wrapper


def unready():
    def step(t):
        return later
    before = step
    return before
    later = 1
"""

VALUES = [
    "1, 2",
    "1, True",
    "'a', 'b'",
    "(1, 2), [1, 2]",
    "[1, [2]], [1, [3]]",
    "{'a': 1}, {'a': 2}",
    "{'a': 1}, {'b': 1}",
    "{1, 2}, {1, 3}",
    "None, ...",
    "m.Path('a'), m.Path('b')",
    "m.Colour.RED, m.Colour.BLUE",
    "m.Limit(15), m.Limit(20)",
    "m.Limit, m.Colour",
    "m.one, m.two",
    "m.math, m.functools",
    "m.math.floor, m.math.ceil",
    "m.make(1), m.make(2)",
    "[m.make(1), m.make(2)], [m.make(2), m.make(1)]",
    "[m.one, m.two, m.one], [m.one, m.two, m.two]",
    "m.by_default(1), m.by_default(2)",
    "m.functools.partial(m.one, 1), m.functools.partial(m.one, 2)",
    "m.functools.cache(m.one), m.functools.cache(m.two)",
    "m.double, m.triple",
    "[].append, [1].append",
]


@pytest.fixture
def factories(tmp_path, importable, write_files):
    """A module of functions that make functions."""
    write_files(tmp_path, {"factories/__init__.py": FACTORIES, "factories/low.py": "def f(): return 1"})
    with importable(tmp_path):
        yield importlib.import_module("factories")


@pytest.mark.parametrize("maker", ["make", "by_default"])
@pytest.mark.parametrize("pair", VALUES)
def test_what_a_function_closes_over_counts(tmp_path, factories, maker, pair):
    """Two functions of one text differ by what they hold: values, functions, classes, modules."""
    first, second = eval(pair, {"m": factories})
    make = getattr(factories, maker)

    digests = {code_digest([make(value)], tmp_path) for value in (first, second)}

    assert 2 == len(digests)
    assert code_digest([make(first)], tmp_path) in digests


def test_a_closure_without_content_is_refused(tmp_path, factories):
    """A value that only its address tells from another would change the digest in every process."""
    with pytest.raises(DeclarationError, match=r"step\.value is a factories\.Opaque.*keyword-only parameter"):
        code_digest([factories.make(factories.Opaque())], tmp_path)


def test_a_function_may_close_over_itself(tmp_path, factories):
    """A recursive inner function, and one whose name is not bound yet, have a digest."""
    functions = [factories.recursive(), factories.unready()]

    assert all(code_digest([function], tmp_path) for function in functions)


def test_a_wrapper_and_what_it_wraps_both_count(tmp_path, factories):
    """A decorator between the declaration and the function is followed, with its arguments."""
    one, two, again = (factories.wrapped(f, n) for f, n in ((factories.one, 2), (factories.two, 2), (factories.one, 3)))

    digests = {code_digest([function], tmp_path) for function in (one, two, again)}

    assert 3 == len(digests)


def test_a_module_in_a_closure_is_followed(tmp_path, factories):
    """A first-party module that a function holds counts with all its text."""
    places = reached([factories.make(sys.modules["factories.low"])], tmp_path)

    assert "factories.low:*" in places
