"""The life of a run: its catalogue, its record, its counts, and how it ended."""

import contextlib
import os
import platform
import shutil
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from loco.errors import LocoError
from registry.home import Home
from registry.records import RunRecord
from registry.registry import Registry


def catalogue(home: Home, url: str | None) -> Registry:
    """The home's catalogue; one that is gone is rebuilt first from the files that it was an index of."""
    registry = Registry(home, url)
    files = (home.models, home.datasets, home.bases)
    if url is None and not home.catalogue.exists() and any(folder.is_dir() for folder in files):
        registry.reindex()
    return registry


def begin(registry: Registry, run: RunRecord) -> None:
    """Record the run's start; when that cannot be, nothing is left of it."""
    try:
        registry.start_run(run)
    except BaseException:
        shutil.rmtree(registry.home.runs / run.id, ignore_errors=True)
        raise


def abandon(registry: Registry, run: RunRecord) -> None:
    """Record, as far as that is possible, that an error stopped the run; the error itself is the caller's."""
    with contextlib.suppress(LocoError):
        registry.finish_run(broken(run))


def now() -> str:
    """The present time, naive UTC, ISO 8601."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def new_run(kind: str, spec: dict[str, Any], planned: int) -> RunRecord:
    """A run that starts now."""
    run_id = uuid.uuid4().hex
    return RunRecord(
        id=run_id,
        kind=kind,
        status="running",
        spec=spec,
        counts={"planned": planned, "done": 0, "skipped": 0, "failed": 0},
        provenance={
            "host": platform.node(),
            "pid": os.getpid(),
            "python": platform.python_version(),
            "version": metadata.version("loco-edit-service"),
        },
        started_at=now(),
        finished_at=None,
        manifest=f"runs/{run_id}/manifest.jsonl",
    )


def counted(run: RunRecord, **more: int) -> RunRecord:
    """The run with its counts raised."""
    counts = dict(run.counts)
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count
    return replace(run, counts=counts)


def ended(run: RunRecord) -> RunRecord:
    """The run as it ended: `done`, `partial` when some items failed, `failed` when all did."""
    failed, finished = run.counts["failed"], run.counts["done"] + run.counts["skipped"]
    status = "done" if not failed else "partial" if finished else "failed"
    return replace(run, status=status, finished_at=now())


def broken(run: RunRecord) -> RunRecord:
    """The run as it ended when an error stopped it."""
    return replace(run, status="failed", finished_at=now())
