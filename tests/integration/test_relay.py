"""The relay: recorded events reach another backend, in order and all of them, whatever that backend does."""

import json
import socket
import threading
import time
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
import pytest
from fastapi.testclient import TestClient

from lineage.api import create_app
from lineage.errors import SettingsError
from lineage.projection import record_event
from lineage.relay import Relay, Relayed, relay_once
from lineage.settings import Settings
from lineage.store import Store

KEY = "k3y-that-nobody-may-read"
PATIENCE_SECONDS = 20


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    home = tmp_path_factory.mktemp("relay")
    return Settings(root=home, home=home)


@pytest.fixture(scope="module")
def store(settings):
    with Store(settings) as store:
        yield store


@pytest.fixture(autouse=True)
def _empty_queue(store):
    yield
    sql(store, "delete from relay")


class Backend(ThreadingHTTPServer):
    """Answers on loopback what `status` says for a job's name, and remembers what it accepted."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.jobs, self.headers, self.paths, self.connections = [], [], [], 0
        self.status = lambda _: 201
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """One connection to the Backend."""

    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.server.connections += 1

    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        job = event["job"]["name"]
        self.server.paths.append(self.path)
        self.server.headers.append(dict(self.headers))
        status = self.server.status(job)
        if status < 300:
            self.server.jobs.append(job)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def backend():
    backend = Backend()
    thread = threading.Thread(target=backend.serve_forever, args=(0.05,))
    thread.start()
    yield backend
    backend.shutdown()
    backend.server_close()
    thread.join()


@contextmanager
def closed_port():
    """A URL where nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def sql(store, text):
    with psycopg.connect(store.attachment.owner_url, autocommit=True) as owner:
        cursor = owner.execute(text)
        return cursor.fetchall() if cursor.description else []


def record(store, *jobs):
    for job in jobs:
        with store.transaction():
            record_event(store, body(job), relay=True)


def body(job):
    return {
        "eventTime": "2013-03-01T12:00:00Z",
        "eventType": "COMPLETE",
        "producer": "https://example.org/test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": str(uuid.uuid4())},
        "job": {"namespace": "relay", "name": job},
    }


def let_time_pass(store):
    """As if every wait were over."""
    sql(store, "update relay set next_attempt_at = now() where last_error not like 'refused: %'")


def backlog(store):
    return store.row("relay_backlog")["count"]


def wait_until(condition):
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_events_arrive_in_order(store, backend):
    """What was recorded is delivered in its order, over one connection, and is then forgotten."""
    record(store, "a", "b", "c")

    assert Relayed(3, 0) == relay_once(store, backend.url)

    assert (["a", "b", "c"], 1, 0) == (backend.jobs, backend.connections, backlog(store))


def test_limit_bounds_a_round(store, backend):
    """A round sends no more than it may; the next goes on where it stopped."""
    record(store, "a", "b", "c")

    assert [2, 1, 0] == [relay_once(store, backend.url, limit=2).sent for _ in range(3)]


def test_dead_backend_loses_nothing(store, backend):
    """While nobody answers, everything waits; afterwards all arrives, in order, new events behind the old."""
    record(store, "a", "b")
    with closed_port() as url:
        assert Relayed(0, 1) == relay_once(store, url)
        record(store, "c")
        assert Relayed(0, 0) == relay_once(store, url)
    assert Relayed(0, 0) == relay_once(store, backend.url)

    let_time_pass(store)

    assert Relayed(3, 0) == relay_once(store, backend.url)
    assert ["a", "b", "c"] == backend.jobs


@pytest.mark.parametrize("status", [301, 401, 404, 408, 429, 500, 503])
def test_backend_that_is_not_well_is_waited_for(store, backend, status):
    """An answer about the moment, the address or the key holds the queue; nothing overtakes."""
    record(store, "a", "b")
    backend.status = lambda _: status

    assert Relayed(0, 1) == relay_once(store, backend.url)

    backend.status = lambda _: 200
    let_time_pass(store)
    relay_once(store, backend.url)
    assert ["a", "b"] == backend.jobs


def test_waits_grow(store):
    """Each failure doubles the wait, up to five minutes."""
    record(store, "a")
    waits = []
    with closed_port() as url:
        for _ in range(11):
            relay_once(store, url)
            waits += sql(store, "select extract(epoch from next_attempt_at - now())::float from relay")
            let_time_pass(store)

    assert [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] == [round(wait) for (wait,) in waits]


def test_refused_event_is_kept_and_passed(store, backend):
    """An event that the backend will never accept is kept with its reason, and those behind it go on."""
    record(store, "a", "bad", "c")
    backend.status = lambda job: 422 if job == "bad" else 201

    assert Relayed(2, 1) == relay_once(store, backend.url)

    assert ["a", "c"] == backend.jobs
    assert [("refused: HTTP 422", True)] == sql(
        store, "select last_error, next_attempt_at > now() + interval '23 hours' from relay"
    )


def test_event_that_breaks_the_backend_is_passed(store, backend):
    """A backend that fails on one event again and again gets the others in the end."""
    record(store, "bad", "b")
    sql(store, "update relay set attempts = 12")
    backend.status = lambda job: 500 if job == "bad" else 201

    relay_once(store, backend.url)

    assert ["b"] == backend.jobs


def test_slow_backend_is_not_waited_for(store):
    """A backend that accepts and says nothing costs its timeout, not more."""
    record(store, "a", "b")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        done = relay_once(store, f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.2)

    assert Relayed(0, 1) == done
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("suffix", "path"),
    [
        ("", "/api/v1/lineage"),
        ("/", "/api/v1/lineage"),
        ("/base", "/base/api/v1/lineage"),
        ("/own/lineage", "/own/lineage"),
        ("/api/v1/lineage?x=1", "/api/v1/lineage?x=1"),
    ],
)
def test_address(store, backend, suffix, path):
    """A base URL gets the standard path; one that names its own endpoint is used as it is."""
    record(store, "a")

    relay_once(store, backend.url + suffix)

    assert [path] == backend.paths


def test_api_key_is_sent_and_never_told(store, backend):
    """The key travels as a bearer token, and stands in no error."""
    record(store, "a")
    backend.status = lambda _: 403

    relay_once(store, backend.url, api_key=KEY)
    let_time_pass(store)
    with closed_port() as url:
        relay_once(store, url, api_key=KEY)

    assert f"Bearer {KEY}" == backend.headers[0]["Authorization"]
    assert KEY not in str(sql(store, "select * from relay"))
    with pytest.raises(SettingsError) as caught:
        relay_once(store, backend.url, api_key=f"{KEY}\n")
    assert KEY not in str(caught.value)


def test_recording_opens_no_connection(store, backend, monkeypatch):
    """Queueing an event for the backend does not speak to it: a run never waits for the network."""

    def refuse(*_):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)

    record(store, "a")

    assert (0, 1) == (backend.connections, backlog(store))


def test_no_transaction_is_open_while_sending(store, settings, backend):
    """While the backend takes its time, the relay's connection holds no transaction, and a second relay waits."""
    record(store, "a", "b")
    seen = []

    def look(job):
        seen.extend(sql(store, "select count(*) from pg_stat_activity where state like 'idle in transaction%'"))
        with Store(settings) as other:
            seen.append(relay_once(other, backend.url))
        return 201

    backend.status = look
    relay_once(store, backend.url)

    assert [(0,), Relayed(0, 0)] * 2 == seen


def test_relay_delivers_in_the_background(settings, store, backend, caplog):
    """The service's relay delivers what runs record, goes on after the backend was away, and stops when told."""
    away = threading.Event()
    away.set()
    backend.status = lambda _: 503 if away.is_set() else 201
    relay = Relay(settings, backend.url, api_key=KEY, pause_seconds=0.02)
    relay.start()

    record(store, "a", "b")
    wait_until(lambda: backend.paths)
    away.clear()
    wait_until(lambda: backend.jobs == ["a", "b"])
    relay.stop()

    record(store, "late")
    assert ["a", "b"] == backend.jobs
    assert 2 == sum("OPENLINEAGE_URL" in line for line in caplog.messages)
    assert KEY not in caplog.text


def test_service_relays_while_it_is_up(settings, store, backend):
    """The lineage service runs the relay; events that were posted to it are not sent on."""
    record(store, "ours")
    service = Settings(root=settings.root, home=settings.home, openlineage_url=backend.url)
    with TestClient(create_app(service, {"OPENLINEAGE_API_KEY": KEY})) as client:
        assert 201 == client.post("/api/v1/lineage", json=body("theirs")).status_code
        wait_until(lambda: backend.jobs)

    assert (["ours"], 0) == (backend.jobs, backlog(store))
    assert f"Bearer {KEY}" == backend.headers[0]["Authorization"]


@pytest.mark.parametrize("url", ["", "localhost:5000", "ftp://host", "http://", "http://host:port", "u:s3cret@host"])
def test_malformed_address_is_refused(store, url):
    """An address that is none is refused by the setting's name, and not quoted: a password may be in it."""
    with pytest.raises(SettingsError, match="OPENLINEAGE_URL") as caught:
        relay_once(store, url)

    assert "s3cret" not in str(caught.value)
