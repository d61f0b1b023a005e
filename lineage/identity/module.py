"""One first-party module as it stands in its file: what it defines, what it imports, its normalised text.

Files are read, never imported or run. A process digests the code that it runs: a module that it has imported
counts as it stood then (`note_loaded`), however its file is edited later; one that it has not, as it stands now.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from lineage.errors import DeclarationError
from lineage.identity.bindings import Function, Target, chain, definitions, import_targets, scope, star_imports

# The platform's own packages count as first-party wherever they are installed, so that an upgrade of
# Headwater that changes how a table is written also changes the table's code digest.
PLATFORM = ("lineage", "validations", "serving")

# Folders of installed packages, whose versions are in the lock.
_INSTALLED = frozenset({"site-packages", "dist-packages"})

# What these return or run can be any name of the module.
DYNAMIC = frozenset({"eval", "exec", "globals", "locals", "vars"})

# Decorators that never look at annotations; any other one may (singledispatch, pydantic).
_BLIND = frozenset(
    {"abstractmethod", "cache", "cached_property", "classmethod", "contextmanager", "lru_cache", "override"}
    | {"property", "setter", "staticmethod", "table", "wraps"}
)


@dataclass(frozen=True, eq=False)
class Module:
    """One parsed module. Its tree is normalised: no docstrings, no annotations of functions.

    `definitions`: name -> the statements that decide what it holds. `imports`: name -> where it may come
    from. `stars`: modules of which any name may be meant.
    """

    name: str
    package: str
    tree: ast.Module
    definitions: Mapping[str, list[ast.stmt]]
    imports: Mapping[str, list[Target]]
    stars: tuple[str, ...]


@dataclass(frozen=True)
class _Known:
    """A file as this process last read it; `spec` is of the module object that was last seen loaded, if any."""

    signature: tuple[int, ...]
    spec: object
    source: bytes
    module: Module | None = None


_KNOWN: dict[tuple[str, Path], _Known] = {}


def load_module(name: str, root: Path) -> Module | None:
    """The parsed first-party module `name`, or None when it is third-party or no module.

    Raises DeclarationError when its file cannot be read, or nobody can say which text of it was imported.
    """
    path, _ = locate(name)
    if path is None or not is_first_party(name.partition(".")[0], root):
        return None
    known = _look(name, path)
    if known.module is None:
        known = _KNOWN[name, path] = replace(known, module=_parse(name, path, known.source))
    return known.module


def note_loaded(root: Path) -> None:
    """Read the files of all first-party modules that are loaded now, before somebody edits them."""
    names = list(sys.modules)
    own = {top for top in {name.partition(".")[0] for name in names} if is_first_party(top, root)}
    for name in names:
        path, _ = locate(name) if name.partition(".")[0] in own else (None, ())
        if path is not None and path.is_file():
            _look(name, path)


def locate(name: str) -> tuple[Path | None, tuple[Path, ...]]:
    """The file of a module and the folders of its submodules; unlike importlib's find_spec, imports no parent."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        return _python(getattr(loaded, "__file__", None)), _paths(getattr(loaded, "__path__", ()))
    parent, _, leaf = name.rpartition(".")
    if not parent:
        return _top(leaf)
    for folder in locate(parent)[1]:
        if (package := folder / leaf / "__init__.py").is_file():
            return package, (folder / leaf,)
        if (module := folder / f"{leaf}.py").is_file():
            return module, ()
        if (folder / leaf).is_dir():
            return None, (folder / leaf,)
    return None, ()


def is_first_party(top: str, root: Path) -> bool:
    """Whether the top-level package is the platform's, or neither installed nor of the standard library.

    One that lies outside of `root`, as an editable install of a neighbour does, is ours too: no lock holds its text.
    """
    if top in PLATFORM:
        return True
    path, folders = locate(top)
    return any(not is_installed(place.resolve(), root.resolve()) for place in ((path,) if path else folders))


def is_installed(place: Path, root: Path) -> bool:
    """Whether a resolved path is that of an installed package or of the standard library, wherever `root` is."""
    parts = place.relative_to(root).parts if place.is_relative_to(root) else place.parts
    return not _INSTALLED.isdisjoint(parts) or any(map(place.is_relative_to, _standard_library()))


@cache
def _standard_library() -> tuple[Path, ...]:
    return tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")})


def canonical(node: ast.AST) -> str:
    """The one text of a syntax tree: no positions, no formatting, the same for every version of Python."""
    parts: list[str] = []
    stack: list[Any] = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, _Text):
            parts.append(item)
        elif isinstance(item, list):
            stack += [_Text("]"), *reversed(item), _Text("[")]
        elif isinstance(item, ast.AST):
            fields = [(name, value) for name, value in ast.iter_fields(item) if _counts(name, value)]
            stack.append(_Text(")"))
            for name, value in reversed(fields):
                stack += [value, _Text(f"{name}=")]
            stack.append(_Text(f"{type(item).__name__}("))
        else:
            parts.append(f"{item!r},")
    return "".join(parts)


class _Text(str):
    """Text that is finished, as opposed to a string constant of the tree."""

    __slots__ = ()


def declares(decorator: ast.expr) -> bool:
    """Whether this decorator declares a step: what it says is in the step, not in the function."""
    return isinstance(decorator, ast.Call) and chain(decorator.func)[-1:] == ("table",)


def _counts(name: str, value: object) -> bool:
    return value is not None and value != [] and name not in ("ctx", "kind", "type_comment", "type_ignores")


def _top(name: str) -> tuple[Path | None, tuple[Path, ...]]:
    if name in PLATFORM:
        # Beside this package, whatever a project calls so: a folder `validations/` holds its suites.
        folder = Path(__file__).parents[2] / name
        return folder / "__init__.py", (folder,)
    try:
        spec = importlib.util.find_spec(name) if name else None
    except (ImportError, ValueError, AttributeError):
        return None, ()
    return (_python(spec.origin), _paths(spec.submodule_search_locations or ())) if spec else (None, ())


def _python(file: str | None) -> Path | None:
    return Path(file) if file and file.endswith(".py") else None


def _paths(folders: Iterable[str]) -> tuple[Path, ...]:
    return tuple(Path(folder) for folder in folders)


def _look(name: str, path: Path) -> _Known:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    known = _KNOWN.get((name, path))
    seen = _signature(path)
    if known is None or known.signature != seen:
        if known is not None and spec is not None and known.spec is spec:
            return known  # edited after it was imported: what runs here is what was read then
        if known is not None and spec is not None and known.spec is None:
            raise DeclarationError(
                f"{path} changed while this process was about to import it, so nobody can say which text runs; "
                "start the process again."
            )
        seen, source = _read(path)
        known = _Known(seen, spec, source)
    known = _KNOWN[name, path] = replace(known, spec=spec or known.spec)
    return known


def _signature(path: Path) -> tuple[int, ...] | None:
    try:
        return _seen(path.stat())
    except OSError:
        return None


def _seen(stat: os.stat_result) -> tuple[int, ...]:
    # The time of the last change of anything, last: a copy can keep the size and the time of the text, not that.
    return stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_ctime_ns


def _read(path: Path) -> tuple[tuple[int, ...], bytes]:
    try:
        with path.open("rb") as stream:
            return _seen(os.fstat(stream.fileno())), stream.read()
    except OSError as error:
        raise DeclarationError(f"{path}: cannot be read ({error.strerror}).") from error


def _parse(name: str, path: Path, source: bytes) -> Module:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise DeclarationError(f"{path}: cannot be read as Python ({error}).") from error
    tree = _Normaliser().visit(tree)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    inside = [node for statement in tree.body for node in scope(statement)]
    imports = import_targets(inside, package)
    itself = (name,) if any(isinstance(node, ast.Name) and node.id in DYNAMIC for node in inside) else ()
    stars = (*star_imports(inside, package), *itself)
    return Module(name, package, tree, definitions(tree.body, imports), imports, stars)


class _Normaliser(ast.NodeTransformer):
    """Drops what does not change behaviour: docstrings, and annotations of functions and inside of them."""

    def __init__(self) -> None:
        self._in_function = False

    def visit_Module(self, node: ast.Module) -> Any:
        return _without_docstring(self.generic_visit(node))

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        # A class's own annotations are its fields.
        return _without_docstring(self._inside(node, in_function=False))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if self._in_function:
            node.annotation = ast.Constant(...)
        return self.generic_visit(node)

    def _function(self, node: Function) -> ast.AST:
        _without_docstring(self._inside(node, in_function=True))
        if not any(_may_read_annotations(item) for item in node.decorator_list):
            node.returns = None
            for item in ast.walk(node.args):
                if isinstance(item, ast.arg):
                    item.annotation = None
        return node

    def _inside(self, node: ast.AST, *, in_function: bool) -> Any:
        outside, self._in_function = self._in_function, in_function
        self.generic_visit(node)
        self._in_function = outside
        return node


def _without_docstring(node: Any) -> Any:
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        node.body = node.body[1:] or [ast.Pass()]
    return node


def _may_read_annotations(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return not _BLIND.issuperset(chain(called)[-1:] or ("",))
