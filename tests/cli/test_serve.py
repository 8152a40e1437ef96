"""`loco serve` as a process: what it prints opens the page, and Ctrl-C ends it."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from cli.serve.running import hosts_of

ROOT = Path(__file__).parents[2]


def heard():
    """Let the new process hear Ctrl-C, which whoever runs tests in the background has it ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_it_serves_until_it_is_interrupted_and_tells_its_token_once(filled):
    words = [
        sys.executable,
        "-m",
        "cli.main",
        "--home",
        str(filled.home.root),
        "--json",
        "serve",
        "--port",
        "0",
    ]
    with subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    ) as process:
        told = json.loads(process.stdout.readline())
        with httpx.Client(base_url=told["url"], trust_env=False, timeout=30) as client:
            assert client.get("/").headers["content-type"].startswith("text/html")
            assert client.get("/static/app.js").headers["content-type"].startswith("text/javascript")
            assert client.get("/api/v1/directions").json()["total"] == 7
            assert "server" not in client.get("/api/v1/models").headers
            one = filled.find(limit=1)[0]
            said = {"action": "label", "ids": [one.id], "text": "smile"}
            assert client.post("/api/v1/events", json=said).status_code == 401
            own = {"authorization": f"Bearer {told['token']}"}
            assert client.post("/api/v1/events", json=said, headers=own).status_code == 200
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (
        err == "error: interrupted; jobs that were started on the page go on, `loco jobs list` shows them\n"
    )
    assert told["token"] not in err
    assert filled.labels() == {one.id: ["smile"]}


@contextlib.contextmanager
def ended(process):
    """Ends it whatever a test finds: one that failed would wait for it."""
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_the_command_line_works_against_what_is_served(loco, filled, a_run, tmp_path, monkeypatch):
    here = ("--home", str(tmp_path / "elsewhere"))
    words = [
        sys.executable,
        "-m",
        "cli.main",
        "--home",
        str(filled.home.root),
        "--json",
        "serve",
        "--port",
        "0",
    ]
    with (
        subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=heard) as process,
        ended(process),
    ):
        told = json.loads(process.stdout.readline())
        there = (*here, "--registry", told["url"])
        for asked in ("--roi hair --sort leakage", "--t 0.3..0.5", "--limit 2", "--count", "--text mouth"):
            command = ("directions", "list", *asked.split())
            assert loco(*command, options=there).out == loco(*command).out
            assert loco(*command, "--json", options=there).json == loco(*command, "--json").json
        one = filled.find(limit=1)[0]
        label = ("directions", "label", one.id[:8], "smile")
        assert "needs a token" in loco(*label, options=there, code=2).err
        monkeypatch.setenv("LOCO_TOKEN", told["token"])
        assert loco(*label, options=there).out == f"id     {one.id}\nlabel  smile"
        assert filled.labels() == {one.id: ["smile"]}
        similar = ("directions", "similar", one.id, "--limit", "3")
        assert loco(*similar, options=there).out == loco(*similar).out
        shown = loco("directions", "show", one.id[:8], "--no-picture", options=there).out
        mine = loco("directions", "show", one.id[:8], "--no-picture").out
        for line in ("id ", "region ", "image ", "size ", "label ", "cost ", "gain ", "leakage "):
            assert [one.split() for one in shown.splitlines() if one.startswith(line)] == [
                one.split() for one in mine.splitlines() if one.startswith(line)
            ]
        [run] = filled.runs()
        assert loco("jobs", "list", options=there).out == loco("jobs", "list").out
        assert loco("jobs", "list", "--json", options=there).json == loco("jobs", "list", "--json").json
        assert run.id in loco("jobs", "show", run.id[:8], options=there).out
        asked = loco("jobs", "show", run.id[:8], "--json", options=there).json
        assert loco("jobs", "show", run.id, "--json").json[0].items() <= asked[0].items()
        assert loco("jobs", "logs", run.id, options=there).out == loco("jobs", "logs", run.id).out
        assert "only a run that works" in loco("jobs", "cancel", run.id, options=there, code=2).err
        assert loco("model", "list", options=there).out == loco("model", "list").out
        assert loco("dataset", "list", options=there).out == loco("dataset", "list").out
        assert (
            "no direction has an id"
            in loco("directions", "label", "ffffffff", "x", options=there, code=2).err
        )
        assert "does not do this" in loco("registry", "verify", options=there, code=2).err
    err = loco("directions", "list", options=there, code=1).err
    assert "`loco serve` there serves the catalogue" in err


def test_an_address_that_is_taken_is_told(loco):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        err = loco("serve", "--port", port, code=2).err
    assert err.startswith(f"error: cannot listen on 127.0.0.1 port {port}: ")
    assert err.endswith("give another --port (0 for a free one) or --host")


def test_by_which_names_it_is_called():
    assert hosts_of("127.0.0.1", ()) == {"127.0.0.1", "localhost", "[::1]"}
    assert hosts_of("192.168.1.5", ("Proxy.Example",)) == {"192.168.1.5", "proxy.example"}
