"""`loco zoo render`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.app import App
from cli.options import AT_LEAST_ONE, FOLDER, Command, Whole, pass_app

if TYPE_CHECKING:
    from loco.zoo.faces import Faces

_SHEET = 64
"""Most faces on the contact sheet."""
_TILE = 128
_COLUMNS = 8

# One tint for each region, in the order of the regions without `eyes`.
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
@click.option("--count", type=AT_LEAST_ONE, default=32, show_default=True, metavar="N", help="Faces.")
@click.option(
    "--size",
    type=Whole(min=8, max=1024),
    default=32,
    show_default=True,
    metavar="N",
    help="Height and width.",
)
@click.option(
    "--seed",
    type=Whole(min=0),
    default=1,
    show_default=True,
    metavar="N",
    help="Face i depends on the seed and i only; the embedded model was trained on seed 0.",
)
@click.option("--masks", is_flag=True, help="Write the masks of every region too.")
@pass_app
def render(app: App, /, out: Path, count: int, size: int, seed: int, masks: bool) -> None:
    """Render faces into a folder that `loco dataset add` takes.

    Writes DIR/00000.png and so on, with --masks DIR/masks/REGION/00000.png, and beside the folder
    DIR-contact.png, a contact sheet of the first faces. A mask is empty where a face lacks the region.

    \b
    loco zoo render --out faces --count 100 --masks
    loco dataset add faces faces
    """
    from loco.files import write_atomic
    from loco.zoo.faces import REGIONS
    from loco.zoo.folder import write_faces

    out = out.expanduser().absolute()
    _check_free(out, count, masks)
    first: list[Any] = []
    with app.watch("rendering faces") as watch:
        watch.total(count)
        for faces in write_faces(out, seed, count, size, REGIONS if masks else ()):
            first += [_tiles(faces, i, masks) for i in range(min(len(faces.images), _SHEET - len(first)))]
            watch.advance(len(faces.images))
    sheet = out.with_name(f"{out.name}-contact.png")
    write_atomic(sheet, _contact(first))
    record = {
        "folder": str(out),
        "contact": str(sheet),
        "images": count,
        "size": size,
        "seed": seed,
        "regions": list(REGIONS) if masks else [],
    }
    app.show(record, record)


def _check_free(out: Path, count: int, masks: bool) -> None:
    """Refuse a folder with other files than those about to be written: they would join the dataset."""
    from loco.errors import InputError
    from loco.zoo.faces import REGIONS
    from loco.zoo.folder import face_name

    kinds = {(), *((("masks", region) for region in REGIONS) if masks else ())}
    for path in sorted(out.rglob("*")) if out.is_dir() else []:
        *folders, name = path.relative_to(out).parts
        number = name.removesuffix(".png")
        ours = (
            tuple(folders) in kinds
            and number.isdecimal()
            and name == face_name(int(number))
            and int(number) < count
        )
        if not path.is_dir() and not ours:
            raise InputError(f"{path} is in the way; choose a folder that is new or empty")


def _tiles(faces: "Faces", i: int, masks: bool) -> Any:
    """A face at a size to look at, with its tinted regions beside it where they are wanted: uint8 [H, W, 3]."""
    import numpy as np

    pixels = faces.images[i]
    zoom = max(1, _TILE // len(pixels))
    if masks:
        names = [name for name in faces.masks if name != "eyes"]
        tints = sum(
            faces.masks[name][i][..., None] * np.array(tint) for name, tint in zip(names, _TINTS, strict=True)
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
