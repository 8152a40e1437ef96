"""The rows of what people say of directions, which follow the lines of the history file.

Each row knows where its line ends, so whoever writes next first takes in what a killed process wrote and did not index.
Both are written under the catalogue's write lock, so the order of the lines is the order of the rows.
"""

from collections.abc import Iterable
from dataclasses import asdict

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from loco.errors import RegistryError
from loco.ids import canonical
from registry.files import journal
from registry.files.history import history_path, read
from registry.home import Home
from registry.index.tables import AliasRow, HistoryRow, LabelRow, RejectionRow
from registry.records import Event, utc


def add(session: Session, home: Home, events: Iterable[Event]) -> None:
    """Append events to the file and take in all that the rows do not have yet; needs the write lock.

    Raises `RegistryError`, before anything is written, when the rows know of more than the file holds.
    """
    path = history_path(home)
    known = session.scalar(select(func.max(HistoryRow.end))) or 0
    if known > (path.stat().st_size if path.is_file() else 0):
        raise RegistryError(
            f"{path} is shorter than what the catalogue has of it; whoever shares a catalogue must share the home "
            f"folder too, or `loco registry reindex` makes the catalogue follow this one"
        )
    data = b"".join(canonical(asdict(one)).encode() + b"\n" for one in events)
    journal.append(path, data)
    take_in(session, home)


def take_in(session: Session, home: Home) -> int:
    """Rows for all lines that have none yet; returns how many lines could not be read and were passed over."""
    seq, end = session.execute(select(func.max(HistoryRow.seq), func.max(HistoryRow.end))).one()
    found, damaged = read(home, end or 0)
    for number, (line_end, one) in enumerate(found, start=0 if seq is None else seq + 1):
        row = {**asdict(one), "at": utc(one.at), "seq": number, "end": line_end}
        session.execute(insert(HistoryRow), [row])
        _apply(session, one)
    return damaged


def _apply(session: Session, one: Event) -> None:
    """What the event changes of how things are now."""
    key, text = one.direction_id, one.text
    if one.action in ("label", "unlabel"):
        session.execute(delete(LabelRow).where(LabelRow.direction_id == key, LabelRow.label == text))
        if one.action == "label":
            session.execute(insert(LabelRow), [{"direction_id": key, "label": text}])
    elif one.action in ("alias", "unalias"):
        session.execute(delete(AliasRow).where(AliasRow.name == text))
        if one.action == "alias":
            session.execute(insert(AliasRow), [{"name": text, "direction_id": key}])
    else:
        session.execute(delete(RejectionRow).where(RejectionRow.direction_id == key))
        if one.action == "reject":
            session.execute(insert(RejectionRow), [{"direction_id": key, "reason": text}])
