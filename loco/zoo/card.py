"""The card of an embedded model: `card.json` for programs, `README.md` and `curve.png` for people."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from loco.files import write_atomic
from loco.models.card import CARD, WEIGHTS, read_card
from loco.zoo.faces import FACES
from loco.zoo.subject import Subject
from loco.zoo.subjects import subject_of

README = "README.md"
PLOT = "curve.png"

PAPER_RANK_RATIO = 0.10
"""What LOCO Edit reports as the order of its models' rank ratio in the middle of the schedule."""

PAPER_LEVELS = (0.007, 0.1)
"""alpha_bar of the levels at which it edits, t = 0.5 to 0.7 of a linear schedule, about."""

_SIZE = (640, 360)
_FRAME = (64, 16, 600, 308)
_COLOURS = ((31, 119, 180), (214, 108, 20), (44, 140, 60))
_STEPS = (500, 600, 700)


def write_card(
    folder: Path, training: Mapping[str, Any], figures: Mapping[str, Any], recommended_t: float | None
) -> None:
    """Write the card of the pipeline in `folder`, each file whole or not at all.

    Args:
        folder: A diffusers pipeline folder.
        training: As `loco.zoo.train.training_facts` gives it; may be empty.
        figures: As `loco.zoo.report.report` gives them; may be empty.
        recommended_t: Noise level to edit at, None where it is not known.

    Raises `ModelError` when the folder is not a pipeline, `ValueError` for NaN or infinity among the figures.
    """
    model = read_card(folder)
    card = {"recommended_t": recommended_t, "training": dict(training), "figures": dict(figures)}
    text = json.dumps(card, indent=1, allow_nan=False) + "\n"
    network = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
    curve = training.get("curve") or []
    if curve:
        write_atomic(folder / PLOT, draw_curve(curve))
    else:
        (folder / PLOT).unlink(missing_ok=True)
    facts = {
        "family": "UNet2DModel",
        "image size": f"{model.shape[2]} x {model.shape[1]}, RGB in [-1, 1]",
        "channels by resolution": ", ".join(map(str, network["block_out_channels"])),
        "blocks a resolution": network["layers_per_block"],
        "attention": "at the coarsest resolution",
        "parameters": _number(figures.get("parameters")),
        "weights": f"{(folder / 'unet' / WEIGHTS).stat().st_size / 1e6:.1f} MB, safetensors",
        "predicts": model.prediction_type,
        "noise schedule": f"{model.schedule}, {model.train_steps} steps",
    }
    write_atomic(folder / README, _readme(folder.name, facts, training, figures, recommended_t).encode())
    write_atomic(folder / CARD, text.encode())


def draw_curve(curve: Sequence[Mapping[str, Any]]) -> bytes:
    """A PNG of the explained variance over the images seen, one line for each training step."""
    image = Image.new("RGB", _SIZE, "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=12)
    left, top, right, bottom = _FRAME
    images = [float(line["images"]) for line in curve]
    values = [[float(value) for value in line["explained"]] for line in curve]
    low = min(0.0, min(min(row) for row in values))
    span, most = 1 - low, max(images) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * x / most, bottom - (bottom - top) * (y - low) / span

    for tick in (0, 0.25, 0.5, 0.75, 1):
        _, y = place(0, low + span * tick)
        draw.line((left, y, right, y), fill=(225, 225, 225))
        draw.text((left - 8, y), f"{low + span * tick:.2f}", fill="black", font=font, anchor="rm")
        x, _ = place(most * tick, 0)
        draw.text((x, bottom + 8), f"{most * tick:,.0f}", fill="black", font=font, anchor="mt")
    draw.line((left, top, left, bottom, right, bottom), fill="black")
    for i, (colour, step) in enumerate(zip(_COLOURS, _STEPS, strict=True)):
        points = [place(x, row[i]) for x, row in zip(images, values, strict=True)]
        draw.line(points, fill=colour, width=2)
        for x, y in points:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)
        draw.text((right - 8, bottom - 20 * (3 - i)), f"step {step}", fill=colour, font=font, anchor="rm")
    title = "explained variance of held-out images over training images"
    draw.text(((left + right) / 2, _SIZE[1] - 10), title, fill="black", font=font, anchor="mb")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _readme(
    name: str,
    facts: Mapping[str, Any],
    training: Mapping[str, Any],
    figures: Mapping[str, Any],
    recommended_t: float | None,
) -> str:
    subject = subject_of(training)
    level = "not measured yet" if recommended_t is None else f"**{recommended_t:g}**"
    parts = [
        f"# {name}",
        f"A small unconditional diffusion model of rendered {subject.name}. It lets every command be tried, and the "
        "method be tested against exact region masks, without a download and on a CPU.",
        f"Recommended noise level t: {level}.",
        "## Data",
        f"{subject.about} Training draws fresh ones all the time; the figures below are on {subject.name} of another "
        "seed.",
        "## Architecture",
        _table(("", ""), facts.items()),
        "## Training",
        _training(training),
    ]
    if training.get("curve"):
        parts.append(f"![Explained variance of held-out images over training images]({PLOT})")
    parts += ["## Figures", _figures(subject, figures), "## Intended use", _use(subject), "## Limits"]
    parts.append(_limits(subject, figures))
    return "\n\n".join(part for part in parts if part) + "\n"


def _use(subject: Subject) -> str:
    people = "Nothing learned here about faces holds for people, and it" if subject is FACES else "It"
    return (
        "Demonstrations, tests and teaching of local edits by LOCO Edit (arXiv 2409.02374). "
        f"{people} is no generator of pictures to publish."
    )


def _limits(subject: Subject, figures: Mapping[str, Any]) -> str:
    lines = [
        f"- Toy {subject.name} at a toy resolution: a {subject.typical[0]} is a few pixels high, and one pixel of "
        "spill shows.",
        "- What an edit can do is what the renderer's attributes do; there is nothing else in the data.",
        f"- Directions are found on one image; on {subject.name} that lack the feature they change little.",
    ]
    ratio = figures.get("rank_ratio")
    if ratio is not None:
        compared = "higher than" if ratio > 1.05 * PAPER_RANK_RATIO else "within"
        lines.insert(
            2,
            f"- The rank ratio of its Jacobian at an inverted image is {ratio:.2f}, {compared} the order of "
            f"{PAPER_RANK_RATIO:.2f} that LOCO Edit reports for its models.{_at_the_papers_levels(figures)} The ratio "
            "is relative to the number of pixels: a small image has few of them, so it is no evidence about large "
            "models either way.",
        )
    skew = figures.get("asymmetry")
    if skew is not None:
        lines.insert(
            2,
            "- A small network is no exact posterior mean: the Jacobian of one is symmetric, the asymmetry of this one "
            f"is {skew:.2f}. What it adds to the images' own few directions is a long tail of small ones.",
        )
    return "\n".join(lines)


def _at_the_papers_levels(figures: Mapping[str, Any]) -> str:
    """What of the figures is to be compared with the paper's: points with fresh noise, at its levels."""
    low, high = PAPER_LEVELS
    noised = [row for row in figures.get("noised") or () if low <= row["alpha_bar"] <= high]
    if not noised:
        return ""
    ratios = " and ".join(f"{row['rank_ratio']:.3f}" for row in noised)
    at = " and ".join(f"{row['t']:g}" for row in noised)
    below = max(row["rank_ratio"] for row in noised) < PAPER_RANK_RATIO
    return (
        " The paper takes it at points with fresh noise, and edits at alpha_bar of about 0.1 to 0.007, where little of "
        f"the image is left: there it is {ratios} (t = {at}), {'below' if below else 'not below'} that. The noise of "
        "an inverted image is smaller than what the network learnt."
    )


def _noised(figures: Mapping[str, Any]) -> str:
    """The Jacobian at points with fresh noise, by level."""
    rows = figures.get("noised") or []
    if not rows:
        return ""
    head = ("t", "alpha_bar", "log SNR", "rank ratio", "energy in the top 20", "trace over size", "asymmetry")
    names = ("t", "alpha_bar", "log_snr", "rank_ratio", "energy_top_20", "trace", "asymmetry")
    cells = [tuple(_short(row.get(name)) for name in names) for row in rows]
    return (
        f"The Jacobian where LOCO Edit takes it, at images with fresh noise (on {figures['dense_faces']}); the table "
        "above has it at inverted images, where edits start.\n\n" + _table(head, cells)
    )


def _training(training: Mapping[str, Any]) -> str:
    if not training:
        return "Not recorded."
    recipe = training.get("recipe") or {}
    seconds = training.get("seconds")
    rows: list[tuple[str, Any]] = [
        ("images seen", _number(training.get("images"))),
        ("optimiser steps", _number(training.get("steps"))),
        ("time", None if seconds is None else f"{seconds / 60:.0f} minutes"),
        ("device", training.get("device")),
        *((f"recipe: {key}", value) for key, value in recipe.items()),
    ]
    return (
        "AdamW on the v-prediction loss, training steps from Beta(2, 2), moving average of the weights "
        "(`loco/zoo/train.py`).\n\n" + _table(("", ""), rows)
    )


def _figures(subject: Subject, figures: Mapping[str, Any]) -> str:
    if not figures:
        return "Not measured yet: `loco zoo report --write-card` does."
    variance = figures["explained_variance"]
    psnr = figures["reconstruction_psnr_db"]
    of_many = next(key for key in variance if key != "steps")
    rows: list[tuple[str, Any]] = [
        (
            f"PSNR after inversion to t and back, {psnr['steps']} steps each way (mean, worst image)",
            f"{_short(psnr['mean'])} dB, {_short(psnr['min'])} dB",
        ),
        *(
            (f"explained variance at training step {step}", _short(value))
            for step, value in zip(variance["steps"], variance[of_many], strict=True)
        ),
        ("rank ratio of the Jacobian (LOCO Edit, Eq. 10)", _short(figures.get("rank_ratio"))),
        ("energy in the 20 largest singular values", _short(figures.get("energy_top_20"))),
        ("asymmetry of the Jacobian (0 is exact)", _short(figures.get("asymmetry"))),
    ]
    edits: list[tuple[Any, ...]] = [
        (
            roi,
            strength,
            _short(line["cosine"]["median"]),
            _short(line["cosine"]["min"]),
            _short(line["norm_ratio"]["median"]),
            _short(figures["locality"][roi][strength]),
        )
        for roi, lines in figures["linearity"].items()
        for strength, line in lines.items()
    ]
    head = ("region", "strength", "cosine, median", "cosine, least", "norm ratio, median", "locality, median")
    where = (
        f"On {figures['faces']} held-out {subject.name} (seed {figures['seed']}) at t = {figures['t']:g}, "
        f"training step {figures['step']}, alpha_bar {figures['alpha_bar']:.3f}"
        + (f"; the Jacobian's on {figures['dense_faces']}." if figures["dense_faces"] else ".")
    )
    legend = (
        "Cosine: between the posterior mean's change and the one that its Jacobian predicts. Norm ratio: of the two "
        "posterior means. Locality: mean squared change per pixel of the sampled image, inside the region over "
        "outside. The directions are the first three of each region."
    )
    parts = (where, _table(("figure", "value"), rows), _noised(figures), legend, _table(head, edits))
    return "\n\n".join(part for part in parts if part)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _number(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
