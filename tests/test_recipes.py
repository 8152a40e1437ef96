"""Recipes: every knob has a range, and what is outside is named."""

import math

import pytest

from loco.errors import InputError
from loco.ids import content_id
from loco.recipes import DiscoverRecipe, EditRecipe, build_recipe, read_recipe


def message(kind, **values):
    with pytest.raises(InputError) as caught:
        kind(**values)
    return str(caught.value)


@pytest.mark.parametrize("kind", [DiscoverRecipe, EditRecipe])
@pytest.mark.parametrize("t", [0, 1, 0.0, 1.0, -0.1, 1.5, math.nan, math.inf, True, "0.6", None])
def test_t_is_strictly_between_0_and_1(kind, t):
    values = {"directions": (("a", 1.0),)} if kind is EditRecipe else {}
    assert message(kind, t=t, **values) == f"recipe: t must lie in (0, 1), found {t!r}"


@pytest.mark.parametrize(
    ("knob", "least", "most"),
    [
        ("steps", 1, 10_000),
        ("rank", 1, 10_000),
        ("null_rank", 0, 10_000),
        ("max_rounds", 1, 10_000),
        ("seed", 0, 2**63 - 1),
    ],
)
def test_counts_are_whole_numbers_from_their_least_to_their_most(knob, least, most):
    assert getattr(DiscoverRecipe(t=0.5, **{knob: least}), knob) == least
    assert getattr(DiscoverRecipe(t=0.5, **{knob: most}), knob) == most
    for value in (least - 1, most + 1, 10**400, 2.0, math.nan, math.inf, True, "3", None):
        expected = f"recipe: {knob} must be a whole number from {least} to {most}, found {value!r:.80}"
        assert message(DiscoverRecipe, t=0.5, **{knob: value}) == expected


@pytest.mark.parametrize("tol", [0, 1, -0.1, math.nan, math.inf, "0.1", None, True])
def test_tol_is_strictly_between_0_and_1(tol):
    assert message(DiscoverRecipe, t=0.5, tol=tol) == f"recipe: tol must lie in (0, 1), found {tol!r}"


@pytest.mark.parametrize("value", [-0.1, 1, math.nan])
def test_min_retained_may_be_0_but_not_1(value):
    expected = f"recipe: min_retained must lie in [0, 1), found {value!r}"
    assert message(DiscoverRecipe, t=0.5, min_retained=value) == expected


def test_a_whole_number_is_the_same_recipe_as_its_float():
    ids = {content_id("recipe", DiscoverRecipe(t=0.5, min_retained=zero)) for zero in (0, 0.0)}
    assert len(ids) == 1
    ids = {content_id("recipe", EditRecipe(t=0.5, directions=(("a", one),))) for one in (1, 1.0)}
    assert len(ids) == 1


@pytest.mark.parametrize("kind", [DiscoverRecipe, EditRecipe])
def test_dtype_is_one_of_four(kind):
    values = {"directions": (("a", 1.0),)} if kind is EditRecipe else {}
    expected = "recipe: dtype must be one of float32, float64, bfloat16, float16, found 'int8'"
    assert message(kind, t=0.5, dtype="int8", **values) == expected


def test_edit_recipes_count_steps_too():
    expected = "recipe: steps must be a whole number from 1 to 10000, found 0"
    assert message(EditRecipe, t=0.5, directions=(("a", 1.0),), steps=0) == expected


def test_directions_are_pairs():
    recipe = EditRecipe(t=0.5, directions=[["a", 1], ["b", "-2.5"]])
    assert recipe.directions == (("a", 1.0), ("b", -2.5))
    assert hash(recipe) == hash(EditRecipe(t=0.5, directions=(("a", 1.0), ("b", -2.5))))


@pytest.mark.parametrize("directions", [("abc",), (("a", "strong"),), (("a", 1.0, 2.0),), (("a", None),), 3])
def test_what_is_not_a_pair_is_refused(directions):
    expected = f"recipe: directions must be pairs of an id and a strength, found {directions!r}"
    assert message(EditRecipe, t=0.5, directions=directions) == expected


def test_an_edit_has_at_least_one_direction():
    expected = "recipe: directions must name at least one direction, found none"
    assert message(EditRecipe, t=0.5, directions=()) == expected


@pytest.mark.parametrize("strength", [math.nan, math.inf, -math.inf, 1.1e6, -1e300])
def test_strengths_are_finite_and_not_beyond_all_measure(strength):
    expected = f"recipe: abc: strength must lie in [-1000000, 1000000], found {strength!r}"
    assert message(EditRecipe, t=0.5, directions=(("abc", strength),)) == expected


def test_an_unknown_knob_is_named_with_the_known_ones():
    with pytest.raises(InputError) as caught:
        build_recipe(DiscoverRecipe, {"t": 0.5, "null_rnak": 3})
    assert str(caught.value) == (
        "recipe: unknown name 'null_rnak'; known are t, steps, rank, null_rank, tol, max_rounds, "
        "min_retained, seed, dtype, prompt, negative, guidance, edit_prompt, edit_guidance, rows, "
        "solver, method, null_energy, ridge, forward, ranged, point, draws, images_per_round, aligned, toward"
    )


def test_a_missing_knob_is_named():
    with pytest.raises(InputError, match=r"recipe: .* required positional argument: 't'"):
        build_recipe(DiscoverRecipe, {"rank": 3})


def test_a_value_of_the_wrong_type_is_an_input_error():
    with pytest.raises(InputError, match=r"recipe: tol must lie in \(0, 1\), found 'small'"):
        build_recipe(DiscoverRecipe, {"t": 0.5, "tol": "small"})


def test_toml_goes_in(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text("t = 0.7\nrank = 2\n")
    assert build_recipe(DiscoverRecipe, read_recipe(path)) == DiscoverRecipe(t=0.7, rank=2)
    path.write_text('t = 0.7\ndirections = [["abc", 4]]\n')
    assert build_recipe(EditRecipe, read_recipe(path)) == EditRecipe(t=0.7, directions=(("abc", 4.0),))


def test_files_that_are_no_recipe(tmp_path):
    path = tmp_path / "recipe.toml"
    with pytest.raises(InputError) as caught:
        read_recipe(path)
    assert str(caught.value) == f"recipe file {path} does not exist"
    for content in (b"t = = 1", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_recipe(path)
        assert str(caught.value).startswith(f"recipe file {path} is not TOML: ")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("steps = 0x" + "f" * 10_000, "steps is a number of 40000 bits, expected up to 64"),
        ("prompt = [0x" + "f" * 10_000 + "]", "prompt is a number of 40000 bits, expected up to 64"),
        (f"t.{'a.' * 5000}b = 1", "t is nested more than 8 deep"),
    ],
)
def test_what_no_message_can_show_is_refused_with_words(tmp_path, text, why):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=why):
        read_recipe(path)


def test_a_name_too_long_is_no_file(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_recipe(tmp_path / ("x" * 300))


def test_levels_at_one_t_are_no_levels_and_others_say_what_they_must():
    two = (("a" * 32, 1.0), ("b" * 32, 2.0))
    plain = EditRecipe(t=0.5, directions=two)
    assert EditRecipe(t=0.5, directions=two, levels=(0.5, 0.5)) == plain
    assert content_id("recipe", EditRecipe(t=0.5, directions=two, levels=(0.3, 0.5))) != content_id(
        "recipe", plain
    )
    for levels in ((0.3,), (0.3, 0.4), (0.3, 0.6), (0.3, 0.5, 0.5)):
        with pytest.raises(InputError, match="levels must be one for each of the 2 directions"):
            EditRecipe(t=0.5, directions=two, levels=levels)
    with pytest.raises(InputError, match="levels"):
        EditRecipe(t=0.5, directions=two, levels=(-0.1, 0.5))
    for more in ({"unit": "sd"}, {"preview": True}):
        with pytest.raises(InputError, match="of one noise level"):
            EditRecipe(t=0.5, directions=two, levels=(0.3, 0.5), **more)
