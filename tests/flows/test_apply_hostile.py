"""Lists, archives and Parquet files that mean ill or are broken: each costs what is bad in it, and says so."""

import io
import json
import posixpath
import tarfile
import warnings
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flows.inputs.places import place_of
from flows.inputs.sources import Fetcher, list_sources
from flows.outputs.spool import Spool
from loco.errors import ImageError, InputError, LocoError
from loco.images import picture_of
from tests.flows.helpers import picture, save


def png(seed=1):
    file = io.BytesIO()
    Image.fromarray(picture(seed, 6, 6)).save(file, "PNG")
    return file.getvalue()


PNG = png()


def read(where, folder):
    """The beginnings of the outputs' names, and the causes of what failed, by those."""
    said, good, bad = [], [], {}
    with Spool(folder / "spool") as spool:
        count = spool.take(list_sources(str(where), (), said.append), None, said.append)
        fetcher = Fetcher()
        for part in spool.chunks(range(count), lambda _: 100):
            for source, stem in part:
                try:
                    picture_of(fetcher.read(source), place_of(source), source.name)
                    good.append(stem)
                except ImageError as error:
                    bad[stem] = str(error)
        fetcher.close()
    assert len({posixpath.normpath(one) for one in (*good, *bad)}) == count, "two images with one output"
    return good, bad


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("a.png", "b.png")):
        save(tmp_path / "in" / name, picture(number))
    return tmp_path / "in"


# Lists


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_a_list_without_a_mark_of_its_encoding_names_the_same_files(folder, tmp_path, encoding):
    for name, text in (("l.txt", "a.png\nb.png\n"), ("l.csv", "path\na.png\nb.png\n")):
        (folder / name).write_bytes(text.encode(encoding))
        assert read(folder / name, tmp_path) == (["a", "b"], {})


@pytest.mark.parametrize(
    "entry", ["x" * 300, "y/" * 3000, "https://host.invalid/" + "x" * 5000, "file:///tmp/" + "x" * 300]
)
def test_an_entry_that_is_too_long_costs_no_other(folder, tmp_path, entry):
    (folder / "l.txt").write_text(f"a.png\n{entry}.png\nb.png\n")
    good, bad = read(folder / "l.txt", tmp_path)
    assert good == ["a", "b"]
    assert len(bad) == 1


def test_a_line_of_megabytes_is_one_failed_entry_and_is_not_held(folder, tmp_path):
    (folder / "l.txt").write_bytes(b"a.png\n" + b"x" * 3_000_000 + b"\n" + b"y" * 40_000 + b"\nb.png\n")
    good, bad = read(folder / "l.txt", tmp_path)
    assert good == ["a", "b"]
    assert "line 2 has more than 1048576 characters" in bad["entry 2"]
    assert "entry 3 has 40000 characters, which no path and no URL has" in bad["entry 3"]


def test_a_quote_that_is_not_closed_costs_its_own_line_alone(folder, tmp_path):
    (folder / "l.csv").write_text('path,label\na.png,"x\nb.png,"y ""z""\nq"\n"c.png,1\n')
    good, bad = read(folder / "l.csv", tmp_path)
    assert good == ["a", "b"]
    assert list(bad) == ["c"]  # named, not swallowed by the row before it


def test_a_path_in_quotes_is_the_path(folder, tmp_path):
    (folder / "l.txt").write_text('"a.png"\nb.png\n')
    assert read(folder / "l.txt", tmp_path) == (["a", "b"], {})


def test_credentials_of_urls_with_spaces_and_quotes_are_nowhere(folder, tmp_path):
    urls = [
        "https://host.invalid/my pic.png?sig=c4nary",
        "https://host.invalid/it's.png?X-Amz-Signature=c4nary",
        "https://host.invalid/a.png?c4nary",
        "https://host.invalid/a.png#c4nary",
        "https://me:c4nary@[bad/a.png?sig=c4nary",
    ]
    (folder / "l.txt").write_text("\n".join(urls))
    good, bad = read(folder / "l.txt", tmp_path)
    assert (good, len(bad)) == ([], 5)
    assert "c4nary" not in json.dumps(bad)


@pytest.mark.parametrize("where", ["x" * 300, "x" * 5000, "file://", " "])
def test_a_place_that_can_be_none_is_refused_with_words(where):
    with pytest.raises(LocoError):
        next(list_sources(where))


# Names


def test_members_whose_names_lead_to_one_path_get_outputs_of_their_own(tmp_path):
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        warnings.simplefilter("ignore")
        for name in ("d/a.png", "d//a.png", "d/./a.png", "./d/a.png", "d/a.png", "/d/a.png", "b\\x41.png"):
            archive.writestr(name, PNG)
    good, bad = read(tmp_path / "x.zip", tmp_path)
    assert good == ["x/d/a.png", *(f"x/d/a.png~{number}" for number in range(2, 7)), "x/b\\x41"]
    assert bad == {}


# Archives


def head(name, size, kind=b"0"):
    """A header of a tar, with any 12 bytes for the size."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108], block[124:136], block[136:148] = b"0000644\0", size, b"00000000000\0"
    block[156:157], block[257:265], block[148:156] = kind, b"ustar\x0000", b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def member(name, data, kind=b"0"):
    return head(name, b"%011o\0" % len(data), kind) + data + b"\0" * (-len(data) % 512)


NEGATIVE = b"\xff" * 12
BROKEN = {
    "a size below zero": head(b"n.png", NEGATIVE),
    "a long name of less than nothing": head(b"n.png", NEGATIVE, b"L"),
    "a size beyond all files": head(b"n.png", b"\x80" + b"\x7f" * 11),
    "names of names of names": member(b"n", b"abc\0", b"L") * 1200,
    "attributes of attributes": member(b"n", b"12 path=abc\n", b"x") * 1200,
    "an attribute of endless length": member(b"n", b"99999999999999999999 path=abc\n", b"x"),
    "a size that leads back": member(b"n", b"14 size=-2560\n", b"x") + member(b"c.png", PNG),
    "a name of gigabytes": head(b"n", b"\x80" + b"\0" * 5 + b"\x01" + b"\0" * 5, b"L"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_tar_with_a_header_of_nonsense_keeps_what_stands_before_it_and_says_so(tmp_path, broken):
    good = member(b"a.png", PNG)
    (tmp_path / "x.tar").write_bytes(good + BROKEN[broken] + member(b"b.png", PNG) + b"\0" * 1024)
    done, bad = read(tmp_path / "x.tar", tmp_path)
    assert done == ["x/a"]
    assert list(bad) == ["x"]
    assert bad["x"].endswith("cut off or damaged after 1 members; what followed is lost")


def test_archives_within_archives_are_named(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar, zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("inner.zip", "a.png", "__MACOSX/other.zip"):
            info = tarfile.TarInfo(name)
            info.size = len(PNG)
            tar.addfile(info, io.BytesIO(PNG))
            archive.writestr(name, PNG)
    for name in ("x.tar", "x.zip"):
        good, bad = read(tmp_path / name, tmp_path)
        assert good == ["x/a"]
        [cause] = bad.values()
        assert cause.endswith(f"{name}:inner.zip: an archive in an archive, which is not read; unpack it")


def test_a_zip_whose_directory_lost_members_says_so(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a.png", "b.png", "c.png"):
            archive.writestr(name, PNG)
    data = bytearray(path.read_bytes())
    second = data.find(b"PK\x01\x02", data.find(b"PK\x01\x02") + 4)
    data[second + 28 : second + 30] = b"\xff\xff"  # its name takes up all that follows
    path.write_bytes(data)
    good, bad = read(path, tmp_path)
    assert good == ["x/a"]
    assert "its directory is damaged: it tells of 3 members and names 2" in bad["x"]


def test_a_member_that_unpacks_to_no_image_is_not_unpacked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", b"\0" * (65 * 2**20))
        archive.writestr("a.png", PNG)
    good, bad = read(tmp_path / "x.zip", tmp_path)
    assert good == ["x/a"]
    assert "bytes that unpack to 68157440, as no image does" in bad["x/bomb"]


# Parquet


def text(*values):
    """An array of texts that are none."""
    data, ends = b"".join(values), np.cumsum([0, *map(len, values)]).astype(np.int32)
    return pa.Array.from_buffers(pa.string(), len(values), [None, pa.py_buffer(ends), pa.py_buffer(data)])


TWO = [PNG, png(2)]
TABLES = {
    "names that are not UTF-8": (
        {"image": TWO, "name": text(b"\xff\xfe", b"ab")},
        ["x/00000000", "x/00000001"],
    ),
    "a dictionary of images": ({"image": pa.array(TWO).dictionary_encode()}, ["x/00000000", "x/00000001"]),
    "a dictionary of names": (
        {"image": TWO, "name": pa.array(["a.png", "b.png"]).dictionary_encode()},
        ["x/a", "x/b"],
    ),
    "bytes of one length": ({"image": pa.array([PNG], pa.binary(len(PNG)))}, ["x/00000000"]),
    "hashes before images": ({"sha": [b"1", b"2"], "jpg": TWO}, ["x/00000000", "x/00000001"]),
    "a column with a dot": ({"a.b": TWO}, ["x/00000000", "x/00000001"]),
    "a struct with a dot": ({"a.b": [{"bytes": PNG, "path": "q.png"}]}, ["x/q"]),
}


@pytest.mark.parametrize("kind", TABLES)
def test_parquet_files_of_other_makes_give_their_images(tmp_path, kind):
    columns, stems = TABLES[kind]
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet", tmp_path) == (stems, {})


def test_a_parquet_file_without_images_is_said_to_have_none(tmp_path):
    pq.write_table(pa.table({"url": ["https://host.invalid/a.png"]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="no column of image bytes; its columns are url"):
        list(list_sources(str(tmp_path / "x.parquet")))
