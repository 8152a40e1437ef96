"""What marks cost, and how often the invisible one is read again, as docs/marking.md tells.

python benchmarks/marking.py cost [IMAGES]       what each mark adds to the time of an output
python benchmarks/marking.py survival [IMAGES]   how many renders' marks are read after what happens to pictures
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flows.jobs import ApplyJob, DiscoverJob
from flows.register import dataset_record, model_record
from flows.start import run_here
from loco.finish import changed
from loco.images import encode, picture_of
from loco.marks import watermark
from loco.marks.claim import Claim, Marks
from loco.marks.marking import marked_file, new_key
from loco.recipes import DiscoverRecipe
from loco.zoo.faces import faces
from loco.zoo.folder import write_scenes
from registry.home import Home
from registry.registry import Registry
from tests.marks.attacks import ATTACKS
from tests.marks.certificates import issued

ROUNDS = 5


def cost(images: int) -> None:
    """Print what the claim adds to bulk application, and each mark to one output of 512 x 512."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        home, registry = _ready(root, images)
        [best, *_] = registry.find(roi="mouth", sort="leakage")
        spent: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(2 * ROUNDS):
            claim = turn % 2 == 0
            job = ApplyJob(
                ((best.id, 1.0),), (4.0,), root / f"out-{turn}", dataset="faces", steps=10, cache=0,
                marks=Marks(claim=claim),
            )  # fmt: skip
            started = time.process_time()
            run_here(home, None, job)
            spent[claim].append(time.process_time() - started)
        pairs = [with_it / without for with_it, without in zip(spent[True], spent[False], strict=True)]
        print(
            f"apply, {images} images of 32 x 32, 10 steps: with the claim {statistics.median(pairs):.3f} times the "
            f"processor time of without (median of {ROUNDS} pairs, {min(pairs):.3f} to {max(pairs):.3f})"
        )
        _one(root)


def _ready(root: Path, images: int) -> tuple[Home, Registry]:
    """A home with a direction and a dataset of so many faces."""
    home = Home(root / "home")
    registry = Registry(home)
    for _ in write_scenes(root / "faces", 3, images, 32, ("mouth",)):
        pass
    registry.add_model(model_record("faces32", "zoo:faces32"))
    registry.add_dataset(dataset_record("faces", root / "faces", None))
    recipe = DiscoverRecipe(t=0.4, rank=1, null_rank=2, steps=10)
    job = DiscoverJob("faces32", "faces", ("mouth",), recipe, limit=1)
    run_here(home, None, job)
    return home, registry


def _one(root: Path) -> None:
    """Print what each mark adds to the making of one file."""
    [image] = faces(seed=1, count=1, size=512).images
    data = encode(image, "png")
    source = picture_of(data, "x", "x")
    key, chain, _ = issued(root)
    new_key(root / "key")
    claim = Claim("a" * 32, "b" * 32, "c" * 64, ("d" * 32,), (4.0,), "loco 1")
    kinds = {
        "none": Marks(claim=False),
        "claim": Marks(),
        "signature": Marks(claim=False, sign=str(key), certificate=str(chain)),
        "watermark": Marks(claim=False, watermark=str(root / "key")),
    }
    for format in ("png", "jpg", "webp"):
        done = changed(source, np.full((3, 512, 512), 0.05, np.float32), format)
        told = []
        for name, marks in kinds.items():
            seconds, size = [], 0
            for _ in range(ROUNDS):
                started = time.perf_counter()
                size = len(marked_file(source, done, format, marks, claim, data).data)
                seconds.append(time.perf_counter() - started)
            told.append(f"{name} {statistics.median(seconds) * 1000:.1f} ms, {size} bytes")
        print(f"one {format} of 512 x 512: {'; '.join(told)}")


def survival(images: int) -> None:
    """Print how many of so many marked renders are read again, word and all."""
    key = bytes(range(32))
    for size in (192, 256, 512):
        pictures = faces(seed=77, count=images, size=size).images
        made = [
            watermark.marked(picture, f"{k * 2654435761 % 2**32:08x}", key)
            for k, picture in enumerate(pictures)
        ]
        print(f"{size} x {size}, {images} renders, at least {min(map(_psnr, pictures, made)):.1f} dB")
        for name, attack in ATTACKS.items():
            read = [watermark.read(np.ascontiguousarray(attack(one)), key) for one in made]
            present = sum(one.present for one in read)
            words = sum(
                one.present and one.payload == f"{k * 2654435761 % 2**32:08x}" for k, one in enumerate(read)
            )
            print(f"  {name:<44} found {present / images:.0%}, word {words / images:.0%}")


def _psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


if __name__ == "__main__":
    what, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 40
    {"cost": cost, "survival": survival}[what](count)
