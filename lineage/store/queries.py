"""Named SQL: every `-- name: x` block of queries.sql, by its name."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def _all() -> dict[str, bytes]:
    text = (files("lineage.store") / "queries.sql").read_text()
    _, *parts = _NAME.split(text)
    return {name: sql.strip().encode() for name, sql in zip(parts[::2], parts[1::2], strict=True)}


def sql(name: str) -> bytes:
    """The text of query `name`; KeyError when there is none (a mistake in our own code)."""
    return _all()[name]
