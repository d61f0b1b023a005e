"""Who imports whom: one direction between packages, one home for each framework, nothing heavy at the door."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# What each package may import of the others: only what stands to its left.
LEFT_OF = {
    "lineage": set(),
    "validations": {"lineage"},
    "serving": {"lineage", "validations"},
    "assets": {"lineage", "validations", "serving"},
    "orchestration": {"lineage", "validations", "serving"},
}

# What each folder of lineage/ may import of its other folders; what stands at the top of lineage/ is free.
BELOW = {
    "columnar": set(),
    "identity": set(),
    "server": set(),
    "rows": set(),
    "store": set(),
    "tracing": {"rows", "store"},
    "proof": {"identity", "store", "tracing"},
    "graph": {"store"},
    "service": {"graph", "store"},
    "doors": {"graph", "service", "store"},
}

# The web framework's doors, and what stands beside them.
DOORS = ("lineage/api.py", "lineage/doors/", "serving/http.py")

# framework -> the folder or files that own it. Any other importer is refused.
OWNERS = {
    "dagster": ("orchestration/",),
    "great_expectations": ("validations/",),
    "pandas": ("validations/",),
    "matplotlib": ("orchestration/pictures.py",),
    "xgboost": ("serving/",),
    "onnx": ("serving/",),
    "onnxruntime": ("serving/",),
    "openlineage": ("lineage/events.py",),
    "fastapi": DOORS,
    "starlette": DOORS,
    "uvicorn": ("orchestration/",),
    # DVC's files are written, its commands are run; its Python is never imported.
    "dvc": (),
}
FAMILIES = {"dagster": ("dagster", "dagster_postgres", "dagster_shared", "dagster_webserver", "dagster_graphql")}

LONGEST_FUNCTION_LINES = 60
LONGEST_MODULE_LINES = 400


def _files(root: Path) -> list[Path]:
    return [path for package in LEFT_OF for path in sorted((root / package).rglob("*.py"))]


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every top-level name that a file imports, with its line: also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((item.name, node.lineno) for item in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "import_module":
            yield from (
                (item.value, node.lineno)
                for item in node.args
                if isinstance(item, ast.Constant) and isinstance(item.value, str)
            )


def _wrong_directions(root: Path) -> list[str]:
    found = []
    for path in _files(root):
        package = path.relative_to(root).parts[0]
        forbidden = set(LEFT_OF) - LEFT_OF[package] - {package}
        for module, line in _imports(path):
            if module.partition(".")[0] in forbidden:
                found.append(f"{path.relative_to(root)}:{line} imports {module}")
    return found


def _wrong_ways(root: Path) -> list[str]:
    found = []
    for folder, below in BELOW.items():
        for path in sorted((root / "lineage" / folder).rglob("*.py")):
            for module, line in _imports(path):
                package, _, rest = module.partition(".")
                other = rest.partition(".")[0]
                if package == "lineage" and other in BELOW and other not in {folder, *below}:
                    found.append(f"{path.relative_to(root)}:{line} imports {module}")
    return found


def _wrong_homes(root: Path) -> list[str]:
    found = []
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        for module, line in _imports(path):
            for framework, homes in OWNERS.items():
                tops = FAMILIES.get(framework, (framework,))
                if module.partition(".")[0] in tops and not name.startswith(homes or ("-",)):
                    found.append(f"{name}:{line} imports {module}, which only {' and '.join(homes) or 'nobody'} may")
    return found


def _too_long(root: Path) -> list[str]:
    found = []
    for path in _files(root):
        name, text = path.relative_to(root).as_posix(), path.read_text()
        if (length := text.count("\n")) > LONGEST_MODULE_LINES:
            found.append(f"{name} has {length} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > LONGEST_FUNCTION_LINES:
                    found.append(f"{name}:{node.lineno} {node.name}() has {length} lines")
    return found


def test_imports_point_left():
    """lineage <- validations <- serving <- {assets, orchestration}, the last two knowing nothing of each other."""
    assert [] == _wrong_directions(ROOT)


def test_folders_of_lineage_import_one_way():
    """Who reads one folder need not know those above it."""
    folders = {path.parent.name for path in (ROOT / "lineage").glob("*/__init__.py")}

    assert folders == set(BELOW)
    assert [] == _wrong_ways(ROOT)


def test_a_wrong_way_is_named(tmp_path):
    """Also inside a function."""
    path = tmp_path / "lineage" / "rows" / "a.py"
    path.parent.mkdir(parents=True)
    path.write_text("from lineage.rows import b\ndef f():\n    from lineage.tracing.tracer import Tracer")

    assert ["lineage/rows/a.py:3 imports lineage.tracing.tracer"] == _wrong_ways(tmp_path)


def test_every_framework_has_one_home():
    """Who replaces a framework changes one folder."""
    assert [] == _wrong_homes(ROOT)


def test_functions_and_modules_are_short():
    """What does not fit on a screen is two things."""
    assert [] == _too_long(ROOT)


def test_data_holds_no_code():
    """data/ is what DVC tracks: bytes, no modules."""
    assert [] == [path.relative_to(ROOT).as_posix() for path in (ROOT / "data").rglob("*.py")]


def test_every_package_is_looked_at():
    """A package that is not in the rule is not above it."""
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}

    assert {"lineage", "validations", "serving", "orchestration"} <= packages <= set(LEFT_OF)


WRONG = {
    "lineage/a.py": ("import serving.http", "lineage/a.py:1 imports serving.http"),
    "validations/a.py": ("def f():\n    from serving import x", "validations/a.py:2 imports serving"),
    "serving/a.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from orchestration.build import x",
        "serving/a.py:3 imports orchestration.build",
    ),
    "orchestration/a.py": (
        "import importlib\nimportlib.import_module('assets.b')",
        "orchestration/a.py:2 imports assets.b",
    ),
    "assets/a.py": ("import json, orchestration.cli as c", "assets/a.py:1 imports orchestration.cli"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_import_is_named(tmp_path, name):
    """The rule sees imports inside functions, under TYPE_CHECKING and by name, and says where they are."""
    text, said = WRONG[name]
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(text)

    assert [said] == _wrong_directions(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "homes"),
    [
        ("lineage/a.py", "def f():\n    import dagster as dg", "orchestration/"),
        ("serving/a.py", "\nfrom dagster_postgres import x", "orchestration/"),
        ("orchestration/a.py", "\nfrom great_expectations.core import x", "validations/"),
        ("serving/a.py", "\nimport pandas as pd", "validations/"),
        ("lineage/a.py", "\nimport onnxruntime", "serving/"),
        ("orchestration/a.py", "\nfrom matplotlib.figure import Figure", "orchestration/pictures.py"),
        ("lineage/a.py", "\nfrom openlineage.client import x", "lineage/events.py"),
        ("orchestration/a.py", "\nimport fastapi", "lineage/api.py and lineage/doors/ and serving/http.py"),
        ("serving/a.py", "\nimport uvicorn", "orchestration/"),
        ("lineage/a.py", "\nfrom dvc.repo import Repo", "nobody"),
    ],
)
def test_a_framework_abroad_is_named(tmp_path, name, text, homes):
    """The message has the file, the line, the module and whose it is."""
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(text)

    (found,) = _wrong_homes(tmp_path)

    assert found.startswith(f"{name}:2 imports ")
    assert found.endswith(f"which only {homes} may")


def test_the_platform_stands_without_its_example(tmp_path):
    """A repository with other pipelines, or none, is held to the same rules."""
    (tmp_path / "lineage").mkdir()
    (tmp_path / "lineage" / "a.py").write_text("x = 1\n")

    assert [] == _wrong_directions(tmp_path) + _wrong_homes(tmp_path) + _too_long(tmp_path)


def test_long_code_is_named(tmp_path):
    """A function over 60 lines and a module over 400 are found."""
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving" / "a.py").write_text("def f():\n" + "    x = 1\n" * 60 + "\n" * 400)

    assert ["serving/a.py has 461 lines", "serving/a.py:1 f() has 61 lines"] == _too_long(tmp_path)


LIGHT = {
    "import lineage": ("dagster", "great_expectations", "polars", "psycopg", "pyarrow", "xgboost"),
    "import validations": ("dagster", "great_expectations", "pandas", "psycopg", "xgboost"),
    "import validations.check": ("dagster", "psycopg", "xgboost"),
    "import serving": ("dagster", "great_expectations", "onnx", "onnxruntime", "xgboost"),
    "import lineage.run": ("dagster", "great_expectations", "xgboost", "fastapi", "dvc"),
    "import serving.predict": ("dagster", "great_expectations", "fastapi", "uvicorn"),
    "import serving.fit": ("dagster", "great_expectations", "matplotlib", "xgboost"),
    "import orchestration.reports": ("matplotlib", "xgboost"),
    "from lineage.discover import discover": ("dagster", "great_expectations", "psycopg", "xgboost"),
}


@pytest.mark.parametrize("statement", LIGHT)
def test_importing_loads_nothing_heavy(statement):
    """A framework is loaded where it is used, not where its user is imported."""
    heavy = LIGHT[statement]

    loaded = _run("-c", f"{statement}\nimport sys\nprint(*(name for name in {heavy} if name in sys.modules))")

    assert [] == loaded.split()


def test_help_loads_nothing_heavy():
    """Asking the command line what it can do costs no framework."""
    report = _run("-X", "importtime", "-m", "orchestration.cli", "--help", stderr=True)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in report.splitlines() if "|" in line}

    assert "orchestration" in loaded
    assert set() == loaded & {"dagster", "great_expectations", "onnxruntime", "polars", "psycopg", "xgboost"}


def _run(*arguments: str, stderr: bool = False) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stderr if stderr else done.stdout
