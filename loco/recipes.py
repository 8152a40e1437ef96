"""Recipes: every knob that changes a result, frozen, read from TOML, hashed into ids.

A knob that only changes speed (device, batch and chunk size) is not here: it must not change an id.
"""

import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from loco.errors import InputError
from loco.outside import TEXT_LIMIT, read, there
from loco.ranges import check

ALGORITHM = 1
"""Version of what is computed under a recipe, in every id of a discovery or an edit.

It grows when a solver or a tolerance's rule changes, so that no result of the changed one passes as the former's.
"""

SD = 0.5
"""One standard deviation of pixels in units of [-1, 1]: sigma_data of Karras et al., arXiv 2206.00364, Table 1."""

POINTS = ("inverted", "rescaled", "filled", "noised")
"""Where a Jacobian can be taken (`loco.points`)."""

DRAWN = ("filled", "noised")
"""Those of them that noise is drawn for."""

SOLVERS = {"ddim": 1, "dpm2": 2}
"""Solver of sampling -> its order (`loco.diffusion.sampling`)."""

DTYPES = ("float32", "float64", "bfloat16", "float16")
"""Floating-point types of network evaluations; of the halves only the network makes use, see `loco.precision`."""

_TOWARD = re.compile(r"[0-9a-f]{32}#[^\x00-\x1f\x7f]{1,200}")

METHODS = ("projected", "constrained")
"""How a direction keeps clear of the rest of its image (`loco.linalg.projection`)."""

ACROSS = "constrained"
"""The method by which directions of a dataset are made, where nobody says another: on images that they do not come from
they leak half as much as the projected ones at an equal change (docs/method.md)."""

LATER = {"later": True}
"""Mark of a knob that came after the first recipes; at its default it is not in an id."""

_Recipe = TypeVar("_Recipe", bound="DiscoverRecipe | EditRecipe")


@dataclass(frozen=True)
class DiscoverRecipe:
    """How directions are found (LOCO Edit, Algorithm 1).

    Attributes:
        t: Noise level in (0, 1); the paper's t, a fraction of the training steps.
        steps: DDIM steps of the inversion from the image to t.
        rank: Directions wanted in each ROI (the paper's r).
        null_rank: Right singular vectors of the complement that are projected away (the paper's r').
        tol: Singular vectors have converged when the sine of their subspace's error is estimated to be within tol.
        max_rounds: Rounds of the solver after which what has not converged is kept and marked.
        min_retained: A direction with less than this of its length left after projection is refused.
        seed: Seed of the solver's starting block.
        dtype: Floating-point type of the network evaluations; with `bfloat16` or `float16` all else is in float32.
        prompt: What the model is told, for one that takes a prompt; empty for nothing.
        negative: What guidance leads away from.
        guidance: Scale of the guidance; None for the usual one of the model's family.
        edit_prompt: What the edit is told to be (text-supervised T-LOCO); empty for the unsupervised directions.
        edit_guidance: Scale of the edit's own guidance, the paper's m.
        rows: `pixels`, the image's; or `cells` of a latent model: without its decoder, cheaper and coarser.
        solver: `krylov`, one shared space for all regions; or `power`, the paper's Algorithm 2, region by region.
        method: `projected` off the rest of the image (the paper's); or `constrained`: the greatest change inside
            over that outside, see `loco.linalg.projection`.
        null_energy: Where not 0, only as many of the `null_rank` vectors as hold this fraction of the complement's
            energy are projected away.
        ridge: For `constrained`: added to the squared change outside, as a fraction of its greatest.
        forward: How J v is formed: `central` or `forward` difference, or `exact`; see `loco.linalg.jacobian`.
        ranged: Whether the range of linear strengths is measured, which costs some 10 evaluations a direction.
        point: Where the Jacobian is taken: at the `inverted` image; there with its noise `rescaled` to the size that
            the network learnt, or `filled` up to it; or at the image with fresh noise, `noised`. See `loco.points`.
        draws: Points of that kind, whose J'MJ are averaged; more than 1 only where noise is drawn.
        images_per_round: Across a dataset: each round asks so many of its images, each time others; 0 for all.
        aligned: Across a dataset: from what was found on its images with this recipe but for it (`loco.aligned`).
        toward: Across a dataset: the direction along which a scorer's number grows fastest: `ID#NAME`, the scorer's id
            and the number's name; empty for what the region itself does most. See `loco.toward`.
    """

    t: float
    steps: int = 20
    rank: int = 3
    null_rank: int = 5
    tol: float = 0.01
    max_rounds: int = 50
    min_retained: float = 0.05
    seed: int = 0
    dtype: str = "float32"
    prompt: str = field(default="", metadata=LATER)
    negative: str = field(default="", metadata=LATER)
    guidance: float | None = field(default=None, metadata=LATER)
    edit_prompt: str = field(default="", metadata=LATER)
    edit_guidance: float = field(default=4.0, metadata=LATER)
    rows: str = field(default="pixels", metadata=LATER)
    solver: str = field(default="krylov", metadata=LATER)
    method: str = field(default="projected", metadata=LATER)
    null_energy: float = field(default=0.0, metadata=LATER)
    ridge: float = field(default=0.01, metadata=LATER)
    forward: str = field(default="central", metadata=LATER)
    ranged: bool = field(default=True, metadata=LATER)
    point: str = field(default="inverted", metadata=LATER)
    draws: int = field(default=1, metadata=LATER)
    images_per_round: int = field(default=0, metadata=LATER)
    aligned: bool = field(default=False, metadata=LATER)
    toward: str = field(default="", metadata=LATER)

    def __post_init__(self) -> None:
        """Refuse values outside their ranges."""
        for name in (
            "t",
            "steps",
            "rank",
            "null_rank",
            "tol",
            "max_rounds",
            "min_retained",
            "null_energy",
            "ridge",
            "draws",
            "images_per_round",
        ):
            check(name, getattr(self, name), "recipe")
        for name in ("ranged", "aligned"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"recipe: {name} must be true or false, found {getattr(self, name)!r}")
        for name in ("tol", "min_retained", "null_energy", "ridge"):  # TOML's 0 is the same recipe as 0.0
            object.__setattr__(self, name, float(getattr(self, name)))
        check("seed", self.seed, "recipe")
        _check_choice("dtype", self.dtype, DTYPES)
        _check_choice("rows", self.rows, ("pixels", "cells"))
        _check_words(self)
        object.__setattr__(self, "edit_guidance", _scale("edit_guidance", self.edit_guidance))
        _check_choice("solver", self.solver, ("krylov", "power"))
        _check_choice("method", self.method, METHODS)
        _check_choice("forward", self.forward, ("central", "forward", "exact"))
        _check_choice("point", self.point, POINTS)
        if self.toward and not (isinstance(self.toward, str) and _TOWARD.fullmatch(self.toward)):
            raise InputError(
                f"recipe: toward must be a scorer's id and the name of a number, ID#NAME, found {self.toward!r:.80}"
            )
        if self.toward and self.rows != "pixels":
            raise InputError("recipe: toward needs rows = 'pixels': a scorer sees images")
        if self.draws > 1 and self.point not in DRAWN:
            raise InputError(
                f"recipe: draws above 1 need a point that is drawn ({' or '.join(DRAWN)}), found {self.draws} draws of "
                f"{self.point}"
            )


@dataclass(frozen=True)
class EditRecipe:
    """How catalogued directions are applied: x_t + sum of strength * v, then denoised from t to 0.

    Attributes:
        t: Noise level in (0, 1) at which the directions are added.
        directions: Pairs (direction id, strength); the strength is in `unit`.
        steps: Solver steps of the inversion and of the sampling.
        dtype: Floating-point type of the network evaluations; with `bfloat16` or `float16` all else is in float32.
        solver: `ddim`, or `dpm2` for second order.
        unit: `lambda`, the paper's: the length of what is added to x_t. Or `sd`: the lambda of each image is such that
            the predicted RMS change over the region is that many standard deviations of pixels (`SD`).
        against: Ids of directions that each direction is made orthogonal to first.
        confine: The target's region that the change is confined to, as on the command line, or None.
        feather: Width of the edge over which a confined change sets in, inside the region, as a fraction of the
            picture's shorter side; two pixels at least.
        min_effect: An image whose response to the displacement is less than this fraction of what the directions'
            gains predict is passed through; 0 for none.
        preview: Whether the first-order effect J d stands in for the whole way down.
        prompt: What the model is told, for one that takes a prompt; empty for nothing.
        negative: What guidance leads away from.
        guidance: Scale of the guidance; None for the usual one of the model's family.
        levels: Coarse to fine: the noise level at which each direction is added on the way down, the highest of which
            is t; none where all are added at t.
    """

    t: float
    directions: tuple[tuple[str, float], ...]
    steps: int = 20
    dtype: str = "float32"
    solver: str = field(default="ddim", metadata=LATER)
    unit: str = field(default="lambda", metadata=LATER)
    against: tuple[str, ...] = field(default=(), metadata=LATER)
    confine: str | None = field(default=None, metadata=LATER)
    feather: float = field(default=0.0, metadata=LATER)
    min_effect: float = 0.05
    preview: bool = field(default=False, metadata=LATER)
    prompt: str = field(default="", metadata=LATER)
    negative: str = field(default="", metadata=LATER)
    guidance: float | None = field(default=None, metadata=LATER)
    levels: tuple[float, ...] = field(default=(), metadata=LATER)

    def __post_init__(self) -> None:
        """Refuse values outside their ranges; normalise lists (from TOML) to tuples."""
        check("t", self.t, "recipe")
        check("steps", self.steps, "recipe")
        try:
            pairs = tuple((str(name), float(strength)) for name, strength in self.directions)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"recipe: directions must be pairs of an id and a strength, found {self.directions!r}"
            ) from error
        if not pairs:
            raise InputError("recipe: directions must name at least one direction, found none")
        for name, strength in pairs:
            check("strength", strength, f"recipe: {name:.80}")
        object.__setattr__(self, "directions", pairs)
        object.__setattr__(self, "against", tuple(map(str, self.against)))
        _check_choice("dtype", self.dtype, DTYPES)
        _check_choice("solver", self.solver, tuple(SOLVERS))
        _check_choice("unit", self.unit, ("lambda", "sd"))
        check("feather", self.feather, "recipe")
        object.__setattr__(self, "feather", float(self.feather))
        check("min_effect", self.min_effect, "recipe")
        object.__setattr__(self, "min_effect", float(self.min_effect))
        _check_words(self)
        self._check_levels()

    def _check_levels(self) -> None:
        levels = tuple(map(float, self.levels))
        if set(levels) == {self.t}:
            levels = ()  # all at t: the same edit has the same id however it is said
        object.__setattr__(self, "levels", levels)
        if not levels:
            return
        for level in levels:
            check("t", level, "recipe: levels")
        if len(levels) != len(self.directions) or max(levels) != self.t:
            raise InputError(
                f"recipe: levels must be one for each of the {len(self.directions)} directions, the highest of them "
                f"t = {self.t:g}, found {', '.join(f'{level:g}' for level in levels)}"
            )
        if self.unit != "lambda" or self.preview:
            raise InputError(
                "recipe: a first-order effect is of one noise level: unit = 'sd' and previews take no levels"
            )


def in_use(recipe: "DiscoverRecipe | EditRecipe") -> dict[str, Any]:
    """The recipe as people are shown it: without the later knobs that are at their defaults."""
    return {
        one.name: getattr(recipe, one.name)
        for one in fields(recipe)
        if not one.metadata.get("later") or getattr(recipe, one.name) != one.default
    }


def read_recipe(path: Path) -> dict[str, Any]:
    """Values of a TOML recipe file, to be completed by the command line's options.

    Raises `InputError` when the file is missing or is not TOML.
    """
    try:
        if not there(path):
            raise InputError(f"recipe file {path} does not exist")
        values = tomllib.loads(read(path, InputError, TEXT_LIMIT).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # ValueError: not TOML, not UTF-8, a number of 5,000 digits
        raise InputError(f"recipe file {path} is not TOML: {error}") from error
    for name, value in values.items():
        _check_plain(path, name, value)
    return values


def _check_plain(path: Path, name: str, value: Any, depth: int = 0) -> None:
    """Refuse what no knob can be and no message can show: numbers beyond 64 bits, tables within tables."""
    if isinstance(value, dict | list):
        if depth == 8:
            raise InputError(f"recipe file {path}: {name:.80} is nested more than 8 deep")
        for one in value.values() if isinstance(value, dict) else value:
            _check_plain(path, name, one, depth + 1)
    elif isinstance(value, int) and value.bit_length() > 64:
        raise InputError(
            f"recipe file {path}: {name:.80} is a number of {value.bit_length()} bits, expected up to 64"
        )


def build_recipe(kind: type[_Recipe], values: dict[str, Any]) -> _Recipe:
    """A recipe from plain values, refusing names that it does not have.

    Raises `InputError` naming the unknown or missing knob and the known ones.
    """
    known = [field.name for field in fields(kind)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InputError(f"recipe: unknown name {unknown[0]!r}; known are {', '.join(known)}")
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(f"recipe: {error}") from error


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"recipe: {name} must be one of {', '.join(allowed)}, found {value!r}")


def _check_words(recipe: DiscoverRecipe | EditRecipe) -> None:
    """Refuse prompts that are no text, and guidance without a prompt; make the scale a float."""
    for name in ("prompt", "negative", "edit_prompt"):
        value = getattr(recipe, name, "")
        if not isinstance(value, str) or len(value) > 2000:
            raise InputError(f"recipe: {name} must be text of at most 2000 characters, found {value!r:.80}")
    if recipe.guidance is not None:
        object.__setattr__(recipe, "guidance", _scale("guidance", recipe.guidance))
    if not recipe.prompt and (recipe.negative or recipe.guidance is not None):
        raise InputError("recipe: negative and guidance need a prompt; give one, or leave them out")


def _scale(name: str, value: float) -> float:
    check(name, value, "recipe")
    return float(value)
