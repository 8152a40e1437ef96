"""The report of an evaluation: one page that carries its pictures and figures with it."""

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from flows.studies.svg import Curve, Mark, bars, curves
from loco.evaluation.table import over_images
from loco.files import write_atomic

COLUMNS = (
    ("edit_success", "edit success"),
    ("transfer_success", "transfer success"),
    ("transfer_local", "and local"),
    ("agreement", "agreement"),
    ("same_meaning", "same meaning"),
    ("leakage", "leakage"),
    ("psnr_outside", "PSNR outside, dB"),
    ("ssim_outside", "SSIM outside"),
    ("identity", "identity"),
    ("linear", "linear"),
    ("reached", "reached"),
    ("strength", "strength"),
)

_BARS = (
    ("edit_success", "edit success, sources", "edit_success", True),
    ("transfer_success", "transfer success, others", "transfer_success", True),
    ("leakage", "leakage, median", None, False),
    ("identity", "identity, median", None, True),
)
"""Figure, its title, its bar in the protocol, and whether it is a share."""

Row = Mapping[str, Any]


def write_report(
    path: Path,
    found: Mapping[str, Any],
    lines: Sequence[Row],
    cases: Sequence[Row],
    measured: Sequence[Row] = (),
) -> None:
    """Write the page whole or not at all.

    Args:
        path: Of the page.
        found: The evaluation as plain data.
        lines: The table with its shares.
        cases: What is shown, with pictures.
        measured: Rows of the paper's claims; none where they were not asked.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = _number
    environment.filters["anchor"] = anchor
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
        methods=list(dict.fromkeys(case["method"] for case in cases)),
        claims=found.get("claims"),
        figures=figures(lines, found["protocol"], measured),
        verdicts=[dict(one) | {"href": _told_by(one, lines)} for one in found["verdicts"]],
    )
    write_atomic(path, page.encode())


_KEY = ("method", "roi", "place", "image", "index", "sign")


def numbered(rows: Sequence[dict[str, Any]], cases: Sequence[Row]) -> None:
    """Give each row its number in edits.parquet, from 0 on, and each case that of its row; in place."""
    known = {}
    for number, row in enumerate(rows):
        row["row"] = number
        known[tuple(row[key] for key in _KEY)] = row
    for case in cases:
        case["row"].update(known[tuple(case["row"][key] for key in _KEY)])


def _told_by(verdict: Row, lines: Sequence[Row]) -> str:
    """The anchor of the line that a verdict was read from: its region's, or that of all regions."""
    last = str(verdict["what"]).rpartition(", ")[2]
    regions = {line["roi"] for line in lines}
    return anchor({"method": verdict["method"], "roi": last if last in regions else "all"})


def figures(lines: Sequence[Row], protocol: Row, measured: Sequence[Row]) -> list[str]:
    """Methods over all regions, and the curves of the paper's claims, as SVG."""
    whole = [line for line in lines if line["roi"] == "all"]
    found = []
    for name, title, bar, share in _BARS:
        marks = [
            Mark(line["method"], anchor(line), line[name].value, line[name].low, line[name].high)
            for line in whole
            if math.isfinite(line[name].value)
        ]
        if marks:
            found.append(bars(title, marks, bar=None if bar is None else protocol.get(bar), whole=share))
    for figure, title, across, even in (
        ("leakage", "leakage against directions projected away", "null rank r'", True),
        (
            "reading",
            "the reading that moves most, in sd, against strength",
            "strength over the end of its range",
            False,
        ),
    ):
        some = [row for row in measured if row["figure"] == figure]
        if some:
            found.append(curves(title, across, _curves(some), even=even))
    return found


def _curves(rows: Sequence[Row]) -> list[Curve]:
    """The median over images with its interval, one line a region."""
    found = []
    for roi in dict.fromkeys(str(row["roi"]) for row in rows):
        points = []
        for x in sorted({float(row["x"]) for row in rows if row["roi"] == roi}):
            one = over_images([row for row in rows if row["roi"] == roi and row["x"] == x], "value", "median")
            points.append((x, one.value, one.low, one.high))
        found.append(Curve(roi, points))
    return found


def anchor(line: Row) -> str:
    """The id of a line of the table: of its method and region."""
    text = f"{line['method']}-{line['roi']}"
    return "row-" + "".join(one if one.isalnum() else "-" for one in text)


def _data(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if math.isfinite(value) else "inf"
