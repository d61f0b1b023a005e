"""The trainer of declared models: a table's files in, a bundle out, the same on any machine."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lineage.errors import DeclarationError
from lineage.ports import TrainedBundle, Training
from lineage.spec import Model, Step, by_hash, by_time
from serving.bundle import load_bundle
from serving.fit import cut, fit

SPLIT = by_time("at", tune_from="2013-02-01", test_from="2013-02-15")
MODEL = Model("features", "late", ("wind", "carrier"), SPLIT, "binary:logistic", "serving.fit:fit")
STEP = Step("flights", "late", "model", {"rounds": 5, "early_stopping_rounds": 2}, "", detail=MODEL)


@pytest.fixture
def tables(tmp_path) -> tuple[Path, ...]:
    """Two months in two files, every tenth target unknown."""
    rng = np.random.default_rng(1)
    begin = datetime(2013, 1, 1, tzinfo=UTC)
    rows = 59 * 24
    wind = rng.normal(size=rows)
    frame = pl.DataFrame(
        {
            "at": [begin + timedelta(hours=hour) for hour in range(rows)],
            "wind": wind,
            "carrier": [("AA", "B6", None)[hour % 3] for hour in range(rows)],
            "late": [None if hour % 10 == 0 else bool(wind[hour] > 0.2) for hour in range(rows)],
        }
    )
    for month, name in ((1, "2013-01"), (2, "2013-02")):
        frame.filter(pl.col("at").dt.month() == month).write_parquet(tmp_path / f"{name}.parquet")
    return tmp_path / "2013-01.parquet", tmp_path / "2013-02.parquet"


def folder_of(tmp_path: Path) -> Path:
    (tmp_path / "new").mkdir()
    return tmp_path / "new"


def fitted(tmp_path: Path, tables: tuple[Path, ...], name: str, training: Training, **parameters) -> TrainedBundle:
    folder = tmp_path / name / "bundle"
    folder.mkdir(parents=True)
    return fit(replace(STEP, parameters={**STEP.parameters, **parameters}), tables, folder, training)


def test_rows_with_a_known_target_are_cut_by_time(tmp_path, tables):
    """31 days to learn from, 14 to stop early on, 14 to report on, without the rows whose target is null."""
    found = fitted(tmp_path, tables, "one", Training())

    assert {"train": 669, "tune": 303, "test": 302} == found.metrics["rows"]
    assert {"rows": 302, "exact": 302} == found.metrics["onnx_parity"]
    assert found.digest == load_bundle(tmp_path / "one/bundle").digest
    assert {"manifest.json", "model.onnx", "model.ubj", "signature.json"} <= set(found.files)


def test_dates_of_a_split_are_those_of_its_zone(tmp_path, tables):
    """Midnight in Tokyo is nine hours before that of UTC, and so do months begin there."""
    model = replace(MODEL, split=replace(SPLIT, zone="Asia/Tokyo"))

    split = cut(pl.scan_parquet(tables), model)

    assert split.tune.select(pl.col("at").min()).collect().item() == datetime(2013, 1, 31, 15, tzinfo=UTC)
    assert split.zone == "Asia/Tokyo"


def test_rows_without_a_time_are_cut_by_a_digest(tmp_path, tables):
    """Shares of about the size asked for; a row stays where it is when others come or go; no month is claimed."""
    model = replace(MODEL, split=by_hash("wind", tune=0.2, test=0.3))
    rows = pl.scan_parquet(tables)

    whole, half = (cut(frame, model) for frame in (rows, rows.filter(pl.col("wind") > 0)))
    counts = [len(part.collect()) for part in (whole.train, whole.tune, whole.test)]

    assert sum(counts) == 1274
    assert [0.5, 0.2, 0.3] == pytest.approx([count / 1274 for count in counts], abs=0.04)
    assert whole.test.filter(pl.col("wind") > 0).collect().equals(half.test.collect())
    found = fit(replace(STEP, detail=model), tables, folder_of(tmp_path), Training())
    assert {"train": counts[0], "tune": counts[1], "test": counts[2]} == found.metrics["rows"]
    assert "by a digest of it 50% trained, 20% stopped early, 30% scored" in (tmp_path / "new/card.md").read_text()


def test_a_bundle_does_not_tell_on_which_machine_it_was_made(tmp_path, tables):
    """Memory, threads and the setting of the device leave no trace in the bundle, nor beside it."""
    machines = {
        "small": Training(memory_bytes=1),
        "large": Training(threads=3),
        "cautious": Training(device="cpu"),
    }

    found = {name: fitted(tmp_path, tables, name, training) for name, training in machines.items()}

    assert len({one.digest for one in found.values()}) == 1
    assert all([tmp_path / name / "bundle"] == list((tmp_path / name).iterdir()) for name in machines)
    assert {"auto", "cpu"} == {one.circumstances["device"]["requested"] for one in found.values()}
    assert all({"requested", "name", "reason"} == set(one.circumstances["device"]) for one in found.values())


def test_a_declaration_may_name_the_device(tmp_path, tables):
    """`device=` is ours and not one of XGBoost's parameters."""
    found = fitted(tmp_path, tables, "one", Training(device="cuda"), device="cpu")

    assert {"requested": "cpu", "name": "cpu", "reason": "it was asked for"} == found.circumstances["device"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"target": "early"}, r"target names column 'early'; the table has .*'late'"),
        ({"split": replace(SPLIT, column="day")}, r"split names column 'day'; the table has .*'at'"),
        ({"split": replace(SPLIT, column="carrier")}, r"'carrier', which is String; make it a date"),
        ({"features": ("wind", "gust")}, r"\['gust'\] are not in the train rows"),
        ({"split": by_time("at", tune_from="2012-01-01", test_from="2012-02-01")}, "there are no train rows"),
    ],
)
def test_what_a_table_lacks_is_named(tmp_path, tables, change, named):
    """A declaration that does not fit its table is refused with the column's name."""
    with pytest.raises(DeclarationError, match=named):
        fit(replace(STEP, detail=replace(MODEL, **change)), tables, tmp_path / "bundle", Training())


@pytest.mark.parametrize("split", [SPLIT, by_hash("at")], ids=["by time", "by hash"])
def test_rows_without_a_value_to_split_by_are_counted(tables, split):
    """They would vanish, or all fall into one part; those without a target do not matter."""
    rows = pl.scan_parquet(tables).with_row_index()
    some = pl.when(pl.col("index") < 20).then(None).otherwise("at").alias("at")

    with pytest.raises(DeclarationError, match="18 rows have no 'at', by which they are split"):
        cut(rows.with_columns(some), replace(MODEL, split=split))


@pytest.mark.parametrize("kind", [pl.Datetime("us"), pl.Date()], ids=["datetime", "date"])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"zone": "Asia/Tokyo"}, r"zone='Asia/Tokyo', but column 'at' is .*leave zone out"),
        ({"tune_from": "2013-02-01T00:00+09:00"}, r"tune_from='2013-02-01T00:00\+09:00', but column 'at' is"),
        ({"test_from": "2013-02-15T00:00Z"}, r"test_from='2013-02-15T00:00Z', but column 'at' is"),
    ],
)
def test_a_column_without_a_zone_takes_none(tables, kind, change, named):
    """What a split says of zones is not ignored where the column has none: it is refused."""
    rows = pl.scan_parquet(tables).with_columns(pl.col("at").dt.replace_time_zone(None).cast(kind))

    with pytest.raises(DeclarationError, match=named):
        cut(rows, replace(MODEL, split=replace(SPLIT, **change)))


def test_metrics_and_manifest_say_the_same(tmp_path, tables):
    """A score has one value wherever it stands, in six digits; the constant to beat is in the manifest."""
    found = fitted(tmp_path, tables, "one", Training())

    manifest = load_bundle(tmp_path / "one/bundle").manifest
    assert {name: found.metrics[name] for name in ("tune", "test")} == manifest["metrics"]
    assert {"auc", "logloss", "brier", "ece"} == set(found.metrics["tune"])
    values = [value for name in ("tune", "test", "linear", "base") for value in found.metrics[name].values()]
    assert [float(f"{value:.6g}") for value in values] == values
    chance = found.metrics["base_rate"]
    assert manifest["constant"] == pytest.approx(np.log(chance / (1 - chance)), abs=1e-6)


def test_cutting_keeps_no_row(tmp_path, tables):
    """A split is a plan: the files may be larger than memory."""
    split = cut(pl.scan_parquet(list(tables)), MODEL)

    assert all(isinstance(part, pl.LazyFrame) for part in (split.train, split.tune, split.test))
    assert split.time == "at"
