"""Who may speak to the home's server: the owner's programs, no other local one, no web page. Who can read its files."""

import asyncio
import base64
import contextlib
import http.client
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from flows.server import server
from flows.server.access import Owner, own_folder, secret, secret_file, write_private
from flows.server.guard import guarded, refusal
from flows.server.serve import named
from loco.errors import StorageError
from loco.files import write_atomic
from registry.home import Home
from tests.flows.helpers import REPOSITORY, wait_for

HERE = (b"host", b"127.0.0.1:4200")


@pytest.mark.parametrize("host", [b"127.0.0.1:4200", b"localhost:9", b"LOCALHOST", b"[::1]:1", b"127.0.0.1"])
def test_a_name_of_this_machine_passes_at_any_port(host):
    assert refusal([(b"host", host)]) is None
    assert refusal([(b"host", host), (b"origin", b"http://" + host.lower())]) is None


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"host", b"")],
        [(b"host", b"evil.example")],
        [(b"host", b"127.0.0.1.evil.example:4200")],
        [(b"host", b"evil.example#127.0.0.1")],
        [(b"host", b"evil@127.0.0.1")],
        [(b"host", b"127.0.0.1\n")],
        [HERE, HERE],
        [HERE, (b"host", b"evil.example")],
        [HERE, (b"origin", b"null")],
        [HERE, (b"origin", b"")],
        [HERE, (b"origin", b"https://evil.example")],
        [HERE, (b"origin", b"http://127.0.0.1:9999")],
        [HERE, (b"origin", b"http://localhost:4200")],
        [HERE, (b"origin", b"http://127.0.0.1:4200"), (b"origin", b"http://evil.example")],
        [HERE, (b"origin", b"file://")],
    ],
)
def test_any_other_host_or_origin_is_refused(headers):
    assert refusal(headers) is not None


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_what_is_refused_never_reaches_the_application(kind):
    sent = []

    async def application(scope, receive, send):
        raise AssertionError("it was reached")

    async def receive():
        return {"type": f"{kind}.connect"}

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "headers": [(b"host", b"evil.example")]}
    asyncio.run(guarded(application)(scope, receive, send))
    assert sent[0].get("status", sent[0].get("code")) in (403, 1008)


@pytest.fixture(scope="module")
def url(world):
    return server.ensure_server(world.home)


def ask(url, method, path, headers=(), body=None):
    """Status and body, by a program that knows nothing of the home."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
    data = None if body is None else json.dumps(body)
    connection.request(method, f"/api{path}", data, {"content-type": "application/json", **dict(headers)})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, {name.lower(): value for name, value in answer.getheaders()}


def token_of(url, auth):
    return json.loads(ask(url, "GET", "/csrf-token?client=x", auth)[1])["token"]


def test_another_program_without_the_secret_reads_and_changes_nothing(url):
    wrong = base64.b64encode(b"loco:guess").decode()
    for headers in (
        {},
        {"Authorization": f"Basic {wrong}"},
        {"Authorization": "Basic !"},
        {"Authorization": "x"},
    ):
        assert ask(url, "GET", "/admin/version", headers)[0] == 401
        assert ask(url, "GET", "/csrf-token?client=x", headers)[0] == 401
        for path, body in (
            ("/flows/filter", {}),
            ("/deployments/", {"name": "x", "job_variables": {"command": "id"}}),
            ("/work_pools/loco/get_scheduled_flow_runs", {}),
        ):
            csrf = {"Prefect-Csrf-Token": "x", "Prefect-Csrf-Client": "x"}
            assert ask(url, "POST", path, headers | csrf, body)[0] in (401, 403)
    assert ask(url, "GET", "/health")[0] == 200


def test_the_owner_needs_the_token_too_and_no_foreign_page_gets_through_with_both(world, url):
    auth = {"Authorization": f"Basic {base64.b64encode(secret(world.home).encode()).decode()}"}
    assert ask(url, "GET", "/admin/version", auth)[0] == 200
    assert ask(url, "POST", "/flows/filter", auth, {})[0] == 403
    both = auth | {"Prefect-Csrf-Token": token_of(url, auth), "Prefect-Csrf-Client": "x"}
    assert ask(url, "POST", "/flows/filter", both, {})[0] == 200
    own = url.removesuffix("/api")
    assert ask(url, "POST", "/flows/filter", both | {"Origin": own}, {})[0] == 200
    for foreign in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
        assert ask(url, "POST", "/flows/filter", both | foreign, {})[0] == 403
        assert ask(url, "GET", "/admin/version", auth | foreign)[0] == 403


def test_a_browser_is_not_told_that_a_foreign_page_may_ask(url):
    wish = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    status, _, headers = ask(url, "OPTIONS", "/flows/filter", wish)
    assert status == 403
    assert not [name for name in headers if name.startswith("access-control-allow")]
    _, _, headers = ask(url, "GET", "/health")
    assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "path", ["/events/in", "/events/out", "/logs/out", "/task_runs/subscriptions/scheduled"]
)
def test_websockets_ask_for_the_same(world, url, path):
    where = f"ws{url.removeprefix('http')}{path}"
    for foreign in ({"origin": "http://evil.example"}, {"additional_headers": {"Host": "evil.example"}}):
        with pytest.raises(InvalidStatus), connect(where, subprotocols=["prefect"], proxy=None, **foreign):
            pass
    for said in ({"type": "auth"}, {"type": "auth", "token": "loco:guess"}, {"type": "filter", "filter": {}}):
        with connect(where, subprotocols=["prefect"], proxy=None) as stranger:
            stranger.send(json.dumps(said))
            with pytest.raises(Exception, match="1008"):
                stranger.recv(timeout=20)
    with connect(where, subprotocols=["prefect"], proxy=None) as owner:
        owner.send(json.dumps({"type": "auth", "token": secret(world.home)}))
        assert json.loads(owner.recv(timeout=20)) == {"type": "auth_success"}


def test_the_programs_of_the_home_get_through(world, url):
    with httpx.Client(base_url=url, trust_env=False, auth=Owner(world.home), timeout=30) as client:
        assert client.get("/admin/version").status_code == 200
        assert client.post("/flows/filter", json={}).status_code == 200
        assert client.post("/flows/count", json={}).status_code == 200


def test_the_secret_is_in_no_argument_and_no_other_file(world, url):
    text = secret(world.home)
    assert len(text) > 40
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            assert text not in " ".join(process.cmdline())
    [status] = world.loco("server", "status", "--json").json
    assert text not in json.dumps(status)
    assert status["secret"] == str(secret_file(world.home))
    for path in world.home.root.rglob("*"):
        if path.is_file() and path != secret_file(world.home):
            assert text.encode() not in path.read_bytes(), path


def modes(folder):
    return {
        stat.S_IMODE(path.lstat().st_mode) & 0o077
        for path in (folder, *folder.rglob("*"))
        if not path.is_symlink()
    }


def test_nobody_else_can_read_its_files(world, url):
    assert {stat.S_IMODE(path.stat().st_mode) for path in (world.home.root, world.home.prefect)} == {0o700}
    assert modes(world.home.prefect) == {0}


def test_a_home_is_made_for_its_owner_and_one_that_exists_keeps_its_mode(tmp_path):
    new, old = Home(tmp_path / "a" / "new"), Home(tmp_path / "old")
    old.root.mkdir(mode=0o755)
    for home in (new, old):
        write_atomic(home.models / "x.json", b"{}")
    assert stat.S_IMODE(new.root.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in (old.root, new.root.parent)] == [0o755, 0o755]


def test_its_folder_is_shut_where_it_was_open_with_all_that_lies_in_it(home):
    home.prefect.mkdir(parents=True)
    home.prefect.chmod(0o755)
    for name in ("prefect.db", "secret"):
        (home.prefect / name).write_text("loco:an old one that others could read")
        (home.prefect / name).chmod(0o644)
    assert secret(home) is None
    own_folder(home)
    assert stat.S_IMODE(home.prefect.stat().st_mode) == 0o700
    assert modes(home.prefect) == {0}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_of_somebody_else_is_refused(home):
    home.prefect.mkdir(parents=True)
    os.chown(home.prefect, 12345, 12345)
    with pytest.raises(StorageError, match=r"belongs to user 12345, who could read the server's secret"):
        own_folder(home)


def test_where_somebody_took_the_port_of_a_dead_server_the_next_has_another_secret(home):
    own_folder(home)
    with socket.create_server(("127.0.0.1", 0)) as thief:
        port = thief.getsockname()[1]
        write_private(secret_file(home), "loco:the first\n")
        write_private(home.prefect / "server.json", json.dumps({"url": f"http://127.0.0.1:{port}/api"}))
        listening, auth = server._listen(home)
        with listening:
            assert listening.getsockname()[1] != port
            assert auth == secret(home) != "loco:the first"
    write_private(secret_file(home), "loco:the second\n")
    listening, auth = server._listen(home)
    with listening:
        assert (listening.getsockname()[1], auth) == (port, "loco:the second")


def test_a_server_that_nobody_came_to_know_does_not_begin(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        handle = listening.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.server.serve", str(handle)],
            cwd=REPOSITORY,
            env=os.environ | {"PREFECT_HOME": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            pass_fds=[handle],
        )
        assert process.wait(timeout=120) == 0
    assert not (tmp_path / "prefect.db").exists()


def test_one_of_an_older_program_that_asks_for_no_secret_is_ended(home, tmp_path):
    own_folder(home)
    old = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    born = psutil.Process(old.pid).create_time()
    saved = {"pid": old.pid, "url": "http://127.0.0.1:1/api", "started_at": "2026-01-01", "born": born}
    write_private(home.prefect / "server.json", json.dumps(saved))
    assert server._known(home) is None
    wait_for(lambda: old.poll() is not None)


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"pid": "x"}', '{"pid": 1}'])
def test_a_server_that_its_home_does_not_name_knows_it(tmp_path, text):
    file = tmp_path / "server.json"
    if text is not None:
        file.write_text(text)
    assert not named(file, os.getpid())
    file.write_text(json.dumps({"pid": os.getpid()}))
    assert named(file, os.getpid())


@pytest.mark.slow
def test_a_server_whose_home_was_deleted_ends(home):
    server.ensure_server(home)
    process = psutil.Process(server.server_status(home).pid)
    shutil.rmtree(home.root)
    wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, 60)
