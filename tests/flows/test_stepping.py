"""`--steps auto`: the fewest steps near enough to many, found once on the job's own images, and kept."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from flows.apply import stepping
from flows.apply.planning import plan_edits
from flows.engine.options import Shard
from flows.jobs import ApplyJob, asked
from flows.start import estimate
from registry.home import Home
from tests.flows.helpers import applied, counts, first, picture, save


@pytest.fixture
def small(tmp_path, filled):
    """Five images of the model's own size."""
    height, width = filled.model("tiny").shape[1:]
    for number in range(5):
        save(tmp_path / "small" / f"{number}.png", picture(number, width, height))
    return tmp_path / "small"


def auto(home, out, **changes):
    return applied(
        home, out, **({"steps": None, "strengths": (0.1, -0.05), "min_effect": 0.0, "cache": 0} | changes)
    )


def psnr(one, other):
    """Of the worst of the same 8-bit files."""
    worst = np.inf
    for path in one.glob("*.png"):
        pixels = [np.asarray(Image.open(folder / path.name), np.float64) for folder in (one, other)]
        error = ((pixels[0] - pixels[1]) ** 2).mean()
        worst = min(worst, 10 * np.log10(255**2 / error) if error else np.inf)
    return worst


def test_the_fewest_steps_within_48_db_of_60_are_taken_and_recorded(home, small, tmp_path, words):
    pushed = {"images": small, "limit": 4, "strengths": (0.6, -0.3)}
    run = auto(home, tmp_path / "auto", **pushed, watch=words)
    steps = run.spec["steps"]
    lines = [json.loads(line) for line in (tmp_path / "auto" / "manifest.jsonl").read_text().splitlines()]
    assert {line["recipe"]["steps"] for line in lines} == {steps}
    at = {k: tmp_path / str(k) for k in (60, *(k for k in stepping.CANDIDATES if k <= steps))}
    for k, out in at.items():
        auto(home, out, **pushed, steps=k)
    assert psnr(at[steps], at[60]) >= 48
    assert all(psnr(at[k], at[60]) < 48 for k in stepping.CANDIDATES if k < steps)
    assert {one.name: one.read_bytes() for one in at[steps].glob("*.png")} == {
        one.name: one.read_bytes() for one in (tmp_path / "auto").glob("*.png")
    }
    [said] = [line for line in words.said if "steps" in line]
    assert said.startswith(f"note: steps {steps}: ")
    assert f"measured with {run.counts['measuring']} evaluations" in said
    # Four images, two edits: the inversions and ways down of 30 steps, beyond 6 of 60, and of all that were tried.
    tried = [30, *([60] if steps > 6 else []), *(k for k in stepping.CANDIDATES if k <= steps)]
    assert run.counts["measuring"] == sum(4 * (k + 1 + 2 * k) for k in tried)
    assert run.counts["evaluations"] == 4 * (steps + 1 + 2 * steps)


def test_it_is_measured_once_a_job_and_kept_for_its_next_run(home, small, tmp_path, words, monkeypatch):
    first_run = auto(home, tmp_path / "out", images=small)
    save(small / "00.png", picture(77))  # in front of all others
    monkeypatch.setattr(stepping, "measure", None)
    again = auto(home, tmp_path / "out", images=small, watch=words)
    assert "measuring" not in again.counts
    assert again.spec["steps"] == first_run.spec["steps"]
    assert counts(again) == (12, 2, 10, 0)
    assert "measured before" in next(line for line in words.said if "steps" in line)


def test_it_is_kept_by_model_recipes_and_where_the_images_are_and_not_by_steps(home, filled, tmp_path):
    def key(images="photos", name="tiny", **changes):
        job = ApplyJob(((first(home).id, 1.0),), (2.0,), tmp_path, "in", beyond=True)
        edits, _ = plan_edits(filled, replace(job, **changes), changes.get("steps", 20))
        return stepping.key_of(replace(filled.model("tiny"), id=name), edits, images)

    keys = [key(), key("others"), key(name="other"), key(strengths=(3.0,)), key(t=0.4), key(solver="dpm2")]
    assert len(set(keys)) == len(keys)
    assert key(steps=5) == key()


def test_parts_agree_whichever_comes_first(home, small, tmp_path, template):
    whole = auto(home, tmp_path / "whole", images=small)
    other = Home(tmp_path / "other")
    shutil.copytree(template.root, other.root)
    direction = {"directions": ((first(home).id, 1.0),)}
    parts = [auto(other, tmp_path / "parts", images=small, shard=Shard(k, 2), **direction) for k in (2, 1)]
    assert [part.spec["steps"] for part in parts] == [whole.spec["steps"]] * 2
    assert "measuring" in parts[0].counts
    assert "measuring" not in parts[1].counts


def test_a_run_goes_on_with_its_own_number(home, small, tmp_path):
    run = auto(home, tmp_path / "out", images=small)
    for path in (home.root / "steps").iterdir():
        path.unlink()
    job = asked("apply", run.spec)
    assert job.steps == run.spec["steps"]


def test_images_that_cannot_be_read_are_passed_over(home, small, tmp_path):
    (small / "0.png").write_bytes(b"no image")
    run = auto(home, tmp_path / "out", images=small)
    assert run.spec["steps"] in stepping.CANDIDATES
    assert counts(run) == (10, 8, 0, 2)
    assert run.counts["measuring"]


def test_where_nothing_can_be_measured_it_is_20_and_not_kept(home, small, tmp_path):
    for path in small.iterdir():
        path.write_bytes(b"no image")
    run = auto(home, tmp_path / "out", images=small)
    assert run.spec["steps"] == 20
    assert not list((home.root / "steps").glob("*.json"))


@pytest.mark.parametrize("changes", [{"steps": 3}, {"preview": True}, {"strengths": (0.0,)}])
def test_nothing_is_measured_where_steps_are_given_or_change_nothing(home, small, tmp_path, changes):
    run = auto(home, tmp_path / "out", images=small, **changes)
    assert "measuring" not in run.counts
    assert not (home.root / "steps").exists()


def test_a_kept_measurement_that_says_nothing_is_none(home):
    path = home.root / "steps" / "key.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"decibels": null, "evaluations": 612, "images": 4, "steps": 4}')
    assert stepping.kept(home, "key") == stepping.Measurement(4, np.inf, 4, 612)
    for text in (
        "",
        "{}",
        "[]",
        "null",
        "[" * 100_000,
        path.read_text().replace("4}", "7}"),
        '{"steps": 1e999}',
    ):
        path.write_text(text)
        assert stepping.kept(home, "key") is None, text[:20]
    path.write_bytes(b"\xff")
    assert stepping.kept(home, "key") is None


def test_an_estimate_measures_nothing_and_says_so(home, small, tmp_path, no_network):
    job = ApplyJob(((first(home).id, 1.0),), (2.0,), tmp_path / "out", small, beyond=True)
    assert job.steps is None
    told = estimate(home, None, job)
    assert (told.steps, told.evaluations) == (None, 5 * 41)
    assert estimate(home, None, replace(job, steps=4)).evaluations == 5 * 9


def test_the_command_line_takes_auto_a_number_and_nothing_else(loco, home, small, tmp_path):
    options = ("apply", "--direction", f"{first(home).id}:2", "--images", small, "--out", tmp_path / "out")
    dry = (*options, "--dry-run", "--json")
    recipe = tmp_path / "edit.toml"
    recipe.write_text("steps = 4\n")
    assert [one["steps"] for one in loco(*dry, "--recipe", recipe).json] == [4]
    assert [one["steps"] for one in loco(*dry, "--recipe", recipe, "--steps", "auto").json] == [None]
    assert [one["steps"] for one in loco(*dry, "--steps", "6").json] == [6]
    recipe.write_text('steps = "auto"\n')
    assert [one["steps"] for one in loco(*dry, "--recipe", recipe).json] == [None]
    assert "auto" in loco("apply", "--help").out
    for bad in ("0", "some", "-3", "2.5"):
        loco(*dry, "--steps", bad, code=2)


def test_its_words_tell_of_too_few():
    assert "less than the 48 dB wanted" in stepping.Measurement(20, 31.25, 4, 900).told(True)
    assert stepping.Measurement(4, 49.1, 4, 612).told(True) == (
        "steps 4: 49.1 dB to those of 60, the worst of 4 images; measured with 612 evaluations"
    )


@pytest.mark.parametrize(("solver", "order"), [("ddim", 1), ("dpm2", 2)])
@pytest.mark.parametrize("steps", [2, 3, 4, 5, 6])
def test_what_is_nearer_to_30_steps_than_to_60_is_told_as_of_60(solver, order, steps):
    """Where errors are c / steps^order, in closed form."""
    at = {k: 1.0 + 0.3 / k**order for k in (steps, 30, 60)}
    to_30, to_60 = (-20 * np.log10(abs(at[steps] - at[k])) for k in (30, 60))
    assert to_30 + stepping._further(steps, 30, stepping._ORDERS[solver]) == pytest.approx(to_60)
    assert -1.1 < stepping._further(steps, 30, order) < 0
    assert stepping._further(steps, 60, order) == 0
