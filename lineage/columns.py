"""Column lineage: for each column of a table the source columns that it came from, read from the Polars plan.

Types and subtypes are OpenLineage's: DIRECT where values of the source become values of the column (IDENTITY,
TRANSFORMATION, AGGREGATION), INDIRECT where they decide about them (JOIN, GROUP_BY, FILTER, SORT, WINDOW, CONDITIONAL).
What decides about whole rows is said once, of the table. Nothing is computed and no row is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import polars as pl

from lineage.columnar.bounds import needed
from lineage.columnar.edges import Edges, Value, merged
from lineage.columnar.plan import Plan
from lineage.store import Store

# What the text of a transformation begins with in an event, where a column need not come from the source.
UPPER_BOUND = "upper bound: "


class Source(NamedTuple):
    """A column of a dataset that was read."""

    dataset: str
    column: str


class Transformation(NamedTuple):
    """How a source column feeds another: OpenLineage's type and subtype, and the expression as short text."""

    type: str
    subtype: str
    text: str = ""


Influences = Mapping[Source, tuple[Transformation, ...]]


@dataclass(frozen=True)
class Column:
    """The sources of one column. Not `exact`: it comes from no others, but perhaps not from all of these."""

    sources: Influences
    exact: bool = True


@dataclass(frozen=True)
class ColumnLineage:
    """The columns of a table, and `rows`: the sources that decided which rows it has, and in which order."""

    columns: Mapping[str, Column]
    rows: Column = field(default_factory=lambda: Column({}))

    @property
    def exact(self) -> bool:
        """Whether all of it is exact."""
        return self.rows.exact and all(column.exact for column in self.columns.values())

    def sources(self, column: str) -> frozenset[Source]:
        """Everything that a value of `column` can depend on."""
        return frozenset(self.columns[column].sources) | frozenset(self.rows.sources)


def recorded_columns(store: Store, run_id: UUID | str, dataset: str) -> ColumnLineage | None:
    """The column lineage of what a run wrote to `dataset`, as its event says; None if nothing is on record."""
    row = store.row("recorded_columns", run_id=str(run_id), dataset=dataset)
    return read_facet(row["facet"]) if row else None


def read_facet(facet: Mapping[str, Any]) -> ColumnLineage:
    """The column lineage in a `columnLineage` facet of one of our own events."""
    columns = {name: _read_column(item["inputFields"]) for name, item in facet["fields"].items()}
    return ColumnLineage(columns, _read_column(facet.get("dataset") or ()))


def _read_column(fields: Iterable[Mapping[str, Any]]) -> Column:
    sources, exact = {}, True
    for item in fields:
        told = [(how["type"], how["subtype"], how.get("description") or "") for how in item["transformations"]]
        exact = exact and not any(text.startswith(UPPER_BOUND) for *_, text in told)
        sources[Source(item["name"], item["field"])] = tuple(
            Transformation(kind, subtype, text.removeprefix(UPPER_BOUND)) for kind, subtype, text in told
        )
    return Column(sources, exact)


def column_lineage(frame: pl.LazyFrame, inputs: Mapping[str, str]) -> ColumnLineage:
    """The column lineage of a query. `inputs` names the dataset of each Parquet file that it scans, by its path.

    Raises ColumnsUnknownError where this version of Polars has plans that are not known, or the query reads anything
    else.
    """
    plan = Plan(frame, inputs)
    found = plan.read()
    columns = {name: _within(value, frame, name, plan) for name, value in found.columns.items()}
    rows = merged([found.rows, found.order])
    return ColumnLineage({name: _column(value) for name, value in columns.items()}, _column(rows))


def _within(value: Value, frame: pl.LazyFrame, name: str, plan: Plan) -> Value:
    """A column that may come from too many, without those that Polars would not read for it.

    Python code that was given whole frames may have looked at columns that Polars thinks it does not need.
    """
    if value.exact or plan.opaque:
        return value
    kept = needed(frame, name, plan.inputs)
    return Value({cell: edge for cell, edge in value.edges.items() if cell in kept}, exact=False)


def _column(value: Value) -> Column:
    return Column(_influences(value.edges), value.exact)


def _influences(edges: Edges) -> dict[Source, tuple[Transformation, ...]]:
    found: dict[Source, list[Transformation]] = {}
    for cell, edge in edges.items():
        listed = found.setdefault(Source(*cell), [])
        if edge.direct is not None:
            listed.append(Transformation("DIRECT", edge.direct, "" if edge.direct == "IDENTITY" else edge.text))
        listed += [Transformation("INDIRECT", what, text) for what, text in edge.indirect.items()]
    return {source: tuple(sorted(found[source])) for source in sorted(found)}
