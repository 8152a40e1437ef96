"""The contact sheet: read back as a picture."""

import io

import numpy as np
from PIL import Image

from flows.orchestration.sheet import sheet
from registry.files.basis import write_basis
from tests.registry.builders import make_basis


def picture(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def tiles(page):
    """The 64 x 64 tiles between gaps of four, row by row."""
    rows, columns = (size // 68 for size in page.shape[:2])
    return [
        [page[4 + 68 * y : 68 * (y + 1), 4 + 68 * x : 68 * (x + 1)] for x in range(columns)]
        for y in range(rows)
    ]


def test_a_row_a_basis_with_zero_in_middle_gray(home):
    bases = [make_basis(number, rank=2, shape=(3, 8, 8)) for number in range(3)]
    for basis in bases:
        basis.vectors[:, :, 4:] = 0
        write_basis(home, basis)
    shown = tiles(picture(sheet(home, [basis.id for basis in bases])))
    assert len(shown) == 3
    for basis, (regions, *directions) in zip(bases, shown, strict=True):
        assert np.array_equal(regions[..., 0], 255 * basis.rois[0].mask.repeat(8, 0).repeat(8, 1))
        assert len(directions) == 2
        for vector, tile in zip(basis.vectors, directions, strict=True):
            c, y, x = np.unravel_index(np.abs(vector).argmax(), vector.shape)
            assert tile[8 * y, 8 * x, c] == (255 if vector[c, y, x] > 0 else 0)
            assert set(tile[32:].flat) == {127}


def test_what_cannot_be_read_is_passed_over(home):
    good, bad = make_basis(0), make_basis(1)
    write_basis(home, good)
    write_basis(home, bad)
    home.basis(bad.id).write_bytes(b"noise")
    assert len(tiles(picture(sheet(home, [bad.id, good.id])))) == 1
    assert sheet(home, [bad.id]) == b""
    assert sheet(home, []) == b""
