"""Audits and names through real files: a tiny model, ten images, a reader that is written as a file."""

import csv
import json

import numpy as np
import pytest
import torch

from flows.register import dataset_record
from flows.studies.meaning import audit
from loco.errors import InputError, ModelError
from loco.scorers.reader import ARCHITECTURES, ReaderCard, write_reader
from loco.scorers.scorer import Scorer
from tests.flows.helpers import Words, patch, picture, save


@pytest.fixture
def many(filled, tmp_path):
    """Ten more images, the last two without the region, as dataset `many`."""
    folder = tmp_path / "many"
    for number in range(10):
        save(folder / f"{number}.png", picture(100 + number))
        save(folder / "masks" / "patch" / f"{number}.png", patch() if number < 8 else 0 * patch())
    filled.add_dataset(dataset_record("many", folder))
    return filled


@pytest.fixture
def along(many):
    """A scorer whose first number is how far an image lies along a direction, and whose second sees nothing."""
    [direction] = many.find(limit=1)
    vector = torch.from_numpy(many.vectors([direction])[0])
    calls = []

    def score(images):
        calls.append(len(images))
        return torch.stack([(images * vector).sum((1, 2, 3)), 0 * images[:, 0, 0, 0]], 1)

    words = (("less so", "more so"), ("less", "more"))
    return Scorer("0" * 32, "test:along", ("along", "nothing"), words, "steps", score), direction, calls


@pytest.fixture
def reader(tmp_path):
    """A reader's file: its numbers are those of an untrained network."""
    torch.manual_seed(1)
    card = ReaderCard(
        "plain", 12, (4, 8, 8), ("one", "two"), (("less one", "more one"), ("less two", "more two"))
    )
    path = tmp_path / "reader.safetensors"
    write_reader(path, ARCHITECTURES["plain"](card).eval(), card)
    return path


def test_what_is_added_rises_and_what_is_taken_away_falls_on_images_that_have_the_region(many, along):
    scorer, direction, calls = along
    [found] = audit(many, scorer, [(direction, 4.0)], "many", Words(), images=20, steps=2)
    assert (found.direction.id, found.strength, found.images) == (direction.id, 4.0, 8)
    assert found.plus[0].rising == 1
    assert found.minus[0].rising == 0
    assert found.plus[0].beyond_chance
    assert not found.plus[1].beyond_chance
    spent = len(calls)
    again = audit(many, scorer, [(direction, 4.0)], "many", Words(), images=20, steps=2)
    assert again == [found]
    assert len(calls) == spent  # every reading was in the cache
    audit(many, scorer, [(direction, 2.0)], "many", Words(), images=20, steps=2)
    assert len(calls) > spent


def test_the_image_that_a_direction_was_found_on_is_not_asked(many, along):
    scorer, direction, _ = along
    with pytest.raises(InputError, match="5 images of dataset 'photos' have patch, at least 6 are needed"):
        audit(many, scorer, [(direction, 4.0)], "photos", Words(), images=20, steps=2)


def test_a_scorer_without_finite_numbers_is_no_ground_for_anything(many, along, loco):
    scorer, direction, _ = along
    broken = Scorer(
        "1" * 32, "test:nan", scorer.names, scorer.words, "", lambda x: scorer.score(x) * torch.nan
    )
    with pytest.raises(InputError, match=r"0 images of dataset 'many' have patch.*not finite"):
        audit(many, broken, [(direction, 4.0)], "many", Words(), steps=2)


def test_audit_tables_every_number_with_its_interval(loco, many, reader, tmp_path):
    [direction] = many.find(limit=1)
    words = (
        "audit",
        "--scorer",
        reader,
        "--direction",
        f"{direction.short}:4",
        "--dataset",
        "many",
        "--steps",
        2,
    )
    told = loco("--json", *words)
    rows = [json.loads(line) for line in told.out.splitlines()]
    assert {row["number"] for row in rows} == {"one", "two"}
    for row in rows:
        assert row["plus_low"] <= row["plus"] <= row["plus_high"]
        assert (row["images"], row["strength"], row["roi"]) == (8, 4.0, "patch")
    loco(*words, "--out", tmp_path / "audit.csv")
    with (tmp_path / "audit.csv").open() as file:
        assert [float(row["plus"]) for row in csv.DictReader(file)] == pytest.approx(
            [row["plus"] for row in rows]
        )
    assert "interval" in loco(*words, "--top", 1).out


def test_a_name_is_kept_as_the_scorers_label_beside_a_persons(loco, many, reader, monkeypatch):
    monkeypatch.setattr("loco.measure.meaning.CHANCE", 1.1)  # an untrained reader says nothing beyond chance
    [direction] = many.find(limit=1)
    many.label(direction.id, "mine", who="ana")
    words = (
        "directions",
        "name",
        "--image",
        direction.image_id,
        "--on",
        "many",
        "--scorer",
        reader,
        "--steps",
        2,
    )
    [row] = [json.loads(line) for line in loco("--json", *words, "--dry-run").out.splitlines()]
    assert (row["direction"], row["kept"]) == (direction.id, False)
    assert many.labels() == {direction.id: ["mine"]}
    [row] = [json.loads(line) for line in loco("--json", *words).out.splitlines()]
    assert row["kept"]
    assert many.labels() == {direction.id: ["mine", row["plus"]]}
    [_, event] = many.history(direction.id)
    assert (event.author_kind, event.who, event.score) == ("scorer", str(reader)[-200:], row["score"])
    assert "signed-rank test over 8 images of many" in event.method
    assert "(scorer)" in loco("directions", "history").out


def test_images_are_asked_for_before_anything_is_opened(loco, many, reader):
    assert "--on NAME" in loco("directions", "name", "--scorer", reader, code=2).err
    assert (
        "is no attribute reader"
        in loco(
            "directions", "name", "--on", "many", "--scorer", _broken(reader), code=ModelError.exit_code
        ).err
    )


def _broken(reader):
    path = reader.with_name("broken.safetensors")
    path.write_bytes(reader.read_bytes()[: len(reader.read_bytes()) // 2])
    return path


def test_readings_of_an_image_do_not_depend_on_which_directions_came_with_it(many, along):
    scorer, direction, _ = along
    other = next(one for one in many.find() if one.id != direction.id)
    [alone] = audit(many, scorer, [(direction, 3.0)], "many", Words(), steps=2)
    together = audit(many, scorer, [(other, 3.0), (direction, 3.5)], "many", Words(), steps=2)
    assert np.isclose(together[1].plus[0].change / alone.plus[0].change, 3.5 / 3, rtol=0.2)
