"""What a user names a model by."""

import shutil

import pytest

from loco.errors import ModelError
from loco.models.card import read_card
from loco.models.source import ZOO, model_folder
from tests.toys import save_pipeline


def test_a_folder_and_a_zoo_name(tmp_path):
    assert model_folder(str(tmp_path)) == tmp_path
    assert model_folder("zoo:faces32") == ZOO / "faces32"
    with pytest.raises(ModelError, match="zoo model 'no' does not exist; known are: faces32"):
        model_folder("zoo:no")


def test_a_hub_name_is_found_in_the_hub_s_cache(tmp_path, monkeypatch):
    """As the hub's client lays it out; offline nothing else is tried."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--owner--faces"
    commit = "0123456789abcdef0123456789abcdef01234567"
    saved = save_pipeline(tmp_path / "saved")
    shutil.copytree(saved, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    for source in ("hub:owner/faces", f"hub:owner/faces@{commit}"):
        assert read_card(model_folder(source)).id == read_card(saved).id
    with pytest.raises(ModelError, match="hub model 'owner/other' cannot be fetched: "):
        model_folder("hub:owner/other")


@pytest.mark.parametrize("source", ["hub:", "hub:name", "hub:../../etc", "hub:a/b/c", "hub:a/b@", "hub:-a/b"])
def test_names_that_are_none(source):
    with pytest.raises(ModelError, match="expected hub:OWNER/NAME"):
        model_folder(source)
