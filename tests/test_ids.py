"""Ids: equal exactly when what they are made of is equal."""

import hashlib
import json
import math
from dataclasses import dataclass, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loco.direction import basis_id, direction_id, edit_id
from loco.ids import ID_LENGTH, bytes_id, canonical, content_id, file_id
from loco.inversion import Grid
from loco.recipes import DiscoverRecipe, EditRecipe

texts = st.text(st.characters(exclude_categories=["Cs"]))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
recipes = st.builds(
    DiscoverRecipe,
    t=st.floats(0.01, 0.99),
    steps=st.integers(1, 50),
    rank=st.integers(1, 9),
    null_rank=st.integers(0, 9),
    tol=st.floats(1e-6, 0.5),
    max_rounds=st.integers(1, 20),
    min_retained=st.floats(0, 0.9),
    seed=st.integers(0, 9),
    dtype=st.sampled_from(["float32", "float64"]),
)


def reordered(value):
    """The same data with the keys of every mapping in the opposite order."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@given(plain)
def test_key_order_does_not_matter_and_nothing_is_lost(value):
    assert canonical(reordered(value)) == canonical(value)
    assert json.loads(canonical(value)) == value


@given(plain, plain)
def test_ids_are_equal_exactly_where_the_data_are(first, second):
    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (content_id("thing", first) == content_id("thing", second)) is same


@given(plain)
def test_an_id_is_32_hex_characters_and_of_its_kind(value):
    name = content_id("model", value)
    assert len(name) == ID_LENGTH
    assert set(name) <= set("0123456789abcdef")
    assert name != content_id("roi", value)


@given(recipes, recipes)
def test_each_knob_of_a_recipe_is_in_every_id(first, second):
    for knob in (field.name for field in fields(DiscoverRecipe)):
        changed = replace(first, **{knob: getattr(second, knob)})
        same = changed == first
        assert (content_id("recipe", changed) == content_id("recipe", first)) is same
        assert (basis_id("m", "i", changed, ("r",)) == basis_id("m", "i", first, ("r",))) is same
        assert (direction_id("m", "i", changed, "r", 0) == direction_id("m", "i", first, "r", 0)) is same


def test_the_algorithms_version_is_in_the_id_of_every_discovery_edit_and_path(monkeypatch):
    """A changed tolerance rule or solver never passes as the former one."""

    def ids():
        found, made = DiscoverRecipe(t=0.6), EditRecipe(t=0.6, directions=(("d", 1.0),))
        return {
            basis_id("m", "i", found, ("r",)),
            direction_id("m", "i", found, "r", 0),
            edit_id("m", "i", made),
            edit_id("m", "i", made, "r"),
            Grid.of(found).key("m", 1000, "i", found),
        }

    now = ids()
    assert len(now) == 5
    for room in ("loco.direction", "loco.inversion"):
        monkeypatch.setattr(f"{room}.ALGORITHM", 2)
    assert not now & ids()


def test_a_basis_id_depends_on_model_image_and_regions_in_any_order():
    recipe = DiscoverRecipe(t=0.6)
    given_ = basis_id("m", "i", recipe, ("a", "b"))
    assert basis_id("m", "i", recipe, ("b", "a")) == given_
    others = {
        basis_id("M", "i", recipe, ("a", "b")),
        basis_id("m", "I", recipe, ("a", "b")),
        basis_id("m", "i", recipe, ("a",)),
        basis_id("m", "i", recipe, ("ab",)),
    }
    assert len(others | {given_}) == 5


def test_a_direction_id_depends_on_model_image_region_and_index():
    recipe = DiscoverRecipe(t=0.6)
    calls = [
        ("m", "i", "r", 0),
        ("M", "i", "r", 0),
        ("m", "I", "r", 0),
        ("m", "i", "R", 0),
        ("m", "i", "r", 1),
    ]
    assert len({direction_id(m, i, recipe, r, k) for m, i, r, k in calls}) == 5


@dataclass(frozen=True)
class Thing:
    a: int
    b: tuple[str, ...]


def test_dataclasses_and_tuples_are_plain_data():
    assert canonical(Thing(1, ("x", "é"))) == '{"a":1,"b":["x","é"]}'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_are_finite(value):
    with pytest.raises(ValueError, match="an id takes finite numbers only, found") as caught:
        content_id("thing", {"deep": [value]})
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object(), Thing])
def test_all_else_is_refused(value):
    with pytest.raises(TypeError, match="an id takes plain data only, found"):
        content_id("thing", [value])


def test_checksums_are_sha256_of_bytes(tmp_path):
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    assert file_id(tmp_path / "file") == bytes_id(data) == hashlib.sha256(data).hexdigest()
