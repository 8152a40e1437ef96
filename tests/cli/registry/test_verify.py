def test_all_is_well(loco, filled):
    outcome = loco("registry", "verify")
    assert (outcome.out, outcome.err) == ("", "catalogue and files agree")
    assert loco("registry", "verify", "--json").json == []


def test_problems(loco, filled, home):
    file = home.models / "faces.json"
    file.unlink()
    outcome = loco("registry", "verify", code=1)
    assert outcome.err == "problems: 1"
    assert [line.split("  ") for line in outcome.out.splitlines()][1] == [
        str(file),
        "in the catalogue, but the file is missing",
        "run `loco model add faces ...`",
    ]
    assert loco("registry", "verify", "--json", code=1).json == [
        {
            "subject": str(file),
            "trouble": "in the catalogue, but the file is missing",
            "remedy": "run `loco model add faces ...`",
        }
    ]
