"""The rows of what people say of directions, which follow the lines of the history file.

Each row knows where its line ends, so whoever writes next first takes in what a killed process wrote and did not index.
Both are written under the catalogue's write lock, so the order of the lines is the order of the rows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import BindParameter

from loco.errors import RegistryError
from registry.files.history import check_alias, history_path, journal_of
from registry.home import Home
from registry.index.bulk import insert_rows
from registry.index.rows import among, chunks, event_of
from registry.index.tables import AliasRow, HistoryRow, LabelRow, RejectionRow
from registry.records import Event, now, utc


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
    """What the events change of how things are now: the last word on each counts, a person's before a scorer's."""
    labels: dict[str, list[Event]] = {}
    aliases: dict[str, str | None] = {}
    rejections: dict[str, str | None] = {}
    for one in events:
        if one.action in ("label", "unlabel"):
            labels.setdefault(one.direction_id, []).append(one)
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


def _label(session: Session, said: dict[str, list[Event]]) -> None:
    """The labels that directions have from now on, after what was said of each in order."""
    for ids in chunks(said):
        mine = among(LabelRow.direction_id, ids)
        state: dict[str, dict[str, dict[str, Any]]] = {key: {} for key in ids}
        for row in session.scalars(select(LabelRow).where(mine)).all():
            state[row.direction_id][row.label] = {name: getattr(row, name) for name in _LABEL}
        known = any(state.values())
        for one in (event for key in ids for event in said[key]):
            labels = state[one.direction_id]
            if one.author_kind == "scorer" and labels.get(one.text, {}).get("author_kind") == "person":
                continue
            if one.action == "unlabel":
                labels.pop(one.text, None)
            else:
                labels[one.text] = {"direction_id": one.direction_id, "label": one.text} | {
                    name: getattr(one, name) for name in ("author_kind", "method", "score")
                }
        if known:
            session.execute(delete(LabelRow).where(mine))
        insert_rows(session, LabelRow, [row for labels in state.values() for row in labels.values()])


_LABEL = ("direction_id", "label", "author_kind", "method", "score")


def naming(home: Home, who: str, names: Mapping[str, Event | None]) -> Callable[[Session], list[Event]]:
    """The work of giving directions the label that the scorer `who` found, or none, in place of what it gave before.

    A text that a person gave the direction, or took from it, is left as it is. Needs the write lock; returns the labels
    that the directions have of the scorer then. Done again it appends nothing twice.
    """

    def work(session: Session) -> list[Event]:
        take_in(session, home)
        fresh: list[Event] = []
        given: list[Event] = []
        for part in chunks(names):
            last = _last_words(session, part)
            for key in part:
                wanted = names[key]
                for one in last[key].values():
                    former = (one.author_kind, one.action, one.who) == ("scorer", "label", who)
                    if former and (wanted is None or one.text != wanted.text):
                        fresh.append(replace(one, at=now(), action="unlabel", score=None))
                if wanted is None:
                    continue
                before = last[key].get(wanted.text)
                if before is None or before.author_kind == "scorer":
                    given.append(wanted)
                    if before is None or replace(before, at=wanted.at) != wanted:
                        fresh.append(wanted)
        if fresh:
            adding(home, fresh)(session)
        return given

    return work


def _last_words(session: Session, ids: Sequence[str]) -> dict[str, dict[str, Event]]:
    """The last that was said of each label of each direction; where a person said anything, that person's."""
    last: dict[str, dict[str, Event]] = {key: {} for key in ids}
    query = select(HistoryRow).where(
        among(HistoryRow.direction_id, ids), HistoryRow.action.in_(("label", "unlabel"))
    )
    for row in session.scalars(query.order_by(HistoryRow.seq)):
        one = event_of(row)
        before = last[one.direction_id].get(one.text)
        if one.author_kind == "person" or before is None or before.author_kind == "scorer":
            last[one.direction_id][one.text] = one
    return last


def _written(names: list[str]) -> BindParameter[str]:
    """Aliases, which are of safe letters only, written into the statement: binding thousands of values is slow."""
    return bindparam(None, [check_alias(name) for name in names], expanding=True, literal_execute=True)
