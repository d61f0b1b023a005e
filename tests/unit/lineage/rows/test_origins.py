"""What stands beside a table: little, the same each time, and nothing that no row needs."""

from __future__ import annotations

import json

import polars as pl

from lineage.history import history, with_history
from lineage.rows.origins import DESCRIPTION, ROWS

from ..followed import followed

HOURS = 3_600_000_000
A = pl.DataFrame({"k": [1, 1, 2], "v": [1, 2, 3], "t": [5, 3, 4]}).with_columns(
    at=(pl.col("t") * HOURS).cast(pl.Datetime("us"))
)
B = pl.DataFrame({"k": [1, 2], "w": [10, 20]})


def _files(folder):
    return {path.name: path for path in (folder / "rows").iterdir()}


def test_a_row_has_a_position_for_each_input(tmp_path):
    """Positions are 32-bit numbers; a row without a match has none."""
    followed(lambda a, b: a.join(b.head(1), on="k", how="left"), tmp_path, {"a": A, "b": B})

    assert {DESCRIPTION, ROWS} == set(_files(tmp_path))
    rows = pl.read_parquet(_files(tmp_path)[ROWS])
    assert {"link0": pl.UInt32, "link1": pl.UInt32} == dict(rows.schema)
    assert [(0, 0), (1, 0), (2, None)] == rows.rows()


def test_the_description_names_columns_as_their_authors_do(tmp_path):
    """Which columns of which rows are behind each column, and behind the row."""
    followed(lambda a: a.filter(pl.col("t") > 3).select("k", n=pl.col("v") * 2), tmp_path, {"a": A})

    said = json.loads(_files(tmp_path)[DESCRIPTION].read_bytes())
    assert [{"columns": ["link0"], "to": "a"}] == said["links"]
    assert {"k": {"0": ["k"]}, "n": {"0": ["v"]}} == said["columns"]
    assert {"0": ["t"]} == said["rows"]


def test_a_stage_is_written_only_if_a_row_leads_there(tmp_path):
    """Groups that nobody looks at any more are not computed, nor are links within a stage."""

    def step(a, b):
        joined = a.join(b, on="k", how="left", validate="m:1")
        both = joined.with_columns(seen=pl.col("v").sum().over("k"), gone=pl.col("v").max().over("t"))
        return both.drop("gone", "w")

    followed(step, tmp_path, {"a": A, "b": B})

    assert {DESCRIPTION, ROWS, "stage1.parquet"} == set(_files(tmp_path))
    assert {"group": [0, 0, 2], "link0": [0, 1, 2]} == pl.read_parquet(_files(tmp_path)["stage1.parquet"]).to_dict(
        as_series=False
    )


def test_events_that_are_an_input_are_not_written_again(tmp_path):
    """A look into the past keeps what rows asked; its events are there to be read, unless they were changed."""

    def step(a, events):
        declared = {"n": history(keys="k", known_at="at", window="2h", agg="count")}
        return with_history(a, at="at", events=events, aggregates=declared)

    (tmp_path / "whole").mkdir()
    followed(lambda a: step(a, a), tmp_path / "whole", {"a": A})
    followed(lambda a: step(a, a.filter(pl.col("v") > 1)), tmp_path, {"a": A})

    assert {DESCRIPTION, ROWS, "stage1-asked.parquet"} == set(_files(tmp_path / "whole"))
    assert {DESCRIPTION, ROWS, "stage1-asked.parquet", "stage1.parquet"} == set(_files(tmp_path))


def test_the_same_rows_give_the_same_files(tmp_path):
    """A version of a table has one version of its origins."""

    def step(a, b):
        return a.join(b, on="k").group_by("t").agg(pl.len(), pl.col("v").mean())

    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        followed(step, tmp_path / name, {"a": A, "b": B})

    first, second = (_files(tmp_path / name) for name in ("first", "second"))
    assert {name: path.read_bytes() for name, path in first.items()} == {
        name: path.read_bytes() for name, path in second.items()
    }
