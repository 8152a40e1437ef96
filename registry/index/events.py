"""The rows of what people say of directions, which follow the lines of the history file.

Each row knows where its line ends, so whoever writes next first takes in what a killed process wrote and did not index.
Both are written under the catalogue's write lock, so the order of the lines is the order of the rows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import BindParameter

from loco.errors import RegistryError
from registry.files.history import check_alias, history_path, journal_of
from registry.home import Home
from registry.index.bulk import insert_rows
from registry.index.rows import among, chunks
from registry.index.tables import AliasRow, HistoryRow, LabelRow, RejectionRow
from registry.records import Event, utc


def adding(home: Home, events: Iterable[Event], *, known: bool = True) -> Callable[[Session], int]:
    """The work of appending events to the file and taking in all that the rows do not have yet; needs the write lock.

    Without `known` events that are there already are left out. Returns how many were appended; done again, after a
    transaction that broke, it appends none twice. Raises `RegistryError`, before anything is written, when the rows
    know of more than the file holds.
    """
    waiting, appended = list(events), 0

    def work(session: Session) -> int:
        nonlocal appended
        fresh = _fresh(session, home, waiting, known=known)
        if fresh:
            journal_of(home).append(*fresh)
        waiting.clear()
        appended += len(fresh)
        take_in(session, home)
        return appended

    return work


def _fresh(session: Session, home: Home, events: list[Event], *, known: bool) -> list[Event]:
    """Those of the events that are to be appended."""
    path = history_path(home)
    seen = session.scalar(select(func.max(HistoryRow.end))) or 0
    if seen > (path.stat().st_size if path.is_file() else 0):
        raise RegistryError(
            f"{path} is shorter than what the catalogue has of it; whoever shares a catalogue must share the home "
            f"folder too, or `loco registry reindex` makes the catalogue follow this one"
        )
    if known or not events:
        return events.copy()
    take_in(session, home)  # what a killed process appended and did not index is there too
    there = _there(session, {one.direction_id for one in events})
    return [one for one in dict.fromkeys(events) if _key(one) not in there]


_Key = tuple[datetime, str, str, str, str]


def _key(one: Event) -> _Key:
    """An event whichever way its time is written."""
    return (utc(one.at), one.who, one.action, one.direction_id, one.text)


def _there(session: Session, directions: Iterable[str]) -> set[_Key]:
    """All events of these directions."""
    row = HistoryRow
    there: set[_Key] = set()
    for ids in chunks(directions):
        query = select(row.at, row.who, row.action, row.direction_id, row.text)
        there.update(session.execute(query.where(among(row.direction_id, ids))).tuples())
    return there


def take_in(session: Session, home: Home) -> int:
    """Rows for all lines that have none yet; returns how many lines could not be read and were passed over."""
    seq, end = session.execute(select(func.max(HistoryRow.seq), func.max(HistoryRow.end))).one()
    passed = 0
    fresh: list[Event] = []
    rows: list[dict[str, Any]] = []
    for line in journal_of(home).lines(end or 0):
        if line.item is None:
            passed += 1
            continue
        number = len(rows) + (0 if seq is None else seq + 1)
        rows.append({**asdict(line.item), "at": utc(line.item.at), "seq": number, "end": line.end})
        fresh.append(line.item)
    for part in chunks(rows):
        insert_rows(session, HistoryRow, part)
    _apply(session, fresh)
    return passed


def _apply(session: Session, events: Sequence[Event]) -> None:
    """What the events change of how things are now: the last word on each thing counts."""
    labels: dict[tuple[str, str], bool] = {}
    aliases: dict[str, str | None] = {}
    rejections: dict[str, str | None] = {}
    for one in events:
        if one.action in ("label", "unlabel"):
            labels[one.direction_id, one.text] = one.action == "label"
        elif one.action in ("alias", "unalias"):
            aliases[one.text] = one.direction_id if one.action == "alias" else None
        else:
            rejections[one.direction_id] = one.text if one.action == "reject" else None
    _label(session, labels)
    for part in chunks(aliases.items()):
        session.execute(delete(AliasRow).where(AliasRow.name.in_(_written([name for name, _ in part]))))
        named = [{"name": name, "direction_id": key} for name, key in part if key is not None]
        insert_rows(session, AliasRow, named)
    for told in chunks(rejections.items()):
        session.execute(
            delete(RejectionRow).where(among(RejectionRow.direction_id, [key for key, _ in told]))
        )
        kept = [{"direction_id": key, "reason": reason} for key, reason in told if reason is not None]
        insert_rows(session, RejectionRow, kept)


def _label(session: Session, labels: dict[tuple[str, str], bool]) -> None:
    """The labels that directions have from now on, of those that were given or taken away."""
    by_direction: dict[str, dict[str, bool]] = {}
    for (key, label), given in labels.items():
        by_direction.setdefault(key, {})[label] = given
    for ids in chunks(by_direction):
        mine = among(LabelRow.direction_id, ids)
        there = session.execute(select(LabelRow.direction_id, LabelRow.label).where(mine)).tuples().all()
        state: dict[str, dict[str, bool]] = {key: {} for key in ids}
        for key, label in there:
            state[key][label] = True
        now = [
            {"direction_id": key, "label": label}
            for key in ids
            for label, given in (state[key] | by_direction[key]).items()
            if given
        ]
        if there:
            session.execute(delete(LabelRow).where(mine))
        insert_rows(session, LabelRow, now)


def _written(names: list[str]) -> BindParameter[str]:
    """Aliases, which are of safe letters only, written into the statement: binding thousands of values is slow."""
    return bindparam(None, [check_alias(name) for name in names], expanding=True, literal_execute=True)
