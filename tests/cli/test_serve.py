"""`loco serve` as a process: what it prints opens the page, and Ctrl-C ends it."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from cli.serve.running import hosts_of

ROOT = Path(__file__).parents[2]


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
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
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
    assert "Traceback" not in err
    assert told["token"] not in err
    assert filled.labels() == {one.id: ["smile"]}


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
