"""At most which source columns an output column can come from: those that Polars itself reads to compute it alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from lineage.columnar.edges import Cell
from lineage.columnar.plan import visit


def needed(frame: pl.LazyFrame, column: str, inputs: Mapping[str, str]) -> set[Cell]:
    """The columns that Polars reads of `inputs` (names by path) where only `column` is asked for.

    It leaves out what cannot matter, also around Python code in an expression, whose own columns it knows.
    """
    flags = pl.QueryOptFlags.none()
    flags.projection_pushdown = True
    nodes = visit(frame.select(pl.col(column)), optimized=flags)
    found: set[Cell] = set()
    waiting = [nodes.get_node()]
    while waiting:
        nodes.set_node(number := waiting.pop())
        found |= _read(nodes, inputs)
        nodes.set_node(number)
        waiting += nodes.get_inputs()
    return found


def _read(nodes: Any, inputs: Mapping[str, str]) -> set[Cell]:
    try:
        scan = nodes.view_current_node()
    except NotImplementedError:
        return set()
    if type(scan).__name__ != "Scan":
        return set()
    name = inputs[str(scan.paths[0])]
    columns = scan.file_options.with_columns
    return {Cell(name, column) for column in (nodes.get_schema() if columns is None else columns)}
