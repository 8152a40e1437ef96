"""Checkpoints of improved- and guided-diffusion U-Nets (ADM; also P2 weighting's) as `UNet2DModel` folders.

The layout (Dhariwal & Nichol, arXiv 2105.05233; Choi et al., arXiv 2204.00227) is read off the names and shapes of
the weights: width, depth, attention, learned variance, scale-shift normalisation, residual up- and downsampling. What
is not in them must be said: the image's size, the attention heads, and the noise schedule.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from loco.errors import InputError, ModelError
from loco.files import making
from loco.models.pickled import State, read_state

GROUPS = 32
"""Groups of every normalisation."""


@dataclass(frozen=True)
class Spoken:
    """What a checkpoint does not say of itself.

    Attributes:
        size: Height and width of the images in pixels.
        head_channels: Width of an attention head; None where `heads` are counted instead.
        heads: Number of attention heads; None where their width is given.
        new_order: Whether queries, keys and values come before heads in the weights (`use_new_attention_order`).
        schedule: `linear` or `cosine`.
        steps: Training steps.
        rescaled: Whether the network was told k * 1000 / steps at step k (`rescale_timesteps`, the default of improved
            diffusion); it matters where there are other than 1000 steps.
    """

    size: int = 256
    head_channels: int | None = 64
    heads: int | None = None
    new_order: bool = False
    schedule: str = "linear"
    steps: int = 1000
    rescaled: bool = True


def convert(source: Path, out: Path, spoken: Spoken) -> Path:
    """Write the checkpoint at `source` as a model folder `out`, whole or not at all.

    Raises `InputError` where `out` exists, `ModelError` for a file that is no such checkpoint or holds more.
    """
    if out.exists():
        raise InputError(f"{out} exists already; name a folder that does not")
    state = read_state(source)
    settings, renamed, several = translate(state, spoken, source)
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    try:
        network = UNet2DModel(**settings)
        network.load_state_dict(renamed)
        if several is not None:  # not a setting of UNet2DModel's: `loco.models.unet2d` minds it
            network.register_to_config(attention_heads=several)
    except (RuntimeError, ValueError, ZeroDivisionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"checkpoint {source}: its weights do not fit together: {reason}") from error
    beta = {"linear": "linear", "cosine": "squaredcos_cap_v2"}[spoken.schedule]
    scale = 1000 / spoken.steps
    scheduler = DDPMScheduler(
        num_train_timesteps=spoken.steps,
        beta_schedule=beta,
        beta_start=0.0001 * scale,
        beta_end=0.02 * scale,
        clip_sample=False,
        variance_type="learned_range" if settings["out_channels"] == 6 else "fixed_small",
    )
    if spoken.rescaled and spoken.steps != 1000:
        scheduler.register_to_config(rescale_timesteps=True)
    with making(out) as beside:
        DDPMPipeline(network, scheduler).save_pretrained(str(beside), safe_serialization=True)
        (beside / "card.json").write_text(json.dumps({"converted_from": source.name}, indent=1) + "\n")
    return out


def translate(state: State, spoken: Spoken, source: Path) -> tuple[dict[str, Any], State, int | None]:
    """The settings of the `UNet2DModel`, and its weights, of a checkpoint's weights.

    Third the number of attention heads, where it is the same at several widths: `UNet2DModel` counts by their width.
    """
    needed = (
        "time_embed.0.weight",
        "input_blocks.0.0.weight",
        "out.2.weight",
        "output_blocks.0.0.in_layers.0.weight",
    )
    missing = [name for name in needed if name not in state]
    if missing:
        raise ModelError(
            f"checkpoint {source}: expected the U-Net of guided or improved diffusion, found no {missing[0]}"
        )
    if "label_emb.weight" in state:
        raise ModelError(
            f"checkpoint {source}: expected an unconditional network, found one that takes class labels"
        )
    downs, ups = _count(state, "input_blocks"), _count(state, "output_blocks")
    # A level ends upwards where an output block holds a second residual block, or an upsampling.
    ends = [
        k
        for k in range(ups)
        if any(_has(state, f"output_blocks.{k}.{j}", "in_layers.0", "conv") for j in (1, 2))
    ]
    depth = ends[0] if ends else ups - 1
    if downs != ups or downs % (depth + 1) or depth < 1:
        raise ModelError(
            f"checkpoint {source}: expected as many blocks down as up, the same number at each level; "
            f"found {downs} and {ups}"
        )
    levels = downs // (depth + 1)
    first = [level * (depth + 1) + 1 for level in range(levels)]
    widths = [len(state[f"input_blocks.{k}.0.out_layers.0.weight"]) for k in first]
    attention = [f"input_blocks.{k}.1.qkv.weight" in state for k in first]
    residual = any(f"input_blocks.{k + depth}.0.in_layers.0.weight" in state for k in first[:-1])
    shifted = len(state["middle_block.0.emb_layers.1.weight"]) == 2 * widths[-1]
    head_width, several = _heads(state, spoken, source)
    plain_down, plain_up = (
        ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D") if residual else ("DownBlock2D", "UpBlock2D")
    )
    settings: dict[str, Any] = {
        "sample_size": spoken.size,
        "in_channels": state["input_blocks.0.0.weight"].shape[1],
        "out_channels": len(state["out.2.weight"]),
        "block_out_channels": tuple(widths),
        "layers_per_block": depth,
        "down_block_types": tuple("AttnDownBlock2D" if one else plain_down for one in attention),
        "up_block_types": tuple("AttnUpBlock2D" if one else plain_up for one in attention[::-1]),
        "downsample_type": "resnet" if residual else "conv",
        "upsample_type": "resnet" if residual else "conv",
        "attention_head_dim": head_width,
        "norm_num_groups": GROUPS,
        "attn_norm_num_groups": GROUPS,
        "resnet_time_scale_shift": "scale_shift" if shifted else "default",
        "time_embedding_dim": len(state["time_embed.0.weight"]),
    }
    if state["time_embed.0.weight"].shape[1] != widths[0]:
        raise ModelError(
            f"checkpoint {source}: its first level is not as wide as its clock ({widths[0]} and "
            f"{state['time_embed.0.weight'].shape[1]}), which UNet2DModel cannot be"
        )
    taken = _Renaming(state, head_width, several, spoken.new_order)
    taken.plain({"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2"})
    taken.plain({"input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out"})
    for level, start in enumerate(first):
        for layer in range(depth):
            taken.block(f"input_blocks.{start + layer}.0", f"down_blocks.{level}.resnets.{layer}")
            taken.attention(f"input_blocks.{start + layer}.1", f"down_blocks.{level}.attentions.{layer}")
        if level < levels - 1:
            taken.resampling(f"input_blocks.{start + depth}.0", f"down_blocks.{level}.downsamplers.0", "op")
    taken.block("middle_block.0", "mid_block.resnets.0")
    taken.attention("middle_block.1", "mid_block.attentions.0")
    taken.block("middle_block.2", "mid_block.resnets.1")
    for k in range(ups):
        level, layer = divmod(k, depth + 1)
        taken.block(f"output_blocks.{k}.0", f"up_blocks.{level}.resnets.{layer}")
        taken.attention(f"output_blocks.{k}.1", f"up_blocks.{level}.attentions.{layer}")
        if layer == depth and level < levels - 1:
            last = 2 if f"output_blocks.{k}.1.qkv.weight" in state else 1
            taken.resampling(f"output_blocks.{k}.{last}", f"up_blocks.{level}.upsamplers.0", "conv")
    left = sorted(set(state) - taken.used)
    if left:
        raise ModelError(
            f"checkpoint {source}: {len(left)} weights have no place in the U-Net, among them {left[0]}"
        )
    return settings, taken.renamed, several


def _count(state: State, name: str) -> int:
    return 1 + max(int(key.split(".")[1]) for key in state if key.startswith(f"{name}."))


def _has(state: State, prefix: str, *endings: str) -> bool:
    return any(f"{prefix}.{ending}.weight" in state for ending in endings)


def _heads(state: State, spoken: Spoken, source: Path) -> tuple[int, int | None]:
    """Width of an attention head, of which `UNet2DModel` has one for all levels; or a width of parts, and how many.

    With one number of heads at several widths the first is what divides them all, and the second that number.
    """
    widths = {len(tensor) // 3 for name, tensor in state.items() if name.endswith("qkv.weight")}
    if spoken.heads is not None:
        if any(width % spoken.heads for width in widths):
            raise ModelError(
                f"checkpoint {source}: attention of widths {sorted(widths)} does not split into {spoken.heads} heads"
            )
        found = {width // spoken.heads for width in widths}
        if not found:
            return 1, None
        return (found.pop(), None) if len(found) == 1 else (math.gcd(*widths), spoken.heads)
    width = spoken.head_channels or max(widths)
    if any(whole % width for whole in widths):
        raise ModelError(
            f"checkpoint {source}: attention of widths {sorted(widths)} does not split into heads of {width}; "
            f"say how wide or how many they are"
        )
    return width, None


class _Renaming:
    """Weights under their new names, and which of the old ones are used up."""

    def __init__(self, state: State, head: int, several: int | None, new_order: bool) -> None:
        self.state, self.head, self.several, self.new_order = state, head, several, new_order
        self.renamed: State = {}
        self.used: set[str] = set()

    def plain(
        self, names: dict[str, str], change: Callable[[Tensor], Tensor] = lambda tensor: tensor
    ) -> None:
        """Weight and bias of each old name, under its new one."""
        for old, new in names.items():
            for kind in ("weight", "bias"):
                if f"{old}.{kind}" in self.state:
                    self.used.add(f"{old}.{kind}")
                    self.renamed[f"{new}.{kind}"] = change(self.state[f"{old}.{kind}"]).float().contiguous()

    def block(self, old: str, new: str) -> None:
        """A residual block."""
        self.plain(
            {
                f"{old}.in_layers.0": f"{new}.norm1",
                f"{old}.in_layers.2": f"{new}.conv1",
                f"{old}.emb_layers.1": f"{new}.time_emb_proj",
                f"{old}.out_layers.0": f"{new}.norm2",
                f"{old}.out_layers.3": f"{new}.conv2",
                f"{old}.skip_connection": f"{new}.conv_shortcut",
            }
        )

    def resampling(self, old: str, new: str, inner: str) -> None:
        """A residual block that resamples, or a convolution that does."""
        if f"{old}.in_layers.0.weight" in self.state:
            self.block(old, new)
        else:
            self.plain({f"{old}.{inner}": f"{new}.conv"})

    def attention(self, old: str, new: str) -> None:
        """An attention block, where there is one: one convolution becomes three linear maps."""
        if f"{old}.qkv.weight" not in self.state:
            return
        self.plain({f"{old}.norm": f"{new}.group_norm"})
        self.plain({f"{old}.proj_out": f"{new}.to_out.0"}, lambda tensor: tensor.squeeze(-1))
        for kind in ("weight", "bias"):
            self.used.add(f"{old}.qkv.{kind}")
            tensor = (
                self.state[f"{old}.qkv.{kind}"].squeeze(-1)
                if kind == "weight"
                else self.state[f"{old}.qkv.{kind}"]
            )
            if self.new_order:  # all queries, all keys, all values
                parts = tensor.chunk(3)
            else:  # head by head: its queries, keys and values
                head = self.head if self.several is None else len(tensor) // 3 // self.several
                by_head = tensor.reshape(-1, 3, head, *tensor.shape[1:])
                parts = tuple(part.reshape(-1, *tensor.shape[1:]) for part in by_head.unbind(1))
            for name, part in zip(("to_q", "to_k", "to_v"), parts, strict=True):
                self.renamed[f"{new}.{name}.{kind}"] = part.float().contiguous()
