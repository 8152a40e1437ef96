"""Records to rows and back, and rows into tables. Every function works in the caller's session."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, asdict, fields
from datetime import datetime
from itertools import islice
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import Text, and_, bindparam, delete, func, select, type_coerce, update
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.elements import BindParameter, ColumnElement

from loco.direction import COMPARED, WIDE, Direction
from loco.ids import check_id
from loco.levels import log_snr
from loco.urls import masked_all
from registry.files.basis import Entry
from registry.index import levels
from registry.index.bulk import insert_columns, insert_rows, insert_sketches, uncollected
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
    ScoreRow,
    SketchRow,
    TransferRow,
)
from registry.records import (
    DatasetRecord,
    EditItem,
    Event,
    ImageRecord,
    ModelRecord,
    RunRecord,
    Score,
    Transfer,
    utc,
)

CHUNK = 2000
"""Ids in one statement."""

_Item = TypeVar("_Item")


def chunks(items: Iterable[_Item], size: int = CHUNK) -> Iterator[list[_Item]]:
    """The items in lists of at most `size`."""
    left = iter(items)
    while chunk := list(islice(left, size)):
        yield chunk


def among(column: InstrumentedAttribute[str], ids: Sequence[str]) -> ColumnElement[bool]:
    """`column IN (ids)`, the checked ids written into the statement: binding thousands of values is slow."""
    values = [check_id(value, "id") for value in ids]
    return column.in_(bindparam(None, values, expanding=True, literal_execute=True))


def put_model(session: Session, record: ModelRecord) -> None:
    """The model's row, in place of any of that name."""
    row = asdict(record)
    row["channels"], row["height"], row["width"] = row.pop("shape")
    row["added_at"] = utc(record.added_at)
    drop_model(session, record.name)
    insert_rows(session, ModelRow, [row])
    levels.fill(session, record.id)


def drop_model(session: Session, name: str) -> None:
    """Delete the model's row, if there is one."""
    session.execute(delete(ModelRow).where(ModelRow.name == name))


def drop_dataset(session: Session, name: str) -> None:
    """Delete the dataset's row and those of its images, if there are any."""
    session.execute(delete(DatasetRow).where(DatasetRow.name == name))
    session.execute(delete(ImageRow).where(ImageRow.dataset == name))


def model_of(row: ModelRow) -> ModelRecord:
    """The record of a row."""
    names = {field.name for field in fields(ModelRecord)} - {"shape", "added_at"}
    return ModelRecord(
        shape=(row.channels, row.height, row.width),
        added_at=row.added_at.isoformat(),
        **{name: getattr(row, name) for name in names},
    )


def put_dataset(session: Session, record: DatasetRecord) -> None:
    """The dataset's row and those of its images, in place of any of that name."""
    row = {
        "name": record.name,
        "id": record.id,
        "path": record.path,
        "masks": record.masks,
        "added_at": utc(record.added_at),
        "rois": list(record.rois),
        "unreadable": [list(pair) for pair in record.unreadable],
    }
    images = [
        {"dataset": record.name, "position": position, "dataset_id": record.id, **asdict(image)}
        for position, image in enumerate(record.images)
    ]
    drop_dataset(session, record.name)
    insert_rows(session, DatasetRow, [row])
    insert_rows(session, ImageRow, images)


def dataset_of(row: DatasetRow, images: Iterable[ImageRecord]) -> DatasetRecord:
    """The record of a row and its images."""
    return DatasetRecord(
        id=row.id,
        name=row.name,
        path=row.path,
        masks=row.masks,
        added_at=row.added_at.isoformat(),
        images=tuple(images),
        rois=tuple(row.rois),
        unreadable=tuple((name, cause) for name, cause in row.unreadable),
    )


def put_bases(session: Session, entries: Iterable[Entry]) -> None:
    """The rows of basis files: what is known needs nothing, a file that was found anew replaces its rows."""
    wanted = {str(entry.body["id"]): entry for entry in entries}
    state = {key: (entry.checksum, utc(entry.found.found_at)) for key, entry in wanted.items()}
    for ids in chunks(wanted):
        query = select(BasisRow.id, BasisRow.checksum, BasisRow.found_at).where(among(BasisRow.id, ids))
        known = {key: (checksum, at) for key, checksum, at in session.execute(query).tuples()}
        _drop(session, [key for key in ids if key in known and known[key] != state[key]])
        fresh = [wanted[key] for key in ids if known.get(key) != state[key]]
        if not fresh:
            continue
        with uncollected():
            insert_rows(session, BasisRow, [_basis_row(entry) for entry in fresh])
            insert_rows(session, RoiRow, [row for entry in fresh for row in _roi_rows(entry)])
            insert_columns(session, DirectionRow, _direction_columns(fresh, _levels(session, fresh)))
            put_sketches(session, fresh)
        _reveal(session, {str(entry.body["image_id"]) for entry in fresh})


def put_sketches(session: Session, entries: Iterable[Entry]) -> None:
    """The sketches of basis files, where they could be made."""
    made = [
        (entry, entry.sketches) for entry in entries if entry.sketches is not None and len(entry.sketches)
    ]
    if made:
        insert_sketches(
            session,
            [str(entry.body["id"]) for entry, sketches in made for _ in sketches],
            [row for _, sketches in made for row in range(len(sketches))],
            np.concatenate([sketches for _, sketches in made]),
        )


def drop_bases(session: Session, ids: Sequence[str]) -> None:
    """Forget basis files; what another basis holds of theirs is shown from there."""
    images: set[str] = set()
    for part in chunks(ids):
        images.update(session.scalars(select(BasisRow.image_id).where(among(BasisRow.id, part))))
        _drop(session, part)
    _reveal(session, images)


def _drop(session: Session, ids: Sequence[str]) -> None:
    for part in chunks(ids):
        session.execute(delete(SketchRow).where(among(SketchRow.basis_id, part)))
        session.execute(delete(DirectionRow).where(among(DirectionRow.basis_id, part)))
        session.execute(delete(RoiRow).where(among(RoiRow.basis_id, part)))
        session.execute(delete(BasisRow).where(among(BasisRow.id, part)))


def _reveal(session: Session, images: Iterable[str]) -> None:
    """Mark as `shown` one row of each direction of these images: that of the basis with the smallest id."""
    several: list[str] = []
    for part in chunks(images):
        safe = all(re.fullmatch("[0-9a-f]{64}", image) for image in part)
        few: BindParameter[str] = bindparam(None, part, expanding=True, literal_execute=safe)
        # Only what was made alike, with other regions beside, can hold the same direction.
        made = (BasisRow.image_id, BasisRow.model, type_coerce(BasisRow.recipe, Text))
        alike = func.count().over(partition_by=made).label("alike")
        counted = select(BasisRow.id, alike).where(BasisRow.image_id.in_(few)).subquery()
        several += session.scalars(select(counted.c.id).where(counted.c.alike > 1))
    places: dict[str, list[tuple[str, bool]]] = {}
    for part in chunks(several):
        held = select(DirectionRow.id, DirectionRow.basis_id, DirectionRow.shown)
        for key, basis_id, shown in session.execute(held.where(among(DirectionRow.basis_id, part))).tuples():
            places.setdefault(key, []).append((basis_id, shown))
    for key, found in places.items():
        first = min(found)[0]
        for basis_id, shown in found:
            if shown != (basis_id == first):
                mine = and_(DirectionRow.basis_id == basis_id, DirectionRow.id == key)
                session.execute(update(DirectionRow).where(mine).values(shown=basis_id == first))


def _basis_row(entry: Entry) -> dict[str, Any]:
    body = entry.body
    names = (
        "id",
        "model",
        "image_id",
        "image_name",
        "recipe",
        "refused",
        "products",
        "evaluations",
        "provenance",
    )
    return {
        "t": float(body["recipe"]["t"]),
        "checksum": entry.checksum,
        "found_at": utc(entry.found.found_at),
        "dtype": body.get("dtype", "float32"),
        "loss": float(body.get("loss", 0)),
        "size": entry.size,
        "mark": int(entry.checksum[:15], 16),
        **{name: body[name] for name in names},
    }


def _roi_rows(entry: Entry) -> list[dict[str, Any]]:
    basis_id, rois = entry.body["id"], entry.body["rois"]
    areas = entry.areas or (None,) * len(rois)
    return [
        {"basis_id": basis_id, "position": number, "area": areas[number], **roi}
        for number, roi in enumerate(rois)
    ]


def _levels(session: Session, entries: Sequence[Entry]) -> levels.Levels:
    """The levels of the models whose directions tell none."""
    untold = {
        str(entry.body["model"])
        for entry in entries
        if any(one.get("alpha_bar") is None for one in entry.body["directions"])
    }
    return levels.known(session, untold)


_TOLD = tuple(one.name for one in fields(Direction) if one.name not in ("seconds", "shape"))
_LATER = {one.name: one.default for one in fields(Direction) if one.default is not MISSING}
"""What older files do not tell of a direction."""


_AREA, _MEANINGLESS = _TOLD.index("roi_area"), tuple(map(_TOLD.index, COMPARED))


def _compared(told: tuple[Any, ...]) -> tuple[Any, ...]:
    """What is told of a direction, without what means nothing for so large a region; older files have numbers there."""
    if told[_AREA] <= WIDE:
        return told
    return tuple(None if at in _MEANINGLESS else value for at, value in enumerate(told))


def _direction_columns(entries: Sequence[Entry], known: levels.Levels) -> dict[str, Sequence[Any]]:
    """All directions of the entries, by column: dictionaries a row would take twice as long.

    `known` are levels of models, for directions that do not tell theirs.
    """
    pick = itemgetter(*_TOLD, "shape")
    values, seconds, moments = [], list[float](), list[datetime]()
    for entry in entries:
        directions = entry.body["directions"]
        try:
            values += [pick(one) for one in directions]
        except KeyError:
            values += [pick({**_LATER, **one}) for one in directions]
        seconds += [round(entry.found.seconds / max(1, len(directions)), 4)] * len(directions)
        moments += [utc(entry.found.found_at)] * len(directions)
    values = [_compared(one) for one in values]
    *told, shapes = zip(*values, strict=True) if values else [()] * (len(_TOLD) + 1)
    columns: dict[str, Sequence[Any]] = dict(zip(_TOLD, told, strict=True))
    columns["alpha_bar"] = [
        levels.level(known, model, step) if value is None else value
        for value, model, step in zip(columns["alpha_bar"], columns["model"], columns["step"], strict=True)
    ]
    return {
        **columns,
        "log_snr": list(map(log_snr, columns["alpha_bar"])),
        **{name: [shape[at] for shape in shapes] for at, name in enumerate(("channels", "height", "width"))},
        "seconds": seconds,
        "found_at": moments,
        "shown": [True] * len(values),
    }


def direction_of(row: DirectionRow) -> Direction:
    """The direction of a row."""
    names = [field.name for field in fields(Direction) if field.name != "shape"]
    return Direction(
        shape=(row.channels, row.height, row.width), **{name: getattr(row, name) for name in names}
    )


def put_run(session: Session, record: RunRecord) -> None:
    """The run's row, in place of any of that id."""
    row = masked_all(asdict(record))
    row["started_at"] = utc(record.started_at)
    row["finished_at"] = None if record.finished_at is None else utc(record.finished_at)
    session.execute(delete(RunRow).where(RunRow.id == record.id))
    insert_rows(session, RunRow, [row])


def run_of(row: RunRow) -> RunRecord:
    """The record of a row."""
    names = {field.name for field in fields(RunRecord)} - {"started_at", "finished_at"}
    return RunRecord(
        started_at=row.started_at.isoformat(),
        finished_at=None if row.finished_at is None else row.finished_at.isoformat(),
        **{name: getattr(row, name) for name in names},
    )


def put_edits(session: Session, run_id: str, edits: Iterable[EditItem]) -> None:
    """The rows of one run's output images, in place of any of the same ids in that run."""
    latest = {edit.id: edit for edit in edits}
    for part in chunks(latest.values()):
        mine = among(EditRow.id, [edit.id for edit in part])
        session.execute(delete(EditRow).where(EditRow.run_id == run_id, mine))
        insert_rows(session, EditRow, [masked_all(asdict(edit)) for edit in part])


def edit_of(row: EditRow) -> EditItem:
    """The record of a row."""
    return EditItem(**{field.name: getattr(row, field.name) for field in fields(EditItem)})


def put_scores(session: Session, run_id: str, scores: Iterable[Score]) -> None:
    """The transfer scores of one run, in place of any of the same direction, image and strength in that run."""
    latest = {(score.direction_id, score.image_id, score.strength): score for score in scores}
    for part in chunks(latest.values(), 200):
        for score in part:
            same = (
                ScoreRow.direction_id == score.direction_id,
                ScoreRow.image_id == score.image_id,
                ScoreRow.strength == score.strength,
            )
            session.execute(delete(ScoreRow).where(ScoreRow.run_id == run_id, *same))
        insert_rows(session, ScoreRow, [asdict(score) for score in part])


def score_of(row: ScoreRow) -> Score:
    """The record of a row."""
    return Score(**{field.name: getattr(row, field.name) for field in fields(Score)})


def put_transfers(session: Session, transfers: Iterable[Transfer]) -> None:
    """How directions do on other images, in place of what was known of them; of several of one the last counts."""
    latest = {one.direction_id: one for one in transfers}
    for part in chunks(latest.values()):
        mine = among(TransferRow.direction_id, [one.direction_id for one in part])
        session.execute(delete(TransferRow).where(mine))
        insert_rows(session, TransferRow, [asdict(one) | {"at": utc(one.at)} for one in part])


def transfer_of(row: TransferRow) -> Transfer:
    """The record of a row."""
    names = {field.name for field in fields(Transfer)} - {"at"}
    return Transfer(at=row.at.isoformat(), **{name: getattr(row, name) for name in names})


def event_of(row: HistoryRow) -> Event:
    """The event of a row."""
    at = row.at.isoformat(timespec="microseconds")
    same = {one.name: getattr(row, one.name) for one in fields(Event) if one.name != "at"}
    return Event(at, **same)
