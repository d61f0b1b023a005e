"""The platform without its example: with assets/flights* deleted, everything that needs no pipeline works."""

import json
import sys

import pytest


@pytest.fixture(scope="module")
def alone(copy_of_repository):
    """A clone without the example, its DVC files written anew."""
    system = copy_of_repository("alone", without="assets/flights*")
    system.headwater("dvc", "sync")
    return system


def test_nothing_is_declared(alone):
    """`list` says how to begin, and the DVC files agree that there is nothing to do."""
    listed = alone.headwater("list")
    alone.headwater("dvc", "check")
    status = alone.run("dvc", "status")

    assert "No pipelines are declared in assets/" in listed
    assert 0 == status.returncode, status.stderr


def test_doctor_is_content(alone):
    """`doctor` finds everything that Headwater needs."""
    lines = alone.headwater("doctor").splitlines()

    assert [] == [line for line in lines if not line.startswith("ok ")]


def test_up_has_nothing_to_predict(alone):
    """`up --once` starts and stops everything; its object has the same keys, with nothing in those of a prediction."""
    found = json.loads(alone.headwater("up", "--once", seconds=180).splitlines()[-1])

    absent = {name for name, value in found.items() if value is None}
    assert {"prediction_id", "model", "model_version", "key", "margin", "probability", "trace", "replay"} == absent
    assert {} == found["tables"]
    assert {"dagster", "lineage", "serving"} == set(found["urls"])


def test_unknown_names(alone):
    """Asking for what is not there ends with 1 and one sentence."""
    asked = [("run", "flights.features"), ("trace", "nonsense"), ("models", "show", "flights-late-t0")]

    done = [alone.run(sys.executable, "-m", "orchestration.cli", *words) for words in asked]

    assert [(1, 1)] * len(asked) == [(each.returncode, len(each.stderr.strip().splitlines())) for each in done]
