"""An invisible mark: 32 bits, spread by a key over the middle frequencies of a tile that repeats over the image.

Each frequency of the tile between `LOW` and `HIGH` gets a phase that the key chooses, or its opposite: several
frequencies say one bit. Because the tile repeats, a cropped image still has it, shifted; because the frequencies are
low, it outlives JPEG and halving.

A reader folds the image onto one tile, keeps the *phase* of each frequency alone, and looks at all shifts for the one
at which, bit by bit, the phases agree with the key's or its opposite. To whoever did not mark the image with this key
each phase is uniform and independent, whatever the picture, so the chance of so good an agreement is bounded without
a model of pictures: Hoeffding's bound for a sum of cosines, times the number of shifts and of words (Hoeffding 1963,
Theorem 2).

The writer knows the picture. It does not add the same to every image, but that change, within the length that `PSNR`
allows, which makes the least certain bits most certain ("informed" embedding: Malvar and Florencio 2003; Miller,
Doerr and Cox 2004).
"""

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from loco.errors import InputError

TILE = 64
"""Pixels a side of the repeated tile."""

LOW, HIGH = 7.0, 15.0
"""Cycles a tile between which frequencies carry the mark."""

BITS = 32
"""What is carried: the first 32 bits of the edit's id."""

PSNR = 42.5
"""Decibels between the marked and the unmarked image, at the least."""

SMALLEST = 128
"""Pixels of the shorter side below which no image is marked; from 256 on the mark outlives what docs/marking.md
lists.
"""

KEY_BYTES = 16
"""Bytes that a key has at the least."""

THRESHOLD = 1e-9
"""Chance of an unmarked image to agree as well, below which an image is called marked."""

STIR = 0.08
"""Gray levels by which JPEG, scaling and cropping disturb the amplitude of one frequency."""

ROUNDS = 80
"""Steps of the search for the best change."""

_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Reading:
    """What a reader with a key sees in an image.

    Attributes:
        p_value: Bound on the chance that an image not marked with this key agrees as well; 1 for no sign of it.
        payload: The 32 bits as 8 hexadecimal characters, meaningful only where `present`.
        margin: Of the least certain bit: 0 undecided, 1 as clear as can be.
    """

    p_value: float
    payload: str
    margin: float

    @property
    def present(self) -> bool:
        """Whether the image carries the mark of this key."""
        return self.p_value < THRESHOLD


@dataclass(frozen=True, eq=False)
class _Pattern:
    """What the key chooses: frequencies (rows, columns of the tile's spectrum), the phase of each, and the bit it
    says.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    phases: NDArray[np.float64]
    bits: NDArray[np.intp]


def check_key(key: bytes) -> bytes:
    """The key, if it is one; raises `InputError`."""
    if len(key) < KEY_BYTES:
        raise InputError(f"watermark key: expected at least {KEY_BYTES} bytes, found {len(key)}")
    return key


def key_id(key: bytes) -> str:
    """What a key may be called by: 16 hexadecimal characters from which it cannot be had."""
    return hashlib.sha256(b"loco watermark key" + check_key(key)).hexdigest()[:16]


def marked(pixels: NDArray[np.uint8], payload: str, key: bytes, psnr: float = PSNR) -> NDArray[np.uint8]:
    """Pixels uint8 [H, W, 3] that carry `payload`: its first 8 hexadecimal characters.

    At least `psnr` dB to the pixels given; the same input gives the same output. Raises `InputError` for an image
    with a side below `SMALLEST`.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < SMALLEST:
        raise InputError(f"a watermark needs {SMALLEST} pixels a side, the image is {width} x {height}")
    pattern = _pattern(check_key(key))
    value = int(payload[: BITS // 4], 16)
    signs = np.array([1.0 if value >> (BITS - 1 - bit) & 1 else -1.0 for bit in range(BITS)])
    wanted = np.exp(1j * pattern.phases) * signs[pattern.bits]
    source = pixels.astype(np.float64)
    room = (255.0 * 10 ** (-psnr / 20)) ** 2 - 0.13  # mean square of the change, less what rounding adds
    there = _spectrum(source @ _LUMA, pattern) * 2  # as amplitudes of cosines
    added = _plane(_best_change(there * np.conj(wanted), pattern.bits, room) * wanted, pattern, height, width)
    added *= min(1.0, math.sqrt(room / float((added**2).mean())))
    return np.clip(np.rint(source + added[:, :, None]), 0, 255).astype(np.uint8)


def read(pixels: NDArray[np.uint8], key: bytes) -> Reading:
    """What an image uint8 [H, W, 3] carries under this key."""
    pattern = _pattern(check_key(key))
    found = _spectrum(pixels.astype(np.float64) @ _LUMA, pattern)
    size = np.abs(found)
    if not size.any():
        return Reading(1.0, "0" * (BITS // 4), 0.0)
    turned = np.divide(found, size, out=np.zeros_like(found), where=size > 0) * np.exp(-1j * pattern.phases)
    spectra = np.zeros((BITS, TILE, TILE), np.complex128)
    spectra[pattern.bits, pattern.rows, pattern.columns] = turned
    sums = np.fft.ifft2(spectra).real * TILE * TILE  # [bit, shift down, shift right]: sums of cosines
    agreement = np.abs(sums).sum(0)
    best = int(np.argmax(agreement))
    said = sums.reshape(BITS, -1)[:, best]
    exponent = BITS * math.log(2) + 2 * math.log(TILE) - float(agreement.flat[best]) ** 2 / len(turned)
    value = sum(1 << (BITS - 1 - bit) for bit in range(BITS) if said[bit] > 0)
    margin = float(np.abs(said).min()) * BITS / len(turned)
    return Reading(math.exp(min(0.0, exponent)), f"{value:0{BITS // 4}x}", min(margin, 1.0))


@lru_cache(maxsize=8)
def _pattern(key: bytes) -> _Pattern:
    """The frequencies of one half plane, in an order and with phases that only the key gives."""
    down, right = np.meshgrid(
        np.arange(-TILE // 2, TILE // 2), np.arange(-TILE // 2, TILE // 2), indexing="ij"
    )
    radius = np.hypot(down, right)
    half = (radius >= LOW) & (radius <= HIGH) & ((right > 0) | ((right == 0) & (down > 0)))
    rows, columns = down[half] % TILE, right[half] % TILE
    seed = hashlib.sha256(b"loco watermark pattern" + key).digest()
    random = np.random.Generator(np.random.Philox(key=int.from_bytes(seed[:16], "little")))
    order = random.permutation(len(rows))
    phases = random.uniform(0, 2 * np.pi, len(rows))
    return _Pattern(rows[order], columns[order], phases, np.arange(len(rows)) % BITS)


def _best_change(
    turned: NDArray[np.complex128], bits: NDArray[np.intp], room: float
) -> NDArray[np.complex128]:
    """The change of amplitudes, of mean square at most `room`, that makes the least certain bits most certain.

    `turned` is what the picture has, turned so that the wanted phase is 0. With z = turned + change, a bit's
    certainty is the mean of Re z / sqrt(|z|^2 + `STIR`^2): the cosine that a reader sees, less where a little
    disturbance would turn it. Projected gradient ascent.
    """
    counts = np.bincount(bits, minlength=BITS)
    length = math.sqrt(2 * room)
    change = np.full(len(turned), length / math.sqrt(len(turned)), np.complex128)
    for step in range(ROUNDS):
        z = turned + change
        r = np.sqrt(np.abs(z) ** 2 + STIR**2)
        certain = np.bincount(bits, z.real / r, minlength=BITS) / counts
        weight = np.exp(-4 * (certain - certain.min()))[bits]
        slope = weight * ((1 / r - z.real**2 / r**3) - 1j * z.real * z.imag / r**3)
        change = change + length * 0.93**step * slope / max(float(np.linalg.norm(slope)), 1e-12)
        change *= min(1.0, length / float(np.linalg.norm(change)))
    return change


def _spectrum(luma: NDArray[np.float64], pattern: _Pattern) -> NDArray[np.complex128]:
    """The pattern's frequencies of a plane [H, W], under a window that hides its borders, folded onto one tile."""
    height, width = luma.shape
    window = np.outer(_window(height), _window(width))
    total = float(window.sum())
    padded = np.zeros((-(-height // TILE) * TILE, -(-width // TILE) * TILE))
    padded[:height, :width] = (luma - float((luma * window).sum()) / total) * window
    folded = padded.reshape(padded.shape[0] // TILE, TILE, -1, TILE).sum((0, 2))
    spectrum: NDArray[np.complex128] = np.fft.fft2(folded)
    return spectrum[pattern.rows, pattern.columns] / total


def _window(length: int) -> NDArray[np.float64]:
    """Flat in the middle, smooth to zero over the outer eighths: borders would put a phase of theirs everywhere."""
    edge = length // 8
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(edge) + 0.5) / max(edge, 1))
    return np.concatenate([ramp, np.ones(length - 2 * edge), ramp[::-1]])


def _plane(
    amplitudes: NDArray[np.complex128], pattern: _Pattern, height: int, width: int
) -> NDArray[np.float64]:
    """The plane [H, W] that is the sum of cosines of these amplitudes at the pattern's frequencies."""
    spectrum = np.zeros((TILE, TILE), np.complex128)
    spectrum[pattern.rows, pattern.columns] = amplitudes
    tile = np.fft.ifft2(spectrum).real * TILE * TILE
    return np.tile(tile, (-(-height // TILE), -(-width // TILE)))[:height, :width]
