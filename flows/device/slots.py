"""One process at a time on each accelerator of this machine: named slots that the kernel takes back from the dead.

A slot is a `flock` on a file, so that a holder that was killed, however it was killed, gives it back at once. The files
lie in a folder of the machine, not of the home: two homes share the same GPU. It is this user's alone; `LOCO_SLOTS`
names another folder, which several users may share.

    cuda-<uuid>.lock    held while a chunk computes on that GPU
    cuda-<uuid>.home    held for life by the process that settled there: the next one settles elsewhere
    cpu-<n>.lock        as many as there are cores for the threads that torch uses
"""

import contextlib
import logging
import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from loco.errors import StorageError
from loco.files import make_folder, own_folder, storage_errors, taken, temporary
from registry.database.locks import holder
from registry.database.waiting import TELL_AFTER

_POLL = 0.05

_log = logging.getLogger("loco.device")  # told on standard error, as waiting for the catalogue is
_RESIDENT: list[int] = []
_TOLD = threading.Event()


@dataclass(frozen=True)
class Slot:
    """A place to compute: its name and what torch calls the device."""

    name: str
    device: str


def folder() -> Path:
    """Where this machine's slots lie, made where it is missing.

    Raises `StorageError` where another user could have put it there; one that `LOCO_SLOTS` names may be shared.
    """
    named = os.environ.get("LOCO_SLOTS")
    if not named:
        return temporary("loco-slots")
    path = Path(named)
    if not path.is_dir():
        with storage_errors(path):
            make_folder(path.parent)
        own_folder(path)
    return path


@lru_cache(maxsize=1)
def slots() -> tuple[Slot, ...]:
    """This process's accelerators; without any, the machine's cores in groups of torch's threads."""
    import torch

    if torch.cuda.is_available():
        return tuple(
            # The uuid, because each process may count the GPUs that it sees from 0.
            Slot(f"cuda-{torch.cuda.get_device_properties(k).uuid}", f"cuda:{k}")
            for k in range(torch.cuda.device_count())
        )
    count = max(1, (os.cpu_count() or 1) // max(1, torch.get_num_threads()))
    return tuple(Slot(f"cpu-{k}", "cpu") for k in range(count))


@lru_cache(maxsize=1)
def settled() -> tuple[Slot, ...]:
    """Where this process computes as long as it lives, so that a model is loaded once: one GPU, or any core."""
    every = slots()
    if every[0].device == "cpu":
        return every
    for slot in every:
        handle = _open(folder() / f"{slot.name}.home")
        if taken(handle):
            _RESIDENT.append(handle)  # never closed: given back when the process ends
            return (slot,)
        os.close(handle)
    return (every[os.getpid() % len(every)],)


@contextlib.contextmanager
def held(choice: Sequence[Slot]) -> Iterator[Slot]:
    """Hold one of these slots, the first that is free; waits for one, and says for whom, once a process.

    Raises `StorageError` where the folder of the slots cannot be written.
    """
    paths = [folder() / f"{slot.name}.lock" for slot in choice]
    handles = [_open(path) for path in paths]
    begun = time.monotonic()
    try:
        while True:
            for slot, handle in zip(choice, handles, strict=True):
                if taken(handle):
                    yield slot
                    return
            if not _TOLD.is_set() and time.monotonic() - begun >= TELL_AFTER:
                _TOLD.set()
                who = [
                    f"{slot.name} is held by {holder(path)}" for slot, path in zip(choice, paths, strict=True)
                ]
                _log.warning("waiting for a device: %s", "; ".join(who))
            time.sleep(_POLL)
    finally:
        for handle in handles:
            os.close(handle)


def _open(path: Path) -> int:
    with storage_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise StorageError(
            f"{path} is not a file, so it cannot be a slot; delete it, or name a folder in LOCO_SLOTS"
        )
    return handle
