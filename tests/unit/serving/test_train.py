"""Training: bytes that depend on rows and declaration alone, and metrics that are what they say."""

from __future__ import annotations

import gc
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
import xgboost

from lineage.errors import DeclarationError
from lineage.ports import Training
from lineage.tables import write_table
from serving.device import DeviceError
from serving.engines.columns import codes_of, columns_of, look_up, matrix_of
from serving.train import PARAMETERS, ModelSpec, Split, Trained, train

SPEC = ModelSpec(
    target="late",
    features=("hour", "distance", "holiday", "carrier"),
    objective="binary:logistic",
    parameters={"max_depth": 3, "eta": 0.3, "subsample": 0.8},
    rounds=25,
    early_stopping_rounds=3,
    seed=7,
)
# Bytes of memory: for everything, for the quantized matrices alone, for neither.
BUDGETS = {"kept": 2**20, "streamed": 15_000, "paged": 1_000}


def flights(rows: int, seed: int, carriers: str = "ABCDEFG") -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    hour = rng.integers(0, 24, rows)
    carrier = rng.integers(0, len(carriers), rows)
    chance = 1 / (1 + np.exp(2 - hour / 12 - (carrier % 3)))
    return pl.DataFrame(
        {
            "id": np.arange(rows),
            "hour": [None if gone else int(value) for gone, value in zip(rng.random(rows) < 0.1, hour, strict=True)],
            "distance": rng.uniform(100, 3000, rows),
            "holiday": rng.random(rows) < 0.1,
            "carrier": [None if place % 11 == 3 else carriers[code] for place, code in enumerate(carrier)],
            "late": rng.random(rows) < chance,
            "delay": rng.normal(10 * chance, 5),
        }
    )


def split(seed: int = 0) -> Split:
    return Split(flights(400, seed), flights(200, seed + 1, "ABCXYZ"), flights(150, seed + 2, "AXC"))


def digest(trained: Trained) -> str:
    return hashlib.sha256(bytes(trained.booster.save_raw("ubj"))).hexdigest()


def model_bytes(parts: Split, spec: ModelSpec, threads: int | None = None) -> str:
    return digest(train(parts, spec, Training(threads=threads)))


@pytest.fixture
def paged(monkeypatch) -> list[str]:
    """The folders that XGBoost keeps pages in while a test runs."""
    found: list[str] = []
    original = xgboost.ExtMemQuantileDMatrix

    def noted(data, **options):
        found.append(data.cache_prefix)
        return original(data, **options)

    monkeypatch.setattr(xgboost, "ExtMemQuantileDMatrix", noted)
    return found


@pytest.mark.parametrize("objective", ["binary:logistic", "reg:absoluteerror", "reg:squarederror"])
def test_bytes_depend_on_neither_reruns_nor_threads(objective):
    """The same rows and declaration give the same model file, whoever trains it."""
    spec = replace(SPEC, objective=objective, target="late" if objective == "binary:logistic" else "delay")

    found = {model_bytes(split(), spec, threads) for threads in (1, 2, 1, None)}

    assert len(found) == 1


@pytest.mark.parametrize("objective", ["binary:logistic", "reg:absoluteerror", "reg:squarederror"])
def test_bytes_depend_on_neither_memory_nor_batches(tmp_path, objective):
    """Rows that are kept, streamed or paged, in batches of any size, by any threads, give the same model file."""
    spec = replace(SPEC, objective=objective, target="late" if objective == "binary:logistic" else "delay", rounds=8)
    parts = Split(flights(4_000, 1), flights(900, 2), flights(500, 3))
    whole = digest(train(parts, spec))

    found = {
        (budget, size, threads): digest(
            train(parts, spec, Training(budget, threads=threads), scratch=tmp_path, batch_rows=size)
        )
        for budget in (2**20, 100_000, 1_000)
        for size, threads in ((257, 1), (1_000, 3))
    }

    assert dict.fromkeys(found, whole) == found


@pytest.mark.parametrize(
    ("change", "budget", "pages"),
    [
        ({}, "kept", 0),
        ({}, "streamed", 0),
        ({}, "paged", 2),
        ({"early_stopping_rounds": None}, "paged", 1),
        ({"objective": "reg:absoluteerror", "target": "delay"}, "paged", 0),
        ({"objective": "reg:absoluteerror", "target": "delay", "parameters": {}}, "paged", 2),
    ],
)
def test_what_does_not_fit_is_paged_on_disk(tmp_path, paged, change, budget, pages):
    """Above the budget matrices live in a folder that is gone afterwards; medians of a sample need them whole."""
    trained = train(split(), replace(SPEC, **change), Training(BUDGETS[budget]), scratch=tmp_path, batch_rows=64)

    assert (trained.parts["train"].held is not None) == (budget == "kept")
    assert len(paged) == pages
    assert all(folder.startswith(str(tmp_path)) for folder in paged)
    assert [] == list(tmp_path.iterdir())


def test_pages_are_removed_after_a_failure(tmp_path, paged):
    """A failure in the middle leaves no page behind, and nothing complains later that they are gone."""
    parts = split()
    broken = replace(parts, tune=parts.tune.with_columns(pl.lit(1e300).alias("distance")))

    with pytest.raises(DeclarationError, match="distance"):
        train(broken, SPEC, Training(BUDGETS["paged"]), scratch=tmp_path, batch_rows=64)
    gc.collect()

    assert len(paged) == 2
    assert [] == list(tmp_path.iterdir())


def test_the_order_of_rows_is_that_of_the_table_s_files(tmp_path):
    """The order is part of the bytes; the writer sorts by the key, so a shuffled table trains the same model."""
    parts = split()
    shuffled = parts.train.sample(fraction=1, shuffle=True, seed=5)
    for name, part in (("ordered", parts.train), ("shuffled", shuffled)):
        write_table(part, tmp_path / name, key=["id"], keep_order=False)
    for name, part in (("early", shuffled.filter(pl.col("id") < 150)), ("late", shuffled.filter(pl.col("id") >= 150))):
        write_table(part, tmp_path / name, key=["id"], keep_order=False)
    files = [["ordered"], ["shuffled"], ["early", "late"]]

    found = {
        model_bytes(replace(parts, train=pl.scan_parquet([tmp_path / name for name in names])), SPEC) for names in files
    }

    assert {model_bytes(parts, SPEC)} == found
    assert model_bytes(replace(parts, train=shuffled), SPEC) not in found


def test_bytes_change_with_the_seed():
    """What is said to matter does matter."""
    assert model_bytes(split(), SPEC) != model_bytes(split(), replace(SPEC, seed=8))


def test_the_test_rows_are_only_reported_on():
    """Early stopping looks at the tune rows and never at the test rows."""
    parts = split()

    assert model_bytes(parts, SPEC) == model_bytes(replace(parts, test=flights(99, 42)), SPEC)


def test_an_early_stopped_booster_ends_with_its_best_round():
    """No round after the best one is kept, and no attribute with a score."""
    trained = train(split(), SPEC)

    assert trained.best_iteration + 1 == trained.booster.num_boosted_rounds() < SPEC.rounds
    assert trained.booster.attributes() == {}


def test_without_early_stopping_all_rounds_are_kept_and_tune_may_be_empty():
    """Tune rows are needed for early stopping only; a part without rows has no metrics."""
    parts = split()
    spec = replace(SPEC, early_stopping_rounds=None, rounds=4)

    trained = train(replace(parts, tune=parts.tune.clear()), spec)

    assert (trained.best_iteration, trained.booster.num_boosted_rounds()) == (3, 4)
    assert trained.metrics["tune"] == {}


def test_what_training_reports():
    """Categories are the sorted strings of the training rows; the base rate is their mean target."""
    parts = split()

    trained = train(parts, SPEC)

    assert {"carrier": tuple("ABCDEFG")} == trained.categories
    assert trained.rows == {"train": 400, "tune": 200, "test": 150}
    assert parts.train["late"].mean() == pytest.approx(trained.base_rate, abs=1e-15)
    assert {"tune", "test"} == set(trained.metrics)
    assert {"auc", "logloss", "brier", "ece"} == set(trained.metrics["test"])
    assert (trained.device.requested, trained.device.name) == ("auto", "cpu")


def test_labels_margins_and_months_of_the_rows_that_are_reported_on():
    """What was scored can be looked at row by row: in the order of the rows, by the UTC month of their time."""
    begin = datetime(2013, 1, 31, 20, tzinfo=UTC)
    timed = {
        name: frame.with_columns(
            pl.Series("at", [begin + timedelta(hours=row) for row in range(frame.height)]).dt.convert_time_zone(
                "America/New_York"
            )
        )
        for name, frame in vars(split()).items()
        if name in ("train", "tune", "test")
    }

    trained = train(Split(**timed, time="at"), SPEC, batch_rows=64)

    assert {"tune", "test"} == set(trained.scored)
    test = trained.scored["test"]
    matrix = matrix_of(timed["test"], features=SPEC.features, categories=trained.categories)
    np.testing.assert_array_equal(trained.booster.inplace_predict(matrix, predict_type="margin"), test.margins)
    np.testing.assert_array_equal(timed["test"]["late"].to_numpy(), test.labels)
    assert (np.float32, np.float32) == (test.margins.dtype, test.labels.dtype)
    assert ["2013-01"] * 4 + ["2013-02"] * 146 == test.periods.tolist()


def test_rows_can_be_read_again_after_training():
    """Whatever is compared with the model learns from the same batches."""
    trained = train(split(), SPEC, Training(BUDGETS["streamed"]), batch_rows=64)

    batches = list(trained.parts["train"].batches())

    assert [64] * 6 + [16] == [len(batch.labels) for batch in batches]
    assert trained.base_rate == pytest.approx(np.concatenate([batch.labels for batch in batches]).mean())


def test_a_device_that_is_declared_wins_over_the_setting(monkeypatch):
    """A declaration is part of what a model is; the setting is only the machine's."""
    monkeypatch.setattr("serving.device.gpu_obstacle", lambda: "there is none")
    spec = replace(SPEC, device="cpu")

    trained = train(split(), spec, Training(device="cuda"))

    assert (trained.device.requested, trained.device.name) == ("cpu", "cpu")
    with pytest.raises(DeviceError, match="there is none"):
        train(split(), SPEC, Training(device="cuda"))
    with pytest.raises(DeviceError, match="there is none"):
        train(split(), replace(SPEC, device="cuda"), Training(device="cpu"))


def test_a_string_feature_that_is_always_null_has_no_categories():
    """A column without a single value can still be declared."""
    parts = split()
    emptied = replace(parts, train=parts.train.with_columns(carrier=pl.lit(None, pl.String)))

    assert train(emptied, SPEC).categories == {"carrier": ()}


def test_columns_are_encoded_in_training_as_they_are_in_serving():
    """The matrix training sees holds, value for value, what an engine looks up one by one."""
    frame = flights(100, 3, "ABX")
    chosen = {"features": SPEC.features, "categories": {"carrier": ("A", "B", "C")}}

    matrix, columns = matrix_of(frame, **chosen), columns_of(frame, **chosen)

    carrier = look_up("carrier", columns["carrier"], known=codes_of("ABC"), absent=float("nan"))
    expected = np.column_stack([columns["hour"], columns["distance"], columns["holiday"], carrier])
    assert np.float32 == matrix.dtype
    np.testing.assert_array_equal(expected, matrix)


@pytest.mark.parametrize("kind", [pl.Categorical(), pl.Enum(list("ABCDEFG"))])
def test_other_string_types_train_the_same_model(kind):
    """How Polars stores a string is not part of the model."""
    parts = split()
    stored = replace(parts, train=parts.train.with_columns(pl.col("carrier").cast(kind)))

    assert model_bytes(parts, SPEC) == model_bytes(stored, SPEC)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"objective": "multi:softprob"}, "multi:softprob"),
        ({"parameters": {"max_dept": 3}}, "max_dept"),
        ({"parameters": {"nthread": 3}}, "nthread"),
        ({"features": ()}, "at least one"),
        ({"features": ("hour", "hour")}, "hour"),
        ({"features": ("hour", "late")}, "late"),
        ({"features": ("hour", "margin")}, "margin"),
        ({"rounds": 0}, "rounds is 0"),
        ({"rounds": -3}, "rounds is -3"),
        ({"rounds": "many"}, "rounds is 'many'"),
        ({"device": "gpu"}, "auto, cpu, cuda"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(change, named):
    """A typo in a declaration is named before anything is trained."""
    with pytest.raises(DeclarationError, match=named):
        replace(SPEC, **change)


@pytest.mark.parametrize(
    ("column", "named"),
    [
        (pl.lit(None, pl.Boolean).alias("late"), "400 of 400 train rows"),
        (pl.lit(2).alias("late"), "0 and 1"),
        (pl.lit("yes").alias("late"), "target 'late' of the train rows is String"),
        (pl.lit(1e300).alias("distance"), "distance"),
        (pl.lit("2013-01-01").str.to_date().alias("distance"), "distance"),
    ],
)
def test_rows_that_cannot_be_learnt_from_are_refused(column, named):
    """The message names the column and what is wrong with it."""
    parts = split()

    with pytest.raises(DeclarationError, match=named):
        train(replace(parts, train=parts.train.with_columns(column)), SPEC)


def test_an_absent_column_and_an_empty_part_are_refused():
    """What the declaration needs must be there."""
    parts = split()

    with pytest.raises(DeclarationError, match=r"\['hour'\].*tune"):
        train(replace(parts, tune=parts.tune.drop("hour")), SPEC)
    with pytest.raises(DeclarationError, match="no tune rows"):
        train(replace(parts, tune=parts.tune.clear()), SPEC)
    with pytest.raises(DeclarationError, match="no train rows"):
        train(replace(parts, train=parts.train.clear()), SPEC)


def test_xgboost_knows_every_parameter_that_may_be_set():
    """XGBoost warns about a name it does not know, and a warning fails here."""
    values = {"grow_policy": "depthwise", "eval_metric": "logloss", "base_score": 0.5}
    values |= {"monotone_constraints": "(0,0,0,0)", "interaction_constraints": "[[0, 1, 2, 3]]"}
    whole = {
        "max_depth",
        "max_leaves",
        "max_bin",
        "num_parallel_tree",
        "max_cat_to_onehot",
        "max_cat_threshold",
    }
    plain = {name: 8 if name in whole else 0.5 for name in PARAMETERS}

    spec = replace(SPEC, parameters=plain | values, rounds=1)

    assert train(split(), spec).booster.num_boosted_rounds() == 1
