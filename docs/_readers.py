"""The table of docs/scorers.md: how well the two readers read each attribute, from their own cards."""

import json

from loco.scorers.opening import READERS


def card(name: str) -> dict[str, object]:
    """The card in a reader's file."""
    data = (READERS / f"{name}.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    found: dict[str, object] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["card"])
    return found


def table() -> str:
    """A row for four attributes, with R2 of both readers."""
    reader, judge = card("reader"), card("judge")
    cells = [
        f"{name} | {one:.2f}, {other:.2f}"
        for name, one, other in zip(reader["names"], reader["r2"], judge["r2"], strict=True)  # type: ignore[call-overload]
    ]
    head = "| attribute | reader, judge " * 4 + "|\n" + "|---|---:" * 4 + "|\n"
    rows = [cells[start : start + 4] for start in range(0, len(cells), 4)]
    return head + "\n".join("| " + " | ".join(row) + " |" for row in rows)
