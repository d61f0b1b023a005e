"""Digest of code: a function and every first-party definition it reaches, through imports, statically.

From a definition the walk follows each global name to what decides it (`lineage.identity.bindings`), through `import`
and `from … import`, as long as the module is first-party. Comments, formatting, docstrings and type
annotations of functions do not count. What cannot be followed exactly (a star import, a module used as a
value, `globals()`) brings in its whole module: the digest may change too often, never too rarely. Out of
sight stay modules imported by a computed name, and names that another module puts into this one.
"""

from __future__ import annotations

import ast
import copy
import difflib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from lineage.errors import DeclarationError
from lineage.identity.bindings import STAR, Function, Target, chain, global_chains, import_targets
from lineage.identity.closure import Leaf, holdings
from lineage.identity.module import DYNAMIC, Module, canonical, declares, is_first_party, load_module, locate

# Hex digits of a definition's digest: it is compared with another of the same name only.
_SHORT = 16


@dataclass(frozen=True)
class _Definition:
    """Statements as text, the dotted names they take from elsewhere, their own imports, modules they import by call."""

    text: str
    names: tuple[tuple[str, ...], ...]
    imports: Mapping[str, list[Target]]
    modules: tuple[str, ...]


@dataclass
class _Walk:
    """What was reached so far (`seen`: place -> text) and what is still to be followed."""

    root: Path
    seen: dict[str, str] = field(default_factory=dict)
    queue: list[tuple[str, str]] = field(default_factory=list)
    queued: set[tuple[str, str]] = field(default_factory=set)
    entered: dict[int, str] = field(default_factory=dict)
    modules: dict[str, Module | None] = field(default_factory=dict)

    def module(self, name: str) -> Module | None:
        """A first-party module, looked at once in one digest."""
        if name not in self.modules:
            self.modules[name] = load_module(name, self.root)
        return self.modules[name]

    def follow(self, module: str, name: str) -> None:
        """Follow `name` of `module`, once."""
        if (module, name) not in self.queued:
            self.queued.add((module, name))
            self.queue.append((module, name))


@dataclass(frozen=True)
class Code:
    """The digest of code, and of each definition in it: `module:name` -> the first 16 hex digits of its sha256."""

    digest: str
    definitions: Mapping[str, str]


def read_code(functions: Iterable[Callable[..., Any] | str], root: Path) -> Code:
    """The digest of everything that `functions` reach; a function or its `module:name`.

    Raises DeclarationError when the source of a function cannot be found.
    """
    digest, definitions = hashlib.sha256(), {}
    for name, text in sorted(reached(functions, root).items()):
        digest.update(f"{name}\0{text}\0".encode())
        definitions[name] = hashlib.sha256(text.encode()).hexdigest()[:_SHORT]
    return Code(digest.hexdigest(), definitions)


def code_digest(functions: Iterable[Callable[..., Any] | str], root: Path) -> str:
    """sha256 (hex) over everything that `functions` reach: the digest of `read_code`."""
    return read_code(functions, root).digest


def reached(functions: Iterable[Callable[..., Any] | str], root: Path) -> dict[str, str]:
    """`module:name` -> normalised text of every first-party definition that `functions` reach."""
    walk = _Walk(root)
    for function in functions:
        if isinstance(function, str):
            _enter_name(function, walk)
        else:
            _enter_function(function, walk)
    while walk.queue:
        _follow(*walk.queue.pop(), walk)
    return walk.seen


def _enter_name(dotted: str, walk: _Walk) -> None:
    module_name, _, name = dotted.partition(":")
    module = walk.module(module_name)
    if module is None:
        top = module_name.partition(".")[0]
        if is_first_party(top, walk.root) or locate(top) == (None, ()):
            raise DeclarationError(f"{dotted}: there is no module {module_name!r}.")
        # Third-party: its version is in the lock, so its name is all that can change here.
        walk.seen[dotted] = ""
        return
    names = [*module.definitions, *module.imports]
    if name not in names and not module.stars:
        near = difflib.get_close_matches(name, names, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "."
        raise DeclarationError(f"{dotted}: module {module_name} has no {name!r}{hint}")
    walk.follow(module_name, name)


def _enter_function(function: Any, walk: _Walk, place: str = "") -> None:
    if not isinstance(function, FunctionType):
        raise DeclarationError(f"{function!r} is no function, so its source cannot be read; wrap it in a `def`.")
    if id(function) in walk.entered:
        return
    module_name = function.__globals__.get("__name__", "")
    key = walk.entered[id(function)] = f"{place}{module_name}:{function.__code__.co_qualname}"
    module = walk.module(module_name)
    if module is not None:
        _record(key, _read(_function_nodes(module, function), module.package), module, walk)
    elif (place or hasattr(function, "__wrapped__")) and locate(module_name) != (None, ()):
        walk.seen[key] = ""  # third-party, as above: what it holds can still be ours
    else:
        raise DeclarationError(
            f"{function.__qualname__}: the source of {module_name!r} cannot be read; declare steps in a file of "
            "the project."
        )
    for name, leaf in holdings(function, key):
        _enter_leaf(name, leaf, walk)


def _enter_leaf(place: str, leaf: Leaf, walk: _Walk) -> None:
    if isinstance(leaf, FunctionType):
        _enter_function(leaf, walk, f"{place}=")
        walk.seen[place] = walk.entered[id(leaf)]
    elif isinstance(leaf, ModuleType):
        walk.seen[place] = leaf.__name__
        walk.follow(leaf.__name__, STAR)
    elif isinstance(leaf, type):
        walk.seen[place] = f"{leaf.__module__}:{leaf.__qualname__}"
        name = leaf.__qualname__.partition(".")[0]
        walk.follow(leaf.__module__, name)
    else:
        walk.seen[place] = leaf


def _function_nodes(module: Module, function: FunctionType) -> list[ast.AST]:
    """The definition that `function` was made by; all lambdas of its line, if it is one."""
    name, line = function.__code__.co_name, function.__code__.co_firstlineno
    found: list[ast.AST] = []
    for node in ast.walk(module.tree):
        if isinstance(node, Function) and node.name == name:
            if line == min([node.lineno, *(item.lineno for item in node.decorator_list)]):
                found.append(_without_declaration(node))
        elif isinstance(node, ast.Lambda) and name == "<lambda>" and node.lineno == line:
            found.append(node)
    if not found:
        raise DeclarationError(
            f"{function.__qualname__}: its source is not in {module.name}; it was made at run time, or the file has "
            "changed since this process imported it (then start the process again)."
        )
    return found


def _without_declaration(node: Function) -> ast.AST:
    bare = copy.copy(node)
    bare.decorator_list = [item for item in node.decorator_list if not declares(item)]
    return bare


def _follow(module_name: str, name: str, walk: _Walk) -> None:
    module = walk.module(module_name)
    if module is None:
        return
    key = f"{module_name}:{name}"
    if name == STAR:
        _record(key, _definition(module, STAR), module, walk)
        return
    if name in module.definitions:
        _record(key, _definition(module, name), module, walk)
    for target in module.imports.get(name, ()):
        _follow_target(target, (), walk)
    if name not in module.definitions and name not in module.imports:
        submodule = f"{module_name}.{name}"
        walk.follow(*((submodule, STAR) if walk.module(submodule) else (module_name, STAR)))


@lru_cache(maxsize=16_384)
def _definition(module: Module, name: str) -> _Definition:
    return _read(module.tree.body if name == STAR else module.definitions[name], module.package)


def _read(nodes: Sequence[ast.AST], package: str) -> _Definition:
    return _Definition(
        text="\n".join(canonical(node) for node in nodes),
        names=tuple({names: None for node in nodes for names in global_chains(node)}),
        imports=import_targets((item for node in nodes for item in ast.walk(node)), package),
        modules=tuple(name for node in nodes for name in _imported_by_call(node)),
    )


def _record(key: str, definition: _Definition, module: Module, walk: _Walk) -> None:
    walk.seen[key] = definition.text
    bindings = dict(module.imports)
    for name, targets in definition.imports.items():
        bindings[name] = [*bindings.get(name, ()), *targets]
    for names in definition.names:
        _resolve(names, module, bindings, walk)
    for imported in definition.modules:
        walk.follow(imported, STAR)
    if module.stars:
        walk.seen[f"{module.name}:import {STAR}"] = " ".join(module.stars)
    for star in module.stars:
        walk.follow(star, STAR)


def _resolve(names: tuple[str, ...], module: Module, bindings: Mapping[str, list[Target]], walk: _Walk) -> None:
    head, *rest = names
    if head in bindings:
        # Recorded, for `import numpy as np` may become another library's np: nothing else would tell.
        walk.seen[f"{module.name}:import {head}"] = " ".join(f"{name}:{item or ''}" for name, item in bindings[head])
    for target in bindings.get(head, ()):
        _follow_target(target, rest, walk)
    if head in module.definitions:
        walk.follow(module.name, head)
    elif head in DYNAMIC:
        walk.follow(module.name, STAR)


def _follow_target(target: Target, rest: Sequence[str], walk: _Walk) -> None:
    """Follow `rest` of what an import binds; a.b.c.f reaches f of module a.b.c, as deep as modules go."""
    module_name, attribute = target
    names = [*([attribute] if attribute else []), *rest]
    while names and walk.module(submodule := f"{module_name}.{names[0]}") is not None:
        parent = walk.module(module_name)
        if parent and _shadows(parent, names[0]):
            walk.follow(module_name, names[0])
        module_name = submodule
        names.pop(0)
    walk.follow(module_name, names[0] if names else STAR)


def _shadows(parent: Module, name: str) -> bool:
    """Whether a package binds `name` to something else than its submodule of that name."""
    return name in parent.definitions or any(target != (parent.name, name) for target in parent.imports.get(name, ()))


def _imported_by_call(node: ast.AST) -> Iterator[str]:
    """Modules that `import_module("a.b")` names outright."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and chain(call.func)[-1:] in (("import_module",), ("__import__",)):
            values = [item.value for item in call.args if isinstance(item, ast.Constant)]
            yield from (name for name in values if isinstance(name, str) and name.replace(".", "_").isidentifier())
