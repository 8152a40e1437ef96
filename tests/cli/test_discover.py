import pytest

from loco.recipes import DiscoverRecipe
from tests.flows.helpers import picture, save
from tests.registry.builders import make_model, make_run
from tests.toys import save_pipeline

ASK = ("discover", "--model", "faces", "--dataset", "portraits", "--roi", "hair")


@pytest.fixture
def flow(fake_flow, filled):
    """What the flow was given; its run ends as `flow.status` says."""

    class Flow:
        status = "done"
        job = None

        def run(self, home, url, job, watch):
            self.home, self.url, self.job = home, url, job
            watch.total(1)
            watch.advance()
            watch.say("a word")
            return make_run(kind="discover", status=self.status)

    flow = Flow()
    fake_flow("flows.start", run=flow.run)
    return flow


def test_what_the_flow_is_given(loco, flow, home):
    outcome = loco(
        *ASK, "--roi", "mouth=box:0,0.5,1,1", "--roi", "hair", "--limit", 2, "--t", 0.4, "--null-rank", 0
    )
    assert (flow.home, flow.url) == (home, None)
    assert (flow.job.model, flow.job.dataset, flow.job.limit) == ("faces", "portraits", 2)
    assert flow.job.rois == ("hair", "mouth=box:0,0.5,1,1")
    assert flow.job.recipe == DiscoverRecipe(t=0.4, null_rank=0)
    assert outcome.err.splitlines() == ["discover: 1 of 1", "a word"]
    run = make_run()
    assert outcome.out.splitlines() == [
        f"run       {run.id}",
        "status    done",
        "items     planned 3, done 3",
        f"manifest  {home.root / run.manifest}",
    ]


def test_memory_is_a_matter_of_the_job_and_not_of_the_recipe(loco, flow):
    loco(*ASK, "--t", 0.4, "--max-memory", 1.5)
    assert flow.job.max_memory == 1.5
    assert flow.job.recipe == DiscoverRecipe(t=0.4)
    assert "0.0 is not in the range 0<x<=65536" in loco(*ASK, "--max-memory", 0, code=2).err


def test_words_are_knobs_of_the_recipe(loco, flow):
    loco(*ASK, "--prompt", "a face", "--guidance", 3, "--edit-prompt", "a face smiling", "--rows", "cells")
    assert flow.job.recipe == DiscoverRecipe(
        t=0.6, prompt="a face", guidance=3.0, edit_prompt="a face smiling", rows="cells"
    )
    assert "need a prompt" in loco(*ASK, "--guidance", 3, code=2).err


@pytest.mark.parametrize(("status", "code"), [("done", 0), ("partial", 3), ("failed", 1)])
def test_exit_codes(loco, flow, status, code):
    flow.status = status
    outcome = loco(*ASK, "--json", code=code)
    assert outcome.json[0]["status"] == status
    hint = f"not everything was done; `loco jobs show {make_run().id}` tells what failed and why"
    assert (hint in outcome.err) == bool(code)


def test_options_come_before_the_file_before_the_model(loco, flow, tmp_path):
    file = tmp_path / "recipe.toml"
    loco(*ASK)
    assert flow.job.recipe == DiscoverRecipe(t=0.6)
    file.write_text("t = 0.3\nrank = 4\nseed = 7\nsteps = 9\n")
    loco(*ASK, "--recipe", file)
    assert flow.job.recipe == DiscoverRecipe(t=0.3, rank=4, seed=7, steps=9)
    loco(*ASK, "--recipe", file, "--t", 0.2, "--rank", 1)
    assert flow.job.recipe == DiscoverRecipe(t=0.2, rank=1, seed=7, steps=9)


@pytest.mark.parametrize(
    ("said", "t"), [("abar:0.646", 0.4), ("snr:1.825", 0.4), ("logsnr:0.6015", 0.4), ("abar:0.0259", 0.896)]
)
def test_a_level_said_by_signal_and_noise_is_the_models_t(loco, flow, filled, tmp_path, said, t):
    """alpha_bar 0.646 is t = 0.4 of the embedded model's cosine schedule: the recipe has that number."""
    filled.add_model(make_model(source="zoo:faces32"))
    loco(*ASK, "--t", said)
    assert flow.job.recipe == DiscoverRecipe(t=t)
    file = tmp_path / "recipe.toml"
    file.write_text(f't = "{said}"')
    loco(*ASK, "--recipe", file)
    assert flow.job.recipe == DiscoverRecipe(t=t)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            "abar:1.5",
            "Error: Invalid value for '--t': abar:X: expected an alpha_bar between 0 and 1, found 'abar:1.5'",
        ),
        (
            "snr:-1",
            "Error: Invalid value for '--t': snr:X: expected a signal-to-noise ratio above 0 (of powers; its "
            "logarithm is said as logsnr:X), found 'snr:-1'",
        ),
        (
            "abar:0.99999",
            "error: model 'faces' has no level abar:0.99999: its levels are snr:2.43e-09 to snr:2.42e+04",
        ),
        ("noise:3", "Error: Invalid value for '--t': 'noise:3' is not a valid float range."),
    ],
)
def test_levels_that_the_model_does_not_have_are_wrong_usage(loco, flow, filled, said, message):
    filled.add_model(make_model(source="zoo:faces32"))
    assert loco(*ASK, "--t", said, code=2).err.endswith(message)
    assert flow.job is None


def test_where_j_is_taken_is_a_knob_of_the_recipe(loco, flow):
    loco(*ASK, "--point", "noised", "--draws", 4)
    assert flow.job.recipe == DiscoverRecipe(t=0.6, point="noised", draws=4)
    assert loco(*ASK, "--draws", 4, code=2).err.endswith(
        "error: recipe: draws above 1 need a point that is drawn (filled or noised), found 4 draws of inverted"
    )


def test_the_method_is_a_knob_of_the_recipe_and_another_is_usual_across(loco, flow):
    loco(*ASK, "--method", "constrained")
    assert flow.job.recipe == DiscoverRecipe(t=0.6, method="constrained")
    loco(*ASK, "--across")
    assert flow.job.recipe == DiscoverRecipe(t=0.6, method="constrained")
    loco(*ASK, "--across", "--method", "projected")
    assert flow.job.recipe == DiscoverRecipe(t=0.6)


def test_a_level_must_come_from_somewhere(loco, flow, filled):
    filled.add_model(make_model(recommended_t=None))
    message = (
        "error: model 'faces' recommends no noise level; measure one with `loco analyze --model faces --use "
        "--out DIR`, or pass one with --t, for example --t 0.6"
    )
    assert loco(*ASK, "--dry-run", code=2).err == message
    assert flow.job is None


def test_where_nothing_recommends_a_level_one_is_measured_kept_and_told(loco, flow, tmp_path):
    """The README's own lines on one's own model; a second run has the same level without a second look."""
    save_pipeline(tmp_path / "model")
    save(tmp_path / "photos" / "0.png", picture(0))
    loco("model", "add", "mine", tmp_path / "model")
    loco("dataset", "add", "faces", tmp_path / "photos")
    ask = ("discover", "--model", "mine", "--dataset", "faces", "--roi", "mouth=box:0.2,0.2,0.8,0.8")
    assert "null_rank must be" in loco(*ask, "--recipe", bad(tmp_path), code=2).err
    first = loco(*ask).err.splitlines()
    t = flow.job.recipe.t
    assert first[0].startswith("model 'mine' recommends no noise level: looking at t = ")
    assert first[0].endswith(" on 1 of the images")
    assert any(line.startswith(f"t = {t:g}: ") for line in first)
    assert (
        f"t = {t:g} is the model's default now; `loco analyze --model mine --use` measures one with more care, "
        "--t says another"
    ) in first
    assert loco("--json", "model", "show", "mine").json[0]["recommended_t"] == t
    assert "looking at" not in loco(*ask).err
    assert flow.job.recipe.t == t


def bad(folder):
    file = folder / "bad.toml"
    file.write_text("null_rank = -1")
    return file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "tt = 1",
            "error: recipe: unknown name 'tt'; known are t, steps, rank, null_rank, tol, max_rounds, ",
        ),
        ("t = 1.5", "error: recipe: t must lie in (0, 1), found 1.5"),
        ("rank = 0", "error: recipe: rank must be a whole number from 1 to 10000, found 0"),
        ("rank =", "error: recipe file {file} is not TOML: "),
        (None, "error: recipe file {file} does not exist"),
    ],
)
def test_recipe_files_that_are_none(loco, flow, tmp_path, text, message):
    file = tmp_path / "recipe.toml"
    if text is not None:
        file.write_text(text)
    assert loco(*ASK, "--recipe", file, code=2).err.startswith(message.format(file=file))
    assert flow.job is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("discover",), "Error: Missing option '--model'."),
        (("discover", "--model", "faces", "--dataset", "portraits"), "Error: Missing option '--roi'."),
        ((*ASK, "--t", "1"), "Error: Invalid value for '--t': 1.0 is not in the range 0<x<1."),
        ((*ASK, "--t", "nan"), "Error: Invalid value for '--t': nan is not a finite number."),
        ((*ASK, "--rank", "0"), "Error: Invalid value for '--rank': 0 is not in the range 1<=x<=10000."),
        (
            (*ASK, "--limit", "0"),
            "Error: Invalid value for '--limit': 0 is not in the range 1<=x<=1000000000000.",
        ),
        ((*ASK, "--roi", "a b"), "error: ROI name 'a b': only letters, digits, _ and - are allowed"),
        ((*ASK, "--roi", "eye=1"), "error: ROI 'eye=1': expected NAME or NAME=box:x0,y0,x1,y1"),
        (
            (*ASK, "--model", "none"),
            "error: no model is called 'none'; known are faces; add one with `loco model add NAME SOURCE`",
        ),
    ],
)
def test_wrong_usage(loco, flow, arguments, message):
    assert loco(*arguments, code=2).err.endswith(message)
    assert flow.job is None
