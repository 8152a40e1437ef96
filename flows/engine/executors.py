"""Those who work on chunks: a plain function, or a task that Prefect's runners spread over processes and machines."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

_Chunk = TypeVar("_Chunk")
_Chunk_contra = TypeVar("_Chunk_contra", contravariant=True)
_Result = TypeVar("_Result")
_Result_co = TypeVar("_Result_co", covariant=True)


class Future(Protocol[_Result_co]):
    """A chunk that was handed out."""

    def result(self) -> _Result_co:
        """What came of it, waiting for it; raises what it failed with."""


class Executor(Protocol[_Chunk_contra, _Result_co]):
    """Those who work on chunks; `width` is how many may be handed out at a time."""

    @property
    def width(self) -> int: ...  # noqa: D102

    def submit(self, chunk: _Chunk_contra) -> Future[_Result_co]:
        """Hand out a chunk."""


class _Done(Generic[_Chunk, _Result]):
    """A chunk that is worked on when its result is asked for."""

    def __init__(self, work: Callable[[_Chunk], _Result], chunk: _Chunk) -> None:
        self.work, self.chunk = work, chunk

    def result(self) -> _Result:
        return self.work(self.chunk)


class Local(Generic[_Chunk, _Result]):
    """A executor of one: the function itself, in the caller's thread, one chunk after the other."""

    width = 1

    def __init__(self, work: Callable[[_Chunk], _Result]) -> None:
        self.work = work

    def submit(self, chunk: _Chunk) -> Future[_Result]:
        """Hand out a chunk; the work is done when its result is asked for."""
        return _Done(self.work, chunk)


class Queue(Generic[_Chunk]):
    """Chunks in their order, lazily; chunks put back come first, suspects before all, each on its own."""

    def __init__(self, chunks: Iterable[_Chunk]) -> None:
        self._chunks = iter(chunks)
        self._again: deque[_Chunk] = deque()
        self.suspects: deque[_Chunk] = deque()

    def put_back(self, *chunks: _Chunk) -> None:
        """Hand these out next."""
        self._again.extendleft(reversed(chunks))

    def suspect(self, chunk: _Chunk) -> None:
        """Hand this out once nothing else is out: a worker that dies takes its neighbours' chunks with it."""
        self.suspects.append(chunk)

    def __iter__(self) -> Iterator[_Chunk]:
        """Itself."""
        return self

    def __next__(self) -> _Chunk:
        """The next chunk; what was put back first."""
        return self._again.popleft() if self._again else next(self._chunks)


def worked(
    executor: Executor[_Chunk, _Result], queue: Queue[_Chunk]
) -> Iterator[tuple[_Chunk, Future[_Result]]]:
    """Each chunk with its future, in order, while as many as the executor's width are out.

    The caller asks the future for its result; chunks that it puts back into the queue are handed out again, those
    that it suspects with no other beside them.
    """
    out: deque[tuple[_Chunk, Future[_Result]]] = deque()
    while True:
        while queue.suspects and not out:
            alone = queue.suspects.popleft()
            yield alone, executor.submit(alone)
        while len(out) < executor.width and not queue.suspects:
            chunk = next(queue, None)
            if chunk is None:
                break
            out.append((chunk, executor.submit(chunk)))
        if not out:
            return
        yield out.popleft()


def end_with_parent() -> None:
    """Let this process, which another one started, end when that one does, however it ends.

    A pool's processes otherwise outlive a parent that was killed, and keep its memory and its accelerator.
    """
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()  # its end of a pipe closes with it
            os._exit(1)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()
