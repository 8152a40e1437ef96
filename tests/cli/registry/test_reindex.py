def test_from_the_files(loco, filled, home):
    home.catalogue.unlink()
    outcome = loco("registry", "reindex")
    assert outcome.err == ""
    assert outcome.out.splitlines() == [
        "models      1",
        "datasets    1",
        "images      3",
        "rois        2",
        "runs        0",
        "bases       4",
        "directions  7",
        "edits       0",
        "damaged     0",
    ]
    assert len(filled.find()) == 7


def test_damaged_files(loco, filled, home):
    (home.models / "faces.json").write_text("{")
    outcome = loco("registry", "reindex", "--json", code=3)
    assert outcome.json[0]["damaged"] == 1
    assert outcome.err == "damaged files were passed over; `loco registry verify` names them"
