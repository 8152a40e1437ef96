"""Looking through directions a page at a time: by position or from a cursor on, and counts of what could be chosen."""

import base64
import binascii
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, false, func, or_, select, tuple_
from sqlalchemy.orm import Session

from loco.direction import Direction
from loco.errors import InputError
from loco.evidence import FIGURES, TRANSFER
from registry.index import names, queries, rows, selection
from registry.index.names import text
from registry.index.selection import Filters, Order
from registry.index.tables import DirectionRow, LabelRow, ModelRow, RejectionRow
from registry.records import utc

MOST = 200
"""Directions of one page, and values of one facet."""

_FACETS = ("scope", "model", "roi", "t", "method", "converged")
"""Columns whose values are counted."""


@dataclass(frozen=True)
class Page:
    """Some of the directions that pass the filters.

    Attributes:
        items: They.
        total: How many pass in all.
        start: Position of the first, from 0; None where a cursor was followed.
        cursor: What continues after the last; None at the end.
    """

    items: list[Direction]
    total: int
    start: int | None
    cursor: str | None


@dataclass(frozen=True)
class Facet:
    """One value that could be chosen, how it is called where it is an id, and how many directions have it."""

    value: Any
    count: int
    title: str | None = None


@dataclass(frozen=True)
class Told:
    """What is said of directions, by their ids: labels and aliases, which are rejected, what stands beside them."""

    labels: dict[str, list[str]]
    rejected: set[str]
    beside: dict[str, dict[str, Any]]


def told(session: Session, ids: Sequence[str]) -> Told:
    """All that is said of these directions, of one moment."""
    return Told(queries.labels(session, ids), queries.rejected(session, ids), names.told(session, ids))


def page(session: Session, filters: Filters, *, start: int = 0, cursor: str | None = None) -> Page:
    """A page of at most `limit` (by default 50) directions from position `start` on, or after `cursor`.

    Raises `InputError` for what cannot be asked, `UnknownName` as `chosen`.
    """
    limit = filters.get("limit") or 50
    if not 1 <= limit <= MOST:
        raise InputError(f"limit: expected 1 to {MOST}, found {limit}")
    if not 0 <= start < 2**62:
        raise InputError(f"start: expected a position of at least 0, found {start}")
    row, order = DirectionRow, selection.order_of(filters)
    allowed = selection.conditions(session, filters)
    total = session.scalar(select(func.count()).select_from(row).where(*allowed)) or 0
    # Keys alone are sorted: a page in the middle of a large catalogue does not drag whole rows through the sort.
    keys = select(row.basis_id, row.row, *(column for column, _ in order.values())).where(*allowed)
    keys = keys.order_by(*map(selection.placed, order.values()))
    if cursor is not None:
        keys = keys.where(_after(order, _read(cursor, order)))
    found = session.execute(keys.offset(0 if cursor is not None else start).limit(limit + 1)).all()
    shown = [(one[0], one[1]) for one in found[:limit]]
    whole = {
        (one.basis_id, one.row): one
        for one in session.scalars(select(row).where(tuple_(row.basis_id, row.row).in_(shown)))
    }
    return Page(
        [rows.direction_of(whole[place]) for place in shown if place in whole],
        total,
        None if cursor is not None else start,
        _write(found[limit - 1][2:]) if len(found) > limit else None,
    )


def facets(session: Session, filters: Filters) -> dict[str, list[Facet]]:
    """For each column that is filtered by: its values with how many directions have them, the most frequent first.

    Each is counted under all filters but its own, so that what else could be chosen is seen.
    """
    row, found = DirectionRow, dict[str, list[Facet]]()
    titles = dict(
        session.execute(select(ModelRow.id, func.min(ModelRow.name)).group_by(ModelRow.id)).tuples().all()
    )
    known = selection.columns()
    for name in _FACETS:
        column = text(known[name])
        counted = _counted(session, column, _without(filters, name))
        found[name] = [
            Facet(value, count, titles.get(value) if name == "model" else None) for value, count in counted
        ]
    allowed = selection.conditions(session, _without(filters, "label"))
    ids = select(row.id).where(*allowed)
    labelled = (
        select(LabelRow.label, func.count())
        .where(LabelRow.direction_id.in_(ids))
        .group_by(LabelRow.label)
        .order_by(func.count().desc(), LabelRow.label)
        .limit(MOST)
    )
    found["label"] = [Facet(value, count) for value, count in session.execute(labelled).tuples()]
    both = selection.conditions(session, {**_without(filters, "status"), "status": "all"})
    total = session.scalar(select(func.count()).select_from(row).where(*both)) or 0
    rejected = row.id.in_(select(RejectionRow.direction_id))
    out = session.scalar(select(func.count()).select_from(row).where(*both, rejected)) or 0
    found["status"] = [Facet("kept", total - out), Facet("rejected", out)]
    return found


def ranges(session: Session, filters: Filters) -> dict[str, tuple[float, float] | None]:
    """The least and the greatest value of each figure among the directions; None where none is known."""
    known = selection.columns()
    named = [one.name for one in (*FIGURES, *TRANSFER[:1]) if one.kind == "number" and one.name in known]
    query = select(*(of(text(known[name])) for name in named for of in (func.min, func.max)))
    values = session.execute(query.where(*selection.conditions(session, filters))).one()
    return {name: _finite(values[2 * number], values[2 * number + 1]) for number, name in enumerate(named)}


def _finite(low: float | None, high: float | None) -> tuple[float, float] | None:
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return None
    return float(low), float(high)


def _without(filters: Filters, name: str) -> Filters:
    return {key: value for key, value in filters.items() if key != name}  # type: ignore[return-value]


def _counted(session: Session, column: ColumnElement[Any], filters: Filters) -> Sequence[tuple[Any, int]]:
    query = select(column, func.count()).where(*selection.conditions(session, filters)).group_by(column)
    query = query.order_by(func.count().desc(), column.asc().nulls_last()).limit(MOST)
    return [(value, count) for value, count in session.execute(query).tuples()]


def _after(order: dict[str, tuple[ColumnElement[Any], bool]], values: Sequence[Any]) -> ColumnElement[bool]:
    """What comes after the direction with these values, None being last."""
    places: list[ColumnElement[bool]] = []
    same: list[ColumnElement[bool]] = []
    for (column, descending), value in zip(order.values(), values, strict=True):
        if value is not None:
            beyond = column < value if descending else column > value
            places.append(and_(*same, or_(beyond, column.is_(None))))
        same.append(column.is_(None) if value is None else column == value)
    return or_(false(), *places)


def _write(values: Sequence[Any]) -> str:
    plain = [one.isoformat() if isinstance(one, datetime) else one for one in values]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


def _read(cursor: str, order: Order) -> list[Any]:
    """The values that a cursor holds; raises `InputError` for one of another question."""
    try:
        padded = cursor[:4000] + "=" * (-len(cursor[:4000]) % 4)
        values = json.loads(base64.urlsafe_b64decode(padded.encode("ascii")))
        if not isinstance(values, list) or len(values) != len(order):
            raise ValueError
        for number, (name, value) in enumerate(zip(order, values, strict=True)):
            if order[name][0].type.python_type is datetime and value is not None:
                values[number] = utc(str(value))
            elif value is not None and not _fits(order[name][0], value):
                raise ValueError
    except (ValueError, binascii.Error, UnicodeError, RecursionError, InputError) as error:
        raise InputError("cursor: expected one that a page of the same filters and order gave") from error
    return values


def _fits(column: ColumnElement[Any], value: Any) -> bool:
    """Whether a value of a cursor is of the column's type, with text that a database takes."""
    kind = column.type.python_type
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return type(value) is int and abs(value) < 2**31
    return isinstance(value, kind) and not (isinstance(value, str) and ("\0" in value or len(value) > 2000))
