"""Registered models and datasets as files: HOME/models/NAME.json and HOME/datasets/NAME.json."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from loco.errors import InputError
from loco.files import reading_errors, storage_errors, write_atomic
from loco.ids import check_id
from loco.outside import regular_bytes
from registry.files import checked
from registry.home import Home
from registry.records import DatasetRecord, ModelRecord, utc

_Record = TypeVar("_Record", ModelRecord, DatasetRecord)


def check_name(name: str, what: str) -> str:
    """`name` if it can safely be a file's name; raises `InputError` otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", name):
        raise InputError(
            f"{what} name: expected up to 100 of A-Z, a-z, 0-9, '.', '_' and '-', not beginning with '.', "
            f"found {name[:120]!r}"
        )
    return name


def model_path(home: Home, name: str) -> Path:
    """Where the model of that name lies; raises `InputError` for a bad name."""
    return home.models / f"{check_name(name, 'model')}.json"


def write_model(home: Home, record: ModelRecord) -> Path:
    """Write a model's file; raises `InputError` for a bad name or value, `StorageError` for a bad disk.

    Raises `NewerFormat` where a newer program's file lies there.
    """
    path = model_path(home, record.name)
    checked.kept(path, read_model)
    write_atomic(path, text(record))
    return path


def write_dataset(home: Home, record: DatasetRecord) -> Path:
    """Write a dataset's file; raises `InputError` for a bad name or value, `StorageError` for a bad disk.

    Raises `NewerFormat` where a newer program's file lies there.
    """
    path = home.datasets / f"{check_name(record.name, 'dataset')}.json"
    checked.kept(path, read_dataset)
    write_atomic(path, text(record))
    return path


def forget(folder: Path, name: str, what: str) -> None:
    """Delete a record's file, if it is there; raises `InputError` for a bad name, `StorageError` for a bad disk."""
    path = folder / f"{check_name(name, what)}.json"
    with storage_errors(path):
        path.unlink(missing_ok=True)


def read_model(path: Path) -> ModelRecord:
    """The model in a file; raises `Damaged` or `NewerFormat` naming the file and the remedy."""
    return model_from(_bytes(path), path)


def model_from(data: bytes, path: Path) -> ModelRecord:
    """The model in the bytes of a file; `path` is for messages. Raises `Damaged`."""
    return _parse(path, data, ModelRecord, "model")


def read_dataset(path: Path) -> DatasetRecord:
    """The dataset in a file; raises `Damaged` or `NewerFormat` naming the file and the remedy."""
    return _parse(path, _bytes(path), DatasetRecord, "dataset")


def listed(folder: Path) -> Iterator[Path]:
    """The record files of a folder, by name; none when there is no such folder."""
    return iter(sorted(path for path in folder.glob("*.json") if not path.name.startswith(".")))


def text(record: ModelRecord | DatasetRecord) -> bytes:
    """The bytes of a record's file; raises `InputError` for a value that is not plain data."""
    try:
        return checked.sealed(asdict(record))
    except (TypeError, ValueError) as error:
        raise InputError(f"{record.name}: cannot be written as plain data: {error}") from error


def _bytes(path: Path) -> bytes:
    with reading_errors(path):
        return regular_bytes(path)


def _parse(path: Path, data: bytes, kind: type[_Record], what: str) -> _Record:
    remedy = f"delete it and run `loco {what} add {path.stem} ...` again"
    with checked.explained(f"{what} file", path, remedy):
        record = checked.parse(kind, data)
        check(record)
        if record.name != path.stem:
            raise checked.Unfit(f"it describes {record.name[:120]!r}")
    return record


def check(record: ModelRecord | DatasetRecord) -> None:
    """Raise `Unfit` unless a record's values can be: a file may come from anywhere."""
    what = "model" if isinstance(record, ModelRecord) else "dataset"
    try:
        check_name(record.name, what)
        check_id(record.id, what)
        utc(record.added_at)
    except InputError as error:
        raise checked.Unfit(str(error)) from error
    if isinstance(record, ModelRecord):
        sizes: Iterable[int] = (*record.shape, record.train_steps)
        if record.recommended_t is not None and not 0 < record.recommended_t < 1:
            raise checked.Unfit(f"its recommended_t must lie in (0, 1), found {record.recommended_t}")
    else:
        sizes = (size for image in record.images for size in (image.width, image.height))
    if any(size < 1 for size in sizes):
        raise checked.Unfit("its sizes and steps must be at least 1")
