"""What a discovery across a dataset keeps between its rounds: HOME/runs/ID/rounds.safetensors, block and partial sums.

    rounds.safetensors   how far it is: the images seen, and the space with all that is known of it
    block.safetensors    what the chunks of the present pass are asked about
    sums-*.safetensors   what a chunk's images add up to, until the run has taken it in

A run that was killed goes on with the round that it was in. What is damaged, or of another job, is as if it were not
there: the work is done again.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from loco.errors import StorageError
from loco.files import write_atomic
from loco.ids import content_id
from loco.outside import regular_bytes
from registry.files import checked, manifests
from registry.home import Home

if TYPE_CHECKING:
    from loco.linalg.pooled import Pool

Arrays = dict[str, NDArray[Any]]

_POOL = ("basis", "products", "grams", "fresh", "quotients")


@dataclass(frozen=True)
class Seen:
    """An image that has a region, as the first pass found it.

    Attributes:
        id: sha256 of its bytes.
        answers: How strongly each region answers; 0 for one that it lacks.
        rois: The id of each region; empty for one that it lacks.
        areas: Fraction of the pixels in each.
        counted: Whether it was counted already: as failed in another region.
    """

    id: str
    answers: tuple[float, ...]
    rois: tuple[str, ...]
    areas: tuple[float, ...]
    counted: bool = False


@dataclass(frozen=True)
class Rounds:
    """How far a run is.

    Attributes:
        phase: `start`, `round`, `answers`, or `known`.
        seen: The images that take part, by id.
        absent: Ids of those looked at that have no region.
        told: Names of images that were counted already -> as what.
        left_out: Names of images that were lost on the way, and take no part.
        sources: Where each region's masks come from.
        spent: Products, evaluations and seconds so far.
        errors: The greatest estimated error after each round.
        masks: How many images have each pixel in each region, [R, H, W].
        pool: The space, between the start and the answers.
        pulls: Toward a number: the mean pulls of all images and of either half, [3, R, D]; zeros where there are none.
        lengths: How strongly each region follows its pull, on average.
    """

    phase: str = "start"
    seen: tuple[Seen, ...] = ()
    absent: tuple[str, ...] = ()
    told: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    spent: tuple[int, int, float] = (0, 0, 0.0)
    errors: tuple[float, ...] = ()
    certain: bool = True
    masks: NDArray[np.int64] | None = None
    pool: "Pool | None" = None
    pulls: NDArray[np.float64] | None = None
    lengths: tuple[float, ...] = ()

    @property
    def number(self) -> int:
        """The round that is worked on, from 1 on; 0 before and after."""
        return self.pool.rounds + 1 if self.phase == "round" and self.pool is not None else 0

    @property
    def looked(self) -> list[str]:
        """Ids of all images that were looked at, with a region or without."""
        return sorted({*self.absent, *(one.id for one in self.seen)})

    def spending(self, products: int, evaluations: int, seconds: float) -> "Rounds":
        """The same with so much more spent."""
        before = self.spent
        return replace(self, spent=(before[0] + products, before[1] + evaluations, before[2] + seconds))


def rounds_path(home: Home, run_id: str) -> Path:
    """Where a run's state lies."""
    return manifests.manifest_path(home, run_id).with_name("rounds.safetensors")


def keep(home: Home, run_id: str, key: str, rounds: Rounds) -> None:
    """Write the state of the run, a job of that key, in place of the last one."""
    arrays: Arrays = {}
    if rounds.masks is not None:
        arrays["masks"] = rounds.masks
    if rounds.pulls is not None:
        arrays["pulls"] = rounds.pulls
    pool = rounds.pool
    if pool is not None:
        arrays |= {f"pool.{name}": getattr(pool, name).cpu().numpy() for name in _POOL}
    told: dict[str, Any] = {
        name: value for name, value in vars(rounds).items() if name not in ("masks", "pool", "pulls", "seen")
    }
    told |= {"key": key, "seen": [list(asdict(one).values()) for one in rounds.seen]}
    if pool is not None:
        told["pool"] = {"ranks": pool.ranks, "tol": pool.tol, "rounds": pool.rounds}
    write_atomic(rounds_path(home, run_id), _saved(arrays, told))


def kept(home: Home, run_id: str, key: str) -> Rounds:
    """The state of the run if it is a job of that key and sound, else the beginning."""
    try:
        data = regular_bytes(rounds_path(home, run_id))
        arrays, told = load(data), _told(data)
        if told.pop("key") != key:
            return Rounds()
        about = told.pop("pool", None)
        seen = tuple(map(_seen, told.pop("seen")))
        told |= {name: tuple(value) for name, value in told.items() if isinstance(value, list)}
        rounds = Rounds(**told, seen=seen, masks=arrays.get("masks"), pulls=arrays.get("pulls"))
        return rounds if about is None else replace(rounds, pool=_pool(arrays, about))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError):
        return Rounds()


def forget(home: Home, run_id: str, *, whole: bool = True) -> None:
    """Delete partial sums that nobody took in, and where `whole` all the rest."""
    folder = rounds_path(home, run_id).parent
    paths = list(folder.glob("sums-*.safetensors"))
    if whole:
        paths += [folder / "rounds.safetensors", folder / "block.safetensors"]
    for path in paths:
        path.unlink(missing_ok=True)


def ask(home: Home, run_id: str, block: NDArray[Any]) -> None:
    """Write what the next pass is about, [k, D]."""
    write_atomic(rounds_path(home, run_id).with_name("block.safetensors"), _saved({"block": block}, {}))


def asked_about(home: Home, run_id: str) -> NDArray[Any]:
    """What the present pass is about; raises `StorageError` where it cannot be read."""
    return _array(rounds_path(home, run_id).with_name("block.safetensors"))["block"]


def put_sums(home: Home, run_id: str, made_of: object, arrays: Arrays) -> str:
    """Write what a chunk's images add up to; the file's name."""
    name = f"sums-{content_id('sums', made_of)}.safetensors"
    write_atomic(rounds_path(home, run_id).with_name(name), _saved(arrays, {}))
    return name


def take_sums(home: Home, run_id: str, name: str) -> Arrays:
    """What a chunk's images add up to, whose file is deleted; raises `StorageError` where it cannot be read."""
    path = rounds_path(home, run_id).with_name(Path(name).name)
    arrays = _array(path)
    path.unlink(missing_ok=True)
    return arrays


def _seen(row: list[Any]) -> Seen:
    key, answers, rois, areas, counted = row
    return Seen(key, tuple(answers), tuple(rois), tuple(areas), counted)


def _array(path: Path) -> Arrays:
    try:
        found: Arrays = load(regular_bytes(path))
    except (OSError, SafetensorError, ValueError) as error:
        raise StorageError(
            f"{path} cannot be read ({error}); the run keeps its round there: resume it, and the round is done again"
        ) from error
    return found


def _saved(arrays: Arrays, told: Mapping[str, Any]) -> bytes:
    data: bytes = save(
        {name: np.ascontiguousarray(one) for name, one in arrays.items()}, {"told": json.dumps(told)}
    )
    return data


def _told(data: bytes) -> dict[str, Any]:
    outer = checked.plain(data[8 : 8 + int.from_bytes(data[:8], "little")])
    found: dict[str, Any] = checked.plain(outer["__metadata__"]["told"].encode())
    return found


def _pool(arrays: Arrays, about: Mapping[str, Any]) -> "Pool":
    import torch

    from loco.linalg.pooled import Pool

    tensors = {name: torch.from_numpy(arrays[f"pool.{name}"]) for name in _POOL}
    return Pool(tuple(about["ranks"]), about["tol"], **tensors, rounds=about["rounds"])
