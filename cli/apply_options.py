"""From options and recipe files to an `ApplyJob`: what `loco apply` and `loco schedule create` have in common."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from cli.app import App
from cli.apply_job import AUTO, Strength, Weighted, build_job, parse_strength
from cli.engine_options import WORK_OPTIONS, work_of
from cli.levels import LEVEL, SPELT
from cli.options import AT_LEAST_ONE, FILE, FOLDER, Real, number, ranged, somewhere
from flows.jobs import ApplyJob
from flows.outputs.forms import CHOICES
from loco.errors import InputError
from loco.levels import Wanted, wanted
from loco.marks.claim import ALSO, Marks
from loco.recipes import DTYPES, SOLVERS, read_recipe

_Body = TypeVar("_Body", bound=Callable[..., Any])


def direction(text: str) -> Weighted:
    """A type for options: `ID`, `ID:4`, `ID@0.6` or `ID:4@0.6`, a direction's id with strength and noise level.

    The level stays with the id: it is resolved where aliases are known, which have an @, too.
    """
    name, colon, rest = text.partition(":")
    strength, at, level = rest.partition("@")
    if not name:
        raise click.BadParameter(f"expected ID, ID:STRENGTH or ID:STRENGTH@T, found {text!r}")
    return f"{name}{at}{level}", number(strength) if colon else None


def strength(text: str) -> Strength:
    """A type for options: a strength in lambda, `4`, or in standard deviations, `0.5sd`."""
    found = parse_strength(text)
    if found is None:
        raise click.BadParameter(f"expected a number, or one followed by sd, found {text!r}")
    return found


def steps(text: str) -> int | str:
    """A type for options: a number of solver steps, or `auto`."""
    return AUTO if text == AUTO else int(ranged("steps")(text))


def place(text: str) -> str:
    """A type for options: a path or URL where results go; a file there is refused, unless it is a shard."""
    if "://" not in somewhere(text) and Path(text).is_file() and not text.endswith((".tar", ".parquet")):
        raise click.BadParameter(f"Directory {text!r} is a file.")
    return text


def _file(path: Path | None) -> str:
    """A file's place as other processes find it, empty for none."""
    return "" if path is None else str(path.expanduser().absolute())


OPTIONS = (
    click.option(
        "--direction",
        "directions",
        type=direction,
        multiple=True,
        metavar="ID[:STRENGTH][@T]",
        help="Direction to apply, by the beginning of its id; repeatable, the weighted sum is applied. With a T it is "
        "added at that noise level on the way down, else at its own (or --t): coarse to fine. Without a "
        "STRENGTH (or --strength) it is the recommended one, by `loco score` or reckoned from its gain; several share "
        "one budget.",
    ),
    click.option(
        "--list",
        "listed",
        metavar="NAME",
        help="Apply each direction of this list, which `loco serve` keeps, by itself: at --strength, else each at the "
        "strength that suits it.",
    ),
    click.option(
        "--images",
        type=somewhere,
        metavar="DIR",
        help="Edit all images of this folder, pattern, list (.txt, .csv, .jsonl), Parquet file or archive (.tar, "
        ".zip); or of such a URL.",
    ),
    click.option("--dataset", metavar="NAME", help="Or: edit all images of this registered dataset."),
    click.option(
        "--out",
        required=True,
        type=place,
        metavar="DIR",
        help="Folder or URL for the results and their manifest; or one file for all results, NAME.tar or NAME.parquet.",
    ),
    click.option(
        "--manifest",
        metavar="NAME",
        help="Name of the results' manifest, NAME.jsonl and NAME.parquet; default: manifest.",
    ),
    click.option(
        "--strength",
        "strengths",
        type=strength,
        multiple=True,
        metavar="L",
        help="Multiplies the directions' weights; negative turns the edit around; repeatable, one result each. "
        "With sd behind it (0.5sd), the predicted change is the same for all images and directions.",
    ),
    click.option(
        "--beyond", is_flag=True, default=None, help="Do not clip strengths to the directions' linear ranges."
    ),
    click.option(
        "--each", is_flag=True, default=None, help="Apply every direction by itself, not their sum."
    ),
    click.option(
        "--against",
        multiple=True,
        metavar="ID",
        help="Make all directions orthogonal to this one first; repeatable.",
    ),
    click.option(
        "--steps",
        type=steps,
        metavar="N|auto",
        help="Solver steps each way; default: auto, the fewest that are within 48 dB of many, measured on some of the "
        "images.",
    ),
    click.option("--solver", type=click.Choice(tuple(SOLVERS)), help="First or second order; default: ddim."),
    click.option(
        "--dtype",
        type=click.Choice(DTYPES),
        help="Type that the network computes in; with a half, all else stays in float32; default: float32.",
    ),
    click.option(
        "--t",
        type=LEVEL,
        metavar="T",
        help=f"Noise level to edit at; default: the directions' own{SPELT}.",
    ),
    click.option(
        "--confine", metavar="ROI", help="Keep changes inside this region of each image: NAME or NAME=box:..."
    ),
    click.option(
        "--feather",
        type=ranged("feather"),
        metavar="F",
        help="Over such a fraction of the picture's shorter side confined changes set in, within the region: no cut "
        "is seen; default: 1/64, two pixels at least.",
    ),
    click.option(
        "--masks", type=FOLDER, metavar="DIR", help="Its masks; default: those of the folder or dataset."
    ),
    click.option(
        "--min-effect",
        type=Real(0, 1, max_open=True),
        metavar="F",
        help="Pass images through that respond less than this fraction of what is predicted; default: 0.05.",
    ),
    click.option(
        "--preview",
        is_flag=True,
        default=None,
        help="First-order effect only: two evaluations an image, not steps.",
    ),
    click.option(
        "--prompt",
        metavar="TEXT",
        help="What a model that takes words is told; default: that under which the directions were found.",
    ),
    click.option("--negative", metavar="TEXT", help="What guidance leads away from; with --prompt."),
    click.option(
        "--guidance", type=ranged("guidance"), metavar="S", help="Scale of the guidance; with --prompt."
    ),
    click.option(
        "--format",
        "format_",
        type=click.Choice(CHOICES),
        metavar="FORMAT",
        help="Format of the results: png (the default), jpg or webp. Or webdataset or parquet: shards of them, one for "
        "each that is read; with another format in them, webdataset:jpg.",
    ),
    click.option("--limit", type=AT_LEAST_ONE, metavar="N", help="Only the first N images; default: all."),
    click.option(
        "--cache",
        type=Real(0),
        metavar="GB",
        help="Room for inverted images in the home, so that further edits of them start at t; default: 4.",
    ),
    click.option(
        "--no-mark", is_flag=True, help="Write no metadata that say that and how a result was edited."
    ),
    click.option(
        "--mark-also",
        "also",
        type=click.Choice(ALSO),
        multiple=True,
        help="Let them say this too: the run, the image's name, the prompt; repeatable.",
    ),
    click.option(
        "--sign", type=FILE, metavar="KEY", help="Sign results (C2PA) with this key, a PEM file; with --cert."
    ),
    click.option("--cert", type=FILE, metavar="PEM", help="The key's certificate, then its issuers'."),
    click.option(
        "--watermark",
        type=FILE,
        metavar="KEY",
        help="Put an invisible mark into the pixels, by the key in this file: `loco outputs key` makes one.",
    ),
    click.option(
        "--recipe",
        "recipes",
        type=FILE,
        multiple=True,
        metavar="FILE",
        help='TOML file of directions = [["ID", 1.0]], strengths, steps, t, format; options win. '
        "Further ones add directions with strengths of their own.",
    ),
    *WORK_OPTIONS,
)


def apply_options(body: _Body) -> _Body:
    """The options that say what to apply to what."""
    for option in reversed(OPTIONS):
        body = option(body)
    return body


def apply_job(
    app: App,
    *,
    images: str | None,
    dataset: str | None,
    out: str,
    masks: Path | None,
    cache: float | None,
    manifest: str | None,
    recipes: tuple[Path, ...],
    no_mark: bool,
    also: tuple[str, ...],
    sign: Path | None,
    cert: Path | None,
    watermark: Path | None,
    listed: str | None = None,
    **options: Any,
) -> ApplyJob:
    """The job of these options; raises `InputError` for what cannot be."""
    from flows.outputs.outputs import check_manifest_name

    work = work_of(options)
    options["format"] = options.pop("format_")
    values = [read_recipe(recipe) for recipe in recipes] or [{}]
    if listed is not None:
        values += _of_list(app, listed, options, values[0])
    options["t"] = _level(app, options, values[0])
    job = build_job(
        images=images, dataset=dataset, out=out, options=options, recipe=values[0], more=values[1:]
    )
    return replace(
        job,
        **work,
        manifest=job.manifest if manifest is None else check_manifest_name(manifest),
        masks=None if masks is None else masks.expanduser().absolute(),
        cache=None if cache is None else int(cache * 2**30),
        marks=Marks(not no_mark, also, *(_file(one) for one in (sign, cert, watermark))),
    )


def _of_list(app: App, name: str, options: dict[str, Any], recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """Put the first direction of a list into the options; what the others come to is returned, as further recipes.

    Raises `UnknownName` where there is no such list, `InputError` for an empty one or further directions.
    """
    from flows.pictures.strength import recommended
    from registry.files.lists import one_list

    if options.get("directions") or recipe.get("directions"):
        raise InputError("give either --list or directions, not both")
    registry, ids = app.registry(), one_list(app.home, name).ids
    if not ids:
        raise InputError(f"list {name} has no directions; the page of `loco serve` adds some")
    if options.get("strengths") or recipe.get("strengths"):
        options |= {"directions": tuple((one, None) for one in ids), "each": True}
        return []
    suited = [(one, recommended(registry, registry.direction(one))) for one in ids]
    options["directions"] = (suited[0],)
    return [{"directions": [[one, strength]]} for one, strength in suited[1:]]


def _level(app: App, options: dict[str, Any], recipe: dict[str, Any]) -> Any:
    """The t of the option, or else of the recipe; of one said by its signal and noise, by the directions' model.

    Raises `InputError` where that is not registered here, or does not have the level.
    """
    level = recipe.get("t") if options.get("t") is None else options["t"]
    level = wanted(level) or level if isinstance(level, str) else level
    if not isinstance(level, Wanted):
        return level
    pairs = options.get("directions") or recipe.get("directions")
    if not isinstance(pairs, list | tuple) or not pairs or not isinstance(pairs[0], list | tuple):
        return None  # what is missing is told by whoever looks at the directions
    from flows.engine.record import catalogue
    from flows.register import model_for
    from loco.models.levels import resolved

    registry = catalogue(app.home, app.url)
    direction = registry.direction(str(pairs[0][0]))
    model = model_for(registry, direction)
    return resolved(level, model.name, model.source)
