import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    (folder / "masks").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(folder / f"{number}.png")
    Image.new("L", (8, 6), 255).save(folder / "masks" / "sky.png")
    return folder


def test_a_folder(loco, registry, folder):
    outcome = loco("dataset", "add", "photos", folder)
    record = registry.dataset("photos")
    assert outcome.out.splitlines() == [
        "name        photos",
        f"id          {record.id}",
        f"path        {folder}",
        f"masks       {folder}/masks",
        "images      3",
        "unreadable  0",
        "regions     sky",
        f"added       {record.added_at}",
    ]
    assert outcome.err == ""
    assert [(one.name, one.width, one.height) for one in record.images] == [
        (f"{n}.png", 8, 6) for n in range(3)
    ]
    assert (record.rois, record.unreadable) == (("sky",), ())


def test_unreadable_images_are_named_and_the_exit_code_is_3(loco, registry, folder):
    (folder / "torn.png").write_bytes(b"no image")
    outcome = loco("dataset", "add", "photos", folder, code=3)
    assert outcome.err.startswith(f"unreadable: torn.png: {folder}/torn.png")
    assert len(registry.dataset("photos").images) == 3
    outcome = loco("dataset", "add", "photos", folder, "--json", code=3)
    assert outcome.json[0]["image_count"] == 3
    assert outcome.json[0]["unreadable"][0][0] == "torn.png"


def test_masks_elsewhere_and_relative_paths(loco, folder, monkeypatch):
    (folder / "masks").rename(folder.parent / "regions")
    monkeypatch.chdir(folder.parent)
    [record] = loco("dataset", "add", "photos", "photos", "--masks", "regions", "--json").json
    assert (record["path"], record["masks"]) == (str(folder), str(folder.parent / "regions"))


def test_what_cannot_be(loco, home, folder, tmp_path):
    assert loco("dataset", "add", "photos", "/nowhere", code=2).err == "error: /nowhere: no such folder"
    outcome = loco("dataset", "add", "photos", folder, "--masks", tmp_path / "none", code=2)
    assert outcome.err == f"error: {tmp_path}/none: no such mask folder"
    (tmp_path / "empty").mkdir()
    assert ": no images (png, " in loco("dataset", "add", "photos", tmp_path / "empty", code=2).err
    assert "dataset name: expected" in loco("dataset", "add", "a/b", folder, code=2).err
    assert not home.root.exists()
