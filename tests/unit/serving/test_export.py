"""The exported graph answers with XGBoost's own bits, or is refused by name."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from lineage.errors import UnsupportedModelError
from serving.export import OBJECTIVES, to_onnx

LETTERS = [f"c{code:02d}" for code in range(40)]
FEATURES = ("x", "y", "letter", "few")
CATEGORIES = {"letter": LETTERS, "few": LETTERS[:3]}
KINDS = ["float", "float", "c", "c"]


def rows(count: int, seed: int, missing: float = 0.15) -> np.ndarray:
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(count, 2)).round(2)
    codes = np.column_stack([rng.integers(0, 40, count), rng.integers(0, 3, count)])
    matrix = np.hstack([numbers, codes]).astype(np.float32)
    matrix[rng.random(matrix.shape) < missing] = np.nan
    return matrix


def target(matrix: np.ndarray, objective: str) -> np.ndarray:
    signal = np.nan_to_num(matrix[:, 0]) + np.sin(np.nan_to_num(matrix[:, 2]))
    return np.float32(signal > 0.3 if objective == "binary:logistic" else 50 * signal)


def boosted(matrix: np.ndarray, labels: np.ndarray, rounds: int = 20, **parameters) -> xgboost.Booster:
    data = xgboost.QuantileDMatrix(matrix, labels, feature_types=KINDS, enable_categorical=True)
    return xgboost.train({"max_depth": 4, "nthread": 1, **parameters}, data, rounds, verbose_eval=False)


def fed(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """A matrix as the graph takes it: strings for codes, one that the graph cannot know for a missing one."""
    feed = {name: matrix[:, place].reshape(-1, 1) for place, name in enumerate(FEATURES)}
    for name in CATEGORIES:
        codes = feed[name].ravel()
        strings = ["unseen" if np.isnan(code) else LETTERS[int(code)] for code in codes]
        feed[name] = np.array(strings, dtype=object).reshape(-1, 1)
    return feed


def answered(model: bytes, matrix: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (margins,) = session.run(["margin"], fed(matrix))
    assert (np.float32, (len(matrix), 1)) == (margins.dtype, margins.shape)
    return margins.ravel()


def assert_exact(booster: xgboost.Booster, matrix: np.ndarray) -> None:
    """Both of XGBoost's ways to a margin, bit for bit; its -0.0 is our 0.0."""
    found = answered(to_onnx(booster, features=FEATURES, categories=CATEGORIES), matrix)
    data = xgboost.DMatrix(matrix, feature_types=KINDS, enable_categorical=True)
    assert_same_bits(booster.inplace_predict(matrix, predict_type="margin"), found)
    assert_same_bits(booster.predict(data, output_margin=True), found)


def assert_same_bits(expected: np.ndarray, found: np.ndarray) -> None:
    np.testing.assert_array_equal((expected + np.float32(0)).view(np.uint32), found.view(np.uint32))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"max_cat_to_onehot": 100},
        {"max_cat_to_onehot": 1, "max_cat_threshold": 64},
        {"num_parallel_tree": 3, "subsample": 0.6, "colsample_bynode": 0.7},
        {"grow_policy": "lossguide", "max_depth": 0, "max_leaves": 31},
        {"gamma": 5.0},
    ],
    ids=["default", "one-hot", "partition", "forest", "lossguide", "pruned"],
)
def test_margins_are_bit_exact(objective, parameters):
    """Numbers, categories and missing values give XGBoost's bits for every supported objective."""
    matrix = rows(600, 1)
    booster = boosted(matrix, target(matrix, objective), objective=objective, **parameters)

    assert_exact(booster, rows(1000, 2))


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_the_batch_size_does_not_change_a_bit(count):
    """A row alone, in a few, and in many has the same margin."""
    matrix = rows(600, 1)
    booster = boosted(matrix, target(matrix, "binary:logistic"), 60, objective="binary:logistic")

    assert_exact(booster, rows(1000, 2)[:count])


@pytest.mark.parametrize("chance", [0.01, 0.137, 0.3, 0.62, 0.9, 0.999])
def test_the_base_margin_is_xgboosts_own(chance):
    """The logarithm of the base score is XGBoost's, which is not numpy's to the last bit."""
    matrix = rows(200, 1)
    labels = target(matrix, "binary:logistic")

    for step in range(5):
        assert_exact(
            boosted(matrix, labels, 2, objective="binary:logistic", base_score=chance - step / 1024),
            matrix[:20],
        )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_stumps_are_exact(objective):
    """Trees of a single leaf, as XGBoost grows where no split pays."""
    matrix = rows(100, 1)
    booster = boosted(matrix, target(matrix, objective), 3, objective=objective, gamma=1e9)

    assert 3 == booster.trees_to_dataframe()["Tree"].nunique() == len(booster.trees_to_dataframe())
    assert_exact(booster, matrix)


@pytest.mark.filterwarnings("ignore:.*`updater`:UserWarning")
def test_nodes_that_xgboost_deleted_do_no_harm():
    """Pruning leaves dead nodes in the file; they reach nothing."""
    matrix = rows(600, 1)
    labels = target(matrix, "reg:squarederror")
    grown = boosted(matrix, labels, 5)
    data = xgboost.DMatrix(matrix, labels, feature_types=KINDS, enable_categorical=True)
    pruning = {"process_type": "update", "updater": "prune", "gamma": 5000.0, "max_depth": 4}

    pruned = xgboost.train(pruning, data, 5, xgb_model=grown)

    trees = json.loads(bytes(pruned.save_raw("json")))["learner"]["gradient_booster"]["model"]["trees"]
    assert any(int(tree["tree_param"]["num_deleted"]) for tree in trees)
    assert_exact(pruned, rows(300, 2))


def test_an_early_stopped_booster_is_exact_as_sliced():
    """What is exported is what the slice holds."""
    matrix, tune = rows(300, 1), rows(200, 9)
    objective = "binary:logistic"
    learnt, watched = (
        xgboost.DMatrix(part, target(part, objective), feature_types=KINDS, enable_categorical=True)
        for part in (matrix, tune)
    )
    booster = xgboost.train(
        {"objective": objective, "eta": 1.0},
        learnt,
        50,
        evals=[(watched, "tune")],
        early_stopping_rounds=2,
        verbose_eval=False,
    )

    assert booster.best_iteration + 1 < booster.num_boosted_rounds()
    assert_exact(booster[: booster.best_iteration + 1], rows(500, 2))


@settings(max_examples=25, deadline=None)
@given(
    objective=st.sampled_from(OBJECTIVES),
    depth=st.integers(1, 5),
    rounds=st.integers(1, 8),
    parallel=st.integers(1, 2),
    eta=st.floats(0.01, 1.0),
    onehot=st.integers(1, 50),
    missing=st.floats(0.0, 0.9),
    seed=st.integers(0, 2**16),
)
def test_any_small_booster_is_exact(objective, depth, rounds, parallel, eta, onehot, missing, seed):
    """The law of this module: export changes no bit of any margin."""
    matrix = rows(120, seed, missing)
    booster = boosted(
        matrix,
        target(matrix, objective),
        rounds,
        objective=objective,
        max_depth=depth,
        eta=eta,
        num_parallel_tree=parallel,
        max_cat_to_onehot=onehot,
    )

    assert_exact(booster, rows(60, seed + 1, missing))


def test_extreme_numbers_go_the_same_way():
    """Infinities, zeros of both signs and values at a threshold take XGBoost's side."""
    matrix = rows(600, 1)
    booster = boosted(matrix, target(matrix, "reg:squarederror"))
    thresholds = np.float32(booster.trees_to_dataframe()["Split"].dropna())
    below = np.nextafter(thresholds, np.float32(-np.inf))
    edges = np.concatenate([thresholds, below, np.float32([np.inf, -np.inf, 0, -0.0])])
    chosen = np.resize(rows(40, 3), (len(edges), 4))
    chosen[:, 0] = chosen[:, 1] = edges

    found = answered(to_onnx(booster, features=FEATURES, categories=CATEGORIES), chosen)

    assert_same_bits(booster.inplace_predict(chosen, predict_type="margin"), found)


def test_the_graph_says_what_it_takes():
    """One named input per feature, strings for categoricals, and a margin."""
    matrix = rows(50, 1)
    model = onnx.load_model_from_string(
        to_onnx(boosted(matrix, matrix[:, 3] > 1, 1), features=FEATURES, categories=CATEGORIES)
    )

    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    float_, string = onnx.TensorProto.FLOAT, onnx.TensorProto.STRING
    assert {"x": float_, "y": float_, "letter": string, "few": string} == kinds
    assert [value.name for value in model.graph.output] == ["margin"]
    onnx.checker.check_model(model)


def test_the_bytes_are_the_same_every_time():
    """Exporting twice, also from a booster that was saved in between, gives the same file."""
    matrix = rows(200, 1)
    booster = boosted(matrix, target(matrix, "binary:logistic"), objective="binary:logistic")
    again = xgboost.Booster(model_file=booster.save_raw("ubj"))

    found = {to_onnx(each, features=FEATURES, categories=CATEGORIES) for each in (booster, booster, again)}

    assert len(found) == 1


def test_a_feature_without_any_category_is_always_missing():
    """A string column that training saw empty still has its input."""
    matrix = rows(100, 1)
    matrix[:, 2] = np.nan
    booster = boosted(matrix, target(matrix, "reg:squarederror"), 3)

    model = to_onnx(booster, features=FEATURES, categories={"letter": [], "few": LETTERS[:3]})

    np.testing.assert_array_equal(booster.inplace_predict(matrix, predict_type="margin"), answered(model, matrix))


MATRIX = rows(60, 1, missing=0.0)
WEIGHT = MATRIX[:, 0] + 3
REFUSED = {
    "dart": ({"booster": "dart"}, WEIGHT),
    "multi:softprob": ({"objective": "multi:softprob", "num_class": 3}, MATRIX[:, 3]),
    "reg:quantileerror": ({"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.9]}, WEIGHT),
    "multi_output_tree": ({"multi_strategy": "multi_output_tree"}, MATRIX[:, :2]),
    "reg:squarederror.*more than one": ({}, MATRIX[:, :2]),
    "count:poisson": ({"objective": "count:poisson"}, WEIGHT),
    "binary:logitraw": ({"objective": "binary:logitraw"}, WEIGHT > 3),
    "rank:ndcg": ({"objective": "rank:ndcg"}, np.float32(WEIGHT > 3)),
}


@pytest.mark.parametrize(("named", "case"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_exact_is_refused_by_name(named, case):
    """A booster outside the promise is named, with what to do instead."""
    parameters, labels = case
    booster = xgboost.train({"nthread": 1, **parameters}, xgboost.DMatrix(MATRIX, labels), 1)

    with pytest.raises(UnsupportedModelError, match=f"{named}.*xgboost engine"):
        to_onnx(booster, features=FEATURES, categories=CATEGORIES)


def test_a_linear_booster_is_refused_by_name():
    """gblinear has no trees."""
    booster = xgboost.train({"booster": "gblinear"}, xgboost.DMatrix(MATRIX, WEIGHT), 1)

    with pytest.raises(UnsupportedModelError, match="gblinear"):
        to_onnx(booster, features=FEATURES, categories=CATEGORIES)


def test_names_that_do_not_fit_the_booster_are_refused():
    """A wrong number of names, a reserved one, and categories that the trees know and the names do not."""
    booster = boosted(rows(300, 1), target(rows(300, 1), "reg:squarederror"), 3)

    with pytest.raises(UnsupportedModelError, match="4 features under 2 names"):
        to_onnx(booster, features=FEATURES[:2], categories={})
    with pytest.raises(UnsupportedModelError, match="margin"):
        to_onnx(booster, features=("x", "margin", "letter", "few"), categories=CATEGORIES)
    with pytest.raises(UnsupportedModelError, match="letter"):
        to_onnx(booster, features=FEATURES, categories={"letter": LETTERS[:2], "few": LETTERS[:3]})


def test_a_booster_without_trees_is_refused():
    """XGBoost itself answers such a booster with a probability in place of a margin."""
    booster = boosted(MATRIX, WEIGHT, 0)

    with pytest.raises(UnsupportedModelError, match="without trees"):
        to_onnx(booster, features=FEATURES, categories=CATEGORIES)
