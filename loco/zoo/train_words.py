"""Training of the small model that draws faces from words, saved in the format of DeepFloyd IF's first stage.

A pixel-space `UNet2DConditionModel` with the text encoder of T5, trained together on endless rendered faces and the
captions of `loco.zoo.words`; v-prediction under the cosine schedule, as `loco.zoo.train`. It starts from the embedded
unconditional network wherever their weights have the same shape. What is kept is the moving average.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from loco.files import filling
from loco.zoo.faces import render, sample_attributes
from loco.zoo.train import BLOCK, GROUPS, make_scheduler
from loco.zoo.words import LENGTH, captions, make_tokenizer

TEXT = 32
"""Width of the text encoder."""


@dataclass(frozen=True)
class WordsRecipe:
    """Everything that decides the trained weights, up to floating-point order.

    Attributes:
        size: Height and width of the images in pixels.
        channels: Width of the network at each resolution, finest first.
        seconds: Training time of the processor; the learning rate decays over its last part.
        batch: Images a step.
        rate: Peak learning rate of AdamW.
        ema: Decay of the moving average of the weights.
        seed: Seed of faces, captions, noise and initial weights.
    """

    size: int = 32
    channels: tuple[int, ...] = (24, 48, 96)
    seconds: float = 1200
    batch: int = 32
    rate: float = 1e-3
    ema: float = 0.998
    seed: int = 0


def make_network(recipe: WordsRecipe) -> UNet2DConditionModel:
    """The untrained network: words reach its coarsest resolution, and its embedding of the noise level."""
    plain = len(recipe.channels) - 1
    return UNet2DConditionModel(
        sample_size=recipe.size,
        in_channels=3,
        out_channels=3,
        block_out_channels=recipe.channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * plain + ("SimpleCrossAttnDownBlock2D",),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D",) + ("UpBlock2D",) * plain,
        attention_head_dim=32,
        norm_num_groups=GROUPS,
        cross_attention_dim=TEXT,
        encoder_hid_dim=TEXT,
        encoder_hid_dim_type="text_proj",
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
    )


def make_encoder(vocabulary: int) -> Any:
    """The untrained text encoder: one layer of T5."""
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=vocabulary,
            d_model=TEXT,
            d_kv=16,
            d_ff=64,
            num_layers=1,
            num_heads=2,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
            use_cache=False,
        )
    )


def warm_start(network: torch.nn.Module, weights: Path) -> int:
    """Copy the weights of the same name and shape from a safetensors file; returns how many tensors."""
    own, copied = network.state_dict(), 0
    # The coarsest resolutions differ; counted from the finest, the upward blocks are the same.
    shift = 1
    for name, tensor in load_file(weights).items():
        if name.startswith("up_blocks."):
            index, rest = name.removeprefix("up_blocks.").split(".", 1)
            name = f"up_blocks.{int(index) - shift}.{rest}"
        if name in own and own[name].shape == tensor.shape:
            own[name].copy_(tensor.float())
            copied += 1
    return copied


class _Both(torch.nn.Module):
    """The network and its text encoder as one set of weights."""

    def __init__(self, network: torch.nn.Module, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.network: Any = network
        self.encoder: Any = encoder

    def forward(self, x_t: torch.Tensor, step: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        words = self.encoder(ids, attention_mask=mask)[0]
        return self.network(x_t, step, encoder_hidden_states=words).sample


def train(
    recipe: WordsRecipe, folder: Path, start: Path | None, every: float = 120.0
) -> Iterator[dict[str, Any]]:
    """Train for the planned time; yields a line of the curve and writes the pipeline every so many seconds."""
    torch.manual_seed(recipe.seed)
    tokenizer = make_tokenizer()
    both = _Both(make_network(recipe), make_encoder(len(tokenizer)))
    if start is not None:
        warm_start(both.network, start)
    weights: list[torch.Tensor] = list(both.parameters())
    average = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.AdamW(weights, recipe.rate, betas=(0.9, 0.99), weight_decay=0.0)
    scheduler = make_scheduler()
    alpha_bar = scheduler.alphas_cumprod
    generator = torch.Generator().manual_seed(recipe.seed)
    rng = np.random.default_rng([recipe.seed, 77])
    images, losses = 0, []
    started = last = time.process_time()
    rows = sample_attributes(rng, 2 * BLOCK)
    pool, used = torch.from_numpy(render(rows, recipe.size)).permute(0, 3, 1, 2), 0
    while True:
        spent = time.process_time() - started
        done = min(1.0, spent / recipe.seconds)
        if used >= 4 * len(pool):
            rows = sample_attributes(rng, 2 * BLOCK)
            pool, used = torch.from_numpy(render(rows, recipe.size)).permute(0, 3, 1, 2), 0
        chosen = torch.randint(len(pool), (recipe.batch,), generator=generator)
        x0 = pool[chosen].float() / 127.5 - 1
        text = tokenizer(
            captions(rows[chosen.numpy()], rng), padding="max_length", max_length=LENGTH, return_tensors="pt"
        )
        level = torch.rand((recipe.batch, 3), generator=generator).median(1).values
        step = (level * len(alpha_bar)).long()
        noise = torch.randn(x0.shape, generator=generator)
        a = alpha_bar[step].view(-1, 1, 1, 1)
        x_t, target = a.sqrt() * x0 + (1 - a).sqrt() * noise, a.sqrt() * noise - (1 - a).sqrt() * x0
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * min(1.0, (images + recipe.batch) / 3000) * min(1.0, (1 - done) / 0.4)
        predicted = both(
            x_t.contiguous(memory_format=torch.channels_last), step, text["input_ids"], text["attention_mask"]
        )
        loss = (predicted - target).pow(2).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        with torch.no_grad():
            count = images // recipe.batch
            torch._foreach_lerp_(average, weights, 1 - min(recipe.ema, (1 + count) / (10 + count)))
        losses.append(loss.item())
        images += recipe.batch
        used += recipe.batch
        if time.process_time() - last > every or done >= 1:
            last = time.process_time()
            line = {
                "images": images,
                "seconds": round(last - started),
                "loss": round(sum(losses) / len(losses), 5),
            }
            losses.clear()
            card = {"recommended_t": 0.4, "training": {"recipe": asdict(recipe), **line}}
            with filling(folder) as beside:
                _export(recipe, both, average, tokenizer, scheduler, beside)
                (beside / "card.json").write_text(json.dumps(card, indent=1))
            yield line
        if done >= 1:
            return


def _export(
    recipe: WordsRecipe,
    both: _Both,
    average: list[torch.Tensor],
    tokenizer: Any,
    scheduler: Any,
    folder: Path,
) -> None:
    """Write the averaged weights as a folder of DeepFloyd IF's first stage, float16 safetensors."""
    copy = _Both(make_network(recipe), make_encoder(len(tokenizer)))
    with torch.no_grad():
        for weight, kept in zip(copy.parameters(), average, strict=True):
            weight.copy_(kept)
    copy.network.half().save_pretrained(str(folder / "unet"), safe_serialization=True)
    copy.encoder.half().save_pretrained(str(folder / "text_encoder"), safe_serialization=True)
    tokenizer.save_pretrained(str(folder / "tokenizer"))
    scheduler.save_pretrained(str(folder / "scheduler"))
    index = {
        "_class_name": "IFPipeline",
        "_diffusers_version": "0.42.1",
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
        "watermarker": [None, None],
        "scheduler": ["diffusers", "DDPMScheduler"],
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "T5Tokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=1) + "\n")
