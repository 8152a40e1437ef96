"""What the served catalogue draws: previews at once, exact renders, uploads, and jobs that it starts."""

import base64
import io
import time

import numpy as np
import psutil
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from cli.serve.access import Access
from cli.serve.app import application
from cli.serve.tokens import Token, hashed
from flows.pictures import drawing
from flows.pictures.edits import edited, responses, shown
from flows.register import model_for
from registry.records import now
from tests.flows.helpers import picture


@pytest.fixture
def client(filled):
    access = Access(filled.home, Token("page", "run", hashed("T"), now()), frozenset({"127.0.0.1"}), True)
    return TestClient(
        application(filled, access),
        base_url="http://127.0.0.1:8321",
        headers={"authorization": "Bearer T"},
    )


def pixels(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def test_a_preview_holds_all_that_any_mixture_needs(client, filled):
    one, other = filled.find(limit=2)
    image = one.image_id
    answer = client.get("/api/v1/previews", params={"image": image, "direction": [one.id, other.id]}).json()
    seen = shown(filled, model_for(filled, one), image)
    size = (answer["height"], answer["width"], 3)
    drawn = np.frombuffer(base64.b64decode(answer["image"]), np.uint8).reshape(size)
    assert np.array_equal(drawn, drawing.pixels_of(seen.x))
    wanted = responses(filled, [seen], [one, other])[0]
    for part, change in zip(answer["parts"], wanted, strict=True):
        told = np.frombuffer(base64.b64decode(part["response"]), "<i2").reshape(size) * part["scale"]
        assert told == pytest.approx(change.transpose(1, 2, 0) * 127.5, abs=part["scale"])
    assert [part["direction"]["id"] for part in answer["parts"]] == [one.id, other.id]


def test_an_exact_render_is_the_edit(client, filled):
    one, other = filled.find(limit=2)
    params = {"image": one.image_id, "mix": [f"{one.id}:2", f"{other.id[:8]}:-1.5"], "steps": 4}
    answer = client.get("/api/v1/render.png", params=params)
    seen = shown(filled, model_for(filled, one), one.image_id)
    wanted = drawing.pixels_of(seen.x + edited(filled, seen, [[(one, 2.0), (other, -1.5)]], 4)[0])
    assert np.array_equal(pixels(answer.content), wanted)
    zero = client.get("/api/v1/render.png", params={**params, "mix": [f"{one.id}:0"]})
    assert np.array_equal(pixels(zero.content), drawing.pixels_of(seen.x))


def test_directions_are_tried_on_an_image_that_was_sent(client, filled):
    one = filled.find(limit=1)[0]
    data = io.BytesIO()
    Image.fromarray(picture(99)).save(data, "PNG")
    sent = client.post("/api/v1/uploads", content=data.getvalue(), headers={"x-file-name": "mine.png"})
    key = sent.json()["id"]
    answer = client.get("/api/v1/previews", params={"image": key, "direction": one.id}).json()
    assert answer["name"] == "mine.png"
    params = {"image": key, "mix": f"{one.id}:1"}
    assert client.get("/api/v1/render.png", params=params).status_code == 200
    assert client.get(f"/api/v1/images/{key}.png").status_code == 200
    assert not [path for path in filled.home.root.rglob("*") if "mine" in path.name]


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("render.png", {"image": "0" * 64, "mix": "{id}:1"}, 422),
        ("render.png", {"image": "../x", "mix": "{id}:1"}, 422),
        ("render.png", {"image": "{image}", "mix": "{id}:x"}, 400),
        ("render.png", {"image": "{image}", "mix": "{id}:inf"}, 400),
        ("render.png", {"image": "{image}", "mix": "{id}:1e99"}, 400),
        ("render.png", {"image": "{image}", "mix": ["{id}:1"] * 4}, 422),
        ("render.png", {"image": "{image}", "mix": "{id}:1", "steps": 51}, 422),
        ("previews", {"image": "{image}", "direction": "nobody"}, 404),
    ],
)
def test_what_cannot_be_drawn_is_told(client, filled, path, params, status):
    one = filled.find(limit=1)[0]

    def filled_in(value):
        if isinstance(value, list):
            return [filled_in(each) for each in value]
        return str(value).format(id=one.id, image=one.image_id)

    answer = client.get(f"/api/v1/{path}", params={name: filled_in(value) for name, value in params.items()})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_strip_and_the_responses_of_a_dataset(client, filled):
    one = filled.find(limit=1)[0]
    answer = client.get(f"/api/v1/directions/{one.id}/picture.png")
    assert "X-Loco-Trouble" not in answer.headers
    found = client.get(f"/api/v1/directions/{one.id}/responses").json()
    assert (found["dataset"], len(found["images"]), len(found["picked"])) == ("photos", 6, 3)
    other = client.get(f"/api/v1/directions/{one.id}/picture.png", params={"image": found["picked"][2]["id"]})
    assert other.content != answer.content


@pytest.mark.slow
def test_a_job_that_is_submitted_runs_and_is_watched_to_its_end(client, filled):
    one = filled.find(limit=1)[0]
    job = {
        "kind": "apply",
        "directions": [{"id": one.id, "weight": 2.0}],
        "strengths": [1],
        "dataset": "photos",
        "limit": 3,
        "steps": 3,
        "beyond": True,
    }
    begun = client.post("/api/v1/jobs", json=job)
    assert begun.status_code == 202, begun.text
    path = begun.headers["location"]
    try:
        for _ in range(600):
            answer = client.get(path)
            assert answer.status_code == 200, answer.text
            if answer.json()["status"] not in ("running", "starting"):
                break
            time.sleep(0.5)
        assert answer.json()["status"] == "done", answer.text
        assert answer.json()["counts"]["done"] == 3
        sheet = client.get(f"{path}/sheet").json()
        output = sheet["items"][0]["outputs"][0]["id"]
        assert pixels(client.get(f"{path}/outputs/{output}.png").content).shape[2] == 3
        assert client.get(f"/api/v1/directions/{one.id}/uses").json()[0]["id"] == answer.json()["id"]
    finally:
        from flows.server.server import stop_server

        stop_server(filled.home)
        psutil.wait_procs(psutil.Process().children(), timeout=60)


def test_a_list_is_applied_each_direction_by_itself_at_what_suits_it(loco, filled, tmp_path):
    from flows.pictures.strength import suited_strength
    from registry.files.lists import DirectionList, change

    several = filled.find(limit=2)
    change(filled.home, "talk", "me", lambda _: DirectionList("talk", ids=tuple(one.id for one in several)))
    told = ("--dataset", "photos", "--limit", "1", "--steps", "2", "--beyond")
    loco("apply", "--list", "talk", *told, "--out", tmp_path / "suited")
    names = sorted(path.name for path in (tmp_path / "suited").glob("*.png"))
    assert names == sorted(f"0__patch-{one.id[:8]}__{suited_strength(one):+g}.png" for one in several)
    loco("apply", "--list", "talk", "--strength", "1", "--strength", "-1", *told, "--out", tmp_path / "said")
    assert len(list((tmp_path / "said").glob("*.png"))) == 4
    both = ("apply", "--list", "talk", "--direction", several[0].id, *told, "--out", tmp_path / "both")
    assert "give either --list or directions" in loco(*both, code=2).err
    assert (
        "no list is called 'nope'; known are talk"
        in loco("apply", "--list", "nope", *told, "--out", tmp_path / "x", code=2).err
    )
