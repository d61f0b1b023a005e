"""Verify, trace and replay on the level of files: what a prediction rests on is all there, and was not changed."""

import json
import os
import re
import shutil
import socket
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from lineage.dvc import sync
from lineage.errors import IntegrityError, NotFoundError
from lineage.indexes import index, save
from lineage.ports import Ports
from lineage.proof.signing import fault, key_path, own_key, sign
from lineage.proof.tracked import listings
from lineage.provenance import publish
from lineage.replay import replay
from lineage.trace import trace
from lineage.verify import verify
from lineage.versions import digest_file, files_to_json, sha256_file
from orchestration.cli import main
from orchestration.verification import verification, verified_check
from serving.bundle import load_bundle
from serving.gate import promote
from serving.predict import Predictor

MODEL = "shop-late-t0"
KEY = "2020-02-5"
BUNDLE = "data/models/shop/late_t0"
TOTALS = "data/tables/shop/totals"


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop whose model is trained by XGBoost; every test leaves its files as they were recorded."""
    shop = make_shop("depot_verify", trainer="serving.fit:fit")
    sync(shop.space)
    shop.run()
    promote(shop.space, MODEL)
    return shop


@pytest.fixture
def prediction(shop):
    """The id of a prediction that was made just now."""
    return Predictor(shop.space).by_key(MODEL, [KEY]).prediction_id


@pytest.fixture(scope="module", autouse=True)
def row_lineage(shop):
    """The file beside January's features that says which rows they came from, current and signed."""
    version = shop.current("features", "2020-01")
    run = shop.store.row("run_that_wrote", **identity(version), before=None)["run_id"]
    if not (found := shop.store.run_lineage(run)):
        shop.write("data/lineage/shop/features/2020-01.bin", "which rows\n")
        found = (
            digest_file(shop.path("data/lineage/shop/features/2020-01.bin"), "data/lineage/shop/features/2020-01.bin"),
        )
        shop.space.objects.adopt_copy(shop.path(found[0].path), found[0])
        lineage = json.dumps(files_to_json(found))
        shop.query(f"update run_output set lineage = '{lineage}' where run_id = '{run}' returning 1")
        publish(shop.space, shop.current("late_t0"))
    return found[0]


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


@contextmanager
def in_place_of(path, make):
    """What `make` makes stands in a file's place; the file is put back afterwards."""
    away = path.rename(path.with_name("away"))
    make(path)
    try:
        yield
    finally:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        away.rename(path)


def bind(path):
    """A socket at `path`."""
    with socket.socket(socket.AF_UNIX) as made:
        # The name of a socket must be short.
        place = f"/proc/self/fd/{(folder := os.open(path.parent, os.O_RDONLY))}/{path.name}"
        made.bind(place)
        os.close(folder)


def kinds(shop, row_lineage):
    """kind -> path of one file of that kind."""
    table, model = shop.current("features", "2020-01"), shop.current("late_t0")
    listing = dict(listings(shop.root))["data/tables/shop/features"]
    return {
        "raw file": shop.raw("orders/2020-02"),
        "stored raw file": stored_raw(shop),
        "table": shop.path(table.file.path),
        "stored table": shop.object(table),
        "bundle": shop.path(f"{BUNDLE}/model.onnx"),
        "manifest": shop.path(f"{BUNDLE}/manifest.json"),
        "stored bundle": shop.object(model, "model.ubj"),
        "metrics": shop.path("data/metrics/shop/late_t0.json"),
        "provenance": shop.path("data/models/shop/late_t0.provenance.json"),
        "signature": shop.path("data/models/shop/late_t0.manifest.sig"),
        "row lineage": shop.path(row_lineage.path),
        "stored row lineage": shop.space.objects.path(row_lineage.md5),
        "served copy": shop.path(f".headwater/bundles/{model.sha256}/model.onnx"),
        "listing": shop.space.objects.path(listing),
    }


# Of each kind, a part of what rests on it; on the last three nothing does that could not be made again.
RESTS = {
    "raw file": ("shop/features[2020-02]", "shop/late_t0 "),
    "stored raw file": ("shop/features[2020-02]", "shop/late_t0 "),
    "table": ("shop/late_t0 ",),
    "stored table": ("shop/late_t0 ",),
    "bundle": (" prediction",),
    "manifest": (" prediction",),
    "stored bundle": (" prediction",),
    "metrics": (" prediction",),
    "provenance": (" prediction",),
    "signature": (" prediction",),
    "row lineage": ("shop/late_t0 ",),
    "stored row lineage": ("shop/late_t0 ",),
    "served copy": (" prediction",),
    "listing": (),
}


def stored_raw(shop):
    """The object of February's raw orders."""
    return shop.space.objects.path(raw_version(shop, "2020-02").file.md5)


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
    """Nothing is damaged, and everything is looked at: tables, raw files, row lineage, the bundle and the metrics."""
    outputs = shop.query("select lineage from run_output")

    found = verify(shop.space)

    assert found.damaged == ()
    # Seven raw files, eleven tables, one model with its bundle's five files, metrics and five plots.
    assert (found.versions, found.manifests) == (7 + 11 + 1, 1)
    assert found.files == 7 + 11 + 11 + sum(len(row["lineage"]) for row in outputs)


@pytest.mark.parametrize("kind", RESTS)
def test_one_flipped_bit_is_found(shop, prediction, row_lineage, kind):
    """Of all files on record, the changed one is named, with what it is a version of and what rests on it."""
    path = kinds(shop, row_lineage)[kind]

    with changed(path):
        (damage,) = verify(shop.space).damaged

    assert damage.path == str(path.relative_to(shop.root))
    assert damage.path in str(damage)
    assert damage.dataset in str(damage)
    assert [item for item in RESTS[kind] if item not in " ".join(damage.dependents)] == []
    assert verify(shop.space).damaged == ()


def test_an_object_of_two_versions_is_damaged_for_both(shop, prediction, row_lineage):
    """Both are named, that on which something rests first, with all that rests on either; for programs as well."""
    totals = shop.current("totals")
    run = shop.store.row("run_that_wrote", **identity(totals), before=None)["run_id"]
    path = row_lineage.path.replace("features", "totals")
    own, same = shop.store.run_lineage(run), {**vars(row_lineage), "path": path}
    record = "update run_output set lineage = '{}' where run_id = '{}' returning 1"
    shop.query(record.format(json.dumps([*files_to_json(own), same]), run))
    try:
        with changed(shop.space.objects.path(row_lineage.md5)):
            found = verify(shop.space)
    finally:
        shop.query(record.format(json.dumps(files_to_json(own)), run))

    (damage,) = (item for item in found.damaged if not item.path.startswith("data/"))
    (parsed,) = (item for item in found.to_json()["damaged"] if not item["path"].startswith("data/"))
    assert "recorded for shop/features[2020-01], shop/totals as " in str(damage)
    assert "on it rest shop/late_t0 " in str(damage)
    assert parsed["others"] == [{"dataset": "shop/totals", "partition": "", "version": totals.sha256}]


@pytest.mark.parametrize("kind", RESTS)
def test_a_folder_in_the_place_of_a_file_is_found(shop, prediction, row_lineage, kind):
    """It is named as what it is, and everything else is compared."""
    path, other = kinds(shop, row_lineage)[kind], shop.table("totals/all")

    with in_place_of(path, Path.mkdir), changed(other):
        found = {damage.path: str(damage) for damage in verify(shop.space).damaged}

    assert found.keys() == {str(path.relative_to(shop.root)), str(other.relative_to(shop.root))}
    if kind != "listing":
        assert (
            f"{path.relative_to(shop.root)} is a folder, recorded for shop/" in found[str(path.relative_to(shop.root))]
        )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (os.mkfifo, "is no file"),
        (bind, "is no file"),
        (lambda path: path.symlink_to("nowhere"), "is a link to nothing"),
    ],
    ids=["pipe", "socket", "link"],
)
@pytest.mark.parametrize("kind", ["raw file", "stored table", "manifest", "served copy", "listing"])
def test_what_is_no_file_is_found(shop, prediction, row_lineage, kind, make, said):
    """Nothing waits for a pipe; what stands there is named."""
    path = kinds(shop, row_lineage)[kind]

    with in_place_of(path, make):
        (damage,) = verify(shop.space).damaged

    assert damage.path == str(path.relative_to(shop.root))
    assert kind == "listing" or said in str(damage)


def test_a_file_that_cannot_be_read_is_found(shop, prediction, monkeypatch):
    """With what the system says of it; a trace goes by the cache's bytes."""
    path, read = shop.raw("orders/2020-02"), Path.open

    def refuse(self, *arguments, **options):
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return read(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    path.touch()
    (damage,) = verify(shop.space).damaged

    assert str(damage).startswith("data/raw/shop/orders/2020-02.csv cannot be read (Permission denied), recorded for ")
    assert trace(shop.space, prediction)["complete"]


def test_a_damaged_index_is_found(shop):
    """Nothing rests on it; it is named with what becomes of it."""
    folder = index(shop.space.settings.home, "0" * 64, lambda draft: save(draft, rows=np.arange(9)))

    with changed(folder / "rows.npy"):
        (damage,) = verify(shop.space).damaged

    assert str(damage).startswith(f".headwater/indexes/00/{'0' * 64}/rows.npy is damaged: an index")
    assert damage.dependents == ()


# --- signed manifests


def test_the_manifest_says_all_that_the_model_rests_on(shop, row_lineage):
    """Every version and file on the way, with its sha256 and size, and every run; signed by this project's key."""
    body = shop.path("data/models/shop/late_t0.provenance.json").read_bytes()
    signature = shop.path("data/models/shop/late_t0.manifest.sig").read_bytes()
    manifest = json.loads(body)

    files = {
        file["path"]: (file["sha256"], file["size_bytes"]) for item in manifest["versions"] for file in item["files"]
    }
    lineage = [file for run in manifest["runs"] for file in run["row_lineage"]]
    steps = Counter(run["step"] for run in manifest["runs"])

    assert manifest["bundle"] == shop.current("late_t0").sha256
    for name in (
        "data/raw/shop/visits/2020-03.csv",
        "data/tables/shop/features/2020-03.parquet",
        f"{BUNDLE}/model.onnx",
    ):
        assert files[name] == (sha256_file(shop.path(name)), shop.path(name).stat().st_size)
    assert len(manifest["versions"]) == 7 + 10 + 1  # the totals are no part of it
    assert steps == {"shop.late_t0": 1, "shop.products": 1} | dict.fromkeys(
        ("shop.features", "shop.orders", "shop.visits"), 3
    )
    assert all(len(run["code"]) == len(run["environment"]) == 64 for run in manifest["runs"])
    assert row_lineage.sha256 in {file["sha256"] for file in lineage}
    assert fault(body, signature, own_key(shop.space.settings.home)) is None


@pytest.mark.parametrize(
    ("change", "back", "said"),
    [
        ("files = jsonb_set(files, '{0,sha256}', '\"00\"')", "files = {files}", "says another files than"),
        ("row_count = row_count + 1", "row_count = row_count - 1", "says another row_count than"),
    ],
)
def test_a_record_that_is_not_the_signed_one_is_found(shop, change, back, said):
    """Who can write to the database cannot make other bytes the right ones."""
    version = shop.current("orders", "2020-01")
    where = f"where dataset = 'shop/orders' and sha256 = '{version.sha256}' returning 1"
    shop.query(f"update version set {change} {where}")
    try:
        found = [str(damage) for damage in verify(shop.space).damaged]
    finally:
        files = f"'{json.dumps(files_to_json(version.files))}'"
        shop.query(f"update version set {back.format(files=files)} {where}")

    (named,) = [text for text in found if said in text]
    assert named.startswith(f"the record of shop/orders[2020-01] {version.sha256[:12]}…")
    assert verify(shop.space).damaged == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("body = replace(body, 'shop', 'stop')", "was signed over other bytes"),
        ('signature = replace(signature, \'"key": "\', \'"key": "0\')', "was signed by key 0"),
    ],
)
def test_a_manifest_that_was_changed_on_record_is_found(shop, change, said):
    """It is named with its bundle; the next run signs the current version again."""
    version = shop.current("late_t0")
    shop.query(f"update manifest set {change} returning 1")

    found = [str(damage) for damage in verify(shop.space).damaged]
    shop.run()

    assert any(text.startswith(f"the signed manifest of shop/late_t0 {version.sha256[:12]}… {said}") for text in found)
    assert verify(shop.space).damaged == ()


def test_a_manifest_that_is_gone_is_found(shop):
    """A bundle is on record only with what was signed, unless it is older than signatures."""
    shop.query("delete from manifest returning 1")
    gone = [str(damage) for damage in verify(shop.space).damaged]
    shop.run()

    assert any("is not on record; train it again with `headwater run shop.late_t0`" in text for text in gone)
    assert verify(shop.space).damaged == ()


def test_a_key_that_is_gone_is_named(shop):
    """Without the key nothing can be checked; with it all is well again."""
    path = key_path(shop.space.settings.home)
    away = path.rename(path.with_name("away"))
    try:
        (damage,) = verify(shop.space).damaged
    finally:
        away.rename(path)

    assert f"there is no key {path}" in str(damage)
    assert verify(shop.space).damaged == ()


def test_a_run_signs_again_what_was_changed(shop, row_lineage):
    """Provenance, signature and row lineage are put back like any other file."""
    found = kinds(shop, row_lineage)

    for kind in ("provenance", "signature", "row lineage"):
        found[kind].write_bytes(b"?")
    shop.run()

    assert verify(shop.space).damaged == ()


# --- every night


def test_the_nightly_check_names_what_changed(shop):
    """The job of the schedule runs the check of each model, which fails naming the files, with their metadata."""
    step = shop.space.project.step("shop.late_t0")
    job, schedule = verification([step])
    definitions = dg.Definitions(asset_checks=[verified_check(shop.space, step)], jobs=[job], schedules=[schedule])

    def run():
        result = definitions.resolve_job_def(job.name).execute_in_process()
        (evaluation,) = result.get_asset_check_evaluations()
        return evaluation

    whole = run()
    with changed(shop.raw("visits/2020-01")):
        damaged = run()

    assert (schedule.cron_schedule, schedule.default_status) == ("17 3 * * *", dg.DefaultScheduleStatus.RUNNING)
    assert (whole.passed, damaged.passed) == (True, False)
    assert (whole.asset_key.path, whole.check_name) == (["shop", "late_t0"], "verified")
    assert damaged.metadata["damaged"].value == ["data/raw/shop/visits/2020-01.csv"]
    assert "data/raw/shop/visits/2020-01.csv has sha256" in damaged.description


# --- exported bundles


@pytest.fixture
def exported(shop, tmp_path):
    """An exported bundle, and the project's public key beside it."""
    ran = shop.cli("models", "export", f"{MODEL}@champion", str(tmp_path / "exported"))
    assert ran.code == 0, ran.err
    (tmp_path / "key.pem").write_text(shop.cli("verify", "--public-key").out)
    return tmp_path / "exported"


@pytest.fixture
def offline(tmp_path, monkeypatch, capsys):
    """`headwater verify --bundle` in a folder that is no project; nothing may be written there."""
    desert = tmp_path / "desert"
    desert.mkdir()
    monkeypatch.chdir(desert)
    for name in ("HEADWATER_ROOT", "HEADWATER_HOME", "HEADWATER_PIPELINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")

    def run(*arguments):
        code = main(["verify", "--bundle", *map(str, arguments)])
        assert list(desert.iterdir()) == []
        return code, *capsys.readouterr()

    return run


def test_an_exported_bundle_is_verified_offline(shop, exported, offline):
    """With the signer's key all is said; without it, that its fingerprint must be compared. It can be loaded, too."""
    fingerprint = own_key(shop.space.settings.home).fingerprint

    trusted, alone = offline(exported, "--public-key", exported.with_name("key.pem")), offline(exported)
    parsed = json.loads(offline(exported, "--json")[1])

    assert (trusted[0], alone[0]) == (0, 0)
    assert f"signed by {fingerprint}" in trusted[1]
    assert "Compare its fingerprint" in alone[1]
    assert "Compare its fingerprint" not in trusted[1]
    assert (parsed["signed_by"], parsed["trusted"], parsed["faults"]) == (fingerprint, False, [])
    assert (parsed["versions"], parsed["sources"]) == (7 + 10 + 1, 7)
    assert load_bundle(exported / "bundle").digest == parsed["version"] == shop.current("late_t0").sha256


def test_a_published_bundle_is_verified_in_its_place(shop, exported, offline):
    """The folder below data/models, by what stands beside it and the key."""
    code, out, _ = offline(shop.path(BUNDLE), "--public-key", exported.with_name("key.pem"))

    assert (code, "0 faults" in out) == (0, True)


@pytest.mark.parametrize(
    "name",
    [
        "bundle/model.onnx",
        "bundle/model.ubj",
        "bundle/signature.json",
        "bundle/manifest.json",
        "provenance.json",
        "manifest.sig",
    ],
)
@pytest.mark.parametrize("with_key", [True, False])
def test_a_flipped_bit_of_an_export_is_found(exported, offline, name, with_key):
    """It is named, and the answer is 1."""
    key = ("--public-key", exported.with_name("key.pem")) if with_key else ()

    with changed(exported / name):
        code, out, _ = offline(exported, *key)

    assert code == 1
    assert f"{exported / name} " in out
    assert "1 faults" in out


def test_an_export_that_somebody_else_signed_is_refused(exported, offline, tmp_path):
    """Who changes a bundle and signs it anew has another key: with the right one it is found out."""
    body = (exported / "provenance.json").read_bytes().replace(b'"late_t0', b'"late_t1')
    (exported / "provenance.json").write_bytes(body)
    (exported / "manifest.sig").write_bytes(sign(tmp_path / "forger", body))
    (exported / "public_key.pem").write_text(own_key(tmp_path / "forger").pem)

    forged = offline(exported, "--public-key", exported.with_name("key.pem"))

    assert forged[0] == 1
    assert "manifest.sig was signed by key" in forged[1]
    assert "public_key.pem is another key" in forged[1]


def test_what_does_not_belong_to_an_export_is_named(exported, offline):
    """A file more, a file less, and a folder that is no export at all."""
    (exported / "bundle/extra.txt").write_text("?")
    (exported / "bundle/model.ubj").unlink()

    code, out, _ = offline(exported)
    nothing = offline(exported / "bundle")
    no_file = offline(exported, "--public-key")

    assert code == 1
    assert f"{exported / 'bundle/extra.txt'} is not among" in out
    assert f"{exported / 'bundle/model.ubj'} is missing" in out
    assert (nothing[0], nothing[2].count("\n")) == (1, 1)
    assert "is no exported bundle" in nothing[2]
    assert (no_file[0], "needs a FILE" in no_file[2]) == (2, True)


def test_an_export_overwrites_nothing(shop, exported):
    """A folder with files in it is refused by name and stays as it is; an unknown version is named."""
    before = sorted(exported.rglob("*"))

    again = shop.cli("models", "export", MODEL, str(exported))
    unknown = shop.cli("models", "export", f"{MODEL}@nope", str(exported.with_name("new")))

    assert (again.code, unknown.code) == (1, 1)
    assert str(exported) in again.err
    assert "'nope' is no version" in unknown.err
    assert sorted(exported.rglob("*")) == before
    assert not exported.with_name("new").exists()


# --- the command


def test_a_missing_file_is_found(shop):
    """What is gone is damaged too."""
    with changed(shop.table("totals/all"), to=b""):
        (damage,) = verify(shop.space).damaged

    assert str(damage).startswith("data/tables/shop/totals/all.parquet is missing, recorded for shop/totals as ")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (rf"({TOTALS}\n      hash: md5\n      md5: ).", r"\1x", f"shop-totals has the out {TOTALS} with md5 x"),
        (rf"({TOTALS}(\n.*){{2}}\n      size: )", r"\g<1>1", f"shop-totals has the out {TOTALS} with size 1"),
        (rf"{TOTALS}\n", "data/tables/shop/total\n", f"shop-totals has no out {TOTALS}"),
        (
            r"(metrics/shop/late_t0.json\n      hash: md5\n      md5: ).",
            r"\1x",
            "the out data/metrics/shop/late_t0.json with md5 x",
        ),
        (r"  shop-totals:", "  shop-totalz:", "has no entry of stage shop-totals, which is up to date"),
        (r"cmd: headwater run shop.totals", "cmd: headwater run shop.totalz", "shop-totals has another cmd"),
        (r"          code: (.)", "          code: x", "has another params"),
        (r"    deps:\n    - path: data/raw", "    deps:\n    - path: data/rax", "shop-orders has another deps"),
        (r"schema: '2.0'", "schema: '2.1'", "has no stages of schema 2.0"),
        (r"stages:", "stages", "is not readable as YAML; restore it with `git checkout dvc.lock`"),
    ],
    ids=["md5", "size", "path", "metrics", "stage", "cmd", "params", "deps", "schema", "YAML"],
)
def test_a_lock_that_names_something_else_is_found(shop, headwater, before, after, said):
    """It is said where dvc.lock differs, that no data is damaged, and what to run; then the entry is right again."""
    path = shop.path("dvc.lock")
    text = path.read_text()
    flipped, count = re.subn(before, after, text, count=1)
    path.write_text(flipped)
    try:
        code, out, _ = headwater("verify")
        if "`headwater run " in out:
            shop.run()
            assert path.read_text().replace("  shop-totalz:", "  shop-totals:").startswith(text)
    finally:
        path.write_text(text)

    assert (count, code, "0 damaged" in out, said in out) == (1, 1, True, True), out
    assert "no data is damaged by that" in out
    assert headwater("verify")[0] == 0


def test_a_lock_of_other_stages_or_none_at_all_is_no_difference(shop):
    """What a pipeline that is gone has left there is not compared; without a lock there is nothing to compare."""
    path = shop.path("dvc.lock")
    text = path.read_text()
    path.write_text(f"{text}  old-table:\n    cmd: headwater run old.table\n")
    try:
        with_others = verify(shop.space).lock
        path.unlink()
        without = verify(shop.space).lock
    finally:
        path.write_text(text)

    assert (with_others, without) == ((), ())


def test_a_lock_that_a_run_left_alone_is_told_from_damage(shop):
    """While another month of a table is stale its stage names the version before; the run that ends that mends it."""
    path = shop.raw("visits/2020-01")
    before = path.read_bytes()
    path.write_bytes(before.replace(b"\n2020-01-27,", b"\n2020-01-27,9"))
    try:
        shop.run("visits")
        table_is_stale = verify(shop.space)
        shop.run("features", partition="2020-01")
        month_is_stale = verify(shop.space)
        shop.run("features")
        model_is_stale = verify(shop.space)
    finally:
        path.write_bytes(before)
        shop.run()

    assert (table_is_stale.damaged, month_is_stale.damaged, model_is_stale.damaged) == ((), (), ())
    (told,) = month_is_stale.lock
    assert told.startswith("dvc.lock: stage shop-features has the out data/tables/shop/features with md5 ")
    assert (table_is_stale.lock, model_is_stale.lock, verify(shop.space).lock) == ((), (), ())


def test_a_folder_in_the_place_of_the_lock_is_named(shop):
    """Everything else is compared."""
    with in_place_of(shop.path("dvc.lock"), Path.mkdir), changed(shop.table("totals/all")):
        found = verify(shop.space)

    assert [damage.path for damage in found.damaged] == ["data/tables/shop/totals/all.parquet"]
    assert found.lock == ("dvc.lock is a folder; restore it with `git checkout dvc.lock`.",)


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
        for name in ("orders/2020-02", "visits/2020-02", "products/products")
    }
    assert len(found["training"]["sources"]) == 7
    assert found["bundle"]["version"] == shop.current("late_t0").sha256
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("gone", [False, True], ids=["altered", "gone"])
def test_lost_bytes_make_a_trace_incomplete(shop, prediction, gone):
    """When a raw file is lost in its place and in the cache, the trace is not complete and names it."""
    raw, stored = shop.raw("orders/2020-02"), stored_raw(shop)

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
    assert (found["notes"], len(in_cache["notes"]), in_place["notes"]) == ([], 1, [])
    assert "note " not in said.out


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_a_trace_needs_one_of_place_and_cache(shop, prediction, make):
    """A folder in the place of a raw file or of its object is a missing file; in place of both, the trace says so."""
    raw, stored = shop.raw("orders/2020-02"), stored_raw(shop)

    with in_place_of(raw, make):
        in_cache = trace(shop.space, prediction)
        with in_place_of(stored, make):
            nowhere = trace(shop.space, prediction)
    with in_place_of(stored, make):
        in_place = trace(shop.space, prediction)

    assert (in_cache["complete"], in_place["complete"], nowhere["complete"]) == (True, True, False)
    assert "data/raw/shop/orders/2020-02.csv" in nowhere["problems"][0]


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
    stored, placed = shop.object(shop.current("late_t0"), "model.ubj"), shop.path(f"{BUNDLE}/model.ubj")

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
