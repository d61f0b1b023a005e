"""A score is the engine's own bits, and what is written about an answer can be read back exactly."""

import subprocess
import sys
from uuid import UUID

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineage.errors import IntegrityError, NotFoundError, RequestError
from lineage.ports import Ports
from serving.bundle import load_bundle, write_bundle
from serving.engines import open_engine
from serving.engines.columns import columns_of
from serving.log import margin_bits, margin_of, parse_id
from serving.predict import Answer, Entry, score
from serving.train import ModelSpec, Split, train

ID = "3d9a38f9-8cde-4639-bb16-8d7cfb5a6c2f"


def orders(rows: int) -> pl.DataFrame:
    rng = np.random.default_rng(rows)
    amount, channel = rng.normal(size=rows), rng.choice(["app", "web"], rows)
    return pl.DataFrame({"amount": amount, "channel": channel, "late": amount > 0.3})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop") / "bundle"
    trained = train(
        Split(orders(200), orders(50), orders(51)),
        ModelSpec("late", ("amount", "channel"), "binary:logistic", rounds=5),
    )
    write_bundle(folder, trained, name="shop-late", dataset={})
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("engine", ["onnxruntime_cpu", "xgboost_cpu"])
def test_a_score_is_the_engines_margin(files, engine):
    """The four bytes are the engine's float32, little-endian, for every row."""
    bundle, rows = load_bundle(files["manifest.json"].parent), orders(20)
    expected = open_engine(bundle, engine).margin(
        columns_of(rows, features=bundle.features, categories=bundle.categories)
    )

    scores = [score(tuple(files.items()), row, engine) for row in rows.drop("late").iter_rows(named=True)]

    assert b"".join(scores) == expected.astype("<f4").tobytes()


def test_a_score_takes_objects_under_any_name(tmp_path, files):
    """Names may have folders, bytes may lie anywhere, and files that are not the bundle's do not matter."""
    moved = []
    for place, (name, path) in enumerate(files.items()):
        (tmp_path / str(place)).write_bytes(path.read_bytes())
        moved.append((f"data/models/shop/late/{name}", tmp_path / str(place)))
    features = {"amount": 0.5, "channel": None}

    found = score((*moved, ("data/metrics/shop/late.json", tmp_path / "none")), features, "onnxruntime_cpu")

    assert score(tuple(files.items()), features, "onnxruntime_cpu") == found


def test_the_runner_finds_the_scorer(files):
    """The port that replay uses leads here."""
    features = {"amount": 0.5, "channel": "app"}

    assert Ports().score(files, features, "xgboost_cpu") == score(tuple(files.items()), features, "xgboost_cpu")


def test_a_score_refuses_other_bytes(tmp_path, files):
    """A file whose bytes are not the manifest's is refused by name."""
    (tmp_path / "model.ubj").write_bytes(b"other")

    with pytest.raises(IntegrityError, match=r"model\.ubj has sha256"):
        score(tuple((files | {"model.ubj": tmp_path / "model.ubj"}).items()), {}, "xgboost_cpu")


def test_a_score_refuses_what_does_not_fit(files):
    """An engine that does not exist and features that are absent are named."""
    with pytest.raises(NotFoundError, match="'cuda'"):
        score(tuple(files.items()), {"amount": 1.0, "channel": "app"}, "cuda")
    with pytest.raises(RequestError, match="'channel' missing"):
        score(tuple(files.items()), {"amount": 1.0}, "xgboost_cpu")


def test_an_answer_as_json():
    """What is not there is left out, of entries as of the answer."""
    entries = (Entry("a", -1.5, 0.25), Entry("b", error="There is no such key."))
    answer = Answer("ID", "shop-late", "d", "table", entries, dataset="shop/features", features_as_of={"": "f"})

    assert answer.to_json() == {
        "prediction_id": "ID",
        "model": "shop-late",
        "model_version": "d",
        "features_from": "table",
        "features_as_of": {"dataset": "shop/features", "versions": {"": "f"}},
        "predictions": [
            {"key": "a", "margin": -1.5, "probability": 0.25},
            {"key": "b", "error": "There is no such key."},
        ],
    }


@given(st.floats(width=32))
def test_margin_bits_round_trip(value):
    """Eight hex digits, most significant first, are the float32 itself, NaN included."""
    margin = np.float32(value)

    bits = margin_bits(margin)

    assert len(bits) == 8
    assert margin_of(bits).tobytes() == margin.tobytes()


def test_margin_bits_are_big_endian():
    """The first digits are sign and exponent."""
    assert margin_bits(np.float32(-2.0)) == "c0000000"


@pytest.mark.parametrize(("text", "row"), [(ID, None), (f"{ID}.0", 0), (f"{ID}.12", 12)])
def test_an_id_may_name_a_row(text, row):
    """`ID` is the answer, `ID.i` its row i."""
    assert parse_id(text) == (UUID(ID), row)


@pytest.mark.parametrize("text", ["", "nonsense", ID[:-1], f"{ID}.", f"{ID}.-1", f"{ID}.x", f"{ID}.9999999999"])
def test_other_texts_are_no_ids(text):
    """A text that is no id is named, with what one looks like."""
    with pytest.raises(NotFoundError, match="is not a prediction's id"):
        parse_id(text)


def test_importing_the_application_layer_loads_no_runtime():
    """Until something is asked, no model runtime, data frame writer or web framework is loaded."""
    heavy = ["fastapi", "onnxruntime", "xgboost", "dagster", "great_expectations"]
    code = f"import sys, serving.predict; print([name for name in {heavy} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
