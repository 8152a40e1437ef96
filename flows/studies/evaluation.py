"""The report of an evaluation: one page that carries its pictures and its figure with it."""

import base64
import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import jinja2

from loco.files import write_atomic

COLUMNS = (
    ("edit_success", "edit success"),
    ("transfer_success", "transfer success"),
    ("agreement", "agreement"),
    ("leakage", "leakage"),
    ("psnr_outside", "PSNR outside, dB"),
    ("ssim_outside", "SSIM outside"),
    ("identity", "identity"),
    ("linear", "linear"),
    ("reached", "reached"),
)


def write_report(
    path: Path,
    found: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
    cases: Sequence[Mapping[str, Any]],
) -> None:
    """Write the page whole or not at all."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = _number
    shown = [
        dict(case)
        | {
            "source": _data(bytes.fromhex(case["picture"])),
            "alt": f"{case['case']} case of {case['method']} in {case['roi']}: before, after, and the change",
        }
        for case in cases
    ]
    page = environment.get_template("evaluation.html.j2").render(
        found=found,
        columns=COLUMNS,
        cases=shown,
        chart=_data(chart(lines)),
        alt="Transfer success and leakage of each method with 95 % intervals; the table below has the numbers",
    )
    write_atomic(path, page.encode())


def chart(lines: Sequence[Mapping[str, Any]]) -> bytes:
    """Transfer success and leakage of each method over all regions, with intervals, as PNG."""
    from matplotlib.figure import Figure

    whole = [line for line in lines if line["roi"] == "all"]
    figure = Figure(figsize=(9, 0.5 + 0.34 * len(whole)), layout="constrained")
    places = figure.subplots(1, 2, sharey=True)
    for axes, (name, title) in zip(
        places, (("transfer_success", "transfer success"), ("leakage", "leakage, median")), strict=True
    ):
        for row, line in enumerate(whole):
            one = line[name]
            if math.isfinite(one.value):
                axes.plot([one.low, one.high], [row, row], color="#1f77b4", linewidth=2)
                axes.plot([one.value], [row], "o", color="#1f77b4", markersize=6)
        axes.set_yticks(range(len(whole)), [line["method"] for line in whole])
        axes.set_title(title, fontsize=10)
        axes.set_xlim(left=0)
        axes.grid(axis="x", color="#e3e6ea")
    places[0].invert_yaxis()
    data = BytesIO()
    figure.savefig(data, format="png", dpi=120)
    return data.getvalue()


def _data(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if math.isfinite(value) else "inf"
