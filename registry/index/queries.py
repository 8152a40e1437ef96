"""What the catalogue can be asked. Every function reads in the caller's session and loads no vectors."""

import re
from collections.abc import Collection, Iterable

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from loco.direction import Direction
from loco.errors import UnknownName
from loco.ids import ID_LENGTH, MIN_PREFIX, SHORT, is_id
from registry.index.rows import (
    among,
    chunks,
    dataset_of,
    direction_of,
    edit_of,
    event_of,
    model_of,
    run_of,
    score_of,
    transfer_of,
)
from registry.index.tables import (
    AliasRow,
    BasisRow,
    DatasetRow,
    DirectionRow,
    EditRow,
    HistoryRow,
    ImageRow,
    LabelRow,
    ModelRow,
    RejectionRow,
    RoiRow,
    RunRow,
    ScoreRow,
    TransferRow,
)
from registry.records import (
    DatasetRecord,
    EditItem,
    Event,
    ImageRecord,
    ModelRecord,
    RunRecord,
    Score,
    Transfer,
)

_CANDIDATES = 5

COUNTED: dict[str, InstrumentedAttribute[str]] = {
    "models": ModelRow.name,
    "datasets": DatasetRow.name,
    "images": ImageRow.id,
    "rois": RoiRow.id,
    "runs": RunRow.id,
    "bases": BasisRow.id,
    "directions": DirectionRow.id,
    "edits": EditRow.id,
}
"""What `summary` counts, by which column."""


def unknown(what: str, name: str, known: Collection[str]) -> UnknownName:
    """The error for a model's or dataset's name that nothing answers to."""
    listed = f"known are {', '.join(sorted(known))}" if known else "none is registered yet"
    source = "SOURCE" if what == "model" else "PATH"
    return UnknownName(
        f"no {what} is called {name!r}; {listed}; add one with `loco {what} add NAME {source}`"
    )


def models(session: Session) -> list[ModelRecord]:
    """All models, by name."""
    return [model_of(row) for row in session.scalars(select(ModelRow).order_by(ModelRow.name))]


def datasets(session: Session, name: str | None = None, *, pictured: bool = True) -> list[DatasetRecord]:
    """All datasets (or the one of that name), by name; with their images unless not `pictured`."""
    query = select(DatasetRow).order_by(DatasetRow.name)
    pictures = select(ImageRow).order_by(ImageRow.dataset, ImageRow.position)
    if name is not None:
        query, pictures = query.where(DatasetRow.name == name), pictures.where(ImageRow.dataset == name)
    images: dict[str, list[ImageRecord]] = {}
    for row in session.scalars(pictures) if pictured else ():
        images.setdefault(row.dataset, []).append(ImageRecord(row.id, row.name, row.width, row.height))
    return [dataset_of(row, images.get(row.name, ())) for row in session.scalars(query)]


def images(session: Session, dataset: str, start: int, count: int) -> list[tuple[str, ImageRecord]]:
    """A page of a dataset's images by position, each beside the dataset's id at the time it was added."""
    here = ImageRow.position.between(start, start + count - 1)
    query = select(ImageRow.dataset_id, ImageRow.id, ImageRow.name, ImageRow.width, ImageRow.height)
    query = query.where(ImageRow.dataset == dataset, here).order_by(ImageRow.position)
    return [(row[0], ImageRecord(*row[1:])) for row in session.execute(query)]


def places(session: Session, image_id: str) -> list[tuple[str, str, str]]:
    """Where the image of that sha256 lies: dataset, its folder, and the image's name there."""
    query = select(DatasetRow.name, DatasetRow.path, ImageRow.name).join(
        DatasetRow, DatasetRow.name == ImageRow.dataset
    )
    query = query.where(ImageRow.id == image_id).order_by(ImageRow.dataset, ImageRow.position)
    return [(row[0], row[1], row[2]) for row in session.execute(query)]


def image_ids(session: Session, dataset: str, names: Iterable[str]) -> dict[str, str]:
    """The sha256 of a dataset's images by their names there; names of no image are left out."""
    found: dict[str, str] = {}
    for part in chunks(names):
        query = select(ImageRow.name, ImageRow.id).where(ImageRow.dataset == dataset, ImageRow.name.in_(part))
        found |= dict(session.execute(query).tuples().all())
    return found


def image_counts(session: Session) -> dict[str, int]:
    """How many images each dataset has."""
    query = select(ImageRow.dataset, func.count()).group_by(ImageRow.dataset)
    return dict(session.execute(query).tuples().all())


def dataset_names(session: Session) -> list[str]:
    """The names of all datasets."""
    return list(session.scalars(select(DatasetRow.name).order_by(DatasetRow.name)))


def known(session: Session, ids: Iterable[str]) -> dict[str, list[str]]:
    """For each of these direction ids that the catalogue has: the bases that hold it."""
    found: dict[str, list[str]] = {}
    for part in chunks(filter(is_id, ids)):
        query = select(DirectionRow.id, DirectionRow.basis_id).where(among(DirectionRow.id, part))
        for direction_id, basis_id in session.execute(query).tuples():
            found.setdefault(direction_id, []).append(basis_id)
    return found


def directions_like(session: Session, prefix: str) -> list[Direction]:
    """The directions whose id begins so, at most one more than are shown as candidates."""
    query = select(DirectionRow).where(DirectionRow.shown, *_begins(DirectionRow.id, prefix))
    query = query.order_by(DirectionRow.id)
    return [direction_of(row) for row in session.scalars(query.limit(_CANDIDATES + 1))]


def those(session: Session, ids: Iterable[str]) -> list[Direction]:
    """The directions of these ids."""
    found = []
    for part in chunks(filter(is_id, ids)):
        query = select(DirectionRow).where(DirectionRow.shown, DirectionRow.id.in_(part))
        found += [direction_of(row) for row in session.scalars(query)]
    return found


def runs_like(session: Session, prefix: str) -> list[RunRecord]:
    """The runs whose id begins so, at most one more than are shown as candidates."""
    query = select(RunRow).where(*_begins(RunRow.id, prefix)).order_by(RunRow.id)
    return [run_of(row) for row in session.scalars(query.limit(_CANDIDATES + 1))]


def check_prefix(prefix: str, what: str) -> str:
    """`prefix` if it can begin an id; raises `UnknownName` saying what is wrong with it."""
    if not is_prefix(prefix, ID_LENGTH):
        trouble = "too short" if re.fullmatch(r"[0-9a-f]*", prefix) and len(prefix) < MIN_PREFIX else "no id"
        raise UnknownName(
            f"{what} {prefix[:80]!r} is {trouble}: give {MIN_PREFIX} to {ID_LENGTH} characters of 0-9 and a-f"
        )
    return prefix


def only(what: str, prefix: str, found: list[tuple[str, str]], listing: str) -> None:
    """Raise `UnknownName` unless exactly one thing (id, description) was found."""
    if not found:
        raise UnknownName(f"no {what} has an id beginning with {prefix!r}; `{listing}` shows those there are")
    if len(found) > 1:
        shown = "; ".join(f"{_distinct(key, prefix)} ({words})" for key, words in found[:_CANDIDATES])
        more = " and more" if len(found) > _CANDIDATES else ""
        raise UnknownName(f"{what} {prefix!r} is ambiguous: {shown}{more}; give more characters")


def aliased(session: Session, name: str) -> str:
    """The id of the direction that an alias means; raises `UnknownName` listing the aliases there are."""
    found = session.scalar(select(AliasRow.direction_id).where(AliasRow.name == name))
    if found is None:
        near = list(session.scalars(select(AliasRow.name).order_by(AliasRow.name).limit(20)))
        listed = f"known are {', '.join(near)}" if near else "none is set yet"
        raise UnknownName(
            f"no direction has the alias {name[:120]!r}; {listed}; set one with `loco directions alias NAME@LABEL ID`"
        )
    return found


def labels(session: Session, ids: Iterable[str] | None = None) -> dict[str, list[str]]:
    """The labels (people's first) and aliases (with their `@`) of directions, of all or of these.

    Rows of no others are read.
    """
    found: dict[str, list[str]] = {}
    for part in [None] if ids is None else chunks(ids):
        for query, of in (
            (
                select(LabelRow.direction_id, LabelRow.label).order_by(LabelRow.author_kind, LabelRow.label),
                LabelRow.direction_id,
            ),
            (select(AliasRow.direction_id, AliasRow.name).order_by(AliasRow.name), AliasRow.direction_id),
        ):
            chosen = query if part is None else query.where(of.in_(part))
            for key, label in session.execute(chosen).tuples():
                found.setdefault(key, []).append(label)
    return found


def rejected(session: Session, ids: Iterable[str]) -> set[str]:
    """Those of the directions that are rejected now."""
    return {
        key
        for part in chunks(ids)
        for key in session.scalars(
            select(RejectionRow.direction_id).where(RejectionRow.direction_id.in_(part))
        )
    }


def history(session: Session, direction_id: str | None) -> list[Event]:
    """What was said of all directions, or of one, the first first."""
    query = select(HistoryRow).order_by(HistoryRow.seq)
    if direction_id is not None:
        query = query.where(HistoryRow.direction_id == direction_id)
    return [event_of(row) for row in session.scalars(query)]


def scores(session: Session, direction_id: str | None) -> list[Score]:
    """The transfer scores of all directions, or of one."""
    query = select(ScoreRow).order_by(
        ScoreRow.run_id, ScoreRow.direction_id, ScoreRow.image_id, ScoreRow.strength
    )
    if direction_id is not None:
        query = query.where(ScoreRow.direction_id == direction_id)
    return [score_of(row) for row in session.scalars(query)]


def transfers(session: Session, ids: Iterable[str]) -> dict[str, Transfer]:
    """How these directions do on other images, by their ids, of those that were scored."""
    found: dict[str, Transfer] = {}
    for part in chunks(filter(is_id, ids)):
        query = select(TransferRow).where(among(TransferRow.direction_id, part))
        found.update((row.direction_id, transfer_of(row)) for row in session.scalars(query))
    return found


def image_names(session: Session, ids: Iterable[str]) -> dict[str, str]:
    """The images' names in a dataset, else those that their bases were found under; rows of no others are read."""
    names: dict[str, str] = {}
    for part in chunks(ids):
        for name, image in ((BasisRow.image_name, BasisRow.image_id), (ImageRow.name, ImageRow.id)):
            query = select(image, func.min(name)).where(image.in_(part)).group_by(image)
            names |= dict(session.execute(query).tuples().all())
    return names


def runs(session: Session, kind: str | None) -> list[RunRecord]:
    """All runs (of a kind), the latest first."""
    query = select(RunRow).order_by(RunRow.started_at.desc(), RunRow.id)
    if kind is not None:
        query = query.where(RunRow.kind == kind)
    return [run_of(row) for row in session.scalars(query)]


def edits(session: Session, run_id: str | None) -> list[EditItem]:
    """All output images (of a run), by run, image name and id."""
    query = select(EditRow).order_by(EditRow.run_id, EditRow.image_name, EditRow.id)
    if run_id is not None:
        query = query.where(EditRow.run_id == run_id)
    return [edit_of(row) for row in session.scalars(query)]


def known_edits(session: Session, ids: Iterable[str]) -> dict[str, EditItem]:
    """Of these edits those in the catalogue; of several runs' the latest run's."""
    found: dict[str, EditItem] = {}
    for part in chunks(filter(is_id, ids)):
        query = (
            select(EditRow)
            .outerjoin(RunRow, RunRow.id == EditRow.run_id)
            .where(among(EditRow.id, part))
            .order_by(RunRow.started_at.nulls_first(), EditRow.run_id)
        )
        found.update((row.id, edit_of(row)) for row in session.scalars(query))
    return found


def summary(session: Session) -> dict[str, int]:
    """How many of each there are; a region or direction that several bases hold counts once."""
    return {
        name: session.scalar(select(func.count(column.distinct()))) or 0 for name, column in COUNTED.items()
    }


def _begins(column: InstrumentedAttribute[str], prefix: str) -> tuple[ColumnElement[bool], ...]:
    """Conditions that the id begins with the (checked) prefix, such that an index can serve them."""
    return (column == prefix,) if len(prefix) == ID_LENGTH else (column >= prefix, column < f"{prefix}g")


def model_id(session: Session, name: str) -> str:
    """The id that a model's name, id or beginning of an id means."""
    registered = dict(session.execute(select(ModelRow.name, ModelRow.id)).tuples().all())
    if name in registered:
        return registered[name]
    ids = {*registered.values(), *session.scalars(select(BasisRow.model).distinct())}
    matches = [name] if name in ids else sorted(key for key in ids if key.startswith(name))
    if len(name) < MIN_PREFIX or not matches:
        raise unknown("model", name, registered)
    only("model", name, [(key, "by id") for key in matches], "loco model list")
    return matches[0]


def is_prefix(text: str, length: int) -> bool:
    """Whether the text can begin an id of that length."""
    return re.fullmatch(rf"[0-9a-f]{{{MIN_PREFIX},{length}}}", text) is not None


def _distinct(key: str, prefix: str) -> str:
    """A candidate's id, long enough to say more than the ambiguous prefix did."""
    return key[: max(SHORT, len(prefix) + 4)]
