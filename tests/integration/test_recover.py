"""Crashes: at whatever moment a run dies, no half file is seen, and the next start is as if nothing had been."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from lineage.recover import recover
from lineage.tracing.ancestry import origin_of

KILLS, SETTLED_EVERY = 50, 10
SEED = 20200229

# Starting Python takes longer than what is to be interrupted. So one process imports everything, and for each
# line of orders forks one that is `headwater run`: killed after `delay` seconds, or at a `point`: when a function
# is called for the nth time, the process dies before it, or after it, or waits before it until `go` is there.
# Its answer is the exit code (or minus the signal) and the seconds that it took.
STARTER = """
import importlib, json, os, signal, sys, time
import pandas
import lineage.identity.commit, lineage.events, orchestration.verbs
from orchestration.cli import main

def lay(owner, name, when, nth):
    module, _, kind = owner.partition(":")
    place = importlib.import_module(module)
    place = getattr(place, kind) if kind else place
    original, calls = getattr(place, name), []
    def watched(*given, **more):
        calls.append(name)
        now = len(calls) == nth
        if now and when == "before":
            os._exit(9)
        while now and when == "wait" and not os.path.exists("go"):
            open("waiting", "w").close()
            time.sleep(0.01)
        result = original(*given, **more)
        if now and when == "after":
            os._exit(9)
        return result
    setattr(place, name, watched)

for line in sys.stdin:
    orders, started = json.loads(line), time.monotonic()
    if not (child := os.fork()):
        os.dup2(os.open("child.log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 1)
        os.dup2(1, 2)
        if orders.get("point"):
            lay(*orders["point"])
        code = main(["run"])
        sys.stdout.flush()
        os._exit(code)
    if "delay" in orders:
        time.sleep(orders["delay"])
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    print(json.dumps([os.waitstatus_to_exitcode(status), time.monotonic() - started]), flush=True)
"""


class Starter:
    """Starts runs that die, one at a time."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process

    def begin(self, **orders) -> None:
        self._process.stdin.write(json.dumps(orders) + "\n")
        self._process.stdin.flush()

    def end(self) -> tuple[int, float]:
        code, seconds = json.loads(self._process.stdout.readline())
        return code, seconds

    def run(self, **orders) -> tuple[int, float]:
        self.begin(**orders)
        return self.end()


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop whose runs die; DVC knows it, so that its lock is at stake too."""
    shop = make_shop("depot_crash")
    assert shop.cli("dvc", "sync").code == 0
    shop.run()
    return shop


@pytest.fixture(scope="module")
def starter(shop):
    """A process that starts runs which die."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", STARTER], cwd=shop.root, env=shop.environ, **pipes) as process:
        try:
            yield Starter(process)
            process.stdin.close()
            process.wait(30)
        finally:
            process.kill()


def assert_nothing_is_left(shop):
    """No run, no publication and no workshop stands open."""
    assert not shop.query("select from run where state = 'RUNNING'")
    assert not shop.query("select from publication")
    assert not list((shop.root / ".dvc/tmp/headwater").iterdir())


def recorded(shop):
    """(dataset, partition) -> sha256 of every file of every version of it on record, by path."""
    found = {}
    for row in shop.query("select files from version"):
        for file in row["files"]:
            found.setdefault(file["path"], set()).add(file["sha256"])
    return found


def assert_only_whole_files(shop, when):
    """Every visible file is, byte for byte, some recorded version of what belongs there."""
    known = recorded(shop)
    strange = [path for path, sha256 in shop.contents().items() if sha256 not in known.get(path, ())]
    assert not strange, f"after a kill {when}: {strange}"


def crash(shop, starter, *point):
    """Order once more in January, and let the run that computes it die at the point given."""
    shop.order_again("2020-01")
    code, _ = starter.run(point=(*point, 1) if len(point) == 3 else point)
    assert code == 9, shop.path("child.log").read_text()
    wait_for_server(shop)


def wait_for_server(shop):
    """Let the server notice that the process is dead: until then it holds its locks for it."""
    others = "select from pg_stat_activity where application_name = 'headwater' and pid <> pg_backend_pid()"
    deadline = time.monotonic() + 30
    while shop.query(others) and time.monotonic() < deadline:
        time.sleep(0.005)


def stage(shop, name):
    """The text of a stage's entry in dvc.lock."""
    return shop.path("dvc.lock").read_text().partition(f"  shop-{name}:\n")[2].partition("\n  shop-")[0]


def test_kill_9_at_any_moment(shop, starter, make_shop):
    """Of fifty runs killed at random, none leaves a partial file, and what follows is as if none had been killed."""
    calm, chance = make_shop("depot_calm"), random.Random(SEED)
    duration = measure(shop, starter)
    codes = []
    for number in range(1, KILLS + 1):
        change_everything(shop, number)
        delay = chance.uniform(0, duration)
        codes.append(starter.run(delay=delay)[0])
        # It came to its end, so a run takes no longer than this: the machine was busier when it was measured.
        duration = delay if codes[-1] == 0 else duration
        assert_only_whole_files(shop, f"number {number}, after {delay:.3f} s (seed {SEED})")
        if number % SETTLED_EVERY == 0:
            wait_for_server(shop)
            recover(shop.space)
            shop.run()
            assert shop.contents() == undisturbed(shop, calm)

    wait_for_server(shop)
    last = shop.cli("run")

    aborted = len(shop.query("select from run where state = 'ABORT'"))
    killed = codes.count(-signal.SIGKILL)
    print(f"seed {SEED}: a run takes {duration:.2f} s, {killed} of {KILLS} killed, {aborted} in the middle of a step")
    assert (last.code, last.err, last.computed) == (0, "", set())
    assert set(codes) <= {0, -signal.SIGKILL}
    assert killed > KILLS / 2
    assert aborted > 0
    assert_nothing_is_left(shop)
    assert shop.dvc("status").out == "Data and pipelines are up to date.\n"


def measure(shop, starter):
    """Seconds of a run that computes every step and that nobody disturbs."""
    change_everything(shop, 0)
    code, seconds = starter.run()
    assert code == 0, shop.path("child.log").read_text()
    return seconds


def change_everything(shop, number):
    """Give every raw file other bytes."""
    for month in ("2020-01", "2020-02", "2020-03"):
        shop.order_again(month)
        shop.raw(f"visits/{month}").write_text(f"day,visitors\n{month}-01,{number}\n")
    shop.raw("products/products").write_text(f"product,price\ntea,{number}.5\n")


def undisturbed(shop, calm):
    """What a project that nobody kills computes from the same raw files."""
    for raw in (shop.root / "data/raw").rglob("*.csv"):
        calm.write(str(raw.relative_to(shop.root)), raw.read_text())
    calm.run()
    return calm.contents()


@pytest.mark.parametrize(
    ("owner", "name", "when", "nth", "done"),
    [
        pytest.param("lineage.objects:Objects", "adopt", "before", 1, ["removed"], id="raw bytes not yet stored"),
        pytest.param("lineage.run", "_start", "before", 1, [], id="not yet begun"),
        pytest.param("lineage.run", "_start", "after", 1, ["forgot"], id="just begun"),
        pytest.param("lineage.objects:Objects", "adopt", "before", 2, ["forgot", "removed"], id="computed"),
        pytest.param("lineage.run", "_commit", "before", 1, ["forgot"], id="stored, not yet committed"),
    ],
)
def test_a_crash_before_the_commit_is_forgotten(shop, starter, owner, name, when, nth, done):
    """What was not committed never was: no file, no version, and the run is on record as given up."""
    shop.run()
    before, lock = shop.contents(), shop.path("dvc.lock").read_text()
    current = shop.store.all_current()

    crash(shop, starter, owner, name, when, nth)
    lines = recover(shop.space)

    assert [line.split()[0] for line in lines] == done
    assert all("unfinished" in line for line in lines)
    assert (shop.contents(), shop.store.all_current()) == (before, current)
    assert shop.path("dvc.lock").read_text() == lock
    assert_nothing_is_left(shop)
    if "forgot" in done:
        (run,) = shop.query("select * from run order by started_at desc limit 1")
        events = shop.query(f"select event_type from event where run_id = '{run['run_id']}' order by event_id")
        assert (run["step"], run["state"], [event["event_type"] for event in events]) == (
            "shop.orders",
            "ABORT",
            ["START", "ABORT"],
        )
    assert "orders[2020-01]" in shop.run()


@pytest.mark.parametrize(
    ("owner", "name", "when", "nth"),
    [
        pytest.param("lineage.run", "_commit", "after", 1, id="committed"),
        # Synced before it: the stored raw file and the stored table, each with its folder.
        pytest.param("lineage.objects", "sync", "before", 5, id="copied, not yet in place"),
        pytest.param("lineage.objects:Objects", "place", "after", 1, id="in place"),
        pytest.param("lineage.dvc", "record_stage", "before", 1, id="dvc.lock not yet written"),
        pytest.param("lineage.dvc", "record_stage", "after", 1, id="dvc.lock written"),
    ],
)
def test_a_crash_after_the_commit_is_finished(shop, starter, owner, name, when, nth):
    """What was committed is there: the next start of any verb puts file and dvc.lock in place, and runs nothing."""
    shop.run()
    before = shop.current("orders", "2020-01")

    crash(shop, starter, owner, name, when, nth)
    assert_only_whole_files(shop, f"{when} {name}")
    ran = shop.cli("list", "--json")

    version = shop.current("orders", "2020-01")
    assert (ran.code, ran.err) == (0, "")
    assert version != before
    assert shop.contents()["data/tables/shop/orders/2020-01.parquet"] == version.sha256
    assert_nothing_is_left(shop)
    recorded_entry = stage(shop, "orders")
    assert "orders[2020-01]" not in shop.run()
    assert stage(shop, "orders") == recorded_entry


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_bundle_that_was_half_in_place_is_finished(shop, starter, nth):
    """A crash between the files of a bundle leaves each of them whole, and the next start places the rest."""
    shop.run()

    # Three tables are placed before the model, each with what says which rows it came from.
    tables = (shop.current("orders", "2020-01"), shop.current("features", "2020-01"), shop.current("totals"))
    before = sum(1 + len(origin_of(shop.store, version).lineage) for version in tables)
    crash(shop, starter, "lineage.objects:Objects", "place", "after", before + nth)
    assert_only_whole_files(shop, f"file {nth} of a bundle")
    lines = recover(shop.space)

    assert "put shop/late_t0 into place" in lines
    version = shop.current("late_t0")
    folder = "data/models/shop/late_t0"
    found = shop.contents(folder)
    assert found == {file.path: file.sha256 for file in version.files if file.path.startswith(folder)}
    assert shop.run() == set()
    assert_nothing_is_left(shop)


def test_a_live_run_is_left_alone(shop, starter):
    """A start in the middle of another's run neither gives it up nor removes its files."""
    shop.run()
    shop.order_again("2020-01")
    starter.begin(point=("lineage.objects:Objects", "adopt", "wait", 2))
    deadline = time.monotonic() + 30
    while not shop.path("waiting").exists() and time.monotonic() < deadline:
        time.sleep(0.01)

    lines = recover(shop.space)
    running = shop.query("select step from run where state = 'RUNNING'")
    shop.write("go", "")
    code, _ = starter.end()

    assert (lines, running, code) == ([], [{"step": "shop.orders"}], 0)
    assert "orders[2020-01]" not in shop.run()
    assert_nothing_is_left(shop)


def test_a_lost_object_stops_nobody(shop, starter):
    """A committed version whose bytes are gone again does not keep verbs from working; its step computes it anew."""
    shop.run()
    crash(shop, starter, "lineage.run", "_commit", "after")
    version = shop.current("orders", "2020-01")
    shop.object(version).unlink()

    (line,) = recover(shop.space)

    assert "could not put shop/orders[2020-01] into place" in line
    assert "data/tables/shop/orders/2020-01.parquet" in line
    assert shop.cli("list").code == 0
    assert "orders[2020-01]" in shop.run()
    assert shop.current("orders", "2020-01") == version
    assert_nothing_is_left(shop)


def test_a_conflict_in_the_lock_stops_only_runs(shop, starter):
    """A dvc.lock that cannot be read is named by the run that would write it; other verbs do not need it."""
    shop.run()
    crash(shop, starter, "lineage.dvc", "record_stage", "before")
    lock = shop.path("dvc.lock")
    text = lock.read_text()
    lock.write_text(f"<<<<<<< ours\n{text}=======\n")

    listed, refused = shop.cli("list"), shop.cli("run", "shop.orders")

    assert listed.code == 0
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "dvc.lock" in refused.err
    assert "git checkout" in refused.err
    lock.write_text(text)
    assert "orders[2020-01]" not in shop.run()
    assert_nothing_is_left(shop)
