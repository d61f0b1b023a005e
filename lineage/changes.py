"""What changed between two mappings, as the answers of all diffs say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def compare(a: Mapping[Any, Any], b: Mapping[Any, Any]) -> dict[str, Any]:
    """Which values changed, which are new in `b`, which of `a` are gone, and whether they are the `same`."""
    changed = {name: [value, b[name]] for name, value in a.items() if name in b and not _equal(value, b[name])}
    added = {name: value for name, value in b.items() if name not in a}
    gone = {name: value for name, value in a.items() if name not in b}
    return {"same": not (changed or added or gone), "changed": changed, "added": added, "gone": gone}


def _equal(a: Any, b: Any) -> bool:
    """Whether two values are the same; 1 and 1.0 are, 1 and true are not."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)
