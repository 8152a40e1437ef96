"""A server that is none of ours, or of another version, and tokens that cannot be: one line each, no secret in it."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

PAGE = "<html>a page</html>"


@contextmanager
def answering(body, status=200, **headers):
    """A server that gives one answer to everything; yields its address and what it is asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers.get("authorization")))
            data = body if isinstance(body, str) else json.dumps(body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data.encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.fixture
def ask(loco, tmp_path):
    """The error of a command that asks a server."""

    def run(url, *words, code=1):
        err = loco(*words, options=("--home", str(tmp_path), "--registry", url), code=code).err
        assert len(err.splitlines()) == 1, err
        return err

    return run


@pytest.mark.parametrize("body", [PAGE, [], None, {}, 7, {"items": [{}], "total": 1, "cursor": None}])
@pytest.mark.parametrize(
    "words",
    [
        "directions list",
        "directions show abcdef",
        "jobs list",
        "jobs show abcdef",
        "model list",
        "dataset list",
    ],
)
def test_an_answer_of_another_kind_is_told_in_one_line(ask, loco, body, words):
    if body == [] and words in ("model list", "dataset list"):
        return  # there are none
    with answering(body) as (url, _):
        err = ask(url, *words.split())
    assert f"{url}/api/v1: expected an answer of the API of `loco serve`, found" in err
    assert err.endswith("give the address that `loco serve` of this version prints there")


def test_where_a_redirect_leads_is_told_without_what_is_secret_in_it(ask):
    with answering("", 302, Location="http://me:hidden@elsewhere/x") as (url, asked):
        err = ask(url, "directions", "list")
    assert "found 302, which leads to 'http://me:***@elsewhere/x'" in err
    assert len(asked) == 1


def test_pages_that_lead_nowhere_end(ask):
    with answering({"items": [], "total": 9, "cursor": "again"}) as (url, asked):
        assert "found a page that leads to no other" in ask(url, "directions", "list")
    assert len(asked) == 1


def test_a_token_is_taken_without_the_line_end_behind_it(ask, monkeypatch):
    monkeypatch.setenv("LOCO_TOKEN", " loco_abc\n")
    with answering({"detail": "no"}, 401) as (url, asked):
        ask(url, "directions", "list", code=2)
    assert asked[0][1] == "Bearer loco_abc"


@pytest.mark.parametrize("token", ["hid den", "hid\nden", "hidd\u00e9n", "hid\x00den"[:3] + "\x7fden"])
def test_what_is_no_token_is_refused_and_not_told(ask, monkeypatch, token):
    monkeypatch.setenv("LOCO_TOKEN", token)
    with answering({}) as (url, asked):
        err = ask(url, "directions", "list", code=2)
    assert "LOCO_TOKEN: expected a token as `loco token add` prints it" in err
    assert "hid" not in err.replace("LOCO_TOKEN", "")
    assert not asked


def test_what_a_served_catalogue_does_not_do_is_told(ask):
    discover = ["discover", "--model", "m", "--dataset", "d", "--roi", "mouth"]
    assert "a served catalogue does not do this" in ask("http://127.0.0.1:9", *discover, code=2)
    similar = ["directions", "similar", "abcdef", "--limit", "500"]
    assert "tells at most 100, found 500" in ask("http://127.0.0.1:9", *similar, code=2)
