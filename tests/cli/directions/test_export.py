def test_chosen_directions(loco, filled, tmp_path):
    out = tmp_path / "hair.loco"
    assert loco("directions", "export", out, "--roi", "hair").out.splitlines() == [
        "directions  6",
        "bases       3",
        "models      1",
        f"file        {out}",
    ]
    one = filled.find(limit=1)[0]
    assert loco("directions", "export", out, "--id", one.short, "--json").json[0]["directions"] == 1
    assert loco("directions", "export", out, "--roi", "nose", code=2).err == (
        "error: export: no direction matches; fewer filters choose more"
    )
