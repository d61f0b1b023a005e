"""Old runs leave the answers, come back, or go for good; what draws the graph or something needs stays, always."""

import json
import threading
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from lineage import retention
from lineage.api import create_app
from lineage.ports import Ports
from lineage.projection import receive_events, record_event
from lineage.replay import replay
from lineage.retention import Counts, prune, purge, undo
from lineage.settings import Settings
from lineage.trace import Traces, to_json
from lineage.verify import verify
from serving.gate import promote
from serving.predict import Predictor

MODEL = "shop-late-t0"
TODAY = datetime(2024, 11, 1, 12, tzinfo=UTC)
DAYS = 40


def day(ago, seconds=0):
    """So many days ago."""
    return TODAY - timedelta(days=ago, seconds=-seconds)


def event(space, job, inputs=(), outputs=(), *, at, state="COMPLETE", run=None):
    """What a producer elsewhere sends."""
    return {
        "eventTime": at.isoformat(),
        "eventType": state,
        "producer": "https://example.org/test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": run or str(uuid.uuid4())},
        "job": {"namespace": space, "name": job},
        "inputs": [dataset(space, item) for item in inputs],
        "outputs": [dataset(space, item) for item in outputs],
    }


def dataset(space, name):
    """`t` or `t#version`."""
    name, _, version = name.partition("#")
    facets = {"version": {"datasetVersion": version}} if version else {}
    columns = {"id": {"inputFields": [{"namespace": space, "name": "raw", "field": "id"}]}}
    return {"namespace": space, "name": name, "facets": {**facets, "columnLineage": {"fields": columns}}}


@pytest.fixture(scope="module")
def shop(make_shop):
    """A project that was corrected once, with a model that answers and what it predicted before."""
    shop = make_shop("depot_prune", trainer="serving.fit:fit")
    shop.run()
    promote(shop.space, MODEL)
    return shop


@pytest.fixture(scope="module")
def predicted(shop):
    """A prediction on what was current before the correction, by a model that has no alias any more."""
    found = Predictor(shop.space).by_key(MODEL, ["2020-02-5"]).prediction_id
    shop.order_again("2020-02")
    shop.run()
    promote(shop.space, MODEL)
    return found


@pytest.fixture(scope="module")
def store(shop):
    return shop.store


@pytest.fixture(scope="module")
def client(shop, store):
    settings = Settings(shop.root, shop.root / ".headwater", pipelines=shop.package)
    with TestClient(create_app(settings, {})) as client:
        yield client


@pytest.fixture(autouse=True)
def unpruned(store):
    """Each test begins with everything there, but for what another purged, and as if nobody had."""
    yield
    undo(store)
    store._connection.execute("delete from pruning")


def get(client, path, status=200, **parameters):
    response = client.get(f"/api/v1{path}", params=parameters or None)
    assert response.status_code == status, response.text
    return response.json()


def send(store, bodies):
    with store.transaction():
        receive_events(store, bodies)
    return [body["run"]["runId"] for body in bodies]


def daily(store, space, job, inputs, outputs, days=DAYS):
    """A run a day, oldest first: START and COMPLETE; their ids."""
    runs = [str(uuid.uuid4()) for _ in range(days)]
    for number, run in enumerate(runs):
        told = partial(event, space, job, inputs, outputs, run=run)
        ago = days - number
        send(store, [told(at=day(ago), state="START"), told(at=day(ago, 60))])
    return runs


def runs_of(client, space, job):
    """Oldest first."""
    found = get(client, f"/namespaces/{quote(space, safe='')}/jobs/{job}/runs", limit=1000)
    assert found["totalCount"] == len(found["runs"])
    return [run["id"] for run in found["runs"]][::-1]


def graphs(client, space):
    """The graph of today, as bytes: of everything, around a dataset, and of its columns."""
    paths = ("/lineage", f"/lineage?nodeId=dataset:{space}:u", f"/column-lineage?nodeId=dataset:{space}:u")
    return [client.get(f"/api/v1{path}").content for path in paths]


def test_old_runs_leave_the_answers(client, store, space):
    """Runs, versions and events from before a time; today's graph is the same to the byte, and so are statistics."""
    runs = daily(store, space, "load", ["raw"], ["t"])
    readers = daily(store, space, "read", ["t"], ["u"])
    before, counted = graphs(client, space), get(client, "/stats/lineage-events", period="WEEK")

    done = prune(store, day(10, 61))

    # As of the time, the run of ten days ago spoke.
    assert runs_of(client, space, "load") == runs[-10:]
    assert runs_of(client, space, "read") == readers[-10:]
    assert len(get(client, f"/namespaces/{quote(space, safe='')}/datasets/t/versions")["versions"]) == 10
    events = get(client, f"/events/lineage/{quote(space, safe='')}", limit=1000)
    assert {item["run"]["runId"] for item in events["events"]} == {*runs[-10:], *readers[-10:]}
    assert events["totalCount"] == 40
    assert (done.pruned.runs, done.pruned.events) == (60, 120)
    assert done.reasons["newest of a job"] >= 2
    assert graphs(client, space) == before
    assert get(client, "/stats/lineage-events", period="WEEK") == counted
    assert "was pruned on" in get(client, f"/jobs/runs/{runs[0]}", status=404)["message"]
    get(client, "/lineage/runs", status=404, runId=runs[0])


def test_as_of_a_time_since_is_what_it_was(client, store, space):
    """Also where a job ran last long before; of a time before, nothing is told rather than something else."""
    daily(store, space, "load", ["raw#1"], ["t#1"])
    send(store, [event(space, "rare", ["t#1"], ["u"], at=day(35)), event(space, "rare", ["t#1"], ["v"], at=day(30))])
    send(store, [event(space, "rare", ["t#1"], ["w"], at=day(3))])
    times = [day(ago).isoformat() for ago in (20, 10, 2)]
    ask = partial(get, client, "/lineage", nodeId=f"dataset:{space}:t")
    asked = [ask(asOf=time) for time in times]
    diff = get(client, "/diff", **{"from": times[0], "to": times[2]}, nodeId=f"dataset:{space}:t")
    assert [len(answer["graph"]) for answer in asked] == [5, 5, 5]

    prune(store, day(20))

    assert [ask(asOf=time) for time in times] == asked
    assert get(client, "/diff", **{"from": times[0], "to": times[2]}, nodeId=f"dataset:{space}:t") == diff
    refused = ask(asOf=day(21).isoformat(), status=404)
    assert "was pruned" in refused["message"]
    assert day(20).isoformat() in refused["message"]
    purge(store, datetime.now(UTC))
    assert [ask(asOf=time) for time in times] == asked


def test_undo_brings_everything_back(client, store, space):
    """As it was, counts of events included; there is then nothing to purge."""
    daily(store, space, "load", ["raw"], ["t"])
    send(store, [event(space, "load", [], ["t"], at=day(50), state="FAIL")])
    ask = [
        f"/events/lineage/{quote(space, safe='')}?limit=1000",
        "/events/lineage?limit=1000",
        f"/events/lineage?limit=1000&before={quote(day(20, 30).isoformat())}",
        f"/namespaces/{quote(space, safe='')}/jobs/load/runs",
        f"/namespaces/{quote(space, safe='')}/datasets/t/versions",
        f"/lineage?nodeId=dataset:{space}:t&asOf={quote(day(30).isoformat())}",
    ]
    before = [get(client, path) for path in ask]
    done = prune(store, day(10))

    assert get(client, ask[1])["totalCount"] == before[1]["totalCount"] - done.pruned.events
    assert get(client, ask[2])["totalCount"] == len(get(client, ask[2])["events"])
    back = undo(store)

    assert back == done.pruned
    assert [get(client, path) for path in ask] == before
    assert undo(store) == purge(store, datetime.now(UTC)) == Counts()


def test_a_dry_run_says_the_same_and_does_nothing(client, store, space):
    runs = daily(store, space, "load", ["raw"], ["t"])

    said = prune(store, day(10), dry_run=True)

    assert runs_of(client, space, "load") == runs
    done = prune(store, day(10))
    assert (said.pruned.runs, said.pruned.declarations) == (done.pruned.runs, done.pruned.declarations)
    assert said.reasons == done.reasons
    assert sum(done.reasons.values()) == done.kept.runs


def test_pruning_twice_prunes_once(client, store, space):
    """And where nothing is pruned, the graph of any time is still told."""
    daily(store, space, "load", ["raw"], ["t"])
    done = prune(store, day(10))
    again = prune(store, day(10))

    assert again.pruned == Counts()
    assert (again.kept, again.reasons) == (done.kept, done.reasons)
    undo(store)
    assert prune(store, day(4_000)).pruned == Counts()
    get(client, "/lineage", nodeId=f"dataset:{space}:t", asOf=day(30).isoformat())


def test_runs_that_have_not_ended_stay(client, store, space):
    (running,) = send(store, [event(space, "load", [], ["t"], at=day(30), state="START")])
    daily(store, space, "load", ["raw"], ["t"], days=5)

    done = prune(store, day(1))

    assert running in runs_of(client, space, "load")
    assert done.reasons["not ended"] == 1


def test_what_was_newest_stays(client, store, space):
    """Of a job its newest run, though it failed; of a dataset its newest version, though its job writes another now."""
    old, kept, failed = send(
        store,
        [
            event(space, "load", [], ["was"], at=day(30)),
            event(space, "load", [], ["was"], at=day(29)),
            event(space, "load", [], ["was"], at=day(28), state="FAIL"),
        ],
    )
    (newest,) = send(store, [event(space, "load", ["raw"], ["is"], at=day(27))])
    (last,) = send(store, [event(space, "load", at=day(26), state="ABORT")])

    prune(store, day(0))

    assert runs_of(client, space, "load") == [kept, failed, newest, last]
    assert old not in runs_of(client, space, "load")
    versions = get(client, f"/namespaces/{quote(space, safe='')}/datasets/was/versions")["versions"]
    assert [version["createdByRun"]["id"] for version in versions] == [kept]


def test_which_version_was_read_is_told_or_not_known(client, store, space):
    """Never another one: of a run from before, the version that it read may have been pruned."""
    send(store, [event(space, "load", [], ["t"], at=day(30))])
    (reader,) = send(store, [event(space, "read", ["t"], ["u"], at=day(29))])
    (late,) = send(store, [event(space, "load", [], ["t"], at=day(28))])
    (early,) = send(store, [event(space, "load", [], ["t"], at=day(40), state="START")])
    (new,) = send(store, [event(space, "newer", ["t"], ["v"], at=day(2))])

    prune(store, day(10))

    def read(run):
        (found,) = get(client, "/runlineage/upstream", runId=run, depth=0)["runs"]
        return [item["version"] for item in found["inputs"] if item["name"] == "t"]

    written = get(client, f"/namespaces/{quote(space, safe='')}/datasets/t/versions")["versions"]
    assert [version["createdByRun"]["id"] for version in written] == [late]
    assert early in runs_of(client, space, "load")
    assert read(new) == [written[0]["version"]]
    assert read(reader) == [None]


def test_declarations_go_too(client, store, space):
    """What job events and dataset events said before: the newest of each stays, in the graph and among the events."""

    def declared(ago, version, output):
        # Finer than what Postgres keeps.
        time = day(ago).isoformat().replace("+", ".1234567+")
        head = {"eventTime": time, "producer": "https://example.org/test"}
        spec = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs"
        job = {"job": {"namespace": space, "name": "plan"}, "outputs": [dataset(space, output)]}
        return [
            {**head, "schemaURL": f"{spec}/JobEvent", **job},
            {**head, "schemaURL": f"{spec}/DatasetEvent", "dataset": dataset(space, f"said#{version}")},
        ]

    for ago in (30, 20, 10):
        with store.transaction():
            receive_events(store, declared(ago, f"v{ago}", "t"))
    (first,) = declared(40, "v40", "t")[1:]
    first["dataset"]["facets"]["ownership"] = {"owners": [{"name": "ada"}]}
    with store.transaction():
        receive_events(store, [first])
    before = graphs(client, space)

    done = prune(store, day(0))

    versions = get(client, f"/namespaces/{quote(space, safe='')}/datasets/said/versions")["versions"]
    assert [version["version"] for version in versions] == ["v10"]
    events = get(client, f"/events/lineage/{quote(space, safe='')}")["events"]
    # The first said who owns it, which still holds.
    assert sorted(events, key=str) == sorted([first, *declared(10, "v10", "t")], key=str)
    assert done.pruned.declarations >= 4
    assert graphs(client, space) == before


def test_an_event_sent_again_stays_pruned(client, store, space):
    """What is newer than all that was known of its run brings the run back, with its events at the next prune."""
    daily(store, space, "load", ["raw"], ["t"], days=5)
    known = event(space, "load", ["raw"], ["t"], at=day(30))
    (run,) = send(store, [known])
    prune(store, day(1, -1))
    assert run not in runs_of(client, space, "load")

    send(store, [known, {**known, "eventTime": day(31).isoformat(), "eventType": "START"}])
    assert run not in runs_of(client, space, "load")

    send(store, [{**known, "eventTime": day(0).isoformat(), "eventType": "OTHER"}])
    assert run in runs_of(client, space, "load")
    prune(store, day(1, -1))
    events = get(client, f"/events/lineage/{quote(space, safe='')}", limit=1000)["events"]
    assert sum(item["run"]["runId"] == run for item in events) == 3


def test_what_is_to_be_sent_stays(client, store, space):
    """Until it is sent."""
    unsent = event(space, "load", [], ["t"], at=day(30))
    with store.transaction():
        record_event(store, unsent, relay=True)
    daily(store, space, "load", ["raw"], ["t"], days=5)

    done = prune(store, day(1))
    assert done.reasons["waiting to be sent"] == 1
    assert unsent["run"]["runId"] in runs_of(client, space, "load")
    purge(store, datetime.now(UTC))
    (queued,) = [row for row in store.rows("relay_queue", limit=1000) if row["body"] == unsent]

    store.run("delete_relay", event_id=queued["event_id"])
    prune(store, day(1))
    assert unsent["run"]["runId"] not in runs_of(client, space, "load")


def test_purging_removes_for_good(client, store, space):
    """Only what was pruned by then; the graph stays, and nothing of it comes back but by being sent again."""
    runs = daily(store, space, "load", ["raw"], ["t"])
    first = event(space, "load", ["raw"], ["t"], at=day(60))
    send(store, [first])
    before = graphs(client, space)
    prune(store, day(10))
    pruned = runs_of(client, space, "load")

    assert purge(store, datetime.now(UTC) - timedelta(days=30)) == Counts()
    gone = purge(store, datetime.now(UTC))

    assert gone.runs >= DAYS + 1 - len(pruned)
    assert undo(store) == Counts()
    assert runs_of(client, space, "load") == pruned == runs[-len(pruned) :]
    assert graphs(client, space) == before
    assert "There is no run" in get(client, f"/jobs/runs/{runs[0]}", status=404)["message"]
    bodies = store._connection.execute("select count(*) as n from event where body #>> '{job,namespace}' = %s", [space])
    assert bodies.fetchone()["n"] == 2 * len(pruned)
    send(store, [first])
    assert first["run"]["runId"] in runs_of(client, space, "load")
    prune(store, day(10))
    assert runs_of(client, space, "load") == pruned


def test_what_is_needed_by_now_is_not_purged(client, store, space):
    """An event that came since lets a pruned run speak for its job: it comes back instead."""
    run = str(uuid.uuid4())
    told = partial(event, space, "load", ["raw"], run=run)
    send(store, [told(["t"], at=day(20), state="FAIL"), event(space, "load", ["raw"], ["u"], at=day(30))])
    send(store, [event(space, "load", [], [], at=day(19)), event(space, "w", [], ["t"], at=day(15))])
    prune(store, day(10))
    assert run not in runs_of(client, space, "load")
    send(store, [told([], at=day(21))])
    before = graphs(client, space)

    purge(store, datetime.now(UTC))

    assert run in runs_of(client, space, "load")
    assert graphs(client, space) == before


def _prune_and_purge(store):
    prune(store, day(10))
    purge(store, datetime.now(UTC))
    prune(store, day(9))


@pytest.mark.parametrize("ended_at", ["mark_runs", "mark_events", "settle_events", "purge_runs"])
def test_what_was_cut_off_is_finished(client, store, space, monkeypatch, ended_at):
    """A prune or purge that ends at any batch leaves what the next one finishes, and undo undoes."""
    runs = daily(store, space, "load", ["raw"], ["t"])
    before = graphs(client, space)
    monkeypatch.setattr(retention, "_ROWS", 7)
    rows, row, seen = type(store).rows, type(store).row, []

    def cut(real, self, query, /, **parameters):
        seen.append(query)
        if seen.count(ended_at) > 2:
            raise ConnectionError("cut off")
        return real(self, query, **parameters)

    with monkeypatch.context() as patched:
        patched.setattr(type(store), "rows", lambda *args, **more: cut(rows, *args, **more))
        patched.setattr(type(store), "row", lambda *args, **more: cut(row, *args, **more))
        with pytest.raises(ConnectionError):
            _prune_and_purge(store)
    assert graphs(client, space) == before

    if ended_at.startswith("mark"):
        undo(store)
        assert runs_of(client, space, "load") == runs
    prune(store, day(10))
    purge(store, datetime.now(UTC))
    assert runs_of(client, space, "load") == runs[-11:]
    left = store._connection.execute("select count(*) as n from event where pruned_at is not null")
    assert left.fetchone()["n"] == 0
    assert graphs(client, space) == before


def test_events_come_in_meanwhile(client, store, space, monkeypatch):
    """Others send, old and new, while this one prunes and purges: nothing that was acknowledged and is new is lost."""
    monkeypatch.setattr(retention, "_ROWS", 5)
    daily(store, space, "load", ["raw"], ["t"])
    stop, sent, failures = threading.Event(), [], []

    def produce(number):
        for count in range(1_000):
            bodies = [
                event(space, f"more{number}", ["t"], [f"u{number}"], at=day(30, count)),
                event(space, f"more{number}", ["t"], [f"u{number}"], at=day(-1, count)),
            ]
            response = client.post("/api/v1/lineage/batch", json=bodies)
            if response.status_code != 200:
                failures.append(response.text)
            sent.append(bodies[1]["run"]["runId"])
            if stop.is_set():
                return

    threads = [threading.Thread(target=produce, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            prune(store, day(10))
            purge(store, datetime.now(UTC))
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert failures == []
    found = {run for number in range(3) for run in runs_of(client, space, f"more{number}")}
    assert found >= {*sent}
    assert len(get(client, "/lineage", nodeId=f"job:{space}:more0")["graph"]) >= 3


def test_a_prediction_still_traces_replays_and_verifies(client, shop, store, predicted, space):
    """Also by feature, after everything that may go has gone for good."""
    runs = daily(store, space, "load", ["raw"], ["t"], days=5)

    def traced():
        found = (Traces(shop.space).prediction(predicted, feature=name) for name in (None, "cents"))
        return [json.loads(to_json(answer)) for answer in found]

    before = traced()
    graph = graphs(client, space)

    done = prune(store, datetime.now(UTC))
    purge(store, datetime.now(UTC))

    assert done.reasons["predictions"] > 0
    assert done.reasons["current versions"] > 0
    assert traced() == before
    assert [answer["complete"] for answer in before] == [True, True]
    assert replay(shop.space, predicted, Ports())["identical"]
    assert verify(shop.space).damaged == ()
    assert runs_of(client, space, "load") == runs[-1:]
    assert graphs(client, space) == graph


def test_verb(shop, headwater, store, space):
    """Counts and reasons, as text and JSON; what is no age is told which forms there are."""
    daily(store, space, "load", ["raw"], ["t"])

    code, out, _ = headwater("lineage", "prune", "--older-than", day(10).isoformat(), "--dry-run")
    assert code == 0
    would = int(out.removeprefix("would prune ").partition(" ")[0].replace(",", ""))
    code, out, _ = headwater("lineage", "prune", "--older-than", day(10).isoformat(), "--json")
    told = json.loads(out)
    assert (code, told["dry_run"]) == (0, False)
    assert told["pruned"]["runs"] == would >= DAYS - 11
    assert sum(told["kept"]["reasons"].values()) == told["kept"]["runs"]
    code, out, _ = headwater("lineage", "prune", "--undo", "--json")
    assert (code, json.loads(out)) == (0, told["pruned"])
    assert headwater("lineage", "prune", "--purge", "30d")[:2] == (
        0,
        "removed for good: 0 runs, 0 declarations and 0 events.\n",
    )
    for wrong in ("90", "d", "9 days", "2100-01-01T00:00:00Z", f"{'9' * 30}d", "2026-01-01"):
        code, _, err = headwater("lineage", "prune", "--older-than", wrong)
        assert code == 2
        assert "90d" in err, wrong
    assert headwater("lineage", "prune", "--undo", "--dry-run")[0] == 2
    assert headwater("lineage", "prune")[0] == 2
