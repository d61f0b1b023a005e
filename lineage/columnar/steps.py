"""The column lineage of steps: of a table as its function makes the plan, of a source and a model as they are declared.

A table's function is called once more, on ordinary lazy frames of empty files: it is free of side effects, and the plan
that comes of it is the author's own, where that of tracked frames has hidden columns and pinned sums in it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import polars as pl

from lineage import sources
from lineage.columns import Column, ColumnLineage, Source, Transformation, column_lineage
from lineage.plan import Plan, Workspace
from lineage.ports import Ports, QuarantineRule, suite_parameters
from lineage.quarantine import puts_aside
from lineage.spec import HashSplit, Model, Step
from lineage.spec import Source as SourceDetail
from lineage.versions import Version

_log = logging.getLogger("headwater")

# The only column of a model's output.
PREDICTION = "prediction"

Rules = Callable[[pl.Schema], Sequence[QuarantineRule]]


class Input(NamedTuple):
    """What a step reads under one name: the dataset and its columns."""

    dataset: str
    schema: pl.Schema


def columns_of(space: Workspace, plan: Plan, ports: Ports) -> ColumnLineage | None:
    """The column lineage of what `plan` writes; None where there is none to tell, which a warning then says."""
    try:
        return _columns(space, plan, ports)
    except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001 - no run fails for what is told of it
        first = (str(error).strip() or type(error).__name__).partition("\n")[0]
        _log.warning("%s: its column lineage is not known: %s", plan.label, first)
        return None


def _columns(space: Workspace, plan: Plan, ports: Ports) -> ColumnLineage | None:
    step = plan.step
    if isinstance(step.detail, Model):
        return model_columns(step, step.detail, plan.inputs[0][1].dataset)
    if isinstance(step.detail, SourceDetail):
        (raw,) = (version for _, version in plan.inputs)
        return source_columns(step.detail, raw.dataset, _rules(plan, ports, sources.types(step.detail)))
    if step.function is None:
        return None
    inputs = {name: Input(version.dataset, _schema(space, plan, version)) for name, version in reversed(plan.inputs)}
    return table_columns(step, inputs, lambda schema: _rules(plan, ports, schema))


def _rules(plan: Plan, ports: Ports, schema: pl.Schema) -> Sequence[QuarantineRule]:
    """The expectations whose broken rows are put aside."""
    if plan.suite is None or not puts_aside(plan.suite):
        return ()
    return ports.rules(plan.suite, schema, suite_parameters(plan.partition))


def _schema(space: Workspace, plan: Plan, version: Version) -> pl.Schema:
    cached = space.objects.path(version.file.md5)
    path = plan.located.get(version, cached if cached.exists() else space.root / version.file.path)
    return pl.Schema(pl.read_parquet_schema(path))


def table_columns(step: Step, inputs: Mapping[str, Input], rules: Rules | None = None) -> ColumnLineage:
    """The column lineage of a table whose function is given these `inputs`, by name. `rules` gives, for the table's
    columns, the expectations whose broken rows are put aside.
    """
    assert step.function is not None
    with TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.parquet" for name in inputs}
        frames = {name: _scanned(paths[name], given.schema) for name, given in inputs.items()}
        made = step.function(**frames, **step.parameters).lazy()
        kept = _kept(made, rules(made.collect_schema()) if rules else ())
        return column_lineage(kept, {str(paths[name]): given.dataset for name, given in inputs.items()})


def source_columns(source: SourceDetail, raw: str, rules: Sequence[QuarantineRule] = ()) -> ColumnLineage:
    """The column lineage of a source's table: each column is that of the raw dataset, read as its declared type."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "raw.parquet"
        texts = _scanned(path, pl.Schema(dict.fromkeys(source.schema, pl.String())))
        kinds = sources.types(source)
        typed = texts.select(
            pl.col(name) if kind == pl.String else pl.col(name).cast(kind) for name, kind in kinds.items()
        )
        return column_lineage(_kept(typed, rules), {str(path): raw})


def model_columns(step: Step, model: Model, table: str) -> ColumnLineage:
    """The column lineage of a model: its prediction is computed from the features, and learnt with the target."""
    found = {Source(table, name): (Transformation("DIRECT", "TRANSFORMATION", "feature"),) for name in model.features}
    learnt = f"target of {step.full_name}"
    found[Source(table, model.target)] = (Transformation("DIRECT", "AGGREGATION", learnt),)
    split = f"split by {'hash' if isinstance(model.split, HashSplit) else 'time'}"
    rows = {Source(table, model.split.column): (Transformation("INDIRECT", "FILTER", split),)}
    return ColumnLineage({PREDICTION: Column(dict(sorted(found.items())))}, Column(rows))


def _scanned(path: Path, schema: pl.Schema) -> pl.LazyFrame:
    """A frame of these columns, which its plan tells from others by the file that it reads."""
    pl.DataFrame(schema=schema).write_parquet(path)
    return pl.scan_parquet(path)


def _kept(frame: pl.LazyFrame, rules: Sequence[QuarantineRule]) -> pl.LazyFrame:
    """The rows that hold all rules: the others are put aside."""
    return frame.filter(*(~rule.broken for rule in rules)) if rules else frame
