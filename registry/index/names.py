"""What other tables tell of a direction, as columns beside its own: names and labels, and its transfer.

A direction may have several of some (an image lies in two datasets): in lists they stand together in one text, joined
by `, `, and a condition holds when it holds for any one of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    Text,
    case,
    distinct,
    func,
    literal_column,
    select,
    type_coerce,
    union_all,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session, aliased

from registry.index.rows import among, chunks
from registry.index.tables import (
    AliasRow,
    BasisRow,
    DirectionRow,
    ImageRow,
    LabelRow,
    ModelRow,
    TransferRow,
)

NAMES = ("image_name", "dataset", "model_name", "label", "alias")
"""The names of a direction, as columns."""

TRANSFER = tuple(
    column.name for column in TransferRow.__table__.columns if column.name not in ("direction_id", "details")
)
"""What is told of its transfer, as columns (`loco.evidence.TRANSFER`); `at` is shown as `transfer_at`."""


@dataclass(frozen=True)
class Several:
    """A column of which a direction may have several values, or none.

    Attributes:
        one: The column of the other table.
        of: The condition on that table that its rows are those of the direction.
    """

    one: ColumnElement[str]
    of: ColumnElement[bool]

    @property
    def text(self) -> ColumnElement[Any]:
        """All of them as one text, in order; NULL for none."""
        order: Any = aggregate_order_by(literal_column("', '"), self.one)
        joined = func.string_agg(distinct(self.one), order, type_=Text())
        return select(joined).where(self.of).correlate(DirectionRow).scalar_subquery()

    def any(self, holds: Callable[[ColumnElement[Any]], ColumnElement[bool]] | None) -> ColumnElement[bool]:
        """Whether the condition holds for any of them; without one, whether there is any."""
        query = select(self.one).where(self.of)
        query = query if holds is None else query.where(holds(self.one))
        return query.correlate(DirectionRow).exists()


Beside = ColumnElement[Any] | Several


def beside() -> dict[str, Beside]:
    """All of them, by name."""
    row = DirectionRow
    held = _datasets()
    seen = select(func.min(ImageRow.name)).where(ImageRow.id == row.image_id)
    found_as = select(BasisRow.image_name).where(BasisRow.id == row.basis_id)
    found: dict[str, Beside] = {
        "image_name": _of_image(
            row.scope.expression,
            func.coalesce(seen.correlate(row).scalar_subquery(), found_as.correlate(row).scalar_subquery()),
        ),
        "dataset": Several(held.c.name, held.c.of == row.image_id),
        "model_name": Several(ModelRow.name.expression, ModelRow.id == row.model),
        "label": Several(LabelRow.label.expression, LabelRow.direction_id == row.id),
        "alias": Several(AliasRow.name.expression, AliasRow.direction_id == row.id),
    }
    for name in TRANSFER:
        column = getattr(TransferRow, name)
        query = select(column).where(TransferRow.direction_id == row.id)
        found["transfer_at" if name == "at" else name] = query.correlate(row).scalar_subquery()
    return found


def _of_image(scope: ColumnElement[str], name: ColumnElement[Any]) -> ColumnElement[Any]:
    """The image's name; a dataset's direction is of none."""
    return type_coerce(case((scope == "image", name)), Text())


def _datasets() -> Subquery:
    """The datasets `name` of what is found `of`: an image's id, or the content id that stands for a whole dataset."""
    whole = aliased(DirectionRow)
    images = select(ImageRow.id.label("of"), ImageRow.dataset.label("name"))
    called = select(whole.image_id, BasisRow.image_name).join(BasisRow, BasisRow.id == whole.basis_id)
    return union_all(images, called.where(whole.scope == "dataset")).subquery()


def text(column: Beside) -> ColumnElement[Any]:
    """A column as one value a direction."""
    return column.text if isinstance(column, Several) else column


def joined(
    query: Select[Any], order: Sequence[ColumnElement[Any]], own: Sequence[str], *, few: bool = False
) -> Select[Any]:
    """The directions' columns `own` that `query` chooses in that order, then all of `beside`, by its names.

    One join a table: for many directions far quicker than a query a direction and column. For a `few` each table is
    grouped for their keys alone, so that a page of fifty does not ask for the names of a million; for all of them that
    would cost a third more.
    """
    columns = [
        getattr(DirectionRow, name).label(f"own_{name}") for name in dict.fromkeys((*own, *_KEYS, "scope"))
    ]
    place = func.row_number().over(order_by=order).label("place")
    found = query.with_only_columns(*columns, place).cte("found")
    key = found.c

    def several(one: Any, by: Any, here: Any) -> Any:
        order: Any = aggregate_order_by(literal_column("', '"), one)
        joined = func.string_agg(distinct(one), order, type_=Text()).label("text")
        grouped = select(by.label("of"), joined, func.min(one).label("first")).group_by(by)
        return (grouped.where(by.in_(select(here))) if few else grouped).subquery()

    held = _datasets()
    image = several(ImageRow.name, ImageRow.id, key.own_image_id)
    dataset = several(held.c.name, held.c.of, key.own_image_id)
    model = several(ModelRow.name, ModelRow.id, key.own_model)
    label = several(LabelRow.label, LabelRow.direction_id, key.own_id)
    alias = several(AliasRow.name, AliasRow.direction_id, key.own_id)
    names = {
        "image_name": _of_image(key.own_scope, func.coalesce(image.c.first, BasisRow.image_name)),
        **{
            "dataset": dataset.c.text,
            "model_name": model.c.text,
            "label": label.c.text,
            "alias": alias.c.text,
        },
        **{"transfer_at" if name == "at" else name: getattr(TransferRow, name) for name in TRANSFER},
    }
    joins = found.outerjoin(BasisRow, BasisRow.id == key.own_basis_id)
    for other, here in (
        (image, key.own_image_id),
        (dataset, key.own_image_id),
        (model, key.own_model),
        (label, key.own_id),
        (alias, key.own_id),
    ):
        joins = joins.outerjoin(other, other.c.of == here)
    joins = joins.outerjoin(TransferRow, TransferRow.direction_id == key.own_id)
    kept = [key[f"own_{name}"].label(name) for name in own]
    return (
        select(*kept, *(column.label(name) for name, column in names.items()))
        .select_from(joins)
        .order_by(key.place)
    )


_KEYS = ("id", "image_id", "model", "basis_id")


def told(session: Session, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What is told of these directions beside their own figures, by their ids: all of `beside`, and `found_at`."""
    found: dict[str, dict[str, Any]] = {}
    for part in chunks(ids):
        query = select(DirectionRow).where(DirectionRow.shown, among(DirectionRow.id, part))
        for row in session.execute(
            joined(query, [DirectionRow.id.asc()], ("id", "found_at"), few=True)
        ).mappings():
            values = dict(row)
            found[values.pop("id")] = values
    return found
