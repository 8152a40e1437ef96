"""`verify`: does the catalogue say what the files say, and are all files sound?"""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from loco.errors import StorageError
from loco.ids import canonical
from registry.alike import matrix
from registry.files import found, history, manifests, registered, transfers
from registry.files.basis import read_basis, read_header
from registry.files.found import Found
from registry.home import Home
from registry.index import queries
from registry.index.rows import edit_of, event_of, transfer_of
from registry.index.session import Catalogue
from registry.index.tables import (
    BasisRow,
    DatasetRow,
    DirectionRow,
    EditRow,
    HistoryRow,
    ImageRow,
    RoiRow,
    RunRow,
    SketchRow,
    TransferRow,
)
from registry.records import (
    DatasetRecord,
    EditItem,
    Event,
    ModelRecord,
    Problem,
    RunRecord,
    Score,
    Transfer,
    utc,
)
from registry.upkeep import outputs
from registry.upkeep.checks import REINDEX, bad_lines, unknowable, unread, unrecorded
from registry.working import alive

_RESTORE = "restore it from a backup, or `loco registry reindex` makes the catalogue follow the file"


@dataclass(frozen=True)
class _Rows:
    """What is compared with the files, read in one go so that the lock is held shortly."""

    bases: dict[str, tuple[str, str, datetime | None]] = field(default_factory=dict)
    """Id -> (model id, checksum, when it was found)."""
    held: set[str] = field(default_factory=set)
    """Basis ids that directions and regions refer to."""
    models: dict[str, ModelRecord] = field(default_factory=dict)
    datasets: set[str] = field(default_factory=set)
    pictured: set[str] = field(default_factory=set)
    runs: dict[str, RunRecord] = field(default_factory=dict)
    edits: list[EditItem] = field(default_factory=list)
    """By their run's start, the latest last."""
    scores: list[Score] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Bases with other numbers of directions, shown directions or sketches than they must have."""


def verify(catalogue: Catalogue, home: Home) -> list[Problem]:
    """Everything that is wrong, each with its remedy; empty when catalogue and files agree.

    Every basis file and edit output is read once. Work in progress in another process can look like an
    orphan or a leftover. Raises `RegistryError` when the catalogue itself cannot be read.
    """
    rows = catalogue.read(_snapshot, _Rows())
    return [
        *_bases(rows, home),
        *_references(rows),
        *_records(rows, catalogue, home),
        *_runs(rows, home),
        *_history(catalogue, home),
        *_transfers(catalogue, home),
        *_matrix(catalogue, home),
        *unrecorded(home, [*outputs.files_of(rows.edits, home), *_database(catalogue)], basis_files(home)),
        *outputs.damaged(rows.edits, home),
    ]


def unchecked(catalogue: Catalogue, home: Home) -> list[str]:
    """What `verify` cannot tell, in words."""

    def look(session: Session) -> int:
        query = select(func.count()).select_from(EditRow).where(EditRow.output.contains("://"))
        return session.scalar(query) or 0

    return unknowable(home, catalogue.read(look, 0))


def basis_files(home: Home) -> list[Path]:
    """All basis files of the home, sound or not, by id."""
    return sorted(path for path in home.bases.glob("*/*.safetensors") if not path.name.startswith("."))


def _snapshot(session: Session) -> _Rows:
    edits = select(EditRow).outerjoin(RunRow, RunRow.id == EditRow.run_id)
    return _Rows(
        bases={
            key: (model, checksum, at)
            for key, model, checksum, at in session.execute(
                select(BasisRow.id, BasisRow.model, BasisRow.checksum, BasisRow.found_at)
            ).tuples()
        },
        held={
            *session.scalars(select(DirectionRow.basis_id).distinct()),
            *session.scalars(select(RoiRow.basis_id).distinct()),
        },
        models={one.name: one for one in queries.models(session)},
        datasets=set(session.scalars(select(DatasetRow.name))),
        pictured=set(session.scalars(select(ImageRow.dataset).distinct())),
        wrong=_wrong(session),
        runs={one.id: one for one in queries.runs(session, None)},
        scores=queries.scores(session, None),
        edits=[
            edit_of(row)
            for row in session.scalars(edits.order_by(RunRow.started_at.nulls_first(), EditRow.run_id))
        ],
    )


def _wrong(session: Session) -> list[str]:
    """Bases whose rows do not fit each other: what no key of the embedded catalogue guards."""
    row = DirectionRow
    twice = select(row.basis_id).group_by(row.basis_id, row.row).having(func.count() > 1)
    unshown = (
        select(func.min(row.basis_id)).group_by(row.id).having(func.sum(case((row.shown, 1), else_=0)) != 1)
    )
    counts = (
        select(SketchRow.basis_id.label("id"), func.count().label("n"))
        .group_by(SketchRow.basis_id)
        .subquery()
    )
    directions = select(row.basis_id.label("id"), func.count().label("n")).group_by(row.basis_id).subquery()
    unsketched = (
        select(directions.c.id)
        .outerjoin(counts, counts.c.id == directions.c.id)
        .where(func.coalesce(counts.c.n, 0) != directions.c.n)
    )
    return sorted({key for query in (twice, unshown, unsketched) for key in session.scalars(query)})


def _bases(rows: _Rows, home: Home) -> Iterator[Problem]:
    """Basis files against their rows."""
    paths = basis_files(home)
    present = set(paths)
    for basis_id in sorted(key for key in rows.bases if home.basis(key) not in present):
        remedy = f"{REINDEX}; running the same discover again brings it back"
        yield Problem(str(home.basis(basis_id)), "in the catalogue, but the file is missing", remedy)
    folder, lines = Path(), dict[str, Found]()
    untold: dict[Path, int] = {}
    for path in paths:
        if path.parent != folder:
            folder = path.parent
            with contextlib.suppress(StorageError):  # told elsewhere
                lines = found.told(folder)
        try:
            basis = read_basis(path)
        except StorageError as error:
            yield unread(path, error, "delete the file and run the same discover again")
            continue
        if path != home.basis(basis.id):
            yield Problem(str(path), f"holds the basis {basis.id}", f"move it to {home.basis(basis.id)}")
        elif basis.id not in rows.bases:
            yield Problem(str(path), "not in the catalogue", REINDEX)
        elif rows.bases[basis.id][1] != read_header(path).checksum:
            yield Problem(str(path), "was rewritten since the catalogue saw it", REINDEX)
        elif utc(found.look(path, read_header(path).body, lines).found_at) != rows.bases[basis.id][2]:
            untold[folder / found.NAME] = untold.get(folder / found.NAME, 0) + 1
    for path, count in untold.items():
        trouble = f"does not tell when {count} bases were found as the catalogue does"
        yield Problem(str(path), trouble, _RESTORE)


def _references(rows: _Rows) -> Iterator[Problem]:
    """Rows that refer to rows that are not there."""
    for basis_id in sorted(rows.held - rows.bases.keys()):
        yield Problem(f"basis {basis_id}", "has directions or regions in the catalogue, but no row", REINDEX)
    for model in sorted(
        {model for model, _, _ in rows.bases.values()} - {one.id for one in rows.models.values()}
    ):
        yield Problem(f"model {model}", "has bases, but no name here", "register it with `loco model add`")
    for name in sorted(rows.pictured - rows.datasets):
        yield Problem(f"dataset {name}", "has images in the catalogue, but no row", REINDEX)
    for run_id in sorted({edit.run_id for edit in rows.edits} - rows.runs.keys()):
        yield Problem(f"run {run_id}", "has outputs in the catalogue, but no row", REINDEX)

    for basis_id in rows.wrong:
        remedy = f"run `loco registry migrate`; if it stays, {REINDEX}"
        yield Problem(f"basis {basis_id}", "its directions and sketches do not fit each other", remedy)


def _history(catalogue: Catalogue, home: Home) -> Iterator[Problem]:
    """The history file against its rows."""
    path = history.history_path(home)
    for last in (False, False, False, True):
        try:
            lines = list(history.journal_of(home).lines())
        except StorageError as error:
            yield unread(path, error)
            return
        # The lines first, and then the rows of just these: who writes meanwhile makes no difference. A line that
        # somebody is writing has its row a moment later.
        end = lines[-1].end if lines else 0
        said, seen = catalogue.read(partial(_said, end), (list[Event](), 0))
        events = [line.item for line in lines if line.item is not None]
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            end = path.stat().st_size
        if last or (len(events) == len(said) and seen <= end):
            break
        time.sleep(0.2)
    if seen > end:
        said, _ = catalogue.read(partial(_said, seen), (list[Event](), 0))
    yield from bad_lines(path, lines)
    if len(events) != len(said):
        yield Problem(str(path), f"has {len(events)} events, the catalogue {len(said)}", _RESTORE)
    elif different := sum(not _same(one, two) for one, two in zip(events, said, strict=True)):
        yield Problem(str(path), f"{different} of its events are other ones in the catalogue", _RESTORE)


def _transfers(catalogue: Catalogue, home: Home) -> Iterator[Problem]:
    """What the home's files tell of directions on other images against the rows."""

    def look(session: Session) -> dict[str, Transfer]:
        return {row.direction_id: transfer_of(row) for row in session.scalars(select(TransferRow))}

    problems: list[Problem] = []
    for wait in (0, 0.2, 0.2):  # who writes meanwhile is done a moment later
        time.sleep(wait)
        problems, told = [], dict[str, tuple[Path, Transfer]]()
        for path in transfers.files(home):
            try:
                lines = list(transfers.journal_at(path).lines())
            except StorageError as error:
                problems.append(unread(path, error))
                continue
            problems += bad_lines(path, lines)
            told |= {line.item.direction_id: (path, line.item) for line in lines if line.item is not None}
        here = catalogue.read(look, dict[str, Transfer]())
        other = Counter(
            path for key, (path, one) in told.items() if key not in here or not _same(one, here[key])
        )
        lost = Counter(transfers.path_of(home, key) for key in here.keys() - told.keys())
        for counts, what, remedy in (
            (other, "of its directions are not so in the catalogue", REINDEX),
            (lost, "directions that the catalogue tells of are missing", _RESTORE),
        ):
            problems += [Problem(str(path), f"{count} {what}", remedy) for path, count in counts.items()]
        if not problems:
            break
    yield from problems


def _said(end: int, session: Session) -> tuple[list[Event], int]:
    """The events of lines up to byte `end`, and the byte up to which rows know of lines."""
    rows = session.scalars(select(HistoryRow).where(HistoryRow.end <= end).order_by(HistoryRow.seq))
    return [event_of(row) for row in rows], session.scalar(select(func.max(HistoryRow.end))) or 0


def _records(rows: _Rows, catalogue: Catalogue, home: Home) -> Iterator[Problem]:
    """Model and dataset files against their rows."""
    for what, folder, names in (
        ("model", home.models, set(rows.models)),
        ("dataset", home.datasets, rows.datasets),
    ):
        paths = {path.stem: path for path in registered.listed(folder)}
        for name in sorted(names - paths.keys()):
            path = folder / f"{name}.json"
            yield Problem(
                str(path), "in the catalogue, but the file is missing", f"run `loco {what} add {name} ...`"
            )
        for name, path in paths.items():
            try:
                record = registered.read_model(path) if what == "model" else registered.read_dataset(path)
            except StorageError as error:
                yield unread(path, error, f"delete it and run `loco {what} add {name} ...`")
                continue
            here = rows.models.get(name) if what == "model" else _dataset(catalogue, name)
            if here is None or not _same(record, here):
                yield Problem(str(path), "not in the catalogue as the file says it", REINDEX)


def _runs(rows: _Rows, home: Home) -> Iterator[Problem]:
    """Manifests against runs and edits."""
    paths = {path.parent.name: path for path in sorted(home.runs.glob("*/manifest.jsonl"))}
    for run_id in sorted(rows.runs.keys() - paths.keys()):
        yield Problem(str(home.runs / run_id), "in the catalogue, but its manifest is missing", REINDEX)
    listed: dict[str, dict[object, EditItem | Score]] = {}
    for edit in rows.edits:
        listed.setdefault(edit.run_id, {})[edit.id] = edit
    for score in rows.scores:
        listed.setdefault(score.run_id, {})[_place(score)] = score
    for run_id, path in paths.items():
        try:
            lines = list(manifests.journal_at(path).lines())
        except StorageError as error:
            yield unread(path, error)
            continue
        yield from bad_lines(path, lines)
        records = [line.item for line in lines if line.item is not None]
        run = manifests.run_of(records)
        told: dict[object, EditItem | Score] = {one.id: one for one in manifests.edits_of(records)}
        told |= {_place(one): one for one in manifests.scores_of(records)}
        here = listed.get(run_id, {})
        known = rows.runs.get(run_id)
        if run is not None and run.id != run_id:
            yield Problem(str(path), f"tells of the run {run.id}", f"move its folder to {home.runs / run.id}")
        elif run is None and known is not None:
            yield Problem(str(path), "no longer tells of its run", f"take it from a backup, or {REINDEX}")
        elif run is not None and known is None:
            if (
                run.status != "running" or "pid" not in run.provenance or not alive(run)
            ):  # else it is about to be
                yield Problem(str(path), "its run is not in the catalogue", REINDEX)
        elif run is not None and known is not None and not _same(run, known):
            yield Problem(str(path), f"says {run.status} of its run, the catalogue {known.status}", _RESTORE)
        for number, what, remedy in (
            (len(told.keys() - here.keys()), "outputs are not in the catalogue", REINDEX),
            (len(here.keys() - told.keys()), "outputs that the catalogue has are missing", _RESTORE),
            (
                sum(not _same(one, here[key]) for key, one in told.items() if key in here),
                "outputs are other ones in the catalogue",
                _RESTORE,
            ),
        ):
            if number:
                yield Problem(str(path), f"{number} of its {what}", remedy)


def _place(score: Score) -> tuple[str, str, float]:
    return score.direction_id, score.image_id, score.strength


def _dataset(catalogue: Catalogue, name: str) -> DatasetRecord | None:
    """A dataset as the catalogue has it, one at a time: each may have millions of images."""
    known = catalogue.read(lambda session: queries.datasets(session, name), list[DatasetRecord]())
    return known[0] if known else None


def _same(one: object, other: object) -> bool:
    """Whether two records are equal, whatever their times' way of writing and their lists' kind."""
    return _told(one) == _told(other)


def _told(record: Any) -> str:
    values = asdict(record)
    for name in ("at", "added_at", "started_at", "finished_at"):
        if values.get(name):
            values[name] = utc(values[name]).isoformat()
    return canonical(values)


def _database(catalogue: Catalogue) -> Iterator[Path]:
    """The files of an embedded catalogue, which may have another name than a home's usually has."""
    if catalogue.file is not None:
        yield from catalogue.file.absolute().parent.glob(f"{catalogue.file.name}*")


def _matrix(catalogue: Catalogue, home: Home) -> Iterator[Problem]:
    """The sketches beside the catalogue against those in it."""
    for path in matrix.damaged(catalogue, home):
        yield Problem(str(path), "its sketches are not the catalogue's", "delete it: it is made again")
