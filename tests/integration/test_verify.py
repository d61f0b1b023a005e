"""Verify, trace and replay on the level of files: what a prediction rests on is all there, and was not changed."""

import json
from contextlib import ExitStack, contextmanager

import pytest

from lineage.errors import IntegrityError, NotFoundError
from lineage.ports import Ports
from lineage.replay import replay
from lineage.trace import trace
from lineage.verify import verify
from lineage.versions import sha256_file
from serving.gate import promote
from serving.predict import Predictor

MODEL = "shop-late-t0"
KEY = "2020-02-5"
BUNDLE = "data/models/shop/late_t0"


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop whose model is trained by XGBoost; every test leaves its files as they were recorded."""
    shop = make_shop("depot_verify", trainer="serving.fit:fit")
    shop.run()
    promote(shop.space, MODEL)
    return shop


@pytest.fixture
def prediction(shop):
    """The id of a prediction that was made just now."""
    return Predictor(shop.space).by_key(MODEL, [KEY]).prediction_id


@contextmanager
def changed(*paths, to=None):
    """These files with other bytes (the middle one flipped by default), or gone with `to=b''`; put back afterwards."""
    with ExitStack() as put_back:
        for path in paths:
            data = path.read_bytes()
            put_back.callback(path.write_bytes, data)
            path.chmod(0o644)
            place = len(data) // 2
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            if to == b"":
                path.unlink()
        yield


def kinds(shop):
    """kind -> path of one file of that kind."""
    table, model = shop.current("features", "2020-01"), shop.current("late_t0")
    return {
        "raw file": shop.raw("orders/2020-02"),
        "stored raw file": shop.space.objects.path(raw_version(shop, "2020-02").file.md5),
        "table": shop.path(table.file.path),
        "stored table": shop.object(table),
        "bundle": shop.path(f"{BUNDLE}/model.onnx"),
        "manifest": shop.path(f"{BUNDLE}/manifest.json"),
        "stored bundle": shop.object(model, "model.ubj"),
        "metrics": shop.path("data/metrics/shop/late_t0.json"),
    }


def raw_version(shop, month):
    """The version of the raw orders that the current table was read from."""
    version = shop.current("orders", month)
    row = shop.store.row("run_that_wrote", **identity(version), before=None)
    ((_, raw),) = shop.store.run_inputs(row["run_id"])
    return raw


def identity(version):
    """What identifies a version, as queries want it."""
    return {"dataset": version.dataset, "partition": version.partition, "sha256": version.sha256}


# --- verify


def test_all_is_as_recorded(shop, prediction):
    """Nothing is damaged, and everything is looked at: tables, raw files, the bundle and the metrics."""
    found = verify(shop.space)

    assert found.damaged == ()
    # Seven raw files, eleven tables, one model with its bundle's five files, metrics and five plots.
    assert (found.versions, found.files) == (7 + 11 + 1, 7 + 11 + 11)


@pytest.mark.parametrize(
    "kind", ["raw file", "stored raw file", "table", "stored table", "bundle", "manifest", "stored bundle", "metrics"]
)
def test_one_flipped_bit_is_found(shop, kind):
    """Of all files on record, the changed one is named, with what it is a version of."""
    path = kinds(shop)[kind]

    with changed(path):
        (damage,) = verify(shop.space).damaged

    assert damage.path == str(path.relative_to(shop.root))
    assert damage.path in str(damage)
    assert damage.dataset in str(damage)
    assert "has sha256" in str(damage)
    assert verify(shop.space).damaged == ()


def test_a_missing_file_is_found(shop):
    """What is gone is damaged too."""
    with changed(shop.table("totals/all"), to=b""):
        (damage,) = verify(shop.space).damaged

    assert str(damage).startswith("data/tables/shop/totals/all.parquet is missing, recorded for shop/totals as ")


def test_the_command_says_what_is_damaged(shop):
    """`headwater verify` ends with 0 when all is well and with 1 when not, for people and for programs."""
    whole = shop.cli("verify")
    with changed(shop.table("totals/all")):
        damaged, parsed = shop.cli("verify"), shop.cli("verify", "--json")

    assert (whole.code, whole.err) == (0, "")
    assert "0 damaged" in whole.out
    assert (damaged.code, parsed.code) == (1, 1)
    assert "data/tables/shop/totals/all.parquet has sha256" in damaged.out
    assert [item["path"] for item in parsed.json["damaged"]] == ["data/tables/shop/totals/all.parquet"]


# --- trace


def test_a_prediction_leads_to_its_raw_files(shop, prediction):
    """The trace ends in the raw files of the row's table, with the hashes that these files have."""
    found = trace(shop.space, prediction)

    assert (found["complete"], found["problems"]) == (True, [])
    assert found["features"]["version"] == shop.current("features", "2020-02").sha256
    assert {source["file"]: source["version"] for source in found["sources"]} == {
        f"data/raw/shop/{name}.csv": sha256_file(shop.raw(name))
        for name in ("orders/2020-02", "visits/2020-01", "visits/2020-02", "products/products")
    }
    assert len(found["training"]["sources"]) == 7
    assert found["bundle"]["version"] == shop.current("late_t0").sha256
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("gone", [False, True], ids=["altered", "gone"])
def test_lost_bytes_make_a_trace_incomplete(shop, prediction, gone):
    """When a raw file is lost in its place and in the cache, the trace is not complete and names it."""
    raw, stored = shop.raw("orders/2020-02"), kinds(shop)["stored raw file"]

    with changed(raw, stored, to=b"" if gone else None):
        found, said = trace(shop.space, prediction), shop.cli("trace", prediction)
    with changed(raw, to=b"" if gone else None):
        in_cache = trace(shop.space, prediction)
    with changed(stored, to=b"" if gone else None):
        in_place = trace(shop.space, prediction)

    assert (found["complete"], len(found["problems"]), said.code) == (False, 1, 1)
    assert "data/raw/shop/orders/2020-02.csv" in found["problems"][0]
    assert found["problems"][0] in said.out
    assert "NOT complete" in said.out
    assert (in_cache["complete"], in_place["complete"]) == (True, True)


def test_a_correction_keeps_old_traces(shop, prediction):
    """A prediction keeps pointing at the bytes that it came from when the raw file is corrected and all runs again."""
    before = trace(shop.space, prediction)
    shop.order_again("2020-02")
    assert {"orders[2020-02]", "features[2020-02]", "late_t0"} <= shop.run()

    after = trace(shop.space, prediction)

    assert {**after, "notes": []} == before
    assert after["complete"]
    assert ["data/raw/shop/orders/2020-02.csv has changed since" in note for note in after["notes"]] == [True]
    assert replay(shop.space, prediction, Ports())["identical"]
    assert verify(shop.space).damaged == ()
    version = shop.store.version("shop/late_t0", "", before["bundle"]["version"])
    assert version != shop.current("late_t0")
    with changed(shop.object(version, "model.onnx")):
        (damage,) = verify(shop.space).damaged
    assert damage.expected in {file.sha256 for file in version.files}


@pytest.mark.parametrize("name", ["model.ubj", "late_t0.json"], ids=["bundle", "metrics"])
def test_a_run_mends_a_damaged_object(shop, name):
    """A stored object with other bytes is made whole from the file in its place by the next run."""
    stored = shop.object(shop.current("late_t0"), name)
    stored.chmod(0o644)
    stored.write_bytes(b"?")
    assert [damage.path for damage in verify(shop.space).damaged] == [str(stored.relative_to(shop.space.root))]

    shop.run()

    assert verify(shop.space).damaged == ()


# --- replay


def test_a_prediction_comes_out_again(shop, prediction):
    """The margin has the same bits, and the command says so."""
    ran = shop.cli("replay", prediction, "--json")

    assert ran.code == 0
    assert (ran.json["result"], ran.json["identical"], ran.json["differences"]) == ("identical", True, [])
    assert ran.json["margin_bits"] == ran.json["recorded_margin_bits"]


def test_a_tampered_bundle_is_not_replayed(shop, prediction):
    """A bundle whose recorded bytes are nowhere is refused by the name of its file; a whole copy is used."""
    stored, placed = kinds(shop)["stored bundle"], shop.path(f"{BUNDLE}/model.ubj")

    with changed(stored):
        from_place = replay(shop.space, prediction, Ports())
    with changed(stored, placed):
        ran = shop.cli("replay", prediction)
        with pytest.raises(IntegrityError, match=rf"{BUNDLE}/model\.ubj"):
            replay(shop.space, prediction, Ports())

    assert from_place["identical"]
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert f"{BUNDLE}/model.ubj" in ran.err


def test_a_tampered_table_is_not_replayed(shop, prediction):
    """The feature row is compared with the table it came from, whose bytes must be the recorded ones."""
    table = shop.current("features", "2020-02")

    with changed(shop.object(table), shop.path(table.file.path)):
        with pytest.raises(IntegrityError, match=r"data/tables/shop/features/2020-02\.parquet"):
            replay(shop.space, prediction, Ports())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("margin_bits = '3f800000'", "margin: recorded 1.0, recomputed"),
        ("features = jsonb_set(features, '{cents}', '451')", "feature cents: recorded 451, in the table"),
        ("position = position + 10000", "has no row 100"),
    ],
)
def test_a_changed_record_is_noticed(shop, prediction, change, said):
    """A record that was changed is different from what comes out, and the difference is named."""
    shop.query(f"update prediction_row set {change} where prediction_id = '{prediction}' returning 1")

    found = replay(shop.space, prediction, Ports())

    assert (found["result"], found["identical"]) == ("different", False)
    assert any(said in line for line in found["differences"]), found["differences"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nonsense", "'nonsense'"),
        ("3d9a38f9-8cde-4639-bb16-8d7cfb5a6c2f", "3d9a38f9-8cde-4639-bb16-8d7cfb5a6c2f"),
        ("{prediction}.7", "no row 7"),
        ("{prediction}.x", ".x'"),
    ],
)
def test_an_id_that_nothing_answers_to_is_named(shop, prediction, name, said):
    """Trace and replay say which id they do not know."""
    for ask in (lambda text: trace(shop.space, text), lambda text: replay(shop.space, text, Ports())):
        with pytest.raises(NotFoundError) as unknown:
            ask(name.format(prediction=prediction))
        assert said in str(unknown.value)
