"""Broken images and masks, twins, a budget of failures, memory that runs out, lost chunks: each told."""

import numpy as np
import pytest
import torch

from flows.discover import chunk as chunks
from flows.discover.chunk import discover_chunk
from flows.engine.options import Runner, allowed_failures
from flows.engine.record import ask_to_stop, mark_interrupted, new_run, status_of
from flows.engine.retries import Lost
from flows.jobs import DiscoverJob, asked, plain
from flows.register import dataset_record, model_record, refreshed
from loco.errors import InputError
from registry.files import manifests
from registry.registry import Registry
from tests.flows.helpers import RECIPE, counts, discovered, patch, picture, save, state

COUNT = 100


@pytest.fixture
def faulty(home, tiny, tmp_path):
    """A hundred images: three are spoiled after they were added, one has a broken mask, two have one content."""
    folder = tmp_path / "faulty"
    for number in range(COUNT):
        save(folder / f"{number:03d}.png", picture(number, 8, 8))
        save(folder / "masks" / "patch" / f"{number:03d}.png", patch(8, 8))
    (folder / "zz.png").write_bytes((folder / "000.png").read_bytes())
    (folder / "masks" / "patch" / "zz.png").write_bytes((folder / "masks" / "patch" / "000.png").read_bytes())
    registry = Registry(home)
    registry.add_model(model_record("tiny", str(tiny)))
    registry.add_dataset(dataset_record("photos", folder))
    for number in (10, 20, 30):
        (folder / f"{number:03d}.png").write_bytes(b"spoiled")
    (folder / "masks" / "patch" / "040.png").write_bytes(b"spoiled")
    return folder


def failures(home, run):
    return {line["image"]: line["failures"] for line in manifests.failures(home.root / run.manifest)}


def test_every_fault_with_its_cause_and_twins_once(home, faulty, words):
    run = discovered(home, rois=("patch",), watch=words)
    assert (run.status, counts(run)) == ("partial", (COUNT + 1, COUNT - 4, 1, 4))
    found = failures(home, run)
    for number in (10, 20, 30):
        [[roi, cause]] = found.pop(f"{number:03d}.png")
        assert (roi, cause.partition(": ")[0]) == ("", str(faulty / f"{number:03d}.png"))
        assert "not an image" in cause
    [[roi, cause]] = found.pop("040.png")
    assert (roi, "not an image" in cause) == ("patch", True)
    assert found == {}
    assert "note: zz.png: the same image as 000.png" in words.said
    assert Registry(home).summary()["bases"] == COUNT - 4
    assert Registry(home).verify() == []


def test_a_budget_of_failures_stops_the_run_and_says_so(home, faulty, words):
    run = discovered(home, rois=("patch",), watch=words, max_failures="1%")
    failed = run.counts["failed"]
    reason = f"stopped: {failed} of 101 images failed, more than --max-failures 1% allows (1)"
    assert (run.status, run.provenance["stopped"]) == ("stopped", reason)
    assert 1 < failed < 4
    assert words.said[-1] == reason
    assert sum(counts(run)[1:]) < COUNT
    again = discovered(home, rois=("patch",), max_failures="4", run_id=run.id)
    assert (again.id, again.status, again.counts["failed"]) == (run.id, "partial", 4)
    assert again.counts["done"] == COUNT - 4
    assert len(failures(home, again)) == 4  # of the latest attempt
    assert Registry(home).verify() == []


@pytest.mark.parametrize(
    ("text", "allowed"), [(None, None), ("0", 0), ("20", 20), ("1%", 10), ("0.15%", 1), ("100%", 1000)]
)
def test_allowed_failures(text, allowed):
    assert allowed_failures(text, 1000) == allowed


@pytest.mark.parametrize("text", ["", "%", "-1", "101%", "1 %", "many", "1.5"])
def test_a_budget_that_is_none(text):
    with pytest.raises(InputError, match="max-failures: expected a number such as 20 or a share such as 1%"):
        allowed_failures(text, 1000)


# Memory


@pytest.fixture
def small_memory(monkeypatch):
    """The network runs out of memory for more than `most` images at once."""
    from flows.device import models

    sizes = []

    class Small:
        most = 2

        def __init__(self, denoiser):
            self.denoiser = denoiser
            self.name, self.shape, self.schedule = denoiser.name, denoiser.shape, denoiser.schedule

        def posterior_mean(self, x_t, t):
            sizes.append(len(x_t))
            if len(x_t) > Small.most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return self.denoiser.posterior_mean(x_t, t)

    opened = models.open_model
    monkeypatch.setattr(models, "open_model", lambda *some: Small(opened(*some)))
    monkeypatch.setattr(chunks, "_MOST", {})
    Small.sizes = sizes
    return Small


def test_out_of_memory_halves_and_goes_on(home, registry, small_memory, words):
    run = discovered(home, watch=words)
    assert (run.status, counts(run)) == ("done", (6, 6, 0, 0))
    assert run.counts["halved"] > 0
    assert any("out of memory, halved" in text for text in words.said)
    lines = list(manifests.stream(home.root / run.manifest))
    assert sum(line.get("halved", 0) for line in lines) == run.counts["halved"]
    assert max(small_memory.sizes) > 2
    assert registry.verify() == []


def test_halved_or_not_the_directions_are_the_same(home, registry, small_memory, tmp_path):
    discovered(home, limit=1)
    halved = registry.find(sort="id")
    vectors = registry.vectors(halved)
    for path in home.bases.glob("*/*.safetensors"):
        path.unlink()
    small_memory.most = 1000
    chunks._MOST.clear()
    discovered(home, limit=1)
    whole = registry.find(sort="id")
    assert [one.id for one in whole] == [one.id for one in halved]
    assert np.allclose(registry.vectors(whole), vectors, atol=1e-3)


def test_no_memory_even_for_one(home, registry, small_memory, words):
    small_memory.most = 0
    run = discovered(home, watch=words, limit=2)
    assert (run.status, counts(run)) == ("failed", (2, 0, 0, 2))
    assert "memory ran out even for one image at a time" in words.said[1]


# Chunks that are lost


def test_a_chunk_whose_process_dies_is_halved_until_the_image_is_found(home, registry, words):
    def work(chunk):
        if any(one.name == "3.png" for one in chunk.images):
            raise Lost("its worker died")
        return discover_chunk(chunk)

    run = discovered(home, work=work, watch=words)
    assert (run.status, counts(run)) == ("partial", (6, 5, 0, 1))
    assert failures(home, run) == {"3.png": [["", "Lost: its worker died"]]}
    assert registry.verify() == []


class Pool:
    """Three chunks at a time; when the process of one dies, the others that are out die with it."""

    width = 3

    def __init__(self, poison):
        self.poison, self.out = poison, []

    def submit(self, chunk):
        future = Future(self, chunk)
        self.out.append(future)
        return future


class Future:
    def __init__(self, pool, chunk):
        self.pool, self.chunk, self.dead = pool, chunk, False

    def result(self):
        if any(one.name == self.pool.poison for future in self.pool.out for one in future.chunk.images):
            for future in self.pool.out:
                future.dead = True
            self.pool.out.clear()
        if self.dead:
            raise Lost("its worker died")
        self.pool.out.remove(self)
        return discover_chunk(self.chunk)


def test_a_process_that_dies_does_not_cost_the_images_beside_it(home, registry, words):
    run = discovered(home, work=Pool("3.png"), watch=words)
    assert (run.status, counts(run)) == ("partial", (6, 5, 0, 1))
    assert failures(home, run) == {"3.png": [["", "Lost: its worker died"]]}
    assert any(said.endswith("once more, with none beside it") for said in words.said)


class Killed(Pool):
    """Somebody kills the worker of one image, also when it is alone."""

    def submit(self, chunk):
        if [one.name for one in chunk.images] == [self.poison] and not self.out:
            self.times = getattr(self, "times", 0) + 1
            self.poison = self.poison if self.times <= 2 else None
        return super().submit(chunk)


def test_kills_from_outside_one_after_the_other_cost_no_image(home, registry, words):
    run = discovered(home, work=Killed("3.png"), watch=words)
    assert (run.status, counts(run)) == ("done", (6, 6, 0, 0))
    said = [one for one in words.said if one.endswith("once more, with none beside it")]
    assert sum(one.startswith("lost 3.png ") for one in said) == 2


def test_when_everything_is_lost_the_run_gives_up(home, registry):
    def work(chunk):
        raise Lost("its worker died")

    with pytest.raises(Lost):
        discovered(home, work=work)
    [run] = registry.runs()
    assert run.status == "failed"


# Stopping and going on


def test_cancelled_between_chunks_and_resumed(home, registry, words):
    def work(chunk):
        outcomes = discover_chunk(chunk)
        ask_to_stop(home, registry.runs()[0].id, "cancelled", "enough")
        return outcomes

    run = discovered(home, work=work, watch=words)
    assert (run.status, run.counts["done"]) == ("cancelled", 4)
    assert words.said[-1] == "enough"
    kept = state(*home.bases.glob("*/*.safetensors"))
    spent = run.counts["evaluations"]
    again = discovered(home, run_id=run.id)
    assert (again.id, again.status, counts(again)) == (run.id, "done", (6, 6, 0, 0))
    assert state(*kept) == kept
    bases = [registry.basis(path.stem) for path in home.bases.glob("*/*.safetensors")]
    assert again.counts["evaluations"] == sum(one.evaluations for one in bases) > spent
    assert len(registry.runs()) == 1


def test_a_run_whose_process_is_gone_was_interrupted(registry):
    dead = new_run("discover", {}, 3)
    dead.provenance.update(pid=2**22 + 1)
    mine = new_run("discover", {}, 3)
    elsewhere = new_run("discover", {}, 3)
    elsewhere.provenance.update(host="another", pid=2**22 + 1)
    for run in (dead, mine, elsewhere):
        registry.start_run(run)
    assert [status_of(run) for run in (dead, mine, elsewhere)] == ["interrupted", "running", "running"]
    assert [run.id for run in mark_interrupted(registry)] == [dead.id]
    assert registry.run(dead.id).status == "interrupted"
    assert mark_interrupted(registry) == []


def test_a_job_as_plain_data_and_back():
    job = DiscoverJob("m", "d", ("hair",), RECIPE, 3, Runner("dask", 4, "tcp://a:1"), "1%", 5.0, rescan=True)
    assert asked("discover", plain(job) | {"model_id": "x"}) == job
    with pytest.raises(InputError, match="this describes no discovery"):
        asked("discover", {"model": "m"})


# New images


def test_only_new_and_touched_files_are_read_again(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    for number in range(3):
        save(folder / f"{number}.png", picture(number))
    before = dataset_record("d", folder)
    before = type(before)(**{**vars(before), "added_at": "2100-01-01T00:00:00"})
    read = []
    import loco.dataset as dataset

    opened = dataset.read_image
    monkeypatch.setattr(dataset, "read_image", lambda path, name: read.append(name) or opened(path, name))
    assert refreshed(before) is None
    assert read == []
    save(folder / "new.png", picture(9))
    (folder / "1.png").unlink()
    after = refreshed(before)
    assert read == ["new.png"]
    assert [one.name for one in after.images] == ["0.png", "2.png", "new.png"]
    assert after.id == dataset_record("d", folder).id


def test_a_run_looks_for_new_images_when_asked(home, registry, photos, tmp_path, words):
    import shutil

    shutil.copytree(photos, tmp_path / "copy")
    registry.add_dataset(dataset_record("photos", tmp_path / "copy"))
    save(tmp_path / "copy" / "new.png", picture(50))
    assert counts(discovered(home, rois=("all=box:0,0,1,1",))) == (6, 6, 0, 0)
    run = discovered(home, rois=("all=box:0,0,1,1",), rescan=True, watch=words)
    assert counts(run) == (7, 1, 6, 0)
    assert words.said[0] == "dataset 'photos' has 7 images now, 6 before"
