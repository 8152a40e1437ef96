"""Run manifests: HOME/runs/<id>/manifest.jsonl, one JSON object a line, only ever appended to.

Each line has a `kind`: `run` (the run's state; the last one counts), `basis`, `edit`, `score`, `failure` or `absent`.
The records of runs, edits and scores stand under a name of their own, because a run has a `kind` itself.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from loco.errors import Damaged, InputError
from loco.files import reading_errors
from loco.ids import canonical
from registry.files import journal
from registry.files.basis import check_id
from registry.home import Home
from registry.records import EditItem, RunRecord, Score

KINDS = ("run", "basis", "edit", "score", "failure", "absent")
"""What a manifest's line can be about."""

_Record = TypeVar("_Record", RunRecord, EditItem, Score)


def manifest_path(home: Home, run_id: str) -> Path:
    """Where the manifest of a run lies; raises `InputError` for anything that is not an id."""
    return home.runs / check_id(run_id, "run") / "manifest.jsonl"


def append(home: Home, run_id: str, records: Iterable[Mapping[str, Any]]) -> None:
    """Append records (plain data with a `kind`) to the run's manifest: all of them or, on an error, none.

    Several processes may append to one manifest. Raises `InputError` for a record without a known kind or
    that is not plain data, `StorageError` when the disk does not take it.
    """
    data = b"".join(_line(record) for record in records)
    if not data:
        return
    journal.append(manifest_path(home, run_id), data)


def read(path: Path) -> list[dict[str, Any]]:
    """All records of a manifest, as `stream` gives them."""
    return list(stream(path))


def stream(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a manifest one by one; a missing file has none, and a torn last line does not count.

    Raises `Damaged` naming the line for anything else that is not a record.
    """
    with reading_errors(path), contextlib.suppress(FileNotFoundError):
        for number, line in enumerate(journal.whole(path), start=1):
            try:
                record = json.loads(line)
            except ValueError as error:
                raise _damaged(path, number) from error
            if not isinstance(record, dict) or record.get("kind") not in KINDS:
                raise _damaged(path, number)
            yield record


def failures(path: Path) -> Iterator[dict[str, Any]]:
    """The failures of a run's latest attempt."""
    return (record for record in latest(path) if record["kind"] == "failure")


def absences(path: Path) -> Iterator[dict[str, Any]]:
    """The items of a run's latest attempt that lack a region, whatever else became of them."""
    return (record for record in latest(path) if record.get("absent"))


def latest(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a run's latest attempt: each attempt begins with a `run` record that says `running`."""
    begun = 0
    for number, record in enumerate(stream(path)):
        if record["kind"] == "run" and record.get("run", {}).get("status") == "running":
            begun = number
    for number, record in enumerate(stream(path)):
        if number > begun:
            yield record


def run_line(run: RunRecord) -> dict[str, Any]:
    """The manifest's record of a run's state, under `run`."""
    return {"kind": "run", "run": asdict(run)}


def edit_line(edit: EditItem) -> dict[str, Any]:
    """The manifest's record of one output image, under `edit`."""
    return {"kind": "edit", "edit": asdict(edit)}


def score_line(score: Score) -> dict[str, Any]:
    """The manifest's record of one transfer score, under `score`."""
    return {"kind": "score", "score": asdict(score)}


def run_of(records: Iterable[Mapping[str, Any]]) -> RunRecord | None:
    """The run's state as its last `run` record tells it, or None before the first."""
    told = [record for record in records if record["kind"] == "run"]
    return _build(RunRecord, told[-1]) if told else None


def edits_of(records: Iterable[Mapping[str, Any]]) -> list[EditItem]:
    """The run's output images, one an id; the last record of an id counts."""
    edits = (_build(EditItem, record) for record in records if record["kind"] == "edit")
    return list({edit.id: edit for edit in edits}.values())


def scores_of(records: Iterable[Mapping[str, Any]]) -> list[Score]:
    """The run's transfer scores, in the order of their lines."""
    return [_build(Score, record) for record in records if record["kind"] == "score"]


def _build(kind: type[_Record], record: Mapping[str, Any]) -> _Record:
    """A record from a manifest's line; what the line says beside it is the flow's own affair."""
    known = {field.name for field in fields(kind)}
    try:
        data = record[record["kind"]]
        return kind(**{name: value for name, value in data.items() if name in known})
    except (KeyError, AttributeError, TypeError) as error:
        raise Damaged(f"a manifest's {record['kind']} line is not complete: {error}") from error


def _line(record: Mapping[str, Any]) -> bytes:
    if record.get("kind") not in KINDS:
        raise InputError(f"manifest: kind must be one of {', '.join(KINDS)}, found {record.get('kind')!r}")
    try:
        return canonical(record).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise InputError(f"manifest: a {record['kind']} record is not plain data: {error}") from error


def _damaged(path: Path, number: int) -> Damaged:
    return Damaged(
        f"manifest {path} is damaged: line {number} is not a record; remove that line, "
        f"then run `loco registry reindex`"
    )
