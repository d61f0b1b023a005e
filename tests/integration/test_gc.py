"""gc frees what nothing on record needs, and nothing else: not what a prediction came from, nor what a step writes."""

import fcntl
import threading

import pytest

from lineage.dvc import sync
from lineage.errors import IntegrityError, SettingsError
from lineage.gc import BusyError, Collected, collect, freed_on
from lineage.indexes import index
from lineage.plan import Workspace
from lineage.ports import Ports
from lineage.proof.foundation import foundation
from lineage.proof.tracked import listings
from lineage.replay import replay
from lineage.store import Store
from lineage.trace import Traces, trace
from lineage.verify import verify
from lineage.versions import digest_file
from serving.gate import promote, rollback
from serving.predict import Predictor

MODEL = "shop-late-t0"


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop that was corrected once: a prediction rests on what was current before, and the old totals on nothing."""
    shop = make_shop("depot_gc", trainer="serving.fit:fit")
    sync(shop.space)
    shop.run()
    promote(shop.space, MODEL)
    return shop


@pytest.fixture(scope="module")
def history(shop):
    """What was there before the correction: versions by step, the prediction, and the listing of the old totals."""
    steps = {"totals": "", "features": "2020-02", "orders": "2020-02", "late_t0": ""}
    found = {step: shop.current(step, partition) for step, partition in steps.items()}
    found["prediction"] = Predictor(shop.space).by_key(MODEL, ["2020-02-5"]).prediction_id
    found["listing"] = dict(listings(shop.root))["data/tables/shop/totals"]
    shop.order_again("2020-02")
    shop.run()
    return found


def stored(shop):
    """The names of all objects."""
    return {path.parent.name + path.name for path in shop.path(".dvc/cache/files/md5").glob("??/*")}


def plant(shop, text):
    """An object that nothing knows; its file."""
    path = shop.path("planted")
    path.write_text(text)
    file = digest_file(path, "planted")
    shop.space.objects.adopt_copy(path, file)
    path.unlink()
    return file


def test_a_dry_run_frees_nothing(shop, history):
    """It says what would be freed, and why the rest stays; every object is counted once."""
    before = stored(shop)

    found = collect(shop.space, dry_run=True)

    assert stored(shop) == before
    assert found.dry_run
    assert found.objects > 0
    assert found.objects + sum(kept.objects for kept in found.kept) == len(before)
    assert {kept.reason for kept in found.kept if kept.objects} == {
        "current versions",
        "bundles with an alias",
        "named by dvc.lock or a .dvc file",
    }


def test_only_what_nothing_needs_is_freed(shop, history):
    """The old totals and their listing go; what the prediction and the bundles rest on stays, and is whole."""
    before = stored(shop)

    found = collect(shop.space)

    assert before - stored(shop) >= {history["totals"].file.md5, history["listing"]}
    assert len(before) - len(stored(shop)) == found.objects
    for name in ("features", "orders", "late_t0"):
        assert {file.md5 for file in history[name].files} <= stored(shop), name
    assert trace(shop.space, history["prediction"])["complete"]
    assert replay(shop.space, history["prediction"], Ports())["identical"]
    assert verify(shop.space).damaged == ()


def test_what_was_freed_is_still_on_record(shop, history):
    """The version's row stays, with the day on which its bytes went; a second gc has nothing to do."""
    collect(shop.space)
    version = history["totals"]

    assert shop.store.version("shop/totals", "", version.sha256) == version
    assert freed_on(shop.store, version.file) is not None
    assert freed_on(shop.store, shop.current("totals").file) is None
    assert (collect(shop.space).objects, collect(shop.space).indexes) == (0, 0)
    assert shop.dvc("status", "--quiet").code == 0


def test_a_trace_through_what_was_freed_says_so(shop, history):
    """Nothing rests on a row of the old totals; who asks for it all the same is told what became of it."""
    collect(shop.space)
    file = history["totals"].file
    freed = f"{file.path}: the bytes of version {file.sha256[:12]}… are freed by `headwater gc` on "

    found = Traces(shop.space).row(f"shop.totals@{file.sha256[:12]}:0")

    assert not found["complete"]
    (said,) = (problem for problem in found["problems"] if problem.startswith(file.path))
    assert said == f"{freed}{freed_on(shop.store, file)}"


def test_what_was_freed_can_be_computed_again(shop, history):
    """Bytes that are written again are back, and stay as long as they are current."""
    collect(shop.space)
    raw = shop.raw("orders/2020-02")
    corrected = raw.read_text()
    raw.write_text("\n".join([*corrected.splitlines()[:-1], ""]))
    try:
        shop.run()
        again = shop.current("totals")
        collect(shop.space)
        whole = verify(shop.space).damaged
    finally:
        raw.write_text(corrected)
        shop.run()

    assert again == history["totals"]
    assert whole == ()


def test_a_version_to_roll_back_to_stays_if_it_is_named(shop, history):
    """What the caller names stays with all that it rests on, for the caller's reason."""
    version = history["totals"]
    planted = plant(shop, "nothing knows this")
    shop.space.objects.adopt_copy(shop.table("totals/all"), shop.current("totals").file)

    found = collect(shop.space, also={"because I say so": [version]}, dry_run=True)

    assert "because I say so" in {kept.reason for kept in found.kept}
    assert planted.md5 in stored(shop)
    assert {file.md5 for _, file in foundation(shop.store, [version]).files()} - stored(shop) <= {version.file.md5}


def test_unknown_objects_go_and_other_files_stay(shop, history):
    """An interrupted run's object goes; a file that is no object, and what a .dvc file names, stay."""
    left, named = plant(shop, "left by a run that died"), plant(shop, "named by a .dvc file")
    shop.write("data/notes.txt.dvc", f"outs:\n- md5: {named.md5}\n  size: 20\n  hash: md5\n  path: notes.txt\n")
    other = shop.path(".dvc/cache/files/md5/ab/something.tmp")
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_text("?")

    collect(shop.space)

    assert left.md5 not in stored(shop)
    assert named.md5 in stored(shop)
    assert other.exists()
    shop.path("data/notes.txt.dvc").unlink()


def test_indexes_go_with_what_they_were_built_from(shop, history):
    """Where anything is freed they go, for any is built again; where nothing is, they stay."""
    collect(shop.space)
    folder = index(shop.space.settings.home, "1" * 64, lambda draft: (draft / "rows").write_text("?"))
    collect(shop.space)
    kept = folder.exists()
    plant(shop, "a reason")

    found = collect(shop.space)

    assert (kept, found.indexes, folder.exists()) == (True, 1, False)


@pytest.mark.parametrize("lock", ["step:shop.features[2020-01]", "step:shop.late_t0", "gate:shop-late-t0", "dvc.lock"])
def test_it_waits_for_who_writes(shop, history, lock):
    """While a step, the gate or a record of DVC is at work nothing is freed; afterwards gc goes on by itself."""
    written = plant(shop, f"written under {lock}")
    waits, found = threading.Event(), []

    def gc():
        with Store(shop.space.settings) as store:
            space = Workspace(shop.space.settings, shop.space.project, store)
            found.append(collect(space, waiting=lambda _: waits.set()))

    thread = threading.Thread(target=gc)
    with shop.store.lock(lock):
        thread.start()
        assert waits.wait(60)
        there = written.md5 in stored(shop)
    thread.join(60)

    assert there
    assert [type(item) for item in found] == [Collected]
    assert written.md5 not in stored(shop)


def test_it_leaves_dvc_alone(shop, history):
    """While DVC holds its lock, nothing is freed and the message says so."""
    planted = plant(shop, "while DVC is at work")
    with shop.path(".dvc/tmp/lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="DVC is at work"):
            collect(shop.space)

    assert planted.md5 in stored(shop)


def test_nothing_is_freed_where_it_is_not_known_what_is_needed(shop, history):
    """A dvc.lock that cannot be read, or a listing with other bytes, is refused by name."""
    planted, path = plant(shop, "nobody knows"), shop.path("dvc.lock")
    text, listing = path.read_text(), shop.space.objects.path(dict(listings(shop.root))["data/tables/shop/totals"])
    data = listing.read_bytes()
    listing.chmod(0o644)
    try:
        path.write_text("stages: [")
        with pytest.raises(SettingsError, match=r"dvc\.lock is not readable"):
            collect(shop.space)
        path.write_text(text)
        listing.write_bytes(data[:-1] + b"?")
        with pytest.raises(IntegrityError, match=listing.name):
            collect(shop.space)
    finally:
        path.write_text(text)
        listing.write_bytes(data)

    assert planted.md5 in stored(shop)


def test_a_cache_that_others_share_is_left_alone(shop, history, tmp_path):
    """What lies outside of the project may be needed by projects that we know nothing of."""
    cache = shop.path(".dvc/cache")
    cache.rename(tmp_path / "shared")
    cache.symlink_to(tmp_path / "shared")
    try:
        with pytest.raises(SettingsError, match="outside of the project"):
            collect(shop.space)
    finally:
        cache.unlink()
        (tmp_path / "shared").rename(cache)


def test_the_command_says_what_it_freed(shop, history):
    """For people and for programs; the champion before, which has no alias any more, stays for a rollback."""
    promote(shop.space, MODEL)
    before = shop.current("late_t0")
    shop.order_again("2020-02")
    shop.run()
    promote(shop.space, MODEL)
    shop.cli("gc")
    plant(shop, "for the command")

    dry, parsed = shop.cli("gc", "--dry-run"), shop.cli("gc", "--json")

    assert (dry.code, dry.out.splitlines()[0].split(",")[0]) == (0, "would free 1 objects")
    assert (parsed.json["objects"], parsed.json["size_bytes"], parsed.json["dry_run"]) == (1, 15, False)
    assert "champions before, for rollback" in {kept["reason"] for kept in parsed.json["kept"] if kept["objects"]}
    assert rollback(shop.space, MODEL).champion == before.sha256
