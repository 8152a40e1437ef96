"""A server that is busy, broken, or not there: asked again, told in one line, or done without. A real HTTP server."""

import json
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from flows.engine.record import new_run
from flows.orchestration.prefect_states import states_of
from flows.schedules.schedule import next_runs
from flows.server import client as room
from flows.server import server
from flows.server.client import api
from loco.errors import ServerError


@contextmanager
def serving(home, *answers):
    """A home whose server is healthy and gives these answers in turn, the last for ever; yields what it is sent."""
    left, sent = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(200, {})

        def do_POST(self):
            sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer(*(left.pop(0) if len(left) > 1 else left[0]))

        def answer(self, status, body):
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
        thread.start()
        url = f"http://127.0.0.1:{listening.server_address[1]}/api"
        mine = {"pid": os.getpid(), "url": url, "started_at": "2026-11-20T10:00:00", "healthy": True}
        home.prefect.mkdir(parents=True)
        born = psutil.Process().create_time()
        server._file(home).write_text(json.dumps(mine | {"born": born}))
        try:
            yield sent
        finally:
            listening.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(room, "PAUSES", (0.01, 0.01, 0.01))


def test_a_busy_server_is_asked_again_with_the_same_words(home):
    with serving(home, (503, {}), (429, {}), (200, {"it": "is done"})) as sent, api(home) as asked:
        assert asked.post("/things", json={"one": 1}).json() == {"it": "is done"}
    assert sent == [{"one": 1}] * 3


@pytest.mark.parametrize(("status", "times"), [(503, 4), (500, 1)])
def test_one_that_stays_busy_or_breaks_is_told_in_one_line(home, status, times):
    told = rf"^the Prefect server does not do its part: .*{status}.*; run the same command again"
    with serving(home, (status, {})) as sent:
        with pytest.raises(ServerError, match=told), api(home) as asked:
            asked.post("/things", json={}).raise_for_status()
        assert len(sent) == times


def test_what_only_adds_to_a_list_does_without(home):
    run = new_run("discover", {}, 1)
    run.provenance["flow_run"] = "7"
    with serving(home, (500, {})):
        assert states_of(home, [run]) == {}
        assert next_runs(home) == {}


def test_no_server_is_no_error(home):
    with api(home) as asked:
        assert asked is None
