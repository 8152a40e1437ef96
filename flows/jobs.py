"""What a flow is asked to do, as plain data; needs neither torch nor prefect."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from flows.engine.options import LOCAL, Runner, Shard
from loco.errors import InputError
from loco.marks.claim import PLAIN, Marks
from loco.ranges import RANGES, check
from loco.recipes import DiscoverRecipe, build_recipe


def _check(job: object, kind: str) -> None:
    """Refuse, with an `InputError`, numbers of a job that lie outside their range; None stands for a default."""
    for name, value in vars(job).items():
        if name in RANGES and value is not None:
            check(name, value, kind)


@dataclass(frozen=True)
class DiscoverJob:
    """Discovery over a dataset.

    Attributes:
        model: Name of a registered model.
        dataset: Name of a registered dataset.
        rois: Regions, as on the command line: `mouth`, `mouth=box:x0,y0,x1,y1`, `hair=segment:FOLDER`.
        recipe: How directions are found.
        limit: Only the first so many images, or all.
        runner: Where chunks are worked on.
        max_failures: `20` or `1%`: stop when more images fail; None to go on to the end.
        timeout: Seconds that one image may take; None for 600, or more for a model that is slow here.
        shard: The part of it that is this program's, or None for all.
        rescan: Whether to look first for images that are new in the dataset's folder.
        max_memory: GiB that the network's graph may take; None for what the machine can spare.
    """

    kind: ClassVar[str] = "discover"

    model: str
    dataset: str
    rois: tuple[str, ...]
    recipe: DiscoverRecipe
    limit: int | None = None
    runner: Runner = LOCAL
    max_failures: str | None = None
    timeout: float | None = None
    shard: Shard | None = None
    rescan: bool = False
    max_memory: float | None = None

    def __post_init__(self) -> None:
        """Refuse numbers outside their ranges, and what goes with all images together alone."""
        _check(self, "discover")
        if self.recipe.images_per_round or self.recipe.aligned:
            name = "aligned" if self.recipe.aligned else "images_per_round"
            raise InputError(
                f"discover: {name} goes with --across, which is discovery on all images together"
            )
        if self.recipe.toward:
            raise InputError("discover: toward is of all images together; ask with `loco discover --toward`")


@dataclass(frozen=True)
class AcrossJob(DiscoverJob):
    """Discovery across a dataset: of all of its images together. What it is told is what discovery is told.

    Attributes:
        scorer: What the recipe's `toward` is a number of, as on the command line; empty without one.
        prompts: What that scorer is told, `NAME=positive|negative` each.
    """

    kind: ClassVar[str] = "across"

    scorer: str = ""
    prompts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be asked of all images together."""
        _check(self, "across")
        if self.shard is not None:
            raise InputError(
                "across: a part of a dataset has directions of its own; leave --shard out; --workers share the work"
            )
        if self.recipe.edit_prompt:
            raise InputError("across: an edit told in words is found on one image; leave the edit prompt out")
        if bool(self.recipe.toward) != bool(self.scorer):
            raise InputError(
                "across: a recipe toward a number needs its scorer; ask with `loco discover --toward`"
            )
        if self.recipe.aligned and (
            self.recipe.method != "projected" or self.recipe.images_per_round or self.recipe.toward
        ):
            raise InputError(
                "across: what is in the catalogue is put together by the method `projected`, from all images; leave "
                "method, images_per_round and toward out, or leave --from-catalogue out"
            )
        if self.recipe.solver != "krylov":
            raise InputError(f"across: the solver is krylov, found {self.recipe.solver!r}")


@dataclass(frozen=True)
class Mix:
    """A weighted sum of directions and the strengths to apply it at.

    Attributes:
        directions: Pairs (id or unique prefix, weight); without strengths the weights are the strengths, and None is
            the recommended one.
        strengths: Each is applied to every image: x_t + strength * sum of weight * v. None for the weights alone.
        label: How it is called in file names; made of regions and ids where it is empty.
    """

    directions: tuple[tuple[str, float | None], ...]
    strengths: tuple[float, ...] = ()
    label: str = ""


@dataclass(frozen=True)
class ApplyJob:
    """Application of directions to many images.

    Attributes:
        directions: Pairs (id or unique prefix, weight); their weighted sum is the displacement.
        strengths: Each is applied to every image: x_t + strength * sum of weight * v. Without any the weights are the
            strengths, and a direction with the weight None gets its recommended one; several of such share a budget.
        out: Folder or URL of the images and of their manifests, or one shard for all, `NAME.tar` or `NAME.parquet`.
        images: A folder, pattern, list, Parquet file or tar shard of images, as a path or URL; or
        dataset: the name of a registered dataset.
        steps: Solver steps each way; None for the fewest that are enough, measured on some of the images.
        t: Noise level; None for the directions' own.
        format: `png`, `jpg` or `webp`; or `webdataset` or `parquet` for shards of png, `webdataset:jpg` of another.
        limit: Only the first so many images, or all.
        also: Further sums, each with its own strengths, applied to the same images.
        each: Whether every direction is applied by itself, at every strength, in place of the sum.
        unit: Of the strengths: `lambda`, or `sd` for equal predicted change, see `EditRecipe`.
        solver: `ddim`, or `dpm2` for second order.
        dtype: Type that the network computes in, see `EditRecipe`.
        against: Ids or prefixes of directions that every direction is first made orthogonal to.
        confine: The target's own region that changes are confined to, as on the command line.
        feather: Width of the edge over which a confined change sets in, as a fraction of the picture's shorter side.
        masks: Folder of masks for it; None for `masks` in the folder of images, or the dataset's.
        min_effect: Response, as a fraction of the predicted, below which an image is passed through.
        preview: First-order effect only: two evaluations an image.
        cache: Bytes of HOME/cache that inverted images may take; None for the default, 0 for none.
        beyond: Whether strengths beyond the directions' recorded linear ranges are applied as they are, not clipped.
        prompt, negative, guidance: What a model that takes words is told, see `EditRecipe`.
        manifest: Name of the outputs' manifest, without its endings.
        marks: What the outputs say of themselves.
        suited: Pairs (direction id, recommended strength) as a run began with them: what resumes it takes the same.
        runner, max_failures, timeout, shard: As for discovery; what may fail are outputs.
    """

    kind: ClassVar[str] = "apply"

    directions: tuple[tuple[str, float | None], ...]
    strengths: tuple[float, ...]
    out: Path | str
    images: Path | str | None = None
    dataset: str | None = None
    steps: int | None = None
    t: float | None = None
    format: str = "png"
    limit: int | None = None
    also: tuple[Mix, ...] = ()
    each: bool = False
    unit: str = "lambda"
    solver: str = "ddim"
    dtype: str = "float32"
    against: tuple[str, ...] = ()
    confine: str | None = None
    feather: float = 1 / 64
    masks: Path | None = None
    min_effect: float = 0.05
    preview: bool = False
    cache: int | None = None
    beyond: bool = False
    prompt: str = ""
    negative: str = ""
    guidance: float | None = None
    manifest: str = "manifest"
    marks: Marks = PLAIN
    suited: tuple[tuple[str, float], ...] = ()
    runner: Runner = LOCAL
    max_failures: str | None = None
    timeout: float | None = None
    shard: Shard | None = None

    def __post_init__(self) -> None:
        """Refuse numbers outside their ranges; strengths are checked with the recipes made of them."""
        _check(self, "apply")

    @property
    def mixes(self) -> tuple[Mix, ...]:
        """All sums that are applied."""
        if self.each:
            alone = tuple(Mix((one,), self.strengths) for one in self.directions)
            return (*alone, *self.also)
        return (Mix(self.directions, self.strengths), *self.also)


@dataclass(frozen=True)
class ScoreJob:
    """Scores of directions on other images.

    Attributes:
        directions: Ids or unique prefixes, of one model and one t.
        dataset: Name of a registered dataset.
        strength: Strength of an edit that is measured too; None for first order alone, which costs one evaluation an
            image and direction, and a recommended strength by `climbs` of the images.
        steps: DDIM steps each way.
        limit: Only the first so many images, or all.
        skip: So many images at the beginning are left out: those that the directions were found on.
        climbs: On so many images the strength is followed from the least that is seen to the end; 0 for none.
        runner, max_failures, timeout, shard: As for discovery.
    """

    kind: ClassVar[str] = "score"

    directions: tuple[str, ...]
    dataset: str
    strength: float | None = None
    steps: int = 20
    limit: int | None = None
    skip: int = 0
    climbs: int = 6
    runner: Runner = LOCAL
    max_failures: str | None = None
    timeout: float | None = None
    shard: Shard | None = None

    def __post_init__(self) -> None:
        """Refuse numbers outside their ranges."""
        _check(self, "score")


Asked = DiscoverJob | AcrossJob | ApplyJob | ScoreJob

_ASKED: dict[str, type[Asked]] = {one.kind: one for one in (DiscoverJob, AcrossJob, ApplyJob, ScoreJob)}


def plain(job: Asked) -> dict[str, Any]:
    """The job as plain data that `asked` reads back: a run's spec, a flow's parameter, a schedule's file."""
    from pydantic import TypeAdapter

    found: dict[str, Any] = TypeAdapter(type(job)).dump_python(job, mode="json")
    return found


def asked(kind: str, spec: Mapping[str, Any]) -> Asked:
    """The job that plain data (a run's or a schedule's, with whatever stands beside it) describe.

    Raises `InputError` for data that describe none.
    """
    from pydantic import TypeAdapter, ValidationError

    told = dict(spec)
    if kind in ("discover", "across") and isinstance(told.get("recipe"), Mapping):
        told["recipe"] = build_recipe(
            DiscoverRecipe, dict(told["recipe"])
        )  # refuses names that it does not know
    if kind == "apply" and told.get("dataset"):
        told["images"] = None  # there a run's record tells the dataset's folder
    try:
        return TypeAdapter(_ASKED[kind]).validate_python(told)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or kind
        cause = f"{where}: {first['msg']}"
    except KeyError:
        cause = f"expected one of {', '.join(_ASKED)}"
    names = {"discover": "discovery", "across": "discovery", "apply": "application", "score": "scores"}
    command = "discover --across" if kind == "across" else kind
    raise InputError(
        f"this describes no {names.get(kind, repr(kind))} ({cause}); start it anew with `loco {command}`"
    )
