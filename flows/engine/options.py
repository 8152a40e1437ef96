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


@dataclass(frozen=True)
class Shard:
    """One of several parts of a job, each worked on by a program of its own: a block of its list.

    Attributes:
        number: Which part, from 1.
        of: How many there are.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        """Refuse parts that there are none of."""
        check("shards", self.of, "shard")
        if isinstance(self.number, bool) or not isinstance(self.number, int):
            raise InputError(f"shard: expected a whole number, found {self.number!r}")
        if not 1 <= self.number <= self.of:
            raise InputError(
                f"shard: I of I/N must lie in 1 to {self.of}, found {self.number}; parts count from 1"
            )

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `I/N`; raises `InputError` for all else."""
        found = re.fullmatch(r"([+-]?[0-9]{1,9})/([0-9]{1,9})", text)
        if not found:
            raise InputError(
                f"shard: expected I/N, such as 1/8 for the first of eight parts, found {text!r:.80}"
            )
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        """The text that `parse` reads back."""
        return f"{self.number}/{self.of}"

    def block(self, count: int) -> range:
        """Its positions in a list of that length: the parts follow each other, and differ by one at most."""
        return range((self.number - 1) * count // self.of, self.number * count // self.of)


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
