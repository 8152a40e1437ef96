"""The table of what each kind of job can, in docs/architecture.md: read off the tests that show it."""

import ast
from collections.abc import Iterator
from pathlib import Path

from flows.kinds import KINDS

TESTS = Path(__file__).parents[1] / "tests" / "flows"


def table() -> str:
    """One row a capability, in the order of the tests, one column a kind."""
    rows: dict[str, dict[str, str]] = {}
    for path in (TESTS / "test_kinds.py", *sorted(TESTS.glob("test_*.py"))):
        for capability, cells in _said(path):
            rows.setdefault(capability, {}).update(cells)
    lines = [f"| | {' | '.join(KINDS)} |", "|---" * (len(KINDS) + 1) + "|"]
    for capability, cells in rows.items():
        lines.append(f"| {capability} | {' | '.join(cells.get(kind, 'yes') for kind in KINDS)} |")
    return "\n".join(lines)


def _said(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """What the tests of a file say of themselves, by `can` and `shows`."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for call in getattr(node, "decorator_list", ()):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Name)
                and call.func.id in ("can", "shows")
            ):
                cells = {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
                yield ast.literal_eval(call.args[0]), cells
