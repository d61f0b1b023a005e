"""GX's words for results, as plain parts: for every kind of expectation, hostile values, renderers that fail."""

from __future__ import annotations

import json

import polars as pl
import pytest

from validations.check import run_suite
from validations.suite import load_gx
from validations.wording import LONGEST_TEXT, MOST_ROWS, plain_text, wording

HOSTILE = "<script>alert(1)</script>"
ROWS = pl.DataFrame(
    {"n": [1, 2, 3, None], "s": ["x", HOSTILE, "$value ${x} $$", "nul\0"], "m": [1.0, 2.5, None, 4.0], HOSTILE: [1] * 4}
)
SET = "expect_column_values_to_be_in_set"


@pytest.fixture
def check(tmp_path):
    """The expectation's result on ROWS."""

    def run(kind, severity="critical", frame=ROWS, **kwargs):
        path, suite = tmp_path / "table.parquet", tmp_path / "suite.json"
        frame.write_parquet(path)
        more = {name: kwargs.pop(name) for name in ("notes", "description") if name in kwargs}
        entry = {"type": kind, "kwargs": kwargs, "severity": severity, **more}
        suite.write_text(json.dumps({"name": "rows", "expectations": [entry]}))
        (item,) = run_suite(suite, path).expectations
        return item

    return run


def table(parts):
    """The first table among parts, each cell as text."""
    rows = next(part["table"] for part in parts if isinstance(part, dict) and "table" in part)
    return [[plain_text(cell) for cell in row] for row in rows]


def test_expected_found_and_observed(check):
    """What was promised, how many values broke it and which, and what GX calls observed."""
    said = check(SET, column="s", value_set=["x", HOSTILE]).wording

    assert plain_text(said["expected"]) == f"values must belong to this set: x {HOSTILE}."
    assert {"value": HOSTILE} in said["expected"]
    assert plain_text(said["found"]).startswith("2 unexpected values found. 50% of 4 total rows.")
    assert table(said["found"]) == [["$value ${x} $$"], ["nul\N{SYMBOL FOR NULL}"]]
    assert said["observed"] == ["50% unexpected"]


def test_success_has_nothing_found(check):
    """What held says what was promised and no more."""
    said = check("expect_column_values_to_be_unique", column="s").wording

    assert said == {"expected": ["values must be unique."], "observed": ["0% unexpected"]}


def test_exception_is_a_sentence(check):
    """Without the traceback, in which the folders of this machine stand."""
    said = check("expect_column_values_to_not_be_null", column="missing").wording

    assert 'The column "missing" in BatchData does not exist' in plain_text(said["found"])
    assert "Traceback" not in json.dumps(said)


def test_tables_and_charts_are_tables(check):
    """Quantiles and distributions come as rows; a tuple is one cell."""
    ranges = {"quantiles": [0.5], "value_ranges": [[0, 1]]}
    quantiles = check("expect_column_quantile_values_to_be_between", column="n", quantile_ranges=ranges).wording
    parted = {"values": ["x", "y"], "weights": [0.5, 0.5]}
    divergence = check(
        "expect_column_kl_divergence_to_be_less_than", column="s", partition_object=parted, threshold=1
    ).wording
    pair = check("expect_column_pair_values_to_be_equal", column_A="n", column_B="m").wording

    assert table(quantiles["expected"]) == [["Median", "0", "1"]]
    assert table(divergence["expected"]) == [["x", "0.5"], ["y", "0.5"]]
    assert table(pair["found"])[0] == ["2, 2.5"]


def test_description_and_notes(check):
    """An author's description stands for GX's words; notes are folded away."""
    kind = "expect_table_row_count_to_equal"
    noted = check(kind, value=4, notes=["Four", "rows"]).wording["expected"]

    assert check(kind, value=4, description=f"All {HOSTILE} $value").wording["expected"] == [f"All {HOSTILE} $value"]
    assert plain_text(noted[:-1]) == "Must have exactly 4 rows."
    assert noted[-1] == {"more": "Notes", "parts": ["Four\nrows"]}


def test_long_is_cut(check):
    """Of a long text the beginning, of a long table the first rows, and how many more there are."""
    names = [f"{number:03}" for number in range(300)]
    parted = {"values": names, "weights": [1 / 300] * 300}
    said = check(
        "expect_column_kl_divergence_to_be_less_than",
        column="s",
        frame=pl.DataFrame({"s": names}),
        partition_object=parted,
        threshold=1,
    ).wording
    long = check(SET, column="s", frame=pl.DataFrame({"s": ["y" * 9_000]}), value_set=["x"]).wording

    assert len(table(said["expected"])) == MOST_ROWS
    assert said["expected"][-1] == f"… {300 - MOST_ROWS} more"
    assert [len(cell) for cell in table(long["found"])[0]] == [LONGEST_TEXT + 1]


def test_schema_is_text(check):
    """The one parameter that GX makes HTML of is what it was."""
    said = check(
        "expect_column_values_to_match_json_schema", column="s", json_schema={"title": "<a & b>"}, severity="warning"
    ).wording

    assert "<a & b>" in plain_text(said["expected"])
    assert "pre>" not in plain_text(said["expected"])


def test_renderer_that_fails_is_left_out(check, monkeypatch):
    """A renderer's fault is not the table's: the rest is said, and the check stands."""
    load_gx()
    from great_expectations.expectations import registry

    real = registry.get_renderer_impl

    def broken(object_name, renderer_type):
        if renderer_type == "renderer.prescriptive":
            return registry.RendererImpl(expectation=object, renderer=lambda **_: 1 / 0)
        return real(object_name=object_name, renderer_type=renderer_type)

    monkeypatch.setattr(registry, "get_renderer_impl", broken)
    item = check(SET, column="s", value_set=["x"])

    assert (item.success, set(item.wording)) == (False, {"found", "observed", "rows"})


def test_every_expectation_has_words():
    """Each expectation that GX registers has its own words, or GX's general ones."""
    load_gx()
    from great_expectations.expectations.registry import (
        get_renderer_impl,
        list_registered_expectation_implementations,
    )

    kinds = list_registered_expectation_implementations()
    without = {kind for kind in kinds if get_renderer_impl(kind, "renderer.prescriptive") is None}

    assert len(kinds) > 50
    assert without == set()


def test_measured_columns(tmp_path):
    """Counts and extremes come from the expectations that saw all rows of a column."""
    ROWS.write_parquet(tmp_path / "table.parquet")
    condition = {"type": "comparison", "column": {"name": "n"}, "operator": ">", "parameter": 1}
    expectations = [
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "n"}, "severity": "warning"},
        {"type": "expect_column_min_to_be_between", "kwargs": {"column": "n", "min_value": 0}},
        {"type": "expect_column_max_to_be_between", "kwargs": {"column": "n", "min_value": 0}},
        {"type": "expect_column_median_to_be_between", "kwargs": {"column": "n", "min_value": 0}},
        {"type": "expect_column_unique_value_count_to_be_between", "kwargs": {"column": "s", "min_value": 0}},
        {"type": "expect_column_sum_to_be_between", "kwargs": {"column": "m", "min_value": 0}},
        {
            "type": "expect_column_values_to_be_unique",
            "kwargs": {"column": "m", "row_condition": condition},
        },
    ]
    (tmp_path / "suite.json").write_text(json.dumps({"name": "rows", "expectations": expectations}))

    found = run_suite(tmp_path / "suite.json", tmp_path / "table.parquet")

    assert found.columns == {
        "n": {"nullCount": 1, "count": 3, "min": 1, "max": 3, "quantiles": {"0.5": 2.0}},
        "s": {"distinctCount": 4},
        "m": {"sum": 7.5},
    }
    assert found.expectations[0].unexpected_percent == 25.0
    assert found.expectations[1].expected == {"min_value": 0}


def test_wording_of_nothing_known():
    """A result of a kind that nobody renders has no words, and says so by saying nothing."""

    class Configuration:
        type, description, notes = "expect_unheard_of", None, None

    class Result:
        expectation_config = Configuration()

    load_gx()
    assert wording(Result()) == {}
