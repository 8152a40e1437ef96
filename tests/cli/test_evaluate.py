"""`loco evaluate`: a report with its pictures in it, and the same command goes on where it was."""

import json
import re

import pytest
from pyarrow import parquet

from loco.zoo.folder import write_scenes


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluate") / "out"


def test_the_embedded_benchmark_is_judged_and_goes_on_where_it_was(loco, reported):
    asked = (
        "evaluate",
        "--quick",
        "--held-out",
        3,
        "--roi",
        "mouth",
        "--roi",
        "eyes",
        "--out",
        reported,
        "--json",
    )
    [first] = loco(*asked, "--method", "loco").json
    parts = {path.name: path.stat().st_mtime_ns for path in (reported / "parts").iterdir()}
    [record] = loco(*asked, "--method", "loco", "--method", "pullback", "--method", "blend", "--claims").json
    assert len(parts) == 1
    assert all((reported / "parts" / name).stat().st_mtime_ns == when for name, when in parts.items())
    assert record["held_out"] == 3
    lines = {(line["method"], line["roi"]): line for line in record["table"]}
    assert lines["loco", "mouth"] == next(line for line in first["table"] if line["roi"] == "mouth")
    assert 2 * lines["loco", "all"]["leakage"]["value"] < lines["pullback", "all"]["leakage"]["value"]
    assert lines["loco", "all"]["reached"]["value"] == pytest.approx(1, abs=0.2)
    assert lines["blend", "all"]["psnr_outside"]["images"] == 0  # nothing changes outside at all
    rows = parquet.read_table(reported / "edits.parquet").to_pylist()
    assert {row["place"] for row in rows} == {"source", "held out"}
    assert len(rows[0]["meaning"]) == 48
    page = (reported / "index.html").read_text()
    assert page.count("data:image/png") == 3 * 3 * 2  # three cases of each method and region
    assert page.count("<svg") == 6  # four figures of the methods, two curves of the claims
    linked = set(re.findall(r'href="#([^"]+)"', page))
    assert linked <= set(re.findall(r'id="([^"]+)"', page))
    assert len(linked) > 3 * 2
    shown = [int(row) for row in re.findall(r"row (\d+) of edits.parquet", page)]
    assert len(shown) == 3 * 3 * 2
    assert all(rows[number]["row"] == number and rows[number]["place"] == "held out" for number in shown)
    assert lines["blend", "mouth"]["identity"]["value"] <= 1
    claims = {one["claim"]: one for one in record["claims"]["claims"]}
    assert claims["directions compose"]["holds"] is True
    assert "an image without the feature is not edited" not in claims  # hair was not among the regions
    told = parquet.read_table(reported / "claims.parquet").to_pylist()
    for answer in (one for claim in claims.values() for one in claim["answers"]):
        mine = [
            row for row in told if (row["figure"], row["setting"]) == (answer["figure"], answer["setting"])
        ]
        assert min(row["value"] for row in mine) <= answer["value"] <= max(row["value"] for row in mine)
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert json.loads((reported / "evaluation.json").read_text()) == record


def test_a_seed_renders_other_faces_beside_those_of_the_benchmark(loco, reported):
    asked = ("evaluate", "--quick", "--held-out", 2, "--roi", "mouth", "--method", "renderer")
    [own] = loco(*asked, "--out", reported, "--json").json
    [other] = loco(*asked, "--out", reported, "--seed", 5, "--json").json
    lines = {line["roi"]: line for line in own["table"]}
    assert lines["mouth"]["leakage"]["value"] < 0.3
    assert own["dataset"]["name"] == "faces"
    assert other["dataset"]["name"] == "faces-5"
    first = (reported / "faces" / "00000.png").read_bytes()
    assert (reported / "faces-5" / "00000.png").read_bytes() != first


def test_what_was_damaged_in_the_results_is_made_again(loco, tmp_path):
    asked = ("evaluate", "--quick", "--held-out", 2, "--roi", "mouth", "--method", "blend")
    asked = (*asked, "--out", tmp_path / "out", "--json")
    [first] = loco(*asked).json
    [part] = (tmp_path / "out" / "parts").iterdir()
    whole = part.read_bytes()
    face, mask = (tmp_path / "out" / "faces" / name for name in ("00003.png", "masks/mouth/00002.png"))
    faces = {path: path.read_bytes() for path in (face, mask)}
    spoilt = json.loads(whole)
    del spoilt["found"]["rows"][0]["leakage"]
    for damage in (
        whole[:200],
        b"",
        b"null",
        b'{"method": "blend"}',
        b'{"method": "blend", "rows": [{}], "cases": [], "cost": null}',
        whole.replace(b'"leakage": 0', b'"leakage": 1'),
        json.dumps(spoilt).encode(),
        json.dumps(spoilt["found"]).encode(),
    ):
        assert damage != whole
        part.write_bytes(damage)
        for path, data in faces.items():
            path.write_bytes(data[:200])
        again = loco(*asked)
        assert again.json == [first]
        assert f"{part} is damaged; it is measured again" in again.err
        assert part.read_bytes() == whole
        assert {path: path.read_bytes() for path in faces} == faces
    part.write_text(json.dumps(json.loads(whole)["found"]))  # as earlier programs left it
    kept = loco(*asked)
    assert kept.json == [first]
    assert "is damaged" not in kept.err


def test_images_of_a_dataset_that_are_left_out_are_told(loco, tmp_path):
    for _ in write_scenes(tmp_path / "photos", 7, 5, 32, ("mouth",)):
        pass
    loco("model", "add", "faces", "zoo:faces32")
    loco("dataset", "add", "photos", tmp_path / "photos", "--masks", tmp_path / "photos" / "masks")
    cut = tmp_path / "photos" / "00001.png"
    cut.write_bytes(cut.read_bytes()[:200])
    asked = (
        "evaluate",
        "--quick",
        "--held-out",
        3,
        "--model",
        "faces",
        "--dataset",
        "photos",
        "--roi",
        "mouth",
    )
    done = loco(*asked, "--scorer", "none", "--method", "blend", "--out", tmp_path / "out", "--json")
    assert "dataset 'photos': 1 image was left out, the first: 00001.png: " in done.err
    [why] = done.json[0]["images_left_out"]
    assert why.startswith("00001.png: ")
    assert done.json[0]["held_out"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--dataset", "photos"), 2, "name those to judge with --roi"),
        (("--dataset", "photos", "--roi", "mouth"), 2, "needs a model"),
        (("--dataset", "photos", "--roi", "mouth", "--seed", 1), 2, "none are"),
        (("--method", "best"), 2, "is not known"),
        (("--scorer", "nowhere"), 1, "does not exist"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(loco, tmp_path, arguments, code, said):
    failed = loco("evaluate", "--quick", "--held-out", 2, "--out", tmp_path / "out", *arguments, code=code)
    assert said in failed.err
