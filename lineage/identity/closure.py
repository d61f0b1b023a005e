"""What a function that was made by another holds: the values it closes over, down to text and code."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from types import BuiltinFunctionType, EllipsisType, FunctionType, MethodType, ModuleType
from typing import Any
from uuid import UUID

from lineage.errors import DeclarationError

# Text, or what is to be followed as code.
Leaf = str | FunctionType | type | ModuleType

_PLAIN = (
    *(bool, int, float, complex, str, bytes, type(None), EllipsisType, range),
    *(date, time, timedelta, Decimal, Fraction, PurePath, UUID),
)


def holdings(function: FunctionType, place: str) -> Iterator[tuple[str, Leaf]]:
    """(place, leaf) of everything that `function` closes over, and of its defaults if it was made at run time."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:  # not bound yet: a function that is defined later
            continue
        yield from leaves(value, f"{place}.{name}")
    if "<locals>" in function.__qualname__:
        yield from leaves(function.__defaults__ or (), f"{place}()")
        yield from leaves(function.__kwdefaults__ or {}, f"{place}(*)")


def leaves(value: Any, place: str, above: tuple[int, ...] = ()) -> Iterator[tuple[str, Leaf]]:
    """(place, leaf) of all that `value` consists of; DeclarationError for what cannot be told apart by its content."""
    if isinstance(value, FunctionType | type | ModuleType):
        yield place, value
    elif isinstance(value, Enum):
        yield from ((place, type(value)), (f"{place}.name", value.name))
    elif isinstance(value, _PLAIN):
        yield place, f"{type(value).__name__} {value!r}"
    elif id(value) not in above:
        yield place, type(value).__qualname__
        for name, part in _parts(value, place):
            yield from leaves(part, f"{place}{name}", (*above, id(value)))


def _parts(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for number, (key, item) in enumerate(value.items()):
            yield from ((f"[{number}]", key), (f"[{number}]=", item))
    elif isinstance(value, set | frozenset):
        yield from ((f"[{number}]", item) for number, item in enumerate(sorted(value, key=repr)))
    elif isinstance(value, tuple | list):
        yield from ((f"[{number}]", item) for number, item in enumerate(value))
    elif isinstance(value, functools.partial):
        yield from ((".func", value.func), (".args", value.args), (".keywords", value.keywords))
    elif isinstance(value, MethodType):
        yield from ((".function", value.__func__), (".self", value.__self__))
    elif isinstance(value, BuiltinFunctionType):
        yield from ((".name", value.__qualname__), (".self", value.__self__))
    elif is_dataclass(value):
        yield ".class", type(value)
        yield from ((f".{item.name}", getattr(value, item.name)) for item in fields(value))
    elif isinstance(wrapped := getattr(value, "__wrapped__", None), FunctionType):  # functools.cache
        yield ".wrapped", wrapped
    else:
        raise DeclarationError(
            f"{place} is a {type(value).__module__}.{type(value).__qualname__}, whose content cannot be told from "
            "its text; make it a keyword-only parameter (a JSON value) or a constant of the module."
        )
