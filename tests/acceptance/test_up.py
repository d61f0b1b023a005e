"""`headwater up` on a fresh clone: what it answers, that it stays, and that it leaves nothing behind."""

import csv
import hashlib
import json
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import xgboost

REPOSITORY = Path(__file__).parents[2]
PROMISED = {
    "prediction_id",
    "model",
    "model_version",
    "margin",
    "probability",
    "trace",
    "replay",
    "tables",
    "urls",
    "seconds",
}

pytestmark = pytest.mark.skipif(
    not list(REPOSITORY.glob("assets/flights*")), reason="needs the example pipeline, assets/flights*"
)


@pytest.fixture(scope="module")
def clone(copy_of_repository):
    """A clone in which nothing ran yet; its environment names a proxy that our own addresses must not go to."""
    system = copy_of_repository("up")
    system.extra |= {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    # The committed dvc.yaml is that of the year, and DVC would say so.
    system.headwater("dvc", "sync")
    return system


@pytest.fixture(scope="module")
def answer(clone):
    """The object that the first `headwater up --once` printed as its last line."""
    return json.loads(clone.headwater("up", "--once", seconds=300).splitlines()[-1])


@pytest.fixture
def bad_airlines(clone, answer):
    """A raw file that a check refuses, until the test ends."""
    path = clone.root / "data/raw/flights/airlines/airlines.csv"
    before = path.read_bytes()
    path.write_bytes(before + b"TOOLONG,Nobody's Airline\n")
    yield
    path.write_bytes(before)


@pytest.fixture
def up(clone, answer):
    """`headwater up`, staying; killed if the test leaves it running."""
    process = clone.start_up()
    yield process
    clone.close()


def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as response:
        return json.load(response)


def answers(url):
    try:
        return bool(ask(url))
    except (urllib.error.URLError, OSError):
        return False


def shown_assets(dagster):
    query = {"query": "{ assetNodes { assetKey { path } } }"}
    return {"/".join(node["assetKey"]["path"]) for node in ask(f"{dagster}/graphql", query)["data"]["assetNodes"]}


def bits(number):
    return int(np.array([number], np.float32).view(np.uint32)[0])


def test_code_is_the_clones(clone):
    """What runs here is the clone's code, not that of the repository whose virtual environment this is."""
    files = clone.run(
        sys.executable, "-c", "import lineage, orchestration; print(lineage.__file__, orchestration.__file__)"
    )

    assert [True, True] == [name.startswith(f"{clone.root}/") for name in files.stdout.split()]


def test_once_answers_one_object(answer):
    """From a clone, one command gives one object: a prediction, complete in its trace and identical in its replay."""
    assert set() == PROMISED - set(answer)
    assert (True, True) == (answer["trace"]["complete"], answer["replay"]["identical"])
    assert 0 < answer["probability"] < 1
    assert {"flights/departures": 51_955, "flights/features": 51_955}.items() <= answer["tables"].items()


def test_sources_are_the_files(clone, answer):
    """The trace ends in raw files of this clone, each known by the sha256 of its bytes."""
    sources = {source["file"]: source["version"] for source in answer["trace"]["sources"]}

    hashed = {name: hashlib.sha256((clone.root / name).read_bytes()).hexdigest() for name in sources}

    assert hashed == sources
    # Of the airlines only the name was read, which no feature has.
    found = {Path(name).parent.name for name in sources}
    assert {"departures", "airports"} <= found <= {"departures", "weather", "planes", "airports"}


def test_records_stand_in_the_files(clone, answer):
    """Each record that the trace shows is, value by value, the one of that number in its file."""
    for source in answer["trace"]["sources"]:
        with (clone.root / source["file"]).open(newline="") as file:
            header, *records = csv.reader(file)

        assert source["columns"] == header
        assert 0 < len(source["rows"]) == len(source["values"]) == min(source["count"], 100)
        assert source["count"] == sum(last - first + 1 for first, last in source["ranges"])
        assert source["values"] == [records[row] for row in source["rows"]]


def test_margin_is_xgboosts(clone, answer):
    """The margin is what XGBoost itself says to the row of the feature table, bit for bit."""
    folder, place = clone.root / "data/models/flights/late_t0", answer["trace"]["features"]
    inputs = json.loads((folder / "signature.json").read_text())["inputs"]
    table = pl.read_parquet(clone.root / f"data/tables/flights/features/{place['partition']}.parquet")
    row = table.row(by_predicate=pl.col("flight_id") == answer["key"], named=True)

    codes = [
        item["categories"].index(row[item["name"]]) if "categories" in item else row[item["name"]] for item in inputs
    ]
    matrix = np.array([[np.nan if value is None else value for value in codes]], np.float32)
    margin = xgboost.Booster(model_file=folder / "model.ubj").inplace_predict(matrix, predict_type="margin")[0]

    assert bits(margin) == bits(answer["margin"])
    assert f"{bits(margin):08x}" == answer["replay"]["margin_bits"]


def test_nothing_is_left(clone, answer, eventually):
    """Afterwards no process of it lives, and `dvc status` has nothing to say."""
    eventually(lambda: not clone.processes(), "no process left", seconds=20)

    status = clone.run("dvc", "status")

    assert (0, "Data and pipelines are up to date.") == (status.returncode, status.stdout.strip()), status.stderr


def test_stays_and_mends(clone, bad_airlines, up, eventually):
    """Without --once every service answers, whatever a pipeline does; a killed one comes back; SIGTERM ends all."""
    urls = clone.urls
    eventually(lambda: "ready; " in clone.said() or up.poll() is not None, "ready", seconds=120)
    running = clone.processes()
    (lineage,) = [number for number, words in running.items() if "orchestration.serve lineage" in words]

    eventually(lambda: "flights/features" in shown_assets(urls["dagster"]), "the assets in Dagster's UI")
    graph = ask(f"{urls['lineage']}/api/v1/lineage?nodeId=dataset:headwater:flights/features")
    predicted = ask(f"{urls['serving']}/v1/models/flights-late-t0/predict", {"keys": ["no such flight"]})
    os.kill(lineage, signal.SIGKILL)
    eventually(lambda: "lineage ended with -9 and was started again" in clone.said(), "lineage started again")
    eventually(lambda: answers(f"{urls['lineage']}/health"), "the lineage service answers again")
    up.send_signal(signal.SIGTERM)

    assert 0 == up.wait(timeout=15), clone.said()
    assert any("postgres" in words for words in running.values())
    assert "expect_column_value_lengths_to_equal" in clone.said()
    assert all(url in clone.said() for url in urls.values())
    assert "job:headwater:flights.features" in {node["id"] for node in graph["graph"]}
    assert "error" in predicted["predictions"][0]
    eventually(lambda: not clone.processes(), "no process left", seconds=20)


def test_killed_and_started_again(clone, up, answer, eventually):
    """kill -9 of `headwater up` takes everything it started with it, and the next one does all of its work."""
    eventually(lambda: "materializing" in clone.said(), "materializing")

    up.kill()
    eventually(lambda: not clone.processes(), "no process left", seconds=30)
    again = json.loads(clone.headwater("up", "--once", seconds=300).splitlines()[-1])

    assert (True, True) == (again["trace"]["complete"], again["replay"]["identical"])
    assert bits(answer["margin"]) == bits(again["margin"])
    assert answer["model_version"] == again["model_version"]


def test_taken_port(clone, monkeypatch):
    """A port that somebody else listens on is refused in one sentence that names the setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setitem(clone.ports, "HEADWATER_LINEAGE_PORT", taken.getsockname()[1])
        refused = clone.run(sys.executable, "-m", "orchestration.cli", "up")

    said = refused.stderr.strip().splitlines()
    assert (1, 1) == (refused.returncode, len(said))
    assert "HEADWATER_LINEAGE_PORT" in said[0]
