"""The masks of CelebAMask-HQ (Lee et al., arXiv 1907.11922): one PNG for each part that a face has.

    masks/3/06042_l_eye.png       image 6042, its left eye; folder 3 holds 6000 to 7999

Masks are 512 x 512 for images of 1024 x 1024. A ROI is a part or one of `GROUPS`, the union of several.
"""

import os
import re
from pathlib import Path

PARTS = (
    *(
        "skin",
        "nose",
        "eye_g",
        "l_eye",
        "r_eye",
        "l_brow",
        "r_brow",
        "l_ear",
        "r_ear",
        "mouth",
        "u_lip",
        "l_lip",
    ),
    *("hair", "hat", "ear_r", "neck_l", "neck", "cloth"),
)
"""The part names of the files; `eye_g` is glasses, `ear_r` an earring, `neck_l` a necklace."""

GROUPS = {
    "eyes": ("l_eye", "r_eye"),
    "brows": ("l_brow", "r_brow"),
    "ears": ("l_ear", "r_ear"),
    "lips": ("u_lip", "l_lip"),
    "whole_mouth": ("mouth", "u_lip", "l_lip"),
}
"""What is left and right, or upper and lower, in one region."""

FACES_A_FOLDER = 2000

_FILE = re.compile(rf"\d{{5}}_({'|'.join(PARTS)})\.png")


def is_layout(masks: Path) -> bool:
    """Whether a folder of masks is laid out so: a numbered folder whose first file is named like a part."""
    try:
        with os.scandir(masks) as entries:
            numbered = sorted(one.path for one in entries if one.name.isdecimal() and one.is_dir())
        for folder in numbered[:1]:
            with os.scandir(folder) as entries:
                return any(_FILE.fullmatch(one.name) for one, _ in zip(entries, range(20), strict=False))
    except OSError:
        return False
    return False


def regions() -> tuple[str, ...]:
    """All names that the layout offers."""
    return (*PARTS, *GROUPS)


def files(masks: Path, image_stem: str, roi: str) -> list[Path]:
    """The files that there may be for a region of the image of that name without its ending.

    None for a name that is no number: such an image is not of the dataset.
    """
    name = image_stem.rpartition("/")[2]
    if not name.isdecimal() or not name.isascii():
        return []
    number = int(name)
    folder = masks / str(number // FACES_A_FOLDER)
    return [folder / f"{number:05d}_{part}.png" for part in GROUPS.get(roi, (roi,))]
