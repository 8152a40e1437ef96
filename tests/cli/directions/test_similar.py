def test_the_nearest(loco, filled, home):
    one = filled.find(roi="hair", limit=1)[0]
    found = loco("directions", "similar", one.short, "--limit", 3, "--json").json
    assert len(found) == 3
    cosines = [abs(record["cosine"]) for record in found]
    assert cosines == sorted(cosines, reverse=True)
    assert found[0]["query"] == one.id
    assert (
        loco("directions", "similar", one.short, "--roi", "mouth").out.splitlines()[1].split()[1] == "mouth"
    )
    assert len(loco("directions", "similar", home.basis(one.basis_id), "--json").json) == 5


def test_duplicates_and_angles(loco, filled):
    one = filled.find(roi="hair", limit=1)[0]
    assert loco("directions", "similar", "--duplicates", "0.9").out == ""
    [record] = loco("directions", "similar", one.short, "--bases", one.basis_id, "--json").json
    assert max(record["angles"]) < 1e-3
    assert "give either an ID" in loco("directions", "similar", code=2).err
