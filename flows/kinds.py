"""The kinds of jobs. A new one is a wing with a `Job`, what it is asked for in `jobs.py`, and a row here."""

from typing import Any

from flows.apply.job import Application
from flows.discover.across_job import Across
from flows.discover.job import Discovery
from flows.engine.job import Job
from flows.jobs import Asked
from flows.score.job import Scoring
from registry.home import Home

KINDS: dict[str, type[Any]] = {
    "discover": Discovery,
    "across": Across,
    "apply": Application,
    "score": Scoring,
}
"""Name -> a class of `Job`s, made of a home, a registry's URL and what is asked for."""


def job_of(home: Home, url: str | None, asked: Asked) -> Job[Any, Any]:
    """What was asked for, as a job of its kind."""
    job: Job[Any, Any] = KINDS[asked.kind](home, url, asked)
    return job
