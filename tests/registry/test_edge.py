"""Questions at the edge of what can be asked: an answer or a line, never a traceback; and several values at once."""

import pytest

from loco.errors import InputError
from tests.registry.builders import make_basis

BOTH = True


def test_chains_of_any_length_are_asked(filled):
    everything = len(filled.find())
    assert filled.count(where=" or ".join(["t<1"] * 1400)) == everything
    assert filled.count(where=" and ".join(["t<1"] * 1200)) == everything
    assert filled.count(where=" or ".join(["t<0 and t<1"] * 600)) == 0
    assert filled.count(where="not " * 58 + "t<1") == everything
    assert filled.count(where="(" * 59 + "t<1" + ")" * 59) == everything


def test_a_chain_keeps_its_meaning_beside_other_signs(filled):
    mixed = "t<0 or roi='hair' and t<1 or not (t<1 and t<2 and t<3) or roi='mouth' and t<0"
    assert filled.count(where=mixed) == filled.count(roi="hair")


@pytest.mark.parametrize(
    "asked",
    [
        {"where": "gain > " + "9" * 400},
        {"where": "gain > 1e400"},
        {"where": "(" * 3000 + "t<1" + ")" * 3000},
        {"where": "not " * 2000 + "t<1"},
        {"where": "x" * 1_000_000},
        {"where": "roi = 'a\0'"},
        {"roi": "x" * 1_000_000},
        {"roi": "a\0b"},
        {"roi": "\udcff"},
        {"image": "\udcff"},
        {"model": "\udcffaaaaaaaa"},
        {"label": "\udcff"},
        {"alias": "a@\udcff"},
        {"since": "9" * 400},
        {"sort": "\udcff"},
        {"roi": []},
        {"image": [str(number) for number in range(201)]},
    ],
)
def test_what_cannot_be_asked_is_wrong_usage(filled, asked):
    for ask in (filled.find, filled.count, lambda **some: filled.grouped("roi", **some)):
        if ask == filled.count and "sort" in asked:
            continue
        if "sort" in asked and ask != filled.find:
            continue
        with pytest.raises(InputError) as caught:
            ask(**asked)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["\udcff", "a\0b", "x" * 100_000])
def test_names_that_no_database_takes_are_wrong_usage(filled, name):
    for ask in (
        filled.dataset,
        filled.model,
        filled.direction,
        filled.run,
        lambda one: filled.direction(f"a@{one}"),
    ):
        with pytest.raises(InputError):
            ask(name)


def test_limits_beyond_the_database(filled):
    assert len(filled.find(limit=10**400)) == len(filled.find())
    assert len(filled.grouped("roi", limit=10**400)) == 2


def test_any_of_several_regions_and_images(filled):
    names = ["hair", "mouth"]
    both = filled.find(roi=names, sort="id")
    assert both == sorted((one for roi in names for one in filled.find(roi=roi)), key=lambda one: one.id)
    assert len({one.roi for one in both}) == 2
    assert filled.count(roi=names) == len(both)
    assert {group["roi"]: group["count"] for group in filled.grouped("roi", roi=names)} == {
        roi: filled.count(roi=roi) for roi in names
    }
    first, second = (make_basis(number).image_id for number in (0, 1))
    some = filled.find(image=[first, second[:8]])
    assert {one.image_id for one in some} == {first, second}
    assert filled.table(image=[first, second], roi=("hair",)).num_rows == len(some)
    assert filled.find(roi=["hair", "hair"]) == filled.find(roi="hair")
    assert filled.find(image=["nothing of that name", first]) == filled.find(image=first)
