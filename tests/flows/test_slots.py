"""Slots: one holder at a time, as many as there are, given back at once by whoever is killed."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from flows.device import slots
from flows.device.slots import Slot, held
from loco.errors import StorageError
from tests.flows.helpers import REPOSITORY

ONE = (Slot("gpu-0", "cpu"),)
HOLD = """
from flows.device.slots import Slot, held
with held((Slot("gpu-0", "cpu"),)):
    print("held", flush=True)
    input()
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCO_SLOTS", str(tmp_path / "slots"))
    return tmp_path / "slots"


def test_one_at_a_time(here):
    order = []

    def work(name):
        with held(ONE):
            order.append(f"{name} in")
            time.sleep(0.1)
            order.append(f"{name} out")

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.split()[1] for one in order] == ["in", "out", "in", "out"]


def test_two_slots_hold_two(here):
    two = (*ONE, Slot("gpu-1", "cpu"))
    with held(two) as first, held(two) as second:
        assert {first.name, second.name} == {"gpu-0", "gpu-1"}


def test_a_killed_holder_gives_it_back_at_once(here):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    taken = threading.Event()

    def wait():
        with held(ONE):
            taken.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert not taken.wait(0.3)
    os.kill(process.pid, signal.SIGKILL)
    assert taken.wait(1.0)
    waiter.join()
    process.communicate()


def test_without_an_accelerator_the_cores_are_the_slots():
    import torch

    every = slots.slots()
    assert {one.device for one in every} == {"cpu"}
    assert len(every) == max(1, (os.cpu_count() or 1) // torch.get_num_threads())
    assert slots.settled() == every


def test_whoever_waits_for_a_slot_is_told_who_holds_it(here, caplog, monkeypatch):
    monkeypatch.setattr(slots, "TELL_AFTER", 0.1)
    monkeypatch.setattr(slots, "_TOLD", threading.Event())
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    waiter = threading.Thread(target=lambda: held(ONE).__enter__())
    waiter.start()
    while not caplog.messages:
        time.sleep(0.01)
    process.communicate("\n")
    waiter.join()
    [line] = caplog.messages
    assert line.startswith(f"waiting for a device: gpu-0 is held by process {process.pid} (")


def test_a_folder_that_another_user_can_have_put_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("LOCO_SLOTS")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = tmp_path / f"loco-slots-{os.getuid()}"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    place.symlink_to(elsewhere)
    with pytest.raises(StorageError, match=r"is a link or a file.*set TMPDIR to a folder of your own"):
        slots.folder()
    place.unlink()
    place.mkdir(0o777)
    place.chmod(0o777)
    assert slots.folder() == place
    assert place.stat().st_mode & 0o777 == 0o700
    if os.getuid() == 0:
        os.chown(place, 12345, 12345)
        with pytest.raises(StorageError, match="belongs to another user"):
            slots.folder()


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_slot_is_made_through_no_link_and_waits_at_no_pipe(here, tmp_path, kind):
    victim = tmp_path / "victim"
    here.mkdir()
    if kind == "link":
        (here / "gpu-0.lock").symlink_to(victim)
    else:
        os.mkfifo(here / "gpu-0.lock")
    with pytest.raises(StorageError, match=r"gpu-0\.lock"), held(ONE):
        pass
    assert not victim.exists()
