from registry.home import Home
from tests.registry.builders import image_id


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


def test_ids_that_are_none(loco, filled):
    short = "error: direction 'abc' is too short: give 6 to 32 characters of 0-9 and a-f"
    assert loco("directions", "show", "abc", code=2).err == short
    missing = "error: no direction has an id beginning with 'ffffffff'; `loco directions list` shows those there are"
    assert loco("directions", "show", "ffffffff", code=2).err == missing


def test_a_missing_file(loco, filled, home):
    direction = filled.find(roi="mouth")[0]
    home.basis(direction.basis_id).unlink()
    assert f"{direction.basis_id}.safetensors" in loco("directions", "show", direction.id, code=1).err
