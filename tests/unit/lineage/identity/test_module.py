"""Modules as text: which are ours, what of their text counts, and which of two texts a process runs."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import lineage
from lineage.errors import DeclarationError
from lineage.identity.code import code_digest, reached
from lineage.identity.module import canonical, is_first_party, load_module, locate, note_loaded

MODULES = sorted(Path(lineage.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_how_code_is_written_does_not_count(path):
    """A module and the same module written anew by a machine have one canonical text."""
    tree = ast.parse(path.read_text())

    again = ast.parse(ast.unparse(tree))

    assert canonical(tree) == canonical(again)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "1.0"),
        ("1", "True"),
        ("'a'", "b'a'"),
        ("a", "'a'"),
        ("a, b", "[a, b]"),
        ("f(a)", "f(*a)"),
        ("0.0", "-0.0"),
    ],
)
def test_what_code_says_counts(one, other):
    """Texts of different meaning have different canonical texts."""
    assert canonical(ast.parse(one)) != canonical(ast.parse(other))


@pytest.mark.parametrize("text", [b"def step(:", b"\x00", b"# coding: latin-1\n\xff = 1 +"])
def test_a_file_that_is_no_python_is_named(tmp_path, text, importable, write_files):
    """A module that cannot be parsed is refused with its path."""
    write_files(tmp_path, {"broken/steps.py": ""})
    (tmp_path / "broken" / "steps.py").write_bytes(text)

    with importable(tmp_path), pytest.raises(DeclarationError, match=r"broken/steps\.py: cannot be read as Python"):
        code_digest(["broken.steps:step"], tmp_path)


def test_a_process_digests_the_code_that_it_runs(tmp_path, importable, write_files):
    """A module that was imported counts as it stood then; one that was not, as it stands now."""
    steps = """
        from aged.seen import f
        def step(t):
            import aged.unseen
            return f(t) + aged.unseen.g(t)
    """
    low = {"aged/seen.py": "def f(t): return 1", "aged/unseen.py": "def g(t): return 1"}
    write_files(tmp_path, {"aged/steps.py": dedent(steps), **low})
    with importable(tmp_path):
        module = importlib.import_module("aged.steps")
        note_loaded(tmp_path)
        (tmp_path / "aged" / "seen.py").write_text("def f(t): return 22")
        (tmp_path / "aged" / "steps.py").write_text("\n\ndef step(t): return 333")

        imported = code_digest([module.step], tmp_path)
        (tmp_path / "aged" / "unseen.py").write_text("def g(t): return 4444")
        lazily = code_digest([module.step], tmp_path)
        places = reached([module.step], tmp_path)

    assert "value=1" in places["aged.seen:f"]
    assert "value=4444" in places["aged.unseen:g"]
    assert imported != lazily


def test_a_module_imported_anew_counts_as_it_is_now(tmp_path, importable, write_files):
    """After an edit and a fresh import the digest is that of the new text."""
    write_files(tmp_path, {"anew/steps.py": "def step(t): return 1"})
    with importable(tmp_path):
        before = code_digest([importlib.import_module("anew.steps").step], tmp_path)
        (tmp_path / "anew" / "steps.py").write_text("def step(t): return 22")
        del sys.modules["anew.steps"], sys.modules["anew"]
        importlib.invalidate_caches()

        after = code_digest([importlib.import_module("anew.steps").step], tmp_path)

    assert before != after


def test_a_module_edited_just_before_its_import_is_refused(tmp_path, importable, write_files):
    """Where nobody can say which of two texts runs, there is no digest."""
    write_files(tmp_path, {"raced/steps.py": "def step(t): return 1"})
    with importable(tmp_path):
        code_digest(["raced.steps:step"], tmp_path)
        (tmp_path / "raced" / "steps.py").write_text("def step(t): return 22")
        importlib.import_module("raced.steps")

        with pytest.raises(DeclarationError, match=r"raced/steps\.py changed while .* start the process again"):
            code_digest(["raced.steps:step"], tmp_path)


def test_modules_are_found_without_importing_their_parents(tmp_path, importable, write_files):
    """A module of a package that cannot be imported still has a place."""
    write_files(tmp_path, {"closed/__init__.py": "raise SystemExit", "closed/deep/er.py": ""})

    with importable(tmp_path):
        found = locate("closed.deep.er")

    assert (tmp_path / "closed" / "deep" / "er.py", ()) == found


@pytest.mark.parametrize("name", ["polars", "json", "sys", "no_such_module", "", "os.path", "lineage.no_such_module"])
def test_what_is_not_ours_is_no_module(tmp_path, name):
    """Installed packages, the standard library and names of nothing are not read."""
    assert load_module(name, tmp_path) is None


def test_ours_is_what_no_lock_holds(tmp_path, importable, write_files):
    """A package is first-party unless it is installed: also a neighbour's, beside the project."""
    write_files(tmp_path / "a", {"mine/__init__.py": "", "site-packages/theirs/__init__.py": ""})
    (tmp_path / "a" / "loose").mkdir()

    names = ("mine", "loose", "lineage", "polars", "theirs", "json", "no_such_module")
    with importable(tmp_path / "a"), importable(tmp_path / "a" / "site-packages"):
        inside = [is_first_party(name, tmp_path / "a") for name in names]
        outside = [is_first_party(name, tmp_path / "b") for name in names]

    assert [True, True, True, False, False, False, False] == inside == outside
