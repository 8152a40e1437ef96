"""Signed provenance, made and read by the reference library with a certificate that is made here."""

import io

import pytest
from PIL import Image

from loco.errors import InputError
from loco.marks.claim import Claim
from loco.marks.signing import Signer, read
from tests.marks.certificates import issued

CLAIM = Claim("a" * 32, "b" * 32, "c" * 64, ("d" * 32,), (4.0,), "LOCO Edit 0.1.0")


def picture(format, colour):
    buffer = io.BytesIO()
    Image.new("RGB", (48, 32), colour).save(buffer, {"jpg": "JPEG"}.get(format, format))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return issued(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_a_signed_file_is_valid_and_a_changed_one_is_not(files, format):
    key, chain, authority = files
    data = Signer(key, chain).sign(picture(format, "blue"), format, CLAIM, picture("png", "red"), "png")
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (48, 32)
    found = read(data, format)
    assert (found.valid, found.by, found.trusted, found.edit_id) == (True, "Studio, Tests", None, "a" * 32)
    assert read(data, format, authority.read_text()).trusted is True

    cut = bytearray(data)
    cut[-40] ^= 1
    broken = read(bytes(cut), format)
    assert not broken.valid
    assert broken.problems


def test_another_authority_is_not_trusted(files, tmp_path):
    key, chain, _ = files
    data = Signer(key, chain).sign(picture("png", "blue"), "png", CLAIM, picture("png", "red"), "png")
    *_, other = issued(tmp_path)
    found = read(data, "png", other.read_text())
    assert (found.valid, found.trusted) == (True, False)


def test_no_picture_of_the_source_goes_into_the_file(files):
    key, chain, _ = files
    plain = picture("png", "blue")
    data = Signer(key, chain).sign(plain, "png", CLAIM, picture("jpg", "red"), "jpg")
    assert b"thumbnail" not in data
    assert len(data) - len(plain) < 16_000


def test_an_unsigned_file_has_no_signature(files):
    assert read(picture("webp", "blue"), "webp") is None


def test_what_cannot_sign_is_refused_before_any_work(files, tmp_path):
    key, chain, _ = files
    Signer(key, chain).check()
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InputError, match="PEM"):
        Signer(tmp_path / "text", chain).check()
    with pytest.raises(InputError, match="cannot be read"):
        Signer(tmp_path / "none", chain).check()
    with pytest.raises(InputError, match="not a private key"):
        Signer(chain, chain).check()
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(InputError):
        Signer(issued(other)[0], chain).check()
    late = tmp_path / "late"
    late.mkdir()
    key, chain, _ = issued(late, days=-1)
    with pytest.raises(InputError):
        Signer(key, chain).check()
