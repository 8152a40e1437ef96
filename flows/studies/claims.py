"""The paper's own claims, asked of the model that is evaluated: each image is a part that is measured once.

What is measured, and how it is judged, stands in `loco.evaluation.claimed` and `loco.evaluation.claims`.
"""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from flows.engine.watch import Watch
from flows.studies.images import Looked
from flows.studies.parts import keep, kept
from loco.evaluation.claims import Bars
from loco.ids import content_id

VERSION = 2
"""Of what is measured; grows with every change of it."""

OTHERS = 3
"""Images that each image's directions are tried on, as in the paper (Section G.2)."""

LACKING = 8
"""Images without the feature, and the same with it."""

SEED = 2**22 + 29
"""Of faces without hair and the same with it, which nothing was trained on."""

FEATURE = "hair"


def claims_of(bench: Any, bars: Bars, out: Path, watch: Watch) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The answers as plain data, and the rows that they are made of.

    Args:
        bench: What `flows.studies.evaluate` prepares.
        bars: Sizes and bars.
        out: Folder of the results, whose parts/ keeps what is measured so far.
        watch: Told of each image.
    """
    from loco.evaluation.claimed import measured
    from loco.evaluation.claims import answers, verdict

    asked = _asked(bench, bars)
    count = min(bars.images, len(bench.sources))
    every = [*bench.sources, *bench.held_out]
    made_of = [
        VERSION,
        bench.model.id,
        bench.recipe,
        bench.job.protocol.plain(),
        bars.plain(),
        None if bench.judge is None else bench.judge.id,
        [one.id for one in every],
        [[roi.id for roi in one.rois] for one in every],
    ]
    watch.total(count)
    lacking = _lacking(bench)
    rows: list[dict[str, Any]] = []
    for k in range(count):
        path = out / "parts" / f"{content_id('claims', [*made_of, k])}.json"
        found = kept(path, _are_rows, watch)
        if found is None:
            watch.say(f"the paper's claims: image {k + 1} of {count}")
            face = _face(bench, k, held_out=False)
            spare = len(bench.held_out)
            others = [
                _face(bench, (OTHERS * k + one) % spare, held_out=True) for one in range(min(OTHERS, spare))
            ]
            found = keep(path, measured(asked, face, others, lacking, dense=k < bars.dense))
        rows += found
        watch.advance()
    found_of = answers(rows, bars)
    claims = dict.fromkeys(one.question.claim for one in found_of)
    return {
        "bars": bars.plain(),
        "images": count,
        "claims": [
            {
                "claim": claim,
                "holds": verdict(claim, found_of),
                "answers": [one.plain() for one in found_of if one.question.claim == claim],
            }
            for claim in claims
        ],
    }, rows


def _are_rows(found: Any) -> bool:
    """Whether it looks like what is measured of an image."""
    names = {"figure", "setting", "image", "value", "asked"}
    return isinstance(found, list) and all(isinstance(one, dict) and names <= set(one) for one in found)


def _asked(bench: Any, bars: Bars) -> Any:
    import numpy as np

    from loco.evaluation.claimed import Asked

    protocol = bench.job.protocol
    every = readings_of(bench, [*bench.sources, *bench.held_out])
    spread = np.maximum(every.std(axis=0), 1e-6) if every is not None else np.ones(0, np.float32)
    return Asked(
        bench.denoiser,
        bench.judge,
        spread,
        spread if bench.errors is None else bench.errors,
        {roi: [bench.names.index(one) for one in own] for roi, own in bench.things.items()},
        bench.recipe,
        bars,
        protocol.steps,
        protocol.target,
        protocol.longest,
        protocol.transfer_cosine,
        protocol.transfer_reached,
    )


def readings_of(bench: Any, looked: Sequence[Looked]) -> Any:
    """The judge's readings of images as they are, [n, N]; None without a judge."""
    import torch

    from flows.device.models import device

    if bench.judge is None:
        return None
    pixels = torch.stack([torch.from_numpy(one.pixels) for one in looked]).to(device())
    with torch.no_grad():
        return torch.cat([bench.judge(part) for part in torch.split(pixels, 64)]).float().cpu().numpy()


def _face(bench: Any, k: int, *, held_out: bool) -> Any:
    import torch

    from loco.evaluation.claimed import Face

    looked = (bench.held_out if held_out else bench.sources)[k]
    path = bench.held_path if held_out else bench.source_path
    pixels = torch.from_numpy(looked.pixels)[None].to(path.points)
    return Face(looked.id, pixels, path[k : k + 1], tuple(looked.rois))


def _lacking(bench: Any) -> Callable[[], tuple[str, Any, Any]] | None:
    """Faces without hair and the same with it, inverted; None where no renderer draws them or hair is not asked for."""
    if bench.job.dataset is not None or FEATURE not in bench.job.rois:
        return None

    @cache
    def inverted() -> tuple[str, Any, Any]:
        import torch

        from flows.device.models import device
        from loco.diffusion.codec import codec_of
        from loco.images import to_model
        from loco.inversion import invert
        from loco.zoo.faces import BALD, FACES

        size = codec_of(bench.denoiser).image_shape[1:]
        paths = []
        for subject in (BALD, FACES):
            images = subject.scenes(SEED, LACKING, size[0]).images
            pixels = torch.stack([torch.from_numpy(to_model(one, size)) for one in images])
            paths.append(
                invert(bench.denoiser, pixels.to(device()), bench.recipe.t, bench.job.protocol.steps)
            )
        return FEATURE, paths[0], paths[1]

    return inverted


def with_identity(rows: list[dict[str, Any]], bench: Any) -> None:
    """Give each edit's row its identity, in place; None without a judge, or where no thing is known as the region's."""
    import numpy as np

    from loco.evaluation.identity import columns, identities

    readings = readings_of(bench, [*bench.sources, *bench.held_out])
    for roi in dict.fromkeys(str(row["roi"]) for row in rows):
        mine = [row for row in rows if row["roi"] == roi]
        own = columns(bench.names, bench.things, roi)
        if readings is None or not own:
            values: list[float | None] = [None] * len(mine)
        else:
            meanings = np.array([row["meaning"] for row in mine])
            values = [round(float(one), 4) for one in identities(meanings, own, readings)]
        for row, value in zip(mine, values, strict=True):
            row["identity"] = value
