"""Memory to plan with: of the system, of a control group, of several processes; and limits that follow from it."""

import json
import platform
import sys

import numpy as np
import pytest
import torch

from flows.device import measured
from loco import memory
from loco.discover import discover
from loco.errors import DirectionError
from loco.linalg import jacobian
from loco.recipes import DiscoverRecipe
from registry.home import Home
from tests.registry.builders import make_model
from tests.toys import box, factors, gaussian

SHAPE = (3, 8, 8)


@pytest.fixture
def group(tmp_path, monkeypatch):
    """A control group with so much left of its limit."""

    def put(limit, held, cached):
        for name, text in (("max", limit), ("current", held), ("stat", f"anon 5\ninactive_file {cached}\n")):
            (tmp_path / name).write_text(str(text))
        paths = tuple(tmp_path / name for name in ("max", "current", "stat"))
        monkeypatch.setattr(memory, "_CGROUPS", (paths,))

    return put


def test_a_control_group_s_limit_counts_and_its_cache_does_not(group):
    group(10_000_000, 4_000_000, 1_000_000)
    assert memory.free_bytes() == 7_000_000


def test_a_group_without_a_limit_leaves_what_the_system_has(group):
    group("max", 4_000_000, 0)
    assert memory.free_bytes() > 10_000_000


def test_processes_that_compute_beside_each_other_share(group):
    memory.shared(1)
    group(10_000_000, 2_000_000, 0)
    assert memory.spare_bytes() == 4_000_000
    memory.shared(2)
    try:
        assert memory.spare_bytes() == 2_000_000
    finally:
        memory.shared(1)


def test_the_peak_of_a_block_is_what_it_took_at_most():
    np.ones(1)
    with memory.peak() as found:
        held = np.ones(30_000_000)
        del held
    assert found.bytes is None or 200_000_000 < found.bytes < 400_000_000


def curved(x):
    return torch.tanh(x) * 2


def test_vectors_at_a_time_follow_from_what_is_free(monkeypatch):
    """Half of the free memory over twice the graph; never more than what suits small models."""
    x = torch.zeros(SHAPE)
    one = max(2 * jacobian.graph_bytes(curved, x), 4 * x.nbytes)
    for spare, expected in ((100 * one, jacobian.CHUNK), (5 * one, 5), (one, 1), (one // 2 + 1, 1)):
        monkeypatch.setattr(jacobian, "room", lambda device, spare=spare: spare)
        assert jacobian.chunk_for(curved, x, None) == expected
    monkeypatch.setattr(jacobian, "room", lambda device: one // 4)
    with pytest.raises(MemoryError, match="one vector at a time needs"):
        jacobian.chunk_for(curved, x, None)
    assert jacobian.chunk_for(curved, x, one) == 1  # who gives a limit is believed
    monkeypatch.setattr(jacobian, "room", lambda device: 6 * one)
    assert jacobian.chunk_for(curved, x, None, points=3) == 2


def test_the_graph_is_measured_once_for_each_model_and_kind_of_rows(monkeypatch):
    asked = []
    monkeypatch.setattr(jacobian, "graph_bytes", lambda f, x: asked.append(tuple(x.shape)) or 8)
    model, x = gaussian(factors(2, SHAPE)), torch.zeros(SHAPE)
    for rows in ("pixels", "pixels", "cells"):
        jacobian.chunk_for(curved, x, None, of=model, rows=rows)
    assert len(asked) == 2


def test_what_does_not_fit_is_said_before_the_kernel_says_it(monkeypatch):
    monkeypatch.setattr(jacobian, "room", lambda device: 10)
    monkeypatch.setattr(sys.modules["loco.discover"], "is_small", lambda denoiser, x: False)
    model = gaussian(factors(2, SHAPE), noise=0.1)
    recipe = DiscoverRecipe(t=0.5, rank=1, null_rank=1, dtype="float64")
    with pytest.raises(DirectionError, match="does not fit into memory"):
        discover(
            model,
            torch.zeros(SHAPE, dtype=torch.float64),
            [box("left", SHAPE, 0, 8, 0, 4)],
            recipe,
            model="0" * 32,
            image_id="0" * 64,
        )


# What was measured of a model


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def test_a_slow_model_is_waited_for_longer(home):
    model = make_model()
    assert measured.patience(home, model) == 600
    measured.note(home, model, "cpu", 0.01, None)
    assert measured.patience(home, model) == 600
    measured.note(home, model, "cpu", 15.0, 10**9)
    assert measured.patience(home, model) == 30_000
    assert measured.measured(home, model) == measured.Measured(15.0, 10**9)


def test_batches_fit_into_what_is_free(home, group):
    memory.shared(1)
    model = make_model()
    assert measured.fitting(home, model, "cpu", 32) == 32  # nothing is known of it
    measured.note(home, model, "cpu", 1.0, 1_000_000)
    group(20_000_000, 8_000_000, 0)
    assert measured.fitting(home, model, "cpu", 32) == 6
    assert measured.fitting(home, model, "cpu", 4) == 4
    group(1_000_000, 999_999, 0)
    assert measured.fitting(home, model, "cpu", 32) == 1


@pytest.mark.parametrize(
    "text", ["", "[]", '{"seconds": "x"}', '{"seconds": -1, "bytes": 1, "host": "HOST"}', '{"seconds": 1}']
)
def test_notes_that_say_nothing_of_this_machine_are_not_believed(home, text):
    model = make_model()
    measured.note(home, model, "cpu", 15.0, None)
    [path] = (home.root / "measured").iterdir()
    path.write_text(text.replace("HOST", platform.node()))
    assert measured.measured(home, model) is None
    path.write_text(json.dumps({"seconds": 15.0, "bytes": None, "host": "another"}))
    assert measured.patience(home, model) == 600


def test_a_large_network_is_measured_and_the_evaluation_is_counted(monkeypatch):
    """So that the evaluations of a basis are those that were made, and the same for every image."""
    calls = []
    model = gaussian(factors(2, SHAPE), noise=0.1)
    mean = model.posterior_mean
    monkeypatch.setattr(model, "posterior_mean", lambda x, t: calls.append(len(x)) or mean(x, t))
    monkeypatch.setattr(sys.modules["loco.discover"], "is_small", lambda denoiser, x: False)
    recipe = DiscoverRecipe(t=0.5, rank=1, null_rank=1, dtype="float64")
    roi = box("left", SHAPE, 0, 8, 0, 4)
    for _ in range(2):
        calls.clear()
        point = torch.zeros(SHAPE, dtype=torch.float64)
        basis = discover(model, point, [roi], recipe, model="0" * 32, image_id="0" * 64)
        assert basis.evaluations == sum(calls) + recipe.steps
