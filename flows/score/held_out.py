"""What follows a discovery across a dataset: how the directions found do on images that they were not found on."""

from dataclasses import fields
from typing import Any

from flows.jobs import AcrossJob, ScoreJob
from registry.files import manifests
from registry.home import Home
from registry.records import RunRecord
from registry.registry import Registry

HELD_OUT = 64
"""Images that directions are scored on."""

_SAME = ("runner", "max_failures", "timeout")


def scoring_of(home: Home, registry: Registry, job: AcrossJob, run: RunRecord) -> tuple[ScoreJob | None, str]:
    """The scores to make of what a run across a dataset found, and what is to be said of them; None for nothing.

    On the images behind the first `limit`, which nothing was found on; without such on those that were used.
    """
    lines = manifests.stream(manifests.manifest_path(home, run.id))
    bases = dict.fromkeys(line["basis_id"] for line in lines if line["kind"] == "basis")
    ids = tuple(one.id for basis_id in bases for one in registry.basis(basis_id).directions)
    if not ids:
        return None, ""
    count = registry.image_counts().get(job.dataset, 0)
    used = count if job.limit is None else min(job.limit, count)
    skip = used if used < count else 0
    limit = min(count, skip + HELD_OUT)
    same: dict[str, Any] = {one.name: getattr(job, one.name) for one in fields(job) if one.name in _SAME}
    scoring = ScoreJob(ids, job.dataset, steps=job.recipe.steps, limit=limit, skip=skip, **same)
    where = (
        f"{limit - skip} images that they were not found on" if skip else "the images that they were found on"
    )
    return scoring, f"scoring {len(ids)} directions on {where}"
