"""Who may ask what: no token, a wrong one, another origin, another host, bodies that are too large, hostile text."""

import gzip
import io
import json
import stat

import pytest
from PIL import Image

from cli.serve.access import BODY_LIMIT, UPLOAD_LIMIT, is_loopback, refusal
from cli.serve.tokens import add_token, matching, read_tokens, tokens_file
from cli.serve.uploads import PIXELS
from loco.errors import StorageError
from tests.cli.serve.conftest import OWN

PAGES = ["/", "/facets", "/directions", "/models", "/datasets", "/jobs", "/figures", "/openapi.json"]
EVENT = {"action": "label", "ids": ["0" * 32], "text": "smile"}


def problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == status
    assert told["title"]
    return told["detail"]


@pytest.mark.parametrize("path", [one for one in PAGES if "openapi" not in one])
def test_elsewhere_than_on_this_machine_looking_needs_a_token(anybody, path):
    assert "needs a token" in problem(anybody.get(f"/api/v1{path}"), 401)
    wrong = {"authorization": "Bearer loco_wrong"}
    assert "none of this server's" in problem(anybody.get(f"/api/v1{path}", headers=wrong), 401)


@pytest.mark.parametrize("path", PAGES)
def test_on_this_machine_looking_needs_none(looked, path):
    assert looked.get(f"/api/v1{path}").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/events"),
        ("post", "/jobs"),
        ("post", "/uploads"),
        ("post", "/jobs/abcdef/cancel"),
        ("delete", "/session"),
    ],
)
def test_every_change_needs_a_token_and_a_wrong_one_opens_nothing(looked, method, path):
    assert "needs a token" in problem(getattr(looked, method)(f"/api/v1{path}"), 401)
    wrong = {"authorization": f"Bearer {OWN}x"}
    problem(getattr(looked, method)(f"/api/v1{path}", headers=wrong), 401)


def test_a_wrong_token_is_refused_where_none_is_needed(looked):
    for header in ("Bearer wrong", "Basic abc", "Bearer", "Bearer " + "x" * 5000, "Bearer \u00e9"):
        problem(looked.get("/api/v1/models", headers={"authorization": header.encode()}), 401)


def test_roles_end_where_they_end(serve_as, filled):
    key = filled.find(limit=1)[0].id
    said = {**EVENT, "ids": [key]}
    detail = problem(serve_as("read").post("/api/v1/events", json=said), 403)
    assert detail == "this needs the role label; token 'a-read' has read"
    assert serve_as("label").post("/api/v1/events", json=said).status_code == 200
    job = {"kind": "apply", "directions": [{"id": key}], "strengths": [1], "dataset": "portraits"}
    detail = problem(serve_as("label").post("/api/v1/jobs", json=job), 403)
    assert detail == "this needs the role run; token 'a-label' has label"
    assert filled.history()[0].who == "a-label"


def test_tokens_are_kept_as_hashes_that_only_the_owner_reads(filled, loco):
    outcome = loco("token", "add", "colleague", "--role", "label", "--json")
    token = outcome.json[0]["token"]
    file = tokens_file(filled.home)
    assert token not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert matching(token, read_tokens(filled.home)).role == "label"
    assert matching(token + " ", read_tokens(filled.home)) is None
    assert loco("token", "list", "--json").json[0]["name"] == "colleague"
    loco("token", "remove", "colleague")
    assert matching(token, read_tokens(filled.home)) is None
    assert "no token is called 'colleague'" in loco("token", "remove", "colleague", code=2).err
    file.chmod(0o644)
    with pytest.raises(StorageError, match="can be read by others"):
        read_tokens(filled.home)


def test_a_withdrawn_token_ends_its_sessions(served, filled, loco):
    token = add_token(filled.home, "guest", "run")
    told = served.post("/api/v1/session", json={"token": token}).json()
    assert (told["name"], told["role"]) == ("guest", "run")
    assert served.get("/api/v1/session").json()["name"] == "guest"
    loco("token", "remove", "guest")
    assert served.get("/api/v1/session").json()["name"] is None


def test_a_page_needs_its_second_secret_for_changes(served, filled):
    answer = served.post("/api/v1/session", json={"token": OWN})
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert OWN not in cookie
    said = {**EVENT, "ids": [filled.find(limit=1)[0].id]}
    assert "X-Loco-CSRF" in problem(served.post("/api/v1/events", json=said), 403)
    problem(served.post("/api/v1/events", json=said, headers={"x-loco-csrf": "wrong"}), 403)
    own = {"x-loco-csrf": answer.json()["csrf"]}
    assert served.post("/api/v1/events", json=said, headers=own).status_code == 200
    assert served.delete("/api/v1/session", headers=own).status_code == 200
    problem(served.post("/api/v1/events", json=said, headers=own), 401)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8321", "127.0.0.1:8321@evil", "", "a b"]
)
def test_another_host_is_refused(looked, host):
    assert "is not called so" in problem(looked.get("/api/v1/models", headers={"host": host}), 403)
    problem(looked.get("/", headers={"host": host}), 403)


def test_two_hosts_are_refused():
    headers = [(b"host", b"127.0.0.1"), (b"host", b"localhost")]
    assert refusal({"headers": headers, "method": "GET", "path": "/"}, {"127.0.0.1", "localhost"})


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:8321", "file://"]
)
def test_another_origin_is_refused_whatever_it_asks(looked, origin):
    for path in ("/api/v1/models", "/"):
        problem(looked.get(path, headers={"origin": origin}), 403)
    token = {"authorization": f"Bearer {OWN}", "origin": origin}
    problem(looked.post("/api/v1/events", json=EVENT, headers=token), 403)


def test_another_site_may_link_here_and_embed_nothing(looked):
    embedded = {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}
    problem(looked.get("/api/v1/models", headers=embedded), 403)
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert looked.get("/", headers=followed).status_code == 200
    problem(looked.get("/api/v1/models", headers=followed), 403)


def test_every_answer_has_a_strict_policy(looked):
    for answer in (looked.get("/"), looked.get("/api/v1/models"), looked.get("/", headers={"host": "evil"})):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "script-src 'self';" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "/static/..%2f..%2faccess.py",
        "/static/%2e%2e/access.py",
        "/static/../../../../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/static//etc/passwd",
        "/static/app.js%00.css",
    ],
)
def test_no_path_leads_out_of_the_page(looked, path):
    answer = looked.get(path)
    assert "root:" not in answer.text
    assert "import" not in answer.text
    assert answer.status_code == 404 or answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    "name",
    ["..%2f..%2fserve.tokens", "../../etc/passwd", "a/b", "%00", "x.safetensors", "/etc/passwd", "a" * 5000],
)
def test_no_name_leads_to_a_file(looked, name):
    for path in (
        f"/directions/{name}",
        f"/directions/{name}/similar",
        f"/jobs/{name}",
        f"/images/{name}.png",
    ):
        assert looked.get(f"/api/v1{path}").status_code in (400, 404, 422)


def test_bodies_that_are_too_large_are_refused_told_or_not(labeller):
    detail = problem(labeller.post("/api/v1/events", content=b"x" * (BODY_LIMIT + 1)), 413)
    assert detail == f"a body of up to {BODY_LIMIT} bytes is taken here"
    parts = (b"x" * 65536 for _ in range(6))
    problem(labeller.post("/api/v1/events", content=parts), 413)
    problem(
        labeller.post("/api/v1/uploads", content=b"x", headers={"content-length": str(UPLOAD_LIMIT + 1)}), 413
    )


def png(width, height, mode="1"):
    data = io.BytesIO()
    Image.new(mode, (width, height)).save(data, "PNG")
    return data.getvalue()


def test_uploads_are_images_of_a_bounded_size_by_the_one_opener(serve_as):
    client = serve_as("read")
    kept = client.post("/api/v1/uploads", content=png(40, 30), headers={"x-file-name": "../../a/b.png"})
    assert kept.status_code == 201
    assert {name: kept.json()[name] for name in ("name", "width", "height")} == {
        "name": "b.png",
        "width": 40,
        "height": 30,
    }
    bomb = png(20000, 20000)
    assert len(bomb) < 100_000
    assert "more than" in problem(client.post("/api/v1/uploads", content=bomb), 422)
    just = png(PIXELS // 1000 + 1, 1000)
    assert "more than 16 megapixels" in problem(client.post("/api/v1/uploads", content=just), 422)
    for data in (
        b"",
        b"<svg onload=alert(1)>",
        gzip.compress(b"\0" * 10**6),
        b"\x89PNG\r\n\x1a\n" + b"\0" * 99,
    ):
        problem(client.post("/api/v1/uploads", content=data), 422)


def test_hostile_labels_come_back_as_data_and_long_ones_are_refused(labeller, filled):
    key = filled.find(limit=1)[0].id
    hostile = '</script><img src=x onerror="alert(1)">'
    assert labeller.post("/api/v1/events", json={**EVENT, "ids": [key], "text": hostile}).status_code == 200
    answer = labeller.get(f"/api/v1/directions/{key}")
    assert answer.json()["labels"] == [hostile]
    assert answer.headers["content-type"] == "application/json"
    problem(labeller.post("/api/v1/events", json={**EVENT, "ids": [key], "text": "x" * 2001}), 422)
    problem(labeller.post("/api/v1/events", json={**EVENT, "ids": [key], "text": "x" * 10**6}), 413)
    problem(labeller.post("/api/v1/events", json={**EVENT, "ids": [key], "text": "a\nb"}), 400)


def test_nothing_that_was_sent_is_sent_back_whole(labeller):
    secret = "s" * 3000
    answer = labeller.post("/api/v1/events", json={"action": secret, "ids": [], "text": ""})
    assert problem(answer, 422)
    assert secret not in answer.text


def test_what_is_no_json_is_refused(labeller):
    for body in (b"{", b"\xff\xfe", b"[" * 100_000, json.dumps([1]).encode()):
        answer = labeller.post("/api/v1/events", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 413, 422), answer.text


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("evil.example", False),
    ],
)
def test_which_addresses_only_this_machine_reaches(host, loopback):
    assert is_loopback(host) is loopback
