from dataclasses import dataclass, field
from pathlib import Path

COUNTS = {"planned": 8, "done": 6, "skipped": 2, "failed": 0}
DIRECTION = {
    "id": "ab" * 16,
    "roi": "mouth",
    "found_on": "00003.png",
    "name": "mouth opens",
    "gain": 0.75,
    "leakage": 0.125,
    "strength": 4.0,
    "locality_sources": 31.5,
    "locality_others": 20.25,
    "zero_is_input": True,
}
SUMMARY = {
    "runs": {"discovered": COUNTS, "applied": COUNTS},
    "catalogue": {"directions": 12},
    "directions": [DIRECTION],
}


@dataclass(frozen=True)
class Result:
    page: Path
    try_next: tuple[str, ...] = ("loco directions list", "loco jobs list")
    summary: dict = field(default_factory=lambda: SUMMARY)


def test_the_page_the_directions_and_what_to_try_next(loco, fake_flow, home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []

    def demo(home, out, watch):
        asked.append((home, out))
        return Result(out / "index.html")

    fake_flow("flows.studies.demo", demo=demo)
    outcome = loco("demo")
    page = tmp_path / "demo" / "index.html"
    lines = outcome.out.splitlines()
    assert lines[:5] == [
        f"page        {page}",
        "discovered  6 faces analysed, 2 known already",
        "applied     6 images made, 2 there already",
        "catalogue   directions 12",
        "",
    ]
    titles = (
        "direction",
        "roi",
        "found on",
        "does",
        "gain",
        "leakage",
        "strength",
        "in/out sources",
        "in/out others",
        "0 is input",
    )
    assert lines[5].split() == " ".join(titles).split()
    assert lines[6].split() == [
        "abababababab",
        "mouth",
        "00003.png",
        "mouth",
        "opens",
        "0.75",
        "0.125",
        "4",
        "31.5",
        "20.25",
        "yes",
    ]
    assert outcome.err.splitlines() == ["", "Try next:", "  loco directions list", "  loco jobs list"]
    [record] = loco("demo", "--out", "there", "--json").json
    assert record == {
        "page": str(tmp_path / "there" / "index.html"),
        "try_next": ["loco directions list", "loco jobs list"],
        "summary": SUMMARY,
    }
    assert asked == [(home, tmp_path / "demo"), (home, tmp_path / "there")]
