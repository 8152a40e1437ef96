"""Bulk application without Prefect: names, formats, manifests, and what is not done twice."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flows.apply.stream import apply_chunk
from loco.errors import InputError, UnknownName
from loco.ids import file_id
from loco.images import read_image
from registry.registry import Registry
from tests.flows.helpers import applied, counts, discovered, first, leftovers, picture, save, state


@pytest.fixture
def images(tmp_path):
    """Three images, one of them in a folder."""
    folder = tmp_path / "images"
    save(folder / "a.png", picture(10))
    save(folder / "b.jpg", picture(11, 20, 9))
    save(folder / "sub" / "c.webp", picture(12, 5, 30))
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def outputs(out):
    return sorted(path for path in out.rglob("*__*") if path.is_file())


def names(out):
    return [path.relative_to(out).as_posix() for path in outputs(out)]


def lines(out):
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def pixels(path):
    return np.array(Image.open(path))


def test_names_counts_rows_and_manifests(home, filled, images, out):
    run = applied(home, out, images=images)
    assert (run.kind, run.status, counts(run)) == ("apply", "done", (6, 6, 0, 0))
    title = f"patch-{first(home).id[:8]}"
    expected = [f"{stem}__{title}__{sign}2.png" for stem in ("a", "b", "sub/c") for sign in "+-"]
    assert names(out) == sorted(expected)
    for stem, name in (("a", "a.png"), ("b", "b.jpg"), ("sub/c", "sub/c.webp")):
        up, down = (pixels(out / f"{stem}__{title}__{sign}2.png") for sign in "+-")
        source = read_image(images / name).pixels
        assert up.shape == down.shape == source.shape
        assert (up != source).any()
        assert (up != down).any()
    edits = filled.edits(run.id)
    assert {one.output for one in edits} == {str(path) for path in outputs(out)}
    assert all(one.checksum == file_id(out / one.output) for one in edits)
    assert {line["output"] for line in lines(out)} == set(names(out))
    assert filled.verify() == []
    assert leftovers(out) == []


def test_the_table(home, filled, images, out):
    applied(home, out, images=images)
    rows = pq.read_table(out / "manifest.parquet").to_pylist()
    assert [row["output"] for row in rows] == names(out)
    for row in rows:
        assert row["checksum"] == file_id(out / row["output"])
        assert row["image_id"] == file_id(images / row["image"])
        assert row["directions"] == [first(home).id]
        assert row["weights"] == [row["strength"]]
        assert (row["t"], row["steps"]) == (0.5, 2)
        assert row["change"] > 0


def test_what_is_there_is_skipped_and_what_is_not_is_made(home, filled, images, out, monkeypatch):
    applied(home, out, images=images)
    deleted, flipped, *kept = outputs(out)
    sound, before = [pixels(path).astype(int) for path in (deleted, flipped)], state(*kept)
    deleted.unlink()
    flipped.write_bytes(flipped.read_bytes()[:-1] + b"?")
    assert len(filled.verify()) == 2
    again = applied(home, out, images=images)
    assert (again.status, counts(again)) == ("done", (6, 2, 4, 0))
    for path, was in zip((deleted, flipped), sound, strict=True):
        assert abs(pixels(path) - was).max() <= 1  # another batch rounds otherwise
    assert state(*kept) == before
    assert filled.verify() == []
    table = (out / "manifest.parquet").read_bytes()

    def refuse(*_):
        raise AssertionError("the network was opened")

    monkeypatch.setattr("flows.device.models.open_fast", refuse)
    assert counts(applied(home, out, images=images)) == (6, 0, 6, 0)
    assert (out / "manifest.parquet").read_bytes() == table


def test_what_verify_advises_about_a_lost_output_brings_it_back(home, filled, images, out):
    run = applied(home, out, images=images)
    outputs(out)[0].unlink()
    [problem] = filled.verify()
    assert problem.trouble == "the output image is missing"
    assert problem.remedy == (
        f"run the same `loco apply` again; `loco jobs show {run.id}` tells what it was asked for"
    )
    applied(home, out, images=images)
    assert filled.verify() == []


def test_one_more_strength_costs_one_more(home, filled, images, out):
    applied(home, out, images=images, strengths=(2.0,))
    before = state(*outputs(out))
    run = applied(home, out, images=images, strengths=(2.0, 3.5))
    assert counts(run) == (6, 3, 3, 0)
    assert state(*before) == before
    assert f"a__patch-{first(home).id[:8]}__+3.5.png" in names(out)


SOURCES = {
    "square.png": lambda path: save(path, picture(1, 16, 16)),
    "wide.png": lambda path: save(path, picture(2, 37, 11)),
    "tall.png": lambda path: save(path, picture(3, 7, 50)),
    "dot.png": lambda path: save(path, picture(4, 1, 1)),
    "model.png": lambda path: save(path, picture(5, 8, 8)),
    "photo.jpg": lambda path: save(path, picture(6, 33, 20)),
    "photo.webp": lambda path: save(path, picture(7, 20, 33)),
    "scan.tif": lambda path: save(path, picture(8, 21, 20)),
    "paint.bmp": lambda path: save(path, picture(9, 20, 21)),
    "gray.png": lambda path: save(path, picture(10, 9, 9)[:, :, 0]),
    "alpha.png": lambda path: save(path, np.dstack([picture(11, 9, 13), picture(12, 9, 13)[:, :, 0]])),
    "deep.png": lambda path: save(path, picture(13, 9, 9)[:, :, 0].astype(np.uint16) * 257),
    "palette.png": lambda path: Image.fromarray(picture(14, 9, 9)).quantize(8).save(path),
}


def test_strength_zero_is_the_input(home, filled, out, tmp_path):
    folder = tmp_path / "sources"
    for name, write in SOURCES.items():
        folder.mkdir(exist_ok=True)
        write(folder / name)
    for format in ("png", "webp"):
        run = applied(home, out, images=folder, strengths=(0.0,), format=format)
        assert counts(run) == (len(SOURCES), len(SOURCES), 0, 0)
        for name in SOURCES:
            title = f"{first(home).roi}-{first(home).id[:8]}__+0.{format}"
            stem = name if name.startswith("photo") else name.rpartition(".")[0]
            with Image.open(folder / name) as source:
                expected = np.array(source) if name == "alpha.png" else read_image(folder / name).pixels
            assert np.array_equal(pixels(out / f"{stem}__{title}"), expected), name


def test_stems_that_collide_keep_their_endings(home, filled, out, tmp_path):
    folder = tmp_path / "same"
    files = ("a.png", "a.jpg", "a.png.webp", "b.png", "sub/a.png")
    for number, name in enumerate(files):
        save(folder / name, picture(number))
    run = applied(home, out, images=folder, strengths=(0.0,))
    assert counts(run) == (5, 5, 0, 0)
    stems = [name.partition("__")[0] for name in names(out)]
    assert sorted(stems) == ["a.jpg", "a.png", "a.png.webp", "b", "sub/a"]
    for line in lines(out):
        assert np.array_equal(pixels(out / line["output"]), read_image(folder / line["image_name"]).pixels)


def test_formats(home, filled, images, out):
    for format, kind in (("jpg", "JPEG"), ("webp", "WEBP")):
        applied(home, out, images=images, strengths=(2.0,), format=format, limit=1)
        [path] = [path for path in outputs(out) if path.suffix == f".{format}"]
        with Image.open(path) as image:
            assert image.format == kind
    with pytest.raises(InputError, match="format must be png, jpg or webp, found 'gif'"):
        applied(home, out, images=images, format="gif")


def test_a_weighted_sum_of_directions(home, filled, images, out):
    one, two = filled.find(sort="id", limit=2)
    directions = ((one.id[:12], 1.0), (two.id, -0.5))
    applied(home, out, images=images, directions=directions, strengths=(2.0,), limit=1)
    assert names(out) == [f"a__patch-{one.id[:8]}+patch-{two.id[:8]}x-0.5__+2.png"]
    assert lines(out)[0]["recipe"]["directions"] == [[one.id, 2.0], [two.id, -1.0]]


def test_over_a_dataset(home, filled, photos, out):
    run = applied(home, out, dataset="photos", strengths=(2.0,), limit=2)
    assert counts(run) == (2, 2, 0, 0)
    assert run.spec["images"] == str(photos)


def test_results_among_the_images_are_no_images(home, filled, images):
    out = images / "edited"
    assert counts(applied(home, out, images=images, strengths=(0.0,))) == (3, 3, 0, 0)
    assert counts(applied(home, out, images=images, strengths=(0.0,))) == (3, 0, 3, 0)


def test_the_same_image_twice(home, filled, out, tmp_path):
    folder = tmp_path / "twins"
    for name in ("a.png", "b.png"):
        save(folder / name, picture(1))
    assert counts(applied(home, out, images=folder, strengths=(2.0,))) == (2, 2, 0, 0)
    first_, second = outputs(out)
    assert first_.read_bytes() == second.read_bytes()
    assert counts(applied(home, out, images=folder, strengths=(2.0,))) == (2, 0, 2, 0)
    assert filled.verify() == []


def test_a_catalogue_that_is_gone_comes_back_from_the_files(home, filled, images, out):
    direction = first(home).id
    run = applied(home, out, images=images)
    home.catalogue.unlink()
    again = applied(home, out, images=images, directions=((direction, 1.0),))
    assert counts(again) == (6, 0, 6, 0)
    assert len(filled.edits(run.id)) == 6
    assert filled.verify() == []


def test_another_catalogue_is_told_of_what_is_there(home, filled, images, out, tmp_path, template):
    """As after a kill between the outputs and their rows."""
    import shutil

    from registry.home import Home

    direction = first(home).id
    applied(home, out, images=images)
    fresh = Home(tmp_path / "fresh")
    shutil.copytree(template.root, fresh.root)
    again = applied(fresh, out, images=images, directions=((direction, 1.0),))
    assert counts(again) == (6, 0, 6, 0)
    assert len(Registry(fresh).edits(again.id)) == 6
    assert Registry(fresh).verify() == []


def test_rows_that_a_kill_left_unwritten_are_written_for_the_run_that_made_them(
    home, filled, images, out, monkeypatch
):
    """As after a kill between the run's manifest and the catalogue."""
    from registry.index import rows

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(rows, "put_edits", killed)
        with pytest.raises(KeyboardInterrupt):
            applied(home, out, images=images)
    [broken] = filled.runs("apply")
    again = applied(home, out, images=images)
    assert counts(again) == (6, 0, 6, 0)
    assert len(filled.edits(broken.id)) == 6
    assert filled.edits(again.id) == []
    assert filled.verify() == []


def test_a_manifest_with_a_torn_end(home, filled, images, out):
    """The output whose line was torn is made again; the next line is a line of its own."""
    applied(home, out, images=images)
    manifest = out / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-20] + b"\xff")
    assert counts(applied(home, out, images=images)) == (6, 1, 5, 0)
    assert counts(applied(home, out, images=images)) == (6, 0, 6, 0)
    assert pq.read_table(out / "manifest.parquet").num_rows == 6


def test_what_a_kill_left_half_written_is_swept(home, filled, images, out):
    left = out / "sub" / f".{'a' * 32}.partial"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    foreign = out / ".rsync.partial"
    foreign.write_bytes(b"not ours")
    applied(home, out, images=images, strengths=(0.0,))
    assert leftovers(out) == [foreign]


def test_directions_of_different_t_are_added_each_at_its_own(home, filled, images, out):
    """Coarse to fine: the files are those of `loco.edit`, the recipe says it, and another level is another edit."""
    from dataclasses import replace

    import torch

    from flows.apply.planning import plan_edits
    from flows.device.models import open_model
    from flows.jobs import ApplyJob
    from loco.edit import edit
    from loco.images import read_image, to_model
    from tests.flows.helpers import RECIPE

    discovered(home, rois=("patch",), recipe=replace(RECIPE, t=0.3), limit=1)
    [low] = filled.find(t=0.3)
    [high] = filled.find(t=0.5, limit=1)
    both = ((low.id, 1.0), (high.id, 1.0))

    def recipes(directions, **more):
        job = ApplyJob(directions, (3.0,), out, images=images, beyond=True, **more)
        return [one.recipe for one in plan_edits(filled, job, 6)[0]]

    [recipe] = recipes(both)
    assert (recipe.t, recipe.levels) == (0.5, (0.3, 0.5))
    assert [(one.t, one.levels) for one in recipes(both, t=0.4)] == [(0.4, ())]
    assert (
        recipes(((f"{low.id}@0.5", 1.0), (high.id, 1.0)))[0].levels == ()
    )  # both at one level: an edit as ever
    assert recipes(((f"{low.id}@0.2", 1.0), (high.id, 1.0)))[0].levels == (0.2, 0.5)
    for refused in ({"unit": "sd"}, {"preview": True}):
        with pytest.raises(InputError, match=r"added at different t \(0.3, 0.5\)"):
            recipes(both, **refused)
    fitting = images.with_name("fitting")
    save(fitting / "8.png", picture(13, 8, 8))  # of the model's size, so that nothing is resampled
    run = applied(home, out, images=fitting, directions=both, strengths=(3.0,), steps=6, beyond=True)
    assert counts(run) == (1, 1, 0, 0)
    [path] = out.rglob("*@0.3+0.5__+3.png")
    x0 = torch.from_numpy(to_model(read_image(fitting / "8.png").pixels, (8, 8)))[None]
    vectors = filled.vectors([low, high])
    denoiser = open_model(filled.models()[0], "float32", "cpu")
    expected = edit(denoiser, x0, recipe, vectors)
    plain = edit(denoiser, x0, replace(recipe, levels=()), vectors)
    shown = torch.from_numpy(to_model(read_image(path).pixels, (8, 8)))[None]
    assert (shown - expected.clamp(-1, 1)).abs().max() <= 1.01 / 255
    assert (plain - expected).abs().max() > 4 / 255


def test_file_names_of_edits_differ(home, filled, images, out):
    from dataclasses import replace

    from tests.flows.helpers import RECIPE

    discovered(home, rois=("patch",), recipe=replace(RECIPE, t=0.3), limit=1)
    [low] = filled.find(t=0.3)
    [high] = filled.find(t=0.5, limit=1)
    both = ((low.id, 1.0), (high.id, 1.0))
    assert counts(applied(home, out, images=images, directions=both, t=0.4, limit=1)) == (2, 2, 0, 0)
    with pytest.raises(InputError, match="two of them would be written to one file"):
        applied(home, out, images=images, directions=both, t=0.4, strengths=(1.0, 1.0 + 1e-12))


@pytest.mark.parametrize("where", [{}, {"images": "x", "dataset": "photos"}])
def test_images_or_a_dataset(home, filled, out, where):
    with pytest.raises(InputError, match="either --images DIR or --dataset NAME"):
        applied(home, out, **where)


def test_nothing_is_made_for_a_job_that_cannot_be(home, filled, images, out, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match="no images to edit; expected PNG, JPEG, WebP, BMP, TIFF, GIF, AVIF or HEIC files"
    ):
        applied(home, out, images=tmp_path / "empty")
    with pytest.raises(InputError, match="no such file or folder"):
        applied(home, out, images=tmp_path / "nowhere")
    with pytest.raises(UnknownName):
        applied(home, out, images=images, directions=(("0" * 32, 1.0),))
    assert not out.exists()
    assert [run.kind for run in filled.runs()] == ["discover"]


def test_a_chunk_that_another_process_worked_on_is_taken_as_it_is(home, filled, images, out):
    """Work may be anything that turns a chunk into outcomes; chunks can be sent to other processes."""
    import pickle

    run = applied(
        home,
        out,
        images=images,
        work=lambda chunk: pickle.loads(pickle.dumps(apply_chunk(chunk))),  # noqa: S301
    )
    assert counts(run) == (6, 6, 0, 0)
