"""The one loop: plan a job, hand its chunks to an executor, record what comes back, whatever the job.

The chunk's function writes files as soon as they are computed and touches no row; this loop is the only writer of rows.
A chunk that is lost, because its process died, took too long or ran out of memory, is halved until the item that does
it is found; that one is tried again with none beside it, `ALONE` times, and then recorded as failed.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Generic

from flows.engine.estimate import measured
from flows.engine.executors import Executor, Local, Queue, worked
from flows.engine.job import C, Fold, Job, R, Repeating, Tally
from flows.engine.options import allowed_failures
from flows.engine.plan import Sizer
from flows.engine.progress import Logged, Progress
from flows.engine.record import (
    abandon,
    again,
    ask_to_stop,
    asked_to_stop,
    begin,
    counted,
    cut_short,
    ended,
    mark_interrupted,
    new_run,
    stop_file,
)
from flows.engine.retries import is_transient
from flows.engine.watch import Watch
from loco.errors import RegistryBusy
from registry.files import manifests
from registry.records import RunRecord

ALONE = 3
"""Times that an item is tried alone: workers that somebody kills one after the other must not pass for its doing."""

IN_A_ROW = 4
"""Items that may be lost alone, one after the other with nothing done between, before the run gives up."""


class Report:
    """Somebody who is told of a run as it goes, besides the `Watch` of the command line: here nobody."""

    def provenance(self) -> dict[str, Any]:
        """What is to be recorded with the run."""
        return {}

    def began(self, run: RunRecord, job: Job[Any, Any]) -> None:
        """The run is recorded and about to work."""

    def went_on(self, run: RunRecord, tally: Tally) -> None:
        """A chunk came back and its rows are written."""

    def ended(self, run: RunRecord) -> None:
        """The run is over and recorded."""


def run_job(
    job: Job[C, R],
    executor: Executor[C, R] | Callable[[C], R],
    watch: Watch,
    report: Report | None = None,
    run_id: str | None = None,
) -> RunRecord:
    """Run the job to its end with an executor (or a plain function); returns the finished run's record.

    With `run_id` the run of that id goes on, or is begun under it. Raises `LocoError` for what stops the whole run.
    """
    if callable(executor):
        executor = Local(executor)
    report = report or Report()
    registry = job.registry
    job.check()
    mark_interrupted(registry)
    with contextlib.closing(job):
        planned = job.prepare(watch)
        run = _begun(job, planned, run_id)
        run = replace(run, provenance=run.provenance | report.provenance())
        begin(registry, run)
        watch = Logged(watch, registry.home, run.id)
        watch.keep(
            f"{'goes on' if run.provenance.get('attempt') else 'begins'}: {job.title()}, {planned} {job.items}"
        )
        watch.total(planned)
        report.began(run, job)
        loop = _Loop(job, executor, watch, report, planned, run)
        try:
            loop.work()
            loop.finish()
            told = asked_to_stop(registry.home, run.id)
        except BaseException as error:
            watch.keep(f"ended by {brief(error)}")
            abandon(registry, loop.run, brief(error))
            raise
        run = loop.measured()
        run = cut_short(run, *told) if told else ended(run)
        registry.finish_run(run)
        watch.keep(f"{run.status}: {', '.join(f'{name} {count}' for name, count in run.counts.items())}")
        loop.progress.end()
    if told:
        stop_file(registry.home, run.id).unlink(missing_ok=True)
        watch.say(told[1])
    report.ended(run)
    return run


def _begun(job: Job[C, R], planned: int, run_id: str | None) -> RunRecord:
    """A new run, or the one of that id going on."""
    registry = job.registry
    known = [one for one in registry.runs() if one.id == run_id] if run_id else []
    if not known:
        return new_run(job.kind, job.spec(), planned, run_id)
    stop_file(registry.home, known[0].id).unlink(missing_ok=True)
    return again(known[0], planned, job.before(manifests.stream(registry.home.root / known[0].manifest)))


class _Loop(Generic[C, R]):
    """One run of a job."""

    def __init__(
        self,
        job: Job[C, R],
        executor: Executor[C, R],
        watch: Watch,
        report: Report,
        planned: int,
        run: RunRecord,
    ) -> None:
        self.job, self.executor, self.watch, self.report = job, executor, watch, report
        self.planned, self.run = planned, run
        self.allowed = allowed_failures(job.asked.max_failures, planned)
        self.sizer = Sizer(executor.width)
        each = job.asked.timeout
        self.each = job.patience() if each is None else each
        self.progress = Progress(job.registry.home, run.id)
        self.progress.note(run)
        self.alone = Counter[str]()
        self.lost_in_a_row = 0
        self.computed, self.seconds = 0, 0.0

    def measured(self) -> RunRecord:
        """The run with what it measured of its speed."""
        told = measured(self.computed, self.run.counts.get("evaluations", 0), self.seconds)
        return replace(self.run, provenance=self.run.provenance | told)

    def work(self) -> None:
        """Hand out the chunks, record them as they come back, pass after pass; `run` has the counts."""
        total, home = Fold[R](self.job), self.job.registry.home
        while True:
            self._pass(total)
            if asked_to_stop(home, self.run.id) is not None:
                return
            tally = total.end(self.run)
            if tally is not None:
                self._record(tally)
            if not isinstance(self.job, Repeating) or not self.job.again():
                return
            self.sizer.again()

    def finish(self) -> None:
        """Let the job do what is left at its end, and record what came of that."""
        tally = self.job.finish(self.run)
        if tally is not None:
            self._record(tally)

    def _pass(self, total: Fold[R]) -> None:
        """Go over the items once."""
        queue = Queue(self._limited(self.job.chunks(self.run, self.sizer)))
        for chunk, future in worked(self.executor, queue):
            try:
                result = future.result()
            except (OSError, RuntimeError, MemoryError, RegistryBusy) as error:
                if not is_transient(error):
                    raise
                if self._another_try(chunk, queue, brief(error)):
                    continue
                self.lost_in_a_row += 1
                if self.lost_in_a_row >= min(IN_A_ROW, self.planned):
                    raise
                result = self.job.lost(self.run, chunk, brief(error))
            else:
                self.lost_in_a_row = 0
                total.add(result)
            self._record(self.job.record(self.run, chunk, result))

    def _limited(self, chunks: Iterator[C]) -> Iterator[C]:
        """The chunks with their limits; none more once the run is told to stop."""
        stop = stop_file(self.job.registry.home, self.run.id)
        for chunk in chunks:
            if stop.exists():
                return
            timeout = self.sizer.patience(len(chunk.names), self.each)
            yield replace(chunk, stop=stop, allowed=self.allowed, timeout=timeout)

    def _another_try(self, chunk: C, queue: Queue[C], why: str) -> bool:
        """Whether a lost chunk is put back: in halves, or, a single item that was not alone, as a suspect."""
        name = chunk.names[0]
        halves = self.job.halved(chunk)
        if halves is not None:
            self.watch.say(f"lost {len(chunk.names)} images from {name} on ({why}): halving")
            timeouts = (self.sizer.patience(len(half.names), self.each) for half in halves)
            queue.put_back(
                *(replace(half, timeout=timeout) for half, timeout in zip(halves, timeouts, strict=True))
            )
            return True
        if self.executor.width == 1 or self.alone[name] == ALONE:
            return False
        self.watch.say(f"lost {name} ({why}): once more, with none beside it")
        self.alone[name] += 1
        queue.suspect(chunk)
        return True

    def _record(self, tally: Tally) -> None:
        """The lines, counts and words of a chunk that came back, and whether the run is to go on."""
        home = self.job.registry.home
        manifests.append(home, self.run.id, tally.lines)
        self.run = counted(self.run, **tally.counts)
        for failure in tally.failures:
            self.watch.say(f"failed: {failure}")
        for image, reason in tally.absent:
            self.watch.say(f"absent: {image}: {reason}")
        for note in tally.notes:
            self.watch.say(f"note: {note}")
        self.watch.advance(tally.items)
        self.progress.note(self.run)
        self.sizer.learn(tally.images, tally.computed, tally.seconds)
        self.computed += tally.computed
        self.seconds += tally.seconds
        self.report.went_on(self.run, tally)
        failed = self.run.counts["failed"]
        if self.allowed is not None and failed > self.allowed:
            reason = (
                f"stopped: {failed} of {self.planned} {self.job.items} failed, more than --max-failures "
                f"{self.job.asked.max_failures} allows ({self.allowed})"
            )
            ask_to_stop(home, self.run.id, "stopped", reason)


def brief(error: BaseException) -> str:
    """An error in a line."""
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]
