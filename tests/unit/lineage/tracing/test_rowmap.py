"""The map of a table's rows leads back, forwards, and says which rows of an input are in it at all."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineage.errors import IntegrityError
from lineage.history import history, with_history
from lineage.tracing import rowmap
from lineage.tracing.rowmap import Found, RowMap
from lineage.versions import FileVersion, sha256_file

from ..followed import followed

NOON = datetime(2013, 1, 1, 12)
FLIGHTS = pl.DataFrame(
    {
        "carrier": ["UA", "AA", "UA", "UA", "AA"],
        "delay": [5, None, 30, 0, 7],
        "at": [NOON + timedelta(hours=hours) for hours in (0, 1, 2, 3, 4)],
    }
)
AGGREGATES = {
    "mean": history(keys="carrier", value="delay", known_at="at", window="3h"),
    "flights": history(keys="carrier", value="delay", known_at="at", window="3h", agg="count"),
    "all": history(known_at="at", window="2h", agg="count"),
}


def _looking_back(flights, past):
    return with_history(flights, at="at", events=past, aggregates=AGGREGATES)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Flights with what was known of earlier ones, followed."""
    return followed(_looking_back, tmp_path_factory.mktemp("seen"), {"flights": FLIGHTS, "past": FLIGHTS})


def test_what_is_behind_a_column_is_told_by_input_and_columns(seen):
    """Of each input and its columns a list for each row."""
    found = {(item.input, item.columns): item.rows.part(3).tolist() for item in seen.rows.back(np.arange(5), ["mean"])}

    assert {
        ("flights", frozenset({"carrier", "at"})): [3],
        ("past", frozenset({"carrier", "at", "delay"})): [0, 2],
    } == found


def test_aggregates_in_which_the_same_events_count_are_told_once(seen):
    """A mean and the number of its values look at the same events."""
    found = [item for item in seen.rows.back(np.array([3]), ["mean", "flights"]) if item.input == "past"]

    assert [[0, 2]] == [item.rows.part(0).tolist() for item in found]


def test_the_way_forwards_and_all_at_once(seen):
    """The other way round it is the same."""
    assert [[1, 2, 3], [2, 3], [3, 4], [4], []] == [
        seen.rows.forward("past", np.array([row])).tolist() for row in range(5)
    ]
    assert [True, True, True, True, False] == seen.rows.reached("past", 5).tolist()
    assert [True] * 5 == seen.rows.reached("flights", 5).tolist()
    assert [[row < 4] for row in range(5)] == [
        seen.rows.reached("past", 5, among=np.array([row]))[[row]].tolist() for row in range(5)
    ]


def test_unpacked_arrays_may_be_deleted(tmp_path):
    """They are built again by the next who asks."""
    found = followed(lambda a: a.group_by("carrier").agg(pl.len()), tmp_path, {"a": FLIGHTS})
    expected = found.back()

    shutil.rmtree(tmp_path / "home")
    files = {path.name: path for path in (tmp_path / "rows").iterdir()}
    digests = {name: str(sha256_file(path)) for name, path in files.items()}
    fresh = RowMap(files, digests, lambda _: [tmp_path / "a.parquet"], tmp_path / "home")

    assert expected == found._replace(rows=fresh).back()


def test_files_that_are_gone_are_named(tmp_path):
    """A map needs all that its run wrote."""
    file = FileVersion("data/rows/shop/report/all/rows.parquet", "0" * 64, "0" * 32, 1)

    with pytest.raises(IntegrityError, match=r"rows\.parquet: the bytes of 000000000000… are gone"):
        RowMap.of([file], {}, lambda _: [], tmp_path)


def test_a_column_that_only_counts_rows_has_no_columns_behind_it(tmp_path):
    """That rows are there is said with no columns."""
    found = followed(lambda a: a.select(pl.len()), tmp_path, {"a": FLIGHTS})

    (item,) = found.rows.back(np.array([0]))
    assert Found("a", frozenset(), item.rows) == item
    assert [0, 1, 2, 3, 4] == item.rows.part(0).tolist()


times = st.lists(
    st.tuples(st.sampled_from(["UA", "AA", None]), st.integers(0, 9), st.one_of(st.none(), st.integers(0, 3)))
)


@settings(max_examples=40, deadline=None)
@given(times, times, st.data())
def test_looks_into_the_past_lead_both_ways(tmp_path_factory, flights, past, data):
    """Forwards and all at once are backwards turned round, for any rows and events, filtered ones as well."""
    filtered, dropped = data.draw(st.booleans()), data.draw(st.booleans())
    frames = {name: _frame(rows) for name, rows in (("flights", flights), ("past", past))}

    def step(flights, past):
        made = _looking_back(flights, past.filter(pl.col("delay") != 1) if filtered else past)
        return made.filter(pl.col("all") != 1) if dropped else made

    found = followed(step, tmp_path_factory.mktemp("past"), frames)

    behind = found.back()
    for name, frame in frames.items():
        came = [[place for place, ids in enumerate(behind) if (name, row) in ids] for row in range(len(frame))]
        assert came == [found.rows.forward(name, np.array([row])).tolist() for row in range(len(frame))]
        assert [bool(rows) for rows in came] == found.rows.reached(name, len(frame)).tolist()
        with patch.object(rowmap, "_AT_ONCE", 3):
            assert [bool(rows) for rows in came] == found.rows.reached(name, len(frame)).tolist()
        some = np.arange(0, len(frame), 2)
        assert sorted(set().union(*came[::2])) == found.rows.forward(name, some).tolist()
        assert [bool(rows) for rows in came[::2]] == found.rows.reached(name, len(frame), among=some)[some].tolist()


def _frame(rows):
    columns = {"carrier": pl.String, "hours": pl.Int64, "delay": pl.Int64}
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    return frame.select("carrier", "delay", at=pl.lit(NOON) + pl.duration(hours="hours"))
