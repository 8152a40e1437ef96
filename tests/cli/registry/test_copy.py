def test_to_another_file_and_not_onto_it(loco, filled, tmp_path):
    url = f"duckdb:///{tmp_path}/copy.duckdb"
    [counts] = loco("registry", "copy", "home", url, "--json").json
    assert (counts["directions"], counts["bases"], counts["models"]) == (7, 4, 1)
    assert loco("directions", "list", "--registry", url).out == loco("directions", "list").out
    assert "--replace takes its place" in loco("registry", "copy", "home", url, code=2).err
    assert loco("registry", "copy", "home", url, "--replace", "--json").json == [counts]


def test_from_nothing(loco, tmp_path):
    assert (
        "there is no catalogue at" in loco("registry", "copy", "home", f"duckdb:///{tmp_path}/x", code=2).err
    )
