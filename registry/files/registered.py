"""Registered models and datasets as files: HOME/models/NAME.json and HOME/datasets/NAME.json."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from loco.errors import Damaged, InputError
from loco.files import reading_errors, write_atomic
from registry.home import Home
from registry.records import DatasetRecord, ImageRecord, ModelRecord

_Record = TypeVar("_Record", ModelRecord, DatasetRecord)


def check_name(name: str, what: str) -> str:
    """`name` if it can safely be a file's name; raises `InputError` otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", name):
        raise InputError(
            f"{what} name: expected up to 100 of A-Z, a-z, 0-9, '.', '_' and '-', not beginning with '.', "
            f"found {name[:120]!r}"
        )
    return name


def write_model(home: Home, record: ModelRecord) -> Path:
    """Write a model's file; raises `InputError` for a bad name or value, `StorageError` for a bad disk."""
    path = home.models / f"{check_name(record.name, 'model')}.json"
    write_atomic(path, text(record))
    return path


def write_dataset(home: Home, record: DatasetRecord) -> Path:
    """Write a dataset's file; raises `InputError` for a bad name or value, `StorageError` for a bad disk."""
    path = home.datasets / f"{check_name(record.name, 'dataset')}.json"
    write_atomic(path, text(record))
    return path


def read_model(path: Path) -> ModelRecord:
    """The model in a file; raises `Damaged` naming the file and the remedy."""
    return model_from(_bytes(path), path)


def model_from(data: bytes, path: Path) -> ModelRecord:
    """The model in the bytes of a file; `path` is for messages. Raises `Damaged`."""
    return _parse(path, data, _model, "model")


def read_dataset(path: Path) -> DatasetRecord:
    """The dataset in a file; raises `Damaged` naming the file and the remedy."""
    return _parse(path, _bytes(path), _dataset, "dataset")


def listed(folder: Path) -> Iterator[Path]:
    """The record files of a folder, by name; none when there is no such folder."""
    return iter(sorted(path for path in folder.glob("*.json") if not path.name.startswith(".")))


def _dataset(data: dict[str, Any]) -> DatasetRecord:
    return DatasetRecord(
        **{
            **data,
            "images": tuple(ImageRecord(**image) for image in data["images"]),
            "rois": tuple(data["rois"]),
            "unreadable": tuple((str(name), str(cause)) for name, cause in data["unreadable"]),
        }
    )


def text(record: ModelRecord | DatasetRecord) -> bytes:
    """The bytes of a record's file; raises `InputError` for a value that is not plain data."""
    try:
        found = json.dumps(asdict(record), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
        return found.encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise InputError(f"{record.name}: cannot be written as plain data: {error}") from error


def _model(data: dict[str, Any]) -> ModelRecord:
    return ModelRecord(**{**data, "shape": tuple(data["shape"])})


def _bytes(path: Path) -> bytes:
    with reading_errors(path):
        return path.read_bytes()


def _parse(path: Path, data: bytes, build: Callable[[dict[str, Any]], _Record], what: str) -> _Record:
    try:
        record = build(json.loads(data))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(_damage(path, what, f"it does not describe a {what}")) from error
    if record.name != path.stem:
        raise Damaged(_damage(path, what, f"it describes {str(record.name)[:120]!r}"))
    trouble = _mistyped(record)
    if trouble:
        raise Damaged(_damage(path, what, trouble))
    return record


def _mistyped(record: ModelRecord | DatasetRecord) -> str | None:
    """Which field of a record is not what it must be, in words; a file may come from anywhere."""
    wanted: dict[str, type | tuple[type, ...]] = {"id": str, "name": str, "added_at": str}
    if isinstance(record, ModelRecord):
        texts = dict.fromkeys(("source", "family", "prediction_type", "schedule"), str)
        wanted |= texts | {"train_steps": int, "recommended_t": (float, int, type(None))}
        if len(record.shape) != 3 or any(type(size) is not int or size < 1 for size in record.shape):
            return f"its shape must be three whole numbers, found {str(record.shape)[:80]}"
    else:
        wanted |= {"path": str, "masks": (str, type(None))}
    for name, kind in wanted.items():
        value = getattr(record, name)
        if not isinstance(value, kind) or isinstance(value, bool):
            return f"its {name} is of the wrong kind: {str(value)[:80]!r}"
        if isinstance(value, str) and "\0" in value:
            return f"its {name} holds a NUL"
    return None


def _damage(path: Path, what: str, trouble: str) -> str:
    return (
        f"{what} file {path} is damaged: {trouble}; delete it and run `loco {what} add {path.stem} ...` again"
    )
