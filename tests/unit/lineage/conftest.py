"""Small packages in temporary folders, to be digested or discovered."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from lineage.identity.code import code_digest

DigestOf = Callable[..., str]


def _write_files(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for folder in path.relative_to(root).parents[:-1]:
            (root / folder / "__init__.py").touch()


@contextmanager
def _importable(root: Path) -> Iterator[None]:
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    before, written = set(sys.modules), sys.dont_write_bytecode
    # A file edited twice in a second would be taken from its bytecode.
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.path.remove(str(root))
        sys.dont_write_bytecode = written
        for name in set(sys.modules) - before:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(root)):
                del sys.modules[name]


@pytest.fixture(scope="session")
def write_files() -> Callable[[Path, Mapping[str, str]], None]:
    """Write files (path -> text) below a folder; packages named by the paths get an __init__.py."""
    return _write_files


@pytest.fixture(scope="session")
def importable() -> Callable[[Path], AbstractContextManager[None]]:
    """A context in which a folder is first on sys.path; what is imported from it is forgotten afterwards."""
    return _importable


@pytest.fixture(scope="session")
def digest_of(tmp_path_factory: pytest.TempPathFactory) -> DigestOf:
    """The digest of `entry` in a fresh project that holds `files`."""

    def digest(files: Mapping[str, str], entry: str = "shop.steps:step") -> str:
        root = tmp_path_factory.mktemp("project")
        _write_files(root, files)
        with _importable(root):
            return code_digest([entry], root)

    return digest
