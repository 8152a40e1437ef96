"""One run of a schedule at a time: a lock that the kernel takes back from a run that was killed."""

import contextlib
import fcntl
import time
from collections.abc import Iterator

from loco.files import make_folder, storage_errors, taken
from registry.files.registered import check_name
from registry.home import Home

_POLL = 0.5


@contextlib.contextmanager
def only_run(home: Home, schedule: str | None, *, wait: bool) -> Iterator[bool]:
    """Whether this run may work; it may alone within the schedule, if it belongs to one.

    While another works: with `wait` this one waits, but only one does; a third gives way. Without, it gives way.
    """
    if schedule is None:
        yield True
        return
    folder = home.root / "schedules"
    with contextlib.ExitStack() as stack:
        with storage_errors(folder):
            make_folder(folder)
            first, second = (
                stack.enter_context((folder / f".{check_name(schedule, 'schedule')}.{name}").open("w"))
                for name in ("lock", "next")
            )
        free = taken(first.fileno())
        if not free and wait and taken(second.fileno()):
            while not (free := taken(first.fileno())):
                time.sleep(_POLL)
            fcntl.flock(second.fileno(), fcntl.LOCK_UN)
        yield free
