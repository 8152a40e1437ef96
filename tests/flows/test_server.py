"""The home's own Prefect server: one for all, stopped when asked, replaced when it died, never somebody else's."""

import contextlib
import json
import socket
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import psutil
import pytest

from flows.server import alone, server
from flows.server.alone import environment
from loco.errors import ServerError, StorageError
from tests.flows.helpers import wait_for


@pytest.fixture
def sleeper():
    """A process that is none of ours."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a shell script in the place of the interpreter that runs the server."""

    def put(text):
        file = tmp_path / "python"
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(file))

    return put


def saved(home):
    return json.loads((home.prefect / "server.json").read_text())


def test_started_used_again_and_replaced_after_a_kill(world):
    url = server.ensure_server(world.home)
    state = server.server_status(world.home)
    assert state == replace(state, url=url, healthy=True)
    assert server.ensure_server(world.home) == url
    server.begin_server(world.home)
    assert server.server_status(world.home) == state
    [status] = world.loco("server", "status", "--json").json
    assert (status["running"], status["pid"], status["url"]) == (True, state.pid, url)
    assert world.loco("server", "start").out == f"url  {url}\n"
    process = psutil.Process(state.pid)
    family = [process, *process.children(recursive=True)]
    process.kill()
    psutil.wait_procs(family, timeout=10)
    assert server.server_status(world.home) is None
    new = server.ensure_server(world.home)
    fresh = server.server_status(world.home)
    assert (fresh.url, fresh.healthy) == (new, True)
    assert fresh.pid != state.pid
    assert not any(one.is_running() for one in family)


def test_it_keeps_to_its_home_and_sends_nothing(world):
    server.ensure_server(world.home)
    process = psutil.Process(server.server_status(world.home).pid)
    variables = {key: value for key, value in process.environ().items() if "PREFECT" in key or "TRACK" in key}
    expected = environment(world.home)
    assert expected.items() <= variables.items()
    assert expected["DO_NOT_TRACK"] == "1"
    assert expected["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert expected["PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY"] == "false"
    assert {"PREFECT_API_URL", "PREFECT_API_KEY"}.isdisjoint(variables)
    assert process.cwd() == str(world.home.prefect)
    pages = server.server_status(world.home).url.removesuffix("/api")
    assert httpx.get(f"{pages}/ui-settings", trust_env=False).json()["api_url"] == "/api"  # not port 4200's
    addresses = {one.laddr.ip for one in process.net_connections() if one.status == psutil.CONN_LISTEN}
    assert addresses == {"127.0.0.1"}
    away = {one.raddr.ip for one in process.net_connections() if one.raddr}
    assert away <= {"127.0.0.1"}


def test_none_runs(home):
    assert server.server_status(home) is None
    assert server.stop_server(home) is False
    assert not home.root.exists()


@pytest.mark.parametrize("born", [0.0, None, "soon"])
def test_a_number_that_another_process_has_now(home, sleeper, born):
    home.prefect.mkdir(parents=True)
    state = {"pid": sleeper.pid, "url": "http://127.0.0.1:1/api", "started_at": "2026-01-01", "born": born}
    (home.prefect / "server.json").write_text(json.dumps(state))
    assert server.server_status(home) is None
    assert server.stop_server(home) is False
    assert sleeper.poll() is None
    assert not (home.prefect / "server.json").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": 1}', '{"pid": -5}', '{"pid": "x"}'])
def test_a_file_that_says_nothing(home, text):
    home.prefect.mkdir(parents=True)
    (home.prefect / "server.json").write_text(text)
    assert server.server_status(home) is None
    assert server.stop_server(home) is False


def test_one_that_ends_at_its_start(home, program):
    program("echo no such module; exit 3")
    with pytest.raises(ServerError) as caught:
        server.ensure_server(home)
    log = home.prefect / "server.log"
    told = f"the Prefect server ended at its start; its log is {log}; try the same command again"
    assert str(caught.value) == told
    assert log.read_text() == "no such module\n"
    assert server.server_status(home) is None


def test_one_that_is_killed_before_it_answers_is_started_again(home, program, monkeypatch):
    program(
        "echo one >> ../started; [ $(wc -l < ../started) = 1 ] && kill -9 $$; echo up > ../up; exec sleep 300"
    )
    monkeypatch.setattr(server, "_answers", lambda url: (home.root / "up").exists())
    url = server.ensure_server(home)
    assert server.server_status(home).url == url
    assert (home.root / "started").read_text() == "one\none\n"
    assert server.stop_server(home) is True


def test_one_that_is_killed_again_and_again_is_told_in_a_line(home, program):
    program("echo one >> ../started; kill -9 $$")
    with pytest.raises(
        ServerError, match=r"was killed 3 times before it answered; its log is .*try the same command"
    ):
        server.ensure_server(home)
    assert (home.root / "started").read_text() == "one\n" * 3


def test_a_flow_waits_for_a_server_that_was_killed_before_its_first_call(home):
    """Prefect's client as a flow has it; the server comes back at its address a second later."""
    alone.isolate()
    from prefect.client.base import PrefectHttpxSyncClient

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    back = []

    def come_back():
        back.append(HTTPServer(("127.0.0.1", port), Answer))
        back[0].handle_request()

    later = threading.Timer(0.5, come_back)
    later.start()
    with PrefectHttpxSyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert client.get("/health").status_code == 200
    later.join()
    back[0].server_close()


def test_one_that_does_not_answer(home, program, monkeypatch):
    program("exec sleep 300")
    monkeypatch.setattr(server, "START_SECONDS", 0.3)
    with pytest.raises(
        ServerError, match=r"did not answer at http://127.0.0.1:\d+/api within 0 s; its log is"
    ):
        server.ensure_server(home)
    assert server.server_status(home) is None


def test_two_at_once_start_one(home, program):
    program("echo one >> ../started; exec sleep 300")
    threads = [threading.Thread(target=server.begin_server, args=(home,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = server.server_status(home)
    assert (state.pid, state.healthy) == (saved(home)["pid"], False)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(server, "_answers", lambda url: True)
        assert server.ensure_server(home) == state.url
    assert server.stop_server(home) is True
    assert server.server_status(home) is None
    assert (home.root / "started").read_text().count("one") <= 1


def test_one_that_does_not_want_to_stop(home, program, monkeypatch):
    program("trap '' TERM; echo ready; while :; do sleep 0.1; done")
    monkeypatch.setattr(server, "STOP_SECONDS", 0.5)
    server.begin_server(home)
    log = home.prefect / "server.log"
    wait_for(log.read_text)
    process = psutil.Process(saved(home)["pid"])
    assert server.stop_server(home) is True
    with contextlib.suppress(psutil.NoSuchProcess):
        assert process.status() == psutil.STATUS_ZOMBIE  # its thread may not have taken note yet


def test_what_the_user_has_set_is_not_passed_on(home, program, monkeypatch):
    for name in ("PREFECT_API_KEY", "prefect_api_key", "ALL_PROXY", "WEB_CONCURRENCY", "PYTHONWARNINGS"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("TZ", "UTC")
    program("env > ../environment; echo whole >> ../environment; exec sleep 300")
    server.begin_server(home)
    file = home.root / "environment"
    wait_for(lambda: file.exists() and "whole" in file.read_text())
    assert server.stop_server(home) is True
    assert "canary" not in file.read_text()
    assert "TZ=UTC" in file.read_text()


def test_a_file_where_its_folder_must_be(home):
    home.root.mkdir()
    home.prefect.write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot write .*prefect: File exists"):
        server.ensure_server(home)
    assert server.stop_server(home) is False
