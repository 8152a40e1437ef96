"""What numbers may be, in one table: recipes, model folders, jobs and options refuse what lies outside."""

import math
from dataclasses import dataclass

from loco.errors import InputError


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`; without an end that is `open`; whole ones only where `whole`."""

    low: float
    high: float
    whole: bool = False
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: object) -> bool:
        """Whether a value is such a number: no NaN, no text, no truth value."""
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or (self.whole and not isinstance(value, int))
        ):
            return False
        above = self.low < value if self.open_low else self.low <= value
        below = value < self.high if self.open_high else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        """As it stands in messages."""
        if self.whole:
            return f"be a whole number from {int(self.low)} to {int(self.high)}"
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"lie in {left}{self.low:.15g}, {self.high:.15g}{right}"


_SHARE = Range(0, 1, open_high=True)
_COUNT = 10**12

RANGES = {
    # Recipes
    "t": Range(0, 1, open_low=True, open_high=True),
    "steps": Range(1, 10_000, whole=True),
    "rank": Range(1, 10_000, whole=True),
    "null_rank": Range(0, 10_000, whole=True),
    "max_rounds": Range(1, 10_000, whole=True),
    "images_per_round": Range(0, 2**31 - 1, whole=True),
    "draws": Range(1, 1000, whole=True),
    "seed": Range(0, 2**63 - 1, whole=True),
    "tol": Range(0, 1, open_low=True, open_high=True),
    "min_retained": _SHARE,
    "null_energy": _SHARE,
    "min_effect": _SHARE,
    "feather": Range(0, 0.5),
    "ridge": Range(0, 1, open_low=True),
    "guidance": Range(-1000, 1000),
    "edit_guidance": Range(-1000, 1000),
    "strength": Range(-1e6, 1e6),
    # Jobs
    "limit": Range(1, _COUNT, whole=True),
    "workers": Range(1, 1024, whole=True),
    "shards": Range(1, 1_000_000, whole=True),
    "timeout": Range(0, 30 * 86400, open_low=True),
    "max_memory": Range(0, 2**16, open_low=True),
    # Model folders
    "num_train_timesteps": Range(1, 1_000_000, whole=True),
    "beta_start": Range(0, 1, open_high=True),
    "beta_end": Range(0, 1, open_low=True),
    "recommended_t": Range(0, 1, open_low=True, open_high=True),
    "sample_size": Range(1, 16_384, whole=True),
}
"""Name -> range. Seconds for `timeout`, GiB for `max_memory`, pixels or latent cells for `sample_size`."""


def refusal(name: str, value: object) -> str | None:
    """Why a value is not one of the numbers of that name, with the range; None for one that is."""
    one = RANGES[name]
    return None if one.holds(value) else f"{name} must {one}, found {value!r:.80}"


def check(name: str, value: object, where: str) -> None:
    """Refuse, with an `InputError`, a value outside the range of that name."""
    trouble = refusal(name, value)
    if trouble:
        raise InputError(f"{where}: {trouble}")
