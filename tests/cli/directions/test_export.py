def test_chosen_directions(loco, filled, tmp_path):
    out = tmp_path / "hair.loco"
    assert loco("directions", "export", out, "--roi", "hair").out.splitlines() == [
        "directions  6",
        "bases       3",
        "models      1",
        f"file        {out}",
    ]
    one = filled.find(roi="hair", limit=1)[0]
    told = loco("directions", "export", out, "--id", one.short, "--json").json[0]
    assert (told["chosen"], told["bases"], told["directions"]) == (1, 1, 2)
    assert loco("directions", "export", out, "--roi", "nose", code=2).err == (
        "error: export: no direction matches; fewer filters choose more"
    )


def test_the_directions_that_an_export_counts_are_those_that_an_import_brings(loco, filled, tmp_path):
    out = tmp_path / "one.loco"
    one = filled.find(roi="hair", limit=1)[0]
    told = loco("directions", "export", out, "--id", one.short).out
    assert told.splitlines()[0] == "directions  2 (1 chosen)"
    other = ("--home", str(tmp_path / "other"))
    assert loco("directions", "import", out, "--json", options=other).json[0]["directions"] == 2
    assert len(loco("directions", "list", "--json", options=other).json) == 2
