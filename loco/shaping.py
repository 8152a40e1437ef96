"""From the singular vectors of a region and of its rest to a recipe's directions, and what is said of them."""

from collections.abc import Callable

import torch
from torch import Tensor

from loco.linalg.krylov import Triplets
from loco.linalg.projection import canonical_sign, constrained, project_out
from loco.recipes import DiscoverRecipe


def shaped(
    recipe: DiscoverRecipe,
    found: Triplets,
    rest: Triplets,
    basis: Tensor,
    grams: Callable[[], tuple[Tensor, Tensor]],
    *,
    told: bool,
) -> tuple[Tensor, Tensor]:
    """A region's directions [k, D], unit length and signed, and what the projection left of each [k].

    Args:
        recipe: Says the method.
        found, rest: The triplets of the region and of its rest.
        basis: Orthonormal rows Q of the space that they were found in; and
        grams: Q J'MJ Q' inside the region and outside, which only `constrained` asks for.
        told: Whether the directions are those of an edit told in words, which have a sign of their own.
    """
    null = rest.right[: _null_rank(rest, recipe.null_energy)]
    if recipe.method == "constrained" and not told and len(found.right):
        inside, outside = grams()
        top = float(torch.linalg.eigvalsh(outside)[-1])
        ridge = max(recipe.ridge * top, 1e-12 * float(found.values[0]) ** 2)
        vectors = constrained(basis, inside, outside, ridge, len(found.right))
        return canonical_sign(vectors), project_out(vectors, null).norm(dim=1).clamp_max(1)
    left = project_out(found.right, null)
    vectors = torch.nn.functional.normalize(left, dim=1)
    # Rounding may make a length exceed 1.
    return (vectors if told else canonical_sign(vectors)), left.norm(dim=1).clamp_max(1)


def _null_rank(rest: Triplets, energy: float) -> int:
    """How many of the complement's vectors are projected away: all, or as many as hold that much of its energy."""
    if not energy:
        return len(rest.values)
    held = rest.values.double().square().cumsum(0) / max(rest.energy, 1e-30)
    return min(int((held < energy).sum()) + 1, len(rest.values))


def nothing_left(retained: float, recipe: DiscoverRecipe) -> str:
    """Why a direction of which so little is left is refused."""
    return (
        f"only {retained:.3f} of it is left after the projection off the rest of the image "
        f"(min_retained is {recipe.min_retained}); try a smaller null_rank or another region"
    )


def leakage_of(response: Tensor, mask: Tensor) -> float | None:
    """RMS of J v over the rows outside, over its RMS inside; None where there is no outside."""
    if bool(mask.all()):
        return None
    inside = float(response[mask].double().pow(2).mean().sqrt())
    return float(response[~mask].double().pow(2).mean().sqrt()) / max(inside, 1e-30)
