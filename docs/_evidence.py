"""The tables of docs/evidence.md and README.md, from docs/evidence.json, the `evaluation.json` of `loco evaluate`."""

import json
from pathlib import Path
from typing import Any

FOUND: dict[str, Any] = json.loads(Path(__file__).with_name("evidence.json").read_text(encoding="utf-8"))

_WHOLE = (
    ("edit_success", "edit success", "%.2f"),
    ("transfer_success", "transfer success", "%.2f"),
    ("transfer_local", "and local", "%.2f"),
    ("same_meaning", "same meaning", "%.2f"),
    ("leakage", "leakage", "%.2f"),
    ("psnr_outside", "PSNR outside, dB", "%.1f"),
    ("ssim_outside", "SSIM outside", "%.3f"),
    ("strength", "strength", "%.1f"),
)
_SHORT = ("edit_success", "transfer_success", "leakage", "psnr_outside", "strength")


def _cell(line: dict[str, Any], name: str, form: str, interval: bool) -> str:
    told = line[name]
    if told["value"] is None:
        return "-"
    value = form % told["value"]
    return f"{value} ({form % told['low']} to {form % told['high']})" if interval else value


def _table(lines: list[dict[str, Any]], first: str, names: tuple[str, ...] | None, *, interval: bool) -> str:
    chosen = [one for one in _WHOLE if names is None or one[0] in names]
    rows = [f"| {first} | {' | '.join(title for _, title, _ in chosen)} |", "|---" * (1 + len(chosen)) + "|"]
    for line in lines:
        where = "" if line["roi"] == "all" else f", {line['roi']}"
        cells = (_cell(line, each, form, interval) for each, _, form in chosen)
        rows.append(f"| `{line['method']}`{where} | {' | '.join(cells)} |")
    return "\n".join(rows)


def whole() -> str:
    """Every method over all regions, with intervals."""
    return _table([one for one in FOUND["table"] if one["roi"] == "all"], "method", None, interval=True)


def regions() -> str:
    """The methods under test region by region."""
    mine = [
        one
        for one in FOUND["table"]
        if one["roi"] != "all" and one["method"] in ("loco", "constrained", "dataset")
    ]
    return _table(mine, "method, region", None, interval=False)


def short() -> str:
    """For README: every method over all regions, without intervals."""
    return _table([one for one in FOUND["table"] if one["roi"] == "all"], "method", _SHORT, interval=False)


def verdicts() -> str:
    """What was asked beforehand, and what was found."""
    rows = ["| method | asked | bar | found | |", "|---|---|---|---|---|"]
    for one in FOUND["verdicts"]:
        found = f"{one['found']:.4g}"
        rows.append(
            f"| `{one['method']}` | {one['what']} | {one['bar']:g} | {found} | "
            f"{'holds' if one['holds'] else '**missed**'} |"
        )
    return "\n".join(rows)
