"""A drafted suite says what is true of the rows it was drafted from, and the same of the same rows."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing.parametric import column, dataframes

import validations.drafting.profile
from lineage.errors import SourceError
from lineage.ports import CheckReport
from validations.check import run_suite
from validations.drafting.profile import profile
from validations.drafting.proposal import Drafted, draft, propose, suite_text

# Types are written as Polars names them: an engine that holds the rows in pandas has other names for them.
TYPES = "expect_column_values_to_be_of_type"
ROWS = 60


@pytest.fixture
def drafted(tmp_path):
    def write(*parts: pl.DataFrame, key: tuple[str, ...] = ()) -> dict[str, Any]:
        paths = [tmp_path / f"{number}.parquet" for number in range(len(parts))]
        for path, part in zip(paths, parts, strict=True):
            part.write_parquet(path)
        return propose(paths, Drafted("table", key, monthly=len(parts) > 1))

    return write


def said(suite: dict[str, Any], column: str, kind: str = "") -> list[tuple[str, dict[str, Any], str]]:
    """Of a column: (kind, kwargs but the column, severity)."""
    return [
        (item["type"].removeprefix("expect_column_values_to_"), rest, item["severity"])
        for item in suite["expectations"]
        if item["kwargs"].get("column") == column and kind in item["type"]
        for rest in [{name: value for name, value in item["kwargs"].items() if name != "column"}]
    ]


def checked(suite: dict[str, Any], table: Path) -> CheckReport:
    """What the suite finds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "suite.json"
        path.write_text(suite_text(suite))
        return run_suite(path, table)


def repeated(*values: object) -> list[object]:
    return [values[row % len(values)] for row in range(ROWS)]


def test_a_column_is_told_in_the_order_of_a_reader(drafted):
    """Type, nulls, uniqueness, set or range, shape; what is structure blocks, what is a guess warns."""
    suite = drafted(
        pl.DataFrame(
            {
                "code": [f"N{number}AA" for number in range(ROWS)],
                "place": repeated("JFK", None, "EWR"),
                "month": repeated(1, 2, 3),
                "gate": repeated(1, 2, 9),
                "delay": [row * 23 - 43 for row in range(ROWS)],
                "speed": [float("nan"), None, *(row / 7 for row in range(ROWS - 2))],
                "late": repeated(True, False),
                "at": [datetime(2013, 1, 1 + row % 28, row // 28, tzinfo=UTC) for row in range(ROWS)],
                "day": repeated(date(2013, 1, 1), date(2013, 1, 2)),
                "nothing": pl.Series([None] * ROWS, dtype=pl.Int32),
                "list": repeated([1], [2]),
            }
        )
    )

    assert [item["type"] for item in suite["expectations"][:2]] == [
        "expect_table_columns_to_match_set",
        "expect_table_row_count_to_be_between",
    ]
    known = ("not_be_null", {}, "critical")
    assert said(suite, "code") == [
        ("be_of_type", {"type_": "String"}, "critical"),
        known,
        ("be_unique", {}, "critical"),
        ("match_regex", {"regex": "^N[0-9]{1,2}AA$"}, "warning"),
    ]
    assert said(suite, "place")[1:] == [
        ("not_be_null", {"mostly": 0.66}, "warning"),
        ("be_in_set", {"value_set": ["EWR", "JFK"]}, "warning"),
    ]
    assert said(suite, "month")[1:] == [known, ("be_between", {"min_value": 1, "max_value": 3}, "warning")]
    assert said(suite, "gate")[1:] == [known, ("be_in_set", {"value_set": [1, 2, 9]}, "warning")]
    assert said(suite, "delay", "between") == [("be_between", {"min_value": -200, "max_value": 1400}, "warning")]
    assert said(suite, "speed")[1:] == [
        ("not_be_null", {"mostly": 0.96}, "warning"),
        ("be_between", {"min_value": 0.0, "max_value": 9.0}, "warning"),
    ]
    assert said(suite, "late") == [("be_of_type", {"type_": "Boolean"}, "critical"), known]
    assert said(suite, "at", "between") == [
        ("be_between", {"min_value": "2013-01-01T00:00:00+00:00", "max_value": "2013-01-29T00:00:00+00:00"}, "warning")
    ]
    assert said(suite, "day") == [("be_of_type", {"type_": "Date"}, "critical"), known]
    assert said(suite, "nothing") == [("be_of_type", {"type_": "Int32"}, "critical")]
    assert said(suite, "list") == [("be_of_type", {"type_": "List"}, "critical"), known]


def test_a_column_whose_name_polars_takes_for_a_pattern(drafted, tmp_path):
    """It is drafted from its own values."""
    suite = drafted(
        pl.DataFrame({"*": range(ROWS), "^.*$": [f"N{row:04}" for row in range(ROWS)], "a": repeated("x", "y")})
    )

    assert ("match_regex", {"regex": "^N[0-9]{4}$"}) in [each[:2] for each in said(suite, "^.*$")]
    assert "be_unique" in [each[0] for each in said(suite, "*")]
    assert all(each.success for each in checked(suite, tmp_path / "0.parquet").expectations)


def test_every_expectation_says_what_was_seen(drafted):
    """The author decides by it what to keep."""
    suite = drafted(pl.DataFrame({"place": repeated("JFK", None, "EWR"), "delay": [*range(ROWS)]}))

    notes = [item["notes"] for item in suite["expectations"]]

    assert "Missing in 20 of 60 rows." in notes
    assert "All 2 values in 40 rows." in notes
    assert "0 to 59." in notes
    assert all(notes)


def test_a_declared_key_blocks_and_other_uniqueness_warns(drafted):
    """One column or several; a declared key that is none is not promised."""
    frame = pl.DataFrame({"a": repeated(1, 2), "b": [row // 2 for row in range(ROWS)], "c": [*range(ROWS)]})

    alone, both, neither = (drafted(frame, key=key) for key in (("c",), ("a", "b"), ("a",)))

    assert said(alone, "c", "unique") == [("be_unique", {}, "critical")]
    assert said(both, "c", "unique") == [("be_unique", {}, "warning")]
    compound = [item for item in both["expectations"] if item["type"] == "expect_compound_columns_to_be_unique"]
    assert [(item["kwargs"], item["severity"]) for item in compound] == [({"column_list": ["a", "b"]}, "critical")]
    assert said(neither, "a", "unique") == []


def test_uniqueness_is_proved_class_by_class(monkeypatch):
    """However few hashes are looked at together, equal ones meet."""
    monkeypatch.setattr(validations.drafting.profile, "_HASHES_AT_ONCE", 7)
    frame = pl.LazyFrame({"a": range(ROWS), "b": [*range(ROWS - 1), 17], "c": repeated("x")})

    found = profile([frame], [("a", "c"), ("b", "c"), ("b",)])

    assert found.unique_keys == (("a", "c"),)
    assert [item.name for item in found.columns if item.unique] == ["a"]


def test_what_is_missing_is_told_by_the_worst_part(drafted, tmp_path):
    """A suite sees one month at a time, so one month's need is tolerated; and its times are its own."""
    at = [datetime(2013, 1, 1, tzinfo=UTC)] * 100
    parts = [pl.DataFrame({"x": [None] * lost + [1.5] * (100 - lost), "at": at}) for lost in (0, 40, 2)]

    suite = drafted(*parts)

    assert said(suite, "x", "null") == [("not_be_null", {"mostly": 0.6}, "warning")]
    assert said(suite, "at", "between") == []
    assert [checked(suite, tmp_path / f"{number}.parquet").success for number in range(3)] == [True] * 3


def test_few_rows_prove_little(drafted):
    """Ten rows that differ are no key and no set, and have no shape."""
    suite = drafted(pl.DataFrame({"id": [*range(10)], "code": [f"N{number}" for number in range(10)]}))

    assert [said(suite, name, kind) for name in ("id", "code") for kind in ("unique", "in_set", "regex")] == [[]] * 6


def test_a_table_without_rows_has_a_structure(drafted):
    """Its columns and their types."""
    suite = drafted(pl.DataFrame(schema={"a": pl.Int64, "b": pl.String}))

    assert [item["type"] for item in suite["expectations"]] == ["expect_table_columns_to_match_set", TYPES, TYPES]


def test_the_text_is_short_lines_and_the_suite(drafted):
    """As people write suites: a list is filled, an expectation stands on a few lines; and nothing is lost."""
    suite = drafted(
        pl.DataFrame({f"column_{number}": repeated(number, None, "é") for number in range(40)}, strict=False)
    )

    text = suite_text(suite)

    assert json.loads(text) == suite
    assert max(map(len, text.splitlines())) <= 120
    assert text.endswith("}\n")


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_bytes(b"PAR1")], ids=["none", "damaged"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, make):
    """In one sentence."""
    make(tmp_path / "t.parquet")

    with pytest.raises(SourceError, match=r"t\.parquet( is not readable as parquet|\.)") as caught:
        propose([tmp_path / "t.parquet"], Drafted("t"))

    assert "\n" not in str(caught.value)


def test_parts_of_different_columns_are_no_table(drafted):
    """A month whose type changed is named rather than guessed at."""
    with pytest.raises(SourceError, match="as one table"):
        drafted(pl.DataFrame({"a": [1]}), pl.DataFrame({"a": ["x"]}))


texts = st.sampled_from([None, "", "JFK", "N14228", "N1AB", "a b", "9E-1", "x\ny", "Zürich", "NaN"])
tables = dataframes(
    cols=[
        column("whole", pl.Int64),
        column("small", strategy=st.one_of(st.none(), st.integers(0, 9)), dtype=pl.Int32),
        column("unsigned", pl.UInt64),
        column("real", pl.Float64),
        column("single", pl.Float32),
        column("text", strategy=texts, dtype=pl.String),
        column("kind", strategy=texts, dtype=pl.Categorical),
        column("flag", pl.Boolean),
        column("day", strategy=st.dates(date(1700, 1, 1), date(2200, 1, 1)), dtype=pl.Date),
        column(
            "at",
            strategy=st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
            dtype=pl.Datetime("us", "UTC"),
        ),
    ],
    max_size=6,
    allow_null=True,
)


@given(tables, st.integers(1, 30))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_suite_holds_for_its_own_rows(frame, times):
    """Whatever the rows are, repeated so that few values are of many rows."""
    rows = pl.concat([frame] * times).rechunk()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        rows.write_parquet(path)
        suite = propose([path], Drafted("table"))
        report = checked(suite, path)

        assert [(item.kind, item.column, item.observed) for item in report.expectations if not item.success] == []
        assert suite_text(propose([path], Drafted("table"))) == suite_text(suite)
        types = {
            item["kwargs"]["column"]: item["kwargs"]["type_"] for item in suite["expectations"] if item["type"] == TYPES
        }
        assert types == {name: kind.base_type().__name__ for name, kind in rows.schema.items()}


@pytest.mark.parametrize("name", ["departures", "weather"])
def test_a_month_of_flights_holds(real, name):
    """The months together give a suite that each keeps."""
    months = [real(name, month) for month in ("2013-02", "2013-12")]

    suite = propose(months, Drafted(name, monthly=True))

    assert [item.kind for month in months for item in checked(suite, month).expectations if not item.success] == []


def test_a_draft_needs_no_file():
    """Whoever has rows in hand can profile them."""
    found = profile([pl.LazyFrame({"a": [1, 2]})])

    assert draft(found, Drafted("two"))["name"] == "two"
