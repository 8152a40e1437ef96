"""The engine on a small job of its own: what it counts, what it adds up, and processes that end with their parent."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace

import psutil
import pytest

from flows.engine.job import Chunk, Tally
from flows.engine.options import LOCAL
from flows.engine.progress import said
from flows.engine.retries import Lost
from flows.engine.run import run_job
from flows.engine.watch import Silence
from registry.files import manifests
from registry.registry import Registry
from tests.flows.helpers import REPOSITORY, wait_for

NUMBERS = 100


@dataclass(frozen=True, kw_only=True)
class Numbers(Chunk):
    numbers: tuple[int, ...]

    @property
    def names(self):
        return tuple(map(str, self.numbers))


@dataclass(frozen=True)
class Asked:
    runner = LOCAL
    timeout: float = 60.0
    max_failures: str | None = None


class Squares:
    """The sum of the squares of 0 to 99, which nobody ever has in one place: chunks return partial sums."""

    kind, items = "score", "numbers"

    def __init__(self, home, **asked):
        self.registry, self.home, self.asked = Registry(home), home, Asked(**asked)
        self.totals = []

    @staticmethod
    def work(chunk):
        return sum(number**2 for number in chunk.numbers)

    def check(self):
        pass

    def known(self):
        return False

    def prepare(self, watch):
        return NUMBERS

    def spec(self):
        return {}

    def labels(self):
        return {}

    def title(self):
        return "squares"

    def unreadable(self):
        return ()

    def before(self, lines):
        return {}

    def chunks(self, run, sizer):
        left = list(range(NUMBERS))
        while left:
            size = sizer.next(len(left))
            yield Numbers(home=self.home.root, registry_url=None, model=None, numbers=tuple(left[:size]))
            del left[:size]

    def halved(self, chunk):
        half = len(chunk.numbers) // 2
        parts = chunk.numbers[:half], chunk.numbers[half:]
        return tuple(replace(chunk, numbers=part) for part in parts) if half else None

    def lost(self, run, chunk, cause):
        return None

    def record(self, run, chunk, result):
        status = "failed" if result is None else "done"
        count = len(chunk.numbers)
        return Tally(count, count, {status: count}, computed=count, seconds=1e-3)

    def finish(self, run):
        pass

    def close(self):
        pass

    def add(self, total, result):
        return (total or 0) + result

    def reduced(self, run, total):
        self.totals.append(total)


def test_partial_sums_add_up_to_the_closed_form(home):
    job = Squares(home)
    run = run_job(job, job.work, Silence())
    assert (run.status, run.counts["done"]) == ("done", NUMBERS)
    assert job.totals == [NUMBERS * (NUMBERS - 1) * (2 * NUMBERS - 1) // 6] == [328350]


class Rounds(Squares):
    """The mean of the numbers by Newton's rounds: each needs the sum of the one before."""

    guess, rounds = 0.0, 0

    def chunks(self, run, sizer):
        for chunk in super().chunks(run, sizer):
            yield replace(chunk, home=self.home.root / str(self.guess))

    @staticmethod
    def work(chunk):
        return sum(number - float(chunk.home.name) for number in chunk.numbers)

    def reduced(self, run, total):
        self.guess, self.rounds = self.guess + total / NUMBERS / 2, self.rounds + 1
        return Tally(0, 0, {"rounds": 1})

    def again(self):
        return self.rounds < 30


def test_a_job_by_rounds_goes_over_its_items_again_each_time_with_the_last_ones_sum(home):
    job = Rounds(home)
    run = run_job(job, job.work, Silence())
    assert (run.status, run.counts["rounds"], run.counts["done"]) == ("done", 30, 30 * NUMBERS)
    assert job.guess == pytest.approx((NUMBERS - 1) / 2, abs=1e-6)


def test_each_part_is_added_once_however_often_chunks_are_lost(home):
    """Chunks of more than three are always lost, and every other one at its first try."""
    job, tried = Squares(home), set()

    def work(chunk):
        if len(chunk.numbers) > 3 and chunk.numbers not in tried:
            tried.add(chunk.numbers)
            raise Lost("its worker died")
        return job.work(chunk)

    run = run_job(job, work, Silence())
    assert (run.status, run.counts["done"], job.totals) == ("done", NUMBERS, [328350])
    assert tried


def test_what_is_lost_for_good_is_no_part_of_the_sum(home):
    job = Squares(home)

    def work(chunk):
        if 13 in chunk.numbers:
            raise Lost("its worker died")
        return job.work(chunk)

    run = run_job(job, work, Silence())
    assert (run.status, run.counts["done"], run.counts["failed"]) == ("partial", NUMBERS - 1, 1)
    assert job.totals == [328350 - 13**2]


def test_a_share_of_few_items_lets_one_fail_and_counts_failures_alone(home):
    """1 % of 100 is 1: one failure is within it, a second is not."""
    job = Squares(home, max_failures="1%")

    def work(chunk):
        if {13, 77} & set(chunk.numbers):
            raise Lost("its worker died")
        return job.work(chunk)

    run = run_job(job, work, Silence())
    reason = "stopped: 2 of 100 numbers failed, more than --max-failures 1% allows (1)"
    assert (run.status, run.provenance["stopped"], job.totals) == ("stopped", reason, [])
    log = list(said(home, run.id))
    assert [line.partition("  ")[2] for line in log[:1]] == ["begins: squares, 100 numbers"]
    assert any(line.endswith("halving") for line in log)
    assert log[-1].partition("  ")[2] == reason


def test_an_error_that_stops_a_run_stands_in_its_record_and_its_log(home):
    job = Squares(home)

    def work(chunk):
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        run_job(job, work, Silence())
    [run] = job.registry.runs()
    assert (run.status, run.provenance["error"]) == ("failed", "KeyError: 'a bug'")
    assert list(said(home, run.id))[-1].endswith("ended by KeyError: 'a bug'")
    assert manifests.run_of(manifests.stream(home.root / run.manifest)).status == "failed"


PARENT = """
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from flows.engine.executors import end_with_parent

if __name__ == "__main__":
    pool = ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), initializer=end_with_parent)
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600)
    pool.submit(time.sleep, 600)
    time.sleep(600)
"""


def test_processes_of_a_pool_end_when_their_parent_is_killed(tmp_path):
    """By SIGKILL, while they work."""
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        child = psutil.Process(int(parent.stdout.readline()))
        family = psutil.Process(parent.pid).children(recursive=True)
        assert child in family
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        wait_for(lambda: not any(one.is_running() and one.status() != "zombie" for one in family), 30)
