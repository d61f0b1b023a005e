"""Row ids: counts and ranges of records by who asked, against counting by hand."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lineage.tracing.ancestry import Origin
from lineage.tracing.rowids import SourceRows, row_ids, source_rows
from lineage.tracing.tracer import Behind
from lineage.versions import FileVersion, Version

ASKERS = 4
pairs = st.sets(st.tuples(st.integers(0, ASKERS - 1), st.integers(0, 12)))


def rows_of(asked, name="orders", partition="2020-01"):
    """A source whose records `asked` (pairs of asker and record) are behind."""
    file = FileVersion(f"data/raw/shop/{name}/{partition}.csv", "a" * 64, "b" * 32, 1)
    raw = Version(f"shop/raw_{name}", partition, "a" * 64, (file,))
    table = Version(f"shop/{name}", partition, "c" * 64, (), 13)
    askers, rows = (
        np.array(part, dtype=np.int64) for part in (zip(*sorted(asked), strict=True) if asked else ([], []))
    )
    return SourceRows(raw, Behind(Origin(table, None, (("raw", raw),)), askers, rows))


@given(pairs)
def test_ranges_hold_exactly_the_records_of_each_asker(asked):
    """Whoever asked gets their own records, in ranges that do not touch, and their number."""
    found = rows_of(asked).counted(ASKERS)

    for asker, (records, ranges) in enumerate(found):
        held = [row for first, last in ranges.tolist() for row in range(first, last + 1)]
        assert held == sorted(row for who, row in asked if who == asker)
        assert records == len(held)
        assert all(after - before > 1 for before, after in zip(ranges[:, 1], ranges[1:, 0], strict=False))


def test_sources_are_told_by_name_to_those_who_have_records():
    """Sources stand in the order of their names; who has no record of one is not told of it."""
    origins = [rows_of({(1, 5)}, "visits").behind, rows_of({(0, 2), (0, 3), (1, 3)}).behind]

    found = row_ids(source_rows({(str(place), "", ""): item for place, item in enumerate(origins)}), 3)

    told = [[(item["dataset"], item["count"], item["ranges"].tolist()) for item in entry] for entry in found]
    assert told == [[("shop/orders", 2, [[2, 3]])], [("shop/orders", 1, [[3, 3]]), ("shop/visits", 1, [[5, 5]])], []]
    assert found[0][0]["file"] == "data/raw/shop/orders/2020-01.csv"
