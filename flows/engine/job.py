"""What the engine has to know of a job. A job says what a chunk is; how a run is run, it has from `run.py`.

A job that *reduces* (its chunks return partial results that are added up) says how in `add`: the engine folds each
result once, whatever was lost, halved and handed out again on the way, so that no full set is ever in one place. Where
the total asks for it, the items are gone over in another *pass* (`again`): so work by rounds, each of which needs the
sum of the one before, is one run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

from flows.engine.estimate import Estimate
from flows.engine.options import Runner
from flows.engine.plan import Sizer
from flows.engine.watch import Watch
from registry.records import ModelRecord, RunRecord
from registry.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some items of a run, as plain data, with all that is needed to work on them in another process.

    Attributes:
        home, registry_url: The home and its catalogue.
        model: The model to ask.
        stop: A file that, once it is there, says that no further item is to be begun.
        allowed: Failed items after which this chunk stops by itself, or None.
        timeout: Seconds that the chunk may take.
    """

    home: Path
    registry_url: str | None
    model: ModelRecord
    stop: Path | None = None
    allowed: int | None = None
    timeout: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What its images are called."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """What people recognise it by."""
        return f"{self.names[0]} and on"

    def told_to_stop(self) -> bool:
        """Whether no further item is to be begun."""
        return self.stop is not None and self.stop.exists()


@dataclass(frozen=True)
class Failure:
    """What failed: an image, the region or output of it (or empty), and the cause. `form` shows the latter."""

    image: str
    part: str
    cause: str
    form: str = " ({})"

    def __str__(self) -> str:
        return f"{self.image}{self.form.format(self.part) if self.part else ''}: {self.cause}"


@dataclass(frozen=True)
class Tally:
    """What came of a chunk, as the engine counts and tells it.

    Attributes:
        items: So many planned items are finished.
        images: Images that they are of.
        counts: What the run's counts are raised by.
        lines: For the run's journal, unless the chunk wrote them itself.
        failures: What failed.
        absent: Pairs (image, reason) of regions that images do not have.
        notes: Further lines for people.
        computed, seconds: Images that something was computed for, and how long that took.
        newest: Basis files that the run's page may show.
    """

    items: int
    images: int
    counts: Mapping[str, int]
    lines: tuple[Mapping[str, Any], ...] = ()
    failures: tuple[Failure, ...] = ()
    absent: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    computed: int = 0
    seconds: float = 0.0
    newest: tuple[str, ...] = ()


class Asked(Protocol):
    """What every job is told besides what it is."""

    @property
    def runner(self) -> Runner: ...  # noqa: D102
    @property
    def max_failures(self) -> str | None: ...  # noqa: D102
    @property
    def timeout(self) -> float | None: ...  # noqa: D102


C = TypeVar("C", bound=Chunk)
R = TypeVar("R")


class Job(Protocol[C, R]):
    """One job, for one run: `check`, `prepare`, then `chunks` and `record` in turn, `finish` and `close`.

    Attributes:
        kind: Its name in `KINDS`.
        items: What it counts: `images` or `outputs`.
        registry: The catalogue that it writes.
        asked: What it was asked for.
    """

    kind: ClassVar[str]
    items: ClassVar[str]
    registry: Registry

    @staticmethod
    def work(chunk: Any) -> Any:
        """What is done with a chunk, in whichever process: a function at module level, so that it can be sent."""

    @property
    def asked(self) -> Asked: ...  # noqa: D102

    def patience(self) -> float:
        """Seconds that one image may take where nobody said."""

    def check(self) -> None:
        """Refuse what cannot be done, before anything is started for it; raises `LocoError`."""

    def known(self) -> bool:
        """Whether nothing seems to be left to compute, as far as that can be told cheaply."""

    def estimate(self) -> Estimate:
        """How much it is and what it takes, after `check`; opens no network and writes nothing."""

    def prepare(self, watch: Watch) -> int:
        """List the items; how many there are. What it takes for that, `close` gives back."""

    def spec(self) -> dict[str, Any]:
        """The job as plain data, for the run's record, its deployment and its resumption."""

    def labels(self) -> dict[str, list[str]]:
        """What people look for it by: model, dataset, regions."""

    def title(self) -> str:
        """What people recognise a run of it by."""

    def unreadable(self) -> tuple[tuple[str, str], ...]:
        """Images that were left out from the start, with causes."""

    def before(self, lines: Iterator[Mapping[str, Any]]) -> dict[str, int]:
        """The counts of what earlier attempts did, from the run's journal."""

    def chunks(self, run: RunRecord, sizer: Sizer) -> Iterator[C]:
        """The items in order, in chunks of the sizes that the sizer says."""

    def halved(self, chunk: C) -> tuple[C, C] | None:
        """The chunk's first and second half, or None for one that cannot be cut."""

    def lost(self, run: RunRecord, chunk: C, cause: str) -> R:
        """What a chunk comes to that was lost for good."""

    def record(self, run: RunRecord, chunk: C, result: R) -> Tally:
        """Write the rows of what came back; what it was."""

    def finish(self, run: RunRecord) -> Tally | None:
        """What is to be done at the end of a run that was not broken off by an error; what came of it, if anything."""

    def close(self) -> None:
        """Give back what `prepare` took."""


@runtime_checkable
class Reducing(Protocol):
    """A job whose chunks' results are added up."""

    def add(self, total: Any, result: Any) -> Any:
        """The total with one more result; the first total is None."""

    def reduced(self, run: RunRecord, total: Any) -> Tally | None:
        """Keep the total, once every chunk is in it; what is to be recorded of that."""


@runtime_checkable
class Repeating(Reducing, Protocol):
    """A reducing job that goes over its items more than once: `chunks` is asked again for each pass."""

    def again(self) -> bool:
        """Whether another pass is to follow, once the last one's total was kept."""


@dataclass
class Fold(Generic[R]):
    """The total of a reducing job so far; of any other job, nothing."""

    job: Any
    total: Any = field(default=None)

    def add(self, result: R) -> None:
        """One more result."""
        if isinstance(self.job, Reducing):
            self.total = self.job.add(self.total, result)

    def end(self, run: RunRecord) -> Tally | None:
        """Hand the total over, and begin another."""
        if not isinstance(self.job, Reducing):
            return None
        total, self.total = self.total, None
        return self.job.reduced(run, total)
