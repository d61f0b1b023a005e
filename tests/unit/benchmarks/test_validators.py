"""The ways of benchmarks.validation count the same, on a thousand flights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from benchmarks import validation, validators

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """A thousand flights: some cancelled, one too short, four of odd aircraft, one of them a second time."""
    pytest.importorskip("assets.flights")
    year = validation.flights_of_a_year()
    odd = [pl.col("distance") < 50, ~pl.col("tailnum").str.contains(validators.TAILNUM), pl.col("arr_delay").is_null()]
    rows = pl.concat([*(year.filter(mask).head(500) for mask in odd), year.tail(494)])
    rows = rows.unique("flight_id", keep="first", maintain_order=True).head(999)
    folder = tmp_path_factory.mktemp("flights") / "table"
    folder.mkdir()
    pl.concat([rows, rows.head(1)]).write_parquet(folder / "000.parquet")
    return folder


@pytest.fixture(scope="module")
def by_hand(table) -> validators.Counts:
    return validators.by_hand(table)


def test_the_questions_find_something(by_hand):
    """What the select counts is there to be counted: keys that come twice, values that are missing or wrong."""
    assert by_hand["rows"] == {"observed_value": 1000}
    assert by_hand["one id each"] == {"element_count": 1000, "missing_count": 0, "unexpected_count": 2}
    assert by_hand["distance"]["unexpected_count"] == 2
    assert by_hand["aircraft's form"]["unexpected_count"] == 4
    assert by_hand["arrived"]["unexpected_count"] > 400
    assert by_hand["aircraft's form"]["missing_count"] == by_hand["aircraft"]["unexpected_count"] > 0


@pytest.mark.parametrize(("way", "engine"), [("GX on Polars", "polars"), ("GX on pandas", "pandas")])
def test_gx_counts_as_the_select_does(table, by_hand, way, engine):
    """A saved checkpoint on either engine tells every count that the hand-written select has."""
    load, work = validators.WAYS[way]
    load()
    validators.save_checkpoint(table.parent, engine, table.name)

    validation.require_same(way, work(table), by_hand)


@pytest.mark.parametrize("way", ["pandera", "pointblank"])
def test_the_others_count_as_the_select_does(table, by_hand, way):
    """Where they are installed, they find as many broken values."""
    if not validators.installed(way):
        pytest.skip(f"{way} is not installed: pip install 'headwater[benchmarks]'")
    code = f"from pathlib import Path; from benchmarks.validation import ask; print(ask(Path({str(table)!r}), {way!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    validation.require_same(way, eval(done.stdout.splitlines()[-1])["counts"], by_hand)


def test_a_difference_is_named(by_hand):
    """A count that is not the select's stops the benchmark, with its name and both numbers."""
    wrong = {**by_hand, "distance": {**by_hand["distance"], "unexpected_count": 7}}

    with pytest.raises(SystemExit, match=r"GX on Polars has unexpected_count 7 of 'distance', .* has 2"):
        validation.require_same("GX on Polars", wrong, by_hand)
