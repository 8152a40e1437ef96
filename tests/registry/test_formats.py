"""Files of a newer program: an error of their own, never deleted, never replaced, whatever kind of file it is."""

import hashlib
import json

import numpy as np
import pytest

from loco.errors import NewerFormat
from loco.ids import content_id
from registry.files import shared
from registry.files.basis import read_basis, write_basis
from registry.files.basis_bytes import encode
from registry.files.cache import Cache
from tests.registry.builders import make_basis, make_dataset, make_model


def of_format(data, version):
    """A basis file's bytes as a later program would write them: another format, a checksum that is right."""
    data = data.replace(b'\\"format\\":3', b'\\"format\\":%d' % version)
    at = data.find(b'"sha256":"') + len(b'"sha256":"')
    blank = data[:at] + b"0" * 64 + data[at + 64 :]
    return data[:at] + hashlib.sha256(blank).hexdigest().encode() + data[at + 64 :]


@pytest.fixture
def newer(filled, home):
    """A home in which the file of basis 0 is of format 4; its path and bytes."""
    path = home.basis(make_basis(0).id)
    data = of_format(path.read_bytes(), 4)
    path.write_bytes(data)
    return path, data


def test_a_newer_basis_file_is_told_with_its_format_what_is_read_here_and_what_to_do(newer):
    path, _ = newer
    with pytest.raises(NewerFormat) as caught:
        read_basis(path)
    assert str(caught.value) == (
        f"basis file {path} was written by a newer program: its format is 4, this program reads up to format 3; "
        f"use that program or a newer one here, and leave the file as it is"
    )


@pytest.mark.parametrize("how", ["format 4", "a field more", "no checksum known here"])
def test_however_a_newer_program_shows_it_is_no_damage(home, how):
    path = write_basis(home, make_basis(0))
    data = encode(make_basis(0))
    if how == "format 4":
        data = of_format(data, 4)
    elif how == "no checksum known here":
        data = data.replace(b'\\"format\\":3', b'\\"format\\":4').replace(b'"sha256"', b'"sha999"')
    else:
        data = of_format(data.replace(b'\\"gain\\":', b'\\"gaim\\":1,\\"gain\\":'), 2)
        start = 8 + int.from_bytes(data[:8], "little")
        more = len(b'\\"gaim\\":1,') * 2
        data = of_format((start - 8 + more).to_bytes(8, "little") + data[8:], 2)
    path.write_bytes(data)
    with pytest.raises(NewerFormat, match="written by a newer program"):
        read_basis(path)


def test_gc_never_lists_a_newer_basis_file(newer, filled):
    path, data = newer
    for one in filled.find(status="all"):
        filled.reject(one.id)
    items = filled.garbage(damaged=True, rejected=True)
    assert str(path) not in [item.path for item in items]
    filled.collect(items)
    assert path.read_bytes() == data


def test_writing_its_basis_again_does_not_replace_it(newer, home):
    path, data = newer
    with pytest.raises(NewerFormat):
        write_basis(home, make_basis(0))
    assert path.read_bytes() == data


def test_verify_and_reindex_call_it_newer_and_not_damaged(newer, filled):
    path, data = newer
    told = {one.subject: one for one in filled.verify()}[str(path)]
    assert told.trouble == (
        "basis file was written by a newer program: its format is 4, this program reads up to format 3"
    )
    assert told.remedy == "use that program or a newer one here, and leave the file as it is"
    counts = filled.reindex()
    assert (counts["damaged"], counts["newer"], counts["bases"]) == (0, 1, 4)
    assert path.read_bytes() == data


def test_an_import_does_not_replace_it_and_takes_the_others(newer, filled, home, tmp_path):
    path, data = newer
    path.unlink()
    write_basis(home, make_basis(0))
    filled.export(tmp_path / "all")
    path.write_bytes(data)
    done = filled.import_(tmp_path / "all")
    assert [name for name, _ in done.refused] == [f"bases/{path.name}"]
    assert "written by a newer program" in done.refused[0][1]
    assert path.read_bytes() == data


@pytest.mark.parametrize("change", [{"format": 2}, {"colour": "blue"}])
@pytest.mark.parametrize("what", ["model", "dataset"])
def test_a_newer_model_or_dataset_is_never_replaced(filled, home, what, change):
    path = home.root / f"{what}s" / {"model": "faces.json", "dataset": "portraits.json"}[what]
    text = json.dumps(json.loads(path.read_bytes()) | change)
    path.write_text(text)
    add, record = {
        "model": (filled.add_model, make_model()),
        "dataset": (filled.add_dataset, make_dataset()),
    }[what]
    with pytest.raises(NewerFormat, match=f"{what} file {path} was written by a newer program"):
        add(record)
    assert path.read_text() == text
    told = {one.subject: one for one in filled.verify()}[str(path)]
    assert told.remedy == "use that program or a newer one here, and leave the file as it is"
    counts = filled.reindex()
    assert (counts["damaged"], counts["newer"]) == (0, 1)


@pytest.mark.parametrize("change", [{"format": 2}, {"colour": "blue"}])
def test_newer_settings_of_the_store_are_never_replaced(home, change):
    shared.configure(home, dtype="float16")
    text = json.dumps(json.loads(shared.settings_path(home).read_bytes()) | change)
    shared.settings_path(home).write_text(text)
    for work in (lambda: write_basis(home, make_basis(0)), lambda: shared.configure(home, dtype="float32")):
        with pytest.raises(NewerFormat, match=r"settings .*store\.json was written by a newer program"):
            work()
    assert shared.settings_path(home).read_text() == text


def test_a_format_that_is_read_here_may_be_said(filled, home):
    path = home.models / "faces.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"format": 1}))
    assert filled.reindex()["damaged"] == 0


def test_a_newer_cache_entry_is_a_miss_and_stays(home):
    from safetensors.numpy import save

    cache = Cache(home)
    key = content_id("x", 1)
    path = home.cache / key[:2] / f"{key}.safetensors"
    path.parent.mkdir(parents=True)
    data = save({"layers": np.ones(3)}, {"id": key, "sha256": "0" * 64, "format": "2"})
    path.write_bytes(data)
    assert cache.get(key) is None
    cache.put(key, np.zeros(3))
    assert path.read_bytes() == data
