"""Every engine gives the same bits for the same columns, and names the column that does not fit."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace

import numpy as np
import onnx
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lineage.errors import NotFoundError, RequestError, UnsupportedModelError
from serving.bundle import Bundle, load_bundle, write_bundle
from serving.engines import Engine, XgboostCpu, open_engine, probability
from serving.train import ModelSpec, Split, train

ENGINES = ("onnxruntime_cpu", "xgboost_cpu")
WORDS = ["", "?", "??", "JFK", "Zürich", "東京", "a b"]


def table(rows: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    place = rng.integers(0, len(WORDS), rows)
    wind = rng.normal(size=rows)
    return pl.DataFrame(
        {"wind": wind, "airport": [WORDS[code] for code in place], "late": (wind > 0) ^ (place % 2 == 0)}
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    spec = ModelSpec("late", ("wind", "airport"), "binary:logistic", {"max_depth": 4}, rounds=20)
    trained = train(Split(table(400, 1), table(50, 2), table(50, 3)), spec)
    folder = tmp_path_factory.mktemp("models") / "bundle"
    write_bundle(folder, trained, name="late", dataset={})
    return load_bundle(folder)


@pytest.fixture(params=ENGINES)
def engine(request, bundle) -> Engine:
    return open_engine(bundle, request.param)


def columns(rows: int, seed: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    wind = rng.normal(size=rows).astype(np.float32)
    wind[rng.random(rows) < 0.2] = np.nan
    words = np.array([*WORDS, None, "???", "unseen"], dtype=object)
    return {"wind": wind, "airport": words[rng.integers(0, len(words), rows)]}


def bits(margins: np.ndarray) -> list[int]:
    return margins.view(np.uint32).tolist()


@pytest.mark.parametrize("rows", [0, 1, 7, 1000])
def test_engines_agree_to_the_bit(bundle, rows):
    """Missing, unseen, empty and non-ASCII strings included, at any batch size."""
    asked = columns(rows)

    ours, theirs = (open_engine(bundle, name).margin(asked) for name in ENGINES)

    assert (np.float32, (rows,)) == (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    assert bits(ours) == bits(theirs)


def test_a_row_has_the_same_margin_alone_and_among_others(engine):
    """Batching changes no bit."""
    asked = columns(200)

    alone = [engine.margin({name: column[row : row + 1] for name, column in asked.items()})[0] for row in range(200)]

    assert bits(np.array(alone)) == bits(engine.margin(asked))


def test_more_threads_of_xgboost_change_no_bit(bundle):
    """XGBoost may use the whole machine for a large batch."""
    asked = columns(3000)

    assert bits(XgboostCpu(bundle).margin(asked)) == bits(XgboostCpu(bundle, threads=2).margin(asked))


@pytest.mark.parametrize("name", ENGINES)
def test_there_is_one_zero(tmp_path, name):
    """XGBoost sums trees that say nothing to -0.0; every engine answers 0.0."""
    even = pl.DataFrame({"wind": [0.0] * 4, "late": [True, False] * 2})
    trained = train(Split(even, even, even), ModelSpec("late", ("wind",), "binary:logistic", rounds=2))
    write_bundle(tmp_path / "bundle", trained, name="even", dataset={})

    margins = open_engine(load_bundle(tmp_path / "bundle"), name).margin({"wind": np.zeros(2, np.float32)})

    assert np.signbit(trained.booster.inplace_predict(np.zeros((1, 1)), predict_type="margin")).all()
    assert bits(margins) == [0, 0]


@pytest.mark.parametrize("stranger", [None, "unseen", "jfk", "JFK ", "????"])
def test_a_string_that_training_did_not_see_is_missing(engine, stranger):
    """Unknown categories and None have the same margin."""
    asked = columns(50)

    one, other = (engine.margin(asked | {"airport": np.full(50, value, dtype=object)}) for value in (None, stranger))

    assert bits(one) == bits(other)


def test_strings_may_come_as_numpys_own_type(engine):
    """An array of dtype str answers as one of Python's strings."""
    asked = columns(50) | {"airport": np.resize(np.array(WORDS, dtype=object), 50)}

    assert bits(engine.margin(asked)) == bits(engine.margin(asked | {"airport": asked["airport"].astype(str)}))


def test_other_columns_and_their_order_do_not_matter(engine):
    """Columns are taken by name."""
    asked = columns(20)
    turned = {"extra": np.zeros(3), "airport": asked["airport"], "wind": asked["wind"]}

    assert bits(engine.margin(asked)) == bits(engine.margin(turned))


def test_one_engine_may_be_asked_from_several_threads(engine):
    """Concurrent calls do not disturb one another."""
    asked = columns(300)
    expected, found = bits(engine.margin(asked)), []

    askers = [threading.Thread(target=lambda: found.append(bits(engine.margin(asked)))) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()

    assert [expected] * 4 == found


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"wind": np.zeros(3)}, "wind.*float64.*float32"),
        ({"wind": np.zeros((3, 1), np.float32)}, "wind"),
        ({"airport": np.zeros(3, np.float32)}, "airport.*strings"),
        ({"airport": np.array(["JFK"] * 2, dtype=object)}, r"airport.*\(3,\)"),
        ({"airport": np.array([b"JFK"] * 3, dtype=object)}, "airport.*bytes"),
        ({"airport": np.array([["JFK"], 1, 2.0], dtype=object)}, "airport.*float, int, list"),
    ],
)
def test_a_column_of_another_form_is_named(engine, change, named):
    """A request that does not fit is refused with the name of the column, never guessed at."""
    with pytest.raises(RequestError, match=named):
        engine.margin(columns(3) | change)


def test_an_absent_column_is_named(engine):
    """Leaving a feature out is not the same as sending it missing."""
    with pytest.raises(RequestError, match=r"\['airport'\].*wind"):
        engine.margin({"wind": np.zeros(3, np.float32)})


def test_an_engine_that_does_not_exist_is_refused_with_the_ones_that_do(bundle):
    """A typo in the name is answered with the names."""
    with pytest.raises(NotFoundError, match="onnxruntime_cpu, xgboost_cpu") as caught:
        open_engine(bundle, "onnxruntime_gpu")

    assert caught.value.candidates == ENGINES


@pytest.mark.parametrize("where", ["attribute", "initializer"])
def test_weights_in_other_files_are_refused(bundle, tmp_path, where):
    """A model that points out of its own file would be read past the manifest."""
    model = onnx.load_model_from_string(bundle.read("model.onnx"))
    ensemble = next(node for node in model.graph.node if node.op_type == "TreeEnsemble")
    weights = next(attribute for attribute in ensemble.attribute if attribute.name == "leaf_weights")
    tensor = weights.t if where == "attribute" else model.graph.initializer.add(name="w", data_type=1)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")

    with pytest.raises(UnsupportedModelError, match="other files"):
        open_engine(holding(bundle, tmp_path, model.SerializeToString()))


def holding(bundle: Bundle, folder, model: bytes) -> Bundle:
    """`bundle` with another model.onnx, as its own manifest has it."""
    (folder / "model.onnx").write_bytes(model)
    files = bundle.manifest["files"] | {"model.onnx": {"sha256": hashlib.sha256(model).hexdigest()}}
    return replace(bundle, folder=folder, manifest={**bundle.manifest, "files": files})


@pytest.mark.parametrize(
    ("margin", "expected"), [(0, 0.5), (np.log(3), 0.75), (-np.log(3), 0.25), (200, 1), (-1000, 0), (1e38, 1)]
)
def test_probability_is_the_logistic_function(margin, expected):
    """p = 1 / (1 + exp(-m)), without overflow at either end."""
    found = probability(np.float32([margin]))

    assert np.float32 == found.dtype
    np.testing.assert_allclose(found, [expected], rtol=1e-7, atol=0)


@given(arrays(np.float32, st.integers(0, 20), elements=st.floats(-120, 120, width=32)))
def test_probability_keeps_the_order_of_margins(margins):
    """A larger margin never has a smaller probability, and each stays within 0 and 1."""
    found = probability(np.sort(margins))

    assert (np.diff(found) >= 0).all()
    assert ((found >= 0) & (found <= 1)).all()
