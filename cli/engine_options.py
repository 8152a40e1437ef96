"""The options that every job takes: where to work, how long, how many failures. What they say goes to the engine."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cli.options import ranged
from flows.engine.options import Runner, Shard, allowed_failures

_Body = TypeVar("_Body", bound=Callable[..., Any])

WORK_OPTIONS = (
    click.option(
        "--runner",
        default="local",
        show_default=True,
        metavar="RUNNER",
        help="Where to work: local, processes, dask[:ADDRESS] or ray[:ADDRESS].",
    ),
    click.option(
        "--workers", type=ranged("workers"), metavar="N", help="Chunks at a time; default: 1 local, else 2."
    ),
    click.option(
        "--max-failures",
        metavar="N|P%",
        help="Stop when more items fail than N, or than P percent of all; default: go on to the end.",
    ),
    click.option(
        "--timeout",
        type=ranged("timeout"),
        metavar="S",
        help="Seconds that one image may take; default: 600, or more for a model that is slow here.",
    ),
    click.option(
        "--shard",
        metavar="I/N",
        help="Work on the I-th of N parts alone: N programs, each with a number of its own, do the whole.",
    ),
)


DRY_RUN = click.option(
    "--dry-run",
    is_flag=True,
    help="Only say how much it is and how long it takes; nothing is done or written.",
)
"""The option of those that run a job at once."""


def work_options(body: _Body) -> _Body:
    """The options that say how to work."""
    for option in reversed(WORK_OPTIONS):
        body = option(body)
    return body


def work_of(options: dict[str, Any]) -> dict[str, Any]:
    """What they say, taken out of `options`, as fields of a job; raises `InputError` for what is none."""
    runner, workers, most, timeout, shard = (
        options.pop(name) for name in ("runner", "workers", "max_failures", "timeout", "shard")
    )
    allowed_failures(most, 0)
    return {
        "runner": Runner.parse(runner, workers),
        "max_failures": most,
        "timeout": timeout,
        "shard": None if shard is None else Shard.parse(shard),
    }
