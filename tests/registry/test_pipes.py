"""A named pipe in the place of a file: whoever opens it plainly waits for ever."""

import os
import signal

import pytest

from loco.errors import StorageError
from loco.ids import file_id
from registry.files import found, history, registered, shared
from registry.files.basis import read_basis, read_header
from tests.registry.builders import make_basis, make_run


@pytest.fixture(autouse=True)
def _in_time():
    """A wait for ever ends with a traceback instead."""

    def end(*_):
        raise AssertionError("it waits for whoever writes into the pipe")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path):
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    return path


def test_a_checksum_of_a_pipe_is_refused_at_once(tmp_path):
    with pytest.raises(OSError, match="not a regular file"):
        file_id(pipe(tmp_path / "x"))


def test_verify_names_a_pipe_in_the_place_of_an_output(filled):
    path = pipe(filled.home.root / "out1.png")
    (problem,) = [one for one in filled.verify() if one.subject == str(path)]
    assert problem.trouble == "the output image cannot be read: not a regular file"


PLACES = {
    "model": lambda home: home.models / "faces.json",
    "dataset": lambda home: home.datasets / "portraits.json",
    "basis": lambda home: home.basis(make_basis(0).id),
    "found": lambda home: home.basis(make_basis(0).id).with_name(found.NAME),
    "history": history.history_path,
    "manifest": lambda home: home.root / make_run(1).manifest,
    "settings": shared.settings_path,
    "schedule": lambda home: home.root / "schedules" / "nightly.json",
    "mask": lambda home: home.masks / "ab" / "x.png",
    "outputs": lambda home: home.root / "outputs" / "x.jsonl",
    "claims": lambda home: home.root / "outputs" / "x.claims",
}


@pytest.mark.parametrize("place", PLACES)
def test_verify_names_a_pipe_in_the_place_of(filled, place):
    path = pipe(PLACES[place](filled.home))
    assert str(path) in {one.subject for one in filled.verify()}
    filled.unchecked()
    filled.home.spool.mkdir(exist_ok=True)
    filled.backup(filled.home.root.parent / "backup.zip")  # and a backup does not wait for it


def test_readers_refuse_a_pipe(home, tmp_path):
    path = pipe(tmp_path / "x.json")
    for read in (registered.read_model, registered.read_dataset, read_basis, read_header):
        with pytest.raises(StorageError, match="not a regular file"):
            read(path)
