"""The project's own modules are imported from their text, never from bytecode that was kept.

Python takes `__pycache__` for the text's own as long as the file has the same size and the same second of change: an
edit right after a run, or one that keeps the time, would run the code before it under the digest of the new one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from lineage.identity.module import PLATFORM, is_installed


class _FromText(SourceFileLoader):
    """A loader without a cache: what cannot be dated is neither read from bytecode nor written to it."""

    def path_stats(self, path: Any) -> Any:
        raise OSError(f"{path}: bytecode is not used")


class _OwnFinder(MetaPathFinder):
    """Finds what Python's own finder finds, for modules below `root` that nobody installed."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.partition(".")[0] in (*PLATFORM, "orchestration"):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or type(spec.loader) is not SourceFileLoader or not spec.origin:
            return None
        origin = Path(spec.origin).resolve()
        if not origin.is_relative_to(self.root) or is_installed(origin, self.root):
            return None
        spec.loader, spec.cached = _FromText(spec.loader.name, spec.loader.path), None
        return spec


def import_from_text(root: Path) -> None:
    """From now on, import what lies below `root` from its text; what is imported already stays as it is."""
    finders: list[Any] = sys.meta_path
    if any(isinstance(finder, _OwnFinder) and finder.root == root.resolve() for finder in finders):
        return
    # Just before Python's own: whoever put a finder in front of that has a reason.
    place = finders.index(PathFinder) if PathFinder in finders else len(finders)
    finders.insert(place, _OwnFinder(root))
