"""`verify`: does the catalogue say what the files say, and are all files sound?"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from loco import files
from loco.errors import Damaged, NewerFormat, StorageError
from loco.ids import file_id
from registry.files import found, history, manifests, registered, shared
from registry.files.basis import is_id, read_basis, read_header
from registry.files.journal import Line
from registry.home import Home
from registry.index.rows import edit_of
from registry.index.session import Catalogue
from registry.index.tables import (
    BasisRow,
    DatasetRow,
    DirectionRow,
    EditRow,
    HistoryRow,
    ImageRow,
    ModelRow,
    RoiRow,
    RunRow,
    SketchRow,
)
from registry.records import EditItem, Problem

_REINDEX = "run `loco registry reindex`"
_DISK = "check the disk"
_LINES = 20
"""Bad lines of one journal that are named one by one."""


@dataclass(frozen=True)
class _Rows:
    """What is compared with the files, read in one go so that the lock is held shortly."""

    bases: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Id -> (model id, checksum)."""
    held: set[str] = field(default_factory=set)
    """Basis ids that directions and regions refer to."""
    models: dict[str, str] = field(default_factory=dict)
    datasets: set[str] = field(default_factory=set)
    pictured: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    edits: list[EditItem] = field(default_factory=list)
    """By their run's start, the latest last."""
    said: int = 0
    """Lines of the history that have a row."""
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
        *_records(rows, home),
        *_runs(rows, home),
        *_history(rows, home),
        *_foreign(home),
        *_leftovers(home),
        *_outputs(rows.edits, home),
    ]


def basis_files(home: Home) -> list[Path]:
    """All basis files of the home, sound or not, by id."""
    return sorted(path for path in home.bases.glob("*/*.safetensors") if not path.name.startswith("."))


def _snapshot(session: Session) -> _Rows:
    edits = select(EditRow).outerjoin(RunRow, RunRow.id == EditRow.run_id)
    return _Rows(
        bases={row.id: (row.model, row.checksum) for row in session.scalars(select(BasisRow))},
        held={
            *session.scalars(select(DirectionRow.basis_id).distinct()),
            *session.scalars(select(RoiRow.basis_id).distinct()),
        },
        models={row.name: row.id for row in session.scalars(select(ModelRow))},
        datasets=set(session.scalars(select(DatasetRow.name))),
        pictured=set(session.scalars(select(ImageRow.dataset).distinct())),
        said=session.scalar(select(func.count()).select_from(HistoryRow)) or 0,
        wrong=_wrong(session),
        runs=set(session.scalars(select(RunRow.id))),
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
        remedy = f"{_REINDEX}; running the same discover again brings it back"
        yield Problem(str(home.basis(basis_id)), "in the catalogue, but the file is missing", remedy)
    for path in paths:
        try:
            basis = read_basis(path)
        except StorageError as error:
            yield _unread(path, error, "delete the file and run the same discover again")
            continue
        if path != home.basis(basis.id):
            yield Problem(str(path), f"holds the basis {basis.id}", f"move it to {home.basis(basis.id)}")
        elif basis.id not in rows.bases:
            yield Problem(str(path), "not in the catalogue", _REINDEX)
        elif rows.bases[basis.id][1] != read_header(path).checksum:
            yield Problem(str(path), "was rewritten since the catalogue saw it", _REINDEX)


def _references(rows: _Rows) -> Iterator[Problem]:
    """Rows that refer to rows that are not there."""
    for basis_id in sorted(rows.held - rows.bases.keys()):
        yield Problem(f"basis {basis_id}", "has directions or regions in the catalogue, but no row", _REINDEX)
    for model in sorted({model for model, _ in rows.bases.values()} - set(rows.models.values())):
        yield Problem(f"model {model}", "has bases, but no name here", "register it with `loco model add`")
    for name in sorted(rows.pictured - rows.datasets):
        yield Problem(f"dataset {name}", "has images in the catalogue, but no row", _REINDEX)
    for run_id in sorted({edit.run_id for edit in rows.edits} - rows.runs):
        yield Problem(f"run {run_id}", "has outputs in the catalogue, but no row", _REINDEX)

    for basis_id in rows.wrong:
        remedy = f"run `loco registry migrate`; if it stays, {_REINDEX}"
        yield Problem(f"basis {basis_id}", "its directions and sketches do not fit each other", remedy)


def _history(rows: _Rows, home: Home) -> Iterator[Problem]:
    """The history file against its rows."""
    path = history.history_path(home)
    try:
        lines = list(history.journal_of(home).lines())
    except StorageError as error:
        yield _unread(path, error)
        return
    yield from _bad_lines(path, lines)
    events = sum(line.item is not None for line in lines)
    if events != rows.said:
        yield Problem(str(path), f"has {events} events, the catalogue {rows.said}", _REINDEX)


def _bad_lines(path: Path, lines: Iterable[Line[Any]]) -> Iterator[Problem]:
    """The lines of a journal that say nothing here, by their numbers."""
    bad = [line for line in lines if line.item is None]
    for line in bad[:_LINES]:
        what = "is a newer program's" if line.newer else "says nothing"
        remedy = (
            "use that program or a newer one here" if line.newer else f"remove that line, then {_REINDEX}"
        )
        yield Problem(str(path), f"line {line.number} {what}: {line.why}", remedy)
    if len(bad) > _LINES:
        yield Problem(str(path), f"{len(bad) - _LINES} more lines say nothing", "mend those named first")


def _foreign(home: Home) -> Iterator[Problem]:
    """Files among the bases that are none, and what the shared store lacks or has beyond."""
    for path in sorted(home.bases.rglob("*")):
        stray = path.is_file() and (path.suffix != ".safetensors" or path.parent.parent != home.bases)
        if stray and path.name != found.NAME and not files.is_partial(path):
            yield Problem(str(path), "a foreign file among the bases", "move it elsewhere")
    for path in found.files(home):
        try:
            yield from _bad_lines(path, found.journal_at(path).bad())
        except StorageError as error:
            yield _unread(path, error)
    store = shared.shared(home)
    if store is None:
        return
    there, here = store.ids(), {path.stem for path in basis_files(home)}
    for basis_id in sorted(here - there):
        yield Problem(
            store.place(basis_id), "missing in the shared store", "run `loco registry store --send`"
        )
    for basis_id in sorted(there - here):
        what = "not fetched yet" if is_id(basis_id) else "a foreign file in the shared store"
        yield Problem(store.place(basis_id), what, _REINDEX if is_id(basis_id) else "move it elsewhere")


def _records(rows: _Rows, home: Home) -> Iterator[Problem]:
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
                yield _unread(path, error, f"delete it and run `loco {what} add {name} ...`")
                continue
            if name not in names or (what == "model" and rows.models[name] != record.id):
                yield Problem(str(path), "not in the catalogue as the file says it", _REINDEX)


def _runs(rows: _Rows, home: Home) -> Iterator[Problem]:
    """Manifests against runs and edits."""
    paths = {path.parent.name: path for path in sorted(home.runs.glob("*/manifest.jsonl"))}
    for run_id in sorted(rows.runs - paths.keys()):
        yield Problem(str(home.runs / run_id), "in the catalogue, but its manifest is missing", _REINDEX)
    listed = {(edit.run_id, edit.id) for edit in rows.edits}
    for run_id, path in paths.items():
        try:
            lines = list(manifests.journal_at(path).lines())
        except StorageError as error:
            yield _unread(path, error)
            continue
        yield from _bad_lines(path, lines)
        records = [line.item for line in lines if line.item is not None]
        run, edits = manifests.run_of(records), manifests.edits_of(records)
        if run is not None and run.id != run_id:
            yield Problem(str(path), f"tells of the run {run.id}", f"move its folder to {home.runs / run.id}")
        elif run is None and run_id in rows.runs:
            yield Problem(str(path), "no longer tells of its run", f"take it from a backup, or {_REINDEX}")
        missing = sum((edit.run_id, edit.id) not in listed for edit in edits)
        if run is not None and run_id not in rows.runs:
            yield Problem(str(path), "its run is not in the catalogue", _REINDEX)
        elif missing:
            yield Problem(str(path), f"{missing} of its outputs are not in the catalogue", _REINDEX)


def _leftovers(home: Home) -> Iterator[Problem]:
    """What a killed process left half written."""
    for path in files.leftovers(home.root):
        yield Problem(str(path), "half written", "run `loco registry gc --delete`")


def _outputs(edits: Iterable[EditItem], home: Home) -> Iterator[Problem]:
    """Edit outputs against their checksums; a relative path counts from the home."""
    # A later run may have written over an earlier one's output: only the last writer of a path is asked.
    # What lies under a URL is not looked at: that would download it.
    latest = {home.root / edit.output: edit for edit in edits if "://" not in edit.output}
    for path, edit in latest.items():
        remedy = (
            f"run the same `loco apply` again; `loco jobs show {edit.run_id}` tells what it was asked for"
        )
        try:
            checksum = file_id(path)
        except FileNotFoundError:
            yield Problem(str(path), "the output image is missing", remedy)
        except OSError as error:
            yield Problem(str(path), f"the output image cannot be read: {error.strerror or error}", remedy)
        else:
            if checksum != edit.checksum:
                yield Problem(str(path), "the output image is not the one that was written", remedy)


def _unread(path: Path, error: StorageError, remedy: str = _DISK) -> Problem:
    """A file that cannot be read (the disk is to be checked), is damaged (there is that remedy) or is newer."""
    # The message names the file and ends with what to do; here both stand beside it.
    cause, _, told = str(error).replace(f" {path}", "").rpartition("; ")
    if isinstance(error, NewerFormat):
        return Problem(str(path), cause, told)
    return Problem(str(path), cause or str(error), remedy if isinstance(error, Damaged) else _DISK)
