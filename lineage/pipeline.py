"""How an author declares: a `Pipeline` collects steps.

Declaring is not running: the decorator records a function and returns it unchanged. A step may only
read what stands above it, so a cycle cannot be written.
"""

from __future__ import annotations

import difflib
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from lineage.errors import DeclarationError
from lineage.spec import (
    COLUMN_TYPES,
    Fetch,
    Files,
    HashSplit,
    History,
    Input,
    Kind,
    Model,
    PackageFile,
    Partitions,
    Source,
    Step,
    Suite,
    TimeSplit,
    months_back,
)

if TYPE_CHECKING:
    import polars as pl

Transform = TypeVar("Transform", bound=Callable[..., Any])

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass
class Pipeline:
    """A named set of steps. Names are lower-case identifiers; every step's name is unique in it."""

    name: str
    steps: dict[str, Step] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name(self.name, "pipeline")

    def fetch(
        self,
        source: str,
        origin: PackageFile,
        *,
        split_by: Literal["month"] | None = None,
        partitions: Partitions | None = None,
    ) -> None:
        """Fill data/raw/<pipeline>/<source>/ by a recorded step `raw_<source>` that writes only missing files."""
        step = f"{self.name}.fetch({source!r})"
        if (split_by is None) != (partitions is None):
            raise DeclarationError(f"{step}: give split_by and partitions together.")
        if split_by not in (None, "month"):
            raise DeclarationError(f"{step}: split_by={split_by!r} is unknown; raw files are split by 'month'.")
        if source in self.steps:
            raise DeclarationError(
                f"{step}: {self.name}.{source} is declared above it and would not know it; swap them."
            )
        leaf = "{partition}.csv" if split_by else f"{source}.csv"
        detail = Fetch(origin, split_by, Files(f"data/raw/{self.name}/{source}/{leaf}"))
        self._add(
            _step(
                self.name,
                f"raw_{source}",
                "fetch",
                partitions=partitions,
                parameters={"distribution": origin.distribution, "path": origin.path, "split_by": split_by},
                description=f"Raw bytes of {source}, verbatim from {origin.distribution}.",
                detail=detail,
            )
        )

    def source(
        self,
        name: str,
        files: Files,
        *,
        schema: Mapping[str, str],
        partitions: Partitions | None = None,
        checks: Suite | None = None,
        null_values: Sequence[str] = ("", "NA"),
    ) -> None:
        """Typed snapshot of raw CSV files: every row, in the file's order, with the columns of `schema`.

        `schema` maps column to one of `COLUMN_TYPES`; the header must have exactly these columns.
        """
        self._check_source(name, files, schema, partitions, null_values)
        fetched = self._check_fetched(name, files, partitions)
        self._add(
            _step(
                self.name,
                name,
                "source",
                inputs=(Input(f"raw_{name}"),) if fetched else (),
                partitions=partitions,
                checks=checks,
                parameters={"schema": dict(schema), "null_values": list(null_values), "files": files.pattern},
                description=f"{name.capitalize()} as they stand in the raw files, typed.",
                detail=Source(files, MappingProxyType(dict(schema)), tuple(null_values)),
            )
        )

    def table(
        self,
        *,
        key: str | Sequence[str] = (),
        checks: Suite | None = None,
        inputs: Mapping[str, str] | None = None,
        look_back: Mapping[str, int | Mapping[str, History]] | None = None,
        whole: bool = False,
        rows: str | None = None,
    ) -> Callable[[Transform], Transform]:
        """Declare a table: the function's parameters name its inputs, its keyword-only ones are parameters.

        `key` columns identify a row: unique, never null, and the order in which rows are stored.
        `inputs={"past": "orders"}` lets parameter `past` read the step orders, perhaps a second time.
        `look_back={"weather": 1}` also reads that many earlier partitions of an input; given declared
        aggregates over the past instead of a number, as many as these need. A table is partitioned as its
        inputs are; `whole=True` makes one file of all of them.
        `rows` is needed where the function has Python code in it that rows cannot be followed through
        (map_elements, map_batches, map_groups): "1:1" if each row comes from itself alone, "group:a,b" if from the
        rows with the same values in these columns, "all" if from all of them (docs/tracing.md).
        """

        def declare(function: Transform) -> Transform:
            reach = {name: _partitions_back(given) for name, given in (look_back or {}).items()}
            step = self._table(function, key, checks, _Reading(dict(inputs or {}), reach, whole))
            self._add(replace(step, rows=_rows_declared(step.full_name, rows)))
            return function

        return declare

    def model(
        self,
        name: str,
        *,
        table: str,
        target: str,
        features: Sequence[str],
        split: TimeSplit | HashSplit,
        objective: str = "binary:logistic",
        trainer: str = "serving.fit:fit",
        **parameters: Any,
    ) -> None:
        """Declare a model of `target` from the `features` columns of `table`.

        `parameters` go to the trainer (rounds, early_stopping_rounds, seed, max_depth, eta, …).
        """
        step = f"{self.name}.{name}"
        self._require(step, table)
        _check_features(step, features, target)
        detail = Model(table, target, tuple(features), split, objective, trainer)
        declared = {
            "target": target,
            "features": list(features),
            "objective": objective,
            "split": vars(split),
        }
        self._add(
            _step(
                self.name,
                name,
                "model",
                inputs=(Input(table),),
                parameters={**declared, **parameters},
                description=f"{objective} model of {target} from {table}.",
                detail=detail,
            )
        )

    def _table(
        self, function: Callable[..., Any], key: str | Sequence[str], checks: Suite | None, reading: _Reading
    ) -> Step:
        if not inspect.isfunction(function):
            raise DeclarationError(f"{self.name}: {function!r} is no function; declare a table with a `def`.")
        name = function.__name__
        names, parameters = _signature(f"{self.name}.{name}", function)
        inputs = self._inputs(f"{self.name}.{name}", names, reading)
        keys = (key,) if isinstance(key, str) else tuple(key)
        if len(set(keys)) < len(keys):
            raise DeclarationError(f"{self.name}.{name}: key names {', '.join(keys)}: one column twice.")
        return _step(
            self.name,
            name,
            "table",
            function=function,
            inputs=inputs,
            partitions=None if reading.whole else self._shared_partitions(name, inputs),
            key=keys,
            checks=checks,
            parameters=parameters,
            description=(inspect.getdoc(function) or name).partition("\n")[0],
        )

    def _inputs(self, step: str, names: list[str], reading: _Reading) -> tuple[Input, ...]:
        if strangers := [name for name in reading.inputs if name not in names]:
            raise DeclarationError(f"{step}: inputs names {strangers[0]!r}, but it has no such parameter.")
        found = tuple(Input(name, reading.look_back.get(name, 0), reading.inputs.get(name, "")) for name in names)
        for wanted in (*(item.step for item in found), *(name for name in reading.look_back if name not in names)):
            self._require(step, wanted)
        self._check_look_back(step, reading, {item.name: item.step for item in found})
        return found

    def _shared_partitions(self, name: str, inputs: Iterable[Input]) -> Partitions | None:
        steps = [self.steps[item.step] for item in inputs]
        found = {step.name: step.partitions for step in steps if step.partitions}
        if len(set(found.values())) > 1:
            raise DeclarationError(
                f"{self.name}.{name}: its inputs {', '.join(found)} are partitioned differently; "
                "give them the same partitions or declare it with whole=True."
            )
        return next(iter(found.values()), None)

    def _require(self, reader: str, wanted: str) -> None:
        readable = [name for name, step in self.steps.items() if step.kind in ("source", "table")]
        if wanted in readable:
            return
        if reader == f"{self.name}.{wanted}":
            raise DeclarationError(f"{reader} reads itself; a cycle cannot be computed.")
        near = difflib.get_close_matches(wanted, readable, n=3) or readable
        raise DeclarationError(
            f"{reader}: input {wanted!r} is not declared above it in pipeline {self.name!r}; "
            f"did you mean {_alternatives(near)}? (A step reads only what stands above it, so cycles cannot occur.)"
        )

    def _check_look_back(self, step: str, reading: _Reading, steps: Mapping[str, str]) -> None:
        for name, count in reading.look_back.items():
            if name not in steps:
                raise DeclarationError(f"{step}: look_back names {name!r}, which it does not read.")
            if type(count) is not int or count < 1:
                raise DeclarationError(f"{step}: look_back of {name!r} is {count!r}; count partitions: 1, 2, …")
            if reading.whole or self.steps[steps[name]].partitions is None:
                raise DeclarationError(f"{step}: look_back of {name!r} means nothing, for it reads all of it anyway.")

    def _check_fetched(self, name: str, files: Files, partitions: Partitions | None) -> bool:
        """Whether a fetch step fills the files of source `name`, as raw_<name>; it must be these very files."""
        fetch = self.steps.get(f"raw_{name}")
        if fetch is None or not isinstance(fetch.detail, Fetch):
            return False
        if files != fetch.detail.target:
            raise DeclarationError(
                f"{self.name}.{name} reads {files.pattern!r}, but {fetch.full_name} writes "
                f"{fetch.detail.target.pattern!r}; read that, or rename one of them."
            )
        if partitions != fetch.partitions:
            raise DeclarationError(f"{self.name}.{name}: give it the same partitions as {fetch.full_name}.")
        return True

    def _check_source(
        self,
        name: str,
        files: Files,
        schema: Mapping[str, str],
        partitions: Partitions | None,
        null_values: Sequence[str],
    ) -> None:
        step = f"{self.name}.{name}"
        if not schema:
            raise DeclarationError(f"{step}: its schema has no column.")
        if isinstance(null_values, str):
            raise DeclarationError(f"{step}: null_values must be a list, such as [{null_values!r}].")
        for column, kind in schema.items():
            if kind not in COLUMN_TYPES:
                near = difflib.get_close_matches(str(kind), COLUMN_TYPES, n=1) or list(COLUMN_TYPES)
                raise DeclarationError(f"{step}: column {column!r} has unknown type {kind!r}; {_alternatives(near)}?")
        if ("{partition}" in files.pattern) != (partitions is not None):
            raise DeclarationError(f"{step}: files with {{partition}} and partitions= belong together.")

    def _add(self, step: Step) -> None:
        _check_name(step.name, "step")
        if step.name in self.steps:
            kind = self.steps[step.name].kind
            raise DeclarationError(f"{step.full_name} is declared twice (already a {kind}); rename one of them.")
        self.steps[step.name] = step


@dataclass(frozen=True)
class _Reading:
    """How a table reads: parameters that name another step, earlier partitions by parameter, all in one file."""

    inputs: Mapping[str, str]
    look_back: Mapping[str, int]
    whole: bool


def _partitions_back(given: int | Mapping[str, History]) -> int:
    return months_back(given) if isinstance(given, Mapping) else given


def _step(pipeline: str, name: str, kind: Kind, **given: Any) -> Step:
    parameters = MappingProxyType(_json_values(f"{pipeline}.{name}", given.pop("parameters")))
    return Step(pipeline, name, kind, parameters=parameters, **given)


def _signature(step: str, function: Callable[..., Any]) -> tuple[list[str], dict[str, Any]]:
    names: list[str] = []
    parameters: dict[str, Any] = {}
    for item in inspect.signature(function).parameters.values():
        if item.kind is item.KEYWORD_ONLY and item.default is not item.empty:
            parameters[item.name] = item.default
        elif item.kind is item.POSITIONAL_OR_KEYWORD and item.default is item.empty:
            names.append(item.name)
        else:
            raise DeclarationError(
                f"{step}: parameter {item.name!r} must be an input (positional, no default) "
                "or a parameter (keyword-only, with a default)."
            )
    if not names:
        raise DeclarationError(f"{step} reads nothing; its parameters must name its inputs.")
    return names, parameters


def constant(data: Any, schema: Any = None) -> pl.LazyFrame:
    """A lazy frame of values that stand in the code, to be joined to a step's inputs or put under them.

    `data` is a mapping of columns to lists of values, or a list of rows. Rows that come from it alone have no source.
    """
    from lineage.rows.constants import Constant

    return Constant(data, schema=schema)


def _rows_declared(step: str, rows: str | None) -> str | None:
    if rows is None or rows in ("1:1", "all") or re.fullmatch(r"group:[^,]+(,[^,]+)*", rows):
        return rows
    raise DeclarationError(f'{step}: rows={rows!r} must be "1:1", "group:<columns>" or "all".')


def _check_features(step: str, features: Sequence[str], target: str) -> None:
    if isinstance(features, str) or not features:
        raise DeclarationError(f"{step}: features must be a list of columns, not {features!r}.")
    if target in features:
        raise DeclarationError(f"{step}: the target {target!r} is among its own features; take it out.")
    if twice := sorted({name for name in features if list(features).count(name) > 1}):
        raise DeclarationError(f"{step}: feature {twice[0]!r} is named twice.")


def _json_values(step: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _json_value(step, name, value) for name, value in parameters.items()}


def _json_value(step: str, name: str, value: Any) -> Any:
    try:
        text = json.dumps(value, allow_nan=False)
        # A key that is no string would come back as one.
        if not _has_text_keys(value):
            raise TypeError("a key is no string")
    except (TypeError, ValueError) as error:
        raise DeclarationError(f"{step}: parameter {name!r} must be a JSON value ({error}).") from error
    return json.loads(text)


def _has_text_keys(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _has_text_keys(item) for key, item in value.items())
    return all(map(_has_text_keys, value)) if isinstance(value, list | tuple) else True


def _check_name(name: str, what: str) -> None:
    if not _NAME.fullmatch(name):
        raise DeclarationError(f"{what} name {name!r} must be a lower-case identifier such as 'flights'.")


def _alternatives(names: Sequence[str]) -> str:
    return " or ".join(repr(name) for name in names) or "anything (nothing is declared yet)"
