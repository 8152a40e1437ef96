"""Directions that leave the tool: vectors and one file of code for diffusers, and a card with pictures and evidence."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.pictures.strength import recommended
from flows.pictures.strips import strip
from flows.register import model_for
from loco.direction import Direction
from loco.errors import InputError
from loco.evidence import FIGURES, TRANSFER
from loco.files import write_atomic
from registry.registry import Registry

STEPS = 20
"""Solver steps that the levels are given for."""

CODE = Path(__file__).with_name("apply_direction.py")


def write_portable(
    registry: Registry, directions: Sequence[Direction], folder: Path, steps: int = STEPS
) -> list[Path]:
    """Write the directions, the code that adds them inside diffusers, and a card, to a folder; returns the files.

    Raises `InputError` for directions of several models or levels, and of models that the code does not know: it is
    for networks that see pixels and are told nothing but the time.
    """
    from safetensors.numpy import save

    if not directions:
        raise InputError("no direction to export; `loco directions list` shows those there are")
    facts = _facts(registry, directions, steps)
    vectors = dict(zip((one.id for one in directions), registry.vectors(directions), strict=True))
    files = {
        "directions.safetensors": save(vectors, {"loco": json.dumps(facts)}),
        "apply_direction.py": CODE.read_bytes(),
        **card(registry, directions),
    }
    for name, data in files.items():
        write_atomic(folder / name, data)
    return [folder / name for name in files]


def card(registry: Registry, directions: Sequence[Direction]) -> dict[str, bytes]:
    """A card in Markdown, README.md, and the pictures that it shows, by name."""
    beside = registry.beside(directions)
    labels = registry.labels()
    lines, files = ["# Edit directions", ""], dict[str, bytes]()
    for one in directions:
        told = beside.get(one.id, {})
        made, name = strip(registry, one), f"{one.id}.png"
        files[name] = made.data
        title = ", ".join(map(_plain, labels.get(one.id, ()))) or f"{_plain(one.roi)} {one.index + 1}"
        where = f"a dataset of {one.images} images" if one.scope == "dataset" else told.get("image_name")
        lines += [
            f"## {title}",
            "",
            f"![{made.alt}]({name})",
            "",
            f"Region {_plain(one.roi)}, found on {_plain(str(where or one.image_id[:12]))}, t {one.t:g} (training step "
            f"{one.step}), model {_plain(str(told.get('model_name') or one.model))}. Id `{one.id}`. Strength that "
            f"suits it: {recommended(registry, one):g}.",
            "",
            "| figure | value | what it means |",
            "|---|---|---|",
        ]
        for figure in (*FIGURES, *TRANSFER):
            value = told.get(figure.name, getattr(one, figure.name, None))
            if value is not None:
                shown = f"{value:.4g}" if isinstance(value, float) else value
                lines.append(f"| {figure.title} | {shown} | {figure.meaning} |")
        lines.append("")
    return {"README.md": ("\n".join(lines)).encode(), **files}


def _plain(text: str) -> str:
    """Text that means itself in Markdown."""
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]<>()#+!|" else letter for letter in text)


def _facts(registry: Registry, directions: Sequence[Direction], steps: int) -> dict[str, Any]:
    from flows.device.models import open_model

    first = directions[0]
    if any((one.model, one.t) != (first.model, first.t) for one in directions):
        raise InputError("directions of one model and noise level go together; choose with --model and --t")
    model = model_for(registry, first)
    if model.family != "unet2d" or model.prediction_type not in ("epsilon", "v_prediction", "sample"):
        raise InputError(
            f"model {model.name!r} is of family {model.family} and predicts {model.prediction_type}; the code for "
            f"diffusers adds directions to unet2d of epsilon, v_prediction or sample"
        )
    denoiser = open_model(model, "float32")
    levels = [
        {
            "signal": denoiser.schedule.signal(level),
            "noise": denoiser.schedule.noise(level),
            "time": float(denoiser.parametrisation.time(level)),
        }
        for level in denoiser.schedule.grid(first.t, steps)
    ]
    told = {
        one.id: {"roi": one.roi, "gain": one.gain, "strength": recommended(registry, one)}
        for one in directions
    }
    return {
        "prediction_type": model.prediction_type,
        "model": model.id,
        "t": first.t,
        "shape": list(first.shape),
        "levels": levels,
        "directions": told,
    }
