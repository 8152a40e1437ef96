"""Images drawn by a registered model from seeds: where there are no images to begin with."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from flows.engine.watch import Watch
from loco.files import write_atomic
from loco.recipes import DiscoverRecipe
from registry.records import ModelRecord


def draw(
    record: ModelRecord, words: DiscoverRecipe, out: Path, seeds: Sequence[int], steps: int, watch: Watch
) -> Iterator[Path]:
    """One PNG a seed, `OUT/00000.png` and so on; the same seed and words give the same image.

    Raises `InputError` for words where the model takes none, `StorageError` for a bad disk.
    """
    import numpy as np
    import torch

    from flows.device.models import device, open_model
    from loco.diffusion.codec import codec_of
    from loco.diffusion.guidance import under
    from loco.diffusion.sampling import sample_from
    from loco.images import encode

    denoiser = under(open_model(record, "float32"), words)
    watch.total(len(seeds))
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        # Pure noise, at the length that it has where the path begins.
        noise = torch.randn((1, *denoiser.shape), generator=generator) * denoiser.schedule.noise(1)
        with torch.no_grad():
            x0 = sample_from(denoiser, noise.to(device()), 1.0, 0.0, steps)
            image = codec_of(denoiser).decode(x0)[0].clamp(-1, 1).cpu().numpy()
        pixels = np.round((np.moveaxis(image, 0, 2) + 1) * 127.5).astype(np.uint8)
        path = out / f"{seed:05}.png"
        write_atomic(path, encode(pixels, "png"))
        watch.advance(1)
        yield path
