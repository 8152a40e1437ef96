"""The rows of runs, which follow their manifests: what a killed process wrote and did not index is taken in."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from loco.errors import StorageError
from registry.files import manifests
from registry.files.basis import is_id
from registry.files.journal import Line
from registry.home import Home
from registry.index.rows import put_edits, put_run, put_scores
from registry.index.tables import RunRow


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
    """The same for every run that has a manifest and no row: its process was killed between the two."""
    known = set(session.scalars(select(RunRow.id)))
    for path in sorted(home.runs.glob("*/manifest.jsonl")):
        run_id = path.parent.name
        if is_id(run_id) and run_id not in known:
            try:
                take_in(session, home, run_id)
            except StorageError:
                continue  # `verify` names it
