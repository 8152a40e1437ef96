"""The catalogue's tables, as SQLAlchemy 2 models that DuckDB and PostgreSQL both take.

Foreign keys are logical only: DuckDB refuses to update a parent's indexed columns and to delete child and
parent in one transaction when they are real; `loco registry verify` checks them instead. Times are naive UTC.
Vectors never enter SQL: they stay in the basis files.
"""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Dialect, Double, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from loco.ids import canonical

SCHEMA_VERSION = 2
"""Version of the tables; `registry.migrations` leads an older catalogue here."""


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


class Table(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = {float: Double(), str: Text(), dict[str, Any]: PlainJson(), list[Any]: PlainJson()}  # noqa: RUF012 (SQLAlchemy's own idiom)


def _key(length: int = 32) -> Mapped[str]:
    return mapped_column(String(length), primary_key=True)


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


class RoiRow(Table):
    """One region of a basis file; its mask stays in the file."""

    __tablename__ = "rois"
    basis_id: Mapped[str] = _key()
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id: Mapped[str]
    name: Mapped[str]
    source: Mapped[str]


class DirectionRow(Table):
    """One direction in one basis file.

    A direction's id does not depend on the regions solved beside it, so two bases may hold the same one; each
    keeps its row here, and queries show the row of the basis with the smallest id. That makes the catalogue
    a function of the files, whatever the order in which they arrived.
    """

    __tablename__ = "directions"
    basis_id: Mapped[str] = _key()
    row: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id: Mapped[str] = mapped_column(String(32), index=True)
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
    singular_value: Mapped[float]
    residual: Mapped[float]
    converged: Mapped[bool]
    gain: Mapped[float]
    leakage: Mapped[float]
    retained: Mapped[float]
    space: Mapped[str]
    method: Mapped[str]
    linear_range: Mapped[float | None]
    products: Mapped[int]
    evaluations: Mapped[int]
    seconds: Mapped[float]
    prompt: Mapped[str]
    edit_prompt: Mapped[str]


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
