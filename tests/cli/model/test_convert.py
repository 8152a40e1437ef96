"""`loco model convert` from a checkpoint to a model that can be added."""

import torch

from tests.models.test_adm import state_of


def test_a_checkpoint_becomes_a_model(loco, registry, tmp_path):
    torch.save(state_of("p2"), tmp_path / "model.pt")
    options = (
        "model",
        "convert",
        tmp_path / "model.pt",
        tmp_path / "out",
        "--size",
        16,
        "--head-channels",
        32,
    )
    outcome = loco(*options)
    assert outcome.out.splitlines()[-1].split() == ["weights", "985,478"]
    assert outcome.err == f"add it with `loco model add NAME {tmp_path / 'out'}`"
    loco("model", "add", "mine", tmp_path / "out")
    assert registry.model("mine").shape == (3, 16, 16)
    assert "exists already" in loco(*options, code=2).err


def test_what_cannot_be(loco, tmp_path):
    (tmp_path / "model.pt").write_bytes(b"none")
    missing = loco("model", "convert", tmp_path / "model.pt", tmp_path / "out", code=1).err
    assert missing.startswith(f"error: checkpoint {tmp_path / 'model.pt'}")
    both = ("--heads", 4, "--head-channels", 64)
    assert "pass one of them" in loco("model", "convert", "a.pt", "b", *both, code=2).err
