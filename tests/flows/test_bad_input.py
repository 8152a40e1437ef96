"""What is wrong is said exactly, with the exit code that goes with it, and costs nothing that is right."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from loco.errors import RegistryBusy, StorageError
from loco.images import EXTENSIONS
from registry.database.locks import locked
from registry.registry import Registry
from tests.flows.helpers import (
    REPOSITORY,
    applied,
    counts,
    discovered,
    first,
    leftovers,
    patch,
    picture,
    save,
    small_disk,
    state,
)
from tests.registry.builders import make_basis

REMEDY = "free or enlarge the disk, or make the folder writable, then run the same command again"
IN_THE_WAY = "move it away, then run the same command again"


@pytest.fixture
def folder(tmp_path):
    """Three images of 12 x 12 with masks, to be spoiled."""
    folder = tmp_path / "mine"
    for number in range(3):
        save(folder / f"{number}.png", picture(20 + number))
        save(folder / "masks" / "patch" / f"{number}.png", patch())
    return folder


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "quick.toml"
    file.write_text("t = 0.5\nsteps = 2\nrank = 1\nnull_rank = 1\nmax_rounds = 2\ntol = 0.5\n")
    return file


@pytest.fixture
def discover(loco, registry, recipe):
    """`loco discover` of `patch` on a dataset, `photos` unless named."""

    def ask(*more, dataset="photos", code=0, prefect=False):
        words = ("--model", "tiny", "--dataset", dataset, "--recipe", recipe)
        return loco("--json", "discover", *words, *(more or ("--roi", "patch")), code=code, prefect=prefect)

    return ask


def error(outcome):
    """Kind and message of a command that failed, said the same for programs and for people."""
    last = outcome.json[-1]["error"]
    assert outcome.err.splitlines()[-1] == f"error: {last['message']}"
    return last["type"], last["message"]


def manifest(home, outcome):
    """The lines that the run's manifest has for its items."""
    text = (home.root / outcome.json[-1]["manifest"]).read_text()
    return [line for line in map(json.loads, text.splitlines()) if line["kind"] != "run"]


def finished(outcome):
    last = outcome.json[-1]
    return last["status"], tuple(last["counts"][name] for name in ("planned", "done", "skipped", "failed"))


# Models


@pytest.mark.parametrize("what", ["missing", "empty", "another"])
def test_a_folder_that_is_no_model(loco, home, tmp_path, what):
    folder = tmp_path / "model"
    messages = {
        "missing": f"model folder {folder} does not exist; name the folder of a diffusers pipeline",
        "empty": f"model folder {folder}: expected a diffusers pipeline in model_index.json, found no such file; "
        f"name the folder of a diffusers pipeline (saved with save_pretrained)",
        "another": f"model folder {folder}: expected one of DDPMPipeline, LDMPipeline, StableDiffusionPipeline, "
        "StableDiffusionXLPipeline, LatentConsistencyModelPipeline, IFPipeline, KolorsPipeline, DiTPipeline, "
        "PixArtAlphaPipeline, ChromaPipeline, StableDiffusion3Pipeline, FluxPipeline, Lumina2Pipeline, "
        "SanaPipeline, AuraFlowPipeline, HunyuanDiTPipeline, "
        "QwenImagePipeline, Flux2KleinPipeline, found 'AudioLDMPipeline'",
    }
    if what != "missing":
        folder.mkdir()
    if what == "another":
        (folder / "model_index.json").write_text('{"_class_name": "AudioLDMPipeline"}')
    assert error(loco("--json", "model", "add", "m", folder, code=1)) == ("ModelError", messages[what])
    assert not home.root.exists()


def test_a_model_that_went_away_or_changed(loco, home, discover, tiny, other, tmp_path):
    mine = shutil.copytree(tiny, tmp_path / "model")
    loco("model", "add", "tiny", mine)
    mine.rename(tmp_path / "moved")
    message = f"model folder {mine} does not exist; name the folder of a diffusers pipeline"
    assert error(discover(code=1)) == ("ModelError", message)
    was = Registry(home).model("tiny").id
    shutil.copytree(other, mine)
    kind, message = error(discover(code=1))
    assert kind == "ModelError"
    assert message.startswith(f"model 'tiny' changed since it was added: {mine} now holds ")
    assert message.endswith(f"expected {was[:12]}; add it again with `loco model add tiny {mine}`")
    assert {run.status for run in Registry(home).runs()} == {"failed"}
    shutil.rmtree(mine)
    (tmp_path / "moved").rename(mine)
    assert finished(discover()) == ("done", (6, 6, 0, 0))


# Masks and images


def test_a_mask_of_another_size(loco, home, registry, folder, discover):
    save(folder / "masks" / "patch" / "1.png", patch(36, 36))
    loco("dataset", "add", "mine", folder)
    outcome = discover(dataset="mine")
    assert finished(outcome) == ("done", (3, 3, 0, 0))
    note = "mask 36 x 36 resized to 12 x 12"
    assert f"note: 1.png: {note}" in outcome.err
    assert [line["notes"] for line in manifest(home, outcome)] == [[], [note], []]
    masks = {basis.image_name: basis.rois[0].mask for basis in map(registry.basis, basis_ids(home))}
    assert np.array_equal(masks["0.png"], masks["1.png"])


def basis_ids(home):
    return [path.stem for path in home.bases.glob("*/*.safetensors")]


def test_an_empty_mask_is_absent_and_no_failure_whatever_the_budget(loco, home, registry, folder, discover):
    save(folder / "masks" / "patch" / "1.png", np.zeros((12, 12), np.uint8))
    loco("dataset", "add", "mine", folder)
    cause = "ROI 'patch' of 1.png is empty at 12 x 12: no pixel of mask:patch/1.png is inside"
    for expected in ((3, 2, 0, 0), (3, 0, 2, 0)):
        outcome = discover("--roi", "patch", "--max-failures", "1%", dataset="mine")
        assert finished(outcome) == ("done", expected)
        assert outcome.json[-1]["counts"]["absent"] == 1
        assert f"absent: 1.png: {cause}" in outcome.err
        [line] = [line for line in manifest(home, outcome) if line["kind"] == "absent"]
        assert (line["image"], line["absent"], line["failures"]) == ("1.png", [["patch", cause]], [])
        run = outcome.json[-1]["id"]
        assert f"absent: 1.png: {cause}" in loco("jobs", "show", run).out
        shown = loco("--json", "jobs", "show", run).json[0]
        assert (shown["absent"], shown["failures"]) == (
            [{"image": "1.png", "absent": [["patch", cause]]}],
            [],
        )
        assert "1 absent" in loco("jobs", "list", "--limit", "1").out
    assert len(registry.find()) == 2


def test_where_all_regions_are_absent_the_run_is_done_and_says_to_look(loco, folder, discover):
    for number in range(3):
        save(folder / "masks" / "patch" / f"{number}.png", np.zeros((12, 12), np.uint8))
    loco("dataset", "add", "mine", folder)
    outcome = discover(dataset="mine")
    assert finished(outcome) == ("done", (3, 0, 0, 0))
    assert "note: none of the 3 images has any of these regions: look at their masks" in outcome.err


def test_a_region_that_vanishes_at_the_models_size_is_absent(loco, folder, discover):
    save(folder / "1.png", picture(1, 96, 96))
    mask = np.zeros((96, 96), np.uint8)
    mask[0, 0] = 255
    save(folder / "masks" / "patch" / "1.png", mask)
    loco("dataset", "add", "mine", folder)
    outcome = discover(dataset="mine")
    assert finished(outcome) == ("done", (3, 2, 0, 0))
    assert (
        "absent: 1.png: ROI 'patch' of 1.png is empty at 8 x 8: its 1 pixels at 96 x 96 fall between the model's"
    ) in outcome.err


def test_a_region_of_nearly_everything_is_warned_of(loco, folder, discover):
    save(folder / "masks" / "patch" / "1.png", np.full((12, 12), 255, np.uint8))
    loco("dataset", "add", "mine", folder)
    assert (
        "note: 1.png: ROI 'patch' covers 100 % of the image: next to nothing is outside of it; "
        "if it should not, look at its mask"
    ) in discover(dataset="mine").err


def test_an_image_with_one_empty_region_keeps_the_other(loco, home, registry, folder, discover):
    save(folder / "masks" / "patch" / "1.png", np.zeros((12, 12), np.uint8))
    loco("dataset", "add", "mine", folder)
    rois = ("--roi", "patch", "--roi", "lower=box:0,0.5,1,1")
    assert finished(discover(*rois, dataset="mine")) == ("done", (3, 3, 0, 0))
    assert sorted(one.roi for one in registry.find()) == ["lower"] * 3 + ["patch"] * 2
    save(folder / "masks" / "patch" / "1.png", patch())
    assert finished(discover(*rois, dataset="mine")) == ("done", (3, 1, 2, 0))
    assert sorted(one.roi for one in registry.find()) == ["lower"] * 3 + ["patch"] * 3


def test_an_image_without_a_mask(loco, folder, discover):
    (folder / "masks" / "patch" / "2.png").unlink()
    loco("dataset", "add", "mine", folder)
    outcome = discover(dataset="mine", code=3)
    assert finished(outcome) == ("partial", (3, 2, 0, 1))
    looked_for = f"{folder / 'masks' / 'patch' / '2'}.png (or {', '.join(EXTENSIONS[1:])})"
    assert f"failed: 2.png (patch): ROI 'patch' of 2.png: no mask {looked_for}" in outcome.err


def test_an_image_that_does_not_decode(loco, registry, folder, discover):
    (folder / "text.png").write_text("no image")
    (folder / "torn.png").write_bytes((folder / "0.png").read_bytes()[:200])
    outcome = loco("dataset", "add", "mine", folder, code=3)
    message = f"{folder / 'text.png'}: not an image (expected PNG, JPEG, WebP, BMP, TIFF, GIF, AVIF or HEIC)"
    assert f"unreadable: text.png: {message}" in outcome.err
    assert f"unreadable: torn.png: {folder / 'torn.png'}: truncated or damaged (" in outcome.err
    assert [name for name, _ in registry.dataset("mine").unreadable] == ["text.png", "torn.png"]
    assert finished(discover(dataset="mine")) == ("done", (3, 3, 0, 0))


def test_an_image_that_was_spoiled_since(loco, home, folder, discover, tmp_path):
    loco("dataset", "add", "mine", folder)
    save(folder / "0.png", picture(99))
    (folder / "1.png").write_bytes(b"")
    outcome = discover(dataset="mine", code=3)
    assert finished(outcome) == ("partial", (3, 1, 0, 2))
    changed = f"{folder / '0.png'} changed since it was added; run `loco dataset add` again"
    assert f"failed: 0.png: {changed}" in outcome.err
    assert f"failed: 1.png: {folder / '1.png'}: empty file (0 bytes)" in outcome.err
    out, direction = tmp_path / "out", first(home).id
    ask = ("apply", "--direction", f"{direction}:2", "--out", out, "--steps", 2, "--beyond")
    outcome = loco("--json", *ask, "--dataset", "mine", code=3)
    assert finished(outcome) == ("partial", (3, 1, 0, 2))
    assert f"failed: 0.png -> 0__patch-{direction[:8]}__+2.png: {changed}" in outcome.err
    outcome = loco("--json", *ask, "--images", folder, code=3)
    assert finished(outcome) == ("partial", (3, 1, 1, 1))
    [line] = [line for line in manifest(home, outcome) if line["kind"] == "failure"]
    assert line["cause"] == f"{folder / '1.png'}: empty file (0 bytes)"


# Names


def test_an_unknown_region(discover, no_server):
    message = "dataset 'photos' has no ROI 'nose'; it has: patch; or give a box: nose=box:x0,y0,x1,y1"
    assert error(discover("--roi", "patch", "--roi", "nose", code=2, prefect=True)) == (
        "UnknownName",
        message,
    )


def test_an_unknown_direction(loco, filled, photos, tmp_path, no_server):
    ask = ("--json", "apply", "--images", photos, "--out", tmp_path / "out", "--direction")
    kind, message = error(loco(*ask, "0123456789:2", code=2, prefect=True))
    assert kind == "UnknownName"
    assert (
        message
        == "no direction has an id beginning with '0123456789'; `loco directions list` shows those there are"
    )
    assert not (tmp_path / "out").exists()


def test_directions_that_cannot_be_applied(loco, home, filled, other, photos, tmp_path, no_server):
    mine = first(home)
    filled.add(make_basis(5, shape=(3, 16, 16)), make_basis(6, model=mine.model, shape=(3, 16, 16)))
    [stranger] = filled.find(roi="hair", image="face_005.png", limit=1)
    [misfit] = filled.find(roi="hair", image="face_006.png", limit=1)
    ask = ("--json", "apply", "--images", photos, "--out", tmp_path / "out", "--strength", 2, "--direction")
    two = error(loco(*ask, mine.id, "--direction", stranger.id, code=2, prefect=True))
    assert two == (
        "InputError",
        f"direction {stranger.short} belongs to model {stranger.model[:12]} with shape (3, 16, 16), direction "
        f"{mine.short} to model {mine.model[:12]} with shape (3, 8, 8): only directions of one model can be applied "
        f"together",
    )
    assert error(loco(*ask, stranger.id, code=2, prefect=True)) == (
        "InputError",
        f"direction {stranger.short} belongs to model {stranger.model[:12]}, which is not registered here; add it "
        f"with `loco model add NAME SOURCE`; registered are: tiny ({mine.model[:12]})",
    )
    assert error(loco(*ask, misfit.id, code=2, prefect=True)) == (
        "InputError",
        f"direction {misfit.short} has shape (3, 16, 16), model 'tiny' works at (3, 8, 8)",
    )


# The catalogue held by another process


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setitem(Registry.__init__.__kwdefaults__, "timeout", 0.3)


def test_a_catalogue_that_another_process_holds(home, registry, discover, impatient):
    command = [sys.executable, "-m", "tests.registry.worker", str(home.root), "hold", "exclusive"]
    holder = subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        kind, message = error(discover(code=1))
    finally:
        holder.communicate("\n", timeout=30)
    assert kind == "RegistryBusy"
    assert message.startswith(f"the catalogue {home.catalogue} is held by process {holder.pid} (")
    assert message.endswith("(waited 0.3 s); wait for it or stop it")
    assert registry.runs() == []
    assert finished(discover()) == ("done", (6, 6, 0, 0))


def test_a_catalogue_that_is_taken_in_the_middle(home, registry, impatient):
    """Rows cannot be written; the files are, and the same command takes them from there."""
    from flows.discover.chunk import discover_chunk

    with locked_after(home, discover_chunk) as work, pytest.raises(RegistryBusy, match="is held by process"):
        discovered(home, rois=("patch",), work=work)
    assert len(basis_ids(home)) == 4
    assert registry.find() == []
    assert counts(discovered(home, rois=("patch",))) == (6, 2, 4, 0)
    assert len(registry.find()) == 6
    assert registry.verify() == []


class locked_after:
    """Work whose first chunk ends with the catalogue locked by somebody else."""

    def __init__(self, home, work):
        self.lock, self.work = locked(home.catalogue, exclusive=True, timeout=5), work

    def __enter__(self):
        def work(chunk):
            outcomes = self.work(chunk)
            self.lock.__enter__()
            return outcomes

        return work

    def __exit__(self, *error):
        self.lock.__exit__(*error)


# The disk


def test_a_full_disk_under_one_output(home, filled, tmp_path, words):
    """The large image does not fit, the small ones do."""
    from flows.apply.stream import apply_chunk

    images, out = tmp_path / "images", tmp_path / "out"
    save(images / "large.png", picture(1, 90, 90))
    for name in ("a", "b"):
        save(images / f"{name}.png", picture(2))

    def work(chunk):
        with small_disk(9000):
            return apply_chunk(chunk)

    run = applied(home, out, images=images, strengths=(2.0,), work=work, watch=words)
    assert (run.status, counts(run)) == ("partial", (3, 2, 0, 1))
    name = f"large__patch-{first(home).id[:8]}__+2.png"
    assert words.said == [f"failed: large.png -> {name}: cannot write {out / name}: File too large; {REMEDY}"]
    assert leftovers(out) == []
    assert filled.verify() == []
    run = applied(home, out, images=images, strengths=(2.0,))
    assert counts(run) == (3, 1, 2, 0)


def test_a_full_disk_under_the_outputs_manifest(home, filled, tmp_path, words):
    """An output without its whole line counts as failed, and is made again."""
    from flows.apply.stream import apply_chunk

    images, out = tmp_path / "images", tmp_path / "out"
    for name in ("a", "b", "c"):
        save(images / f"{name}.png", picture(2, 4, 4))

    def work(chunk):
        with small_disk(2200):
            return apply_chunk(chunk)

    run = applied(home, out, images=images, strengths=(0.0,), work=work, watch=words)
    assert (run.status, counts(run)) == ("partial", (3, 2, 0, 1))
    assert all(f"cannot write {out / 'manifest.jsonl'}: " in text and REMEDY in text for text in words.said)
    assert counts(applied(home, out, images=images, strengths=(0.0,))) == (3, 1, 2, 0)
    assert counts(applied(home, out, images=images, strengths=(0.0,))) == (3, 0, 3, 0)
    assert filled.verify() == []


def test_a_full_disk_under_the_bases(home, registry, words):
    from flows.discover.chunk import discover_chunk

    def work(chunk):
        with small_disk(1000):
            return discover_chunk(chunk)

    run = discovered(home, rois=("patch",), work=work, watch=words, limit=2)
    assert (run.status, counts(run)) == ("failed", (2, 0, 0, 2))
    assert all(f"cannot write {home.bases}" in text and REMEDY in text for text in words.said)
    assert basis_ids(home) == []
    assert leftovers(home.root) == []
    assert registry.verify() == []
    assert counts(discovered(home, rois=("patch",))) == (6, 6, 0, 0)


def test_a_full_disk_from_the_start(home, registry):
    """The run cannot even be recorded: nothing of it is left."""
    with small_disk(100), pytest.raises(StorageError) as caught:
        discovered(home)
    assert str(caught.value).startswith(f"cannot write {home.runs}")
    assert str(caught.value).endswith(REMEDY)
    assert (registry.runs(), registry.verify(), list(home.runs.iterdir())) == ([], [], [])
    assert leftovers(home.root) == []
    assert counts(discovered(home)) == (6, 6, 0, 0)


def test_a_full_disk_under_the_catalogue(home, registry):
    """Files fit, rows do not: the same command takes the files from there."""
    with small_disk(4000), pytest.raises(StorageError) as caught:
        discovered(home, rois=("patch",))
    assert str(caught.value).startswith(f"cannot use the catalogue {home.catalogue}: ")
    assert str(caught.value).endswith(REMEDY)
    assert leftovers(home.root) == []
    found = len(basis_ids(home))
    assert counts(discovered(home, rois=("patch",))) == (6, 6 - found, found, 0)
    assert len(registry.find()) == 6
    assert registry.verify() == []


def test_a_file_where_a_basis_folder_must_be(home, registry, loco, discover):
    discover()
    [path, *kept] = sorted(home.bases.glob("*/*.safetensors"))
    before = state(*(one for one in kept if one.parent != path.parent))
    shutil.rmtree(path.parent)
    path.parent.write_text("in the way")
    outcome = discover(code=3)
    status, (planned, done, skipped, failed) = finished(outcome)
    assert (status, planned, done, skipped, failed) == ("partial", 6, 0, len(before), 6 - len(before))
    assert f"cannot write {path}: " in outcome.err
    assert IN_THE_WAY in outcome.err
    assert state(*before) == before
    path.parent.unlink()
    assert finished(discover())[0] == "done"
    assert registry.verify() == []


def test_a_file_where_results_must_go(loco, home, filled, photos, tmp_path):
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "out"
    ask = ("--json", "apply", "--images", photos, "--direction", f"{first(home).id}:2", "--out", out)
    message = f"cannot write {out}: File exists; a file has that name; {IN_THE_WAY}"
    assert error(loco(*ask, code=1)) == ("StorageError", message)
    assert [run.kind for run in filled.runs()] == ["discover"]
    assert "is a file" in loco(*ask[:-1], tmp_path / "file", code=2).err


def test_a_file_where_one_result_must_go(loco, home, filled, tmp_path):
    images, out = tmp_path / "images", tmp_path / "out"
    for name in ("a.png", "sub/b.png", "c.png"):
        save(images / name, picture(3))
    out.mkdir()
    (out / "sub").write_text("in the way")
    direction = first(home).id
    ask = ("--json", "apply", "--images", images, "--direction", f"{direction}:2", "--out", out, "--steps", 2)
    outcome = loco(*ask, code=3)
    assert finished(outcome) == ("partial", (3, 2, 0, 1))
    name = f"sub/b__patch-{direction[:8]}__+2.png"
    assert f"failed: sub/b.png -> {name}: cannot write {out / name}: " in outcome.err
    assert IN_THE_WAY in outcome.err
    (out / "sub").unlink()
    assert finished(loco(*ask)) == ("done", (3, 1, 2, 0))


def test_a_file_where_the_home_must_be(loco, home, tiny):
    home.root.write_text("in the way")
    assert "is a file" in loco("model", "list", code=2).err
    below = home.root / "below"
    kind, message = error(loco("--json", "--home", below, "model", "add", "m", tiny, code=1))
    assert kind == "StorageError"
    assert str(home.root) in message
    assert message.endswith(IN_THE_WAY)
    assert home.root.read_text() == "in the way"
