"""When bases were found: beside the files, never in them; and what tells of it where nothing was noted."""

import os
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loco.errors import StorageError
from registry.files import checked, found, journal
from registry.files.basis import read_entry, read_header, write_basis
from registry.files.found import Found
from registry.registry import Registry
from tests.registry.builders import dump, make_basis

BOTH = True  # the contract of either catalogue


def shifted(path, at="2020-01-02T03:04:05.000000", seconds=12.5):
    found.note(path, Found(path.stem, at, seconds))


def test_time_and_seconds_are_catalogued_and_come_back(registry):
    basis = make_basis()
    path = write_basis(registry.home, basis, seconds=6.0)
    registry.index(basis.id)
    before = dump(registry)
    assert {one.seconds for one in registry.find()} == {6.0 / len(basis.directions)}
    assert registry.find(since="2026-01-01") == registry.find()
    registry.reindex()
    assert dump(registry) == before
    assert read_entry(path).found.seconds == 6.0


def test_the_last_line_of_a_basis_counts(registry):
    basis, other = make_basis(), make_basis(1)
    registry.add(basis, other)
    for one in (basis, other):
        shifted(registry.home.basis(one.id))
    shifted(registry.home.basis(basis.id), "2021-01-02T03:04:05.000000", 3.0)
    registry.index(basis.id, other.id)  # found anew: its rows follow
    assert len(registry.find(where="found_at < '2020-06-01'")) == len(other.directions)
    assert len(registry.find(where="found_at < '2022-01-01'")) == len(other.directions + basis.directions)


def test_without_a_line_the_file_system_tells(home):
    path = write_basis(home, make_basis())
    path.with_name(found.NAME).unlink()
    os.utime(path, (1_600_000_000, 1_600_000_000.25))
    assert found.look(path, read_header(path).body) == Found(path.stem, "2020-09-13T12:26:40.250000")
    older = read_header(path).body | {"written_at": "2026-11-20T10:00:00.000000"}
    older["directions"] = [{**one, "seconds": 0.5} for one in older["directions"]]
    assert found.look(path, older) == Found(
        path.stem, "2026-11-20T10:00:00.000000", 0.5 * len(older["directions"])
    )


def test_torn_and_foreign_lines_tell_nothing_and_are_named(filled):
    path = filled.home.basis(make_basis().id)
    known = found.look(path, read_header(path).body)
    lines = path.with_name(found.NAME)
    with lines.open("ab") as file:
        file.write(
            b'not json\n{"found_at":"soon","id":"' + path.stem.encode()[:5] + b'"}\n{"id":"' + b"f" * 9
        )
    assert found.look(path, read_header(path).body) == known
    count = len(lines.read_bytes().splitlines())
    named = [one.trouble for one in filled.verify() if one.subject == str(lines)]
    assert [trouble.partition(":")[0] for trouble in named] == [
        f"line {number} says nothing" for number in (count - 2, count - 1)
    ]
    shifted(path)  # the torn end is cut off
    assert found.look(path, read_header(path).body).seconds == 12.5


def test_an_unreadable_file_says_so(home):
    path = write_basis(home, make_basis())
    path.with_name(found.NAME).unlink()
    path.with_name(found.NAME).mkdir()
    with pytest.raises(StorageError, match=r"found\.jsonl"):
        read_entry(path)


def test_an_export_takes_the_times_along(filled, tmp_path):
    one = filled.find(limit=1)[0]
    shifted(filled.home.basis(one.basis_id))
    filled.index(one.basis_id)
    filled.export(tmp_path / "some.loco")
    other = Registry(type(filled.home)(tmp_path / "other"))
    assert other.import_(tmp_path / "some.loco").refused == ()
    assert other.find(where="found_at < '2020-06-01'") == filled.find(where="found_at < '2020-06-01'") != []
    before = dump(other)
    other.reindex()
    assert dump(other) == before


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)), st.floats(0, 1e8))
def test_a_line_comes_back_as_it_was(at, seconds):
    one = Found("a" * 32, found.stamp(at), seconds)
    assert found.parse(journal.text([one])) == one


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b'{"id":"../../x","found_at":"2026-01-01","seconds":0}',
        b'{"id":"%s","found_at":"2026-01-01T00:00:00+01:00","seconds":0}' % (b"a" * 32),
        b'{"id":"%s","found_at":3,"seconds":0}' % (b"a" * 32),
        b'{"id":"%s","found_at":"2026-01-01","seconds":NaN}' % (b"a" * 32),
        b'{"id":"%s","found_at":"2026-01-01","seconds":-1}' % (b"a" * 32),
        b'{"id":"%s","found_at":"2026-01-01","more":1}' % (b"a" * 32),
        b"[" * 100_000,
    ],
)
def test_what_is_no_line(line):
    with pytest.raises(checked.Unfit):
        found.parse(line)
