"""How much memory one discovery takes, without the weights or the accelerator: counted, not measured.

    python benchmarks/memory.py            Stable Diffusion sizes, on torch's meta device; JSON on standard output
    python benchmarks/memory.py check      the same count on a small network, against the growth of the process

Networks of the published configurations are made without storage, f = decode(E[z0 | z_t]) is called once as discovery
calls it (plain attention, gradients wanted for the input only), and the bytes of every distinct tensor that is kept for
the backward pass are added up: the graph of one vector. A discovery that holds k vectors in its graph takes

    weights + k * graph + k * (the largest tensor of the pass, a few times).

Attention is what grows with the square of the image: plain, its scores and their softmax are kept in full.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from loco.models.network import differentiable, plain_attention

GB = 1e9
SD_BLOCKS = {
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
NETWORKS: dict[str, dict[str, Any]] = {
    "sd-1.5": {**SD_BLOCKS, "cross_attention_dim": 768, "attention_head_dim": 8},
    "sd-2.1-base": {
        **SD_BLOCKS,
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
}
DECODER = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}


class Kept:
    """Bytes of the distinct tensors that a graph keeps, weights left out."""

    def __init__(self, *networks: torch.nn.Module) -> None:
        # By storage: what is kept of a weight is often a transposed view of it.
        self.own = {
            weight.untyped_storage()._cdata for network in networks for weight in network.parameters()
        }
        self.seen: dict[int, Tensor] = {}
        self.bytes = self.largest = 0

    def pack(self, tensor: Tensor) -> Tensor:
        """Count one tensor that is kept."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self.own and storage._cdata not in self.seen:
            self.seen[storage._cdata] = tensor  # held, so that its number is not given to another
            self.bytes += storage.nbytes()
            self.largest = max(self.largest, storage.nbytes())
        return tensor


def graph(f: Callable[[Tensor], Tensor], x: Tensor, *networks: torch.nn.Module) -> Kept:
    """What the graph of f at x keeps."""
    kept = Kept(*networks)
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor), plain_attention():
        f(x.requires_grad_())
    return kept


def weights(*networks: torch.nn.Module) -> int:
    """Bytes of the weights."""
    return sum(weight.nbytes for network in networks for weight in network.parameters())


def stable_diffusion(name: str, side: int, dtype: torch.dtype) -> dict[str, object]:
    """One network of `NETWORKS` at an image of side x side, guided (two evaluations) and decoded."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.utils import logging

    logging.set_verbosity_error()
    with torch.device("meta"):
        unet = differentiable(UNet2DConditionModel(sample_size=side // 8, **NETWORKS[name])).to(dtype)
        decoder = differentiable(AutoencoderKL(**DECODER, latent_channels=4, sample_size=side)).to(dtype)
        for network in (unet, decoder):
            network.eval().requires_grad_(False)
        words = torch.zeros(1, 77, NETWORKS[name]["cross_attention_dim"], dtype=dtype)
        step = torch.tensor([500])
        latents = torch.zeros(1, 4, side // 8, side // 8, dtype=dtype)

        def posterior_mean(z: Tensor) -> Tensor:
            mean: Tensor = z - unet(z, step, encoder_hidden_states=words).sample
            return mean

        once = graph(posterior_mean, latents.clone(), unet)
        guided = graph(lambda z: posterior_mean(z) + posterior_mean(z), latents.clone(), unet)
        whole = graph(lambda z: decoder.decode(posterior_mean(z)).sample, latents.clone(), unet, decoder)
    encoder = 123_060_480 if name == "sd-1.5" else 340_387_840  # CLIP's text encoder, as published
    held = weights(unet, decoder) + encoder * latents.element_size()
    return {
        "model": name,
        "image": side,
        "dtype": str(dtype).removeprefix("torch."),
        "weights_gb": round(held / GB, 2),
        "graph_gb": round(once.bytes / GB, 2),
        "guided_graph_gb": round(guided.bytes / GB, 2),
        "decoded_graph_gb": round(whole.bytes / GB, 2),
        "largest_gb": round(whole.largest / GB, 2),
        "one_vector_cells_gb": round((held + once.bytes + 2 * once.largest) / GB, 1),
        "one_vector_pixels_gb": round((held + whole.bytes + 2 * whole.largest) / GB, 1),
        "one_vector_pixels_guided_gb": round((held + whole.bytes + once.bytes + 2 * whole.largest) / GB, 1),
    }


def check() -> dict[str, object]:
    """The count against the growth of this process, on a network of a twentieth of the width."""
    import psutil
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    small = {
        **SD_BLOCKS,
        "block_out_channels": (32, 64, 128, 128),
        "cross_attention_dim": 64,
        "attention_head_dim": 2,
    }
    unet = (
        differentiable(UNet2DConditionModel(sample_size=64, norm_num_groups=8, **small))
        .eval()
        .requires_grad_(False)
    )
    words, step = torch.zeros(1, 77, 64), torch.tensor([500])

    def f(z: Tensor) -> Tensor:
        out: Tensor = unet(z, step, encoder_hidden_states=words).sample
        return out

    with torch.no_grad(), plain_attention():
        f(torch.zeros(1, 4, 64, 64))  # what is set up once
    z = torch.zeros(1, 4, 64, 64)
    counted = graph(f, z.clone(), unet).bytes
    before = psutil.Process().memory_info().rss
    with plain_attention():
        held = f(z.requires_grad_())
    grown = psutil.Process().memory_info().rss - before
    return {"counted_mb": round(counted / 1e6), "grown_mb": round(grown / 1e6), "output": list(held.shape)}


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        print(json.dumps(check()))
    else:
        for name in NETWORKS:
            for side, dtype in ((512, torch.float32), (512, torch.float16), (256, torch.float32)):
                print(json.dumps(stable_diffusion(name, side, dtype)), flush=True)
