"""A step's function is followed as it is written, and what it computes is the same however it is computed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lineage.errors import RowsLostError
from lineage.produce import explain
from lineage.spec import Step

from ..followed import plan

ROOT = Path(__file__).parents[4]
A = pl.DataFrame({"k": [1, 2, 2], "t": [1, 2, 3]})


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (pl.DataFrame({"x": [1]}), RowsLostError, "returned a DataFrame that is not made of its inputs"),
        (pl.LazyFrame({"x": [1]}), RowsLostError, "returned a LazyFrame that is not made of its inputs"),
        (None, TypeError, "returned NoneType, not a Polars frame"),
    ],
)
def test_what_is_no_tracked_frame_is_refused(given, error, said, tmp_path):
    """Rows that a step made up, or collected and brought back, come from nowhere."""
    with pytest.raises(error, match=said):
        plan(lambda a: given, tmp_path, {"a": A})


def test_a_declaration_that_is_not_needed_is_refused(tmp_path):
    """rows= would hide what is followed exactly."""
    with pytest.raises(RowsLostError, match="rows='all' is not needed"):
        plan(lambda a: a, tmp_path, {"a": A}, rows="all")


def test_concat_is_given_back(tmp_path):
    """While a step runs `pl.concat` takes tracked frames; afterwards it is Polars' own, also when the step failed."""
    before = pl.concat

    plan(lambda a: pl.concat([a, a]), tmp_path, {"a": A})
    with pytest.raises(ZeroDivisionError):
        plan(lambda a: 1 / 0, tmp_path, {"a": A})

    assert before is pl.concat


def test_only_links_that_something_needs_are_kept(tmp_path):
    """Columns that were dropped on the way cost nothing."""

    def step(a):
        wide = a.with_columns(n=pl.len().over("k"), m=pl.col("t").shift())
        return wide.select("k", "t")

    assert ["a"] == [link.to for link in plan(step, tmp_path, {"a": A}).ways.links]


def test_a_refusal_names_the_step_and_the_line(tmp_path, write_files, importable):
    """What an author reads says where in the code it was."""
    write_files(tmp_path / "code", {"shop/steps.py": "def step(a):\n    b = a.head(1)\n    return b.collect()\n"})
    a = tmp_path / "a.parquet"
    A.write_parquet(a)

    with importable(tmp_path / "code"):
        from shop.steps import step

        declared = Step("shop", "report", "table", {}, "", function=step)
        with pytest.raises(RowsLostError) as raised:
            _follow(declared, a)

    said = str(explain(_Plan(declared), raised.value))
    assert said.startswith("shop.report at line 3 of shop.steps: collect() in the middle of a step: ")


def _follow(step, path):
    from lineage.rows.following import follow

    return follow(step, {"a": [path]})


class _Plan:
    """What `explain` asks of a plan."""

    def __init__(self, step: Step) -> None:
        self.step, self.label, self.partition = step, step.full_name, ""


STEPS = """
import hashlib, json, sys
from pathlib import Path

import polars as pl

from lineage.rows.following import follow
from lineage.rows.origins import ROWS, stored_names, write_stages
from lineage.spec import Step
from lineage.tables import write_table

X, Y, T = pl.col("x"), pl.col("y"), pl.col("t")
AFTER = pl.col("id").shift(1).alias("after")  # the order of rows, as a value


def floats_of_groups(a, b):
    sums = (X.sum(), X.mean().alias("m"), Y.std().alias("s"), pl.col("f").sum(), pl.col("i").mean())
    found = a.group_by("k").agg(*sums, w=X.filter(Y > 0).sum(), first=pl.col("id").first())
    return found.with_columns(X.sum().over("first"))


def floats_of_all(a, b):
    return a.select(X.sum(), Y.mean(), s=X.std(), f=pl.col("f").sum(), i=pl.col("i").mean())


def over(a, b):
    return a.select("id", m=X.mean().over("k"), s=X.sum().over("g"), o=pl.col("id").sort_by("g").over("k"), u=Y.var())


def ties(a, b):
    best = a.top_k(5_000, by="g").unique("k", keep="any")
    return best.with_columns(AFTER, modes=pl.col("g").mode().first().over("k"))


def joins(a, b):
    both = a.join(b, on="k", how="full").join(b.filter(pl.col("z") > 1), on="k", how="semi")
    return both.with_columns(AFTER).head(100_000).group_by("g").agg(pl.col("z").sum(), pl.col("after").sum())


def windows(a, b):
    dynamic = a.group_by_dynamic("t", every="100i", period="250i", group_by="g").agg(X.sum(), Y.mean())
    rolled = a.head(20_000).rolling("t", period="5i", group_by="g").agg(Y.sum())
    return pl.concat([dynamic, rolled], how="diagonal").with_columns(after=pl.col("x").shift(1))


def reshaped(a, b):
    long = a.head(50_000).unpivot(["x", "y"], index=["id", "k"]).with_columns(AFTER)
    return long.pivot("k", [1, 2, 3], index="id", values="value", aggregate_function="first")


STEPS = (floats_of_groups, floats_of_all, over, ties, joins, windows, reshaped)


def digests(folder, out):
    inputs = {name: [folder / f"{name}.parquet"] for name in ("a", "b")}
    for function in STEPS:
        frame = follow(Step("s", function.__name__, "table", {}, "", function=function), inputs)
        names = stored_names(frame.ways.links)
        paths = [out / "table", out / ROWS]
        write_table(frame.result, paths[0], key=(), keep_order=True, beside=names, rows_path=paths[1])
        paths += write_stages(frame.capture, frame.ways, out)
        yield function.__name__, [hashlib.md5(path.read_bytes()).hexdigest() for path in paths]
        in_memory = frame.result.collect(engine="in-memory")
        assert in_memory.equals(frame.result.collect(engine="streaming")), function.__name__


folder, out = map(Path, sys.argv[1:])
out.mkdir()
print(json.dumps(dict(digests(folder, out))))
"""


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """Tables of some 100,000 rows, of numbers whose sums depend on their order."""
    folder, count = tmp_path_factory.mktemp("big"), 100_000
    chance = np.random.default_rng(1)
    a = pl.DataFrame(
        {
            "id": np.arange(count),
            "k": chance.integers(0, 5_000, count),
            "g": chance.integers(0, 7, count),
            "x": chance.normal(size=count) * 10.0 ** chance.integers(-8, 8, count),
            "y": chance.normal(size=count),
            "t": np.sort(chance.integers(0, count // 4, count)),
            "i": chance.integers(-(2**62), 2**62, count),
            "f": chance.normal(size=count).astype(np.float32),
        }
    )
    a.write_parquet(folder / "a.parquet", row_group_size=20_000)
    b = pl.DataFrame({"k": chance.integers(0, 6_000, count // 2), "z": chance.normal(size=count // 2)})
    b.write_parquet(folder / "b.parquet", row_group_size=20_000)
    return folder


def test_the_same_bytes_at_any_number_of_threads(big, tmp_path):
    """Ties, joins, groups, windows and sums of floats: tables, positions and stages at 1, 2 and 3 threads, and values
    on both engines."""
    script = tmp_path / "steps.py"
    script.write_text(STEPS)

    found = [_digests(script, big, tmp_path / f"out{threads}", threads) for threads in (1, 2, 3)]

    assert found[0] == found[1] == found[2]
    assert 7 == len(found[0])


def _digests(script, folder, out, threads):
    environment = {**os.environ, "POLARS_MAX_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(folder), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)
