"""`loco bench discover`."""

import click

from cli.app import App
from cli.levels import LEVEL, SPELT, Level
from cli.options import AT_LEAST_ONE, Command, Whole, pass_app

ROIS = ("mouth", "eyes", "nose", "brows", "hair", "skin")


@click.command("discover", cls=Command)
@click.option(
    "--t", type=LEVEL, metavar="T", help=f"Noise level; default: the model's recommended one{SPELT}."
)
@click.option(
    "--roi", "rois", multiple=True, metavar="NAME", help=f"Region; repeatable; default: {', '.join(ROIS)}."
)
@click.option("--face", type=Whole(min=0), default=0, show_default=True, help="Which face.")
@click.option("--rank", type=AT_LEAST_ONE, default=3, show_default=True, help="Directions a region.")
@click.option("--null-rank", type=AT_LEAST_ONE, default=5, show_default=True, help="Projected away.")
@pass_app
def discover(
    app: App, /, t: Level | None, rois: tuple[str, ...], face: int, rank: int, null_rank: int
) -> None:
    """Measure discovery on the embedded model, side by side with the published procedure.

    Products, network evaluations, wall time and memory of the shared space and of Algorithm 1 as its code runs
    it (50 rounds, each region and each complement alone), and the error of both against a dense SVD. Takes some
    minutes, most of them the published procedure's.
    """
    import torch

    from loco.errors import UnknownName
    from loco.measure.bench import bench_discover
    from loco.models.diffusers_folder import open_folder
    from loco.models.levels import resolved
    from loco.models.source import model_folder
    from loco.recipes import DiscoverRecipe
    from loco.rois.roi import Roi
    from loco.zoo.faces import faces

    place = "cuda" if torch.cuda.is_available() else "cpu"
    card, denoiser = open_folder(model_folder("zoo:faces32"), device=place)
    rendered = faces(2**20, face + 1, card.shape[1])
    names = rois or ROIS
    for name in names:
        if name not in rendered.masks:
            raise UnknownName(f"the faces have no region {name!r}; they have: {', '.join(rendered.masks)}")
    x0 = torch.from_numpy(rendered.images[face]).permute(2, 0, 1).float().to(place) / 127.5 - 1
    recipe = DiscoverRecipe(
        t=resolved(t, "zoo:faces32", "zoo:faces32") or card.recommended_t or 0.5,
        rank=rank,
        null_rank=null_rank,
    )
    regions = [Roi(name, rendered.masks[name][face], "renderer") for name in names]
    result = bench_discover(denoiser, x0, regions, recipe, app.say)
    app.show(result, {name: _short(value) for name, value in result.items() if not isinstance(value, dict)})


def _short(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value
