"""The README's Python examples run as printed, on a pixel model and on a latent one."""

import re
from pathlib import Path

import pytest

from loco.images import read_image
from loco.zoo.folder import write_scenes
from tests.families import build

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with two faces and their mouths' masks."""
    monkeypatch.chdir(tmp_path)
    for _ in write_scenes(tmp_path / "faces", 1, 2, 32, ("mouth",)):
        pass
    return tmp_path


def run(text):
    exec(compile(text, "README.md", "exec"), {})


def test_each_takes_at_most_five_imports():
    assert len(EXAMPLES) == 2
    for text in EXAMPLES:
        assert 0 < len(re.findall(r"^(?:import|from) ", text, flags=re.MULTILINE)) <= 5


@pytest.mark.parametrize("kind", ["pixels", "latents"])
def test_the_first_runs_as_printed_and_ends_in_image_files(here, capsys, kind):
    text = EXAMPLES[0]
    if kind == "latents":
        build("stable_diffusion", here / "latent")
        text = text.replace("zoo:faces32", "latent")
    run(text)
    roi, _, gain, *files = capsys.readouterr().out.split()
    assert (roi, float(gain) > 0) == ("mouth", True)
    assert files == ["edited/00000.png", "edited/00001.png"]
    for file in files:
        before, after = read_image(here / "faces" / Path(file).name).pixels, read_image(here / file).pixels
        assert before.shape == after.shape
        assert (before != after).any()
    assert list((here / "my-home" / "bases").rglob("*.safetensors"))


def test_the_second_runs_as_printed_over_a_dataset_with_progress(here, capsys):
    run(EXAMPLES[1])
    lines = capsys.readouterr().out.splitlines()
    assert "discovering" in lines[0]
    assert [line.split()[:2] for line in lines[-2:]] == [["eyes", "2"], ["mouth", "2"]]
