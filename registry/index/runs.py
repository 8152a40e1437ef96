"""The rows of runs, which follow their manifests: what a killed process wrote and did not index is taken in."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from loco.errors import StorageError
from loco.ids import is_id
from registry.files import manifests
from registry.files.journal import Line
from registry.home import Home
from registry.index.rows import put_edits, put_run, put_scores
from registry.index.tables import RunRow
from registry.records import RunRecord


@dataclass(frozen=True)
class Taken:
    """What a manifest gave: whether a run, how many edits, and its lines that say nothing."""

    run: bool
    edits: int
    bad: list[Line[dict[str, object]]]


def take_in(session: Session, home: Home, run_id: str) -> Taken:
    """Rows for all that the run's manifest tells, in place of what there is; needs the write lock.

    Raises `StorageError` for a manifest that cannot be read or tells of another run.
    """
    path = manifests.manifest_path(home, run_id)
    lines = list(manifests.journal_at(path).lines())
    records = [line.item for line in lines if line.item is not None]
    run, edits, scores = manifests.run_of(records), manifests.edits_of(records), manifests.scores_of(records)
    owners = {one.run_id for one in edits} | {one.run_id for one in scores}
    if owners - {run_id} or (run is not None and run.id != run_id):
        raise StorageError(f"manifest {path} tells of another run; move it to that run's folder")
    if run is not None:
        put_run(session, run)
    put_edits(session, run_id, edits)
    put_scores(session, run_id, scores)
    return Taken(run is not None, len(edits), [line for line in lines if line.item is None])


def take_in_missing(session: Session, home: Home) -> None:
    """The same for every run whose manifest the catalogue has not followed: its process was killed or gave up."""
    rows = {one.id: one.status for one in session.execute(select(RunRow.id, RunRow.status))}
    behind = [one for one, status in rows.items() if status == "running" and _ended(home, one)]
    for run_id in [*_without_row(home, set(rows)), *behind]:
        with contextlib.suppress(StorageError):  # `verify` names it
            take_in(session, home, run_id)


def _ended(home: Home, run_id: str) -> bool:
    """Whether a run's manifest says that it is over, which its row may not have come to know."""
    with contextlib.suppress(StorageError):
        run = manifests.run_of(manifests.stream(manifests.manifest_path(home, run_id)))
        return run is not None and run.status != "running"
    return False


def untaken(home: Home, known: Iterable[str]) -> list[RunRecord]:
    """The runs that have a manifest and are not `known`: they did not get at the catalogue, or did not live to."""
    found = []
    for run_id in _without_row(home, set(known)):
        with contextlib.suppress(StorageError):
            run = manifests.run_of(manifests.stream(manifests.manifest_path(home, run_id)))
            if run is not None and run.id == run_id:
                found.append(run)
    return found


def _without_row(home: Home, known: set[str]) -> list[str]:
    """Ids of the runs that have a manifest and are not `known`."""
    folders = (path.parent.name for path in home.runs.glob("*/manifest.jsonl"))
    return sorted(name for name in folders if is_id(name) and name not in known)
