"""docs/architecture.md's table of where a change goes names files and places that are there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SECTION = TEXT.split("## To add X, touch Y")[1].split("\n## ")[0]
ROWS = re.findall(r"^\| (?!to add|---)([^|]+) \| (.+) \|$", SECTION, flags=re.MULTILINE)
PLACES = sorted(set(re.findall(r"`([\w.]+/[\w/.]*)(?:: (\w+))?`", SECTION)))


def names(path):
    """What a module defines at its top: functions, classes, constants."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        for target in getattr(node, "targets", [getattr(node, "target", None)]):
            found |= {target.id} if isinstance(target, ast.Name) else set()
    return found


def test_it_has_a_dozen_rows_and_each_names_a_place():
    assert len(ROWS) >= 12
    for what, where in ROWS:
        assert re.search(r"`[\w.]+/[\w/.]*(: \w+)?`", where), what


@pytest.mark.parametrize(("file", "name"), PLACES)
def test_the_file_is_there_and_has_the_place(file, name):
    path = ROOT / file
    assert path.exists()
    assert not name or name in names(path)
