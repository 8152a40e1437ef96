"""What the flows' tests share: images, runs without Prefect, and one home with a real server."""

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
from PIL import Image

from flows.engine.watch import Silence
from flows.jobs import ApplyJob, DiscoverJob
from flows.server.access import Owner
from flows.start import run_here
from loco.recipes import DiscoverRecipe
from loco.zoo.faces import faces
from registry.home import Home
from registry.registry import Registry

REPOSITORY = Path(__file__).parents[2]
RECIPE = DiscoverRecipe(t=0.5, steps=2, rank=1, null_rank=1, max_rounds=2, tol=0.5, ranged=False)
ROIS = ("patch", "lower=box:0,0.5,1,1")


def picture(seed, width=12, height=12):
    """Noise, uint8 [H, W, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def patch(width=12, height=12):
    """A mask over the middle, uint8 [H, W]."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : -height // 4, width // 4 : -width // 4] = 255
    return mask


def discovered(home, *, rois=ROIS, work=None, watch=None, recipe=RECIPE, run_id=None, **changes):
    """One run of discovery, without Prefect."""
    job = DiscoverJob(**({"model": "tiny", "dataset": "photos", "rois": rois, "recipe": recipe} | changes))
    return run_here(home, None, job, watch, work, run_id)


def applied(home, out, *, strengths=(-2.0, 2.0), work=None, watch=None, run_id=None, **changes):
    """One run of application, without Prefect; of the first direction, unless others are named."""
    if "directions" not in changes:
        changes["directions"] = ((first(home).id, 1.0),)
    job = ApplyJob(**({"strengths": strengths, "out": out, "steps": 2, "beyond": True} | changes))
    return run_here(home, None, job, watch, work, run_id)


def first(home):
    return Registry(home).find(sort="id", limit=1)[0]


def counts(run):
    """Planned, done, skipped, failed."""
    return tuple(run.counts[name] for name in ("planned", "done", "skipped", "failed"))


class Words(Silence):
    """A `Watch` that remembers what was said."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def state(*paths):
    """What tells whether a file was written again."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def leftovers(*folders):
    return [path for folder in folders for path in folder.rglob("*.partial")]


@contextlib.contextmanager
def small_disk(size):
    """Within it no file grows over `size` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def wait_for(happened, seconds=120):
    """Until `happened()` is true; what it then is."""
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
    return found


class Outcome:
    """How a command ended: its code, what it printed, `json` parsed."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return [json.loads(line) for line in self.out.splitlines()]


class World:
    """One home with a real Prefect server, and `loco` as a user runs it.

    Attributes:
        home: The home.
        photos: Forty faces at mixed sizes and formats, with masks.
        model: A copy of the embedded model's folder.
        recipe: A recipe file that makes discovery quick.
    """

    def __init__(self, folder):
        self.folder, self.home = folder, Home(folder / "home")
        self.photos, self.model, self.recipe = folder / "photos", folder / "model", folder / "quick.toml"
        self.recipe.write_text("tol = 0.5\nmax_rounds = 2\nsteps = 3\nrank = 1\nnull_rank = 1\n")
        self.environment = os.environ | {"LOCO_HOME": str(self.home.root), "OMP_NUM_THREADS": "1"}
        self.environment["LOCO_SLOTS"] = str(folder / "slots")

    def start(self, *arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "cli.main", *map(str, arguments)],
            cwd=REPOSITORY,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, process, code=0):
        out, err = process.communicate(timeout=250)
        assert process.returncode == code, out + err
        return Outcome(process.returncode, out, err)

    def loco(self, *arguments, code=0):
        return self.finish(self.start(*arguments), code)

    def server(self):
        """A client of the home's Prefect server, as its owner."""
        [status] = self.loco("server", "status", "--json").json
        return httpx.Client(base_url=status["url"], timeout=30, trust_env=False, auth=Owner(self.home))

    def asked(self, path):
        """All that the server answers under `path`."""
        with self.server() as server:
            return server.post(path, json={}).raise_for_status().json()

    def processes(self):
        """Processes, other than this one, that belong to the home."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("LOCO_HOME") == str(self.home.root):
                    found.append(process)
        return found

    def cleanly(self):
        """The catalogue has no row twice, agrees with the files, and nothing is half written."""
        registry = Registry(self.home)
        problems = registry.verify()
        assert problems == [], problems
        ids = [one.id for one in registry.find()]
        assert len(ids) == len(set(ids))
        bases = list(self.home.bases.glob("*/*.safetensors"))
        assert registry.summary()["bases"] == len(bases)
        left = leftovers(self.folder)
        assert left == [], left


def render(folder):
    """Forty faces: PNG, JPEG and WebP, 32 to 96 pixels, a third of them cropped and a third padded."""
    for number in range(40):
        size = (32, 48, 64, 96)[number % 4]
        face = faces(number, 1, size)
        layers = [face.images[0], face.masks["mouth"][0], face.masks["hair"][0]]
        if number % 3 == 1:
            layers = [one[size // 8 :] for one in layers]
        elif number % 3 == 2:
            layers = [
                np.pad(one, ((0, 0), (size // 8, 0)) + ((0, 0),) * (one.ndim - 2), mode="edge")
                for one in layers
            ]
        pixels, mouth, hair = layers
        save(folder / f"face_{number:02d}.{('png', 'jpg', 'webp')[number % 3]}", pixels)
        save(folder / "masks" / "mouth" / f"face_{number:02d}.png", mouth.astype(np.uint8) * 255)
        save(folder / "masks" / "hair" / f"face_{number:02d}.png", hair.astype(np.uint8) * 255)
