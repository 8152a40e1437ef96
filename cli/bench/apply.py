"""`loco bench apply`."""

import click

from cli.app import App
from cli.options import AT_LEAST_ONE, Command, pass_app, ranged


@click.command("apply", cls=Command)
@click.option("--images", type=AT_LEAST_ONE, default=256, show_default=True, help="Faces to edit.")
@click.option("--steps", type=ranged("steps"), default=10, show_default=True, help="Solver steps each way.")
@click.option("--repeats", type=AT_LEAST_ONE, default=3, show_default=True, help="Rounds; medians are shown.")
@click.option(
    "--reference-images",
    type=AT_LEAST_ONE,
    default=8,
    show_default=True,
    help="Images that the reference's procedure is timed on.",
)
@pass_app
def apply(app: App, /, images: int, steps: int, repeats: int, reference_images: int) -> None:
    """Measure bulk application on the embedded model, side by side with its bounds.

    Edited images a second, split by stage, against the bare network's throughput at its best batch size and
    against the reference's procedure (one image at a time, over pure noise, a strip of five), all in one run.
    A home of its own is used and deleted.
    """
    from flows.studies.bench_apply import bench_apply, figures

    with app.watch("bench") as watch:
        watch.total(repeats)
        result = bench_apply(images, steps, repeats, reference_images, watch)
    app.show(result, figures(result))
