"""What of a folder is taken for an image, and what is told of the rest."""

import os
import shutil

import pytest

from loco.dataset import scan
from loco.errors import InputError, StorageError
from loco.listing import walk
from tests.flows.helpers import patch, picture, save


def names(folder, **options):
    return [one.name for one in walk(folder, **options)]


def troubles(folder, **options):
    return {one.name: one.trouble for one in walk(folder, **options) if one.trouble}


def test_one_list_of_endings_and_the_content_where_there_is_none(tmp_path):
    png = save(tmp_path / "a.png", picture(1))
    for name in ("b.JFIF", "c.jpe", "d.gif", "e.avif", "f.heic", "g.jxl", "h.psd", "000001", "sub/i.dib"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(png, tmp_path / name)
    for name in ("README", "notes.txt", ".hidden.png", ".git/x.png", "masks/m.png", "own/o.png", "png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    assert sorted(names(tmp_path, skip=[tmp_path / "own"])) == sorted(
        ["a.png", "b.JFIF", "c.jpe", "d.gif", "e.avif", "f.heic", "g.jxl", "h.psd", "000001", "sub/i.dib"]
    )


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError) as caught:
        list(walk(tmp_path / "none"))
    assert str(caught.value) == f"{tmp_path / 'none'}: no such folder"


def test_a_folder_that_cannot_be_listed_is_one_entry_and_the_rest_goes_on(tmp_path, monkeypatch):
    real = os.scandir

    def scandir(path):
        if str(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    save(tmp_path / "lost+found" / "x.png", picture(1))
    save(tmp_path / "z" / "y.png", picture(2))
    monkeypatch.setattr(os, "scandir", scandir)
    lost = tmp_path / "lost+found"
    assert names(tmp_path) == ["lost+found", "z/y.png"]
    assert troubles(tmp_path) == {"lost+found": f"{lost}: cannot be listed (Permission denied)"}
    with pytest.raises(StorageError):
        list(walk(lost))


def test_linked_folders_are_named_or_followed_once_and_circles_end(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    save(inside / "sub" / "a.png", picture(1))
    save(outside / "b.png", picture(2))
    for name, target in (
        ("x", outside),
        ("y", outside),
        ("up", tmp_path),
        ("self", inside),
        ("z", inside / "sub"),
    ):
        (inside / name).symlink_to(target)
    (outside / "back").symlink_to(inside)
    (outside / "round").symlink_to(outside)
    said = []
    assert names(inside, follow=True, say=said.append) == ["sub/a.png", "x/b.png"]
    assert len(said) == 3
    told = troubles(inside)
    assert set(told) == {"up", "x", "y"}
    assert "leads out of" in told["x"]


def test_nested_masks_are_no_images_and_that_is_said(tmp_path):
    save(tmp_path / "train" / "images" / "a.png", picture(1))
    save(tmp_path / "train" / "masks" / "a.png", patch())
    said = []
    found = scan(tmp_path, say=said.append)
    assert [one.name for one in found.images] == ["train/images/a.png"]
    assert said == [f"{tmp_path / 'train' / 'masks'}: taken for masks, no images of it are read"]
    assert names(tmp_path, keep_masks=True) == ["train/images/a.png", "train/masks/a.png"]


def test_a_dataset_names_all_that_looks_like_an_image_and_is_not_read(tmp_path):
    folder, elsewhere = tmp_path / "a", tmp_path / "real"
    save(folder / "a.png", picture(1))
    save(elsewhere / "b.png", picture(2))
    save(folder / "jfif.png", picture(3)).rename(folder / "p.jfif")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "x.jxl").write_bytes(b"\xff\x0a")
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes((folder / "a.png").read_bytes())
    found = scan(folder)
    assert [one.name for one in found.images] == ["a.png", "p.jfif"]
    assert [name for name, _ in found.unreadable] == ["caf\\xe9.png", "linked", "x.jxl"]
    for name, cause in found.unreadable:
        (name + cause).encode()
