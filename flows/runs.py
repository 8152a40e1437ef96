"""The life of a run: its record, its counts, and how it ended."""

import os
import platform
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from registry.records import RunRecord


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
