from dataclasses import asdict

import pytest

from registry.files import manifests

FAILURES = (
    {"image": "a.png", "failures": [["hair", "no mask"], ["", "torn"]], "notes": []},
    {"image": "b.png", "output": "b.jpg", "cause": "disk \x1bfull"},
)


@pytest.fixture
def failed(a_run, home):
    manifests.append(home, a_run.id, [{"kind": "failure", **failure} for failure in FAILURES])
    return a_run


def test_what_was_asked_and_what_failed(loco, failed, home):
    outcome = loco("jobs", "show", failed.id[:6])
    assert outcome.err == ""
    assert outcome.out.splitlines() == [
        f"id                 {failed.id}",
        "kind               apply",
        "status             done",
        "items              done 3, planned 3",
        "started            2026-11-21T10:00:00",
        "finished           2026-11-21T11:00:00.500000",
        f"asked: directions  {'a' * 32}, 4",
        "asked: limit       -",
        "asked: model       faces",
        "provenance         host here, versions numpy 2",
        f"manifest           {home.runs / failed.id / 'manifest.jsonl'}",
        "failures           2",
        "  a.png, hair: no mask",
        "  a.png: torn",
        "  b.png -> b.jpg: disk \\x1bfull",
    ]


def test_for_programs(loco, failed):
    [record] = loco("jobs", "show", failed.id, "--json").json
    assert record == {**asdict(failed), "failures": list(FAILURES), "absent": []}


def test_an_unknown_one(loco, a_run):
    message = "error: no run has an id beginning with 'ffffff'; `loco jobs list` shows those there are"
    assert loco("jobs", "show", "ffffff", code=2).err == message
