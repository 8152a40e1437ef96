"""What `--dry-run` shows."""

from typing import TYPE_CHECKING

from cli.app import App

if TYPE_CHECKING:
    from flows.jobs import Asked

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def show_estimate(app: App, job: "Asked") -> None:
    """How much the job is, and how long it takes."""
    from cli.watch import duration
    from flows.start import estimate

    told = estimate(app.home, app.url, job)
    workers = f"{told.workers} worker{'s' if told.workers != 1 else ''}"
    unit = "images" if told.evaluations is None else "evaluations"
    facts: dict[str, object] = {"images": f"{told.images}, of which {told.known} are known"}
    if told.kind == "apply":
        facts["edits"] = told.edits
    if told.kind != "discover":
        facts["steps"] = "to be measured, and counted here as 20" if told.steps is None else told.steps
    facts["evaluations"] = (
        f"not known before a run of this model here; try --limit {min(4, told.images)}"
        if told.evaluations is None
        else f"{told.evaluations:,}, fewer where inverted images are in the cache"
        if told.kind != "discover" and told.evaluations
        else f"{told.evaluations:,}"
    )
    facts["bytes"] = "not known" if told.bytes is None else f"about {_size(told.bytes)}"
    facts["time"] = (
        f"not known before a run of this kind and model here; {workers}"
        if told.seconds is None
        else f"about {duration(told.seconds)} on {workers}"
    )
    if told.run is not None:
        facts["rate"] = f"{told.rate:g} {unit}/s a worker, as measured by run {told.run[:12]}"
    elif told.rate is not None:
        facts["rate"] = f"{told.rate:.3g} {unit}/s a worker, from the one that `loco model add` measured"
    app.show(told, facts)


def _size(count: float) -> str:
    """Bytes in a word: `12 kB`, `3.4 GB`."""
    for unit in _UNITS:
        if count < 1000 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
