"""Whatever is asked of the documented paths, no answer is a failure of the server; and nothing is lost under load."""

import random
import threading
import time

import pytest

from cli.serve.problems import without_folders
from registry.files.basis import basis_path
from tests.cli.serve.conftest import Served

WORDS = [
    *(
        "",
        "x",
        "0",
        "-1",
        "nan",
        "1e999",
        "true",
        "null",
        "\0",
        "\ud7ff",
        "é" * 40,
        "a" * 3000,
        "%",
        "'",
        '"',
        ";--",
    ),
    *(
        "../../etc/passwd",
        "gain > 4",
        "-gain",
        "kept",
        "hair",
        "0.5..0.4",
        "1..",
        "[]",
        "{}",
        "9" * 40,
        "2026-01-01",
    ),
]


def operations(client, document=None):
    for path, methods in (document or client.ok("/openapi.json"))["paths"].items():
        for method, told in methods.items():
            yield method, path, [one["name"] for one in told.get("parameters", ()) if one["in"] == "query"]


def value(random_, client):
    known = [client.registry.find(limit=1)[0].id, "faces", "portraits"]
    return random_.choice([*WORDS, *known])


def body(random_, client, depth=0):
    kinds = ["word", "number", "list", "dict"] if depth < 3 else ["word", "number"]
    kind = random_.choice(kinds)
    if kind == "word":
        return value(random_, client)
    if kind == "number":
        return random_.choice([0, -1, 1.5, 2**63, None, True])
    if kind == "list":
        return [body(random_, client, depth + 1) for _ in range(random_.randrange(3))]
    names = [
        "kind",
        "ids",
        "text",
        "action",
        "token",
        "note",
        "query",
        "directions",
        "strengths",
        "dataset",
        "id",
    ]
    return {name: body(random_, client, depth + 1) for name in random_.sample(names, random_.randrange(5))}


@pytest.mark.parametrize("seed", [0, *(pytest.param(one, marks=pytest.mark.slow) for one in range(1, 9))])
def test_no_question_is_a_failure_of_the_server(serve_as, seed):
    client, random_ = serve_as("run"), random.Random(seed)
    asked, document = 0, client.ok("/openapi.json")
    for method, path, names in operations(client, document):
        documented = document["paths"][path][method]["responses"]
        for _ in range(4 if method == "get" else 3):
            there = path
            while "{" in there:
                start, end = there.index("{"), there.index("}")
                word = value(random_, client).replace("/", "%2F").replace("\0", "%00").replace("%", "%25", 1)
                there = f"{there[:start]}{word[:400] or 'x'}{there[end + 1 :]}"
            params = {name: value(random_, client) for name in random_.sample(names, min(2, len(names)))}
            told = {} if method == "get" else {"json": body(random_, client)}
            answer = client.request(method, there, params=params, **told)
            assert answer.status_code < 500 or answer.status_code == 503, (
                method,
                there,
                params,
                told,
                answer.text,
            )
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json", (method, there)
            code = str(answer.status_code)
            told = documented.get(code) or documented[f"{code[0]}XX"]
            assert answer.headers["content-type"] in told["content"], (method, there, code)
            asked += 1
    assert asked > 60


def test_every_operation_documents_its_refusals(served):
    document = served.ok("/openapi.json")
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    for methods in document["paths"].values():
        for told in methods.values():
            for status in ("4XX", "5XX"):
                assert told["responses"][status]["content"] == {"application/problem+json": problem}
            assert "422" not in told["responses"]
    schema = document["components"]["schemas"]["Problem"]
    refused = served.get("/api/v1/directions/nobody").json()
    assert set(schema["required"]) <= refused.keys() <= schema["properties"].keys()
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_a_wrong_method_is_told_the_right_ones(served):
    told = served.request("TRACE", "/api/v1/directions")
    assert (told.status_code, told.headers["allow"]) == (405, "GET")
    assert told.headers["content-type"] == "application/problem+json"


def test_no_error_tells_where_files_lie(serve_as):
    client = serve_as("run")
    one = client.registry.find(limit=1)[0]
    path = basis_path(client.registry.home, one.basis_id)
    path.write_bytes(b"damaged")
    told = client.get(f"/api/v1/directions/{one.id}/vector")
    assert told.status_code >= 400
    assert path.name in told.json()["detail"]
    assert str(client.registry.home.root) not in told.text
    assert f"{path.parent.name}/" not in told.text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/srv/home/bases/ab/c.safetensors is damaged", "c.safetensors is damaged"),
        ("image '/data/faces/0.png' cannot be read", "image '0.png' cannot be read"),
        ("the home /srv/home is full", "the home HOME is full"),
        ("from https://example.org/a/b.png: 404", "from https://example.org/a/b.png: 404"),
        ("see 1/2 of faces/0.png and ~/x/y", "see 1/2 of faces/0.png and ~/x/y"),
    ],
)
def test_messages_keep_names_and_lose_folders(text, told):
    assert without_folders(text, "/srv/home") == told


def many(client, keys, readers, writers, seconds):
    """Readers and writers at once; returns what failed and what each writer wrote."""
    until, failed, written = time.monotonic() + seconds, [], []

    def read(number):
        paths = (
            "/directions?limit=20",
            "/facets",
            f"/directions/{keys[number % len(keys)]}",
            "/jobs",
            "/lists",
        )
        turn = number
        while time.monotonic() < until:
            answer = client.get(f"/api/v1{paths[turn % len(paths)]}")
            turn += 1
            if answer.status_code != 200:
                failed.append((answer.status_code, answer.text))

    def write(number):
        turn = 0
        while time.monotonic() < until:
            text, key = f"w{number}-{turn}", keys[turn % len(keys)]
            answer = client.post("/api/v1/events", json={"action": "label", "ids": [key], "text": text})
            if answer.status_code == 200:
                written.append((key, text))
            else:
                failed.append((answer.status_code, answer.text))
            turn += 1

    threads = [threading.Thread(target=read, args=(number,)) for number in range(readers)]
    threads += [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed, written


@pytest.mark.parametrize(
    ("readers", "writers", "seconds"),
    [(6, 3, 2), pytest.param(64, 8, 120, marks=[pytest.mark.slow, pytest.mark.timeout(600)])],
)
def test_readers_and_writers_at_once_lose_nothing(filled, readers, writers, seconds):
    client = Served(filled, "label")
    keys = [one.id for one in filled.find()]
    failed, written = many(client, keys, readers, writers, seconds)
    assert failed == []
    assert written
    labels = filled.labels()
    assert [one for one in written if one[1] not in labels[one[0]]] == []
    assert filled.verify() == []
