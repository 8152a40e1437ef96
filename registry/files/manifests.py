"""Run manifests: HOME/runs/<id>/manifest.jsonl, one JSON object a line, only ever appended to.

Each line has a `kind`: `run` (the run's state; the last one counts), `basis`, `edit`, `score`, `failure` or `absent`.
The records of runs, edits and scores stand under a name of their own, because a run has a `kind` itself.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import NoneType
from typing import Any

from loco.errors import InputError
from loco.ids import canonical, check_id
from loco.urls import masked_all
from registry.files import checked, journal
from registry.files.journal import Journal
from registry.home import Home
from registry.records import EditItem, RunRecord, Score, utc

KINDS = ("run", "basis", "edit", "score", "failure", "absent")
"""What a manifest's line can be about."""

_RECORDS: dict[str, type[RunRecord | EditItem | Score]] = {"run": RunRecord, "edit": EditItem, "score": Score}

_COUNTED = ("directions", "refused", "evaluations")
_NAMED = ("image", "output", "cause", "status")
_IMAGE_ID = 64


def manifest_path(home: Home, run_id: str) -> Path:
    """Where the manifest of a run lies; raises `InputError` for anything that is not an id."""
    return home.runs / check_id(run_id, "run") / "manifest.jsonl"


def append(home: Home, run_id: str, records: Iterable[Mapping[str, Any]]) -> None:
    """Append records (plain data with a `kind`) to the run's manifest: all of them or, on an error, none.

    Several processes may append to one manifest. Raises `InputError` for a record without a known kind or
    that is not plain data, `StorageError` when the disk does not take it.
    """
    data = b"".join(_line(masked_all(record)) for record in records)
    if not data:
        return
    journal.append(manifest_path(home, run_id), data)


def journal_at(path: Path) -> Journal[dict[str, Any]]:
    """The journal in a manifest's file."""
    return Journal(path, _parse)


def read(path: Path) -> list[dict[str, Any]]:
    """All records of a manifest, as `stream` gives them."""
    return list(stream(path))


def stream(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a manifest one by one; a missing file has none, and a torn last line does not count.

    Lines that are no records are passed over: `verify` names them.
    """
    return journal_at(path).read()


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
    return RunRecord(**told[-1]["run"]) if told else None


def edits_of(records: Iterable[Mapping[str, Any]]) -> list[EditItem]:
    """The run's output images, one an id; the last record of an id counts."""
    edits = (EditItem(**record["edit"]) for record in records if record["kind"] == "edit")
    return list({edit.id: edit for edit in edits}.values())


def scores_of(records: Iterable[Mapping[str, Any]]) -> list[Score]:
    """The run's transfer scores, in the order of their lines."""
    return [Score(**record["score"]) for record in records if record["kind"] == "score"]


def _parse(line: bytes) -> dict[str, Any]:
    """The record of a line; what the line says beside its record is the flow's own affair. Raises `Unfit`."""
    record = checked.plain(line, checked.LONGEST)
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
        raise checked.Unfit("it is not a record with a kind")
    checked.not_newer(record.get("format", 1), 1)
    kind = record["kind"]
    if kind not in KINDS:
        raise checked.Newer(f"its kind is {kind[:40]!r}, which this program does not know")
    if kind in _RECORDS:
        if kind not in record:
            raise checked.Unfit(f"its {kind} record is missing")
        _check(checked.typed(_RECORDS[kind], record[kind]))
        record[kind].pop("format", None)
    elif any(type(record.get(name)) not in (int, NoneType) for name in _COUNTED):
        raise checked.Unfit(f"{', '.join(_COUNTED)}: expected whole numbers")
    elif any(type(record.get(name)) not in (str, NoneType) for name in _NAMED):
        raise checked.Unfit(f"{', '.join(_NAMED)}: expected texts")
    elif not _pairs(record.get("failures", [])):
        raise checked.Unfit("failures: expected pairs of a region and a cause")
    return record


def _pairs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(one, str) for one in pair)
        for pair in value
    )


def _check(record: RunRecord | EditItem | Score) -> None:
    """Raise `Unfit` unless a record's values can be."""
    try:
        if isinstance(record, RunRecord):
            check_id(record.id, "run")
            for time in (record.started_at, record.finished_at):
                if time is not None:
                    utc(time)
            if record.manifest != f"runs/{record.id}/manifest.jsonl":
                raise checked.Unfit(f"its manifest is {record.manifest[:80]!r}")
        else:
            check_id(record.run_id, "run")
            check_id(record.id if isinstance(record, EditItem) else record.direction_id, "id")
            if len(record.image_id) > _IMAGE_ID:
                raise checked.Unfit(f"its image_id has {len(record.image_id)} characters")
    except InputError as error:
        raise checked.Unfit(str(error)) from error


def _line(record: Mapping[str, Any]) -> bytes:
    if record.get("kind") not in KINDS:
        raise InputError(f"manifest: kind must be one of {', '.join(KINDS)}, found {record.get('kind')!r}")
    try:
        line = canonical(record).encode() + b"\n"
        _parse(line)  # what is written can be read again
        return line
    except (TypeError, ValueError) as error:
        raise InputError(f"manifest: a {record['kind']} record is not plain data: {error}") from error
