"""A source's EXIF as its edit keeps it: byte for byte, without the small picture in it, which would show the unedited
one.

CIPA DC-008 (EXIF 2.32): a TIFF header, a first directory that describes the image, a second one that describes the
thumbnail.
"""

import struct

HEAD = b"Exif\x00\x00"
MOST = 1 << 20
"""Bytes of EXIF that are kept."""

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes of one value of each kind."""

_THUMBNAIL, _LENGTH = 0x0201, 0x0202
_STRIP, _STRIP_LENGTH = 0x0111, 0x0117


def kept(exif: bytes | None, limit: int = MOST) -> tuple[bytes | None, tuple[str, ...]]:
    """EXIF of at most `limit` bytes without its thumbnail, and a note where it cannot be kept."""
    if not exif:
        return None, ()
    data = bytearray(exif.removeprefix(HEAD))
    if len(data) > limit:
        return None, (f"the source's EXIF was left out: {len(data)} bytes, more than fit here",)
    try:
        _blank_thumbnail(data)
    except (struct.error, ValueError):
        return None, ("the source's EXIF was left out: it is damaged",)
    return HEAD + bytes(data), ()


def _blank_thumbnail(data: bytearray) -> None:
    """Cut the second directory off the first, and blank the picture that it points to."""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(bytes(data[:4]))
    if order is None:
        raise ValueError("no TIFF header")
    (first,) = struct.unpack_from(f"{order}I", data, 4)
    entries = _entries(data, order, first)
    link = first + 2 + 12 * len(entries)
    (second,) = struct.unpack_from(f"{order}I", data, link)
    if second == 0:
        return
    struct.pack_into(f"{order}I", data, link, 0)
    if second == first:
        return
    try:
        found = dict(_entries(data, order, second))
    except (struct.error, ValueError):
        return  # nothing that a reader could find either
    for start, length in ((_THUMBNAIL, _LENGTH), (_STRIP, _STRIP_LENGTH)):
        at, size = found.get(start, 0), found.get(length, 0)
        if 8 <= at < at + size <= len(data):
            data[at : at + size] = bytes(size)


def _entries(data: bytearray, order: str, at: int) -> list[tuple[int, int]]:
    """Pairs (tag, value) of a directory; raises `ValueError` or `struct.error` where it leaves the data."""
    if at < 8:
        raise ValueError("a directory before the data")
    (count,) = struct.unpack_from(f"{order}H", data, at)
    found = []
    for k in range(count):
        tag, kind, length, value = struct.unpack_from(f"{order}HHII", data, at + 2 + 12 * k)
        size = _SIZES.get(kind, 0) * length
        if kind not in _SIZES or (size > 4 and value + size > len(data)):
            raise ValueError("a value outside of the data")
        if kind == 3:  # a short stands in the first half of the field
            (value,) = struct.unpack_from(f"{order}H", data, at + 10 + 12 * k)
        found.append((tag, value))
    return found
