"""A project's modules are imported from their text, whatever bytecode lies beside them."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path

import pytest

from lineage.identity.loader import import_from_text


@pytest.fixture
def finders(monkeypatch):
    """The finders of this process, put back afterwards."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """A module whose text was edited in a way that its bytecode cannot tell: same size, same time."""
    path = tmp_path / "unseen.py"
    path.write_text("A = 1\n")
    before = path.stat()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    assert importlib.import_module("unseen").A == 1
    assert Path(importlib.util.cache_from_source(str(path))).exists()
    del sys.modules["unseen"]
    path.write_text("A = 2\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    yield tmp_path
    sys.modules.pop("unseen", None)


def test_python_alone_runs_the_old_text(finders, edited):
    """The trap is there: Python takes the bytecode for the text's."""
    assert importlib.import_module("unseen").A == 1


def test_the_text_is_what_runs(finders, edited):
    """An edit that keeps size and time is run all the same."""
    import_from_text(edited)

    assert importlib.import_module("unseen").A == 2


@pytest.mark.parametrize("name", ["elsewhere", "site-packages"])
def test_only_ours_is_imported_so(finders, tmp_path, monkeypatch, name):
    """What is installed, or lies outside of the project, is imported as ever."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "theirs.py").write_text("A = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path / name))
    import_from_text(tmp_path / "elsewhere" / "deeper" if name == "elsewhere" else tmp_path)

    assert importlib.util.find_spec("theirs").cached is not None


def test_it_is_arranged_once(finders, tmp_path):
    """However often a project is discovered in a process, there is one finder for it."""
    import_from_text(tmp_path)
    before = len(sys.meta_path)
    import_from_text(tmp_path)

    assert len(sys.meta_path) == before
