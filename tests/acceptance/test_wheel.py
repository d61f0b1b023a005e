"""The wheel in another repository: one file of its own under assets/ gets everything."""

import csv
import json
import subprocess
import sys
import zipfile

import pytest

PIPELINE = '''"""Parcels of a courier, and how many hours they take."""

import polars as pl

from lineage import Pipeline, by_time, files, monthly, suite

courier = Pipeline("courier")
courier.source(
    "parcels",
    files("data/raw/courier/parcels/{partition}.csv"),
    partitions=monthly("2024-01", "2025-01"),
    checks=suite("parcels"),
    schema={"sent_at": "datetime", "number": "int64", "express": "boolean", "depot": "string", "hours": "float64"},
)


@courier.table(key=["sent_at", "express", "number"])
def features(parcels: pl.LazyFrame) -> pl.LazyFrame:
    """What is known of a parcel when it is sent."""
    return parcels.with_columns(hour=pl.col("sent_at").dt.hour())


courier.model(
    "hours",
    table="features",
    target="hours",
    features=["express", "depot", "hour"],
    split=by_time("sent_at", tune_from="2024-02-01", test_from="2024-02-20"),
    objective="reg:squarederror",
    rounds=10,
    max_depth=3,
)
'''
SUITE = {
    "name": "parcels",
    "expectations": [{"type": "expect_column_values_to_be_between", "kwargs": {"column": "hours", "min_value": 0}}],
}
DEPOTS = ("North", 'The "Old", West', "Süd", "")


@pytest.fixture(scope="module")
def wheel(copy_of_repository, tmp_path_factory):
    """A wheel built from a clone, as `pip install` would build it."""
    clone, place = copy_of_repository("source"), tmp_path_factory.mktemp("wheel")
    pip(["wheel", "--no-deps", "--no-build-isolation", "-w", str(place), str(clone.root)])
    (found,) = place.glob("headwater-*.whl")
    return found


@pytest.fixture(scope="module")
def other(wheel, make_system, tmp_path_factory):
    """Another repository, whose packages of ours come from the installed wheel alone."""
    root = tmp_path_factory.mktemp("other")
    pip(["install", "--no-deps", "--target", str(root / "installed"), str(wheel)])
    system = make_system(root / "repository", code=root / "installed")
    write_repository(system.root)
    return system


@pytest.fixture(scope="module")
def answer(other):
    """What `headwater up --once` says there, the first command ever run."""
    return json.loads(other.headwater("up", "--once", seconds=180).splitlines()[-1])


def pip(arguments):
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", *arguments]
    subprocess.run(command, check=True, timeout=120)


def write_repository(root):
    (root / "assets").mkdir(parents=True)
    (root / "assets" / "__init__.py").touch()
    (root / "assets" / "courier.py").write_text(PIPELINE)
    # Suites stand in a folder called like our package, which it must not hide.
    (root / "validations" / "suites" / "courier").mkdir(parents=True)
    (root / "validations" / "suites" / "courier" / "parcels.json").write_text(json.dumps(SUITE))
    for month in (1, 2):
        path = root / f"data/raw/courier/parcels/2024-{month:02d}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["sent_at", "number", "express", "depot", "hours"])
            for n in range(60):
                depot, express = DEPOTS[n % 4], n % 3 == 0
                sent_at = f"2024-{month:02d}-{n % 28 + 1:02d}T{n % 24:02d}:30:00"
                rows.writerow([sent_at, n, str(express).lower(), depot, 10 + n % 7 - 5 * express])
    subprocess.run(["git", "init", "-q"], cwd=root, check=True, timeout=60)


def test_wheel_holds_the_platform(wheel):
    """The wheel carries the packages with what they need at run time, and neither example nor tests."""
    names = set(zipfile.ZipFile(wheel).namelist())

    top = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert {"lineage", "validations", "serving", "orchestration"} == top
    assert {f"{name}/py.typed" for name in top} <= names
    assert {"lineage/store/queries.sql", "lineage/store/migrations/001_spine.sql", "lineage/ui/index.html"} <= names
    assert [] == [name for name in names if "flights" in name]


def test_up_once_elsewhere(other, answer):
    """In another repository too, `up --once` ends in a complete trace and an identical replay."""
    assert (True, True) == (answer["trace"]["complete"], answer["replay"]["identical"])
    assert "courier-hours" == answer["model"]
    assert {"courier/parcels": 120, "courier/features": 120} == answer["tables"]
    assert {"data/raw/courier/parcels/2024-02.csv"} == {source["file"] for source in answer["trace"]["sources"]}


def test_git_is_offered_no_secret_and_no_data(other, answer):
    """`git add --all` after the first run takes neither passwords nor bytes that DVC keeps."""
    offered = other.run("git", "ls-files", "--others", "--exclude-standard").stdout.split()

    kept_out = (".headwater/", ".dvc/cache/", ".dvc/tmp/", "data/tables/", "data/models/")
    assert [] == [name for name in offered if name.startswith(kept_out)]
    assert "data/metrics/courier/hours.json" in offered


def test_code_is_the_wheels(other):
    """Every package of ours comes from the installed wheel."""
    names = ("lineage", "validations", "serving", "orchestration", "orchestration.cli")
    code = f"import importlib; [print(importlib.import_module(name).__file__) for name in {names}]"

    files = other.run(sys.executable, "-c", code).stdout.split()

    assert [True] * len(names) == [name.startswith(f"{other.code}/") for name in files]


def test_every_verb_elsewhere(other, answer):
    """Listed, predicted by key, traced, replayed and verified by the command line, without `up`."""
    steps = {step["step"]: step for step in other.json("list", "--json")}
    predicted = other.json("predict", "courier-hours", "--key", answer["key"])
    traced = other.json("trace", predicted["prediction_id"], "--json")
    replayed = other.json("replay", predicted["prediction_id"], "--json")
    verified = other.json("verify", "--json")

    assert ["courier.parcels", "courier.features", "courier.hours"] == list(steps)
    assert answer["margin"] == predicted["predictions"][0]["margin"] == replayed["margin"]
    assert (True, True, []) == (traced["complete"], replayed["identical"], verified["damaged"])


def test_dvc_agrees(other, answer):
    """DVC's files were written, agree with the declarations, and leave `dvc repro` nothing to do."""
    other.headwater("dvc", "check")

    repro = other.run("dvc", "repro")

    assert (0, "Data and pipelines are up to date.") == (repro.returncode, repro.stdout.strip().splitlines()[-1]), repro
