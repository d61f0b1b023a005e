"""Find the pipelines: every `Pipeline` in the modules of the package that `HEADWATER_PIPELINES` names."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

from lineage.errors import DeclarationError, NotFoundError
from lineage.identity.loader import import_from_text
from lineage.identity.module import note_loaded
from lineage.pipeline import Pipeline
from lineage.settings import Settings
from lineage.spec import Step


@dataclass(frozen=True)
class Project:
    """All declared steps, in an order in which each stands after what it reads."""

    steps: tuple[Step, ...]

    def step(self, name: str) -> Step:
        """The step called `pipeline.step` (or `pipeline/step`); NotFoundError names the nearest."""
        wanted = name.replace("/", ".")
        for step in self.steps:
            if step.full_name == wanted:
                return step
        names = [step.full_name for step in self.steps]
        near = tuple(difflib.get_close_matches(wanted, names, n=3))
        hint = f"did you mean {' or '.join(near)}?" if near else "`headwater list` shows what there is."
        raise NotFoundError(f"There is no step {name!r}; {hint}", near)

    def inputs(self, step: Step) -> tuple[Step, ...]:
        """The steps that `step` reads, in the order of its parameters; one twice where two parameters name it."""
        return tuple(self.step(f"{step.pipeline}.{item.step}") for item in step.inputs)

    def downstream(self, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        """`steps` and everything that reads them, directly or not, in running order."""
        reached = {step.full_name for step in steps}
        for step in self.steps:
            if any(item.full_name in reached for item in self.inputs(step)):
                reached.add(step.full_name)
        return tuple(step for step in self.steps if step.full_name in reached)

    def models(self) -> tuple[Step, ...]:
        """The model steps."""
        return tuple(step for step in self.steps if step.kind == "model")


def discover(settings: Settings) -> Project:
    """Import the pipelines package and collect what it declares.

    Raises DeclarationError naming the file when a module cannot be imported, and both places when two
    pipelines share a name.
    """
    root = str(settings.root)
    if root not in sys.path:
        sys.path.insert(0, root)
    import_from_text(settings.root)
    found: dict[str, tuple[Pipeline, str]] = {}
    for module in _modules(settings):
        for pipeline in _pipelines(module):
            other = found.get(pipeline.name)
            if other is not None and other[0] is not pipeline:
                raise DeclarationError(
                    f"Pipeline {pipeline.name!r} is declared in both {other[1]} and {module.__name__}; rename one."
                )
            found.setdefault(pipeline.name, (pipeline, module.__name__))
    # What these modules say now is what this process runs, whoever edits them later.
    note_loaded(settings.root)
    project = Project(tuple(step for pipeline, _ in found.values() for step in pipeline.steps.values()))
    _refuse_equal_models(project)
    return project


def _refuse_equal_models(project: Project) -> None:
    """`a_b.c` and `a.b_c` are two steps, but one name in the registry."""
    known: dict[str, Step] = {}
    for step in project.models():
        other = known.setdefault(step.model_name, step)
        if other is not step:
            raise DeclarationError(
                f"Models {other.full_name} and {step.full_name} would both be {step.model_name!r} in the registry; "
                "rename one."
            )


def _modules(settings: Settings, name: str | None = None) -> Iterator[ModuleType]:
    """The package and all that is in it, packages inside included, in the order of their names."""
    module = _import(name or settings.pipelines, settings)
    yield module
    for item in sorted(pkgutil.iter_modules(getattr(module, "__path__", [])), key=lambda found: found.name):
        yield from _modules(settings, f"{module.__name__}.{item.name}")


def _import(name: str, settings: Settings) -> ModuleType:
    try:
        return importlib.import_module(name)
    except DeclarationError:
        raise
    except ModuleNotFoundError as error:
        if error.name != settings.pipelines:
            raise DeclarationError(f"{name}: cannot be imported ({error}).") from error
        raise DeclarationError(
            f"There is no package {name!r} in {settings.root}; create {name}/ with a pipeline in it, "
            "or name another package in HEADWATER_PIPELINES."
        ) from error
    except Exception as error:
        # Whatever an author's module raises at import is the author's error, to be shown with its place.
        raise DeclarationError(f"{name}: cannot be imported ({type(error).__name__}: {error}).") from error


def _pipelines(module: ModuleType) -> Iterator[Pipeline]:
    for value in vars(module).values():
        if isinstance(value, Pipeline):
            yield value
