from tests.registry.builders import make_basis


def test_shown_and_changed(loco, filled, home, tmp_path):
    assert loco("registry", "store").out.splitlines() == ["artifacts  -", "dtype      float32"]
    shared = tmp_path / "shared"
    changed = loco("registry", "store", "--artifacts", shared, "--dtype", "float16", "--send", "--json").json
    assert changed == [{"artifacts": str(shared), "dtype": "float16", "sent": 4}]
    filled.add(make_basis(30))
    assert len(list(shared.glob("*/*.safetensors"))) == 5
    assert loco("registry", "store", "--artifacts", "", "--json").json == [
        {"artifacts": None, "dtype": "float16"}
    ]


def test_what_cannot_be(loco, home):
    assert "dtype: expected float32 or float16" in loco("registry", "store", "--dtype", "int8", code=2).err
    assert "there is no shared store" in loco("registry", "store", "--send", code=2).err
    assert not home.root.exists()
