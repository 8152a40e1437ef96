"""Loading networks so that they can be differentiated, and the denoiser that they all become.

Only safetensors and JSON are read, by classes that the family names: nothing in a folder is executed or unpickled.
"""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from loco.diffusion.codec import Codec, Pixels
from loco.diffusion.denoiser import Denoiser
from loco.diffusion.guidance import Guided
from loco.errors import InputError, ModelError
from loco.models.card import ModelCard
from loco.models.parametrisation import Parametrisation

HALVES = (torch.bfloat16, torch.float16)

FAULTS = (
    *(OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError),
    AssertionError,
)
"""What the libraries raise of files that are not what they should be."""

Condition = dict[str, Tensor]
"""What a network is told, by argument name: one row each, [1, ...]; shared by all items of a batch."""

Run = Callable[[Tensor, Tensor, Condition], Tensor]
"""(input [B, C, H, W], time [B], condition with B rows) -> output [B, C or 2C, H, W]."""


@dataclass(frozen=True)
class Teller:
    """How a model is told things.

    Attributes:
        embed: From a prompt to a condition.
        guidance: The family's usual scale.
        distilled: For a network that has learnt guidance: (condition, scale) -> condition; else None.
        against: Likewise from a prompt to lead away from, where that is told otherwise; None for `embed`.
    """

    embed: Callable[[str], Condition]
    guidance: float
    distilled: Callable[[Condition, float], Condition] | None = None
    against: Callable[[str], Condition] | None = None


class NetworkDenoiser:
    """Posterior mean of a network under its parametrisation and one condition."""

    def __init__(
        self,
        card: ModelCard,
        network: torch.nn.Module,
        parametrisation: Parametrisation,
        run: Run,
        *,
        codec: Codec | None = None,
        teller: Teller | None = None,
        condition: Condition | None = None,
    ) -> None:
        self.name = card.folder.name
        self.card, self.network, self.run = card, network, run
        self.shape, self.schedule = card.shape, parametrisation.schedule
        self.prediction_type = card.prediction_type
        self.parametrisation, self.teller = parametrisation, teller
        self.codec: Codec = codec or Pixels(card.image_shape)
        self.condition = {} if condition is None else condition
        weight = next(network.parameters()).dtype
        self.rounding = weight if weight in HALVES else None
        self.attention: Callable[[], AbstractContextManager[None]] = plain_attention

    def posterior_mean(self, x_t: Tensor, t: float) -> Tensor:
        """x0_hat [B, C, H, W] for x_t [B, C, H, W] at noise level t; see `loco.diffusion.denoiser`."""
        time = self.parametrisation.time(t).to(x_t.device).expand(len(x_t))
        if time.is_floating_point():
            time = time.to(x_t.dtype)  # never to a half, in which step 873 is 872
        condition = {name: value.expand(len(x_t), *value.shape[1:]) for name, value in self.condition.items()}
        shown = self.parametrisation.network_input(x_t, t)
        if self.rounding is not None:
            shown = shown.to(self.rounding)
        with self.attention():
            output = self.run(shown, time, condition).to(x_t.dtype)
        # A network with learned variance appends it.
        return self.parametrisation.posterior_mean(x_t, output[:, : self.shape[0]], t)

    def told(self, prompt: str) -> "NetworkDenoiser":
        """The posterior mean under one prompt, unguided."""
        return self._with(self._teller().embed(prompt))

    def led_from(self, negative: str) -> "NetworkDenoiser":
        """The posterior mean under what guidance leads away from, which some models are told otherwise."""
        teller = self._teller()
        return self._with((teller.against or teller.embed)(negative))

    def prompted(self, prompt: str, guidance: float | None = None, negative: str = "") -> Denoiser:
        """The posterior mean guided towards `prompt`, away from `negative`; None for the family's usual scale."""
        teller = self._teller()
        scale = teller.guidance if guidance is None else guidance
        if teller.distilled is not None:
            if negative:
                raise InputError(
                    f"model {self.name!r} has learnt its guidance and takes no negative prompt; leave it out"
                )
            return self._with(teller.distilled(teller.embed(prompt), scale))
        conditioned = self.told(prompt)
        return conditioned if scale == 1 else Guided(self.led_from(negative), conditioned, scale)

    def _teller(self) -> Teller:
        if self.teller is None:
            raise InputError(
                f"model {self.name!r} takes no prompt: it draws whatever it was trained on; leave it out"
            )
        return self.teller

    def _with(self, condition: Condition) -> "NetworkDenoiser":
        told = NetworkDenoiser(
            self.card,
            self.network,
            self.parametrisation,
            self.run,
            codec=self.codec,
            teller=self.teller,
            condition=condition,
        )
        told.attention = self.attention
        return told


def plain_attention() -> AbstractContextManager[None]:
    """Attention in plain products: fused attention has no forward-mode derivative (pytorch issue 98164)."""
    context: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return context


def load_part(card: ModelCard, name: str, kind: str, dtype: torch.dtype, device: str) -> torch.nn.Module:
    """The part `name` of a model folder as the diffusers class `kind`, frozen, ready to be differentiated.

    Raises `ModelError` when its weights cannot be read or do not fit its configuration.
    """
    import diffusers

    # Without accelerate a network is first drawn at random, which takes time and the memory for both.
    options = {"torch_dtype": dtype, "low_cpu_mem_usage": find_spec("accelerate") is not None}
    return load_with(getattr(diffusers, kind), card, name, device, dtype, options)


def load_with(
    kind: Any,
    card: ModelCard,
    name: str,
    device: str,
    dtype: torch.dtype,
    options: dict[str, Any],
    fit: Callable[[set[str]], set[str]] | None = None,
) -> torch.nn.Module:
    """A part of a model folder by the class `kind`, frozen; `fit` takes out of the missing names what is no loss."""
    import diffusers
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    diffusers.utils.logging.set_verbosity_error()  # what it warns of is refused below
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of classes about their own parts
            network, loaded = kind.from_pretrained(
                str(card.place(name)),
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                variant=card.weights[name].variant,
                **options,
            )
    except (*FAULTS, SafetensorError, StrictDataclassError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"model folder {card.folder}: its weights cannot be loaded: {reason}") from error
    for what in ("missing", "unexpected"):  # only warned of, and what is missing is drawn at random
        names = set(loaded[f"{what}_keys"])
        names = fit(names) if fit is not None else names
        if names:
            few = ", ".join(sorted(names)[:5])
            raise ModelError(
                f"model folder {card.folder}: its weights do not fit its configuration: {what} {few}"
            )
    _adapt(card, name, network)
    ready: torch.nn.Module = differentiable(network).to(device).eval().requires_grad_(False)
    for weight in ready.parameters():  # some classes keep parts in float32 whatever they are asked for
        weight.data = weight.data.to(dtype)
    for place, buffer in ready.named_buffers():
        if buffer.is_floating_point() and not place.endswith("inv_freq"):  # places are never rounded
            buffer.data = buffer.data.to(dtype)
    return ready


def _adapt(card: ModelCard, name: str, network: Any) -> None:
    """Add the model's adapters to the weights of one part; raises `ModelError` for one that changes nothing."""
    loras = () if card.adapters is None else card.adapters.loras
    for one in loras:
        from loco.models.lora import fuse, parts_of

        main = name in ("unet", "transformer")
        fuse("" if main else name, network, one.file, one.scale, card.family)
        foreign = parts_of(one.file) - {"", *card.weights}
        if foreign:
            raise ModelError(
                f"adapter {one.file}: it changes {', '.join(sorted(foreign))}, which model folder {card.folder} does "
                f"not have"
            )


def differentiable(network: Any) -> Any:
    """Change what stands in the way of exact derivatives: fused attention, casts, strided normalisation."""
    from diffusers.models.attention_processor import (
        Attention,
        AttnAddedKVProcessor,
        AttnAddedKVProcessor2_0,
        AttnProcessor,
        AttnProcessor2_0,
    )

    for module in network.modules():
        if isinstance(module, Attention):
            if isinstance(module.processor, AttnAddedKVProcessor2_0):
                module.set_processor(AttnAddedKVProcessor())
            elif isinstance(module.processor, AttnProcessor2_0):
                module.set_processor(AttnProcessor())
            # "Upcast" means float32, which for a network in float64 would round the attention scores.
            module.upcast_attention = module.upcast_softmax = False
        elif isinstance(module, torch.nn.GroupNorm):
            # group_norm has no forward-mode derivative for an input that is not contiguous.
            module.register_forward_pre_hook(_contiguous)
    return network


def _contiguous(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(item.contiguous() for item in inputs)
