"""What people are told of a schedule."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.orchestration.schedule import Schedule


def facts(schedule: "Schedule") -> dict[str, object]:
    """Everything about a schedule, for people."""
    job = schedule.job
    return {
        "name": schedule.name,
        "when": schedule.when,
        "overlap": schedule.overlap,
        "model": job.model,
        "dataset": job.dataset,
        "regions": job.rois,
        "t": job.recipe.t,
        "runner": f"{job.runner}, {job.runner.workers} at a time",
    }
