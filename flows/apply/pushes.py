"""The displacements of edits as the network sees them: each weighted sum of directions once."""

from collections.abc import Sequence
from typing import Any

import torch

from flows.apply.batches import Push
from flows.apply.edits import Edit
from loco.edit import orthogonalise, staged
from registry.registry import Registry


def pushes_of(
    registry: Registry, edits: Sequence[Edit], device: str, dtype: torch.dtype
) -> tuple[tuple[Push, ...], tuple[int, ...]]:
    """The sums of all edits, and which of them each edit applies."""
    sums: dict[tuple[Any, ...], int] = {}
    pushes: list[Push] = []
    which: list[int] = []
    for edit in edits:
        ids = tuple(name for name, _ in edit.recipe.directions)
        key = (ids, edit.weights, edit.recipe.against, edit.recipe.levels)
        if key not in sums:
            directions = [registry.direction(name) for name in ids]
            vectors = torch.from_numpy(registry.vectors(directions)).to(device, dtype)
            if edit.recipe.against:
                others = registry.vectors([registry.direction(one) for one in edit.recipe.against])
                vectors, _ = orthogonalise(vectors, torch.from_numpy(others).to(device, dtype))
            added, later = staged(vectors, edit.weights, edit.recipe)
            length = float(added.norm())
            promised = sum((w * one.gain) ** 2 for w, one in zip(edit.weights, directions, strict=True))
            sums[key] = len(pushes)
            pushes.append(
                Push(
                    added / length if length else added,
                    length,
                    promised**0.5 / length if length else 0.0,
                    sum(one.roi_area for one in directions) / len(directions),
                    later,
                )
            )
        which.append(sums[key])
    return tuple(pushes), tuple(which)
