"""Prefect's task runners as crews: chunks in this process, in processes beside it, on a Dask or a Ray cluster."""

import contextlib
import logging
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from typing import Any, cast

from prefect.exceptions import CrashedRun
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner
from prefect.tasks import Task

from flows.engine.executors import Executor, Future, Local, end_with_parent
from flows.engine.job import Chunk
from flows.engine.options import Runner
from flows.engine.retries import Lost
from loco.errors import InputError

AHEAD = 1
"""Chunks that wait for a worker, so that none is idle while rows are written."""


@contextlib.contextmanager
def executor_of(runner: Runner, task: Task[Any, Any], kind: str) -> Iterator[Executor[Any, Any]]:
    """Those who work on chunks of that kind by `task` as the runner says; call within a flow.

    Raises `InputError` when the runner's integration is not installed.
    """
    task = task.with_options(name=f"{kind}-chunk")
    if runner.kind == "local":
        yield Local(lambda chunk: timed(task, chunk)(kind, chunk))
        return
    executor = _Spread(runner, task, kind)
    try:
        yield executor
    finally:
        executor.close()


def timed(task: Task[Any, Any], chunk: Chunk) -> Task[Any, Any]:
    """The task with the time that this chunk may take."""
    return task.with_options(timeout_seconds=chunk.timeout) if chunk.timeout else task


class _Spread:
    """A executor on one of Prefect's runners; the runner is made anew when its workers died."""

    def __init__(self, runner: Runner, task: Task[Any, Any], kind: str) -> None:
        self.runner, self.task, self.kind = runner, task, kind
        self.width = runner.workers + AHEAD
        self._dead = _dead(runner)
        self._stack = contextlib.ExitStack()
        self._on: TaskRunner[Any] = self._stack.enter_context(_runner(runner))

    def submit(self, chunk: Chunk) -> Future[Any]:
        """Hand out a chunk. Dask and Ray work in threads, which no time-out can interrupt."""
        task = timed(self.task, chunk) if self.runner.kind == "processes" else self.task
        try:
            future = self._on.submit(task, {"kind": self.kind, "chunk": chunk})
        except self._dead:
            self.renew()
            future = self._on.submit(task, {"kind": self.kind, "chunk": chunk})
        return _Out(self, future)

    def renew(self) -> None:
        """Begin anew with fresh workers."""
        with contextlib.suppress(*self._dead):
            self.close()
        self._stack = contextlib.ExitStack()
        self._on = self._stack.enter_context(_runner(self.runner))

    def close(self) -> None:
        """End the workers."""
        self._stack.close()

    def lost(self, on: TaskRunner[Any], error: BaseException) -> Lost:
        """A chunk was lost on `on`: what to raise; with fresh workers, if they were not fetched already."""
        if on is self._on and self.runner.kind == "processes":
            self.renew()
        return Lost(f"its worker died ({type(error).__name__}: {error})".partition("\n")[0])


class _Out:
    """A chunk that a worker has."""

    def __init__(self, executor: _Spread, future: Any) -> None:
        self.executor, self.future, self.on = executor, future, executor._on

    def result(self) -> Any:
        """What came of it."""
        try:
            return self.future.result()
        except self.executor._dead as error:
            raise self.executor.lost(self.on, error) from error
        except Exception as error:
            if self.on is self.executor._on:
                raise
            # Its workers were ended with those of another chunk, in the middle of whatever this one was at.
            raise Lost(
                f"its workers were renewed ({type(error).__name__}: {error})".partition("\n")[0]
            ) from error


def _runner(runner: Runner) -> TaskRunner[Any]:
    """Prefect's runner of that kind."""
    match runner.kind:
        case "dask":
            try:
                from prefect_dask.task_runners import DaskTaskRunner
            except ImportError as error:
                raise _missing("dask") from error
            logging.getLogger("distributed").setLevel(logging.ERROR)
            if runner.address:
                return cast(TaskRunner[Any], DaskTaskRunner(address=runner.address))
            # Processes, so that each has an interpreter and an accelerator to itself.
            cluster = {
                "n_workers": runner.workers,
                "threads_per_worker": 1,
                "dashboard_address": "127.0.0.1:0",
                "silence_logs": logging.ERROR,
            }
            return cast(TaskRunner[Any], DaskTaskRunner(cluster_kwargs=cluster))
        case "ray":
            try:
                from prefect_ray import RayTaskRunner
            except ImportError as error:
                raise _missing("ray") from error
            if runner.address:
                return cast(TaskRunner[Any], RayTaskRunner(address=runner.address))
            arguments = {"num_cpus": runner.workers, "include_dashboard": False}
            return cast(TaskRunner[Any], RayTaskRunner(init_kwargs=arguments))
    return ProcessPoolTaskRunner(max_workers=runner.workers, initializer=end_with_parent)


def _dead(runner: Runner) -> tuple[type[BaseException], ...]:
    """What a runner raises when a worker died."""
    found: tuple[type[BaseException], ...] = (BrokenExecutor, CrashedRun)
    if runner.kind == "dask":
        with contextlib.suppress(ImportError):
            from distributed import KilledWorker

            return (*found, KilledWorker)
    if runner.kind == "ray":
        with contextlib.suppress(ImportError):
            from ray.exceptions import RayError

            return (*found, RayError)
    return found


def _missing(kind: str) -> InputError:
    return InputError(f"--runner {kind} needs prefect-{kind}: pip install 'loco-edit-service[{kind}]'")
