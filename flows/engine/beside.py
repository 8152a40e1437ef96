"""Work beside the work: a thread that looks after something again and again."""

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def again_and_again(
    name: str, every: float, work: Callable[[], None], *, at_once: bool = False
) -> Iterator[None]:
    """Within it, `work` is done every so many seconds in a thread of that name, the first time after that long.

    The thread ends with it, after the work in progress. What `work` raises ends the thread alone.
    """
    over = threading.Event()

    def go() -> None:
        if at_once:
            work()
        while not over.wait(every):
            work()

    thread = threading.Thread(target=go, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
