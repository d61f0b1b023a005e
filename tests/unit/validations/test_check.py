"""A suite on a table: what passes, what fails, what blocks, and what is told about it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import validations.check
from lineage.errors import SettingsError, SourceError
from lineage.ports import CheckReport, Ports, describe
from lineage.tracing.story import _named
from validations.check import run_suite

ROWS = pl.DataFrame(
    {
        "id": [1, 2, 3, 4],
        "count": [1, None, 3, 3],
        "large": [2**53, 2**53 + 1, None, 2**53 + 3],
        "speed": [1.5, float("nan"), None, 9.0],
        "place": ["JFK", None, "EWR", "EWR"],
        "late": [True, None, False, True],
        "at": [datetime(2013, 1, 1, tzinfo=UTC), None, *[datetime(2013, 1, day, tzinfo=UTC) for day in (2, 3)]],
        "day": [date(2013, 1, 1), None, date(2013, 1, 2), date(2013, 1, 2)],
        "empty": pl.Series([None] * 4, dtype=pl.Int32),
    }
)


def promise(kind: str, column: str | None = None, severity: str | None = None, **kwargs) -> dict:
    entry = {"type": f"expect_{kind}", "kwargs": ({"column": column} if column else {}) | kwargs}
    return entry | ({"severity": severity} if severity else {})


@pytest.fixture
def check(tmp_path):
    def run(frame: pl.DataFrame, *promises: dict) -> CheckReport:
        frame.write_parquet(tmp_path / "table.parquet")
        return run_suite(write_suite(tmp_path, *promises), tmp_path / "table.parquet")

    return run


def write_suite(folder: Path, *promises: object) -> Path:
    path = folder / "suite.json"
    path.write_text(json.dumps({"name": "rows", "expectations": promises, "meta": {}}))
    return path


def test_a_run_leaves_nothing_behind(check, tmp_path, tmp_path_factory, monkeypatch, capfd):
    """No file in the working or home directory, no output, no analytics, no change to warning filters."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("cwd")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(folder)
    filters, shown_by = list(warnings.filters), warnings.showwarning

    check(ROWS, promise("column_values_to_match_regex", "place", regex="^(JFK|EWR)$"))

    assert [*home.iterdir(), *folder.iterdir()] == []
    assert capfd.readouterr() == ("", "")
    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"
    assert (list(warnings.filters), warnings.showwarning) == (filters, shown_by)


def test_importing_is_light():
    """Importing the checker loads no framework: they come when the first suite runs."""
    heavy = {"great_expectations", "pandas", "psycopg", "dagster", "xgboost"}
    code = f"import sys, validations, validations.check; print(sorted({heavy!r} & set(sys.modules)))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


PASSING = [
    promise("column_values_to_not_be_null", "id"),
    promise("column_values_to_not_be_null", "count", mostly=0.75),
    promise("column_values_to_be_null", "empty"),
    promise("column_values_to_be_between", "count", min_value=1, max_value=3),
    promise("column_values_to_be_between", "empty", min_value=1),
    promise("column_values_to_be_between", "speed", min_value=1, max_value=9),
    promise("column_values_to_be_between", "at", min_value="2013-01-01T00:00:00Z"),
    promise("column_values_to_be_between", "day", max_value="2013-01-02"),
    # Two neighbours above 2**53 are one number in float64.
    promise("column_values_to_be_unique", "large"),
    promise("column_values_to_be_unique", "at"),
    promise("compound_columns_to_be_unique", column_list=["id", "count"]),
    promise("column_values_to_be_in_set", "count", value_set=[1, 3]),
    promise("column_values_to_be_in_set", "late", value_set=[True, False]),
    promise("column_values_to_be_in_set", "place", value_set=["JFK", "EWR"]),
    promise("column_values_to_match_regex", "place", regex="^[A-Z]{3}$"),
    promise("column_values_to_be_of_type", "count", type_="int64"),
    promise("column_values_to_be_of_type", "empty", type_="int32"),
    promise("column_values_to_be_of_type", "place", type_="str"),
    promise("column_values_to_be_of_type", "speed", type_="float64"),
    promise("column_pair_values_a_to_be_greater_than_b", column_A="id", column_B="count", or_equal=True,
            ignore_row_if="either_value_is_missing"),
    promise("column_max_to_be_between", "count", max_value=3),
    promise("column_unique_value_count_to_be_between", "count", min_value=2, max_value=2),
    promise("table_columns_to_match_set", column_set=ROWS.columns[::-1]),
    promise("table_columns_to_match_ordered_list", column_list=ROWS.columns),
    promise("table_row_count_to_be_between", min_value=4, max_value=4),
]  # fmt: skip


def test_kept_promises_pass(check):
    """Nulls and NaN are missing values, never wrong ones, whatever the type of the column."""
    report = check(ROWS, *PASSING)

    assert [describe(item) for item in report.expectations if not item.success] == []
    assert [item["type"] for item in PASSING] == [item.kind for item in report.expectations]


BROKEN = [
    (promise("column_values_to_not_be_null", "count"), {"element_count": 4, "unexpected_count": 1}),
    (promise("column_values_to_not_be_null", "speed"), {"unexpected_count": 2}),
    (promise("column_values_to_not_be_null", "place", mostly=0.8), {"unexpected_count": 1, "mostly": 0.8}),
    (
        promise("column_values_to_be_between", "count", min_value=2, max_value=3),
        {"unexpected_count": 1, "missing_count": 1, "unexpected_values": ["1"], "min_value": 2, "max_value": 3},
    ),
    (promise("column_values_to_be_between", "speed", max_value=2), {"missing_count": 2, "unexpected_values": ["9.0"]}),
    (
        promise("column_values_to_be_between", "at", min_value="2013-01-02T00:00:00Z"),
        {"unexpected_values": ["2013-01-01T00:00:00+00:00"], "min_value": "2013-01-02T00:00:00Z"},
    ),
    (promise("column_values_to_be_unique", "count"), {"unexpected_count": 2, "unexpected_values": ["3", "3"]}),
    (
        promise("compound_columns_to_be_unique", column_list=["count", "place"]),
        {"unexpected_count": 2, "column_list": ["count", "place"]},
    ),
    (
        promise("column_values_to_be_in_set", "place", value_set=["JFK"]),
        {"unexpected_values": ["EWR", "EWR"], "value_set": ["JFK"]},
    ),
    (promise("column_values_to_be_in_set", "late", value_set=[True]), {"unexpected_values": ["False"]}),
    (promise("column_values_to_match_regex", "place", regex="^J"), {"regex": "^J", "unexpected_count": 2}),
    (promise("column_values_to_be_of_type", "count", type_="str"), {"observed_value": "Int64", "type_": "str"}),
    (promise("column_mean_to_be_between", "count", min_value=9), {"observed_value": 7 / 3, "min_value": 9}),
    (promise("column_mean_to_be_between", "empty", min_value=9), {"min_value": 9}),
    (
        promise("column_max_to_be_between", "at", min_value="2014-01-01T00:00:00Z"),
        {"observed_value": "2013-01-03T00:00:00+00:00"},
    ),
    (
        promise("column_quantile_values_to_be_between", "id",
                quantile_ranges={"quantiles": [1.0], "value_ranges": [[9, None]]}),
        {"observed_value": {"quantiles": [1.0], "values": [4]}},
    ),
    (
        promise("table_columns_to_match_set", column_set=[*ROWS.columns[1:], "gone"]),
        {"mismatched": {"unexpected": ["id"], "missing": ["gone"]}},
    ),
    (promise("table_row_count_to_be_between", min_value=5), {"observed_value": 4, "min_value": 5}),
]  # fmt: skip


@pytest.mark.parametrize(("broken", "facts"), BROKEN, ids=lambda item: item.get("type", "")[7:])
def test_broken_promises_fail_with_the_facts(check, broken, facts):
    """A failure says how many rows, shows some of the values and repeats what was expected."""
    report = check(ROWS, broken)
    (found,) = report.expectations

    assert (report.success, found.success, found.column) == (False, False, broken["kwargs"].get("column"))
    assert {name: found.observed.get(name) for name in facts} == facts


def test_facts_are_plain_json(check):
    """Whatever was found, canonical JSON can carry it: no NaN, no numpy, no dates."""
    rows = pl.DataFrame({"x": [float("inf"), float("nan"), 1.0]})
    odd = [
        promise("column_max_to_be_between", "x", max_value=5),
        promise("column_mean_to_be_between", "x", max_value=5),
    ]
    reports = [check(ROWS, *PASSING, *(broken for broken, _ in BROKEN)), check(rows, *odd)]

    observed = [dict(item.observed) for report in reports for item in report.expectations]

    assert json.loads(json.dumps(observed, allow_nan=False)) == observed
    assert {type(value).__module__ for facts in observed for value in facts.values()} == {"builtins"}
    assert observed[-2]["observed_value"] == "inf"


def test_facts_are_short(check):
    """At most five values are shown, of the table as of the expectation."""
    rows = pl.DataFrame({"id": range(100, 150)})

    (found,) = check(rows, promise("column_values_to_be_in_set", "id", value_set=list(range(12)))).expectations

    assert found.observed["unexpected_values"] == ["100", "101", "102", "103", "104"]
    assert found.observed["value_set"] == [0, 1, 2, 3, 4, "… 7 more"]
    assert found.observed["unexpected_count"] == 50


@pytest.mark.parametrize(
    ("severity", "blocking"), [(None, True), ("critical", True), ("warning", False), ("info", False)]
)
def test_only_critical_blocks(check, severity, blocking):
    """An expectation blocks unless its severity says warning or info; a warning is still reported."""
    report = check(ROWS, promise("column_values_to_be_between", "id", severity, min_value=2))

    assert [(item.success, item.blocking) for item in report.expectations] == [(False, blocking)]
    assert (report.success, len(report.failures)) == (not blocking, int(blocking))


RAISING = [
    (promise("column_values_to_not_be_null", "plac"), "reads 'plac', which the table lacks; did you mean place?"),
    (promise("compound_columns_to_be_unique", column_list=["id", "gone"]), "reads 'gone'"),
    (promise("column_pair_values_to_be_equal", column_A="id", column_B="ids"), "reads 'ids', which the table lacks"),
    (promise("column_values_to_match_regex", "place", regex="("), "'place': The regular expression '(' is not valid"),
    (promise("column_values_to_be_between", "place", min_value=1), "place (String) cannot be compared with 1"),
]


@pytest.mark.parametrize(("raising", "message"), RAISING, ids=lambda item: str(item)[:40])
def test_an_expectation_that_raises_has_failed(check, tmp_path, raising, message):
    """It names the suite, the expectation, its columns and the fault in a line; those beside it still count."""
    report = check(ROWS, promise("column_values_to_not_be_null", "id"), raising)
    kept, raised = report.expectations

    assert (kept.success, raised.success, report.success) == (True, False, False)
    where = f"{tmp_path / 'suite.json'}: expectation 2 ({raising['type']})"
    assert [word for word in (where, message) if word not in raised.observed["exception"]] == []
    assert "\n" not in raised.observed["exception"]


def test_an_expectation_without_a_result_has_failed(check, monkeypatch):
    """What the engine does not answer is not taken for a yes."""
    monkeypatch.setattr(validations.check, "_results", lambda *_: {})

    report = check(ROWS, promise("column_values_to_not_be_null", "id"))

    assert (report.success, len(report.failures)) == (False, 1)
    assert "no result" in report.failures[0]


def test_the_report_follows_the_suite(check):
    """Expectations come in the order of the suite, and equal ones are both kept."""
    order = ["place", "id", "gone", "place", "count", "place"]

    report = check(ROWS, *(promise("column_values_to_not_be_null", column) for column in order))

    assert [item.column for item in report.expectations] == order
    assert report.suite == "rows"


def test_an_empty_table_has_no_wrong_rows_and_no_rows(check):
    """Without rows, only promises about the table or its aggregates can fail."""
    promises = (
        promise("column_values_to_not_be_null", "id"),
        promise("column_max_to_be_between", "id", max_value=9),
        promise("table_row_count_to_be_between", min_value=1),
    )

    report = check(ROWS.clear(), *promises)

    assert [item.success for item in report.expectations] == [True, False, False]


def test_tables_do_not_mix(tmp_path):
    """Suites that run at once, or one after the other, each see their own table."""
    suite = write_suite(tmp_path, promise("table_row_count_to_equal", value=3))
    tables = [tmp_path / f"{rows}.parquet" for rows in range(6)]
    for rows, table in enumerate(tables):
        ROWS.head(1).select(pl.col("id").repeat_by(rows).explode(empty_as_null=False)).write_parquet(table)

    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(lambda table: run_suite(suite, table), tables))

    assert [report.expectations[0].observed["observed_value"] for report in reports] == list(range(6))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8))
def test_integers_are_counted_exactly(check, values):
    """Missing, repeated and outlying integers are those that Polars counts, up to 64 bits."""
    frame = pl.DataFrame({"x": values}, schema={"x": pl.Int64})
    kept = frame["x"].drop_nulls()
    promises = [
        promise("column_values_to_not_be_null", "x"),
        promise("column_values_to_be_unique", "x"),
        promise("column_values_to_be_between", "x", min_value=0),
    ]

    found = [item.observed["unexpected_count"] for item in check(frame, *promises).expectations]

    assert found == [frame["x"].null_count(), int(kept.is_duplicated().sum()), int((kept < 0).sum())]


MALFORMED = [
    ("{", ["not valid JSON", "line 1"]),
    ("[" * 100_000, ["not valid JSON", "recursion"]),
    ("[]", ["must be an object"]),
    ('{"expectations": []}', ["`name`"]),
    ('{"name": "x", "expectations": {}}', ["list of `expectations`"]),
    ('{"expectation_suite_name": "x", "expectations": []}', ["0.x", "`name`", "`expectation_type`"]),
]


@pytest.mark.parametrize(("text", "named"), MALFORMED)
def test_a_malformed_suite_is_refused_by_name(tmp_path, text, named):
    """The error names the file and what is wrong in it."""
    path = tmp_path / "odd.json"
    path.write_text(text)

    with pytest.raises(SettingsError) as caught:
        run_suite(path, tmp_path / "table.parquet")

    assert [word for word in [str(path), *named] if word not in str(caught.value)] == []


UNUSABLE = [
    ("expect", ["expectation 2", "`kwargs`"]),
    (
        {"type": "expect_column_values_to_not_be_nul", "kwargs": {"column": "id"}},
        ["expectation 2", "'expect_column_values_to_not_be_nul'", "expect_column_values_to_not_be_null"],
    ),
    (promise("column_values_to_be_null", "a", mostl=1), ["expectation 2", "expect_column_values_to_be_null", "mostl"]),
    (promise("column_values_to_be_null", "a", "fatal"), ["fatal", "critical"]),
    (PASSING[0] | {"sevrity": "info"}, ["sevrity"]),
    (promise("column_values_to_be_between", "id", min_value={"$PARAMETER": "low"}), ["expectation 2", "'low'"]),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "named"), UNUSABLE, ids=range(len(UNUSABLE)))
def test_an_expectation_that_cannot_be_used_has_failed(check, tmp_path, entry, named):
    """It says which, in which file, and what is wrong; GX itself would drop it. The others still report."""
    kept, failed, last = check(ROWS, PASSING[0], entry, PASSING[1]).expectations

    assert (kept.success, failed.success, last.success) == (True, False, True)
    assert failed.blocking
    told = [str(tmp_path / "suite.json"), *named]
    assert [word for word in told if word not in failed.observed["exception"]] == []


@pytest.mark.parametrize(
    "entry",
    [
        promise("column_values_to_be_nul", "id", "warning"),
        promise("column_values_to_be_nul", "id") | {"meta": {"action": "warn"}},
    ],
    ids=["severity", "action"],
)
def test_one_that_only_warns_does_so_when_it_cannot_be_used(check, entry):
    """A severity or an action that does not block is kept to."""
    report = check(ROWS, entry)

    assert (report.success, report.expectations[0].column) == (True, "id")


def test_a_missing_suite_is_refused(tmp_path):
    """A suite that is not there is an error that names the file."""
    with pytest.raises(SettingsError, match=r"gone\.json"):
        run_suite(tmp_path / "gone.json", tmp_path / "table.parquet")


def test_a_csv_file_is_validated_like_a_table(tmp_path):
    """Empty and NA are null, numbers and UTC times are inferred."""
    csv = tmp_path / "rows.CSV"
    csv.write_text("id,tail,at\n1,NA,2013-01-01T10:00:00Z\n2,N1,NA\n,N2,2013-01-02T10:00:00Z\n")
    suite = write_suite(
        tmp_path,
        promise("column_values_to_not_be_null", "id"),
        promise("column_values_to_not_be_null", "tail", mostly=0.6),
        promise("column_values_to_be_between", "id", max_value=2),
        promise("column_values_to_be_between", "at", min_value="2013-01-02T00:00:00Z"),
    )

    report = run_suite(suite, csv)

    assert [item.success for item in report.expectations] == [False, True, True, False]
    assert report.expectations[3].observed["unexpected_values"] == ["2013-01-01T10:00:00+00:00"]


def test_a_blank_line_of_a_csv_file_is_no_row(tmp_path):
    """A row of separators is one, whose values are missing."""
    (tmp_path / "rows.csv").write_text("id,tail\n1,N1\n\n,\n2,N2\n\n")
    suite = write_suite(
        tmp_path,
        promise("column_values_to_not_be_null", "id"),
        {"type": "expect_table_row_count_to_equal", "kwargs": {"value": 3}},
    )

    report = run_suite(suite, tmp_path / "rows.csv")

    assert report.expectations[0].observed["unexpected_count"] == 1
    assert report.expectations[1].success


def test_a_parquet_file_is_validated_as_it_is(tmp_path):
    """Validating a Parquet file by hand gives the report that a run records."""
    ROWS.write_parquet(tmp_path / "rows.parquet")
    suite = write_suite(tmp_path, *PASSING, *(broken for broken, _ in BROKEN))

    by_hand = run_suite(suite, tmp_path / "rows.parquet")

    assert by_hand == Ports().check(suite, tmp_path / "rows.parquet", {})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.parquet", None, "There is no file"),
        ("gone.csv", None, "There is no file"),
        ("text.parquet", b"id\n1\n", "not readable as parquet"),
        ("empty.csv", b"", "not readable as csv"),
        ("ragged.csv", b"id,b\n1,2\n'3,4,5,6\n", "not readable as csv .line 3 has 4 fields and the header 2: correct"),
        ("ragged.tsv", b'id\tb\n1\t"2\n"\n3\t4\t5\n', "not readable as tsv .line 4 has 3 fields and the header 2:"),
        ("twice.csv", b"\xef\xbb\xbfid,b,id\n1,2,3\n", "its header names the column 'id' 2 times: give each"),
        ("latin.csv", b"a,b\nZ\xfcrich,1\n", "invalid utf-8"),
        ("rows.xlsx", b"{}", "ends in none of .parquet, .csv"),
    ],
)
def test_an_unreadable_file_is_refused_by_name(tmp_path, name, content, message):
    """A file that is missing, broken or of another kind is a SourceError with its path."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SourceError, match=message) as caught:
        run_suite(write_suite(tmp_path, PASSING[0]), path)

    assert caught.value.path == str(path)


def test_rows_that_end_early_have_missing_values(tmp_path):
    """As in pandas; a name with the suffix that Polars gives to repeated ones is no repetition."""
    path = tmp_path / "short.csv"
    path.write_text("id,b,b_duplicated_0,\n1,2,3\n4\n")
    suite = write_suite(
        tmp_path,
        promise("column_values_to_not_be_null", "id"),
        promise("column_values_to_not_be_null", "b", mostly=0.5),
        promise("column_values_to_not_be_null", "b_duplicated_0", mostly=0.5),
    )

    assert [each.success for each in run_suite(suite, path).expectations] == [True, True, True]


def test_an_expectation_on_several_columns_names_them(tmp_path):
    """In the sentence of a failure, once; a table's own has none."""
    pair = {"type": "expect_column_pair_values_to_be_equal", "kwargs": {"column_A": "id", "column_B": "b"}}
    several = {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["b", "c"]}}
    rows = {"type": "expect_table_row_count_to_equal", "kwargs": {"value": 9}}
    pl.DataFrame({"id": [1, 2], "b": [3, 3], "c": [1, 1]}).write_parquet(tmp_path / "rows.parquet")

    report = run_suite(write_suite(tmp_path, pair, several, rows), tmp_path / "rows.parquet")

    told = [text.partition(" (")[0] for text in report.failures]
    assert told == [f"{pair['type']} on id, b", f"{several['type']} on b, c", rows["type"]]
    assert not any("column_" in text.partition(" (")[2] for text in report.failures)
    assert [_named(vars(item)) for item in report.expectations] == told


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_the_files_of_a_folder_are_one_table(tmp_path, kind):
    """By their names, also in sub-folders; hidden ones are no data, and whole numbers become floats beside floats."""
    folder = tmp_path / "data"
    for name, values in {"b": [1, 2], "sub/c": [2.5, 1.0], "_old/d": [9], ".e": [9]}.items():
        path = folder / f"{name}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        getattr(pl.DataFrame({"id": values}), f"write_{kind}")(path)
    unique, rows = promise("column_values_to_be_unique", "id"), promise("column_max_to_be_between", "id", max_value=2.5)
    count = {"type": "expect_table_row_count_to_equal", "kwargs": {"value": 4}}

    report = run_suite(write_suite(tmp_path, unique, rows, count), folder)

    assert [item.success for item in report.expectations] == [False, True, True]
    assert report.expectations[0].observed["unexpected_count"] == 2


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.txt": "x"}, "has no file that can be read: a name must end in one of .parquet, .csv"),
        ({"a.csv": "id\n1\n", "b.tsv": "id\n1\n"}, r"files of several kinds \(.csv, .tsv\): name one of them"),
        ({"a.csv": "id\n1\n", "b.csv": "no\n1\n"}, "b.csv has the columns no, and a.csv id; validate each by itself"),
        (
            {"a.csv": "id\n1\n", "b.csv": "id\nx\n"},
            r"do not agree in the type of 'id' \(Int64, String\); validate each",
        ),
    ],
)
def test_a_folder_that_is_no_table_is_refused(tmp_path, files, message):
    folder = tmp_path / "data"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)

    with pytest.raises(SourceError, match=message):
        run_suite(write_suite(tmp_path, promise("column_values_to_not_be_null", "id")), folder)
