"""Sending history once more: to another lineage service, to one without batches, to one that is away for a while."""

import json
import threading
import uuid
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fastapi.testclient import TestClient

from lineage.api import create_app
from lineage.backend import Backend
from lineage.errors import HeadwaterError
from lineage.projection import receive_events
from lineage.resend import ResendError, Wanted, resend
from lineage.settings import Settings
from lineage.store import Store
from orchestration.cli import main

COUNT = 25


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    home = tmp_path_factory.mktemp("resend")
    (home / "pyproject.toml").write_text("")
    return Settings(root=home, home=home)


@pytest.fixture(scope="module")
def store(settings):
    """A store with events of two namespaces, a minute apart, sent in no order."""
    with Store(settings) as store:
        events = [event(number) for number in range(COUNT)]
        with store.transaction():
            receive_events(store, events[::2] + events[1::2])
        yield store


def event(number):
    return {
        "eventTime": (datetime(2013, 3, 1, tzinfo=UTC) + timedelta(minutes=number)).isoformat(),
        "eventType": "COMPLETE",
        "producer": "https://example.org/test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": str(uuid.UUID(int=number))},
        "job": {"namespace": "even" if number % 2 == 0 else "odd", "name": f"job{number}"},
        "inputs": [{"namespace": "data", "name": f"table{number}"}],
        "outputs": [{"namespace": "data", "name": f"table{number + 1}"}],
    }


class Server(ThreadingHTTPServer):
    """Takes events on loopback as `answer` says; remembers the jobs of those taken, in order."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.jobs, self.requests, self.batches = [], 0, True
        self.answer = lambda job: 201
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests += 1
        if self.path.endswith("/batch"):
            self._take_batch(sent)
        else:
            status = self.server.answer(sent["job"]["name"])
            self.server.jobs += [sent["job"]["name"]] if status < 300 else []
            self._say(status)

    def _take_batch(self, events):
        if not self.server.batches:
            self._say(404)
            return
        answers = [self.server.answer(item["job"]["name"]) for item in events]
        if any(status >= 500 for status in answers):
            self._say(503, **{"Retry-After": "7"})
            return
        self.server.jobs += [item["job"]["name"] for item, status in zip(events, answers, strict=True) if status < 300]
        failed = [
            {"index": index, "reason": "no", "retriable": False} for index, status in enumerate(answers) if status > 300
        ]
        self._say(200, json.dumps({"failed_events": failed}).encode())

    def _say(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def send(store, server, batch=10, waits=None, **wanted):
    """All steps of sending; waiting takes no time."""
    with Backend(server.url, 5, None) as backend:
        sleep = (lambda seconds: None) if waits is None else waits.append
        return [*resend(store, backend, Wanted(**wanted), batch=batch, sleep=sleep)]


def names(numbers):
    return [f"job{number}" for number in numbers]


@pytest.mark.parametrize("batches", [True, False])
@pytest.mark.parametrize("batch", [1, 10])
def test_all_arrive_oldest_first(store, server, batch, batches):
    server.batches = batches

    steps = send(store, server, batch=batch)

    assert server.jobs == names(range(COUNT))
    assert (steps[-1].sent, steps[-1].refused) == (COUNT, 0)
    # A backend without batches is asked for one only once.
    assert server.requests == (3 if batches and batch == 10 else COUNT + (batch == 10))


def test_part_of_history(store, server):
    send(
        store,
        server,
        since=datetime(2013, 3, 1, 0, 2, tzinfo=UTC),
        until=datetime(2013, 3, 1, 0, 9, tzinfo=UTC),
        namespace="even",
    )

    assert server.jobs == names([2, 4, 6, 8])


@pytest.mark.parametrize("batches", [True, False])
def test_backend_that_is_away_for_a_while(store, server, batches):
    server.batches, waits, refusals = batches, [], iter([503, 503])
    server.answer = lambda job: next(refusals, 201) if job == "job3" else 201

    send(store, server, waits=waits)

    assert server.jobs == names(range(COUNT))
    # It is asked less often the longer it is away, and as it says itself.
    assert waits == ([7.0, 7.0] if batches else [0.5, 1])


@pytest.mark.parametrize("batches", [True, False])
def test_what_is_refused_for_good_stops_nothing(store, server, batches):
    server.batches = batches
    server.answer = lambda job: 400 if job in ("job3", "job20") else 201

    steps = send(store, server)

    assert server.jobs == names(number for number in range(COUNT) if number not in (3, 20))
    assert (steps[-1].sent, steps[-1].refused) == (COUNT - 2, 2)
    assert [event["job"]["name"] for step in steps for event, _ in step.refusals] == ["job3", "job20"]


def test_sending_goes_on_where_it_ended(store, server):
    server.answer = lambda job: 503 if job == "job12" else 201
    with pytest.raises(ResendError, match="took 10 events") as caught:
        send(store, server)

    server.answer = lambda job: 201
    send(store, server, after=caught.value.done.place)

    assert server.jobs == names(range(COUNT))
    assert caught.value.done.place in str(caught.value)
    with pytest.raises(HeadwaterError, match="no place"):
        send(store, server, after="yesterday")


def test_wrong_key_is_said_at_once(store, server):
    """Waiting would not make it right."""
    server.answer, waits = lambda job: 401, []
    server.batches = False

    with pytest.raises(ResendError, match="HTTP 401"):
        send(store, server, waits=waits)

    assert (server.jobs, waits) == ([], [])


def test_another_lineage_service_has_the_same_graph_then(store, tmp_path, monkeypatch, capsys):
    """Sent twice, over its real doors: the same nodes, edges and events."""
    with TestClient(create_app(Settings(root=tmp_path, home=tmp_path), {})) as client:

        def post(self, path, value):
            from lineage.backend import _Answer

            response = client.post(path, json=value)
            return _Answer(response.status_code, response.content, None)

        monkeypatch.setattr(Backend, "_post", post)
        for _ in range(2):
            with Backend("http://127.0.0.1:1", 1, None) as backend:
                assert [*resend(store, backend, Wanted())][-1].sent == COUNT
        graph = client.get("/api/v1/lineage").json()["graph"]
        events = client.get("/api/v1/events/lineage").json()

    assert len(graph) == COUNT + COUNT + 1
    assert sum(len(node["outEdges"]) for node in graph) == 2 * COUNT
    assert events["totalCount"] == COUNT
    assert events["events"][0] == event(COUNT - 1)


def test_verb(settings, store, server, monkeypatch, capsys):
    monkeypatch.setattr("orchestration.cli.read_settings", lambda: settings)
    server.answer = lambda job: 400 if job == "job4" else 201

    code = main(["lineage", "replay", "--to", server.url, "--namespace", "even", "--json"])

    told = capsys.readouterr()
    assert code == 1
    assert json.loads(told.out)["sent"] == len(server.jobs) == 12
    assert "even:job4" in told.err
    assert main(["lineage", "replay", "--to", "nowhere"]) == 1
    assert "--to is not an HTTP URL" in capsys.readouterr().err
    for wrong in (["--since", "yesterday"], ["--batch", "many"], []):
        with pytest.raises(SystemExit) as caught:
            main(["lineage", "replay", *(["--to", server.url] if wrong else []), *wrong])
        assert caught.value.code == 2
