"""Digest of code: a function and every first-party function it reaches, through imports, statically.

The walk reads source files, never imports or runs them: from a definition it follows each global name
to its definition, through `import` and `from … import`, as long as the module is first-party. Comments,
formatting, docstrings and type annotations do not count. A name that cannot be followed exactly (a star import, a
module used as a value) brings in its whole module: the digest may change too often, never too rarely.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from lineage.errors import DeclarationError

# The platform's own packages count as first-party wherever they are installed, so that an upgrade of
# Headwater that changes how a table is written also changes the table's code digest.
PLATFORM = ("lineage", "validations", "serving")

_WHOLE = "*"


@dataclass(frozen=True)
class Module:
    """One parsed module: definitions by name, names bound by imports, and the tree."""

    name: str
    package: str
    tree: ast.Module
    definitions: dict[str, list[ast.stmt]]
    imports: dict[str, tuple[str, str | None]]
    stars: tuple[str, ...]


@dataclass
class _Walk:
    root: Path
    seen: dict[str, str] = field(default_factory=dict)
    queue: list[tuple[str, str]] = field(default_factory=list)


def code_digest(functions: Iterable[Callable[..., Any] | str], root: Path) -> str:
    """sha256 (hex) over everything that `functions` reach; a function or its `module:name`.

    Raises DeclarationError when the source of a function cannot be found.
    """
    digest = hashlib.sha256()
    for name, text in sorted(reached(functions, root).items()):
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()


def reached(functions: Iterable[Callable[..., Any] | str], root: Path) -> dict[str, str]:
    """`module:name` -> normalised source of every first-party definition that `functions` reach."""
    walk = _Walk(root)
    for function in functions:
        _enter(function, walk)
    while walk.queue:
        _follow(*walk.queue.pop(), walk)
    return walk.seen


def _enter(function: Callable[..., Any] | str, walk: _Walk) -> None:
    if isinstance(function, str):
        module_name, _, name = function.partition(":")
        walk.queue.append((module_name, name))
        return
    module = load_module(function.__module__, walk.root)
    if module is None:
        raise DeclarationError(f"{function.__qualname__}: the source of {function.__module__!r} cannot be read.")
    node = _function_node(module, function)
    _record(f"{module.name}:{function.__qualname__}", [node], module, walk)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        _closure_value(f"{module.name}:{function.__qualname__}.{name}", cell.cell_contents, walk)


def _closure_value(name: str, value: Any, walk: _Walk) -> None:
    if callable(value) and hasattr(value, "__code__"):
        _enter(value, walk)
    else:
        walk.seen[name] = repr(value)


def _function_node(module: Module, function: Callable[..., Any]) -> ast.stmt:
    line = function.__code__.co_firstlineno
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function.__name__:
            first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
            if first == line:
                # The decorator only declares: what it says is in the step, not in the function.
                return _without_decorators(node)
    raise DeclarationError(
        f"{function.__qualname__}: its source in {module.name} has changed since it was imported; start again."
    )


def _without_decorators(node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.stmt:
    bare = ast.copy_location(type(node)(**dict(ast.iter_fields(node))), node)
    bare.decorator_list = []
    return bare


def _follow(module_name: str, name: str, walk: _Walk) -> None:
    key = f"{module_name}:{name}"
    if key in walk.seen:
        return
    module = load_module(module_name, walk.root)
    if module is None:
        return
    if name == _WHOLE:
        _record(key, module.tree.body, module, walk)
    elif name in module.definitions:
        _record(key, module.definitions[name], module, walk)
    elif name in module.imports:
        _queue_import(*module.imports[name], walk)
    elif load_module(f"{module_name}.{name}", walk.root) is not None:
        walk.queue.append((f"{module_name}.{name}", _WHOLE))
    else:
        for star in module.stars:
            walk.queue.append((star, _WHOLE))


def _record(key: str, nodes: list[ast.stmt], module: Module, walk: _Walk) -> None:
    walk.seen[key] = "\n".join(_normalised(node) for node in nodes)
    local: dict[str, tuple[str, str | None]] = {}
    for node in nodes:
        local |= _import_bindings(ast.walk(node), module.package)
    bindings = {**module.imports, **local}
    for node in nodes:
        for chain in _name_chains(node):
            _resolve(chain, module, bindings, walk)
    for star in module.stars:
        walk.queue.append((star, _WHOLE))


def _resolve(chain: tuple[str, ...], module: Module, bindings: dict[str, tuple[str, str | None]], walk: _Walk) -> None:
    head, *rest = chain
    if head in bindings:
        target, attribute = bindings[head]
        if attribute is None:
            _queue_attribute(target, rest, walk)
        else:
            _queue_import(target, attribute, walk, rest)
    elif head in module.definitions:
        walk.queue.append((module.name, head))


def _queue_import(target: str, attribute: str | None, walk: _Walk, rest: Iterable[str] = ()) -> None:
    submodule = f"{target}.{attribute}"
    if attribute is None:
        walk.queue.append((target, _WHOLE))
    elif load_module(submodule, walk.root) is not None:
        _queue_attribute(submodule, list(rest), walk)
    else:
        walk.queue.append((target, attribute))


def _queue_attribute(target: str, rest: list[str], walk: _Walk) -> None:
    # `import a.b` binds `a`; a.b.c.f reaches f of module a.b.c: follow modules as deep as they go.
    while rest and load_module(f"{target}.{rest[0]}", walk.root) is not None:
        target = f"{target}.{rest.pop(0)}"
    walk.queue.append((target, rest[0] if rest else _WHOLE))


def _name_chains(node: ast.AST) -> Iterator[tuple[str, ...]]:
    """Every dotted name that is read in `node`, outermost first: a.b.c gives (a, b, c)."""
    stack: list[ast.AST] = [node]
    while stack:
        item = stack.pop()
        chain = _chain(item)
        if chain:
            yield chain
            continue
        stack.extend(ast.iter_child_nodes(item))


def _chain(node: ast.AST) -> tuple[str, ...]:
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else ()


class _Normaliser(ast.NodeTransformer):
    """Drops what does not change behaviour: docstrings and annotations of functions."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        if node.body and isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant):
            node.body = node.body[1:] or [ast.Pass()]
        return node


def _normalised(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(_Normaliser().visit(ast.parse(ast.unparse(node)))))


@lru_cache(maxsize=4096)
def load_module(name: str, root: Path) -> Module | None:
    """The parsed first-party module `name`, or None when it is third-party or no module."""
    # Asking where `xgboost.core` is would import xgboost: look at the top-level package first.
    top = name.partition(".")[0]
    if not _is_first_party(top, _module_path(top), root):
        return None
    path = _module_path(name)
    if path is None:
        return None
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise DeclarationError(f"{path}: cannot be read as Python ({error}).") from error
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return Module(
        name=name,
        package=package,
        tree=tree,
        definitions=_definitions(tree),
        imports=_import_bindings(iter(tree.body), package),
        stars=_stars(tree, package),
    )


def _module_path(name: str) -> Path | None:
    loaded = sys.modules.get(name)
    file = getattr(loaded, "__file__", None)
    if file is None and loaded is None:
        try:
            found = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            return None
        file = found.origin if found else None
    return Path(file) if file and file.endswith(".py") else None


@lru_cache(maxsize=4096)
def _is_first_party(top: str, path: Path | None, root: Path) -> bool:
    if top in PLATFORM:
        return True
    if path is None:  # a namespace package: a folder of the project without __init__.py
        return bool(top) and (root / top).is_dir()
    return path.resolve().is_relative_to(root) and "site-packages" not in path.parts


def _definitions(tree: ast.Module) -> dict[str, list[ast.stmt]]:
    found: dict[str, list[ast.stmt]] = {}
    for statement in _top_level(tree.body):
        for name in _bound_names(statement):
            found.setdefault(name, []).append(statement)
    return found


def _top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield statement
        # A name bound inside a top-level if/try/with is a definition of the module all the same.
        if isinstance(statement, ast.If | ast.Try | ast.With):
            for part in ("body", "orelse", "finalbody"):
                yield from _top_level(getattr(statement, part, []))


def _bound_names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return [item.id for target in targets for item in ast.walk(target) if isinstance(item, ast.Name)]
    return []


def _import_bindings(nodes: Iterable[ast.AST], package: str) -> dict[str, tuple[str, str | None]]:
    bound: dict[str, tuple[str, str | None]] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for item in node.names:
                bound[item.asname or item.name.partition(".")[0]] = (
                    (item.name if item.asname else item.name.partition(".")[0]),
                    None,
                )
        elif isinstance(node, ast.ImportFrom):
            for item in node.names:
                bound[item.asname or item.name] = (_absolute(node, package), item.name)
    return bound


def _stars(tree: ast.Module, package: str) -> tuple[str, ...]:
    nodes = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return tuple(_absolute(node, package) for node in nodes if node.names[0].name == _WHOLE)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    base = ".".join(parents[: len(parents) - node.level + 1])
    return f"{base}.{node.module}" if node.module else base
