"""What an application makes of each image: its edits, by the directions' own figures and words."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flows.apply.edits import Edit, output_of
from flows.apply.strengths import Settled, levelled, settled
from flows.jobs import ApplyJob
from flows.outputs.forms import Form
from flows.register import model_for
from loco.direction import Direction
from loco.errors import InputError
from loco.models.family import is_latent
from loco.recipes import EditRecipe
from loco.rois.layouts import RoiSpec
from registry.records import ModelRecord, Transfer
from registry.registry import Registry


@dataclass(frozen=True)
class Plan:
    """What is made of each image, what is to be said of it, and the recommended strengths that were taken."""

    edits: tuple[Edit, ...]
    notes: list[str]
    suited: tuple[tuple[str, float], ...]


def plan_edits(registry: Registry, job: ApplyJob, steps: int) -> tuple[tuple[Edit, ...], list[str]]:
    """What is made of each image, in so many steps, and what is to be said of it; raises as `planned` does."""
    plan = planned(registry, job, steps)
    return plan.edits, plan.notes


def planned(registry: Registry, job: ApplyJob, steps: int) -> Plan:
    """What is made of each image, in so many steps; raises `InputError` for what cannot be."""
    against = tuple(registry.direction(name) for name in job.against)
    everything = [*directions_of(registry, job), *against]
    model = model_of(registry, everything)
    if job.confine is not None:
        RoiSpec.parse(job.confine)
    prompt, negative, guidance = _words(registry, job, everything)
    edits: list[Edit] = []
    warnings: list[str] = []
    known = registry.transfers(one.id for one in everything)
    sums, notes, suited = settled(registry, job, model, known)
    for one in sums:
        directions, weights = one.directions, one.weights
        for strength in one.strengths:
            as_it_is = job.beyond or job.unit == "sd"  # in sd it differs from image to image
            used = strength if as_it_is else _clipped(one, known, strength, warnings)
            levels = _levels(job, one)
            recipe = EditRecipe(
                t=max(levels),
                directions=tuple(
                    (each.id, weight * used) for each, weight in zip(directions, weights, strict=True)
                ),
                steps=steps,
                dtype=job.dtype,
                solver=job.solver,
                unit=job.unit,
                against=tuple(each.id for each in against),
                confine=job.confine,
                feather=0.0 if job.confine is None else job.feather,
                min_effect=job.min_effect,
                preview=job.preview,
                prompt=prompt,
                negative=negative,
                guidance=guidance,
                levels=levels,
            )
            title, found_at = one.label or label(directions, weights), tuple(each.t for each in directions)
            if recipe.levels and not one.label:
                title += "@" + "+".join(f"{level:g}" for level in recipe.levels)
            edits.append(
                Edit(recipe, weights, used, strength, title, found_at, _regions(registry, directions))
            )
    return Plan(tuple(edits), list(dict.fromkeys([*notes, *warnings])), suited)


def _regions(registry: Registry, directions: Sequence[Direction]) -> tuple[str, ...]:
    """Names of their regions, where masks say of all of them which images have them; else none."""
    for one in directions:
        basis = registry.basis(one.basis_id)
        source = next((roi.source for roi in basis.rois if roi.id == one.roi_id), "")
        if not source.startswith(_MASKS) and one.scope == "image":
            return ()
    return tuple(dict.fromkeys(one.roi for one in directions))


_MASKS = ("mask:", "labels:")
"""Beginnings of sources of regions that an image may lack, and of which its mask says so."""


def _words(
    registry: Registry, job: ApplyJob, directions: Sequence[Direction]
) -> tuple[str, str, float | None]:
    """Prompt, negative and guidance: the job's, or those under which the directions were found.

    Raises `InputError` when the job names none and the directions differ: all edits share a network pass.
    """
    if job.prompt:
        return job.prompt, job.negative, job.guidance
    if not any(one.prompt for one in directions):
        return "", job.negative, job.guidance
    recipes = [registry.basis(name).recipe for name in dict.fromkeys(one.basis_id for one in directions)]
    found = {(one.prompt, one.negative, one.guidance) for one in recipes}
    if len(found) > 1:
        told = " and ".join(sorted(repr(prompt) for prompt, _, _ in found))
        raise InputError(f"the directions were found under different words ({told}); say one with --prompt")
    return found.pop()


def _clipped(settled: Settled, known: Mapping[str, Transfer], strength: float, warnings: list[str]) -> float:
    """The strength, or the largest at which every direction is still in its range.

    That is the one that was measured over images (`Transfer.strength_most`), where it was, else the linear range where
    it was found. A direction of which not even the least strength that was tried is linear has no range to clip to, and
    a recommended strength is not clipped.
    """
    used = strength
    for place, (one, weight) in enumerate(zip(settled.directions, settled.weights, strict=True)):
        told = known.get(one.id)
        most = None if told is None else told.strength_most
        end = most or one.linear_range
        if end and place not in settled.suited and abs(weight * used) > end:
            used = math.copysign(end / abs(weight), strength)
            what = "what most images take, strengths up to" if most else "its linear range of"
            warnings.append(
                f"strength {strength:g} of {one.roi}-{one.id[:8]} is beyond {what} "
                f"{end:.3g}: {used:.3g} is applied; --beyond applies it as it is"
            )
    return used


def label(directions: Sequence[Direction], weights: Iterable[float]) -> str:
    """How the directions stand in file names: `mouth-1a2b3c4d`, joined by `+`, with weights other than 1."""
    parts = [
        f"{one.roi}-{one.id[:8]}" + (f"x{weight:g}" if weight != 1 else "")
        for one, weight in zip(directions, weights, strict=True)
    ]
    return "+".join(parts)


def directions_of(registry: Registry, job: ApplyJob) -> list[Direction]:
    """All directions of the job, one for each time it is named; raises `UnknownName`."""
    return [levelled(registry, name)[0] for mix in job.mixes for name, _ in mix.directions]


def model_of(registry: Registry, directions: list[Direction]) -> ModelRecord:
    """The one registered model that all the directions belong to; raises `InputError`."""
    first = directions[0]
    for other in directions[1:]:
        if other.model != first.model or other.shape != first.shape:
            raise InputError(
                f"direction {other.short} belongs to model {other.model[:12]} with shape {other.shape}, direction "
                f"{first.short} to model {first.model[:12]} with shape {first.shape}: only directions of one model "
                f"can be applied together"
            )
    model = model_for(registry, first)
    shown = (3, *first.shape[1:]) if first.shape[0] == 1 else first.shape  # grey is shown in three channels
    if model.shape != shown and not is_latent(model.family):
        raise InputError(
            f"direction {first.short} has shape {first.shape}, model {model.name!r} works at {model.shape}"
        )
    return model


def _levels(job: ApplyJob, one: Settled) -> tuple[float, ...]:
    """The noise level at which each direction is added: the one it is named with, else the job's, else its own.

    Raises `InputError` where they differ and what is asked for is of one level: sd, or a preview.
    """
    levels = tuple(
        (each.t if job.t is None else job.t) if level is None else level
        for each, level in zip(one.directions, one.levels, strict=True)
    )
    if len(set(levels)) > 1 and (job.unit == "sd" or job.preview):
        raise InputError(
            f"the directions are added at different t ({', '.join(f'{t:g}' for t in sorted(set(levels)))}), and "
            f"{'a preview' if job.preview else 'a strength in sd'} is of one: choose it with --t"
        )
    return levels


def check_names(edits: tuple[Edit, ...], form: Form) -> None:
    """Refuse edits of which two would be written to one file."""
    taken: dict[str, Edit] = {}
    for edit in edits:
        other = taken.setdefault(output_of("", edit, form), edit)
        if other is not edit:
            raise InputError(
                f"strengths {other.asked!r}, {edit.asked!r}: two of them would be written to one file "
                f"(*{output_of('', edit, form)}); leave one of them out"
            )
