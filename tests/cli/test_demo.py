from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Result:
    page: Path
    try_next: tuple[str, ...] = ("loco directions list", "loco jobs list")
    summary: dict = field(default_factory=lambda: {"directions": 12})


def test_the_page_and_what_to_try_next(loco, fake_flow, home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []

    def demo(home, out, watch):
        asked.append((home, out))
        return Result(out / "index.html")

    fake_flow("flows.demo", demo=demo)
    outcome = loco("demo")
    page = tmp_path / "demo" / "index.html"
    assert outcome.out.splitlines() == [f"page        {page}", "directions  12"]
    assert outcome.err.splitlines() == ["", "Try next:", "  loco directions list", "  loco jobs list"]
    [record] = loco("demo", "--out", "there", "--json").json
    assert record == {
        "page": str(tmp_path / "there" / "index.html"),
        "try_next": ["loco directions list", "loco jobs list"],
        "summary": {"directions": 12},
    }
    assert asked == [(home, tmp_path / "demo"), (home, tmp_path / "there")]
