"""The README's Python example runs as printed."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_example_runs_as_printed(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out.split()
    assert printed[0] == "mouth"
    figures = dict(zip(printed[1::2], map(float, printed[2::2]), strict=True))
    assert figures["gain"] > 0.1
    assert figures["leakage"] < 0.5
    assert figures["change"] > 0
    assert list((tmp_path / "my-home" / "bases").rglob("*.safetensors"))
