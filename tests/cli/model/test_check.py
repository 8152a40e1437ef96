"""`loco model check` on a small random model."""

from safetensors.torch import load_file, save_file

from tests.families import build
from tests.toys import save_pipeline, tiny_network


def test_every_identity_is_shown_with_its_bound(loco, tmp_path):
    loco("model", "add", "mine", build("unet2d-v-cosine", tmp_path / "model"))
    outcome = loco("model", "check", "mine", "--t", 0.5, "--steps", 5)
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["identity", "measured", "bound", "holds"]
    assert len(lines) == 10
    assert sum(line.endswith("yes") for line in lines) == 7
    assert sum("usual: " in line for line in lines) == 2
    rows = loco("model", "check", "mine", "--t", 0.5, "--steps", 5, "--json").json
    assert {row["name"] for row in rows} >= {"forward and reverse products are adjoint"}


def test_a_sound_model_of_random_weights_passes_however_badly_it_is_inverted(loco, tmp_path):
    """Below 20 dB: what comes back depends on how smooth the network is, and says nothing of how it is read."""
    loco("model", "add", "mine", save_pipeline(tmp_path / "model", network=tiny_network(sample_size=16)))
    rows = loco("model", "check", "mine", "--t", 0.9, "--steps", 2, "--json", code=0).json
    [figure] = [row for row in rows if "PSNR" in row["name"]]
    assert (figure["value"] < 20, figure["bound"], figure["holds"]) == (True, None, True)
    assert "random weights" in figure["usual"]


def test_one_that_does_not_hold_is_said(loco, tmp_path):
    """A network that bends within the step of a difference has no product that one could give."""
    folder = build("unet2d", tmp_path / "model")
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    for name in [one for one in tensors if "norm" in one and one.endswith("weight")]:
        tensors[name] *= 30
    save_file(tensors, path, metadata={"format": "pt"})
    loco("model", "add", "mine", folder)
    outcome = loco("model", "check", "mine", "--t", 0.9, "--steps", 1, code=3)
    assert any(line.endswith("no") for line in outcome.out.splitlines())


def test_a_prompt_where_none_is_taken(loco, tmp_path):
    loco("model", "add", "mine", build("unet2d", tmp_path / "model"))
    assert "takes no prompt" in loco("model", "check", "mine", "--prompt", "a cat", code=2).err
