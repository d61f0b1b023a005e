"""The example's whole year, once: what it promises of its models, and what a late correction costs."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
import xgboost

from .by_hand import features
from .pages import Reader

REPOSITORY = Path(__file__).parents[2]
FLIGHTS = 336_776
ROWS = {"train": 217_727, "tune": 55_628, "test": 53_991}
NOVEMBER = datetime(2013, 11, 1, 4, tzinfo=UTC)
MODELS = {"late_t0": ("features", 0.77), "late_pushback": ("pushback_features", 0.91)}

pytestmark = pytest.mark.skipif(
    not list(REPOSITORY.glob("assets/flights*")), reason="needs the example pipeline, assets/flights*"
)


@pytest.fixture(scope="module")
def year(copy_of_repository):
    """A clone in which nothing ran yet."""
    return copy_of_repository("year", year=True)


@pytest.fixture(scope="module")
def answer(year):
    """What `headwater up --once` said of the year."""
    return json.loads(year.headwater("up", "--once", seconds=900).splitlines()[-1])


@pytest.fixture(scope="module")
def metrics(year, answer):
    """The evaluation that each model's run wrote."""
    return metrics_of(year)


def metrics_of(year):
    return {
        name: json.loads((year.root / f"data/metrics/flights/{name}.json").read_text())
        for name in (*MODELS, "delay_minutes")
    }


def margins(year, model, rows):
    """What XGBoost itself says to rows of the table, and what happened."""
    folder = year.root / "data/models/flights" / model
    inputs = json.loads((folder / "signature.json").read_text())["inputs"]
    columns = [
        pl.col(item["name"]).replace_strict(item["categories"], range(len(item["categories"])), default=None)
        if "categories" in item
        else pl.col(item["name"])
        for item in inputs
    ]
    matrix = rows.select(column.cast(pl.Float32) for column in columns).to_numpy()
    booster = xgboost.Booster(model_file=folder / "model.ubj")
    return booster.inplace_predict(matrix, predict_type="margin")


def area(labels, margins):
    """The area under the ROC curve, from the ranks of the positives (Mann and Whitney)."""
    ranks = pl.Series(margins).rank("average").to_numpy()
    positives = int(labels.sum())
    return (ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * (len(labels) - positives))


def test_every_flight_is_there(answer):
    """336,776 departures become as many rows of features, and one prediction is traced and replayed."""
    assert {"flights/departures": FLIGHTS, "flights/legs": FLIGHTS, "flights/features": FLIGHTS}.items() <= answer[
        "tables"
    ].items()
    assert (True, True) == (answer["trace"]["complete"], answer["replay"]["identical"])


def test_a_clone_computes_what_is_committed(year, answer):
    """Every byte is that of the committed dvc.lock, metrics and plots: git has nothing to show."""
    assert "" == year.run("git", "status", "--porcelain").stdout


def test_models_are_better_than_simpler_answers(metrics):
    """On the same test rows: logistic regression and base rate, least squares and median, on every score but ECE."""
    for name in MODELS:
        found = metrics[name]
        assert found["test"]["auc"] > found["linear"]["auc"] > found["base"]["auc"] == 0.5
        for score in ("logloss", "brier"):
            assert found["test"][score] < found["linear"][score] < found["base"][score]
    assert metrics["delay_minutes"]["test"]["mae"] < metrics["delay_minutes"]["linear"]["mae"]
    assert metrics["delay_minutes"]["test"]["mae"] < metrics["delay_minutes"]["base"]["mae"]


@pytest.mark.parametrize(("model", "table", "least"), [(name, *given) for name, given in MODELS.items()])
def test_the_promised_area_is_reached(year, metrics, model, table, least):
    """Computed here from the table and the booster, the AUC of November and December is what was promised, and said."""
    rows = (
        pl.scan_parquet(year.root / f"data/tables/flights/{table}/*.parquet")
        .filter(pl.col("late").is_not_null(), pl.col("departs_at") >= NOVEMBER)
        .collect()
    )

    found = area(rows["late"].to_numpy(), margins(year, model, rows))

    assert found >= least
    assert found == pytest.approx(metrics[model]["test"]["auc"], abs=1e-6)
    assert ROWS == metrics[model]["rows"]


@pytest.mark.parametrize("threads", [1, 3])
def test_the_same_bytes_on_any_number_of_threads(year, answer, monkeypatch, threads):
    """A month's features and all that they came from, computed again from the raw files: not a bit is another."""
    monkeypatch.setitem(year.extra, "POLARS_MAX_THREADS", str(threads))
    found = year.json("replay", "flights.features", "--partition", "2013-03", "--from", "source", "--json")
    assert 10 < len(found["versions"])
    assert {"identical"} == {item["result"] for item in found["versions"]}


def test_a_second_run_has_nothing_to_do(year, answer):
    """Neither by our command nor by DVC's."""
    again = year.headwater("run")
    repro = year.run("dvc", "repro")

    assert {"up to date"} == {line[35:].split("  ")[0].strip() for line in again.splitlines() if "[" in line[:35]}
    assert "Data and pipelines are up to date." in repro.stdout, repro.stdout + repro.stderr


@pytest.mark.parametrize(
    ("table", "month", "position"),
    [("features", "2013-11", 1_000), ("features", "2013-03", 28_000), ("pushback_features", "2013-07", 20_000)],
)
def test_a_row_comes_from_only_the_records_of_its_trace(year, answer, table, month, position):
    """In plain Python, from nothing but those lines of the files that the trace names, every value of it comes out."""
    stored = pl.read_parquet(year.root / f"data/tables/flights/{table}/{month}.parquet").row(position, named=True)

    sources = year.json("trace", f"flights.{table}[{month}]:{position}", "--json")["sources"]

    records = {}
    for source in sources:
        with (year.root / source["file"]).open(newline="") as file:
            lines = list(csv.DictReader(file))
        named = [lines[row] for first, last in source["ranges"] for row in range(first, last + 1)]
        records.setdefault(source["dataset"].removeprefix("flights/"), []).extend(named)
    assert features(stored["flight_id"], records, pushback=table == "pushback_features") == stored
    assert 100 < len(records["departures"]) < 5_000
    assert "identical" == answer["replay"]["row"]


def test_the_page_on_tracing_is_what_happens(year, answer):
    """Whoever traces the page's flight sees what it shows."""
    commands = Reader(year).follow((REPOSITORY / "docs" / "tracing.md").read_text())

    assert {"predict", "trace", "where", "excluded"} == {command.split()[1] for command in commands}


def corrected(text):
    """A raw month in which one flight arrived 90 minutes later than was first reported."""
    lines = text.splitlines(keepends=True)
    names, fields = lines[0].strip().split(","), lines[-100].split(",")
    fields[names.index("arr_delay")] = str(int(fields[names.index("arr_delay")]) + 90)
    return "".join([*lines[:-100], ",".join(fields), *lines[-99:]])


def test_a_corrected_january_arrives_late(year, answer):
    """One arrival of January corrected in December: January, the months that look back on it, and the models."""
    raw = year.root / "data/raw/flights/departures/2013-01.csv"
    tables = year.root / "data/tables/flights/features"
    before = {path.name: path.read_bytes() for path in tables.iterdir()}
    raw.write_text(corrected(raw.read_text()))

    lines = year.headwater("run", seconds=600).splitlines()

    january = [f"flights.{step}[2013-01]" for step in ("raw_departures", "departures", "legs")]
    looking = [f"flights.{table}[2013-0{month}]" for table in ("features", "pushback_features") for month in (1, 2, 3)]
    models = [f"flights.{name}" for name in metrics_of(year)]
    assert {*january, *looking, *models} == {line.split()[0] for line in lines if " computed " in line}
    after = {path.name: path.read_bytes() for path in tables.iterdir()}
    assert {"2013-01.parquet", "2013-02.parquet"} == {name for name in before if before[name] != after[name]}
    # One flight among 217,727: whether that makes a model better or worse is chance, and the gate's to say.
    assert {*models} == {line.split()[0] for line in lines if "promoted" in line}
    assert "Data and pipelines are up to date." in year.run("dvc", "repro").stdout
