"""Directions that leave the tool: the code beside them makes the pixels of `loco apply` without this project."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.flows.helpers import picture, save

ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('loco', 'registry', 'flows', 'cli'):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import runpy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.mark.parametrize("strength", [3.0, -2.0])
def test_the_exported_code_makes_the_pixels_of_loco_apply(loco, filled, tiny, tmp_path, strength):
    one = filled.find(limit=1)[0]
    image = save(tmp_path / "small" / "one.png", picture(9, one.shape[2], one.shape[1]))
    out = tmp_path / "portable"
    loco("directions", "export", out, "--for", "diffusers", "--id", one.id)
    told = ("--images", image.parent, "--out", tmp_path / "out", "--steps", "20", "--beyond")
    loco("apply", "--direction", f"{one.id}:{strength}", *told)
    [wanted] = (tmp_path / "out").glob("one__*.png")
    words = [out / "apply_direction.py", tiny, image, tmp_path / "alone.png", f"--strength={strength}"]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    alone, applied = (np.asarray(Image.open(path)).astype(int) for path in (tmp_path / "alone.png", wanted))
    assert np.abs(alone - np.asarray(Image.open(image)).astype(int)).max() > 2
    assert np.abs(alone - applied).max() <= 1
    assert (alone == applied).mean() > 0.99


def test_a_card_shows_pictures_and_evidence_and_no_hostile_text(loco, filled, tmp_path):
    one = filled.find(limit=1)[0]
    filled.label(one.id, "<b>[x](javascript:1)")
    loco("directions", "export", tmp_path / "card", "--for", "card", "--id", one.id)
    text = (tmp_path / "card" / "README.md").read_text()
    assert "## \\<b\\>\\[x\\]\\(javascript:1\\)" in text
    assert f"| gain | {one.gain:.4g} |" in text
    assert (tmp_path / "card" / f"{one.id}.png").read_bytes().startswith(b"\x89PNG")


def test_what_the_code_does_not_know_is_refused(loco, filled, tmp_path):
    outcome = loco("directions", "export", tmp_path / "x", "--for", "diffusers", "--roi", "none", code=2)
    assert "no direction to export" in outcome.err
    filled.remove_model("tiny")
    assert (
        "is not registered here"
        in loco("directions", "export", tmp_path / "x", "--for", "diffusers", code=2).err
    )
    assert not (tmp_path / "x").exists()
