"""Where edited images go: a folder or a URL, with `manifest.jsonl` (one line an output) and `manifest.parquet` in it.

A file gets its name when it is whole, and its line after that. So a killed run leaves at worst an image that nothing
vouches for, which is made again, and a torn last line, which is cut off. Under a URL the lines are kept in the home
while a run goes on and uploaded with the table at its end: object stores cannot append.
"""

import fcntl
import json
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from flows.apply.places import filesystem, is_url, local_path
from flows.apply.spool import Spool
from loco.ids import bytes_id, content_id, file_id
from registry.files import journal
from registry.home import Home, storage_errors, sweep, write_atomic

MANIFEST = "manifest.jsonl"
TABLE = "manifest.parquet"

_BATCH = 2000
"""Rows of the table in memory at a time."""


class Outputs:
    """The output folder of a run, for any number of threads."""

    def __init__(self, home: Home, where: Path | str) -> None:
        """Nothing is created before `prepare`."""
        self.where = str(where)
        self._folder = local_path(self.where)
        self._lock = threading.Lock()
        if self._folder is not None:
            self._ledger = self._folder / MANIFEST
        else:
            self._ledger = home.root / "outputs" / f"{content_id('outputs', self.where.rstrip('/'))}.jsonl"

    def prepare(self) -> None:
        """Make the folder, and clear what a killed run left half written; raises `StorageError`."""
        if self._folder is None:
            files, root = self._remote()
            if not self._ledger.is_file() and files.exists(f"{root}/{MANIFEST}"):
                write_atomic(self._ledger, files.cat_file(f"{root}/{MANIFEST}"))
            return
        with storage_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        sweep(self._folder)

    def path(self, output: str) -> str:
        """Where an output lies, as the catalogue has it."""
        return f"{self.where.rstrip('/')}/{output}" if self._folder is None else str(self._folder / output)

    def write(self, output: str, data: bytes) -> None:
        """Write one output whole, or not at all; raises `StorageError`."""
        if self._folder is not None:
            write_atomic(self._folder / output, data)
            return
        files, root = self._remote()
        path = f"{root}/{output}"
        with storage_errors(Path(self.path(output))):
            files.makedirs(path.rpartition("/")[0], exist_ok=True)
            files.pipe_file(path, data)

    def sound(self, output: str, checksum: str) -> bool:
        """Whether the output is there with these bytes."""
        try:
            if self._folder is not None:
                path = self._folder / output
                return path.is_file() and file_id(path) == checksum
            files, root = self._remote()
            return bytes_id(files.cat_file(f"{root}/{output}")) == checksum
        except OSError:
            return False

    # The manifest

    def log(self, *told: dict[str, Any]) -> None:
        """Append lines, in one write, after their outputs are there; raises `StorageError`."""
        data = b"".join(json.dumps(line, sort_keys=True).encode() + b"\n" for line in told)
        with storage_errors(self._ledger), self._lock:
            handle = self._open()
            try:
                journal.add(handle, data, settle=False)
            finally:
                os.close(handle)

    def recall(self, spool: Spool) -> None:
        """Tell the spool what the manifest says; a torn last line and foreign lines say nothing."""
        spool.note(_parsed(self._ledger))

    def settle(self, home: Home, spool: Spool) -> None:
        """At a run's end: one line an output in the manifest, the last it got, and the same as a table.

        The manifest is written anew only where lines were superseded. Raises `StorageError`.
        """
        if not self._ledger.is_file():
            return
        with storage_errors(self._ledger), self._lock:
            handle = self._open()
            try:
                spool.note(_parsed(self._ledger))
                if _count(self._ledger) != spool.count_lines():
                    _replace(self._ledger, spool.lines())
            finally:
                os.close(handle)
        table = self._ledger.with_name(TABLE if self._folder is not None else f"{self._ledger.stem}.parquet")
        _write_table(table, spool)
        if self._folder is None:
            files, root = self._remote()
            with storage_errors(Path(self.where)):
                files.pipe_file(f"{root}/{MANIFEST}", self._ledger.read_bytes())
                files.pipe_file(f"{root}/{TABLE}", table.read_bytes())

    def _open(self) -> int:
        """The manifest, locked against other processes, under the name it has now."""
        self._ledger.parent.mkdir(parents=True, exist_ok=True)
        while True:
            handle = os.open(self._ledger, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                if os.fstat(handle).st_ino == self._ledger.stat().st_ino:
                    return handle  # not one that another process has just written anew
            except FileNotFoundError:
                pass
            os.close(handle)

    def _remote(self) -> tuple[Any, str]:
        files, root = filesystem(self.where)
        return files, str(root).rstrip("/")


def check_place(where: Path | str) -> None:
    """Refuse a URL whose scheme nothing answers to; raises `InputError`."""
    if is_url(str(where)) and local_path(str(where)) is None:
        Outputs(Home(Path()), where)._remote()


def _count(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))


def _parsed(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """The manifest's lines, parsed and as text."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and {"id", "output", "checksum"} <= line.keys():
                yield line, text.rstrip("\n")


def _replace(path: Path, texts: Iterable[str]) -> None:
    """A manifest of these lines in place of the old one; the lock goes with the old one."""
    partial = path.with_name(f".{os.urandom(16).hex()}.partial")
    try:
        with partial.open("x", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.writelines(f"{text}\n" for text in texts)
            file.flush()
            os.fsync(file.fileno())
            partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _write_table(path: Path, spool: Spool) -> None:
    """The manifest as Parquet, one row an output, some rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, number = pa.string(), pa.float64()
    kinds = {
        "output": text,
        "image": text,
        "image_id": text,
        "edit_id": text,
        "recipe_id": text,
        "checksum": text,
        "status": text,
        "cause": text,
        "strength": number,
        "unit": text,
        "t": number,
        "steps": pa.int64(),
        "directions": pa.list_(text),
        "weights": pa.list_(number),
        "change": number,
        "metrics": text,
        "notes": pa.list_(text),
        "seconds": number,
    }
    schema = pa.schema(list(kinds.items()))
    partial = path.with_name(f".{os.urandom(16).hex()}.partial")
    with storage_errors(path):
        try:
            with partial.open("xb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                with pq.ParquetWriter(file, schema) as writer:
                    rows: list[dict[str, Any]] = []
                    for line in spool.lines():
                        rows.append(_row(json.loads(line)))
                        if len(rows) == _BATCH:
                            writer.write_table(pa.Table.from_pylist(rows, schema))
                            rows = []
                    if rows:
                        writer.write_table(pa.Table.from_pylist(rows, schema))
                partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _row(line: dict[str, Any]) -> dict[str, Any]:
    recipe, metrics = line.get("recipe", {}), line.get("metrics", {})
    pairs = recipe.get("directions", [])
    return {
        "output": line["output"],
        "image": line.get("image_name"),
        "image_id": line.get("image_id"),
        "edit_id": line["id"],
        "recipe_id": line.get("recipe_id"),
        "checksum": line["checksum"],
        "status": line.get("status", "done"),
        "cause": line.get("cause", ""),
        "strength": float(line.get("strength", 0.0)),
        "unit": recipe.get("unit", "lambda"),
        "t": recipe.get("t"),
        "steps": recipe.get("steps"),
        "directions": [str(pair[0]) for pair in pairs],
        "weights": [float(pair[1]) for pair in pairs],
        "change": float(metrics.get("change", 0.0)),
        "metrics": json.dumps(metrics, sort_keys=True),
        "notes": list(line.get("notes", [])),
        "seconds": float(line.get("seconds", 0.0)),
    }
