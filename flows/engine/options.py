"""What every job may be told besides what it is: where to work, and how many items may fail."""

import math
import re
from dataclasses import dataclass

from loco.errors import InputError
from loco.ranges import check

RUNNERS = ("local", "processes", "dask", "ray")
"""Where chunks are worked on: in the flow's own process, in others beside it, on a Dask or a Ray cluster."""


@dataclass(frozen=True)
class Runner:
    """Where chunks are worked on.

    Attributes:
        kind: One of `RUNNERS`.
        workers: Chunks at a time.
        address: Of a running Dask or Ray cluster; empty for one that is started for the run.
    """

    kind: str = "local"
    workers: int = 1
    address: str = ""

    def __post_init__(self) -> None:
        """Refuse a number of workers outside its range."""
        check("workers", self.workers, "runner")

    @classmethod
    def parse(cls, text: str, workers: int | None = None) -> "Runner":
        """Read `local`, `processes`, `dask[:ADDRESS]` or `ray[:ADDRESS]`; raises `InputError` for all else.

        Without `workers`, one accelerator's worth: one process for each visible GPU, two on a machine without.
        """
        kind, _, address = text.partition(":")
        if kind not in RUNNERS or (address and kind not in ("dask", "ray")):
            raise InputError(
                f"runner: expected local, processes, dask[:ADDRESS] or ray[:ADDRESS], found {text!r}"
            )
        if kind == "local":
            if workers not in (None, 1):
                raise InputError(
                    f"runner: local works on one chunk at a time, found {workers} workers; "
                    "use --runner processes"
                )
            return cls()
        return cls(kind, 2 if workers is None else workers, address)

    def __str__(self) -> str:
        """The text that `parse` reads back, without the number of workers."""
        return f"{self.kind}:{self.address}" if self.address else self.kind


LOCAL = Runner()
"""One chunk at a time, in the flow's own process."""


def allowed_failures(text: str | None, planned: int) -> int | None:
    """How many of `planned` items may fail, by `20` or `1%`; None for any number.

    A share is rounded down, but lets one item fail unless it is 0 %: of a few items a single one is no measure.
    Raises `InputError` for anything else.
    """
    if text is None:
        return None
    percent = re.fullmatch(r"(\d+(?:\.\d+)?)%", text)
    if percent and float(percent[1]) <= 100:
        share = float(percent[1])
        return max(math.floor(planned * share / 100), 1 if share else 0)
    if re.fullmatch(r"\d{1,12}", text):
        return int(text)
    raise InputError(f"max-failures: expected a number such as 20 or a share such as 1%, found {text!r}")
