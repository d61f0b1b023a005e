"""The cells behind one value: of each record only the columns that fed it.

Which rows are behind it is followed as in every trace. On the way each row is asked for the columns that the row
lineage leads to, and of these only those that the column lineage of its table names: both name all that can matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from lineage.columns import ColumnLineage, recorded_columns
from lineage.tracing.ancestry import Identity, Origin, identity
from lineage.tracing.recent import Recent
from lineage.tracing.tracer import Tracer, extents
from lineage.versions import Version

# By these rows come into a window: row lineage knows which did, and of `rolling` not by which of their columns.
_GATHERED = ("GROUP_BY", "WINDOW")
# Runs of which the column lineage is kept, some 10 kB each.
_KEPT = 1_024


class _Node(NamedTuple):
    """A version as it was used before a time, and the columns of it that are asked for."""

    version: Identity
    before: datetime | None
    columns: frozenset[str]


@dataclass(frozen=True)
class Cells:
    """Cells of one raw file: which columns of which records (ascending) are behind a value.

    `exact` unless some of them may not have fed it: Python code on the way may have looked at them.
    """

    parts: Sequence[tuple[frozenset[str], np.ndarray]]
    exact: bool

    def only(self, page: Mapping[str, Any]) -> dict[str, Any]:
        """A page of records with the columns that have cells here; null where a record has none."""
        header = frozenset(page["columns"])
        # What is no column of the file, such as why a record was put aside, is of the record.
        parts = [(columns if columns <= header else header, records) for columns, records in self.parts]
        wanted = frozenset[str]().union(*(columns for columns, _ in parts))
        places = [(place, name) for place, name in enumerate(page["columns"]) if name in wanted]
        rows = np.array(page["rows"], dtype=np.int64)
        held = {name: np.zeros(len(rows), dtype=bool) for _, name in places}
        for columns, records in parts:
            inside = np.isin(rows, records)
            for name in columns & held.keys():
                held[name] |= inside
        values = [
            [record[place] if held[name][number] else None for place, name in places]
            for number, record in enumerate(page["values"])
        ]
        return {**page, "columns": [name for _, name in places], "values": values}


@dataclass
class CellFinder:
    """Finds the cells behind values in one workspace."""

    tracer: Tracer
    _columns: Recent[tuple[UUID, str], ColumnLineage | None] = field(default_factory=lambda: Recent(_KEPT))

    def behind(self, version: Version, row: int, column: str, before: datetime | None) -> dict[Identity, Cells]:
        """The cells of raw files behind the value of `column` in a row of a version, used before a time; none where no
        column lineage is on record of a step on the way: then records are behind it as a whole."""
        versions = {identity(version): version}
        waiting = {_Node(identity(version), before, frozenset([column])): [np.array([row])]}
        parts: dict[Identity, list[tuple[frozenset[str], np.ndarray]]] = {}
        exact = True
        while waiting:
            # What was made last is made of nothing that waits.
            node = max(waiting, key=lambda item: self._made_at(versions[item.version], item.before))
            rows = np.unique(np.concatenate(waiting.pop(node)))
            origin = self.tracer.origin(versions[node.version], node.before)
            if origin.is_source:
                records = np.unique(self.tracer.records(origin, rows))
                parts.setdefault(identity(origin.inputs[0][1]), []).append((node.columns, records))
            if origin.is_source or origin.is_raw or origin.run is None:
                continue
            known = self._recorded(origin, node.columns)
            if known is None:
                return {}
            exact = exact and _is_exact(known, node.columns)
            for found, columns, behind in self._one_step(origin, known, node.columns, rows):
                versions[identity(found)] = found
                waiting.setdefault(_Node(identity(found), origin.run["started_at"], columns), []).append(behind)
        return {raw: Cells(found, exact) for raw, found in parts.items()}

    def _made_at(self, version: Version, before: datetime | None) -> float:
        run = self.tracer.origin(version, before).run
        return run["started_at"].timestamp() if run else 0.0

    def _recorded(self, origin: Origin, columns: frozenset[str]) -> ColumnLineage | None:
        """The column lineage of a version as its run recorded it; None if that does not have all of `columns`: of rows
        that were put aside, those that say why."""
        assert origin.run is not None
        run_id, dataset = origin.run["run_id"], origin.version.dataset
        store = self.tracer.space.store
        known = self._columns.get((run_id, dataset), lambda: recorded_columns(store, run_id, dataset))
        return known if known is not None and columns <= known.columns.keys() else None

    def _one_step(
        self, origin: Origin, known: ColumnLineage, columns: frozenset[str], rows: np.ndarray
    ) -> Iterable[tuple[Version, frozenset[str], np.ndarray]]:
        """The rows right behind those of one version, with the columns that are asked for of them."""
        places = extents(origin)
        for found in self.tracer.row_map(origin).back(rows, columns):
            behind = np.unique(found.rows.values.astype(np.int64))
            for version, begin, end in places[found.input]:
                inside = behind[(behind >= begin) & (behind < end)] - begin
                if len(inside):
                    yield version, _fed(known, version.dataset, columns, found.columns), inside


def _is_exact(known: ColumnLineage, columns: Iterable[str]) -> bool:
    return known.rows.exact and all(known.columns[name].exact for name in columns)


def _fed(known: ColumnLineage, dataset: str, columns: Iterable[str], behind: frozenset[str]) -> frozenset[str]:
    """Those columns of a dataset that fed any of `columns`, of those `behind` them."""
    # Whatever decided about the rows is behind a value of which nothing else is asked.
    told = [known.rows.sources, *(known.columns[name].sources for name in columns)]
    mine = [(source.column, how) for sources in told for source, how in sources.items() if source.dataset == dataset]
    return frozenset(name for name, how in mine if name in behind or any(item.subtype in _GATHERED for item in how))
