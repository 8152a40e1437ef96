"""The catalogue's tables, as SQLAlchemy 2 models that DuckDB and PostgreSQL both take.

Foreign keys are logical only: DuckDB refuses to update a parent's indexed columns and to delete child and
parent in one transaction when they are real; `loco registry verify` checks them instead. The large tables have
keys and indexes on PostgreSQL only: DuckDB scans a million rows in milliseconds, and its indexes cost three times
the insert. There is one writer at a time, which deletes before it inserts. Times are naive UTC.
Vectors never enter SQL: they stay in the basis files, their sketches are here.
"""

import json
from datetime import datetime
from typing import Any

from duckdb_sqlalchemy.datatypes import FixedArray
from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    Dialect,
    Double,
    Float,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from loco.evidence import FIGURES
from loco.figure import Figure
from loco.ids import canonical
from registry.files.sketches import SKETCH

SCHEMA_VERSION = max(3, *(figure.since for figure in FIGURES))
"""Version of the tables; `registry.index.migrations` leads an older catalogue here."""


class PlainJson(TypeDecorator[Any]):
    """Plain data as canonical JSON text: the same bytes on every database, and no extension needed."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Text to store."""
        return None if value is None else canonical(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """The plain data again (tuples come back as lists)."""
        return None if value is None else json.loads(value)


def _text() -> Text:
    return Text().with_variant(Text(collation="C"), "postgresql")


class Table(DeclarativeBase):
    """Base of all tables."""

    # Collation C: text is ordered by its bytes on both databases.
    type_annotation_map = {float: Double(), str: _text(), dict[str, Any]: PlainJson(), list[Any]: PlainJson()}  # noqa: RUF012 (SQLAlchemy's own idiom)


def _key(length: int = 32) -> Mapped[str]:
    kind = String(length).with_variant(String(length, collation="C"), "postgresql")
    return mapped_column(kind, primary_key=True)


def _figure(figure: Figure) -> Mapped[Any]:
    """The column of a figure of evidence, behind the rest."""
    kind = Boolean() if figure.kind == "yes or no" else Double()
    return mapped_column(kind, nullable=not figure.known, sort_order=1)


def _server_key(*names: str) -> PrimaryKeyConstraint:
    """A primary key that PostgreSQL holds and DuckDB does without."""
    return PrimaryKeyConstraint(*names).ddl_if(dialect="postgresql")


def _server_index(name: str, *columns: str) -> Index:
    """An index that PostgreSQL holds and DuckDB does without."""
    return Index(name, *columns).ddl_if(dialect="postgresql")


class SchemaVersionRow(Table):
    """The one row that says which version of the tables this catalogue has."""

    __tablename__ = "schema_version"
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)


class MigrationRow(Table):
    """A step by which this catalogue came to its present tables; one made with them has none."""

    __tablename__ = "migrations"
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str]
    applied_at: Mapped[datetime]


class ModelRow(Table):
    """A registered model, by its name; directions refer to its id, which outlives the name."""

    __tablename__ = "models"
    name: Mapped[str] = _key(100)
    id: Mapped[str]
    source: Mapped[str]
    family: Mapped[str]
    prediction_type: Mapped[str]
    channels: Mapped[int]
    height: Mapped[int]
    width: Mapped[int]
    schedule: Mapped[str]
    train_steps: Mapped[int]
    recommended_t: Mapped[float | None]
    added_at: Mapped[datetime]


class DatasetRow(Table):
    """A registered dataset, by its name."""

    __tablename__ = "datasets"
    name: Mapped[str] = _key(100)
    id: Mapped[str]
    path: Mapped[str]
    masks: Mapped[str | None]
    added_at: Mapped[datetime]
    rois: Mapped[list[Any]]
    unreadable: Mapped[list[Any]]


class ImageRow(Table):
    """One image of a dataset; the same bytes may lie in it twice under two names."""

    __tablename__ = "images"
    dataset: Mapped[str] = _key(100)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    dataset_id: Mapped[str]
    id: Mapped[str]
    name: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]


class BasisRow(Table):
    """One basis file: what it was made from, and the checksum that it carries."""

    __tablename__ = "bases"
    id: Mapped[str] = _key()
    model: Mapped[str]
    image_id: Mapped[str]
    image_name: Mapped[str]
    t: Mapped[float]
    recipe: Mapped[dict[str, Any]]
    refused: Mapped[list[Any]]
    products: Mapped[int]
    evaluations: Mapped[int]
    provenance: Mapped[dict[str, Any]]
    checksum: Mapped[str]
    found_at: Mapped[datetime | None]
    dtype: Mapped[str]
    loss: Mapped[float]
    size: Mapped[int] = mapped_column(BigInteger)
    mark: Mapped[int] = mapped_column(BigInteger)
    """The beginning of `checksum` as a number: the marks' exclusive or tells whether two sets of bases differ."""
    __table_args__ = (_server_index("ix_bases_image_id", "image_id"),)


class RoiRow(Table):
    """One region of a basis file; its mask stays in the file."""

    __tablename__ = "rois"
    __table_args__ = (_server_key("basis_id", "position"),)
    basis_id: Mapped[str] = _key()
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id: Mapped[str]
    name: Mapped[str]
    source: Mapped[str]
    area: Mapped[float | None]


class DirectionRow(Table):
    """One direction in one basis file.

    A direction's id does not depend on the regions solved beside it, so two bases may hold the same one; each
    keeps its row here, and queries show the row of the basis with the smallest id, which is marked `shown`.
    That makes the catalogue a function of the files, whatever the order in which they arrived.
    """

    __tablename__ = "directions"
    __table_args__ = (
        _server_key("basis_id", "row"),
        _server_index("ix_directions_id", "id"),
        _server_index("ix_directions_roi_t", "roi", "t", "leakage"),
        _server_index("ix_directions_image_id", "image_id"),
    )
    basis_id: Mapped[str] = _key()
    row: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id: Mapped[str]
    index: Mapped[int]
    model: Mapped[str]
    image_id: Mapped[str]
    roi: Mapped[str]
    roi_id: Mapped[str]
    roi_area: Mapped[float]
    t: Mapped[float]
    step: Mapped[int]
    channels: Mapped[int]
    height: Mapped[int]
    width: Mapped[int]
    vars().update({one.name: _figure(one) for one in FIGURES})
    space: Mapped[str]
    method: Mapped[str]
    products: Mapped[int]
    evaluations: Mapped[int]
    seconds: Mapped[float]
    prompt: Mapped[str]
    edit_prompt: Mapped[str]
    found_at: Mapped[datetime | None]
    shown: Mapped[bool]
    scope: Mapped[str]
    images: Mapped[int]
    alpha_bar: Mapped[float | None]
    log_snr: Mapped[float | None]
    point: Mapped[str]


class SketchRow(Table):
    """The sketch of one direction's vector (`registry.files.sketches`): what similar ones are looked for by."""

    __tablename__ = "sketches"
    __table_args__ = (_server_key("basis_id", "row"),)
    basis_id: Mapped[str] = _key()
    row: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sketch: Mapped[list[float]] = mapped_column(
        FixedArray(Float(24), SKETCH).with_variant(ARRAY(REAL), "postgresql")
    )


class HistoryRow(Table):
    """One line of the history file: what someone said of a direction, and when."""

    __tablename__ = "history"
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    end: Mapped[int] = mapped_column(BigInteger)
    """Where the line ends in the file: what comes after it is not here yet."""
    at: Mapped[datetime]
    who: Mapped[str]
    action: Mapped[str]
    direction_id: Mapped[str]
    text: Mapped[str]
    author_kind: Mapped[str]
    method: Mapped[str]
    score: Mapped[float | None]


class LabelRow(Table):
    """A label that a direction has now, and whether a person or a scorer gave it."""

    __tablename__ = "labels"
    direction_id: Mapped[str] = _key()
    label: Mapped[str] = _key(200)
    author_kind: Mapped[str]
    method: Mapped[str]
    score: Mapped[float | None]


class AliasRow(Table):
    """The direction that a name such as `smile@prod` means now."""

    __tablename__ = "aliases"
    name: Mapped[str] = _key(200)
    direction_id: Mapped[str]


class RejectionRow(Table):
    """A direction that someone rejected and nobody restored."""

    __tablename__ = "rejections"
    direction_id: Mapped[str] = _key()
    reason: Mapped[str]


class ScoreRow(Table):
    """What was measured when one direction was transferred to one image."""

    __tablename__ = "scores"
    run_id: Mapped[str] = _key()
    direction_id: Mapped[str] = _key()
    image_id: Mapped[str] = _key(64)
    strength: Mapped[float] = mapped_column(primary_key=True)
    figures: Mapped[dict[str, Any]]


class TransferRow(Table):
    """How one direction does on images that it was not found on: its latest line in the home's `transfers`."""

    __tablename__ = "transfers"
    direction_id: Mapped[str] = _key()
    at: Mapped[datetime]
    run_id: Mapped[str]
    on_dataset: Mapped[str]
    transfer_images: Mapped[int]
    transfer: Mapped[float | None]
    transfer_low: Mapped[float | None]
    transfer_high: Mapped[float | None]
    transfer_gain: Mapped[float | None]
    transfer_leakage: Mapped[float | None]
    transfer_cosine: Mapped[float | None]
    transfer_range: Mapped[float | None]
    responding: Mapped[float | None]
    no_op: Mapped[float | None]
    strength: Mapped[float | None]
    strength_least: Mapped[float | None]
    strength_most: Mapped[float | None]
    details: Mapped[dict[str, Any]]


class RunRow(Table):
    """One run of a flow."""

    __tablename__ = "runs"
    id: Mapped[str] = _key()
    kind: Mapped[str]
    status: Mapped[str]
    spec: Mapped[dict[str, Any]]
    counts: Mapped[dict[str, Any]]
    provenance: Mapped[dict[str, Any]]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    manifest: Mapped[str]


class EditRow(Table):
    """One output image of one run; the same edit may have been made by several runs."""

    __tablename__ = "edits"
    run_id: Mapped[str] = _key()
    id: Mapped[str] = _key()
    image_id: Mapped[str]
    image_name: Mapped[str]
    recipe: Mapped[dict[str, Any]]
    output: Mapped[str]
    checksum: Mapped[str]
    metrics: Mapped[dict[str, Any]]
