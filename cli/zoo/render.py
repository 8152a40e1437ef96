"""`loco zoo render`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.app import App
from cli.options import AT_LEAST_ONE, FOLDER, Command, Whole, pass_app

if TYPE_CHECKING:
    from loco.zoo.subject import Scenes, Subject

_SHEET = 64
"""Most faces on the contact sheet."""
_TILE = 128
_COLUMNS = 8

# One tint for each layer, in their order.
_TINTS = (
    (230, 60, 60),
    (250, 150, 40),
    (150, 90, 30),
    (240, 220, 60),
    (220, 40, 160),
    (60, 90, 220),
    (250, 200, 170),
    (40, 200, 220),
    (60, 170, 70),
    (150, 150, 150),
)


@click.command("render", cls=Command)
@click.option("--out", required=True, type=FOLDER, metavar="DIR", help="Folder for the images.")
@click.option("--count", type=AT_LEAST_ONE, default=32, show_default=True, metavar="N", help="Images.")
@click.option(
    "--size",
    type=Whole(min=8, max=1024),
    default=32,
    show_default=True,
    metavar="N",
    help="Height and width.",
)
@click.option(
    "--subject",
    type=click.Choice(["faces", "houses"]),
    default="faces",
    show_default=True,
    metavar="faces|houses",
    help="What is rendered.",
)
@click.option(
    "--seed",
    type=Whole(min=0),
    default=1,
    show_default=True,
    metavar="N",
    help="Image i depends on the seed and i only; the embedded models were trained on seed 0.",
)
@click.option("--masks", is_flag=True, help="Write the masks of every region too.")
@pass_app
def render(app: App, /, out: Path, count: int, size: int, subject: str, seed: int, masks: bool) -> None:
    """Render faces or houses into a folder that `loco dataset add` takes.

    Writes DIR/00000.png and so on, with --masks DIR/masks/REGION/00000.png, and beside the folder
    DIR-contact.png, a contact sheet of the first images. A mask is empty where an image lacks the region.

    \b
    loco zoo render --out faces --count 100 --masks
    loco dataset add faces faces
    """
    from loco.files import write_atomic
    from loco.zoo.folder import write_scenes
    from loco.zoo.subjects import SUBJECTS

    drawn = SUBJECTS[subject]
    regions = drawn.regions if masks else ()
    out = out.expanduser().absolute()
    _check_free(out, count, regions)
    first: list[Any] = []
    with app.watch(f"rendering {subject}") as watch:
        watch.total(count)
        for scenes in write_scenes(out, seed, count, size, regions, drawn):
            some = range(min(len(scenes.images), _SHEET - len(first)))
            first += [_tiles(scenes, i, drawn if masks else None) for i in some]
            watch.advance(len(scenes.images))
    sheet = out.with_name(f"{out.name}-contact.png")
    write_atomic(sheet, _contact(first))
    record = {
        "folder": str(out),
        "contact": str(sheet),
        "images": count,
        "size": size,
        "seed": seed,
        "subject": subject,
        "regions": list(regions),
    }
    app.show(record, record)


def _check_free(out: Path, count: int, regions: tuple[str, ...]) -> None:
    """Refuse a folder with other files than those about to be written: they would join the dataset."""
    from loco.errors import InputError
    from loco.zoo.folder import scene_name

    kinds = {(), *(("masks", region) for region in regions)}
    for path in sorted(out.rglob("*")) if out.is_dir() else []:
        *folders, name = path.relative_to(out).parts
        number = name.removesuffix(".png")
        ours = (
            tuple(folders) in kinds
            and number.isdecimal()
            and name == scene_name(int(number))
            and int(number) < count
        )
        if not path.is_dir() and not ours:
            raise InputError(f"{path} is in the way; choose a folder that is new or empty")


def _tiles(scenes: "Scenes", i: int, subject: "Subject | None") -> Any:
    """A scene at a size to look at, with the tinted layers of `subject` beside it where it is told: uint8 [H, W, 3]."""
    import numpy as np

    pixels = scenes.images[i]
    zoom = max(1, _TILE // len(pixels))
    if subject is not None:
        tints = sum(
            scenes.masks[name][i][..., None] * np.array(tint)
            for name, tint in zip(subject.layers, _TINTS, strict=True)
        )
        pixels = np.concatenate([pixels, np.asarray(0.3 * pixels + 0.7 * tints).astype(np.uint8)], axis=1)
    return pixels.repeat(zoom, 0).repeat(zoom, 1)


def _contact(tiles: list[Any]) -> bytes:
    """All tiles on one sheet."""
    import numpy as np

    from loco.images import encode

    height, width = tiles[0].shape[:2]
    columns = min(len(tiles), _COLUMNS * height // width)
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // columns * height, i % columns * width
        sheet[y : y + height, x : x + width] = tile
    return encode(sheet, "png")
