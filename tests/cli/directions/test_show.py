from dataclasses import replace

from registry.home import Home
from tests.registry.builders import image_id, make_basis, make_transfer


def test_all_evidence(loco, filled, home: Home):
    direction = filled.find(roi="mouth")[0]
    file = home.basis(direction.basis_id)
    assert loco("directions", "show", direction.id[:6]).out.splitlines() == [
        f"id              {direction.id}",
        "region          mouth (masks/mouth.png), 75.0% of the image",
        "index           0",
        f"image           face_007.png (sha256 {image_id(7)})",
        f"model           faces (id {direction.model})",
        "t               0.4 (training step 400)",
        "size            5 x 4 x 3",
        "gain            12",
        "leakage         0.08",
        "retained        0.9",
        "singular value  17",
        "residual        0.001",
        "converged       yes",
        "linear range    -",
        "method          projected",
        "recipe          t 0.4, steps 20, rank 2, null_rank 5, tol 0.01, max_rounds 50, min_retained 0.05, "
        "seed 0, dtype float32",
        "refused         mouth 1: nothing left",
        "cost            40 Jacobian products, 90 network evaluations",
        "provenance      device cpu, seconds 1.5",
        f"basis file      {file}",
    ]
    [record] = loco("directions", "show", direction.id, "--json").json
    assert record["basis_file"] == str(file)
    assert record["recipe"]["t"] == 0.4
    assert record["refused"] == [{"roi": "mouth", "index": 1, "cause": "nothing left"}]
    assert (record["id"], record["gain"], record["image_name"]) == (direction.id, 12.0, "face_007.png")


def test_what_a_level_means_is_told_with_it(loco, registry):
    basis = make_basis(0, rank=1)
    registry.add(replace(basis, directions=tuple(replace(one, alpha_bar=0.75) for one in basis.directions)))
    shown = loco("directions", "show", basis.directions[0].id)
    assert "t               0.6 (training step 600, alpha_bar 0.75, log SNR 1.1)" in shown.out.splitlines()
    [record] = loco("directions", "show", basis.directions[0].id, "--json").json
    assert (record["alpha_bar"], round(record["log_snr"], 4), record["point"]) == (0.75, 1.0986, "inverted")


def test_ids_that_are_none(loco, filled):
    short = "error: direction 'abc' is too short: give 6 to 32 characters of 0-9 and a-f"
    assert loco("directions", "show", "abc", code=2).err == short
    missing = "error: no direction has an id beginning with 'ffffffff'; `loco directions list` shows those there are"
    assert loco("directions", "show", "ffffffff", code=2).err == missing


def test_a_missing_file(loco, filled, home):
    direction = filled.find(roi="mouth")[0]
    home.basis(direction.basis_id).unlink()
    assert f"{direction.basis_id}.safetensors" in loco("directions", "show", direction.id, code=1).err


def test_names_and_how_it_does_on_other_images(loco, filled):
    direction = filled.find(roi="hair", limit=1)[0]
    filled.label(direction.id, "fringe")
    filled.add_transfers([make_transfer(direction.id, transfer=0.75, strength=6.5)])
    lines = dict(line.split("  ", 1) for line in loco("directions", "show", direction.id).out.splitlines())
    told = {name: text.strip() for name, text in lines.items()}
    assert (told["dataset"], told["label"]) == ("portraits", "fringe")
    assert told["scored on"] == "4 images of portraits with the region, 2026-11-22T09:00"
    assert (told["transfer"], told["strength"]) == ("0.75", "6.5")
    assert told["transfer gain"] == ("3 (95 %: 2.5 to 3.5), 1 |▄█ ▄| 5, nine of ten within 1 to 5")
    assert (told["responds most"], told["responds middling"]) == ("001.png", "000.png")
    assert told["responds hardly"] == "f" * 12
    assert [name for name in told if name.startswith("responds")] == [
        "responds most",
        "responds middling",
        "responds hardly",
    ]
    [record] = loco("directions", "show", direction.id, "--json").json
    assert (record["dataset"], record["model_name"], record["label"]) == ("portraits", "faces", "fringe")
    assert record["transfer"]["strength"] == 6.5
