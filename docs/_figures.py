"""The table of figures in docs/method.md: `cog -r docs/method.md` writes it, `cog --check` compares."""

from loco.evidence import FIGURES


def table() -> str:
    """One row a figure: its name, how it is made, what it tells and which way is better."""
    rows = ["| figure | definition | in | reads as | better |", "|---|---|---|---|---|"]
    for one in FIGURES:
        rows.append(f"| `{one.name}` | {one.definition} | {one.unit or '-'} | {one.meaning} | {one.better} |")
    return "\n".join(rows)
