"""Records to rows and back, and rows into tables. Every function works in the caller's session."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.elements import ColumnElement

from loco.direction import Direction
from loco.errors import InputError
from loco.ids import canonical
from registry.records import DatasetRecord, EditItem, ImageRecord, ModelRecord, RunRecord
from registry.store import Header, check_id, directions_of
from registry.tables import (
    BasisRow,
    DatasetRow,
    DirectionRow,
    EditRow,
    ImageRow,
    ModelRow,
    PlainJson,
    RoiRow,
    RunRow,
    Table,
)

_ARROW_FROM = 20
"""Rows from which the Arrow path pays: below it, loading pyarrow (0.3 s) costs more than binding.

Binding takes up to 3 ms a row: without pandas installed, DuckDB 1.5 looks for it on the disk at each value.
"""

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


def utc(text: str) -> datetime:
    """Naive UTC from ISO 8601 (an offset in it is converted); raises `InputError` for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"time: expected ISO 8601, found {text!r}") from error
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def insert_rows(session: Session, table: type[Table], rows: list[dict[str, Any]]) -> None:
    """Insert rows given by column: many at once through Arrow where the database has that path."""
    if not rows:
        return
    if session.get_bind().dialect.name != "duckdb" or len(rows) < _ARROW_FROM:
        session.execute(insert(table), rows)
        return
    import pyarrow
    from duckdb_sqlalchemy import insert_from_arrow

    columns = list(table.__table__.columns)
    data = {
        # The Arrow path does not know of SQLAlchemy's types: do here what they would.
        column.name: [canonical(row[column.name]) for row in rows]
        if isinstance(column.type, PlainJson)
        else [row[column.name] for row in rows]
        for column in columns
    }
    insert_from_arrow(session.connection(), table.__table__, pyarrow.table(data))


def put_model(session: Session, record: ModelRecord) -> None:
    """The model's row, in place of any of that name."""
    row = asdict(record)
    row["channels"], row["height"], row["width"] = row.pop("shape")
    row["added_at"] = utc(record.added_at)
    session.execute(delete(ModelRow).where(ModelRow.name == record.name))
    insert_rows(session, ModelRow, [row])


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
    session.execute(delete(DatasetRow).where(DatasetRow.name == record.name))
    session.execute(delete(ImageRow).where(ImageRow.dataset == record.name))
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


def put_bases(session: Session, headers: Iterable[Header]) -> None:
    """The rows of basis files: a known checksum needs nothing, a rewritten file replaces its rows."""
    wanted = {str(header.body["id"]): header for header in headers}
    for ids in chunks(wanted):
        known = dict(
            session.execute(select(BasisRow.id, BasisRow.checksum).where(among(BasisRow.id, ids)))
            .tuples()
            .all()
        )
        drop_bases(session, [key for key in ids if key in known and known[key] != wanted[key].checksum])
        fresh = [wanted[key] for key in ids if known.get(key) != wanted[key].checksum]
        insert_rows(session, BasisRow, [_basis_row(header) for header in fresh])
        insert_rows(session, RoiRow, [row for header in fresh for row in _roi_rows(header)])
        insert_rows(session, DirectionRow, [row for header in fresh for row in _direction_rows(header)])


def drop_bases(session: Session, ids: Sequence[str]) -> None:
    """Forget basis files."""
    for part in chunks(ids):
        session.execute(delete(DirectionRow).where(among(DirectionRow.basis_id, part)))
        session.execute(delete(RoiRow).where(among(RoiRow.basis_id, part)))
        session.execute(delete(BasisRow).where(among(BasisRow.id, part)))


def _basis_row(header: Header) -> dict[str, Any]:
    body = header.body
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
        "checksum": header.checksum,
        **{name: body[name] for name in names},
    }


def _roi_rows(header: Header) -> list[dict[str, Any]]:
    body = header.body
    return [{"basis_id": body["id"], "position": number, **roi} for number, roi in enumerate(body["rois"])]


def _direction_rows(header: Header) -> list[dict[str, Any]]:
    rows = []
    for direction in directions_of(header.body):
        row = asdict(direction)
        row["channels"], row["height"], row["width"] = row.pop("shape")
        rows.append(row)
    return rows


def direction_of(row: DirectionRow) -> Direction:
    """The direction of a row."""
    names = [field.name for field in fields(Direction) if field.name != "shape"]
    return Direction(
        shape=(row.channels, row.height, row.width), **{name: getattr(row, name) for name in names}
    )


def put_run(session: Session, record: RunRecord) -> None:
    """The run's row, in place of any of that id."""
    row = asdict(record)
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
        insert_rows(session, EditRow, [asdict(edit) for edit in part])


def edit_of(row: EditRow) -> EditItem:
    """The record of a row."""
    return EditItem(**{field.name: getattr(row, field.name) for field in fields(EditItem)})
