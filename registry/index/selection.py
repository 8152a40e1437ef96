"""Choosing directions: every filter, sorting and grouping, as one statement that loads no vectors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, TypedDict

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, or_, select
from sqlalchemy.orm import Session

from loco.direction import SCOPES, Direction
from loco.errors import InputError
from loco.evidence import shown_in
from loco.ids import ID_LENGTH
from registry.index import names, queries, where
from registry.index.names import Beside
from registry.index.tables import (
    AliasRow,
    BasisRow,
    DirectionRow,
    ImageRow,
    LabelRow,
    RejectionRow,
    TransferRow,
)
from registry.records import utc

_T_TOLERANCE = 1e-9
_NEAR = 0.01

STATUSES = ("kept", "rejected", "all")
"""What `status` chooses: what nobody rejected, what somebody did, both."""


MOST = 200
"""Regions or images that one question may name."""


class Filters(TypedDict, total=False):
    """What directions can be chosen by; what is not given, or is None, does not matter.

    Attributes:
        model: A model's name, id, or the beginning of one.
        dataset: A dataset's name: directions found on its images.
        roi: The region's name, or several of which any will do.
        image: An image's name, or the beginning of its id; or several. One that nothing answers to finds nothing.
        t: One noise level, or the lowest and the highest.
        snr: The same by signal-to-noise ratio, alpha_bar / (1 - alpha_bar), which means the same for every model; one
            ratio stands for those within 1 % of it.
        alpha_bar: The same by alpha_bar.
        min_gain: Least `gain`.
        max_leakage: Greatest `leakage`.
        min_retained: Least `retained`.
        min_transfer: Least `transfer`: those that were never scored stay away.
        converged: Only those that did (True) or did not (False) converge.
        scope: `image`, or `dataset`.
        space: The space that the vector lives in.
        method: How it was found.
        label: A label that it has.
        alias: An alias (`smile@prod`) that it has, or the name before the `@`.
        text: Something that its label, alias, region, prompt or image's name has in it, in any case, or the
            beginning of its id.
        since: Found at this time or later: naive UTC, ISO 8601.
        status: `kept` (the default: not rejected), `rejected` or `all`.
        where: An expression over the columns (`registry.index.where`).
        sort: One of `columns`, with `-` before it for the greatest first; `transfer` is the best first unless `+` is
            before it. What has no value comes last. Ties go by id, those of `transfer` by `transfer_cosine` first.
            Without it datasets' directions come first, and the greatest gain.
        limit: At most so many.
    """

    model: str | None
    dataset: str | None
    roi: str | Sequence[str] | None
    image: str | Sequence[str] | None
    t: float | tuple[float, float] | None
    snr: float | tuple[float, float] | None
    alpha_bar: float | tuple[float, float] | None
    min_gain: float | None
    max_leakage: float | None
    min_retained: float | None
    min_transfer: float | None
    converged: bool | None
    scope: str | None
    space: str | None
    method: str | None
    label: str | None
    alias: str | None
    text: str | None
    since: str | None
    status: str
    where: str | None
    sort: str | None
    limit: int | None


def columns() -> dict[str, Beside]:
    """The columns that `where`, `sort` and `by` know, by name: a direction's own, then what others tell of it."""
    return {**_own(), **names.beside()}


def _own() -> dict[str, ColumnElement[Any]]:
    own = [field.name for field in fields(Direction) if field.name not in ("shape", "row")]
    return {name: getattr(DirectionRow, name).expression for name in (*own, *_MORE)}


_MORE = ("channels", "height", "width", "found_at")


def sorted_by(sort: str) -> str:
    """The column that `sort` names; raises `InputError` for one that there is not."""
    key, known = sort[1:] if sort[:1] in ("-", "+") else sort, columns()
    if key not in known:
        raise InputError(
            f"sort: expected one of {', '.join(known)}, '-' before it to reverse, found {sort[:80]!r}"
        )
    return key


def chosen(session: Session, filters: Filters) -> Select[tuple[DirectionRow]]:
    """The directions that pass all filters, sorted and limited; raises as `ordered` does."""
    return ordered(session, filters)[0]


def ordered(
    session: Session, filters: Filters
) -> tuple[Select[tuple[DirectionRow]], list[ColumnElement[Any]]]:
    """The same, and what they are sorted by.

    Raises `UnknownName` for a model or dataset that is not there, `InputError` for what cannot be asked.
    """
    query = select(DirectionRow).where(*conditions(session, filters))
    order = [placed(one) for one in order_of(filters).values()]
    query = query.order_by(*order)
    limit = filters.get("limit")
    if limit is not None:
        if limit < 1:
            raise InputError(f"limit: expected at least 1, found {limit}")
        query = query.limit(min(limit, 2**62))
    return query, order


Order = dict[str, tuple[ColumnElement[Any], bool]]
"""What directions are sorted by, the first first: columns by name, and whether the greatest come first."""


def order_of(filters: Filters) -> Order:
    """What a question's `sort` comes to; what has no value is last. Raises `InputError` for no column."""
    sort, known = filters.get("sort"), columns()
    if sort is None:
        named = {"scope": False, "gain": True}  # "dataset" before "image"
    else:
        key = sorted_by(sort)
        best = key == "transfer" and not sort.startswith("+")
        named = {key: True, "transfer_cosine": True} if best else {key: sort.startswith("-")}
    named.setdefault("id", False)
    return {name: (names.text(known[name]), down) for name, down in named.items()}


def placed(one: tuple[ColumnElement[Any], bool]) -> ColumnElement[Any]:
    """One of them as databases are told it."""
    column, down = one
    return (column.desc() if down else column.asc()).nulls_last()


def conditions(session: Session, filters: Filters) -> list[ColumnElement[bool]]:
    """All filters but `sort` and `limit`; of a direction that several bases hold, one row passes."""
    found: list[ColumnElement[bool]] = [DirectionRow.shown.expression]
    row, known = DirectionRow, _own()
    given: Mapping[str, Any] = {name: value for name, value in filters.items() if value is not None}
    for name, value in given.items():
        _check_text(name, value)
    if given.get("scope", SCOPES[0]) not in SCOPES:
        raise InputError(f"scope: expected one of {', '.join(SCOPES)}, found {given['scope']!r}")
    if "model" in given:
        found.append(row.model == queries.model_id(session, given["model"]))
    if "dataset" in given:
        datasets = queries.dataset_names(session)
        if given["dataset"] not in datasets:
            raise queries.unknown("dataset", given["dataset"], datasets)
        found.append(_of_dataset(given["dataset"]))
    if "image" in given:
        found.append(or_(*map(_image, _several("image", given["image"]))))
    if "t" in given:
        low, high = given["t"] if isinstance(given["t"], tuple) else (given["t"], given["t"])
        found.append(row.t.between(low - _T_TOLERANCE, high + _T_TOLERANCE))
    for name in ("snr", "alpha_bar"):
        if name in given:
            found.append(_at(name, given[name]))
    for name, column, least in (
        ("min_gain", known["gain"], True),
        ("min_retained", known["retained"], True),
        ("max_leakage", known["leakage"], False),
    ):
        if name in given:
            found.append(column >= given[name] if least else column <= given[name])
    if "min_transfer" in given:
        scored = select(TransferRow.direction_id).where(TransferRow.transfer >= given["min_transfer"])
        found.append(row.id.in_(scored))
    found.extend(
        getattr(row, name) == given[name]
        for name in ("converged", "scope", "space", "method")
        if name in given
    )
    if "roi" in given:
        found.append(row.roi.in_(_several("roi", given["roi"])))
    if "since" in given:
        found.append(row.found_at >= utc(given["since"]))
    if "label" in given:
        found.append(row.id.in_(select(LabelRow.direction_id).where(LabelRow.label == given["label"])))
    if "alias" in given:
        name = given["alias"]
        named = (
            AliasRow.name == name if "@" in name else AliasRow.name.startswith(f"{name}@", autoescape=True)
        )
        found.append(row.id.in_(select(AliasRow.direction_id).where(named)))
    if "text" in given:
        found.append(_text(given["text"]))
    if "where" in given:
        found.append(where.condition(where.parse(given["where"]), columns()))
    rejected = _rejected(session, given.get("status", "kept"))
    return found if rejected is None else [*found, rejected]


def _of_dataset(name: str) -> ColumnElement[bool]:
    """Found on one of its images, or on the dataset as a whole: such a basis is called after it."""
    row = DirectionRow
    of_images = row.image_id.in_(select(ImageRow.id).where(ImageRow.dataset == name))
    named = row.basis_id.in_(select(BasisRow.id).where(BasisRow.image_name == name))
    return or_(of_images, and_(row.scope == "dataset", named))


def _at(name: str, value: float | tuple[float, float]) -> ColumnElement[bool]:
    """At such a level or between two, by what is called `snr` or `alpha_bar`; raises `InputError`."""
    low, high = value if isinstance(value, tuple) else (value * (1 - _NEAR), value * (1 + _NEAR))
    if not 0 < low <= high < math.inf:
        raise InputError(
            f"{name}: expected one number above 0, or the lower and the higher of two, found {value!r}"
        )
    if name == "alpha_bar":
        return DirectionRow.alpha_bar.between(low, high)
    return DirectionRow.log_snr.between(math.log(low) - _T_TOLERANCE, math.log(high) + _T_TOLERANCE)


def _several(name: str, value: str | Sequence[str]) -> list[str]:
    """The values that a filter allows."""
    found = [value] if isinstance(value, str) else list(dict.fromkeys(value))
    if not 1 <= len(found) <= MOST:
        raise InputError(f"{name}: expected 1 to {MOST} values, found {len(found)}")
    return found


def _check_text(name: str, value: object) -> None:
    """Refuse text that no database takes: too long, with a NUL, or with bytes that are not UTF-8."""
    for one in [value] if not isinstance(value, list | tuple) else value:
        if not isinstance(one, str):
            continue
        if len(one) > where.LONGEST:
            raise InputError(f"{name}: expected up to {where.LONGEST} characters, found {len(one)}")
        if "\0" in one or any("\ud800" <= letter <= "\udfff" for letter in one):
            raise InputError(f"{name}: expected text in UTF-8 without NUL, found {one[:80]!a}")


def _rejected(session: Session, status: str) -> ColumnElement[bool] | None:
    if status not in STATUSES:
        raise InputError(f"status: expected one of {', '.join(STATUSES)}, found {status[:80]!r}")
    some = session.scalar(select(exists(select(RejectionRow.direction_id))))
    if status == "all" or (status == "kept" and not some):
        return None  # the usual case costs no join
    rejected = DirectionRow.id.in_(select(RejectionRow.direction_id))
    return rejected if status == "rejected" else ~rejected


def _text(text: str) -> ColumnElement[bool]:
    """Something that people would look for has the text in it."""
    row = DirectionRow
    wanted = text.strip().lower()

    def has(column: Any) -> ColumnElement[bool]:
        return func.lower(column).contains(wanted, autoescape=True)

    found = or_(
        has(row.roi),
        has(row.prompt),
        has(row.edit_prompt),
        row.id.in_(select(LabelRow.direction_id).where(has(LabelRow.label))),
        row.id.in_(select(AliasRow.direction_id).where(has(AliasRow.name))),
        row.basis_id.in_(select(BasisRow.id).where(has(BasisRow.image_name))),
        row.image_id.in_(select(ImageRow.id).where(has(ImageRow.name))),
    )
    if queries.is_prefix(wanted, ID_LENGTH):
        found = or_(found, and_(row.id >= wanted, row.id < wanted + "g"))
    return found


def _image(image: str) -> ColumnElement[bool]:
    named = or_(
        DirectionRow.image_id.in_(select(ImageRow.id).where(ImageRow.name == image)),
        DirectionRow.image_id.in_(select(BasisRow.image_id).where(BasisRow.image_name == image)),
    )
    if queries.is_prefix(image, 64):
        named = or_(named, and_(DirectionRow.image_id >= image, DirectionRow.image_id < image + "g"))
    return named


def count(session: Session, filters: Filters) -> int:
    """How many directions pass all filters; `limit` does not matter."""
    query = select(func.count()).select_from(DirectionRow).where(*conditions(session, filters))
    return session.scalar(query) or 0


def grouped(session: Session, filters: Filters, by: Sequence[str]) -> list[dict[str, Any]]:
    """For each combination of the columns `by`: how many, how many converged, and figures' means and extremes.

    The largest group first. Raises `InputError` for a column that is not there.
    """
    known = columns()
    for name in by:
        if name not in known:
            raise InputError(f"by: expected columns of {', '.join(known)}, found {name[:80]!r}")
    if not by:
        raise InputError(f"by: expected columns of {', '.join(known)}, found none")
    keys = list(dict.fromkeys(by))
    figures = [figure.name for figure in shown_in("list") if figure.kind == "number"]
    # Named within first: what is grouped by may itself be a query.
    chosen = (
        select(
            _own()["converged"].label("converged"),
            *(names.text(known[name]).label(f"by_{name}") for name in keys),
            *(names.text(known[name]).label(f"of_{name}") for name in figures),
        )
        .where(*conditions(session, filters))
        .cte("chosen")
    )
    groups = [chosen.c[f"by_{name}"] for name in keys]
    total = func.count().label("count")
    query = (
        select(
            *(group.label(name) for name, group in zip(keys, groups, strict=True)),
            total,
            func.sum(case((chosen.c.converged, 1), else_=0)).label("converged_count"),
            *(
                function(chosen.c[f"of_{figure}"]).label(f"{figure}_{name}")
                for figure in figures
                for name, function in (("mean", func.avg), ("min", func.min), ("max", func.max))
            ),
        )
        .group_by(*groups)
        .order_by(total.desc(), *(group.asc().nulls_last() for group in groups))
    )
    limit = filters.get("limit")
    if limit is not None:
        query = query.limit(min(limit, 2**62))
    return [{name: _plain(value) for name, value in one.items()} for one in session.execute(query).mappings()]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return int(value) if type(value).__name__ == "Decimal" else value
