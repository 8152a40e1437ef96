"""What the tests run in processes of their own: python -m tests.registry.worker HOME WHAT [ARGUMENT...]."""

import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

from sqlalchemy.orm import Session

from loco.errors import StorageError
from registry.database.locks import locked
from registry.files import manifests
from registry.home import Home
from registry.index import rows
from registry.registry import Registry
from tests.registry.builders import make_basis, make_edit, make_model, make_run


def open_registry(home):
    """The home's own catalogue, or the one that the environment names."""
    return Registry(home, os.environ.get("LOCO_REGISTRY"), timeout=120)


def add(home, first, count):
    """Say that we are ready, wait for a line, then add bases one by one."""
    registry = open_registry(home)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(first), int(first) + int(count)):
        registry.add(make_basis(number, rank=1))


def write(home, first, count):
    """The same, telling the longest wait."""
    registry = open_registry(home)
    print("ready", flush=True)
    sys.stdin.readline()
    worst = 0.0
    for number in range(int(first), int(first) + int(count)):
        basis = make_basis(number, rank=1)
        begun = time.monotonic()
        registry.add(basis)
        worst = max(worst, time.monotonic() - begun)
    print(worst, flush=True)


def read(home, until):
    """Look until so many directions are there; what was there once stays, and no look fails."""
    registry = open_registry(home)
    print("ready", flush=True)
    sys.stdin.readline()
    seen, worst, looks = 0, 0.0, 0
    while seen < int(until):
        begun = time.monotonic()
        found = registry.find(roi="hair", sort="id")
        worst = max(worst, time.monotonic() - begun)
        looks += 1
        assert len(found) >= seen, "a committed row is gone"
        seen = len(found)
        time.sleep(0.02)
    print(worst, looks, flush=True)


def hold(home, kind):
    """Hold the lock until we are killed or told."""
    home.root.mkdir(parents=True, exist_ok=True)
    with locked(home.catalogue, exclusive=kind == "exclusive", timeout=5):
        print("held", flush=True)
        sys.stdin.readline()


def die_between(home):
    """Be killed when the basis file is written and its rows are not."""
    registry = open_registry(home)
    registry.add_model(make_model())
    registry.add(make_basis(0))
    rows.put_bases = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    registry.add(make_basis(1))


def die_with_log(home):
    """Be killed when rows are committed to the database's log, and not yet in the database."""
    registry = open_registry(home)
    registry.reindex()
    session = Session(registry.catalogue._engine(read_only=False).connect())
    rows.put_model(session, make_model())
    session.commit()
    os.kill(os.getpid(), signal.SIGKILL)


def die_before_commit(home):
    """Be killed when rows are written and not committed."""
    registry = open_registry(home)
    registry.add_model(make_model())
    registry.add(make_basis(0))
    put = rows.put_bases

    def work(session, headers):
        put(session, headers)
        session.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    rows.put_bases = work
    registry.add(*(make_basis(number) for number in range(1, 10)))


def reindex(home, times):
    """Rebuild the catalogue again and again, telling how many bases each has."""
    registry = open_registry(home)
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(int(times)):
        print(registry.reindex()["bases"], flush=True)


def collect(home):
    """Collect garbage again and again until the input ends, then tell how often."""
    registry = open_registry(home)
    print("ready", flush=True)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    times = 0
    while not ended.is_set():
        registry.collect(registry.garbage())
        times += 1
    print(times, flush=True)


def die_once(home, path, what, *arguments):
    """Be killed at the first file that is opened once `path` is there and not empty, while doing `what`."""
    registry = open_registry(home)
    registry.find()  # all is loaded
    home.root.mkdir(exist_ok=True)

    def look(event, _):
        if event == "open" and Path(path).exists() and Path(path).stat().st_size:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)
    if what == "import":
        registry.import_(Path(arguments[0]))
    elif what == "run":
        registry.start_run(make_run(0, status="running"))


def hold_turn(home):
    """Hold the turn to write, in the middle of a transaction, until we are told."""

    def work(session):
        print("held", flush=True)
        sys.stdin.readline()

    open_registry(home).catalogue.write(work)


def die_adding(home, first=0):
    """Add bases until we are killed, naming each that is done."""
    registry = open_registry(home)
    registry.add_model(make_model())
    number = int(first)
    while True:
        registry.add(make_basis(number))
        print(number, flush=True)
        number += 1


def small_disk(home, what, limit):
    """Do something on a disk that takes no file longer than `limit` bytes."""
    registry = open_registry(home)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    try:
        if what == "basis":
            registry.add(make_basis(0, shape=(3, 64, 64)))
        elif what == "index":
            registry.index(make_basis(0).id)
        elif what == "manifest":
            run = make_run()
            manifests.append(home, run.id, (manifests.edit_line(make_edit(number)) for number in range(100)))
        elif what == "model":
            registry.add_model(make_model(source="x" * 5000))
    except StorageError as error:
        print(error, flush=True)
        sys.exit(7)


if __name__ == "__main__":
    globals()[sys.argv[2]](Home(Path(sys.argv[1])), *sys.argv[3:])
