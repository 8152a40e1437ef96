"""`loco model check` on a small random model."""

from tests.families import build


def test_every_identity_is_shown_with_its_bound(loco, tmp_path):
    loco("model", "add", "mine", build("unet2d-v-cosine", tmp_path / "model"))
    outcome = loco("model", "check", "mine", "--t", 0.5, "--steps", 5)
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["identity", "measured", "bound", "holds"]
    assert len(lines) == 10
    assert all(line.endswith("yes") for line in lines[1:])
    rows = loco("model", "check", "mine", "--t", 0.5, "--steps", 5, "--json").json
    assert {row["name"] for row in rows} >= {"forward and reverse products are adjoint"}


def test_one_that_does_not_hold_is_said(loco, tmp_path):
    """One step from the image to t and back loses more than 20 dB leaves."""
    loco("model", "add", "mine", build("unet2d-v-cosine", tmp_path / "model"))
    outcome = loco("model", "check", "mine", "--t", 0.9, "--steps", 1, code=3)
    [line] = [line for line in outcome.out.splitlines() if "PSNR" in line]
    assert line.endswith("no")


def test_a_prompt_where_none_is_taken(loco, tmp_path):
    loco("model", "add", "mine", build("unet2d", tmp_path / "model"))
    assert "takes no prompt" in loco("model", "check", "mine", "--prompt", "a cat", code=2).err
