"""The API's catalogue: what the command line finds, with pages, cursors, facets and errors that say what to do."""

import numpy as np
import pytest
from safetensors.numpy import load

from tests.registry.builders import image_id, make_basis


def ids(items):
    return [one["id"] for one in items]


@pytest.mark.parametrize(
    ("params", "options"),
    [
        ({}, ""),
        ({"model": "faces"}, "--model faces"),
        ({"roi": ["mouth", "hair"]}, "--roi mouth --roi hair"),
        ({"t": "0.3..0.5"}, "--t 0.3..0.5"),
        ({"min_gain": 6, "sort": "leakage"}, "--min-gain 6 --sort leakage"),
        ({"converged": True}, "--converged"),
        ({"dataset": "portraits", "max_leakage": 0.02}, "--dataset portraits --max-leakage 0.02"),
        ({"where": "gain > 5"}, "--where 'gain > 5'"),
        ({"text": "MOU"}, "--text MOU"),
        ({"text": "001.png"}, "--text 001.png"),
    ],
)
def test_the_filters_are_those_of_the_command_line(served, loco, params, options):
    import shlex

    listed = loco("directions", "list", "--json", *shlex.split(options)).json
    found = served.ok("/directions", **params)
    assert ids(found["items"]) == ids(listed)
    assert found["total"] == len(listed)
    assert {**listed[0], "labels": []}.items() <= found["items"][0].items()


@pytest.mark.parametrize("params", [{"snr": "0.5..2"}, {"snr": "1"}, {"alpha_bar": "0.3..0.7"}])
def test_levels_are_one_number_or_two(looked, params):
    """None of these directions tells its level."""
    assert looked.ok("/directions", **params)["total"] == 0


def test_every_filter_of_the_registry_is_a_parameter(looked):
    from registry.index.selection import Filters

    told = looked.ok("/openapi.json")["paths"]["/api/v1/directions"]["get"]["parameters"]
    assert {one["name"] for one in told} == {*Filters.__annotations__, "start", "cursor"}


@pytest.mark.parametrize("sort", [None, "-gain", "leakage", "linear_range", "id", "-id", "found_at"])
def test_cursors_and_positions_tell_the_same_pages(looked, sort):
    params = {"limit": 2} | ({"sort": sort} if sort else {})
    everything = ids(looked.ok("/directions", **{**params, "limit": 100})["items"])
    assert len(everything) == 7
    by_cursor, cursor = [], None
    for start in range(0, 8, 2):
        at = looked.ok("/directions", **params, start=start)
        assert ids(at["items"]) == everything[start : start + 2]
        page = looked.ok("/directions", **params, **({"cursor": cursor} if cursor else {}))
        by_cursor += ids(page["items"])
        cursor = page["cursor"]
    assert by_cursor == everything
    assert cursor is None


@pytest.mark.parametrize(
    "cursor", ["x", "e30", "WzEsMiwzLDRd", "W251bGwsICJhIiwgMV0", "é", "W1siYSJdLCAiYiIsICJjIl0"]
)
def test_cursors_that_no_page_gave_are_refused(looked, cursor):
    answer = looked.get("/api/v1/directions", params={"cursor": cursor})
    assert answer.status_code == 400
    assert answer.json()["detail"] == "cursor: expected one that a page of the same filters and order gave"


@pytest.mark.parametrize(
    ("params", "status", "words"),
    [
        ({"bogus": 1}, 422, "query.bogus"),
        ({"t": "x"}, 400, "expected a number or a range such as 0.4..0.6"),
        ({"snr": "x"}, 400, "snr: expected a number or a range such as 0.4..0.6"),
        ({"snr": "0..2"}, 400, "snr: expected one number above 0, or the lower and the higher of two"),
        ({"alpha_bar": "-1"}, 400, "alpha_bar: expected one number above 0"),
        ({"sort": "nope"}, 400, "sort: expected one of id,"),
        ({"model": "nobody"}, 404, "no model is called 'nobody'"),
        ({"where": "1; drop table x"}, 400, "where"),
        ({"limit": 0}, 422, "limit"),
        ({"limit": 201}, 422, "limit"),
        ({"start": -1}, 422, "start"),
        ({"min_gain": "nan"}, 422, "min_gain"),
        ({"roi": ["x"] * 201}, 422, "roi"),
        ({"text": "x" * 2001}, 422, "text"),
        ({"text": "\0"}, 400, "NUL"),
        ({"status": "all'"}, 400, "status"),
    ],
)
def test_what_cannot_be_asked_is_told(looked, params, status, words):
    answer = looked.get("/api/v1/directions", params=params)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]


def test_facets_count_what_else_could_be_chosen(served, filled):
    filled.label(filled.find(roi="mouth")[0].id, "smile")
    filled.reject(filled.find(image="001.png")[0].id)
    found = served.ok("/facets", roi="mouth")["facets"]
    assert {one["value"]: one["count"] for one in found["roi"]} == {"hair": 5, "mouth": 1}
    assert [(one["value"], one["count"]) for one in found["t"]] == [(0.4, 1)]
    assert [(one["value"], one["count"]) for one in found["label"]] == [("smile", 1)]
    assert [one["title"] for one in found["model"]] == ["faces"]
    status = served.ok("/facets")["facets"]["status"]
    assert [(one["value"], one["count"]) for one in status] == [("kept", 6), ("rejected", 1)]
    assert served.ok("/facets", roi="hair")["ranges"]["gain"] == [4.0, 7.0]


def test_one_direction_with_everything_that_is_known(served, filled):
    one = filled.find(roi="mouth")[0]
    filled.label(one.id, "smile")
    filled.alias("smile@prod", one.id)
    told = served.ok(f"/directions/{one.id[:8]}")
    assert told["id"] == one.id
    assert sorted(told["labels"]) == ["smile", "smile@prod"]
    assert (told["image_name"], told["recipe"]["t"]) == ("face_007.png", 0.4)
    assert told["refused"] == [{"roi": "mouth", "index": 1, "cause": "nothing left"}]
    assert served.ok("/directions/smile@prod")["id"] == one.id
    assert [(each["action"], each["text"]) for each in served.ok(f"/directions/{one.id}/history")] == [
        ("label", "smile"),
        ("alias", "smile@prod"),
    ]
    vector = load(served.get(f"/api/v1/directions/{one.id}/vector").content)["vector"]
    assert np.array_equal(vector, filled.vectors([one])[0])


def test_similar_ones(looked):
    one = looked.registry.find(roi="hair")[0]
    found = looked.ok(f"/directions/{one.id}/similar", limit=3)
    assert ids(found) == [each.direction.id for each in looked.registry.similar(one.id, limit=3)]
    assert all(-1 <= each["cosine"] <= 1 for each in found)


def test_several_are_named_at_once_all_or_none(labeller, filled):
    keys = [one.id for one in filled.find(limit=3)]
    answer = labeller.post("/api/v1/events", json={"action": "label", "ids": keys, "text": "warm"})
    assert [one["direction_id"] for one in answer.json()] == keys
    assert {key for key, texts in filled.labels().items() if texts == ["warm"]} == set(keys)
    bad = {"action": "reject", "ids": [keys[0], "f" * 32], "text": ""}
    assert labeller.post("/api/v1/events", json=bad).status_code == 404
    assert filled.count() == 7
    assert labeller.post("/api/v1/events", json={**bad, "ids": keys[:2]}).status_code == 200
    assert filled.count() == 5
    assert labeller.ok("/directions", status="rejected")["items"][0]["rejected"] is True
    two = {"action": "alias", "ids": keys[:2], "text": "a@b"}
    assert "expected one direction" in labeller.post("/api/v1/events", json=two).json()["detail"]


def test_models_datasets_and_a_page_of_images(looked):
    assert looked.ok("/models")[0]["name"] == "faces"
    assert looked.ok("/datasets")[0]["images"] == 3
    found = looked.ok("/datasets/portraits/images", start=1, limit=1)
    assert (found["total"], found["items"][0]["id"]) == (3, image_id(1))
    assert looked.get("/api/v1/datasets/nobody/images").status_code == 404


def test_failed_items_name_the_image_that_they_are_of(served, filled):
    from registry.files import manifests
    from tests.registry.builders import make_run

    run = make_run(4, spec={"dataset": "portraits"})
    filled.start_run(run)
    told = [("001.png", "mouth"), ("never there.png", "")]
    lines = [{"kind": "failure", "image": name, "failures": [[roi, "torn"]]} for name, roi in told]
    manifests.append(filled.home, run.id, lines)
    found = served.ok(f"/jobs/{run.id}")["failures"]
    assert [one["image_id"] for one in found] == [image_id(1), None]
    assert found[0]["failures"] == [["mouth", "torn"]]
    elsewhere = make_run(5, spec={"images": "/somewhere"})
    filled.start_run(elsewhere)
    manifests.append(filled.home, elsewhere.id, lines)
    assert "image_id" not in served.ok(f"/jobs/{elsewhere.id}")["failures"][0]


def test_what_a_job_says_names_files_and_not_where_they_lie(served, filled):
    from flows.engine.progress import Logged
    from flows.engine.watch import Silence
    from registry.files import manifests
    from tests.registry.builders import make_run

    here = filled.home.root
    run = make_run(6, provenance={"error": f"{here}/models/m.safetensors: torn"})
    filled.start_run(run)
    lines = [
        {"kind": "failure", "image": "001.png", "cause": "/srv/secret/faces/001.png: torn"},
        {"kind": "failure", "image": "002.png", "failures": [["mouth", f"{here}/inputs/002.png: torn"]]},
        {"kind": "absent", "image": "003.png", "absent": "no mask at /srv/secret/masks/003.png"},
    ]
    manifests.append(filled.home, run.id, lines)
    Logged(Silence(), filled.home, run.id).say("failed: /srv/secret/faces/001.png: torn")
    found = served.ok(f"/jobs/{run.id}")
    assert found["provenance"]["error"] == "m.safetensors: torn"
    assert [one.get("cause") for one in found["failures"]] == ["001.png: torn", None]
    assert found["failures"][1]["failures"] == [["mouth", "002.png: torn"]]
    assert [line.split("  ")[1] for line in served.ok(f"/jobs/{run.id}/log")["lines"]] == [
        "failed: 001.png: torn"
    ]
    assert not any("secret" in str(served.ok(path)) for path in (f"/jobs/{run.id}", f"/jobs/{run.id}/log"))


def test_jobs_tell_how_they_stand(served, filled):
    from tests.registry.builders import make_edit, make_run

    run = make_run(3)
    filled.start_run(run)
    filled.add_edits([make_edit(0, run=3), make_edit(1, run=3)])
    assert served.ok("/jobs")["items"][0]["status"] == "done"
    told = served.ok(f"/jobs/{run.id[:8]}")
    assert (told["id"], told["failures"], told["prefect_page"]) == (run.id, [], None)
    sheet = served.ok(f"/jobs/{run.id}/sheet")
    assert [one["image"]["name"] for one in sheet["items"]] == ["face_000.png", "face_001.png"]
    edit = sheet["items"][0]["outputs"][0]["id"]
    assert served.get(f"/api/v1/jobs/{run.id}/outputs/{edit}.png").status_code == 422
    assert served.get(f"/api/v1/jobs/{run.id}/outputs/{'f' * 32}.png").status_code == 404
    assert served.get("/api/v1/jobs/ffffffff").status_code == 404


def test_an_empty_home_is_an_empty_catalogue(registry):
    from tests.cli.serve.conftest import Served

    client = Served(registry)
    assert client.ok("/directions") == {"total": 0, "start": 0, "cursor": None, "items": []}
    assert client.ok("/facets") == {"facets": {}, "ranges": {}}


def test_a_picture_without_image_shows_region_and_vector_and_says_why(looked):
    one = looked.registry.find(roi="hair")[0]
    answer = looked.get(f"/api/v1/directions/{one.id}/picture.png")
    assert answer.status_code == 200
    assert answer.content.startswith(b"\x89PNG")
    assert "X-Loco-Trouble" in answer.headers
    assert looked.get(f"/api/v1/directions/{'f' * 32}/picture.png").status_code == 404


@pytest.mark.parametrize(
    "job",
    [
        {"kind": "apply", "directions": [{"id": "f" * 32}], "strengths": [1], "dataset": "portraits"},
        {"kind": "apply", "directions": [], "strengths": [1], "dataset": "portraits"},
        {
            "kind": "apply",
            "directions": [{"id": "a" * 32}],
            "strengths": [1],
            "dataset": "portraits",
            "out": "/etc",
        },
        {"kind": "discover", "model": "faces", "dataset": "/etc", "rois": ["hair"]},
        {"kind": "discover", "model": "faces", "dataset": "portraits", "rois": ["hair=segment:/etc"]},
        {"kind": "discover", "model": "faces", "dataset": "portraits", "rois": ["hair"], "recipe": {"x": 1}},
        {
            "kind": "across",
            "model": "faces",
            "dataset": "portraits",
            "rois": ["hair"],
            "toward": "/etc/reader.safetensors#hair",
        },
        {
            "kind": "discover",
            "model": "faces",
            "dataset": "portraits",
            "rois": ["hair"],
            "toward": "zoo:reader#mouth_curve",
        },
        {"kind": "rm"},
    ],
)
def test_jobs_take_names_and_no_paths(serve_as, job):
    answer = serve_as("run").post("/api/v1/jobs", json=job)
    assert answer.status_code in (400, 404, 422), answer.text


def asked_for(registry, **fields):
    """The job that the API makes of what is asked."""
    from pydantic import TypeAdapter

    from cli.serve.jobs import Submitted, _job

    return _job(TypeAdapter(Submitted).validate_python(fields), registry, "run")


def test_without_strengths_directions_are_applied_as_the_command_line_applies_them(filled):
    one, other = (each.id for each in filled.find(limit=2))
    told = {"kind": "apply", "dataset": "portraits"}
    job = asked_for(filled, **told, directions=[{"id": one}])
    assert (job.directions, job.strengths) == (((one, None),), ())  # the recommended strength
    job = asked_for(filled, **told, directions=[{"id": one, "weight": -2}])
    assert (job.directions, job.strengths) == (((one, 1.0),), (-2.0,))
    job = asked_for(filled, **told, directions=[{"id": one}, {"id": other, "weight": 3}], strengths=[2])
    assert (job.directions, job.strengths) == (((one, 1.0), (other, 3.0)), (2.0,))


def test_scores_are_of_first_order_unless_a_strength_is_said(filled):
    from flows.jobs import ScoreJob

    key = filled.find(limit=1)[0].id
    told = {"kind": "score", "dataset": "portraits", "directions": [key]}
    assert asked_for(filled, **told) == ScoreJob((key,), "portraits")
    job = asked_for(filled, **told, strength=3, steps=5, skip=8, climbs=0, limit=9)
    assert job == ScoreJob((key,), "portraits", 3.0, 5, 9, skip=8, climbs=0)


def test_discovery_has_the_defaults_of_the_command_line(filled):
    from loco.recipes import ACROSS, DiscoverRecipe
    from loco.scorers.opening import open_scorer

    told = {"model": "faces", "dataset": "portraits", "rois": ["hair", "hair"]}
    job = asked_for(filled, kind="discover", **told, recipe={"t": 0.6})
    assert (job.rois, job.recipe) == (("hair",), DiscoverRecipe(t=0.6))
    job = asked_for(filled, kind="across", **told, recipe={"t": 0.6})
    assert job.recipe == DiscoverRecipe(t=0.6, method=ACROSS)
    job = asked_for(filled, kind="across", **told, recipe={"t": 0.6}, toward="zoo:reader#mouth_curve")
    assert job.scorer == "zoo:reader"
    assert job.recipe == DiscoverRecipe(t=0.6, rank=1, toward=f"{open_scorer('zoo:reader').id}#mouth_curve")


def test_pages_of_directions_that_share_a_value_and_lack_one(registry):
    from tests.cli.serve.conftest import Served

    registry.add(*(make_basis(number, rois=("hair", "mouth"), rank=2) for number in range(4)))
    client = Served(registry)
    everything = ids(client.ok("/directions", sort="linear_range", limit=100)["items"])
    found, cursor = [], None
    while True:
        page = client.ok(
            "/directions", sort="linear_range", limit=3, **({"cursor": cursor} if cursor else {})
        )
        found += ids(page["items"])
        cursor = page["cursor"]
        if cursor is None:
            break
    assert found == everything
    assert len(set(found)) == 16
