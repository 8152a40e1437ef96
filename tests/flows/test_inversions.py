"""An image is inverted once, whoever wants its path first, and no result depends on who did."""

import shutil

import pytest

from flows.device.steady import SteadyDenoiser
from flows.jobs import ScoreJob
from flows.start import run_here
from loco.models.network import NetworkDenoiser
from registry.home import Home
from registry.registry import Registry
from tests.flows.helpers import RECIPE, applied, discovered, first

N = RECIPE.steps
FULL = 8
"""Places of a batch of six small images, so that none depends on what it comes with."""


@pytest.fixture
def spent(monkeypatch):
    """Single-image evaluations by level: of the network itself, whatever the program says of them."""
    counted = []
    ask = NetworkDenoiser.posterior_mean

    def posterior_mean(self, x_t, t):
        counted.append(len(x_t))
        return ask(self, x_t, t)

    monkeypatch.setattr(NetworkDenoiser, "posterior_mean", posterior_mean)
    return counted


@pytest.fixture
def asked(monkeypatch):
    """The same before batches are filled up."""
    counted = []
    ask = SteadyDenoiser.posterior_mean

    def posterior_mean(self, x_t, t):
        counted.append(len(x_t))
        return ask(self, x_t, t)

    monkeypatch.setattr(SteadyDenoiser, "posterior_mean", posterior_mean)
    return counted


def test_discovery_and_application_of_the_same_images_count_inversions_once(
    home, filled, photos, tmp_path, spent
):
    """Discovery left n means an image: the edits cost the one at t and their own n, where 2 n + 1 are bare."""
    again = {"images": photos, "steps": N, "strengths": (1.0,)}
    run = applied(home, tmp_path / "out", **again)
    assert (run.counts["done"], run.counts["evaluations"]) == (6, 6 * (1 + N))
    assert sum(spent) == FULL * (1 + N)
    spent.clear()
    run = applied(home, tmp_path / "again", **again)  # which kept that one too
    assert (run.counts["evaluations"], sum(spent)) == (6 * N, FULL * N)
    shutil.rmtree(home.root / "cache")
    spent.clear()
    run = applied(home, tmp_path / "bare", **again)
    assert (run.counts["evaluations"], sum(spent)) == (6 * (2 * N + 1), FULL * (2 * N + 1))


def test_images_from_discovery_and_others_share_an_application(home, filled, photos, tmp_path):
    """Entries of n and of n + 1 means, and none, in one batch."""
    for name in ("0.png", "1.png"):
        applied(home, tmp_path / name, images=photos / name, steps=N, strengths=(1.0,))
    entries = sorted((home.root / "cache").rglob("*.safetensors"), key=lambda path: path.stat().st_size)
    entries[0].unlink()  # of the four as discovery left them
    run = applied(home, tmp_path / "out", images=photos, steps=N, strengths=(1.0,))
    assert run.counts["done"] == 6
    assert run.counts["evaluations"] == 6 * N + 3 * 1 + 1 * (N + 1)


def test_other_steps_levels_and_solvers_share_nothing(home, filled, photos, tmp_path):
    for k, other in enumerate(({"steps": N + 1}, {"t": 0.45}, {"solver": "dpm2"})):
        asked = {"images": photos / "0.png", "steps": N, "strengths": (1.0,)} | other
        run = applied(home, tmp_path / str(k), **asked)
        assert run.counts["evaluations"] == 2 * asked["steps"] + 1, other


def test_scores_take_the_paths_that_are_there(home, filled, asked):
    """J v costs the same evaluations either way; the inversion of six images is what is saved."""
    job = ScoreJob(directions=(first(home).id,), dataset="photos", strength=1.0, steps=N)
    assert run_here(home, None, job).status == "done"
    warm = sum(asked)
    bare = Home(home.root.with_name("bare"))
    shutil.copytree(home.root, bare.root)
    shutil.rmtree(bare.root / "cache")
    asked.clear()
    job = ScoreJob(directions=(first(bare).id,), dataset="photos", strength=1.5, steps=N)
    assert run_here(bare, None, job).status == "done"
    assert sum(asked) - warm == 6 * N


def test_a_basis_is_the_same_bytes_whatever_the_cache_holds(home, filled, registry_of, photos, tmp_path):
    """Also after an application that inverted the images with its own, faster network."""
    files = {path.name: path.read_bytes() for path in (home.root / "bases").rglob("*.safetensors")}
    assert len(files) == 6
    shutil.rmtree(home.root / "cache")
    applied(home, tmp_path / "out", images=photos, steps=N, strengths=(1.0,))
    for path in (home.root / "bases").rglob("*.safetensors"):
        path.unlink()
    other = registry_of(home)
    assert discovered(other, rois=("patch",)).counts["done"] == 6
    again = {path.name: path.read_bytes() for path in (other.root / "bases").rglob("*.safetensors")}
    assert again == files


@pytest.fixture
def registry_of(tmp_path, bare):
    """A home without directions that has another's cache."""

    def made(home):
        other = Home(tmp_path / "other")
        shutil.copytree(bare.root, other.root)
        shutil.copytree(home.root / "cache", other.root / "cache")
        assert Registry(other).count() == 0
        return other

    return made
