"""Lists, kept views and the map."""

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from registry.files.lists import list_path, read_list


def test_a_list_keeps_order_notes_and_who(labeller, filled):
    first, second = (one.id for one in filled.find(limit=2))
    told = {"note": "for the talk", "ids": [second, first[:8]], "notes": {first: "subtle"}}
    assert labeller.put("/api/v1/lists/talk", json=told).status_code == 200
    found = labeller.ok("/lists/talk")
    assert (found["ids"], found["notes"], found["who"]) == ([second, first], {first: "subtle"}, "a-label")
    assert [one["id"] for one in found["items"]] == [second, first]
    filled.reject(second)
    assert [one["id"] for one in labeller.ok("/lists/talk")["items"]] == [second, first]
    assert read_list(list_path(filled.home, "talk")).note == "for the talk"
    assert filled.verify() == []
    assert labeller.delete("/api/v1/lists/talk").status_code == 200
    assert labeller.get("/api/v1/lists/talk").status_code == 404


def test_eight_writers_lose_none_of_what_they_add(labeller, filled):
    keys = [one.id for one in filled.find()]

    def add(key):
        return labeller.post("/api/v1/lists/many/items", json={"ids": [key]}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(add, keys * 3)) == {200}
    assert set(labeller.ok("/lists/many")["ids"]) == set(keys)


def test_a_view_is_kept_as_its_filters(labeller):
    told = {"query": "roi=mouth&sort=leakage"}
    assert labeller.put("/api/v1/lists/mouths", json=told).status_code == 200
    assert labeller.ok("/lists")[0]["query"] == "roi=mouth&sort=leakage"


@pytest.mark.parametrize("name", ["..", "a b", ".lock", "x" * 101, "a%2fb", "a\\b"])
def test_names_that_are_no_files_are_refused(labeller, filled, name):
    assert labeller.put(f"/api/v1/lists/{name}", json={}).status_code in (400, 404, 405)
    assert not list((filled.home.root / "lists").glob("*"))


def test_a_damaged_list_is_named_by_verify(labeller, filled):
    labeller.put("/api/v1/lists/talk", json={})
    path = list_path(filled.home, "talk")
    changed = re.sub(r'"note": *""', '"note":"x"', path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)
    assert [one.subject for one in filled.verify()] == [str(path)]


def test_lists_need_the_role(looked, serve_as):
    assert looked.put("/api/v1/lists/x", json={}).status_code == 401
    assert serve_as("read").put("/api/v1/lists/x", json={}).status_code == 403


def test_the_map_is_the_two_main_axes_of_the_sketches(looked):
    found = looked.ok("/map")
    assert (found["total"], len(found["points"])) == (7, 7)
    places = np.array([[one["x"], one["y"]] for one in found["points"]])
    assert places.min(axis=0) == pytest.approx([0, 0])
    assert places.max(axis=0) == pytest.approx([1, 1])
    directions = {one.id: one for one in looked.registry.find()}
    from registry.files.sketches import sketch

    sketches = sketch(looked.registry.vectors([directions[one["id"]] for one in found["points"]]))
    _, sizes, axes = np.linalg.svd(sketches - sketches.mean(axis=0), full_matrices=False)
    for axis in (0, 1):
        along = (sketches - sketches.mean(axis=0)) @ axes[axis]
        assert abs(np.corrcoef(along, places[:, axis])[0, 1]) == pytest.approx(1, abs=1e-3)
    assert found["explained"] == pytest.approx((sizes[:2] ** 2).sum() / (sizes**2).sum(), abs=1e-3)
    assert [one["roi"] for one in looked.ok("/map", roi="mouth")["points"]] == ["mouth"]
