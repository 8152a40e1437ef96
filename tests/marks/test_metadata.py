"""Claims beside the source's own metadata: added, read back, and never a reason to lose an image."""

import io
import json
import random
import shutil
import struct
import subprocess

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from loco.finish import changed
from loco.images import picture_of
from loco.marks import exif, xmp
from loco.marks.claim import PLAIN, SOURCE_TYPE, Claim, Marks
from loco.marks.marking import marked_file
from loco.marks.reading import said_by

CLAIM = Claim("a" * 32, "b" * 32, "c" * 64, ("d" * 32, "e" * 32), (4.0, -1.5), "LOCO Edit 0.1.0")
FORMATS = ("png", "jpg", "webp")
PACKET = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="uuid:1" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture" xmp:Rating="4">
<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">A &amp; B, \xc3\xa9t\xc3\xa9</rdf:li></rdf:Alt></dc:rights>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def camera(turn=1, thumbnail=True):
    """EXIF as a camera writes it, with a thumbnail."""
    data = bytearray(b"II*\x00\x08\x00\x00\x00")
    data += struct.pack("<H", 2)
    data += struct.pack("<HHII", 0x0112, 3, 1, turn)
    data += struct.pack("<HHII", 0x013B, 2, 6, 38)
    data += struct.pack("<I", 46 if thumbnail else 0)
    data += b"Maker\x00" + b"\x00\x00"
    if thumbnail:
        data += struct.pack("<H", 2)
        data += struct.pack("<HHII", 0x0201, 4, 1, 76) + struct.pack("<HHII", 0x0202, 4, 1, 9)
        data += struct.pack("<I", 0) + b"THUMBNAIL"
    return exif.HEAD + bytes(data)


def source(format, packet=PACKET, told=None, profile=None):
    """An image file that says something of itself."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))
    extra = {} if told is None else {"exif": told}
    extra |= {} if profile is None else {"icc_profile": profile}
    if packet is not None and format == "png":
        extra["pnginfo"] = PngInfo()
        extra["pnginfo"].add_itxt("XML:com.adobe.xmp", packet.decode("utf-8", errors="replace"))
    elif packet is not None:
        extra["xmp"] = packet
    buffer = io.BytesIO()
    image.save(buffer, {"jpg": "JPEG"}.get(format, format), **extra)
    return buffer.getvalue()


def edited(data, format, marks=PLAIN, claim=CLAIM):
    picture = picture_of(data, "place", "name.png")
    done = changed(picture, np.full((3, 24, 32), 0.1, np.float32), format)
    return marked_file(picture, done, format, marks, claim, data)


@pytest.mark.parametrize("of", FORMATS)
@pytest.mark.parametrize("to", FORMATS)
def test_the_claim_is_added_and_what_the_source_says_stays(of, to):
    made = edited(source(of, told=camera()), to)
    said = said_by(made.data, "x")
    assert said.claim == CLAIM
    assert (said.contradictions, made.notes, made.marks) == ([], (), ("claim",))
    out = picture_of(made.data, "x", "x")
    text = out.xmp.decode()
    assert "A &amp; B, été" in text
    assert 'Rating="4"' in text
    assert text.count("DigitalSourceType>") == 2
    assert SOURCE_TYPE in text
    assert "digitalCapture" not in text
    assert exif.HEAD + out.exif.removeprefix(exif.HEAD) == exif.kept(camera())[0]


def test_the_thumbnail_of_the_unedited_picture_is_gone():
    kept, notes = exif.kept(camera())
    assert notes == ()
    assert b"THUMBNAIL" not in kept
    assert b"Maker" in kept
    assert exif.kept(camera(thumbnail=False)) == (camera(thumbnail=False), ())


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_the_orientation_is_said_once(format, turn):
    data = source("jpg", told=camera(turn))
    made = edited_turned(data, format)
    assert picture_of(made, "x", "x").pixels.shape == picture_of(data, "x", "x").pixels.shape
    assert picture_of(made, "x", "x").turn == turn


def edited_turned(data, format):
    picture = picture_of(data, "place", "name")
    done = changed(picture, np.full((3, *picture.pixels.shape[:2]), 0.1, np.float32), format)
    return marked_file(picture, done, format, PLAIN, CLAIM, data).data


@pytest.mark.parametrize("format", FORMATS)
def test_an_edit_of_an_edit_has_one_claim_and_names_the_one_before(format):
    first = edited(source(format), format).data
    again = edited(first, format, claim=Claim("f" * 32, *list(vars(CLAIM).values())[1:6], before="a" * 32))
    said = said_by(again.data, "x")
    assert (said.claim.edit_id, said.claim.before, said.contradictions) == ("f" * 32, "a" * 32, [])


@pytest.mark.parametrize("format", FORMATS)
def test_a_copy_claims_nothing_and_keeps_all(format):
    made = edited(source(format, told=camera()), format, claim=None)
    said = said_by(made.data, "x")
    assert (said.claim, made.marks) == (None, ())
    assert b"digitalCapture" in picture_of(made.data, "x", "x").xmp


def test_nothing_is_said_where_nothing_is_asked_for():
    data = source("png")
    assert said_by(edited(data, "png", Marks(claim=False)).data, "x").claim is None
    text = edited(data, "png").data
    assert b"name.png" not in text


@pytest.mark.parametrize("format", FORMATS)
def test_other_programs_read_the_claim(format, tmp_path):
    program = shutil.which("exiftool")
    path = tmp_path / f"x.{format}"
    path.write_bytes(edited(source("jpg", told=camera()), format).data)
    if program is None:  # an independent reader where there is one, else the library's own
        with Image.open(path) as image:
            assert "compositeWithTrainedAlgorithmicMedia" in str(image.getxmp())
        return
    ran = subprocess.run([program, "-j", "-struct", "-n", path], capture_output=True, text=True, check=True)
    [found] = json.loads(ran.stdout)
    assert found["DigitalSourceType"] == SOURCE_TYPE
    assert (found["Edit"], found["Source"], found["Directions"]) == ("a" * 32, "c" * 64, ["d" * 32, "e" * 32])
    assert (found["Artist"], found["Rights"], found["Rating"]) == ("Maker", "A & B, été", 4)
    assert not {"Warning", "Error"} & found.keys()


def hostile():
    """200 blocks of metadata that nobody should write: huge, cyclic, cut, of other encodings, no XML at all."""
    chance = random.Random(0)
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + b"".join(
        b'<!ENTITY %c "&%c;&%c;&%c;">' % (98 + k, 97 + k, 97 + k, 97 + k) for k in range(20)
    )
    blocks = [
        b"",
        b"\x00" * 100,
        b"<",
        b"<a/>",
        bomb + b"]><x>&t;</x>",
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>',
        PACKET.replace(b"<rdf:RDF", b"<rdf:RDF><rdf:RDF"),
        b"<a>" * 5000 + b"</a>" * 5000,
        b"<r>" + b"<a/>" * 30_000 + b"</r>",
        PACKET[: len(PACKET) // 2],
        PACKET.decode().replace("\ufeff", "").encode("utf-16"),
        PACKET.decode().replace("\ufeff", "").encode("utf-16-le"),
        PACKET.decode().encode("utf-16-be"),
        PACKET.replace(b"\xc3\xa9", b"\xe9"),
        PACKET.replace(b"A &amp; B", b"A" * 70_000),
        PACKET.replace(b"A &amp; B", b"A" * 2_000_000),
        PACKET.replace(b"A &amp; B", b"\x01\x02"),
        PACKET.replace(b"rdf:Description", b"rdf:Desc"),
        PACKET.replace(b'about="uuid:1"', b'about="&lt;&quot;&amp;"'),
        PACKET.replace(
            b"</rdf:RDF>", b"<loco:Edit xmlns:loco='urn:loco-edit:1#'>../../x</loco:Edit></rdf:RDF>"
        ),
    ]
    while len(blocks) < 140:
        data = bytearray(PACKET)
        for _ in range(chance.randint(1, 30)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        blocks.append(bytes(data))
    told = [
        b"",
        b"Exif\x00\x00",
        b"II*\x00",
        exif.HEAD + b"MM\x00*\xff\xff\xff\xff",
        exif.HEAD + b"x" * 70_000,
    ]
    loop = bytearray(camera())
    struct.pack_into("<I", loop, 6 + 34, 8)  # the second directory is the first
    told.append(bytes(loop))
    while len(told) < 60:
        data = bytearray(camera())
        for _ in range(chance.randint(1, 12)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        told.append(bytes(data[: chance.randint(8, len(data))]))
    return [(block, None) for block in blocks] + [(None, block) for block in told]


def test_two_hundred_hostile_blocks_cost_no_image():
    blocks = hostile()
    assert len(blocks) == 200
    picture = picture_of(source("png", None), "place", "name")
    for k, (packet, told) in enumerate(blocks):
        format = FORMATS[k % 3]
        here = type(picture)(picture.pixels, picture.id, picture.name, exif=told, xmp=packet)
        done = changed(here, np.full((3, 24, 32), 0.1, np.float32), format)
        made = marked_file(here, done, format, PLAIN, CLAIM, b"")
        said = said_by(made.data, "x")
        assert said.claim == CLAIM, (k, packet, told)
        assert all("left out" in note for note in made.notes)
        with Image.open(io.BytesIO(made.data)) as image:
            image.load()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("a" * 32, "../x", "no id"),
        (">4<", ">nan<", "one strength a direction"),
        (">4<", ">4,5<", "no number"),
        ("<rdf:li>4</rdf:li>", "", "one strength a direction"),
    ],
)
def test_a_claim_that_is_none_is_told(old, new, message):
    packet, _ = xmp.with_claim(CLAIM, None)
    with pytest.raises(ValueError, match=message):
        xmp.claim_of(packet.decode().replace(old, new).encode())
