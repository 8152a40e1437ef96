"""`loco directions show`."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cli.app import App
from cli.options import Command, pass_app
from loco.errors import InputError
from loco.evidence import FIGURES, TRANSFER
from loco.recipes import in_use

if TYPE_CHECKING:
    from loco.direction import Direction
    from registry.records import Transfer
    from registry.registry import Registry

BARS = "▁▂▃▄▅▆▇█"
"""Bars of a histogram as text, from the lowest."""


def _found_on(direction: "Direction", name: str, dataset: str | None) -> dict[str, str]:
    """The image or the dataset that it was found on."""
    if direction.scope == "dataset":
        return {"dataset": f"{name}, {direction.images} images (content id {direction.image_id})"}
    found = {"image": f"{name} (sha256 {direction.image_id})"}
    return found | {"dataset": dataset} if dataset else found


def _level(direction: "Direction") -> str:
    """t, with what it means."""
    told = f"{direction.t:g} (training step {direction.step}"
    if direction.alpha_bar is not None:
        told += f", alpha_bar {direction.alpha_bar:.3g}"
    if direction.log_snr is not None:
        told += f", log SNR {direction.log_snr:.3g}"
    return f"{told})"


@click.command("show", cls=Command)
@click.argument("direction_id", metavar="ID")
@click.option(
    "--picture/--no-picture",
    default=None,
    help="Draw it, or do not; default: on a terminal that can show it.",
)
@pass_app
def show(app: App, direction_id: str, picture: bool | None) -> None:
    """Show all evidence for the direction ID: its figures, basis file, recipe and what was refused beside it.

    On a terminal its picture is drawn too: at five strengths, where it changes, and the direction itself. Elsewhere
    the picture's file is named, where there is one; --picture makes it.

    The beginning of an id is enough, 6 characters or more.
    """
    from cli.blocks import draw
    from cli.remote import Remote
    from flows.pictures.strips import file_of, kept, strip
    from registry.index.names import NAMES

    registry = app.registry()
    if isinstance(registry, Remote):
        if picture:
            raise InputError("a served catalogue's pictures are on its page; leave out --picture")
        told = registry.evidence(direction_id)
        app.show(told, _served(told))
        return
    direction = registry.direction(direction_id)
    basis = registry.basis(direction.basis_id)
    beside = registry.beside([direction]).get(direction.id, {})
    transfer = registry.transfers([direction.id]).get(direction.id)
    source = next((roi.source for roi in basis.rois if roi.id == direction.roi_id), None)
    file = app.home.basis(direction.basis_id)
    record = {
        **asdict(direction),
        **{name: beside.get(name) for name in NAMES},
        "image_name": basis.image_name,
        "transfer": None if transfer is None else asdict(transfer),
        "roi_source": source,
        "basis_file": str(file),
        "recipe": asdict(basis.recipe),
        "refused": [asdict(one) for one in basis.refused],
        "products": basis.products,
        "evaluations": basis.evaluations,
        "provenance": basis.provenance,
    }
    if picture is None:
        picture = sys.stdout.isatty() and not app.json
    made = strip(registry, direction) if picture else None
    drawn = kept(registry, direction) if made is None else file_of(registry, made)
    record["picture"] = None if drawn is None else str(drawn)
    channels, height, width = direction.shape
    facts = {
        "id": direction.id,
        "region": f"{direction.roi} ({source}), {direction.roi_area:.1%} of the image",
        "index": direction.index,
        **_found_on(direction, basis.image_name, beside.get("dataset")),
        "model": f"{beside['model_name']} (id {direction.model})"
        if beside.get("model_name")
        else direction.model,
        **{name: beside[name] for name in ("label", "alias") if beside.get(name)},
        "t": _level(direction),
        "size": f"{width} x {height} x {channels}",
        **{
            figure.title: figure.words(getattr(direction, figure.name))
            for figure in FIGURES
            if direction.scope == "dataset" or "across" not in figure.places
        },
        **({} if transfer is None else _carried(transfer, registry)),
        "method": direction.method,
        "recipe": in_use(basis.recipe),
        "refused": [f"{one.roi} {one.index}: {one.cause}" for one in basis.refused],
        "cost": f"{basis.products} Jacobian products, {basis.evaluations} network evaluations",
        "provenance": basis.provenance,
        "basis file": file,
        **({} if drawn is None else {"picture": drawn}),
        **({"not shown": made.trouble} if made is not None and made.trouble else {}),
    }
    app.show(record, facts)
    if made is not None and not app.json:
        draw(made.data)


def _served(told: dict[str, Any]) -> dict[str, object]:
    """What a server tells of a direction, as facts."""
    channels, height, width = told["shape"]
    found_on = {"dataset": f"{told['image_name']}, {told['images']} images"}
    if told["scope"] != "dataset":
        found_on = {"image": f"{told['image_name']} (sha256 {told['image_id']})"}
        found_on |= {"dataset": told["dataset"]} if told.get("dataset") else {}
    figures = [one for one in FIGURES if told["scope"] == "dataset" or "across" not in one.places]
    return {
        "id": told["id"],
        "region": f"{told['roi']} ({told['roi_source']}), {told['roi_area']:.1%} of the image",
        "index": told["index"],
        **found_on,
        "model": f"{told['model_name']} (id {told['model']})" if told.get("model_name") else told["model"],
        **{name: told[name] for name in ("label", "alias") if told.get(name)},
        "t": f"{told['t']:g} (training step {told['step']})",
        "size": f"{width} x {height} x {channels}",
        **{one.title: one.words(told.get(one.name)) for one in figures},
        **{one.title: f"{told[one.name]:.4g}" for one in TRANSFER if told.get(one.name) is not None},
        "method": told["method"],
        "recipe": told["recipe"],
        "refused": [f"{one['roi']} {one['index']}: {one['cause']}" for one in told["refused"]],
        "cost": f"{told['basis_products']} Jacobian products, {told['basis_evaluations']} network evaluations",
        "provenance": told["provenance"],
    }


def _carried(transfer: "Transfer", registry: "Registry") -> dict[str, object]:
    """How it does on other images, in words: each figure, with its interval and distribution where it has such."""
    spread: dict[str, Any] = transfer.details.get("spread", {})
    on = f"{transfer.transfer_images} images of {transfer.on_dataset} with the region, {transfer.at[:16]}"
    facts: dict[str, object] = {"scored on": on}
    for figure in TRANSFER:
        value = getattr(transfer, figure.name)
        if value is None:
            continue
        told = f"{value:.4g}"
        if figure.name in spread:
            told += _distribution(spread[figure.name])
        facts[figure.title] = told
    if steps := transfer.details.get("strengths"):
        facts["even steps"] = ", ".join(f"{step:g}" for step in steps)
    examples: dict[str, list[str]] = transfer.details.get("examples", {})
    names = registry.image_names({image for images in examples.values() for image in images})
    for which in ("most", "middling", "hardly"):
        if images := examples.get(which):
            facts[f"responds {which}"] = [names.get(image, image[:12]) for image in images]
    return facts


def _distribution(spread: dict[str, Any]) -> str:
    """Interval, quantiles and histogram of one figure over images."""
    told = ""
    if spread.get("interval"):
        low, high = spread["interval"]
        told += f" (95 %: {low:.3g} to {high:.3g})"
    if spread.get("quantiles"):
        counts = spread["histogram"]["counts"]
        most = max([*counts, 1])
        bars = "".join(" " if not one else BARS[(len(BARS) - 1) * one // most] for one in counts)
        low, high = spread["quantiles"][0], spread["quantiles"][-1]
        told += f", {spread['histogram']['low']:.3g} |{bars}| {spread['histogram']['high']:.3g}"
        told += f", nine of ten within {low:.3g} to {high:.3g}"
    return told
