"""What a sender was told is kept, is kept: whatever dies, and whenever."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid

import httpx
import pytest

from lineage.server.cluster import open_cluster
from lineage.settings import Settings
from lineage.store import Store

SENDERS = 8
PATIENCE_SECONDS = 60
SERVE = """
import sys
from pathlib import Path
import uvicorn
from lineage.api import create_app
from lineage.settings import Settings
home = Path(sys.argv[1])
uvicorn.run(create_app(Settings(root=home, home=home), {}), port=int(sys.argv[2]), log_level="error")
"""


@pytest.fixture
def service(tmp_path):
    """A lineage service in a process of its own, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(tmp_path), str(port)])
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + PATIENCE_SECONDS
        while not well(url):
            assert process.poll() is None
            assert time.monotonic() < end, "the service did not start"
            time.sleep(0.1)
        yield process, url
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)


def well(url):
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


class Senders:
    """Threads that send events, singly and in batches, until the service is gone; and what they were told is kept."""

    def __init__(self, url):
        self.url, self.acknowledged, self._lock = url, set(), threading.Lock()
        self._threads = [threading.Thread(target=self._send, args=(number % 2 == 0,)) for number in range(SENDERS)]

    def start(self):
        for thread in self._threads:
            thread.start()

    def join(self):
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()

    def _send(self, singly):
        with httpx.Client(base_url=self.url, timeout=PATIENCE_SECONDS) as client:
            while True:
                events = [event() for _ in range(1 if singly else 20)]
                try:
                    path, body = ("", events[0]) if singly else ("/batch", events)
                    answer = client.post(f"/api/v1/lineage{path}", json=body)
                except httpx.HTTPError:
                    return
                # A database that has just died is told as such, and what was sent then is not kept.
                if answer.is_success:
                    with self._lock:
                        self.acknowledged |= {item["run"]["runId"] for item in events}


def event():
    return {
        "eventTime": "2013-03-01T12:00:00Z",
        "eventType": "COMPLETE",
        "producer": "https://example.org/test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": str(uuid.uuid4())},
        "job": {"namespace": "acknowledged", "name": "load"},
        "outputs": [{"namespace": "acknowledged", "name": "table"}],
    }


@pytest.mark.parametrize("database_too", [False, True], ids=["service", "service and database"])
def test_what_was_acknowledged_survives_kill_9(service, tmp_path, database_too):
    """Events and what was drawn of them."""
    process, url = service
    senders = Senders(url)
    senders.start()
    end = time.monotonic() + PATIENCE_SECONDS
    while len(senders.acknowledged) < 300:
        assert time.monotonic() < end, "nothing was acknowledged"
        time.sleep(0.01)

    if database_too:
        data = open_cluster(tmp_path / "postgres", None).data
        os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    process.kill()
    process.wait(PATIENCE_SECONDS)
    senders.join()

    with Store(Settings(root=tmp_path, home=tmp_path)) as store:
        events = store.rows("events", after=None, before=None, limit=1_000_000, offset=0)
        drawn = store.rows("runs", ids=[*senders.acknowledged])
    assert senders.acknowledged <= {row["body"]["run"]["runId"] for row in events}
    assert senders.acknowledged == {str(row["run_id"]) for row in drawn}
