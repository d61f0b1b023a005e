"""Which statements of a module decide what each of its names holds, as far as the text says.

A name is decided by every top-level statement that binds it, writes into it, or calls something for its
effect on it: a constant, an `if` around two definitions, `T[k] = f`, `T.append(x)`, `@area.register`.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterable, Iterator, Mapping

# Where a name comes from: (module, attribute), or (module, None) for the module itself.
Target = tuple[str, str | None]
Function = ast.FunctionDef | ast.AsyncFunctionDef

STAR = "*"


def definitions(body: list[ast.stmt], imported: Iterable[str]) -> dict[str, list[ast.stmt]]:
    """Name -> the top-level statements, whole and in order, that decide what it holds."""
    literals = {name for statement in body if _is_literal(statement) for name in _bound(statement)}
    functions = {statement.name: statement for statement in body if isinstance(statement, Function)}
    found: dict[str, list[ast.stmt]] = {}
    for statement in body:
        changed = set(_changed(statement, functions, set(imported)))
        for name in _bound(statement) | (changed - literals):
            found.setdefault(name, []).append(statement)
    return found


def import_targets(nodes: Iterable[ast.AST], package: str) -> dict[str, list[Target]]:
    """Name -> what the import statements among `nodes` bind it to (several in a try … except ImportError)."""
    bound: dict[str, list[Target]] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for item in node.names:
                top = item.name.partition(".")[0]
                bound.setdefault(item.asname or top, []).append((item.name if item.asname else top, None))
        elif isinstance(node, ast.ImportFrom) and node.names[0].name != STAR:
            for item in node.names:
                bound.setdefault(item.asname or item.name, []).append((_absolute(node, package), item.name))
    return bound


def star_imports(nodes: Iterable[ast.AST], package: str) -> tuple[str, ...]:
    """The modules of which everything is imported."""
    found = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    return tuple(_absolute(node, package) for node in found if node.names[0].name == STAR)


def scope(node: ast.AST) -> Iterator[ast.AST]:
    """`node` and what is below it in the same scope: not the inside of functions and classes."""
    yield node
    for child in _inside(node):
        yield from scope(child)


def _inside(node: ast.AST) -> Iterable[ast.AST]:
    if isinstance(node, Function | ast.ClassDef):
        return node.decorator_list
    if isinstance(node, ast.comprehension):
        # Its target is known in the comprehension alone, also to Pythons that run it in place (3.12 on).
        return (node.iter, *node.ifs)
    return ast.iter_child_nodes(node)


def chain(node: ast.AST) -> tuple[str, ...]:
    """The dotted name that `node` is: a.b.c gives (a, b, c); nothing for any other expression."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else ()


def global_chains(node: ast.AST) -> Iterator[tuple[str, ...]]:
    """Every dotted name in `node` that the module or an import gives it: not parameters, not local variables."""
    names = _global_names(node)
    stack = [node]
    while stack:
        item = stack.pop()
        if found := chain(item):
            if names is None or found[0] in names:
                yield found
        else:
            stack.extend(ast.iter_child_nodes(item))


def _global_names(node: ast.AST) -> set[str] | None:
    """Names that some scope in `node` looks up or imports; None where the compiler will not say."""
    try:
        tables = [symtable.symtable(ast.unparse(node), "", "exec")]
    except SyntaxError:  # a nested function on its own, with a `nonlocal` in it
        return None
    # What a function imports is local to it, and still another module's.
    names = set(import_targets(ast.walk(node), ""))
    while tables:
        table = tables.pop()
        tables += table.get_children()
        # A class body may read the module's name before it binds its own.
        everything = table.get_type() in ("module", "class")
        names.update(item.get_name() for item in table.get_symbols() if everything or item.is_global())
    return names


def _bound(statement: ast.stmt) -> set[str]:
    """Names that a top-level statement binds or writes into; a plain import is not a definition."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return set()
    names = {name for node in scope(statement) for name in _bound_by(node)}
    return names | set(import_targets(scope(statement), ""))


def _bound_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, Function | ast.ClassDef):
        yield node.name
        for item in ast.walk(node):
            yield from item.names if isinstance(item, ast.Global) else ()
    elif isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
        yield from _root(node)
    elif isinstance(node, ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest


def _changed(statement: ast.stmt, functions: Mapping[str, Function], imported: set[str]) -> Iterator[str]:
    """Names that `statement` may change by a call made for its effect, or by decorating something."""
    for node in scope(statement):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            given = [*node.value.args, *(item.value for item in node.value.keywords)]
            yield from _touched(node.value.func, functions)
            yield from (name for item in given for name in chain(item)[:1])
        for decorator in getattr(node, "decorator_list", ()):
            # Being decorated can change a registry of this module; it does not change functools.cache.
            yield from set(_touched(decorator, functions)) - imported


def _touched(callee: ast.expr, functions: Mapping[str, Function]) -> Iterator[str]:
    """What a call may change: the object whose method it is, or what a function of this module names."""
    plain = callee.func if isinstance(callee, ast.Call) else callee
    if not isinstance(plain, ast.Name):
        yield from _root(plain)
    elif plain.id in functions:
        names = (item.id for item in ast.walk(functions[plain.id]) if isinstance(item, ast.Name))
        yield from (name for name in names if name not in functions)


def _root(node: ast.AST) -> tuple[str, ...]:
    """The name at the bottom of an expression: a of a.b[c](d).e."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return (node.id,) if isinstance(node, ast.Name) else ()


def _is_literal(statement: ast.stmt) -> bool:
    """Whether a statement binds a constant, which nothing can change in place."""
    value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
    values = value.elts if isinstance(value, ast.Tuple) else [value]
    return value is not None and all(isinstance(item, ast.Constant) for item in values)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    base = ".".join(parents[: len(parents) - node.level + 1])
    return f"{base}.{node.module}" if node.module else base
