"""Why rows are missing from what a step gives, operation by operation."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from lineage.exclusions import Notes
from lineage.rows.reasons import DROPPED, write_reasons

from .followed import followed

ROWS = pl.DataFrame(
    {
        "id": [0, 1, 2, 3, 4, 5, 6, 7],
        "shop": ["n", "n", "s", "s", "e", None, "n", "w"],
        "amount": [5, None, 1, 9, 2, 3, 0, 7],
    }
)
SHOPS = pl.DataFrame({"shop": ["n", "s", "x", "w"], "city": ["Oslo", "Rome", "None", "Bonn"]})


def reasons(tmp_path, function: Callable, **inputs: pl.DataFrame) -> dict[str, dict[int, tuple[str, str]]]:
    """By input what dropped each row that nothing of the table came from, by its number."""
    made = followed(function, tmp_path, inputs)
    notes = Notes.read({path.name: path for path in write_reasons(made.frame.capture, made.frame.ways, tmp_path)})
    found = {}
    for name, frame in inputs.items():
        missing = np.flatnonzero(~made.rows.reached(name, frame.height))
        told = notes.reasons(name, missing)
        found[name] = {int(row): (reason["how"], reason["text"]) for reason, rows in told for row in rows}
        assert sum(len(rows) for _, rows in told) == len(found[name]) == len(missing)
    return found


def told(found: dict[int, tuple[str, str]]) -> dict[str, list[int]]:
    """The rows by what is said."""
    by_text: dict[str, list[int]] = {}
    for row, (how, text) in found.items():
        by_text.setdefault(f"{how}: {text}", []).append(row)
    return by_text


def test_a_filter_says_its_predicate(tmp_path):
    """As Polars writes it; of several predicates all."""
    found = reasons(tmp_path, lambda rows: rows.filter(pl.col("amount") > 1, shop="n"), rows=ROWS)

    ((text, rows),) = told(found["rows"]).items()
    assert rows == [1, 2, 3, 4, 5, 6, 7]
    assert text == 'filter: [(col("amount")) > (dyn int: 1)] & [(col("shop")) == ("n")]'


def test_an_empty_list_gives_no_row(tmp_path):
    """explode is named where it leaves a row out."""
    listed = pl.DataFrame({"id": [0, 1, 2], "tags": [["a", "b"], [], ["c"]]})

    found = reasons(tmp_path, lambda rows: rows.explode("tags").filter(pl.col("tags") != "c"), rows=listed)

    assert told(found["rows"]) == {"filter: explode(tags)": [1], 'filter: [(col("tags")) != ("c")]': [2]}


def test_of_filters_in_a_row_each_has_its_own(tmp_path):
    """A row that the first drops never meets the second, also where it would fail it."""
    found = told(
        reasons(
            tmp_path,
            lambda rows: rows.drop_nulls("amount").filter(pl.col("amount") > 1).remove(pl.col("shop") == "e"),
            rows=ROWS,
        )["rows"]
    )

    # Polars removes no row of which it is not known whether it should.
    assert list(found.values()) == [[1], [2, 6], [4]]
    assert [
        text.startswith(start) for text, start in zip(found, ("filter: ", "filter: ", "filter: not ("), strict=True)
    ]


def test_a_slice_says_which_rows_it_takes(tmp_path):
    """By their number after the sort before it."""
    found = told(reasons(tmp_path, lambda rows: rows.sort("amount", nulls_last=True).head(3), rows=ROWS)["rows"])

    assert found == {"slice: slice(0, 3)": [0, 1, 3, 5, 7]}


def test_what_no_join_matched_is_told_from_what_its_matches_lost(tmp_path):
    """A lookup row whose only rows were dropped later is missing because of that."""
    found = reasons(
        tmp_path,
        lambda rows, shops: rows.join(shops, on="shop", how="left").filter(pl.col("amount") != 7),
        rows=ROWS,
        shops=SHOPS,
    )

    assert found["shops"][2] == ("join", "on shop")
    assert found["shops"][3][0] == "filter"
    assert {row for row, (how, _) in found["rows"].items() if how == "filter"} == {1, 7}


def test_having_and_filters_of_groups_drop_all_rows_of_a_group(tmp_path):
    """Through two levels: the rows of halves that were not enough, then of shops that had too many."""

    def step(rows):
        halves = rows.group_by("shop", half=pl.col("id") % 2).agg(pl.col("amount").sum())
        return halves.filter(pl.col("amount") > 2).group_by("shop").having(pl.col("amount").max() < 9).agg(pl.len())

    found = told(reasons(tmp_path, step, rows=ROWS)["rows"])

    # n: 5 and 0 of the even, none of the odd; s: 1, and 9; e: 2; null: 3; w: 7.
    assert {"having" in text: rows for text, rows in found.items()} == {False: [1, 2, 4], True: [3]}


def test_dedup_without_survivors_is_a_reason(tmp_path):
    """With keep="none" nobody stays; otherwise all equal rows are behind the one that does."""
    found = reasons(tmp_path, lambda rows: rows.unique("shop", keep="none"), rows=ROWS)["rows"]
    kept = reasons(_inner(tmp_path), lambda rows: rows.unique("shop", keep="first"), rows=ROWS)["rows"]

    assert {row: how for row, (how, _) in found.items()} == dict.fromkeys((0, 1, 2, 3, 6), "dedup")
    assert kept == {}


def _inner(tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    return folder


def test_a_row_of_two_branches_is_missing_if_both_lost_it(tmp_path):
    """One reason: what dropped it last."""

    def step(rows):
        return pl.concat([rows.filter(pl.col("amount") > 4), rows.filter(pl.col("shop") == "n")])

    found = reasons(tmp_path, step, rows=ROWS)["rows"]

    assert sorted(found) == [2, 4, 5]
    assert all('col("shop")' in text for _, text in found.values())


def test_what_only_lies_between_windows_is_in_none(tmp_path):
    """Nothing dropped it; windows of one of every three passed it by."""

    def step(rows):
        return rows.group_by_dynamic(pl.col("id").set_sorted(), every="3i", period="1i").agg(pl.col("amount").sum())

    found = reasons(tmp_path, lambda rows: step(rows.select(pl.col("id").cast(pl.Int64), "amount")), rows=ROWS)["rows"]

    assert set(found.values()) == {("window", "in no row's window")}
    assert sorted(found) == [1, 2, 4, 5, 7]


def test_semi_and_anti_joins_say_so(tmp_path):
    """The other frame's rows have their reason too: nothing matched them, or they stand in an anti join."""

    def step(rows, shops):
        return rows.join(shops.filter(pl.col("city") != "Bonn"), on="shop", how="semi")

    found = reasons(tmp_path, step, rows=ROWS, shops=SHOPS)
    anti = reasons(
        _inner(tmp_path), lambda rows, shops: rows.join(shops, on="shop", how="anti"), rows=ROWS, shops=SHOPS
    )

    assert told(found["rows"]) == {"join: semi join on shop": [4, 5, 7]}
    assert (found["shops"][3][0], found["shops"][2]) == ("filter", ("join", "on shop"))
    assert told(anti["rows"]) == {"join: anti join on shop": [0, 1, 2, 3, 6, 7]}
    assert told(anti["shops"]) == {"join: anti on shop": [0, 1, 2, 3]}


def test_a_row_that_a_semi_join_met_is_missing_because_of_what_came_later(tmp_path):
    """Rows of the other frame are missing with the last of their matches, with keys that are worked out or null too."""

    def step(rows, shops):
        met = rows.join(shops, left_on=pl.col("shop").str.to_uppercase(), right_on="name", how="semi", nulls_equal=True)
        return met.filter(pl.col("amount") != 7)

    names = pl.DataFrame({"name": ["N", "S", "X", "W", None]})
    found = reasons(tmp_path, step, rows=ROWS, shops=names)

    assert {row: how for row, (how, _) in found["shops"].items()} == {2: "join", 3: "filter"}
    assert found["shops"][2][1].startswith("on ")


def test_a_frame_joined_to_itself_has_the_reason_of_what_it_is_asked_for(tmp_path):
    """Rows that an anti join drops are dropped by it, though they also stand in its other frame."""
    found = reasons(
        tmp_path, lambda rows: rows.join(rows.filter(pl.col("amount") > 4), on="shop", how="anti"), rows=ROWS
    )

    assert told(found["rows"]) == {"join: anti join on shop": [0, 1, 2, 3, 6, 7]}


@pytest.mark.parametrize("joined", ["left", "full"])
def test_a_frame_that_loses_nothing_has_no_reasons(tmp_path, joined):
    """Every row of the left frame is there."""
    found = reasons(tmp_path, lambda rows, shops: rows.join(shops, on="shop", how=joined), rows=ROWS, shops=SHOPS)

    assert found["rows"] == {}
    assert found["shops"] == ({2: ("join", "on shop")} if joined == "left" else {})


def test_nothing_is_computed_where_one_operation_is_the_reason(tmp_path):
    """Then the file of rows is not written: what is missing says it all."""
    reasons(tmp_path, lambda rows: rows.filter(pl.col("amount") > 1), rows=ROWS)

    assert not (tmp_path / DROPPED).exists()
