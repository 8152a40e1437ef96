"""The invisible mark: it is read again, it stays below the promised change, and nobody else's picture has it."""

import re
from pathlib import Path

import numpy as np
import pytest

from loco.errors import InputError
from loco.marks.watermark import PSNR, SMALLEST, THRESHOLD, check_key, key_id, marked, read
from loco.zoo.faces import faces
from tests.marks.attacks import ATTACKS

KEY = bytes(range(32))
DOCS = Path(__file__).parents[2] / "docs" / "marking.md"


def told():
    """What docs/marking.md says of 256 x 256: attack -> share of marks found, and of words read."""
    rows = [line.split("|") for line in DOCS.read_text().split("<!-- survival -->")[1].splitlines()]
    shares = {}
    for cells in rows:
        numbers = re.findall(r"(\d+) %", cells[5]) if len(cells) == 8 else []
        if numbers:
            shares[cells[1].strip()] = int(numbers[0]) / 100, int(numbers[-1]) / 100
    return shares


@pytest.fixture(scope="module")
def pictures():
    return faces(seed=77, count=6, size=256).images


def psnr(one, other):
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))


def test_every_word_is_read_again_within_the_promised_change(pictures):
    words = ("00000000", "ffffffff", "deadbeef", "01234567", "80000001", "5a5a5a5a")
    for picture, word in zip(pictures, words, strict=True):
        made = marked(picture, word, KEY)
        found = read(made, KEY)
        assert (found.present, found.payload) == (True, word)
        assert psnr(picture, made) >= PSNR - 0.05
        assert found.margin > 0.2


def test_the_table_of_the_docs_is_of_these_attacks():
    assert list(told()) == list(ATTACKS)


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_mark_outlives_what_the_docs_say(pictures, attack):
    found, words = told()[attack]
    read_again = [read(ATTACKS[attack](marked(one, "c0ffee42", KEY)), KEY) for one in pictures]
    present = [one.present for one in read_again]
    right = [one.present and one.payload == "c0ffee42" for one in read_again]
    for share, seen in ((found, present), (words, right)):
        if share in (0, 1):
            assert set(seen) == {bool(share)}
        else:
            assert abs(sum(seen) / len(seen) - share) < 0.5


def test_another_key_sees_nothing(pictures):
    for picture in pictures:
        assert not read(marked(picture, "c0ffee42", KEY), bytes(32)).present
        assert not read(picture, KEY).present


def test_the_chance_of_an_agreement_is_a_bound_whatever_the_picture():
    """Of random keys on one strongly patterned picture, no more fall below any level than the level says."""
    grid = np.indices((256, 256)).sum(0) // 8 % 2 * 255
    picture = np.repeat(grid[:, :, None], 3, 2).astype(np.uint8)
    found = [read(picture, k.to_bytes(16, "big")).p_value for k in range(200)]
    for level in (0.5, 0.1, 0.01):
        assert np.mean(np.array(found) < level) <= level


def test_the_same_input_gives_the_same_pixels(pictures):
    assert np.array_equal(
        marked(pictures[0], "deadbeef", KEY), marked(pictures[0], "deadbeef" + "0" * 24, KEY)
    )


@pytest.mark.parametrize("value", [0, 255])
def test_a_flat_picture_at_the_end_of_the_range_takes_what_it_can(value):
    picture = np.full((256, 256, 3), value, np.uint8)
    assert read(marked(picture, "deadbeef", KEY), KEY).present
    assert not read(picture, KEY).present


def test_what_cannot_carry_it_is_refused():
    small = np.zeros((SMALLEST - 1, 400, 3), np.uint8)
    with pytest.raises(
        InputError, match=f"needs {SMALLEST} pixels a side, the image is 400 x {SMALLEST - 1}"
    ):
        marked(small, "deadbeef", KEY)
    with pytest.raises(InputError, match="at least 16 bytes, found 3"):
        check_key(b"abc")


def test_a_key_is_called_by_what_does_not_give_it_away():
    assert key_id(KEY) != key_id(bytes(32))
    assert len(key_id(KEY)) == 16
    assert KEY.hex()[:8] not in key_id(KEY)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_none_of_ten_thousand_unmarked_renders_is_called_marked():
    lowest = 1.0
    for seed in range(100):
        for picture in faces(seed=10_000 + seed, count=100, size=128).images:
            lowest = min(lowest, read(picture, KEY).p_value)
    assert lowest > THRESHOLD
