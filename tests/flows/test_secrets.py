"""A signature in the URL of an image reaches no name, no message, no row, no manifest."""

import functools
import http.server
import threading

import pytest

from flows.inputs.places import Source, place_of
from flows.inputs.sources import list_sources
from tests.flows.helpers import applied, counts, picture, save

CANARY = "c4nary"


@pytest.fixture
def site(tmp_path):
    """A web server with one image."""
    save(tmp_path / "site" / "a.png", picture(1))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / "site"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def files_with_it(*folders):
    return [
        path
        for folder in folders
        for path in folder.rglob("*")
        if CANARY in path.name or (path.is_file() and CANARY.encode() in path.read_bytes())
    ]


def test_names_of_listed_urls_tell_no_secret(tmp_path):
    url = f"https://me:{CANARY}@host/a/b.png?X-Amz-Signature={CANARY}"
    (tmp_path / "list.txt").write_text(url + "\n")
    [found] = list_sources(str(tmp_path / "list.txt"))
    assert (found.name, found.place) == ("host/a/b.png", url)
    assert CANARY not in place_of(found)
    assert CANARY not in place_of(Source("x/y", f"s3://k:{CANARY}@b/x.tar", "tar"))


def test_signed_urls_leave_no_trace_of_their_signature(filled, home, site, tmp_path, words):
    """One that is there and one that is not."""
    (tmp_path / "list.txt").write_text(
        f"http://{site}/a.png?X-Amz-Signature={CANARY}\nhttp://{site}/missing.png?sig={CANARY}\n"
    )
    run = applied(home, tmp_path / "out", images=str(tmp_path / "list.txt"), watch=words)
    assert counts(run)[1] > 0
    assert run.counts["failed"] > 0
    assert files_with_it(home.root, tmp_path / "out") == []
    assert not any(CANARY in one for one in words.said)
    assert CANARY not in repr(filled.runs()) + repr(filled.edits())
