"""alpha_bar and log_snr in the catalogue: of new files, and of old ones by the schedule of their model."""

import json
import math
from dataclasses import replace

import pytest

from loco.errors import InputError
from loco.models.card import read_card
from loco.models.levels import alpha_bar
from loco.models.source import model_folder
from registry.files.basis import read_basis
from tests.registry.builders import dump, make_basis, make_model

BOTH = True
FACES = "zoo:faces32"


@pytest.fixture(scope="module")
def known():
    """The embedded model as a record, and alpha_bar of its steps."""
    folder = model_folder(FACES)
    card = read_card(folder)
    record = make_model(key=card.id, source=FACES, schedule=card.schedule, train_steps=card.train_steps)
    return record, alpha_bar(folder)


def levels(registry):
    return [(one.step, one.alpha_bar, one.log_snr) for one in registry.find(sort="id")]


def test_a_file_that_tells_its_level_is_catalogued_with_it(registry):
    basis = make_basis(0)
    told = tuple(replace(one, alpha_bar=0.75) for one in basis.directions)
    registry.add(replace(basis, directions=told))
    assert levels(registry) == [(600, 0.75, pytest.approx(math.log(3)))] * 2
    assert {one.alpha_bar for one in read_basis(registry.home.basis(basis.id)).directions} == {0.75}


@pytest.mark.parametrize("first", ["model", "files"])
def test_an_old_file_has_the_level_of_its_step_under_the_registered_models_schedule(registry, known, first):
    record, expected = known
    basis = make_basis(0, model=record.id, t=0.4)
    for thing in ("model", "files") if first == "model" else ("files", "model"):
        if thing == "model":
            registry.add_model(record)
        else:
            registry.add(basis)
    level = float(expected[400])
    assert levels(registry) == [(400, level, pytest.approx(math.log(level / (1 - level))))] * 2
    rows = dump(registry)["directions"]
    registry.reindex()
    assert dump(registry)["directions"] == rows


def test_where_the_model_is_not_known_nothing_is_said(registry, known):
    record, _ = known
    registry.add(make_basis(0), make_basis(1, model=record.id))
    assert levels(registry) == [(600, None, None)] * 4
    registry.add_model(replace(record, schedule="another"))  # the folder is no longer what was registered
    registry.add_model(make_model("gone", source="/nowhere"))
    assert levels(registry) == [(600, None, None)] * 4


@pytest.mark.parametrize("step", [-1, 1000, 2**30])
def test_a_step_that_the_model_does_not_have_has_no_level(registry, known, step):
    record, _ = known
    basis = make_basis(0, model=record.id)
    registry.add_model(record)
    registry.add(replace(basis, directions=tuple(replace(one, step=step) for one in basis.directions)))
    assert levels(registry) == [(step, None, None)] * 2


@pytest.fixture
def several(registry):
    """Directions at alpha_bar 0.9, 0.5, 0.1 and at no known one, all of them at t = 0.6."""
    for number, level in enumerate((0.9, 0.5, 0.1, None)):
        basis = make_basis(number, rank=1)
        registry.add(
            replace(basis, directions=tuple(replace(one, alpha_bar=level) for one in basis.directions))
        )
    return registry


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"snr": (0.5, 10.0)}, [0.9, 0.5]),
        ({"snr": 1.0}, [0.5]),
        ({"snr": 1.004}, [0.5]),
        ({"snr": 1.2}, []),
        ({"snr": (0.0001, 1.0)}, [0.5, 0.1]),
        ({"alpha_bar": (0.05, 0.5)}, [0.5, 0.1]),
        ({"alpha_bar": 0.9}, [0.9]),
        ({"where": "log_snr < 0"}, [0.1]),
        ({"where": "alpha_bar > 0.4 and point = 'inverted'"}, [0.9, 0.5]),
    ],
)
def test_directions_are_chosen_by_level(several, filters, expected):
    assert [one.alpha_bar for one in several.find(sort="-log_snr", **filters)] == expected


def test_they_are_sorted_grouped_and_written_by_it(several):
    assert [one.alpha_bar for one in several.find(sort="-log_snr")] == [0.9, 0.5, 0.1, None]
    assert {group["alpha_bar"]: group["count"] for group in several.grouped("alpha_bar")} == {
        0.9: 1,
        0.5: 1,
        0.1: 1,
        None: 1,
    }
    table = several.table(sort="-log_snr").to_pydict()
    assert table["alpha_bar"] == [0.9, 0.5, 0.1, None]
    assert table["log_snr"] == pytest.approx([math.log(9), 0.0, -math.log(9), None], abs=1e-12)
    assert table["point"] == ["inverted"] * 4


@pytest.mark.parametrize("value", [0.0, -1.0, (2.0, 1.0), (0.0, 1.0), (1.0, math.inf), math.nan])
@pytest.mark.parametrize("name", ["snr", "alpha_bar"])
def test_impossible_levels_are_refused(registry, name, value):
    registry.add(make_basis(0))
    with pytest.raises(InputError) as caught:
        registry.find(**{name: value})
    assert str(caught.value) == (
        f"{name}: expected one number above 0, or the lower and the higher of two, found {value!r}"
    )


def test_a_file_with_an_impossible_level_is_damaged(registry, home):
    basis = make_basis(0)
    told = tuple(replace(one, alpha_bar=0.75) for one in basis.directions)
    registry.add(replace(basis, directions=told))
    path = home.basis(basis.id)
    data = path.read_bytes().replace(b'\\"alpha_bar\\":0.75', b'\\"alpha_bar\\":1.75')
    from tests.registry.test_formats import of_format

    path.write_bytes(of_format(data, 3))
    [problem] = [one for one in registry.verify() if one.subject == str(path)]
    assert "alpha_bar must lie in [0, 1], found 1.75" in problem.trouble


def test_json_of_the_catalogue_is_finite(several):
    json.dumps([vars(one) for one in several.find()], allow_nan=False)
