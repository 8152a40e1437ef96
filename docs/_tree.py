"""The file tree of the README: every module of the four floors with the first line of its docstring."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FLOORS = ("cli", "flows", "registry", "loco")


def first_line(path: Path) -> str:
    """What a module says it is for."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    line = " ".join(text.split("\n\n")[0].split())
    return line.split(". ")[0].rstrip(".")


def tree() -> str:
    """One line a file, folders in the order of the floors, packages before their modules."""
    lines = []
    for floor in FLOORS:
        for path in sorted(
            (ROOT / floor).rglob("*.py"),
            key=lambda one: (one.parent.as_posix(), one.name != "__init__.py", one),
        ):
            name = path.relative_to(ROOT).as_posix().removesuffix("__init__.py")
            if floor == "cli" and path.parent != ROOT / floor and path.name != "__init__.py":
                continue  # one command, one file: docs/cli.md lists them
            lines.append(f"{name:<34} {first_line(path)}")
    return "\n".join(lines)
