import json
import os

import numpy as np
import pytest

from loco.finish import changed
from loco.images import picture_of
from loco.marks.claim import Claim, Marks
from loco.marks.marking import marked_file
from tests.marks.certificates import issued
from tests.marks.test_signing import picture

CLAIM = Claim("a" * 32, "b" * 32, "c" * 64, ("d" * 32,), (4.0,), "LOCO Edit 0.1.0")


@pytest.fixture
def folder(tmp_path):
    """An unmarked picture, a marked one, a signed one, and one whose signature broke."""
    key, chain, _ = issued(tmp_path)
    folder = tmp_path / "pictures"
    folder.mkdir()
    data = picture("png", "red")
    source = picture_of(data, "x", "x")
    done = changed(source, np.full((3, 32, 48), 0.1, np.float32), "png")
    signing = Marks(sign=str(key), certificate=str(chain))
    signed = marked_file(source, done, "png", signing, CLAIM, data).data
    broken = bytearray(marked_file(source, done, "jpg", signing, CLAIM, data).data)
    broken[-20] ^= 1
    (folder / "plain.png").write_bytes(data)
    (folder / "marked.png").write_bytes(marked_file(source, done, "png", Marks(), CLAIM, data).data)
    (folder / "signed.png").write_bytes(signed)
    (folder / "untrue.jpg").write_bytes(broken)
    return folder


def test_what_files_say_as_a_table(loco, folder):
    shown = loco("outputs", "check", folder, code=3).out.splitlines()
    assert shown[0].split() == [
        "file",
        "edit",
        "claim",
        "signature",
        "watermark",
        "here",
        *["what", "does", "not", "hold"],
    ]
    rows = {line.split()[0]: line for line in shown[1:]}
    assert rows["plain.png"].split() == ["plain.png", *"------"]
    assert rows["marked.png"].split() == ["marked.png", "aaaaaaaaaaaa", "yes", "-", "-", "unknown", "-"]
    assert "valid, by Studio, Tests" in rows["signed.png"]
    assert "broken" in rows["untrue.jpg"]


def test_the_same_for_programs(loco, folder):
    found = {
        one["file"].rpartition("/")[2]: one for one in loco("--json", "outputs", "check", folder, code=3).json
    }
    assert found["signed.png"]["signature"]["valid"] is True
    assert found["marked.png"]["claim"]["directions"] == ["d" * 32]
    assert found["untrue.jpg"]["contradictions"]
    assert json.dumps(found["plain.png"]["claim"]) == "null"


def test_files_that_hold_together_end_with_0_and_what_cannot_be_read_with_3(loco, folder, tmp_path):
    loco("outputs", "check", folder / "plain.png", folder / "signed.png")
    (tmp_path / "text.png").write_text("hello")
    assert "not an image" in loco("outputs", "check", tmp_path / "text.png", code=3).out
    assert "no such file" in loco("outputs", "check", tmp_path / "none.png", code=3).out


def test_authorities_are_certificates(loco, folder, tmp_path):
    assert (
        "trusted"
        in loco("outputs", "check", folder / "signed.png", "--trust", tmp_path / "authority.pem").out
    )
    (tmp_path / "text").write_text("hello")
    refused = loco("outputs", "check", folder, "--trust", tmp_path / "text", code=2)
    assert "expected certificates in PEM" in refused.err


@pytest.mark.parametrize("option", ["--key", "--trust"])
def test_a_pipe_is_refused_and_not_waited_for(loco, folder, tmp_path, option):
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in loco("outputs", "check", option, tmp_path / "pipe", folder, code=2).err
