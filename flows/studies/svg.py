"""Figures as SVG within a page: bars with intervals, and curves. Their colours are the page's own, dark and light."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, ROW, LEFT, RIGHT, TOP = 440, 26, 120, 64, 30
HEIGHT = 230


@dataclass(frozen=True)
class Mark:
    """A value with its interval, what it is called, and where in the page its number stands."""

    label: str
    href: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """A line through (x, value, low, high)."""

    label: str
    points: Sequence[tuple[float, float, float, float]]


def bars(title: str, marks: Sequence[Mark], *, bar: float | None = None, whole: bool = False) -> str:
    """One bar a mark from 0, with its interval; `bar` is what they are read against, `whole` scales to 0 to 1."""
    known = [one for one in marks if math.isfinite(one.value)]
    most = 1.0 if whole else max([one.high for one in known] + [bar or 0.0, 1e-9]) * 1.05
    height = TOP + ROW * len(known) + 22

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(value / most, 0), 1)

    parts = [_open(height, title), f'<text class="title" x="0" y="14">{escape(title)}</text>']
    for k, one in enumerate(known):
        y = TOP + ROW * k
        middle = y + ROW / 2
        parts.append(
            f'<a href="#{escape(one.href)}"><title>{escape(one.label)}: {one.value:.3g} ({one.low:.3g} to '
            f'{one.high:.3g})</title><text class="name" x="{LEFT - 8}" y="{middle + 4}">{escape(one.label)}</text>'
            f'<rect class="bar" x="{LEFT}" y="{y + 6}" width="{x(one.value) - LEFT:.1f}" height="{ROW - 12}" rx="2"/>'
            f'<path class="interval" d="M{x(one.low):.1f} {middle}H{x(one.high):.1f}"/>'
            f'<text class="value" x="{WIDTH}" y="{middle + 4}">{one.value:.3g}</text></a>'
        )
    bottom = TOP + ROW * len(known)
    parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{bottom}"/>')
    if bar is not None:
        parts.append(
            f'<path class="limit" d="M{x(bar):.1f} {TOP - 2}V{bottom + 2}"/>'
            f'<text class="tick" x="{x(bar):.1f}" y="{bottom + 16}">bar {bar:g}</text>'
        )
    return "".join(parts) + "</svg>"


def curves(title: str, across: str, lines: Sequence[Curve], *, even: bool = False) -> str:
    """Lines with bands; `even` puts the places of x at equal distances."""
    places = sorted({x for line in lines for x, *_ in line.points})
    ends = [end for line in lines for _, value, low, high in line.points for end in (value, low, high)]
    low, high = min([*ends, 0.0]), max([*ends, 1e-9])
    high += 0.06 * (high - low)
    right, left, bottom = WIDTH - 84, 44, HEIGHT - 38

    def x(value: float) -> float:
        share = (
            places.index(value) / max(len(places) - 1, 1)
            if even
            else (value - places[0]) / max(places[-1] - places[0], 1e-9)
        )
        return left + (right - left) * share

    def y(value: float) -> float:
        return bottom - (bottom - TOP) * (value - low) / (high - low)

    parts = [_open(HEIGHT, title), f'<text class="title" x="0" y="14">{escape(title)}</text>']
    for mark in _ticks(low, high):
        parts.append(
            f'<path class="grid" d="M{left} {y(mark):.1f}H{right}"/>'
            f'<text class="value" x="{left - 6}" y="{y(mark) + 4:.1f}">{mark:g}</text>'
        )
    for place in places if len(places) < 7 else places[::2]:
        parts.append(f'<text class="tick" x="{x(place):.1f}" y="{bottom + 16}">{place:g}</text>')
    parts.append(f'<text class="tick" x="{(left + right) / 2}" y="{HEIGHT - 6}">{escape(across)}</text>')
    taken: list[float] = []
    for k, line in enumerate(lines):
        points = sorted(line.points)
        upper = " ".join(f"{x(one):.1f},{y(top):.1f}" for one, _, _, top in points)
        lower = " ".join(f"{x(one):.1f},{y(least):.1f}" for one, _, least, _ in reversed(points))
        middle = " ".join(f"{x(one):.1f},{y(value):.1f}" for one, value, _, _ in points)
        place = y(points[-1][1]) + 4
        while any(abs(place - one) < 14 for one in taken):
            place += 14
        taken.append(place)
        parts.append(
            f'<g class="line{k % 3}"><polygon class="band" points="{upper} {lower}"/>'
            f'<polyline points="{middle}"/><text x="{right + 8}" y="{place:.1f}">{escape(line.label)}</text></g>'
        )
    return "".join(parts) + "</svg>"


def _open(height: float, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}" '
        f'xmlns="http://www.w3.org/2000/svg">'
    )


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers within the range."""
    span = high - low
    step = 10.0 ** math.floor(math.log10(span))
    while span / step < 3:
        step /= 2
    return [round(k * step, 10) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
