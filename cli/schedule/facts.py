"""What people are told of a schedule."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.jobs import Asked
    from flows.schedules.schedule import Schedule


def facts(schedule: "Schedule") -> dict[str, object]:
    """Everything about a schedule, for people."""
    job = schedule.job
    return {
        "name": schedule.name,
        "when": schedule.when,
        "overlap": schedule.overlap,
        **asked_for(job),
        "runner": f"{job.runner}, {job.runner.workers} at a time",
    }


def asked_for(job: "Asked") -> dict[str, object]:
    """What the job is, for people."""
    from flows.jobs import ApplyJob, DiscoverJob

    match job:
        case DiscoverJob():
            return {"model": job.model, "dataset": job.dataset, "regions": job.rois, "t": job.recipe.t}
        case ApplyJob():
            edits = [
                name if weight is None else f"{name}:{weight:g}"
                for mix in job.mixes
                for name, weight in mix.directions
            ]
            return {"images": job.dataset or job.images, "directions": edits, "out": job.out}
        case _:
            return {"dataset": job.dataset, "directions": job.directions}
