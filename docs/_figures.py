"""The table of figures in docs/method.md: `cog -r docs/method.md` writes it, `cog --check` compares."""

from loco.evidence import FIGURES, TRANSFER
from loco.figure import Figure


def table(figures: tuple[Figure, ...] = FIGURES) -> str:
    """One row a figure: its name, how it is made, what it tells and which way is better."""
    rows = ["| figure | definition | in | reads as | better |", "|---|---|---|---|---|"]
    for one in figures:
        rows.append(f"| `{one.name}` | {one.definition} | {one.unit or '-'} | {one.meaning} | {one.better} |")
    return "\n".join(rows)


def transfer() -> str:
    """The same of what is measured on other images."""
    return table(TRANSFER)
