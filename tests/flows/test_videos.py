"""Videos: frames are images in the order in which they are shown, and edited ones become a video again."""

import io
import json
import re
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from flows.engine.options import Shard
from flows.inputs.places import Source
from flows.inputs.sources import Fetcher, list_sources
from flows.outputs.videos import INDEX, assemble, read_index
from loco.errors import ImageError, InputError
from loco.images import encode
from loco.measure.flicker import Flicker
from tests.flows.helpers import Words, applied, counts, leftovers, state

COUNT = 30


def drifting(count=COUNT, height=24, width=32):
    """A soft bar that moves by half a pixel a frame: a picture that a codec keeps well, and each frame another."""
    x = np.arange(width)[None, :, None]
    y = np.linspace(0, 1, height)[:, None, None]
    bars = [np.exp(-(((x - width / 4 - k / 2) / 4) ** 2)) for k in range(count)]
    colour = np.array([0.9, 0.5, 0.3])
    return [(255 * (0.15 + 0.4 * y + 0.4 * bar * colour)).clip(0, 255).astype(np.uint8) for bar in bars]


def film(
    path, frames, *, times=None, rate=Fraction(24), codec="libx264", sound=None, options=None, aspect=None
):
    """A video file of frames, as PyAV writes it; `sound` has 16000 samples a second."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, options=options or {"crf": "10", "g": "8"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = base = Fraction(1, 1200)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        heard = out.add_stream("aac", rate=16000, layout="mono") if sound is not None else None
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.time_base = base
            frame.pts = times[number] if times else round(number / rate / base)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if heard is not None:
            noise = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            noise.sample_rate, noise.pts = 16000, 0
            out.mux(heard.encode(noise))
            out.mux(heard.encode(None))
    return path


def shown(path):
    """Times in seconds and pixels of a video, decoded from its beginning, as any player does."""
    with av.open(str(path)) as file:
        frames = [
            (float(one.pts * one.time_base), one.to_ndarray(format="rgb24")) for one in file.decode(video=0)
        ]
    return [one for one, _ in frames], [one for _, one in frames]


def psnr(first, second):
    error = np.mean((first.astype(float) - second.astype(float)) ** 2)
    return 10 * np.log10(255**2 / error)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return film(tmp_path_factory.mktemp("films") / "clip.mp4", drifting())


def read(fetcher, source):
    return np.asarray(Image.open(io.BytesIO(fetcher.read(source))).convert("RGB"))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov", "clip.mkv", "clip.m4v", "who?.mp4"])
def test_frames_are_those_that_a_player_shows_in_any_order(tmp_path, name):
    path = film(tmp_path / name, drifting(), options={"crf": "10", "g": "8", "bf": "2"})
    sources = list(list_sources(str(path)))
    assert [one.name for one in sources] == [f"{path.stem}/{k:06d}.png" for k in range(COUNT)]
    expected = shown(path)[1]
    fetcher = Fetcher()
    for number in [0, 1, 2, 17, 16, 29, 3, 28, 5]:  # onwards, backwards, across keyframes
        np.testing.assert_array_equal(read(fetcher, sources[number]), expected[number])
    assert psnr(expected[20], drifting()[20]) > 30
    fetcher.close()


def test_a_codec_without_times_is_read_from_its_beginning(tmp_path):
    path = film(tmp_path / "old.avi", drifting(), codec="mpeg4", options={"qscale": "2"}, rate=Fraction(25))
    sources = list(list_sources(str(path)))
    expected = shown(path)[1]
    assert len(sources) == len(expected)
    fetcher = Fetcher()
    for number in (4, 2, 20):
        np.testing.assert_array_equal(read(fetcher, sources[number]), expected[number])
    fetcher.close()


def test_an_edited_video_has_the_times_the_size_and_the_sound_of_its_source(home, filled, tmp_path):
    times = [0, 50, 100, 300, 350, 1000]  # of an unsteady rate
    path = film(tmp_path / "clip.mp4", drifting(6), times=times, sound=click(0.5, 1.0))
    out = tmp_path / "out"
    run = applied(home, out, images=path, strengths=(0.0, 2.0))
    assert run.counts["done"] == 12
    videos = sorted(one.name for one in out.glob("*.mp4"))
    assert len(videos) == 2
    still, edited = videos
    assert still.startswith("clip__")
    assert still.endswith("__+0.mp4")
    for name in videos:
        seconds, frames = shown(out / name)
        assert seconds == pytest.approx([one / 1200 for one in times])
        assert frames[0].shape == (24, 32, 3)
        with av.open(str(out / name)) as file:
            assert [one.codec_context.name for one in file.streams.audio] == ["aac"]
    originals = shown(path)[1]
    for before, after in zip(originals, shown(out / still)[1], strict=True):
        assert psnr(before, after) > 34  # colours are told and read alike
    clips = {one.file: one for one in read_index(out)}
    assert clips[still].flicker == 0
    assert clips[edited].flicker > 0
    assert clips[edited].frames == 6
    assert not leftovers(out)


def click(second, seconds=2.5):
    """Sound of 16000 samples a second that is silent but for a tone of 50 ms at a second."""
    found = np.zeros(round(16000 * seconds), np.float32)
    begin = round(16000 * second)
    found[begin : begin + 800] = np.sin(np.arange(800))
    return found


def heard(path):
    """When a video's click is heard and when its sound ends, in seconds."""
    with av.open(str(path)) as file:
        frames = [(float(one.pts * one.time_base), one.to_ndarray()[0]) for one in file.decode(audio=0)]
    end = frames[-1][0] + len(frames[-1][1]) / 16000
    times = [time + k / 16000 for time, block in frames for k in np.flatnonzero(np.abs(block) > 0.3)]
    return (times[0] if times else None), end


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_part_of_a_video_has_its_part_of_the_sound_in_step(home, filled, tmp_path, name):
    path, out = film(tmp_path / name, drifting(), sound=click(1.0)), tmp_path / "out"
    assert heard(path)[0] == pytest.approx(1.0, abs=0.01)
    applied(home, tmp_path / "first", images=path, limit=15, strengths=(0.0,))
    [first] = (tmp_path / "first").glob("*.mp4")
    assert heard(first) == (None, pytest.approx(15 / 24, abs=0.07))  # a packet has 64 ms
    applied(home, out, images=path, shard=Shard(2, 2), strengths=(0.0,))
    [second] = out.glob("*.mp4")
    assert shown(second)[0][0] == 0
    assert heard(second) == (pytest.approx(1 - 15 / 24, abs=0.01), pytest.approx(2.5 - 15 / 24, abs=0.07))


def test_pictures_that_begin_after_the_sound_stay_in_step_with_it(home, filled, tmp_path):
    times = [600 + 50 * k for k in range(6)]  # half a second late
    path = film(tmp_path / "clip.mkv", drifting(6), times=times, sound=click(0.7))
    applied(home, tmp_path / "out", images=path, strengths=(0.0,))
    [made] = (tmp_path / "out").glob("*.mp4")
    late = shown(path)[0][0]
    assert late == pytest.approx(0.5, abs=0.07)
    assert shown(made)[0][0] == 0
    assert heard(made)[0] == pytest.approx(heard(path)[0] - late, abs=0.01)


def test_sound_that_outlasts_the_last_picture_stays(home, filled, tmp_path):
    path = film(tmp_path / "clip.mp4", drifting(1), sound=click(2.2))
    applied(home, tmp_path / "out", images=path, strengths=(0.0,))
    [made] = (tmp_path / "out").glob("*.mp4")
    assert heard(made) == (pytest.approx(2.2, abs=0.01), pytest.approx(heard(path)[1], abs=0.01))


def test_the_same_command_makes_no_video_again_and_a_frame_that_changed_does(home, filled, tmp_path, clip):
    out = tmp_path / "out"
    applied(home, out, images=clip, limit=8)
    before = state(*out.glob("*.mp4"))
    assert len(before) == 2
    applied(home, out, images=clip, limit=8)
    assert state(*out.glob("*.mp4")) == before
    applied(home, out, images=clip, limit=9)
    assert {one.frames for one in read_index(out)} == {9}


def test_a_frame_without_an_edit_is_the_sources_own_and_counted(home, filled, tmp_path, clip):
    out = tmp_path / "out"
    applied(home, out, images=clip, limit=5, strengths=(2.0,))
    [made] = out.glob("*.mp4")
    made.unlink()
    [lost] = out.glob("clip/000002__*.png")
    lost.unlink()
    [found] = assemble(out)
    assert (found.frames, found.kept) == (5, 1)
    frames, originals = shown(out / found.file)[1], shown(clip)[1]
    assert psnr(frames[2], originals[2]) > 32 > psnr(frames[1], originals[1])


def test_a_video_of_which_no_frame_was_edited_is_not_made(home, filled, tmp_path, clip):
    run = applied(home, tmp_path / "out", images=clip, limit=3, strengths=(2.0,), confine="nobody")
    assert run.counts["failed"] == 3
    assert not [*(tmp_path / "out").glob("*.mp4")]


def turned(path):
    """Let an .mp4 say that its pictures are shown turned by a quarter."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # ISO/IEC 14496-12, 8.3.2: the matrix of a header of version 0
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize("quarter", [False, True])
def test_pixels_that_are_no_squares_are_turned_with_their_picture(home, filled, tmp_path, quarter):
    path, out = film(tmp_path / "clip.mp4", drifting(2), aspect=Fraction(2)), tmp_path / "out"
    if quarter:
        turned(path)
    applied(home, out, images=path, strengths=(0.0,))
    [made] = out.glob("*.mp4")
    with av.open(str(made)) as file:
        [context] = [one.codec_context for one in file.streams.video]
        size, aspect = (context.width, context.height), context.sample_aspect_ratio
    assert (size, aspect) == (((24, 32), Fraction(1, 2)) if quarter else ((32, 24), Fraction(2)))


def test_what_is_not_ours_stays(home, filled, tmp_path, clip):
    out = tmp_path / "out"
    applied(home, out, images=clip, limit=3, strengths=(2.0,))
    [made] = out.glob("*.mp4")
    (out / INDEX).unlink()
    made.write_bytes(b"mine")
    failed = []
    assert assemble(out, fail=lambda *one: failed.append(one)) == []
    assert made.read_bytes() == b"mine"
    told = f"{made} is there, and videos.json does not say that it is ours: it stays as it is; move it away"
    assert failed == [(str(clip), made.name, told)]


def test_a_name_that_is_too_long_costs_its_own_video_alone(home, filled, tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    for name in ("x" * 245, "clip"):
        film(films / f"{name}.mp4", drifting(2))
    watch = Words()
    run = applied(home, tmp_path / "out", images=films, strengths=(2.0,), watch=watch)
    assert (run.status, counts(run)) == ("partial", (5, 4, 0, 1))
    [made] = (tmp_path / "out").glob("*.mp4")
    assert made.name.startswith("clip__")
    assert [one for one in watch.said if "File name too long" in one]


def red(path):
    """The mean of the first channel of a video's first frame."""
    return shown(path)[1][0][..., 0].mean()


def two_films(folder, first, second):
    """Films of three dark frames and of two bright ones."""
    folder.mkdir(exist_ok=True)
    for name, count, value in ((first, 3, 40), (second, 2, 200)):
        (folder / name).parent.mkdir(exist_ok=True)
        film(folder / name, [np.full((24, 32, 3), value, np.uint8)] * count)
    return folder


def test_videos_of_one_stem_are_told_apart_by_their_endings(home, filled, tmp_path):
    films, out = two_films(tmp_path / "films", "my__clip.mp4", "my__clip.mkv"), tmp_path / "out"
    applied(home, out, images=films, strengths=(0.0,))
    bright, dark = sorted(out.glob("*.mp4"))
    assert bright.name.startswith("my__clip.mkv__")
    assert dark.name.startswith("my__clip.mp4__")
    assert (len(shown(dark)[0]), len(shown(bright)[0])) == (3, 2)
    assert red(dark) < 100 < red(bright)
    before = state(*out.glob("*.mp4"))
    applied(home, out, images=films, strengths=(0.0,))
    assert state(*out.glob("*.mp4")) == before


def test_no_video_takes_the_place_of_one_of_another_source(home, filled, tmp_path):
    films, out = two_films(tmp_path / "films", "one/clip.mp4", "two/clip.mp4"), tmp_path / "out"
    applied(home, out, images=films / "one" / "clip.mp4", strengths=(0.0,))
    [first] = out.glob("*.mp4")
    before = state(first)
    for name in ("two", "one", "two"):  # frames are named alike, so that those of the last run are there
        applied(home, out, images=films / name / "clip.mp4", strengths=(0.0,))
        assert state(first) == before
        [second] = set(out.glob("*.mp4")) - {first}
        assert second.name == first.name.replace("clip__", "clip.mp4__")
        assert red(first) < 100 < red(second)
    assert {(one.file, one.frames) for one in read_index(out)} == {(first.name, 3), (second.name, 2)}


def test_what_was_made_of_a_frame_under_another_name_is_not_shown_twice(home, filled, tmp_path):
    films, out = two_films(tmp_path / "films", "clip.mp4", "clip.mkv"), tmp_path / "out"
    applied(home, out, images=films / "clip.mp4", strengths=(0.0,))
    applied(home, out, images=films, strengths=(0.0,))  # twins: their outputs have other names
    applied(home, out, images=films, strengths=(0.0,), format="jpg")
    assert sorted(one.frames for one in read_index(out)) == [2, 3]


@pytest.mark.parametrize("name", ["../escaped", "/{}/escaped", "clip/../../escaped"])
def test_a_manifest_that_was_changed_leads_no_video_out_of_its_folder(home, filled, tmp_path, clip, name):
    out = tmp_path / "out"
    applied(home, out, images=clip, limit=2, strengths=(2.0,))
    manifest = out / "manifest.jsonl"
    name = name.format(tmp_path)
    lines = [json.loads(one) for one in manifest.read_text().splitlines()]
    for line in lines:
        base = line["image_name"].partition("/")[2]
        line |= {"image_name": f"{name}/{base}", "output": line["output"].replace("clip/", f"{name}/")}
    manifest.write_text("".join(f"{json.dumps(one)}\n" for one in lines))
    before, said = sorted(tmp_path.rglob("*")), []
    assert assemble(out, say=said.append) == []
    assert sorted(tmp_path.rglob("*")) == before
    assert said == [
        f"{manifest}: 2 lines name what is not in the folder ({lines[0]['output']}) and are passed over; "
        "somebody changed them"
    ]


def test_a_folder_of_frames_becomes_a_video_in_the_order_of_its_numbers(home, filled, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    frames = drifting(11)
    for number, pixels in enumerate(frames):
        (folder / f"f{number}.png").write_bytes(encode(pixels, "png"))  # f10 comes after f9
    applied(home, tmp_path / "out", images=folder, strengths=(0.0,))
    assert assemble(tmp_path / "out") == []
    [found] = assemble(tmp_path / "out", rate=Fraction(12))
    seconds, after = shown(tmp_path / "out" / found.file)
    assert seconds == pytest.approx([k / 12 for k in range(11)])
    assert all(psnr(one, other) > 30 for one, other in zip(frames, after, strict=True))


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3])


def playlist(path):
    path.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")


def concat(path):
    path.write_text("ffconcat version 1.0\nfile /etc/passwd\n")


def sound_alone(path):
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=16000, layout="mono")
        noise = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        noise.sample_rate = 16000
        out.mux(stream.encode(noise))
        out.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut, "not a video that can be read, or cut off"),
        (lambda path: path.write_bytes(b""), "not a video that can be read"),
        (lambda path: path.write_bytes(b"\0" * 4096), "not a video that can be read"),
        (playlist, "not a video that can be read"),
        (concat, "not a video that can be read"),
        (sound_alone, "without moving pictures"),
    ],
)
def test_what_is_no_video_is_refused_with_the_reason(tmp_path, spoil, said):
    path = film(tmp_path / "clip.mp4", drifting(4))
    spoil(path)
    with pytest.raises(InputError, match=said):
        list(list_sources(str(path)))


def test_damage_costs_the_frames_that_it_hit(tmp_path):
    path = film(tmp_path / "clip.mkv", drifting())
    whole = shown(path)[1]
    data = bytearray(path.read_bytes())
    path.write_bytes(data[: int(len(data) * 0.6)])
    fetcher = Fetcher()
    sources = [Source(f"clip/{k:06d}.png", str(path), "video", k) for k in range(COUNT)]
    np.testing.assert_array_equal(read(fetcher, sources[3]), whole[3])
    with pytest.raises(ImageError, match="not there"):
        fetcher.read(sources[-1])
    np.testing.assert_array_equal(read(fetcher, sources[4]), whole[4])
    fetcher.close()


@pytest.mark.parametrize("name", ["clip.mkv", "clip.webm"])
def test_what_a_file_that_was_cut_off_has_lost_is_told(tmp_path, name):
    codec, options = ("libx264", None) if name.endswith("mkv") else ("libvpx-vp9", {"crf": "20"})
    path = film(tmp_path / name, drifting(), codec=codec, options=options)
    assert len(list(list_sources(str(path)))) == COUNT
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    *frames, lost = list_sources(str(path))
    left = shown(path)[0]
    assert len(frames) == len(left) < COUNT
    assert lost.name == "clip"
    assert re.fullmatch(
        rf"{path}: cut off or damaged after {len(left)} frames: it ends at {left[-1] + 1 / 24:.2f}\d of "
        r"1\.250 s; what followed is lost",
        lost.trouble,
    )


@pytest.mark.parametrize("name", ["clip.mkv", "clip.avi"])
def test_a_whole_file_is_not_told_to_be_cut_off(tmp_path, name):
    path = film(tmp_path / name, drifting(4), codec="mpeg4", rate=Fraction(2), sound=click(0.5, 4.0))
    assert [one.trouble for one in list_sources(str(path))] == [""] * 4


def test_flicker_is_the_moving_of_the_change_over_that_of_the_video():
    rng = np.random.default_rng(0)
    still, moving, copied = Flicker(), Flicker(), Flicker()
    for k in range(5):
        source = np.full((4, 4, 3), 100 + 10 * k, np.uint8)
        still.add(source, source + np.uint8(7))
        moving.add(source, source + np.uint8(5 * k))  # half as fast as the video
        copied.add(source[:1] * 0, rng.integers(0, 255, (1, 4, 3), np.uint8))
    assert still.value == 0
    assert moving.value == pytest.approx(0.5)
    assert copied.value is None  # the video stands still


def test_the_command_tells_the_same(home, filled, tmp_path, clip, loco):
    out = tmp_path / "out"
    applied(home, out, images=clip, limit=4, strengths=(2.0,))
    [told] = loco("outputs", "video", out, "--json").json
    assert (told["frames"], told["kept"]) == (4, 0)
    assert loco("outputs", "video", out, "--rate", "0", code=2).err.count("frames a second")
    assert "no manifest" in loco("outputs", "video", tmp_path / "in", code=2).err


@pytest.mark.parametrize("spoil", ["gone", "sizes", "foreign"])
def test_a_video_that_cannot_be_made_is_told_by_the_exit_code(home, filled, tmp_path, loco, spoil):
    path, out = film(tmp_path / "clip.mp4", drifting(2)), tmp_path / "out"
    if spoil == "sizes":
        path = tmp_path / "frames"
        path.mkdir()
        for number in (1, 2):
            Image.new("RGB", (16 * number, 16)).save(path / f"{number}.png")
    applied(home, out, images=path, strengths=(2.0,))
    for made in out.glob("*.mp4"):
        made.write_bytes(b"mine")
        (out / INDEX).unlink()
        if spoil == "gone":
            made.unlink()
            path.unlink()
    outcome = loco("outputs", "video", out, "--rate", 24, code=3)
    assert outcome.out == ""
    assert "no frames of a video" not in outcome.err
    cause = {"gone": "no such file", "sizes": "are of one size", "foreign": "stays as it is"}[spoil]
    assert [one for one in outcome.err.splitlines() if one.startswith("failed: ") and cause in one]


def test_a_run_that_could_not_make_a_video_is_partial_and_says_why(home, filled, tmp_path, clip, loco):
    out = tmp_path / "out"
    applied(home, out, images=clip, limit=2, strengths=(2.0,))
    [made] = out.glob("*.mp4")
    (out / INDEX).unlink()
    run = applied(home, out, images=clip, limit=2, strengths=(2.0,))
    assert (run.status, counts(run)) == ("partial", (3, 0, 2, 1))
    assert f"{clip} -> {made.name}: {made} is there" in loco("jobs", "show", run.id).out
