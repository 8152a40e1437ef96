import pytest

from flows.jobs import ApplyJob, Mix
from tests.registry.builders import make_model, make_run

A, B = "aaaaaa", "bbbbbb"


@pytest.fixture
def flow(fake_flow):
    class Flow:
        status = "done"
        job = None

        def run(self, home, url, job, watch):
            self.job = job
            return make_run(status=self.status)

    flow = Flow()
    fake_flow("flows.start", run=flow.run)
    return flow


@pytest.fixture
def ask(loco, tmp_path, monkeypatch):
    """`loco apply` on a dataset, into a folder of the test."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, where=("--dataset", "portraits"), **more):
        return loco("apply", *where, "--out", "edited", *arguments, **more)

    return run


@pytest.mark.parametrize(
    ("options", "directions", "strengths"),
    [
        (f"--direction {A}:4", ((A, 1.0),), (4.0,)),
        (f"--direction {A}:-4", ((A, 1.0),), (-4.0,)),
        (f"--direction {A} --strength 4", ((A, 1.0),), (4.0,)),
        (f"--direction {A}", ((A, None),), ()),
        (f"--direction {A} --direction {B}:4", ((A, None), (B, 4.0)), ()),
        (f"--direction {A} --strength -4 --strength 4 --strength 4", ((A, 1.0),), (-4.0, 4.0)),
        (f"--direction {A}:2 --strength 3", ((A, 2.0),), (3.0,)),
        (f"--direction {A}:4 --direction {B}:-2", ((A, 4.0), (B, -2.0)), (1.0,)),
        (f"--direction {A}:4 --direction {B} --strength=-1.5", ((A, 4.0), (B, 1.0)), (-1.5,)),
        (f"--direction {A}:0", ((A, 1.0),), (0.0,)),
    ],
)
def test_what_the_numbers_mean(ask, flow, options, directions, strengths):
    ask(*options.split())
    assert (flow.job.directions, flow.job.strengths) == (directions, strengths)


def test_a_level_said_by_signal_and_noise_is_the_t_of_the_directions_model(ask, flow, filled, tmp_path):
    """alpha_bar 0.646 is t = 0.4 of the embedded model's cosine schedule, by option and by recipe."""
    filled.add_model(make_model(source="zoo:faces32"))
    name = filled.find(limit=1)[0].id
    ask("--direction", f"{name}:4", "--t", "abar:0.646")
    assert flow.job.t == 0.4
    file = tmp_path / "recipe.toml"
    file.write_text(f't = "snr:1.825"\ndirections = [["{name}", 4.0]]')
    ask("--recipe", file)
    assert flow.job.t == 0.4
    ask("--recipe", file, "--t", 0.3)
    assert flow.job.t == 0.3
    assert (
        "model 'faces' has no level abar:0.99999" in ask("--recipe", file, "--t", "abar:0.99999", code=2).err
    )
    file.write_text(f't = "half"\ndirections = [["{name}", 4.0]]')
    assert "error: recipe: t must lie in (0, 1), found 'half'" in ask("--recipe", file, code=2).err
    filled.remove_model("faces")
    told = ask("--direction", f"{name}:4", "--t", "abar:0.646", code=2).err
    assert "which is not registered here; add it with `loco model add NAME SOURCE`" in told


def test_what_the_flow_is_given(ask, flow, tmp_path, home):
    options = f"--direction {A}:4 --steps 7 --t 0.5 --format webp --limit 3"
    outcome = ask(*options.split(), where=("--images", "photos"))
    assert flow.job == ApplyJob(
        directions=((A, 1.0),),
        strengths=(4.0,),
        out=tmp_path / "edited",
        images=tmp_path / "photos",
        steps=7,
        t=0.5,
        format="webp",
        limit=3,
    )
    assert outcome.out.splitlines() == [
        f"run       {make_run().id}",
        "status    done",
        "items     planned 3, done 3",
        f"results   {tmp_path}/edited",
        f"manifest  {home.root / make_run().manifest}",
    ]


def test_defaults_are_the_jobs_own(ask, flow, tmp_path):
    ask("--direction", f"{A}:4")
    assert flow.job == ApplyJob(((A, 1.0),), (4.0,), tmp_path / "edited", dataset="portraits")


@pytest.mark.parametrize(("status", "code"), [("done", 0), ("partial", 3), ("failed", 1)])
def test_exit_codes(ask, flow, status, code):
    flow.status = status
    assert ask("--direction", f"{A}:4", "--json", code=code).json[0]["status"] == status


def test_a_recipe_file(ask, flow, tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(
        f'directions = [["{A}", 2], ["{B}", -1.0]]\nstrengths = [-3, 3]\nsteps = 9\nt = 0.4\nformat = "jpg"\n'
    )
    ask("--recipe", file)
    job = flow.job
    assert (job.directions, job.strengths) == (((A, 2.0), (B, -1.0)), (-3.0, 3.0))
    assert (job.steps, job.t, job.format) == (9, 0.4, "jpg")
    ask("--recipe", file, "--direction", B, "--strength", 5, "--steps", 2, "--t", 0.3, "--format", "png")
    job = flow.job
    assert (job.directions, job.strengths, job.steps, job.t, job.format) == (
        ((B, 1.0),),
        (5.0,),
        2,
        0.3,
        "png",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "strength = 1",
            "unknown name 'strength'; known are directions, strengths, steps, t, format, limit, "
            "solver, dtype, against, confine, feather, min_effect, preview, each, beyond, prompt, negative, guidance",
        ),
        (f'directions = ["{A}"]', f"directions must be like [[\"ID\", 1.0]], found '{A}'"),
        ('directions = [["", 1]]', "directions must be like [[\"ID\", 1.0]], found ['', 1]"),
        (f'directions = [["{A}", true]]', f"directions must be like [[\"ID\", 1.0]], found ['{A}', True]"),
        ("strengths = 4", "strengths must be like [-4.0, 4.0], found 4"),
        ("strengths = [inf]", 'strengths must be like [-4.0, 4.0] or ["0.5sd"], found [inf]'),
        ("t = 1.0", "t must lie in (0, 1), found 1.0"),
        ('t = "high"', "t must lie in (0, 1), found 'high'"),
        ("steps = 0", "steps must be a whole number from 1 to 10000, found 0"),
        (
            'format = "gif"',
            "format must be one of png, jpg, webp, webdataset, parquet, webdataset:jpg, webdataset:webp, "
            "parquet:jpg, parquet:webp, found 'gif'",
        ),
        ("limit = 0", "limit must be a whole number of at least 1, found 0"),
    ],
)
def test_recipe_files_that_are_none(ask, flow, tmp_path, text, message):
    file = tmp_path / "recipe.toml"
    file.write_text(text)
    options = ("--direction", f"{A}:4") if "directions" not in text else ()
    options = options if "strengths" not in text else ("--direction", A)
    assert ask(*options, "--recipe", file, code=2).err == f"error: recipe: {message}"
    assert flow.job is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "no direction to apply; give --direction ID:STRENGTH, ids are in `loco directions list`"),
        (f"--direction {A}:4 --images x", "expected either --images DIR or --dataset NAME, found both"),
    ],
)
def test_what_does_not_go_together(ask, flow, options, message):
    assert ask(*options.split(), code=2).err == f"error: {message}"
    assert flow.job is None


def test_all_that_can_be_chosen(ask, flow, tmp_path):
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text(
        f'directions = [["{A}", 1]]\nstrengths = ["0.5sd"]\nmin_effect = 0.2\nprompt = "a face"\nguidance = 3\n'
    )
    second.write_text(f'directions = [["{B}", 1]]\nstrengths = ["-1sd", "1sd"]\nlabel = "hair"\n')
    ask(
        *("--recipe", first, "--recipe", second, "--each", "--against", B, "--solver", "dpm2"),
        *("--confine", "mouth", "--masks", "m", "--preview", "--cache", "0.5", "--beyond"),
        where=("--images", "s3://bucket/photos"),
    )
    assert flow.job == ApplyJob(
        ((A, 1.0),),
        (0.5,),
        tmp_path / "edited",
        images="s3://bucket/photos",
        also=(Mix(((B, 1.0),), (-1.0, 1.0), "hair"),),
        each=True,
        unit="sd",
        solver="dpm2",
        against=(B,),
        confine="mouth",
        masks=tmp_path / "m",
        min_effect=0.2,
        preview=True,
        beyond=True,
        cache=2**29,
        prompt="a face",
        guidance=3,
    )
    assert flow.job.mixes == (Mix(((A, 1.0),), (0.5,)), *flow.job.also)


def test_each_direction_by_itself(ask, flow):
    ask("--direction", A, "--direction", f"{B}:2", "--strength", "3", "--each")
    assert flow.job.mixes == (Mix(((A, 1.0),), (3.0,)), Mix(((B, 2.0),), (3.0,)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "steps = 3",
            "a further recipe file can set directions, strengths, label, found 'steps'; put it into the "
            "first, it holds for all",
        ),
        ('strengths = ["1sd"]', "strengths of one job are all in lambda or all in sd, found sd and lambda"),
        ('label = "../up"', "label must be of letters, digits and -+._, found '../up'"),
    ],
)
def test_further_recipes_that_are_none(ask, flow, tmp_path, text, message):
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text(f'directions = [["{A}", 1]]\nstrengths = [1]\n')
    second.write_text(f'directions = [["{B}", 1]]\n{text}\n')
    assert ask("--recipe", first, "--recipe", second, code=2).err == f"error: recipe: {message}"


def test_strengths_of_two_units(ask, flow):
    outcome = ask("--direction", A, "--strength", "1", "--strength", "1sd", code=2)
    assert outcome.err == "error: strengths of one job are all in lambda or all in sd, found both"


def test_images_from_nowhere(ask, flow):
    message = "error: expected either --images DIR or --dataset NAME, found neither"
    assert ask("--direction", f"{A}:4", where=(), code=2).err == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (f"--direction {A}:strong", "Invalid value for '--direction': expected a number, found 'strong'"),
        (f"--direction {A}:", "Invalid value for '--direction': expected a number, found ''"),
        (
            "--direction :4",
            "Invalid value for '--direction': expected ID, ID:STRENGTH or ID:STRENGTH@T, found ':4'",
        ),
        (
            "--strength nan",
            "Invalid value for '--strength': expected a number, or one followed by sd, found 'nan'",
        ),
        ("--t 0", "Invalid value for '--t': 0.0 is not in the range 0<x<1."),
        (
            "--format gif",
            "Invalid value for '--format': 'gif' is not one of 'png', 'jpg', 'webp', 'webdataset', 'parquet', "
            "'webdataset:jpg', 'webdataset:webp', 'parquet:jpg', 'parquet:webp'.",
        ),
    ],
)
def test_wrong_usage(ask, flow, options, message):
    assert ask(*options.split(), code=2).err.endswith(f"Error: {message}")
    assert flow.job is None


def test_results_need_a_place(loco, flow):
    assert loco("apply", "--dataset", "x", code=2).err.endswith("Error: Missing option '--out'.")


@pytest.mark.parametrize(
    "ask",
    [
        ("apply", "--direction", "1:2", "--images", "", "--out", "out"),
        ("apply", "--direction", "1:2", "--images", " ", "--out", "out"),
        ("apply", "--direction", "1:2", "--images", "in", "--out", ""),
        ("apply", "--direction", "1:2", "--images", "in", "--out", "out", "--masks", ""),
        ("apply", "--direction", "1:2", "--images", "in", "--out", "out", "--recipe", ""),
        ("dataset", "add", "faces", ""),
        ("dataset", "list", "--home", ""),
        ("directions", "import", ""),
    ],
)
def test_a_path_that_is_nothing_is_not_the_current_folder(loco, ask):
    assert "expected a path, found '" in loco(*ask, code=2).err


def test_results_can_be_shards_or_one_file_that_is_there_already(ask, flow, tmp_path):
    ask("--direction", f"{A}:4", "--format", "webdataset:jpg")
    assert flow.job.format == "webdataset:jpg"
    (tmp_path / "edited.tar").write_bytes(b"of the last run")
    ask("--direction", f"{A}:4", "--out", tmp_path / "edited.tar")
    assert (flow.job.out, flow.job.format) == (tmp_path / "edited.tar", "png")


def test_a_file_and_a_format_that_do_not_go_together_are_refused(ask, flow, tmp_path):
    options = ("--direction", f"{A}:4", "--out", tmp_path / "edited.tar", "--format", "parquet")
    refused = ask(*options, code=2)
    assert refused.err == "error: --out edited.tar ends in .tar, --format parquet gives .parquet files"
    assert flow.job is None
