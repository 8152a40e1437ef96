"""From single edits to the table: shares and medians with intervals over images, and verdicts against the bars."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loco.evaluation.methods import CONTROLS
from loco.evaluation.protocol import Protocol
from loco.measure.bootstrap import Statistic, interval

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Share:
    """A statistic over images with its 95 % interval, and the number of images."""

    value: float
    low: float
    high: float
    images: int

    @property
    def error(self) -> float:
        """Its standard error, a quarter of the interval."""
        return (self.high - self.low) / 4

    def plain(self) -> dict[str, float | int | None]:
        """As plain data; None for what is not known."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {name: one if math.isfinite(one) else None for name, one in numbers.items()} | {
            "images": self.images
        }


def over_images(rows: Sequence[Row], name: str, statistic: Statistic = "mean") -> Share:
    """The mean or median of a column, resampled by image: an image's edits are not independent of each other."""
    known = [
        (str(row["image"]), float(row[name]))
        for row in rows
        if row.get(name) is not None and not math.isnan(float(row[name]))
    ]
    if not known:
        return Share(math.nan, math.nan, math.nan, 0)
    names = [image for image, _ in known]
    value, low, high = interval(np.array([value for _, value in known]), statistic, names)
    return Share(float(value), float(low), float(high), len(set(names)))


FIGURES: tuple[tuple[str, str, str, Statistic], ...] = (
    ("edit_success", "source", "edit_success", "mean"),
    ("transfer_success", "held out", "transfer_success", "mean"),
    ("agreement", "held out", "agreement", "median"),
    ("same_meaning", "held out", "same_meaning", "mean"),
    ("transfer_local", "held out", "transfer_local", "mean"),
    ("strength", "held out", "pushed", "median"),
    ("leakage", "held out", "leakage", "median"),
    ("psnr_outside", "held out", "psnr_outside", "median"),
    ("ssim_outside", "held out", "ssim_outside", "median"),
    ("identity", "held out", "identity", "median"),
    ("linear", "held out", "linear", "median"),
    ("reached", "held out", "reached", "mean"),
)
"""Name, where it is measured, column, statistic."""


def table(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One line a method and region, with every figure as a `Share`; then one a method over all regions."""
    pairs = list(dict.fromkeys((str(row["method"]), str(row["roi"])) for row in rows))
    methods = list(dict.fromkeys(method for method, _ in pairs))
    lines = []
    for method, roi in [*pairs, *((method, "all") for method in methods)]:
        some = [row for row in rows if row["method"] == method and roi in ("all", row["roi"])]
        line: dict[str, Any] = {"method": method, "roi": roi, "edits": len(some)}
        for name, place, column, statistic in FIGURES:
            line[name] = over_images([row for row in some if row["place"] == place], column, statistic)
        line["area"] = float(np.mean([row["area"] for row in some]))
        lines.append(line)
    return lines


def verdicts(lines: Sequence[Mapping[str, Any]], protocol: Protocol) -> list[dict[str, Any]]:
    """What was asked, the bar, what was found, and whether it holds; what nothing was measured for is left out."""
    found = []
    of = {(line["method"], line["roi"]): line for line in lines}
    for method in ("loco", "constrained", "dataset"):
        whole = of.get((method, "all"))
        if whole is None:
            continue
        asked: list[tuple[str, float, float]] = [
            ("local edit success", protocol.edit_success, whole["edit_success"].value),
            ("transfer success", protocol.transfer_success, whole["transfer_success"].value),
            ("its lower 95 % bound", protocol.transfer_low, whole["transfer_success"].low),
            ("SSIM outside, median", protocol.ssim_outside, whole["ssim_outside"].value),
        ]
        asked += [
            (f"PSNR outside, median, {roi}", protocol.psnr_outside, line["psnr_outside"].value)
            for (name, roi), line in of.items()
            if name == method and roi != "all" and line["area"] <= protocol.small
        ]
        found += [_verdict(method, what, bar, value) for what, bar, value in asked]
        for control in CONTROLS:
            line = of.get((control, "all"))
            if line is None:
                continue
            ours, theirs = whole["transfer_success"], line["transfer_success"]
            apart = (ours.value - theirs.value) / max(math.hypot(ours.error, theirs.error), 1e-9)
            what = f"transfer success over {control}, in standard errors"
            found.append(_verdict(method, what, protocol.standard_errors, apart))
    return [one for one in found if one["found"] is not None]


def _verdict(method: str, what: str, bar: float, value: float) -> dict[str, Any]:
    known = not math.isnan(value)
    return {
        "method": method,
        "what": what,
        "bar": bar,
        "found": round(value, 4) if known and math.isfinite(value) else (math.inf if known else None),
        "holds": known and value >= bar,
    }
