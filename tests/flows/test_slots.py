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
