"""Group commit on a real Postgres: who waits for what, and whose fault costs whom what."""

import threading

import pytest

from lineage.errors import DatabaseError
from lineage.projection import receive_events
from lineage.service.pool import StorePool
from lineage.service.writer import EventWriter
from lineage.settings import Settings

SECONDS = 30


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    home = tmp_path_factory.mktemp("writer")
    pool = StorePool(Settings(root=home, home=home))
    yield pool
    pool.close()


def event(job, second=0):
    return {
        "eventTime": f"2013-03-01T12:00:{second:02d}Z",
        "job": {"namespace": "writer", "name": job},
        "inputs": [],
        "outputs": [],
    }


def kept(pool, job):
    """How many events of a job are on record."""
    query = "select count(*) as n from event where body#>>'{job,name}' = %s"
    return pool.use(lambda store: store._connection.execute(query, (job,)).fetchone()["n"])


class Slow:
    """Keeps events; the first time only when it may, and some not at all."""

    def __init__(self):
        self.may, self.groups = threading.Event(), []

    def __call__(self, store, events):
        self.may.wait(SECONDS)
        self.groups.append([item["job"]["name"] for item in events])
        if any(item["job"]["name"] == "broken" for item in events):
            raise ValueError("broken")
        receive_events(store, events)


def test_what_waits_is_committed_together(pool):
    """Each sender hears of it when it is durable, not before."""
    keep = Slow()
    writer = EventWriter(pool, keep)

    first, *rest = (writer.send([event("together", second)]) for second in range(5))
    assert not any(item.done() for item in (first, *rest))
    keep.may.set()

    assert [item.result(SECONDS) for item in (first, *rest)] == [None] * 5
    assert [len(group) for group in keep.groups] in ([1, 4], [2, 3], [3, 2], [4, 1], [5])
    assert kept(pool, "together") == 5
    writer.close()


def test_one_senders_fault_costs_no_other(pool):
    """The broken one alone is told, and none of its events are kept."""
    keep = Slow()
    writer = EventWriter(pool, keep)

    opening = writer.send([event("opening")])
    good, bad, more = (
        writer.send(events) for events in ([event("good")], [event("half"), event("broken")], [event("more")])
    )
    keep.may.set()

    assert [item.result(SECONDS) for item in (opening, good, more)] == [None] * 3
    assert str(bad.exception(SECONDS)) == "broken"
    assert [kept(pool, job) for job in ("good", "half", "broken", "more")] == [1, 0, 0, 1]
    writer.close()


def test_closing_keeps_what_was_sent(pool):
    """Also what still waits."""
    keep = Slow()
    writer = EventWriter(pool, keep)
    sent = [writer.send([event("closing", second)]) for second in range(3)]

    keep.may.set()
    writer.close()

    assert all(item.done() for item in sent)
    assert kept(pool, "closing") == 3


def test_without_a_database_every_sender_hears_so(tmp_path):
    """Nobody waits for ever."""
    away = StorePool(Settings(root=tmp_path, home=tmp_path, database_url="postgresql://u@127.0.0.1:1/x"))
    writer = EventWriter(away, receive_events)

    failed = [writer.send([event("away")]).exception(SECONDS) for _ in range(3)]

    assert [type(error) for error in failed] == [DatabaseError] * 3
    writer.close()
