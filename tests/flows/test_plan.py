"""Chunks: drawn lazily, sized by what was measured, twins together, never many however large the dataset is."""

from itertools import pairwise

import pytest

from flows.engine.plan import BLIND, SECONDS, TASKS, Sizer, chunks
from loco.errors import InputError
from registry.records import DatasetRecord, ImageRecord


class Paged:
    """A dataset of so many images that exist only while they are asked for."""

    def __init__(self, count, twin=lambda number: number):
        self.count, self.twin, self.asked = count, twin, []

    def images(self, dataset, start, count):
        self.asked.append((start, count))
        return [
            ImageRecord(f"{self.twin(number):064d}", f"{number}.png", 8, 8)
            for number in range(start, min(start + count, self.count))
        ]


DATASET = DatasetRecord("i", "d", "/", None, "2026-01-01", ())


def drawn(count, rate, workers=1, skipped=0, twin=lambda number: number):
    """Sizes of a run's chunks where each image that is not skipped takes `rate` seconds."""
    paged, sizer, sizes, done = Paged(count, twin), Sizer(workers), [], 0
    for chunk in chunks(paged, DATASET, count, sizer):
        computed = max(0, done + len(chunk) - skipped) - max(0, done - skipped)
        done += len(chunk)
        sizes.append(len(chunk))
        sizer.learn(len(chunk), computed, computed * rate)
    assert sum(sizes) == count
    return sizes, paged


@pytest.mark.parametrize("count", [1, 3, 100, 5000, 100_000])
@pytest.mark.parametrize("rate", [0.001, 0.3, 60.0])
def test_at_most_so_many_tasks(count, rate):
    sizes, _ = drawn(count, rate)
    assert len(sizes) <= TASKS + 8


def test_chunks_take_the_time_that_they_should():
    sizes, _ = drawn(2000, 0.5)
    usual = sizes[3:-3]
    assert all(20 <= size * 0.5 <= 120 for size in usual), usual
    assert sizes[0] == 4
    assert all(b <= 4 * a for a, b in pairwise(sizes))
    assert max(sizes) * 0.5 == pytest.approx(SECONDS, rel=0.1)


def test_what_is_skipped_says_nothing_of_the_time():
    sizes, _ = drawn(3000, 2.0, skipped=2500)
    assert max(sizes) <= BLIND
    assert len(sizes) < TASKS


def test_workers_end_together():
    sizes, _ = drawn(64, 0.01, workers=4)
    assert max(sizes) <= 16


def test_pages_and_not_everything():
    sizer = Sizer()
    paged = Paged(1_000_000)
    first = next(chunks(paged, DATASET, 1_000_000, sizer))
    assert len(first) == 4
    assert paged.asked == [(0, 2000)]


def test_twins_stay_together():
    _, paged = drawn(100, 0.01, twin=lambda number: number // 3)
    sizer = Sizer()
    seen = []
    for chunk in chunks(paged, DATASET, 100, sizer):
        seen.append({one.id for one in chunk})
        sizer.learn(len(chunk), len(chunk), 1.0)
    assert all(not (a & b) for k, a in enumerate(seen) for b in seen[k + 1 :])


def test_a_dataset_that_was_added_anew_meanwhile(registry):
    from dataclasses import replace

    dataset = registry.dataset("photos", pictured=False)
    assert [one.name for one in registry.images(dataset, 4, 5)] == ["4.png", "5.png"]
    assert registry.images(dataset, 6, 5) == []
    with pytest.raises(InputError, match="dataset 'photos' was added anew while it was read"):
        registry.images(replace(dataset, id="another"), 0, 1)
    assert registry.image_counts() == {"photos": 6}
