"""Registered models and datasets as files: HOME/models/NAME.json and HOME/datasets/NAME.json."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from loco.errors import Damaged, InputError, StorageError
from registry.home import Home, write_atomic
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
    write_atomic(path, _text(record))
    return path


def write_dataset(home: Home, record: DatasetRecord) -> Path:
    """Write a dataset's file; raises `InputError` for a bad name or value, `StorageError` for a bad disk."""
    path = home.datasets / f"{check_name(record.name, 'dataset')}.json"
    write_atomic(path, _text(record))
    return path


def read_model(path: Path) -> ModelRecord:
    """The model in a file; raises `Damaged` naming the file and the remedy."""
    return _read(path, lambda data: ModelRecord(**{**data, "shape": tuple(data["shape"])}), "model")


def read_dataset(path: Path) -> DatasetRecord:
    """The dataset in a file; raises `Damaged` naming the file and the remedy."""
    return _read(path, _dataset, "dataset")


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


def _text(record: ModelRecord | DatasetRecord) -> bytes:
    try:
        text = json.dumps(asdict(record), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
        return text.encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise InputError(f"{record.name}: cannot be written as plain data: {error}") from error


def _read(path: Path, build: Callable[[dict[str, Any]], _Record], what: str) -> _Record:
    try:
        record = build(json.loads(path.read_bytes()))
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}; check the disk") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(_damage(path, what, f"it does not describe a {what}")) from error
    if record.name != path.stem:
        raise Damaged(_damage(path, what, f"it describes {record.name!r}"))
    return record


def _damage(path: Path, what: str, trouble: str) -> str:
    return (
        f"{what} file {path} is damaged: {trouble}; delete it and run `loco {what} add {path.stem} ...` again"
    )
