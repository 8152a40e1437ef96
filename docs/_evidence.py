"""The tables of docs/evidence.md and README.md, from the `evaluation.json` of some runs of `loco evaluate`.

docs/evidence.json is the run that is told; evidence-judge.json the same by another judge; ablations.json what
several runs say over all regions, put together by `python docs/_evidence.py DIR...`.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return found


FOUND = _read("evidence.json")

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


_AGAIN = (("another judge", "evidence-judge.json"),)
_TESTED = ("loco", "constrained", "dataset")


def again() -> str:
    """The methods under test once more, by another judge."""
    chosen = [one for one in _WHOLE if one[0] in ("edit_success", "transfer_success", "leakage")]
    rows = [f"| | method | {' | '.join(title for _, title, _ in chosen)} |", "|---" * (2 + len(chosen)) + "|"]
    for run, found in (("as told above", FOUND), *((run, _read(name)) for run, name in _AGAIN)):
        for line in found["table"]:
            if line["roi"] == "all" and line["method"] in (*_TESTED, "random", "renderer"):
                cells = (_cell(line, each, form, True) for each, _, form in chosen)
                rows.append(f"| {run} | `{line['method']}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def changed() -> str:
    """How much of the table, and which verdicts, came out otherwise the second time, a sentence each."""
    told = []
    for run, name in _AGAIN:
        found = _read(name)
        first = {(one["method"], one["roi"]): one for one in FOUND["table"]}
        pairs = [
            (first[line["method"], line["roi"]][each], line[each])
            for line in found["table"]
            for each, _, _ in _WHOLE
            if (line["method"], line["roi"]) in first
        ]
        pairs = [(a, b) for a, b in pairs if a["value"] is not None and b["value"] is not None]
        apart = sum(_apart(a, b) for a, b in pairs)
        held = {(one["method"], one["what"]): one for one in FOUND["verdicts"]}
        flips = [
            f"`{one['method']}`, {one['what']} ({held[one['method'], one['what']]['found']:.3g}, then "
            f"{one['found']:.3g}; bar {one['bar']:g})"
            for one in found["verdicts"]
            if (one["method"], one["what"]) in held
            and held[one["method"], one["what"]]["holds"] != one["holds"]
        ]
        verdicts = len(found["verdicts"])
        told.append(
            f"- *{run[0].upper()}{run[1:]}*: of {len(pairs)} figures {apart} lie beyond both intervals together; of "
            f"{verdicts} verdicts {len(flips)} came out otherwise{': ' if flips else ''}{'; '.join(flips)}."
        )
    return "\n".join(told)


def _apart(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two figures differ by more than their 95 % intervals together."""
    low, high = (first, second) if first["value"] <= second["value"] else (second, first)
    reach = math.hypot(low["high"] - low["value"], high["value"] - high["low"])
    return bool(high["value"] - low["value"] > reach)


def claims() -> str:
    """What the paper claims, and what was found."""
    rows = ["| claim | figure | where | bar | found | |", "|---|---|---|---|---|---|"]
    for claim in FOUND["claims"]["claims"]:
        for one in claim["answers"]:
            bar = "" if one["bar"] is None else f"{one['sense']} {one['bar']:g}"
            found = f"{one['value']:.3g} ({one['low']:.3g} to {one['high']:.3g})"
            holds = {True: "yes", False: "**no**", None: ""}[one["holds"]]
            holds += ", not certain" if one["certain"] is False else ""
            rows.append(
                f"| {claim['claim']} | {one['what']} | {one['setting']} | {bar} | {found} | {holds} |"
            )
    return "\n".join(rows)


_KNOBS = ("edit_success", "transfer_success", "leakage", "psnr_outside", "strength")


def gather(folders: list[Path]) -> str:
    """Of runs of `loco evaluate`, what their tables say over all regions, and what it cost."""
    runs = []
    for folder in folders:
        found = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        lines = [
            {
                "method": line["method"],
                "roi": "all",
                "evaluations": found["cost"].get(line["method"], {}).get("evaluations"),
            }
            | {name: line[name] for name in _KNOBS}
            for line in found["table"]
            if line["roi"] == "all"
        ]
        runs.append(
            {name: found[name] for name in ("model", "t", "judge", "sources", "held_out")} | {"table": lines}
        )
    return json.dumps(runs, indent=1)


def _lines(model: str, t: float | None = None) -> list[dict[str, Any]]:
    """What the runs on a model say, at one level or all, each method once a level."""
    lines = {
        (run["t"], line["method"]): line | {"t": run["t"]}
        for run in _read("ablations.json")
        if run["model"]["name"] == model and t in (None, run["t"])
        for line in run["table"]
    }
    return [lines[key] for key in sorted(lines, key=lambda key: key[0])]


def _ablation(lines: list[dict[str, Any]], *, level: bool) -> str:
    chosen = [one for one in _WHOLE if one[0] in _KNOBS]
    first = ("t", "method") if level else ("method",)
    titles = (*first, *(title for _, title, _ in chosen), "evaluations an image")
    rows = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for line in lines:
        cells = [_cell(line, each, form, True) for each, _, form in chosen]
        cost = "-" if line["evaluations"] is None else f"{line['evaluations']:.0f}"
        told = [f"{line['t']:g}", f"`{line['method']}`"] if level else [f"`{line['method']}`"]
        rows.append(f"| {' | '.join([*told, *cells, cost])} |")
    return "\n".join(rows)


def knobs(model: str, t: float) -> str:
    """Methods with other knobs, at one level."""
    return _ablation(_lines(model, t), level=False)


def levels(model: str) -> str:
    """The methods as they are, at several levels."""
    return _ablation([one for one in _lines(model) if ":" not in one["method"]], level=True)


if __name__ == "__main__":
    sys.stdout.write(gather([Path(one) for one in sys.argv[1:]]) + "\n")
