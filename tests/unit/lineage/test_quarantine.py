"""A table parted in the rows that go on and those that are put aside: the same bytes each time, nothing lost."""

import polars as pl
import pyarrow.parquet as pq
import pytest

from lineage import tables
from lineage.errors import StepFailedError
from lineage.ports import CheckReport, Expectation, QuarantineRule
from lineage.quarantine import EXPECTATIONS, SOURCE, Screen, Tally, is_quarantine, judged, quarantine_of, table_of
from lineage.tables import write_parted, write_table

ROWS = 1_000
LINK = "\x1frows:1"
ODD = QuarantineRule(0, "even", pl.col("id") % 2 == 1, pl.lit(True))
LARGE = QuarantineRule(2, "small", pl.col("id") > 900, pl.col("id") > 99, 0.9)
NOTHING = QuarantineRule(1, "nothing", pl.lit(False), pl.lit(True))


@pytest.fixture
def small_groups(monkeypatch):
    """Row groups of a hundred rows, so that small frames have several."""
    monkeypatch.setattr(tables, "ROWS_PER_GROUP", 100)


def frame(rows=ROWS):
    return pl.DataFrame({"id": range(rows)}).with_columns(name=pl.format("n{}", "id"), **{LINK: _position()})


def _position():
    return pl.int_range(pl.len(), dtype=pl.UInt32)


def part(folder, lazy, *rules, key=("id",), keep_order=False):
    """Both tables and both files of links, and the screen."""
    folder.mkdir(exist_ok=True)
    names = ("table", "aside", "rows", "rows-aside")
    paths = {name: folder / f"{name}.parquet" for name in names}
    screen = Screen(rules, {LINK: [("data/a.csv", 10), ("data/empty.csv", 0), ("data/b.csv", ROWS)]}, "shop.orders")
    write_parted(
        lazy.lazy(),
        (paths["table"], paths["aside"]),
        (paths["rows"], paths["rows-aside"]),
        screen=screen,
        key=key,
        keep_order=keep_order,
        beside={LINK: "link0"},
    )
    return paths, screen


def test_each_row_is_in_one_of_both(tmp_path, small_groups):
    """With its link beside it, what it broke, and its row id."""
    paths, screen = part(tmp_path, frame(), ODD, NOTHING, LARGE)
    kept, aside, rows, others = (pl.read_parquet(path) for path in paths.values())

    assert kept["id"].to_list() == list(range(0, 901, 2)) == rows["link0"].to_list()
    assert aside["id"].to_list() == others["link0"].to_list() == sorted({*range(1, 1000, 2), *range(901, 1000)})
    told = {row["id"]: (row[EXPECTATIONS], row[SOURCE]) for row in aside.to_dicts()}
    assert told[9] == (["even"], ["data/a.csv:9"])
    assert told[11] == (["even"], ["data/b.csv:1"])
    assert told[901] == (["even", "small"], ["data/b.csv:891"])
    assert told[902] == (["small"], ["data/b.csv:892"])
    assert [(tally.about, tally.broken) for tally in screen.tallies] == [(1000, 500), (1000, 0), (900, 99)]


def test_the_table_has_the_bytes_of_its_rows(tmp_path, small_groups):
    """As if the others had never been: groups of the same size, filled anew."""
    paths, _ = part(tmp_path, frame(), ODD)
    rows_path = tmp_path / "plain-rows.parquet"
    written = write_table(
        frame().filter(pl.col("id") % 2 == 0),
        tmp_path / "plain.parquet",
        key=["id"],
        keep_order=False,
        beside={LINK: "link0"},
        rows_path=rows_path,
    )

    assert written.row_count == ROWS // 2
    assert paths["table"].read_bytes() == (tmp_path / "plain.parquet").read_bytes()
    assert paths["rows"].read_bytes() == rows_path.read_bytes()
    groups = pq.ParquetFile(paths["table"]).metadata
    assert {groups.row_group(at).num_rows for at in range(groups.num_row_groups)} == {100}


def test_batches_make_no_difference(tmp_path, small_groups):
    """However the rows come, the bytes are the same."""
    whole, _ = part(tmp_path / "whole", frame(), ODD, LARGE)
    pieces = pl.concat([frame()[:1], frame()[1:333], frame()[333:]], rechunk=False).sample(
        fraction=1, shuffle=True, seed=1
    )
    again, _ = part(tmp_path / "again", pieces, ODD, LARGE)

    assert [path.read_bytes() for path in whole.values()] == [path.read_bytes() for path in again.values()]


@pytest.mark.parametrize(
    ("rows", "rule"), [(0, ODD), (5, NOTHING), (5, QuarantineRule(0, "no", pl.lit(True), pl.lit(True)))]
)
def test_a_table_without_rows_has_its_columns(tmp_path, rows, rule):
    """Either may be empty."""
    paths, _ = part(tmp_path, frame(rows), rule)
    found = [pl.read_parquet(path) for path in paths.values()]

    assert [table.height for table in found] == ([0, rows] * 2 if rule.text == "no" else [rows, 0] * 2)
    assert found[1].columns == ["id", "name", EXPECTATIONS, SOURCE]


def test_a_row_without_an_input_has_no_id_of_it(tmp_path):
    """A left join that found nothing."""
    lazy = frame(4).with_columns(pl.when(pl.col("id") < 2).then(pl.col(LINK)).alias(LINK))
    paths, _ = part(tmp_path, lazy, ODD)

    assert pl.read_parquet(paths["aside"])[SOURCE].to_list() == [["data/a.csv:1"], []]


def test_an_expectation_that_cannot_be_judged_is_named(tmp_path):
    """Which one it is, of several, and what Polars says."""
    broken = QuarantineRule(1, "a number on name", pl.col("name").cast(pl.Int64) > 1, pl.lit(True))

    with pytest.raises(StepFailedError, match=r"shop\.orders: a number on name cannot be judged row by row \(conver"):
        part(tmp_path, frame(5), ODD, broken)


@pytest.mark.parametrize("name", [EXPECTATIONS, SOURCE])
def test_a_column_of_that_name_is_refused(tmp_path, name):
    """A table cannot have it already."""
    with pytest.raises(ValueError, match="rename it"):
        part(tmp_path, frame(5).rename({"name": name}), ODD)


REPORT = CheckReport("orders", tuple(Expectation(kind, "id", True, True, {"n": 1}) for kind in ("a", "b", "c")))


def test_counts_stand_with_their_expectations():
    """Those that lack in the tally were not marked."""
    found = judged(REPORT, [Tally(ODD, 10, 3), Tally(LARGE, 10, 1)])

    assert [(item.quarantined, item.success) for item in found.expectations] == [(3, True), (0, True), (1, True)]
    assert found.success


def test_more_than_mostly_lets_pass_is_a_failure():
    """Of the rows that it is about; what was observed is then both counts."""
    found = judged(REPORT, [Tally(LARGE, 10, 2)])

    assert not found.success
    assert found.failures == (
        "c on id (element_count=10, unexpected_count=2, mostly=0.9, quarantine=more rows broke it than `mostly` lets "
        "pass)",
    )


def test_of_no_rows_none_breaks_it():
    """A table without rows keeps every promise of rows."""
    assert not Tally(LARGE).fails


def test_a_quarantine_is_called_after_its_table():
    """And back."""
    assert quarantine_of("shop/orders") == "shop/orders.quarantine"
    assert is_quarantine("shop/orders.quarantine")
    assert not is_quarantine("shop/orders")
    assert table_of("shop/orders.quarantine") == table_of("shop/orders") == "shop/orders"
