def test_an_import_tells_as_many_directions_as_the_export_told(loco, filled, tmp_path):
    out = tmp_path / "all.loco"
    told = loco("--json", "directions", "export", out).json[0]["directions"]
    other = ("--home", str(tmp_path / "other"))
    assert loco("directions", "import", out, options=other).out.splitlines() == [
        f"directions added  {told}",
        "bases added       4",
        "bases known       0",
        "models added      1",
        "events added      0",
        "refused           0",
    ]
    there = loco("directions", "list", "--json", options=other).json
    here = loco("directions", "list", "--json").json
    for one in (*there, *here):  # images are called otherwise where their dataset is not known
        del one["image_name"], one["dataset"]
    assert there == here


def test_what_is_refused(loco, filled, tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        archive.writestr("../../evil", "x")
    outcome = loco("directions", "import", tmp_path / "x", code=3)
    assert outcome.err == "refused ../../evil: not a name that an export has"
