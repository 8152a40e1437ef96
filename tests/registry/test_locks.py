import os
import subprocess
import sys
import threading
import time

import pytest

from loco.errors import RegistryBusy, StorageError
from registry.database import locks
from registry.database.locks import lock_path, locked
from registry.registry import Registry
from tests.registry.builders import make_basis, make_model


@pytest.fixture
def catalogue(tmp_path):
    return tmp_path / "catalogue.duckdb"


def test_readers_share_and_a_writer_excludes(catalogue):
    with (
        locked(catalogue, exclusive=False, timeout=1),
        locked(catalogue, exclusive=False, timeout=1),
        pytest.raises(RegistryBusy),
        locked(catalogue, exclusive=True, timeout=0.05),
    ):
        pass
    with locked(catalogue, exclusive=True, timeout=1):
        for exclusive in (True, False):
            with pytest.raises(RegistryBusy), locked(catalogue, exclusive=exclusive, timeout=0.05):
                pass
    assert lock_path(catalogue).read_bytes() == b""


def test_a_waiter_gets_the_lock_as_soon_as_it_is_free(catalogue):
    entered = threading.Event()
    waited = []

    def wait():
        entered.set()
        with locked(catalogue, exclusive=True, timeout=10):
            waited.append(time.monotonic())

    with locked(catalogue, exclusive=True, timeout=1):
        thread = threading.Thread(target=wait)
        thread.start()
        entered.wait()
        time.sleep(0.1)
        assert not waited
        freed = time.monotonic()
    thread.join(10)
    assert waited[0] - freed < 1


def test_a_waiter_that_gave_up_does_not_keep_the_lock(catalogue):
    with locked(catalogue, exclusive=True, timeout=1):
        for _ in range(3):
            with pytest.raises(RegistryBusy), locked(catalogue, exclusive=True, timeout=0.02):
                pass
    with locked(catalogue, exclusive=True, timeout=5):
        pass
    end = time.monotonic() + 5
    while any(thread.name == "catalogue-lock" for thread in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_interrupted_waiter_does_not_keep_the_lock(catalogue, monkeypatch):
    class Interrupted(threading.Event):
        def wait(self, timeout=None):
            if timeout is not None and 4 < timeout <= 4.5:
                raise KeyboardInterrupt
            return super().wait(timeout)

    with locked(catalogue, exclusive=True, timeout=1):
        monkeypatch.setattr(locks.threading, "Event", Interrupted)
        with pytest.raises(KeyboardInterrupt), locked(catalogue, exclusive=True, timeout=4.5):
            pass
        monkeypatch.undo()
    with locked(catalogue, exclusive=True, timeout=5):
        pass


def test_busy_names_the_process_that_writes(home, worker):
    process = worker("hold", "exclusive")
    assert process.stdout.readline() == "held\n"
    registry = Registry(home, timeout=0.2)
    begun = time.monotonic()
    with pytest.raises(RegistryBusy) as caught:
        registry.add_model(make_model())
    assert time.monotonic() - begun < 3
    message = str(caught.value)
    assert str(home.catalogue) in message
    assert f"process {process.pid} (" in message
    assert "worker.py" in message
    assert "since 20" in message
    assert message.endswith("wait for it or stop it")
    process.communicate("done\n", timeout=30)
    registry.add_model(make_model())


def test_busy_names_a_process_that_reads(home, worker):
    if not os.path.exists("/proc/locks") or not _kernel_tells(home):  # noqa: PTH110
        pytest.skip("this kernel does not tell who holds a lock")
    process = worker("hold", "shared")
    assert process.stdout.readline() == "held\n"
    Registry(home).models()
    with pytest.raises(RegistryBusy, match=f"process {process.pid} \\(.*tests.registry.worker"):
        Registry(home, timeout=0.1).add_model(make_model())


def _kernel_tells(home):
    home.root.mkdir(parents=True, exist_ok=True)
    with locked(home.catalogue, exclusive=True, timeout=1):
        return locks._kernel_holders(lock_path(home.catalogue)) == [os.getpid()]


def test_the_note_of_a_killed_writer_misleads_no_one(home, worker):
    process = worker("hold", "exclusive")
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.wait()
    assert str(process.pid) in lock_path(home.catalogue).read_text()
    with locked(home.catalogue, exclusive=False, timeout=1), pytest.raises(RegistryBusy) as caught:
        Registry(home, timeout=0.05).add_model(make_model())
    assert str(process.pid) not in str(caught.value)
    Registry(home, timeout=1).add_model(make_model())


def test_a_child_process_does_not_inherit_the_lock(catalogue):
    with locked(catalogue, exclusive=True, timeout=1):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    with locked(catalogue, exclusive=True, timeout=1):
        pass
    child.communicate(b"\n")


def test_no_folder_for_the_lock_file(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(StorageError, match=r"cannot write .*x\.duckdb\.lock"),
        locked(tmp_path / "file" / "x.duckdb", exclusive=True, timeout=1),
    ):
        pass


def test_a_medium_that_can_only_be_read_is_read_without_a_lock(home, monkeypatch):
    registry = Registry(home)
    registry.add(make_basis())
    lock_path(home.catalogue).unlink()
    real = os.open

    def read_only(path, flags, *rest, **names):
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *rest, **names)

    monkeypatch.setattr(locks.os, "open", read_only)
    assert len(registry.find()) == 2
    with pytest.raises(StorageError, match="cannot write"):
        registry.add_model(make_model())


def test_threads_of_one_process_read_and_write_side_by_side(home):
    registry = Registry(home)
    registry.add_model(make_model())
    failures = []

    def work(number):
        try:
            for step in range(2):
                registry.add(make_basis(number * 10 + step))
                registry.find(limit=1)
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert registry.summary()["bases"] == 6
