"""The one thread in which networks run for the page: what waits for it is bounded, and asked twice is done once."""

import asyncio
import contextlib
import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, TypeVar

from cli.serve.problems import Refused

_Result = TypeVar("_Result")

MOST = 48
"""Pictures that wait at once; who comes then is told to come again."""


class Queue:
    """Work that is done one after the other: what somebody waits for at a slider before what fills a page."""

    def __init__(self, most: int = MOST) -> None:
        self._most, self._lock = most, threading.Lock()
        self._waiting: dict[str, Future[Any]] = {}
        self._line: queue.PriorityQueue[tuple[int, int, Callable[[], Any] | None, Future[Any]]]
        self._line, self._numbers = queue.PriorityQueue(), itertools.count()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="render", daemon=True)
        self._thread.start()

    async def do(self, key: str, work: Callable[[], _Result], *, urgent: bool = False) -> _Result:
        """What `work` gives; whoever asks the same `key` meanwhile gets the same. Raises `Refused` when it is full."""
        with self._lock:
            if self._closed:
                raise Refused(503, "the server ends")
            future = self._waiting.get(key)
            if future is None:
                if len(self._waiting) >= self._most:
                    raise Refused(503, f"{self._most} pictures wait already; ask again in a moment")
                future = self._waiting[key] = Future()
                future.add_done_callback(lambda _: self._forget(key))
                self._line.put((0 if urgent else 1, next(self._numbers), work, future))
        # One who goes away does not take the picture from the others.
        result: _Result = await asyncio.shield(asyncio.wrap_future(future))
        return result

    def close(self) -> None:
        """Begin nothing more, and tell whoever waits."""
        with self._lock:
            self._closed, waiting = True, list(self._waiting.values())
        for future in waiting:
            with contextlib.suppress(InvalidStateError):
                future.set_exception(Refused(503, "the server ends"))
        self._line.put((-1, next(self._numbers), None, Future()))

    def ended(self, seconds: float) -> bool:
        """Whether what it worked on when it was closed is done, within so long."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while True:
            _, _, work, future = self._line.get()
            if work is None:
                return
            if future.done():
                continue  # it was closed meanwhile
            with contextlib.suppress(InvalidStateError):
                try:
                    future.set_result(work())
                except InvalidStateError:
                    raise
                except BaseException as error:  # noqa: BLE001 (it is raised again, where the result is waited for)
                    future.set_exception(error)

    def _forget(self, key: str) -> None:
        with self._lock:
            self._waiting.pop(key, None)
