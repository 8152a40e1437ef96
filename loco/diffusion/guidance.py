"""Guidance: denoisers made of denoisers.

eps, v and flow are affine in x0_hat with one factor for all conditions at a given x_t, so guidance is the same sum in
any of them. It is written in x0_hat here, where no factor can be forgotten:

    guided   x0 = x0(null) + scale (x0(c) - x0(null))          Ho & Salimans, arXiv 2207.12598; LOCO Edit, Eq. 3
    edited   f_e = f_o + scale (x0(c_e) - x0(null))            LOCO Edit, Eq. 12

With x0 = (x_t - n eps) / s the second reads f_e = f_o - scale (n / s) (eps(c_e) - eps(null)): the factor -n, which the
paper's print of Eq. 12 leaves out.
"""

from typing import Protocol, cast

from torch import Tensor

from loco.diffusion.codec import Codec, codec_of
from loco.diffusion.denoiser import Denoiser
from loco.errors import InputError
from loco.recipes import DiscoverRecipe, EditRecipe


class Promptable(Denoiser, Protocol):
    """A denoiser that can be told what to draw; as it is, it is told nothing."""

    def told(self, prompt: str) -> Denoiser:
        """The posterior mean under one prompt, unguided. Raises `InputError` for a prompt it does not know."""

    def led_from(self, negative: str) -> Denoiser:
        """The posterior mean under what guidance leads away from; raises likewise."""

    def prompted(self, prompt: str, guidance: float | None = None, negative: str = "") -> Denoiser:
        """The posterior mean guided towards `prompt`, away from `negative`; None for the family's usual scale."""


class Guided:
    """Classifier-free guidance: x0(null) + scale (x0(c) - x0(null))."""

    def __init__(self, null: Denoiser, conditioned: Denoiser, scale: float) -> None:
        self.name, self.shape, self.schedule = conditioned.name, conditioned.shape, conditioned.schedule
        self.codec: Codec = codec_of(conditioned)
        self.null, self.conditioned, self.scale = null, conditioned, scale

    def posterior_mean(self, x_t: Tensor, t: float) -> Tensor:
        """x0_hat [B, C, H, W] for x_t [B, C, H, W] at noise level t."""
        null = self.null.posterior_mean(x_t, t)
        return null + self.scale * (self.conditioned.posterior_mean(x_t, t) - null)


class Edited:
    """The posterior mean of an edit told in words: f_o + scale (x0(c_e) - x0(null))."""

    def __init__(self, original: Denoiser, null: Denoiser, towards: Denoiser, scale: float) -> None:
        self.name, self.shape, self.schedule = original.name, original.shape, original.schedule
        self.codec: Codec = codec_of(original)
        self.original, self.null, self.towards, self.scale = original, null, towards, scale

    def posterior_mean(self, x_t: Tensor, t: float) -> Tensor:
        """x0_hat [B, C, H, W] for x_t [B, C, H, W] at noise level t."""
        step = self.towards.posterior_mean(x_t, t) - self.null.posterior_mean(x_t, t)
        return self.original.posterior_mean(x_t, t) + self.scale * step


def under(denoiser: Denoiser, recipe: DiscoverRecipe | EditRecipe) -> Denoiser:
    """The denoiser as the recipe wants it: guided towards its prompt, or as it is where there is none.

    Raises `InputError` for a prompt where the model takes none.
    """
    if not recipe.prompt:
        return denoiser
    return _promptable(denoiser).prompted(recipe.prompt, recipe.guidance, recipe.negative)


def edited_under(denoiser: Denoiser, recipe: DiscoverRecipe) -> Denoiser | None:
    """f_e of the recipe's `edit_prompt`, or None where it has none; raises as `under` does."""
    if not recipe.edit_prompt:
        return None
    promptable = _promptable(denoiser)
    null, towards = promptable.led_from(recipe.negative), promptable.told(recipe.edit_prompt)
    return Edited(under(denoiser, recipe), null, towards, recipe.edit_guidance)


def _promptable(denoiser: Denoiser) -> Promptable:
    if not hasattr(denoiser, "prompted"):
        raise InputError(f"model {denoiser.name!r} takes no prompt; leave it out of the recipe")
    return cast(Promptable, denoiser)
