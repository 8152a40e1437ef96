"""Synthetic bases and records: right in form, made of nothing."""

import hashlib
from dataclasses import replace

import numpy as np
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from loco.direction import Basis, Direction, Refusal, RoiMask, basis_id, direction_id
from loco.ids import content_id
from loco.recipes import DiscoverRecipe
from registry.files.sketches import SKETCH
from registry.index.tables import Table
from registry.records import DatasetRecord, EditItem, ImageRecord, ModelRecord, RunRecord, Transfer

MODEL = content_id("model", "test")


def image_id(number):
    return hashlib.sha256(f"image {number}".encode()).hexdigest()


_ACROSS = {"scope": "dataset", "images": 3, "coverage": 0.75, "stability": 0.9}


def make_basis(
    number=0,
    *,
    model=MODEL,
    t=0.6,
    rois=("hair",),
    rank=2,
    shape=(3, 4, 5),
    kept=None,
    seed=0,
    salt=0,
    scope="image",
    **changes,
):
    """The basis of image `number`, `kept` directions in each region; figures grow with the number."""
    recipe = DiscoverRecipe(t=t, rank=rank, seed=seed)
    kept = rank if kept is None else kept
    random = np.random.default_rng([number, seed, salt])
    masks = []
    for name in rois:
        mask = np.zeros(shape[1:], dtype=bool)
        mask[: 1 + len(name) % 3] = True
        masks.append(RoiMask(content_id("roi", name), name, f"masks/{name}.png", mask))
    key = basis_id(model, image_id(number), recipe, tuple(roi.id for roi in masks))
    directions = []
    for roi in masks:
        for index in range(kept):
            directions.append(
                Direction(
                    id=direction_id(model, image_id(number), recipe, roi.id, index),
                    basis_id=key,
                    row=len(directions),
                    index=index,
                    model=model,
                    image_id=image_id(number),
                    roi=roi.name,
                    roi_id=roi.id,
                    roi_area=float(roi.mask.mean()),
                    t=t,
                    step=round(t * 1000),
                    shape=shape,
                    singular_value=10.0 + number - index,
                    residual=0.001 * (index + 1),
                    converged=index == 0,
                    gain=5.0 + number - index,
                    leakage=0.01 * (number + 1),
                    retained=0.9 - 0.1 * index,
                    **(_ACROSS if scope == "dataset" else {}),
                )
            )
    vectors = random.standard_normal((len(directions), *shape)).astype(np.float32)
    basis = Basis(
        id=key,
        model=model,
        image_id=image_id(number),
        image_name=f"face_{number:03d}.png",
        recipe=recipe,
        rois=tuple(masks),
        directions=tuple(directions),
        vectors=vectors,
        refused=tuple(
            Refusal(roi.name, index, "nothing left") for roi in masks for index in range(kept, rank)
        ),
        products=40,
        evaluations=90,
        provenance={"device": "cpu", "seconds": 1.5},
    )
    return replace(basis, **changes)


def same(one, other):
    """Whether two bases are equal, arrays and types included."""
    if not np.array_equal(one.vectors, other.vectors) or one.vectors.dtype != other.vectors.dtype:
        return False
    if one.vectors.shape != other.vectors.shape or len(one.rois) != len(other.rois):
        return False
    for mine, theirs in zip(one.rois, other.rois, strict=True):
        if (mine.id, mine.name, mine.source) != (theirs.id, theirs.name, theirs.source):
            return False
        if mine.mask.dtype != theirs.mask.dtype or not np.array_equal(mine.mask, theirs.mask):
            return False
    if one.arrays.keys() != other.arrays.keys() or not all(
        np.array_equal(array, other.arrays[name], equal_nan=array.dtype.kind == "f")
        and array.dtype == other.arrays[name].dtype
        for name, array in one.arrays.items()
    ):
        return False
    plain = {"vectors": None, "rois": (), "arrays": {}}
    return replace(one, **plain) == replace(other, **plain)


def make_model(name="faces", key=MODEL, **changes):
    record = ModelRecord(
        id=key,
        name=name,
        source="zoo:faces",
        family="unet2d",
        prediction_type="epsilon",
        shape=(3, 4, 5),
        schedule="linear",
        train_steps=1000,
        recommended_t=0.6,
        added_at="2026-11-20T10:00:00",
    )
    return replace(record, **changes)


def make_dataset(name="portraits", numbers=(0, 1, 2), **changes):
    images = tuple(ImageRecord(image_id(number), f"{number:03d}.png", 64, 48) for number in numbers)
    record = DatasetRecord(
        id=content_id("dataset", [image.id for image in images]),
        name=name,
        path="/data/portraits",
        masks=None,
        added_at="2026-11-20T10:00:01.250000",
        images=images,
        rois=("hair", "mouth"),
        unreadable=(("torn.png", "truncated"),),
    )
    return replace(record, **changes)


def make_run(number=0, kind="apply", status="done", **changes):
    key = content_id("run", number)
    record = RunRecord(
        id=key,
        kind=kind,
        status=status,
        spec={"model": "faces", "directions": [["a" * 32, 4.0]], "limit": None},
        counts={"planned": 3, "done": 3},
        provenance={"host": "here", "versions": {"numpy": "2"}},
        started_at=f"2026-11-21T10:00:{number:02d}",
        finished_at=None if status == "running" else "2026-11-21T11:00:00.500000",
        manifest=f"runs/{key}/manifest.jsonl",
    )
    return replace(record, **changes)


def make_edit(number=0, run=0, output="out.png", checksum="0" * 64, **changes):
    record = EditItem(
        id=content_id("edit", number),
        run_id=content_id("run", run),
        image_id=image_id(number),
        image_name=f"face_{number:03d}.png",
        recipe={"t": 0.6, "steps": 20, "directions": [["a" * 32, 4.0]], "dtype": "float32"},
        output=output,
        checksum=checksum,
        metrics={"change": 0.25},
    )
    return replace(record, **changes)


def make_transfer(direction_id, transfer=0.8, at="2026-11-22T09:00:00", **changes):
    figures = {
        "images": 4,
        "spread": {
            "transfer_gain": {
                "quantiles": [1.0, 2.0, 3.0, 4.0, 5.0],
                "interval": [2.5, 3.5],
                "histogram": {"low": 1.0, "high": 5.0, "counts": [1, 2, 0, 1]},
            }
        },
        "examples": {"most": [image_id(1)], "middling": [image_id(0)], "hardly": ["f" * 64]},
    }
    record = Transfer(
        direction_id=direction_id,
        at=at,
        run_id="",
        on_dataset="portraits",
        transfer_images=4,
        transfer=transfer,
        transfer_gain=3.0,
        details=figures,
    )
    return replace(record, **changes)


def _plain(value):
    """A sketch in the precision that it is stored in: the drivers print it differently."""
    return (
        np.asarray(value, np.float32).tobytes()
        if isinstance(value, list | tuple) and len(value) == SKETCH
        else value
    )


def dump(registry):
    """Every row of every table, in order of the primary key."""
    engine = create_engine(registry.catalogue.url, poolclass=NullPool)
    with engine.connect() as connection:
        rows = {
            table.name: [
                tuple(_plain(value) for value in row)
                for row in connection.execute(table.select().order_by(*table.primary_key))
            ]
            for table in Table.metadata.sorted_tables
        }
    engine.dispose()
    return rows


def forget(registry):
    """Lose the catalogue, not the files."""
    if registry.catalogue.file is not None:
        registry.catalogue.file.unlink()
        return
    engine = create_engine(registry.catalogue.url, poolclass=NullPool)
    Table.metadata.drop_all(engine)
    engine.dispose()
