"""From what a user names to the record that the registry keeps: models and datasets. Needs no torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from loco.dataset import scan
from loco.direction import Direction
from loco.errors import InputError, ModelError
from loco.files import write_atomic
from loco.models.adapted import NAME as ADAPTED
from loco.models.adapted import Adapters, described, parse_embedding, parse_lora, parse_size
from loco.models.card import read_card
from loco.models.source import local_folder, model_folder
from registry.files import checked
from registry.files.registered import check_name
from registry.home import Home
from registry.records import DatasetRecord, ImageRecord, ModelRecord, now
from registry.registry import Registry


def model_record(name: str, source: str) -> ModelRecord:
    """The model at `source` (a folder or `zoo:NAME`) under `name`.

    Raises `InputError` for a bad name and `ModelError` for a folder that is missing or not a supported model.
    """
    check_name(name, "model")
    folder = model_folder(source)
    card = read_card(folder)
    return ModelRecord(
        id=card.id,
        name=name,
        source=source if source.startswith(("zoo:", "hub:")) else str(folder),
        family=card.family,
        prediction_type=card.prediction_type,
        shape=card.image_shape,  # what people see; x_t may be smaller
        schedule=card.schedule,
        train_steps=card.train_steps,
        recommended_t=card.recommended_t,
        added_at=now(),
    )


def model_for(registry: Registry, direction: Direction) -> ModelRecord:
    """The registered model that a direction belongs to, by whichever of its names it still lies at.

    One model may have several names, each with a source of its own. Raises `InputError` where none is it.
    """
    models = registry.models()
    same = [one for one in models if one.id == direction.model]
    if not same:
        raise InputError(
            f"direction {direction.short} belongs to model {direction.model[:12]}, which is not registered here; add "
            f"it with `loco model add NAME SOURCE`; registered are: "
            f"{', '.join(f'{one.name} ({one.id[:12]})' for one in models) or 'none'}"
        )
    return next((one for one in same if _lies(one.source)), same[0])


def _lies(source: str) -> bool:
    """Whether a model's folder is there without fetching it."""
    try:
        folder = local_folder(source)
    except ModelError:
        return False
    return folder is not None and folder.is_dir()


def model_source(
    home: Home,
    source: str,
    *,
    like: str | None = None,
    loras: Sequence[str] = (),
    embeddings: Sequence[str] = (),
    size: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> str:
    """The source that a model is registered by: `source` itself, or a folder of the home that was made of it.

    Pickled weights and single files are converted (`loco.models.converted`; needs torch then); with `FILE[:SCALE]` of
    LoRAs, `FILE[:WORD]` of embeddings or another size (`N`, `HEIGHTxWIDTH`) it is a folder that names base and files
    (`loco.models.adapted`). Raises `InputError` and `ModelError`.
    """
    adapters = (
        tuple(map(parse_lora, loras)),
        tuple(map(parse_embedding, embeddings)),
        None if size is None else parse_size(size),
    )
    if not source.startswith(("zoo:", "hub:")):
        path = Path(source).expanduser().absolute()
        if path.is_file() or like is not None or any(path.glob("**/*.bin")):
            from loco.models.converted import prepared

            source = prepared(source, home.converted, like, say)
        elif any(adapters):
            source = str(path)
    elif source.startswith("hub:"):
        from loco.models.converted import prepared

        folder = model_folder(source)
        made = prepared(str(folder), home.converted, like, say)
        source = source if made == str(folder) else made
    if not any(adapters):
        return source
    made_of = Adapters(source, *adapters)
    base = read_card(model_folder(source))
    folder = home.adapted / made_of.identity(base.id)
    write_atomic(folder / ADAPTED, checked.sealed(described(made_of)))
    return str(folder)


def dataset_record(
    name: str,
    path: Path,
    masks: Path | None = None,
    progress: Callable[[int], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> DatasetRecord:
    """The images below `path` with their masks under `name`; every image is read once; `say` is told what is left out.

    Raises `InputError` for a bad name, a missing folder, or one without a readable image.
    """
    return _record(name, _absolute(path), None if masks is None else _absolute(masks), progress, {}, 0.0, say)


def refreshed(record: DatasetRecord, progress: Callable[[int], None] | None = None) -> DatasetRecord | None:
    """The dataset as its folder is now, or None where that is as it was; only new and touched files are read.

    Raises as `dataset_record` does.
    """
    known = {image.name: image for image in record.images}
    # Two seconds, for file systems that keep no finer time.
    since = datetime.fromisoformat(record.added_at).replace(tzinfo=UTC).timestamp() - 2.0
    masks = None if record.masks is None else Path(record.masks)
    found = _record(record.name, Path(record.path), masks, progress, known, since)
    return None if replace(found, added_at=record.added_at) == record else found


def _record(
    name: str,
    path: Path,
    masks: Path | None,
    progress: Callable[[int], None] | None,
    known: Mapping[str, ImageRecord],
    since: float,
    say: Callable[[str], None] | None = None,
) -> DatasetRecord:
    check_name(name, "dataset")
    begun = now()  # what is written while the folder is read is new next time
    found = scan(path, masks, progress, known, since, say)
    folders = found.folders
    return DatasetRecord(
        id=found.id,
        name=name,
        path=str(folders.root),
        masks=None if folders.masks is None else str(folders.masks),
        added_at=begun,
        images=tuple(ImageRecord(one.id, one.name, one.width, one.height) for one in found.images),
        rois=found.rois,
        unreadable=found.unreadable,
    )


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()
