"""The life of a run: its catalogue, its record, its counts, how it ended, and what one that was killed is called."""

import contextlib
import platform
import shutil
import sys
import uuid
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from loco.errors import LocoError, RegistryBusy
from loco.files import reading_errors, write_atomic
from loco.ids import content_id
from loco.outside import regular_bytes
from registry.files import manifests
from registry.home import Home
from registry.records import RunRecord, now
from registry.registry import Registry
from registry.working import alive

FINISHED = ("done", "skipped", "absent", "failed")
"""What becomes of items. `absent`: the image has none of the regions that were asked for, which is no failure."""

COUNTS = ("planned", *FINISHED)


def catalogue(home: Home, url: str | None) -> Registry:
    """The home's catalogue; one that is gone is rebuilt first from the files that it was an index of."""
    registry = Registry(home, url)
    files = (home.models, home.datasets, home.bases)
    if url is None and not home.catalogue.exists() and any(folder.is_dir() for folder in files):
        registry.reindex()
    return registry


def begin(registry: Registry, run: RunRecord) -> None:
    """Record the run's start; when that cannot be, nothing is left of it.

    A run that others kept from the catalogue for too long leaves its file, from which it is told of as failed.
    """
    folder = registry.home.runs / run.id
    fresh = not folder.exists()
    try:
        mark_interrupted(registry)
        registry.start_run(run)
    except RegistryBusy as error:
        registry.log_run(broken(replace(run, provenance=run.provenance | {"error": str(error)[:300]})))
        raise
    except BaseException:
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def abandon(registry: Registry, run: RunRecord, error: str = "") -> None:
    """Record, as far as that is possible, that an error stopped the run; the error itself is the caller's.

    A run that was told to end (Ctrl-C, a machine that goes down) was interrupted, and did not fail.
    """
    told = not isinstance(sys.exception(), Exception | None)
    if error and not told:
        run = replace(run, provenance=run.provenance | {"error": error})
    with contextlib.suppress(LocoError):
        registry.finish_run(replace(broken(run), status="interrupted") if told else broken(run))


def fail_unbegun(
    registry: Registry, kind: str, spec: dict[str, Any], run_id: str, more: dict[str, Any], error: Exception
) -> None:
    """Record a run that failed before it could be recorded, so that somebody sees it; nothing if it is recorded."""
    with contextlib.suppress(RegistryBusy):  # its file may be there all the same, and is looked at then
        if any(one.id == run_id for one in registry.runs(kind)):
            return
    run = new_run(kind, spec, 0, run_id)
    cause = str(error).partition("\n")[0][:300] if isinstance(error, LocoError) else repr(error)[:300]
    run = broken(replace(run, provenance=run.provenance | more | {"error": cause}))
    if isinstance(error, RegistryBusy):  # who waited once does not wait again: the next run indexes its file
        registry.log_run(run)
    else:
        registry.start_run(run)


def new_run(kind: str, spec: dict[str, Any], planned: int, run_id: str | None = None) -> RunRecord:
    """A run that starts now, under an id of its own or the given one."""
    run_id = run_id or uuid.uuid4().hex
    return RunRecord(
        id=run_id,
        kind=kind,
        status="running",
        spec=spec,
        counts=dict.fromkeys(COUNTS, 0) | {"planned": planned},
        provenance=_here(),
        started_at=now(),
        finished_at=None,
        manifest=f"runs/{run_id}/manifest.jsonl",
    )


def again(run: RunRecord, planned: int, before: Mapping[str, int]) -> RunRecord:
    """A run of before that goes on now; what it did `before`, by its journal, stays counted as done."""
    more = {name: count for name, count in before.items() if name != "done"}
    counts = dict.fromkeys(COUNTS, 0) | more | {"planned": planned}
    attempt = int(run.provenance.get("attempt", 1)) + 1
    provenance = _here() | {"attempt": attempt, "done_before": before.get("done", 0)}
    return replace(run, status="running", counts=counts, provenance=provenance, finished_at=None)


def run_of(flow_run: str) -> str:
    """The id of the run that a flow run does: a hash, because Prefect's ids of one day begin all alike."""
    return content_id("run", flow_run)


def _here() -> dict[str, Any]:
    process = psutil.Process()
    return {
        "host": platform.node(),
        "pid": process.pid,
        "born": process.create_time(),
        "python": platform.python_version(),
        "version": metadata.version("loco-edit-service"),
    }


def counted(run: RunRecord, **more: int) -> RunRecord:
    """The run with its counts raised."""
    counts = dict(run.counts)
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count
    return replace(run, counts=counts)


def ended(run: RunRecord) -> RunRecord:
    """The run as it ended: `done`, `partial` when some items failed, `failed` when all did."""
    before = int(run.provenance.get("done_before", 0))
    if before:
        # What earlier attempts did was found finished by this one.
        known = min(before, run.counts["skipped"])
        run = counted(run, done=known, skipped=-known)
    failed = run.counts["failed"]
    finished = sum(run.counts.get(name, 0) for name in FINISHED if name != "failed")
    status = "done" if not failed else "partial" if finished else "failed"
    return replace(run, status=status, finished_at=now())


def broken(run: RunRecord) -> RunRecord:
    """The run as it ended when an error stopped it."""
    return replace(run, status="failed", finished_at=now())


def cut_short(run: RunRecord, status: str, reason: str) -> RunRecord:
    """The run as it ended before its end: `stopped` or `cancelled`, and why."""
    return replace(ended(run), status=status, provenance=run.provenance | {"stopped": reason})


# Stopping


def stop_file(home: Home, run_id: str) -> Path:
    """The file that tells a run, wherever it works, to begin nothing more."""
    return manifests.manifest_path(home, run_id).with_name("stop")


def ask_to_stop(home: Home, run_id: str, status: str, reason: str) -> None:
    """Tell a run to stop; it ends as `status`. What it finished stays. The first to ask is heard."""
    path = stop_file(home, run_id)
    if not path.exists():
        write_atomic(path, f"{status}\n{reason}".encode())


def asked_to_stop(home: Home, run_id: str) -> tuple[str, str] | None:
    """How a run is to end and why, when it was told to stop."""
    path = stop_file(home, run_id)
    with reading_errors(path):
        try:
            status, _, reason = regular_bytes(path).decode("utf-8").partition("\n")
        except FileNotFoundError:
            return None
    return status, reason


# The dead


def status_of(run: RunRecord) -> str:
    """How a run stands: one that says `running` and whose process is gone was `interrupted`."""
    return "interrupted" if run.status == "running" and not alive(run) else run.status


def mark_interrupted(registry: Registry) -> list[RunRecord]:
    """Record of every run whose process is gone that it was interrupted; returns those runs."""
    dead = [
        replace(run, status="interrupted", finished_at=now())
        for run in registry.runs()
        if run.status == "running" and status_of(run) == "interrupted"
    ]
    for run in dead:
        registry.finish_run(run)
    return dead
