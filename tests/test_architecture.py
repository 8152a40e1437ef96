"""The table of where a change goes names files and places that are there; nothing else is kept at the top."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SECTION = TEXT.split("## To add X, touch Y")[1].split("\n## ")[0]
ROWS = re.findall(r"^\| (?!to add|---)([^|]+) \| (.+) \|$", SECTION, flags=re.MULTILINE)
PLACES = sorted(set(re.findall(r"`([\w.]+/[\w/.]*)(?:: (\w+))?`", SECTION)))
TOP = {
    *(".ci", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md"),
    *("constraints.txt", "prefect.yaml", "pyproject.toml"),
    *("benchmarks", "cli", "docs", "flows", "loco", "registry", "tests"),
}


def names(path):
    """What a module defines at its top: functions, classes, constants."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        for target in getattr(node, "targets", [getattr(node, "target", None)]):
            found |= {target.id} if isinstance(target, ast.Name) else set()
    return found


def test_what_each_kind_of_job_can_is_what_its_contract_says(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    from _contract import table

    assert table() in TEXT
    rows = [line.split(" | ") for line in table().splitlines()[2:]]
    assert len(rows) >= 11
    for row in rows:
        assert all(re.match(r"yes|no: |same|by ", cell) for cell in row[1:]), row


def test_it_has_a_dozen_rows_and_each_names_a_place():
    assert len(ROWS) >= 12
    for what, where in ROWS:
        assert re.search(r"`[\w.]+/[\w/.]*(: \w+)?`", where), what


@pytest.mark.parametrize(("file", "name"), PLACES)
def test_the_file_is_there_and_has_the_place(file, name):
    path = ROOT / file
    assert path.exists()
    assert not name or name in names(path)


def test_nothing_else_is_kept_at_the_top():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout of git")
    assert {path.split("/")[0] for path in listed.stdout.decode(errors="replace").split("\0") if path} <= TOP
