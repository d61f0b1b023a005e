"""Cells leave nothing out: with every other cell of the records behind a value changed, the value is the same."""

from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pytest

from lineage.columns import recorded_columns
from lineage.tracing.ancestry import identity
from lineage.tracing.cells import CellFinder
from lineage.tracing.rowreplay import _Bench, differing, needed_rows, stored_row
from lineage.tracing.tracer import Tracer

from .market import STEPS

FEBRUARY = "2020-02"


@pytest.fixture(scope="module")
def finder(market):
    """One for all tests, as a service keeps it."""
    return CellFinder(Tracer(market[0].space))


def emptied(values):
    """No values."""
    return pl.Series(values.name, [None] * len(values), dtype=values.dtype)


def altered(values):
    """Other values of the same type."""
    if values.dtype.is_numeric():
        return values + 1000
    return values.dt.offset_by("-40d") if values.dtype.is_temporal() else values + "?"


@dataclass
class Smudged(_Bench):
    """Computes from records of which only the cells in `kept` are as they are in the file."""

    kept: dict = field(default_factory=dict)
    smudge: object = emptied
    changed: int = 0

    def _read(self, item):
        frame = super()._read(item)
        raw = item.origin.inputs[0][1]
        records = item.fed["raw", identity(raw)]
        parts = self.kept.get(identity(raw), ())
        for column in frame.columns[:-1]:
            fed = np.zeros(len(records), dtype=bool)
            for columns, rows in parts:
                fed |= np.isin(records, rows) & (column in columns)
            self.changed += int((~fed).sum())
            values = frame[column]
            frame = frame.with_columns(self.smudge(values).zip_with(pl.Series(~fed), values).alias(column))
        return frame


def cells_of(finder, needed, column):
    """The cells behind the value, and behind the keys by which rows on the way are found again."""
    asked = {(0, name) for name in (column, *needed[0].key)}
    asked |= {(place, name) for place, item in enumerate(needed) for name in item.key}
    found = {}
    for place, name in asked:
        for row in needed[place].rows:
            for raw, cells in finder.behind(needed[place].origin.version, int(row), name, None).items():
                assert cells.exact
                found.setdefault(raw, []).extend(cells.parts)
    return found


@pytest.mark.parametrize("name", STEPS)
def test_no_other_cell_matters(market, finder, tmp_path, name):
    """Of some rows each column, from records that are wrong wherever a trace does not look."""
    shop, _ = market
    version = shop.current(name, "" if name == "totals" else FEBRUARY)
    changed = 0
    for position in sorted({0, version.row_count // 2}):
        stored = stored_row(shop.space, version, position)
        for column in stored:
            needed = needed_rows(finder.tracer, version, position, column)
            kept = cells_of(finder, needed, column)
            for smudge in (emptied, altered):
                bench = Smudged(shop.space, tmp_path, kept=kept, smudge=smudge)
                for item in reversed(needed):
                    bench.compute(item)
                computed = bench.row(needed[0])
                assert differing({column: stored[column]}, {column: computed[column]}) == [], (column, smudge)
                changed += bench.changed
    assert changed


@pytest.mark.parametrize("name", STEPS)
def test_tables_are_derived_exactly(market, finder, name):
    """What the market's tables do, Polars shows."""
    shop, _ = market
    origin = finder.tracer.origin(shop.current(name, "" if name == "totals" else FEBRUARY), None)

    found = recorded_columns(shop.store, origin.run["run_id"], origin.version.dataset)

    assert found.exact
    assert set(found.columns) == {column for column, _ in origin.version.fields}
