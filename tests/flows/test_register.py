"""From a direction to the model that it is applied with."""

import shutil

import pytest

from flows.register import model_for, model_record
from loco.errors import InputError


def test_of_a_models_names_one_that_still_lies_somewhere_is_taken(filled, tiny, tmp_path):
    direction = filled.find(limit=1)[0]
    [own] = [one for one in filled.models() if one.id == direction.model]
    gone = shutil.copytree(tiny, tmp_path / "gone")
    filled.add_model(model_record("a-gone", str(gone)))
    assert model_for(filled, direction).name == "a-gone"
    shutil.rmtree(gone)
    assert model_for(filled, direction) == own


def test_of_a_model_that_is_nowhere_the_first_name_is_told(filled, tiny, tmp_path):
    direction = filled.find(limit=1)[0]
    for one in filled.models():
        filled.remove_model(one.name)
    with pytest.raises(InputError, match="not registered here; add it with `loco model add NAME SOURCE`"):
        model_for(filled, direction)
    gone = shutil.copytree(tiny, tmp_path / "gone")
    filled.add_model(model_record("gone", str(gone)))
    shutil.rmtree(gone)
    assert model_for(filled, direction).name == "gone"
