"""The lock in front of the embedded catalogue: a blocking flock with a timeout and a name on it.

DuckDB lets one process write a file and refuses all others at once; waiting in the kernel for our own lock
is several times faster than trying again. The lock file stays for good: deleting it would let two processes
lock two different files of the same name. flock is not for network file systems.
"""

import contextlib
import errno
import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from loco.errors import RegistryBusy
from loco.files import storage_errors
from loco.outside import regular_bytes
from loco.urls import masked
from registry.database.waiting import process, telling


def lock_path(catalogue: Path) -> Path:
    """The lock file of a catalogue file: the same name with `.lock` behind it."""
    return catalogue.with_name(f"{catalogue.name}.lock")


@contextlib.contextmanager
def locked(catalogue: Path, *, exclusive: bool, timeout: float) -> Iterator[None]:
    """Hold the lock of the file `catalogue`: exclusive to write, shared to read.

    `timeout` is in seconds. Not reentrant: a second lock in the same process waits like any other.
    Raises `RegistryBusy` naming the holder when the timeout passes, `StorageError` when the lock file
    cannot be made. On a medium that can only be read, a reader goes on without a lock.
    """
    path = lock_path(catalogue)
    handle = _open(path, exclusive)
    if handle is None:
        yield
        return
    operation = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    if not _take_turn(handle, catalogue, operation, timeout):
        raise RegistryBusy(
            f"the catalogue {catalogue} is held by {holder(path)} (waited {timeout:.3g} s); "
            f"wait for it or stop it"
        )
    try:
        if exclusive:
            _sign(handle)
        yield
    finally:
        if exclusive:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, 0)
        # Unlocked by hand: a forked child may still have this file open, and closing would not be enough.
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def gate_path(catalogue: Path) -> Path:
    """The file of the gate in front of the lock: the same name with `.gate` behind it."""
    return catalogue.with_name(f"{catalogue.name}.gate")


def _take_turn(handle: int, catalogue: Path, operation: int, timeout: float) -> bool:
    """Lock `handle` within `timeout` seconds, through the gate; on False the descriptor is given away.

    Readers that come and go without a pause would keep a writer waiting for ever: the kernel lets a reader in
    while a writer waits. So a writer shuts the gate while it waits, and those behind it wait at the gate.
    """
    deadline = time.monotonic() + timeout
    gate = _open(gate_path(catalogue), operation == fcntl.LOCK_EX)
    if gate is None:
        return _acquire(handle, operation, timeout, catalogue)
    passed = False
    try:
        passed = _acquire(gate, operation, timeout, catalogue)
    finally:
        if not passed:  # also when interrupted; the gate's descriptor is given away then
            os.close(handle)
    if not passed:
        return False
    try:
        return _acquire(handle, operation, max(0.0, deadline - time.monotonic()), catalogue)
    finally:
        fcntl.flock(gate, fcntl.LOCK_UN)
        os.close(gate)


def _open(path: Path, exclusive: bool) -> int | None:
    """A descriptor of the lock file, or None for a reader of a folder that cannot be written."""
    with storage_errors(path):
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            if exclusive or error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
        try:
            return os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None


def _acquire(handle: int, operation: int, timeout: float, catalogue: Path) -> bool:
    """Lock `handle` within `timeout` seconds; on False (or an interrupt) the descriptor is given away."""
    try:
        fcntl.flock(handle, operation | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        pass
    guard = threading.Lock()
    arrived = threading.Event()
    late = False

    def wait() -> None:
        fcntl.flock(handle, operation)
        with guard:
            if late:
                os.close(handle)
            else:
                arrived.set()

    # A thread, because a wait in the kernel has no timeout and a signal would disturb the caller's own.
    threading.Thread(target=wait, name="catalogue-lock", daemon=True).start()
    try:
        with telling(str(catalogue), lambda: holder(lock_path(catalogue)), timeout):
            arrived.wait(timeout)
    except BaseException:
        with guard:
            late = True
            if arrived.is_set():
                os.close(handle)
        raise
    with guard:
        late = not arrived.is_set()
    return not late


def _sign(handle: int) -> None:
    """Write who holds the lock into its file; it only serves messages, so a full disk does not matter."""
    note = {
        "pid": os.getpid(),
        "command": masked(" ".join(sys.argv))[:200] or sys.executable,
        "since": datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds"),
    }
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(note).encode(), 0)


def holder(path: Path) -> str:
    """Who holds the lock, in words: by the note in the file if its writer still holds it, else by Linux."""
    pids = _kernel_holders(path)
    try:
        note = json.loads(regular_bytes(path))
        pid, command, since = int(note["pid"]), str(note["command"]), str(note["since"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # readers leave no note, and a writer may be between lock and note
    else:
        # A killed writer's note stays behind; do not send anyone after a process that is gone.
        if pid in pids or (not pids and _alive(pid)):
            return f"process {pid} ({command}) since {since} UTC"
    if not pids:
        return "another process"
    return " and ".join(process(pid) for pid in pids)


def _kernel_holders(path: Path) -> list[int]:
    """Processes that hold a flock on the file, as far as Linux tells; at most three."""
    try:
        inode = path.stat().st_ino
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for line in lines:
        words = (
            line.split()
        )  # "1: FLOCK ADVISORY WRITE 4711 08:01:1234 0 EOF"; a waiter has "->" in second place
        if len(words) < 6 or words[1] != "FLOCK" or not words[5].endswith(f":{inode}"):
            continue
        if words[4].isdigit() and words[4] != "0":
            found.append(int(words[4]))
    return sorted(set(found))[:3]


def _alive(pid: int) -> bool:
    """Whether a process of that number exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
