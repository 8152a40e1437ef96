from tests.registry.builders import image_id, make_dataset


def test_all_that_is_known(loco, filled):
    outcome = loco("dataset", "show", "portraits")
    assert outcome.err == "unreadable: torn.png: truncated"
    assert outcome.out.splitlines() == [
        "name        portraits",
        f"id          {make_dataset().id}",
        "path        /data/portraits",
        "masks       -",
        "images      3",
        "unreadable  1",
        "regions     hair, mouth",
        "added       2026-11-20T10:00:01.250000",
        "",
        "image       size  sha256",
        *(f"00{number}.png  64 x 48  {image_id(number)}" for number in range(3)),
    ]


def test_the_first_images_of_many(loco, registry):
    registry.add_dataset(make_dataset(numbers=range(33), unreadable=()))
    outcome = loco("dataset", "show", "portraits")
    assert len(outcome.out.splitlines()) == 8 + 2 + 20
    assert outcome.err == "and 13 more; --json shows all"
    outcome = loco("dataset", "show", "portraits", "--json")
    assert outcome.err == ""
    [record] = outcome.json
    assert record["images"][32] == {"id": image_id(32), "name": "032.png", "width": 64, "height": 48}


def test_an_unknown_one(loco):
    message = "no dataset is called 'none'; none is registered yet; add one with `loco dataset add NAME PATH`"
    assert loco("dataset", "show", "none", code=2).err == f"error: {message}"
