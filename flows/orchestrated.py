"""The thin Prefect decorators over `run_discover` and `run_apply`: names, retries, tags; no work of their own.

Without them the functions are still the program. Import this only after `flows.server.use_server`, because Prefect
reads its settings when it is imported.
"""

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.apply import run_apply
from flows.discover import DiscoverChunk, ImageOutcome, discover_chunk, run_discover
from flows.edits import ApplyChunk, Work
from flows.jobs import ApplyJob, DiscoverJob, Silence, Watch
from flows.stream import apply_chunk
from loco.errors import LocoError
from registry.home import Home
from registry.records import RunRecord

_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


class _Bugs(logging.Filter):
    """Passes what is said of bugs only: of an error that users can do something about the command says one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, LocoError) and "Finished in state" not in record.getMessage()


for _handler in logging.getLogger().handlers:  # Prefect's console; its server keeps everything
    _handler.addFilter(_Bugs())


@contextlib.contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Within it, runs started in this thread tell `watch` of their progress."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def _may_pass(task: Any, run: Any, state: Any) -> bool:
    """Whether trying again can help: not for what the error tree calls wrong input or a broken disk."""
    error = state.result(raise_on_failure=False)
    # A device that is out of memory, a file system that is away: these can pass.
    return isinstance(error, OSError | RuntimeError) and not isinstance(error, LocoError)


@task(
    name="discover-chunk",
    task_run_name="{chunk.images[0].name} and on",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=_may_pass,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def discover_chunk_task(chunk: DiscoverChunk) -> list[ImageOutcome]:
    """One chunk of images, as a task."""
    return discover_chunk(chunk)


@task(
    name="apply-chunk",
    task_run_name="{chunk.sources[0].name} and on",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=_may_pass,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def apply_chunk_task(chunk: ApplyChunk) -> Work:
    """One chunk of images, as a task."""
    return apply_chunk(chunk)


@flow(
    name="discover",
    flow_run_name="{job.dataset} x {job.model}",
    validate_parameters=False,
    persist_result=False,
)
def discover_flow(home: Path, url: str | None, job: DiscoverJob) -> RunRecord:
    """Discovery over a dataset, as a flow."""
    return run_discover(Home(Path(home)), url, job, _watch.get() or Silence(), discover_chunk_task)


@flow(name="apply", flow_run_name="to {job.out}", validate_parameters=False, persist_result=False)
def apply_flow(home: Path, url: str | None, job: ApplyJob) -> RunRecord:
    """Bulk application, as a flow."""
    return run_apply(Home(Path(home)), url, job, _watch.get() or Silence(), apply_chunk_task)
