"""Synthetic houses: the zoo's second subject, with nothing of a face in it.

A house with roof, door, two windows and, in some scenes, a chimney stands on a meadow, with the sun or a tree in some
scenes. See :mod:`loco.zoo.subject` for coordinates and regions. Each pixel belongs to exactly one of sky, sun, ground,
wall, roof, door, left_window, right_window, chimney, tree; ``windows`` is left_window | right_window.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from loco.zoo.canvas import Canvas, Plane, bump, chroma, ellipse, palette, scaled, smooth_max
from loco.zoo.subject import Attribute, Subject, signed, unit

ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("shift_x", -0.14, 0.14, 0.0, "house position in half frame widths, positive to the right"),
    Attribute("scale", 0.85, 1.12, 1.0, "size of the house relative to the standard one"),
    signed("horizon", "low to high horizon"),
    signed("slope", "ground falling to the left to falling to the right"),
    unit("daylight", 0.75, "dusk to noon"),
    signed("sky_a", "sky colour, first hue coordinate: cyan to red", -0.6),
    signed("sky_b", "sky colour, second hue coordinate: blue to green", -0.5),
    signed("sky_gradient", "sky brighter at the bottom to brighter at the top"),
    unit("sun", 0.0, "opacity of the sun; 0 is none"),
    signed("sun_x", "sun at the viewer's left to right", -0.6),
    unit("sun_height", 0.6, "low to high sun"),
    signed("sun_size", "small to large sun"),
    unit("sun_warmth", 0.4, "white to red sun"),
    signed("ground_a", "ground colour, first hue coordinate: cyan to red", -0.3),
    signed("ground_b", "ground colour, second hue coordinate: blue to green", 0.7),
    unit("ground_brightness", 0.45, "dark to bright ground"),
    signed("house_width", "narrow to wide house"),
    signed("house_height", "low to high walls"),
    signed("wall_a", "wall colour, first hue coordinate: cyan to red", 0.2),
    signed("wall_b", "wall colour, second hue coordinate: blue to green", 0.2),
    unit("wall_brightness", 0.8, "dark to bright walls"),
    signed("light_x", "light from the viewer's left to right", -0.5),
    signed("roof_height", "flat to steep roof"),
    signed("roof_overhang", "narrow to wide eaves"),
    signed("roof_lean", "ridge at the viewer's left to right"),
    signed("roof_a", "roof colour, first hue coordinate: cyan to red", 0.7),
    signed("roof_b", "roof colour, second hue coordinate: blue to green"),
    unit("roof_brightness", 0.35, "dark to bright roof"),
    signed("door_x", "door at the viewer's left to right"),
    signed("door_width", "narrow to wide door"),
    signed("door_height", "low to high door"),
    signed("door_a", "door colour, first hue coordinate: cyan to red", 0.4),
    signed("door_b", "door colour, second hue coordinate: blue to green", 0.3),
    unit("door_brightness", 0.3, "dark to bright door"),
    signed("window_size", "small to large windows"),
    signed("window_spacing", "windows close together to far apart"),
    signed("window_height", "low to high windows"),
    unit("window_light", 0.2, "dark to lit windows"),
    unit("window_frame", 0.7, "dark to white window frames"),
    unit("chimney", 0.0, "opacity of the chimney; 0 is none"),
    signed("chimney_x", "chimney at the viewer's left to right", 0.5),
    signed("chimney_height", "low to high chimney"),
    unit("tree", 0.0, "opacity of the tree; 0 is none"),
    signed("tree_x", "tree at the viewer's left to right", 0.8),
    signed("tree_size", "small to large tree"),
    unit("tree_autumn", 0.2, "green to red leaves"),
    unit("tree_brightness", 0.5, "dark to bright leaves"),
)
"""The coordinates of a house, in the order of the columns of an attribute array."""

LAYERS = (
    "sky",
    "sun",
    "ground",
    "chimney",
    "wall",
    "roof",
    "door",
    "left_window",
    "right_window",
    "tree",
)

REGIONS = (
    "roof",
    "wall",
    "door",
    "left_window",
    "right_window",
    "windows",
    "chimney",
    "tree",
    "ground",
    "sun",
    "sky",
)

_LEAVES = ((0.16, 0.42, 0.14), (0.55, 0.55, 0.14), (0.80, 0.45, 0.12), (0.66, 0.18, 0.10))
_SUN = ((0.99, 0.98, 0.90), (0.99, 0.88, 0.50), (0.98, 0.62, 0.25), (0.92, 0.34, 0.20))


@dataclass(frozen=True)
class _House:
    """Planes and lengths that the parts share.

    Attributes:
        x, y: Coordinates of the house, its base in the middle at (0, 0), upwards negative.
        half, height: Half the walls' width, and their height.
        edge: Width of an edge in units of the house.
    """

    p: Mapping[str, Plane]
    x: Plane
    y: Plane
    half: Plane
    height: Plane
    edge: Plane

    def coverage(self, distance: Plane) -> Plane:
        return np.clip(0.5 - distance / self.edge, 0, 1)


def _box(
    x: Plane, y: Plane, left: float | Plane, right: float | Plane, top: float | Plane, bottom: float | Plane
) -> Plane:
    """Signed distance, nearly, to an upright rectangle."""
    across, along = np.maximum(left - x, x - right), np.maximum(top - y, y - bottom)
    distance: Plane = np.maximum(across, along)
    return distance


def draw(p: Mapping[str, Plane], samples: int, track: bool) -> Canvas:
    """Draw all layers of some houses on a samples x samples grid."""
    line = ((np.arange(samples, dtype=np.float32) + 0.5) * (2 / samples) - 1).astype(np.float32)
    fx, fy = np.broadcast_arrays(line[None, None, :], line[None, :, None])
    canvas = Canvas(LAYERS, "sky", len(p["scale"]), samples, track)
    edge = np.float32(2.4 / samples)
    ground = 0.42 - 0.16 * p["horizon"] + 0.10 * p["slope"] * fx - fy
    _paint_sky(p, fx, fy, canvas, edge)
    bright = chroma(p["ground_brightness"], p["ground_a"], p["ground_b"])
    light = 0.55 + 0.45 * p["daylight"]
    canvas.paint(
        np.clip(0.5 - ground / edge, 0, 1),
        scaled(bright, light * (1 + 0.35 * np.clip(ground, -1, 0))),
        "ground",
    )
    base = 0.62 - 0.10 * p["horizon"]
    house = _House(
        p,
        (fx - p["shift_x"]) / p["scale"],
        (fy - base) / p["scale"],
        0.50 + 0.09 * p["house_width"],
        0.62 + 0.10 * p["house_height"],
        (edge / p["scale"]).astype(np.float32),
    )
    _paint_chimney(house, canvas, light)
    _paint_walls(house, canvas, light)
    _paint_roof(house, canvas, light)
    _paint_door(house, canvas, light)
    for side in (-1, 1):
        _paint_window(house, canvas, side)
    _paint_tree(p, fx, fy, base, canvas, edge, light)
    return canvas


def _paint_sky(p: Mapping[str, Plane], fx: Plane, fy: Plane, canvas: Canvas, edge: np.floating) -> None:
    colour = chroma(0.25 + 0.7 * p["daylight"], p["sky_a"], p["sky_b"])
    ramp = 1 - 0.30 * p["sky_gradient"] * (fy + 0.3)
    for c in range(3):
        canvas.rgb[c] = colour[c] * ramp
    if not np.any(p["sun"] > 0):
        return
    x, y = fx - 0.72 * p["sun_x"], fy + 0.45 + 0.38 * p["sun_height"]
    radius = 0.15 + 0.04 * p["sun_size"]
    warm = palette(p["sun_warmth"], _SUN)
    canvas.paint(0.35 * p["sun"] * bump(x, y, 2.2 * radius, 2.2 * radius), warm)
    disc = np.clip(0.5 - ellipse(x, y, radius, radius) / edge, 0, 1)
    canvas.paint(p["sun"] * disc, warm, "sun")


def _paint_chimney(h: _House, canvas: Canvas, light: Plane) -> None:
    p = h.p
    if not np.any(p["chimney"] > 0):
        return
    x = h.x - 0.30 * p["chimney_x"]
    top = -h.height - 0.50 - 0.10 * p["chimney_height"]
    shape = _box(x, h.y, -0.085, 0.085, top, -h.height + 0.1)
    brick = [np.full_like(light, c) * light for c in (0.50, 0.30, 0.26)]
    shade = 1 + 0.25 * p["light_x"] * np.clip(x / 0.085, -1, 1)
    canvas.paint(p["chimney"] * h.coverage(shape), scaled(brick, shade), "chimney")


def _paint_walls(h: _House, canvas: Canvas, light: Plane) -> None:
    p = h.p
    shape = _box(h.x, h.y, -h.half, h.half, -h.height, 0.0)
    colour = chroma(p["wall_brightness"], p["wall_a"], p["wall_b"])
    shade = light * (1 + 0.16 * p["light_x"] * h.x / h.half)
    shade = shade * (1 - 0.28 * np.exp(-np.clip(h.y + h.height, 0, 2) / 0.06))
    canvas.paint(h.coverage(shape), scaled(colour, shade), "wall")


def _paint_roof(h: _House, canvas: Canvas, light: Plane) -> None:
    p = h.p
    rise = 0.42 + 0.13 * p["roof_height"]
    eaves = h.half + 0.10 + 0.05 * p["roof_overhang"]
    y = h.y + h.height  # 0 at the eaves, -rise at the ridge
    up = np.clip(-y / rise, 0, 1)
    middle = 0.28 * p["roof_lean"] * up
    across = np.abs(h.x - middle) - eaves * (1 - 0.92 * up)
    shape = smooth_max(0.75 * across, smooth_max(y - 0.02, -y - rise, 0.02), 0.02)
    colour = chroma(p["roof_brightness"], p["roof_a"], p["roof_b"])
    side = np.clip((h.x - middle) / 0.25, -1, 1)
    tiles = 1 + 0.07 * np.sin(24 * y)
    canvas.paint(h.coverage(shape), scaled(colour, light * tiles * (1 + 0.22 * p["light_x"] * side)), "roof")


def _paint_door(h: _House, canvas: Canvas, light: Plane) -> None:
    p = h.p
    x = h.x - 0.13 * p["door_x"]
    half, top = 0.105 + 0.025 * p["door_width"], -0.33 - 0.06 * p["door_height"]
    shape = _box(x, h.y, -half, half, top, 0.0)
    colour = chroma(p["door_brightness"], p["door_a"], p["door_b"])
    panel = 1 - 0.18 * bump(x, h.y - 0.5 * top, 0.6 * half, 0.10)
    canvas.paint(h.coverage(shape), scaled(colour, light * panel), "door")
    knob = ellipse(x - 0.55 * half, h.y - 0.45 * top, 0.022, 0.022)
    gold = [np.full_like(light, c) for c in (0.90, 0.78, 0.35)]
    canvas.paint(h.coverage(knob), gold)


def _paint_window(h: _House, canvas: Canvas, side: int) -> None:
    p = h.p
    half = 0.095 + 0.028 * p["window_size"]
    x = h.x - side * (0.325 + 0.045 * p["window_spacing"]) * h.half / 0.50
    y = h.y + 0.36 + 0.06 * p["window_height"]
    region = "left_window" if side < 0 else "right_window"
    frame = [0.12 + 0.84 * p["window_frame"]] * 3
    canvas.paint(h.coverage(_box(x, y, -half - 0.03, half + 0.03, -half - 0.03, half + 0.03)), frame, region)
    glass = palette(p["window_light"], ((0.10, 0.13, 0.20), (0.45, 0.38, 0.22), (0.99, 0.88, 0.45)))
    sheen = 1 + 0.35 * np.clip(0.5 * (-x - y) / half, -0.5, 0.5)
    canvas.paint(h.coverage(_box(x, y, -half, half, -half, half)), scaled(glass, sheen), region)
    cross = np.minimum(np.abs(x), np.abs(y)) - 0.014
    canvas.paint(h.coverage(np.maximum(cross, np.maximum(np.abs(x), np.abs(y)) - half)), frame, region)


def _paint_tree(
    p: Mapping[str, Plane], fx: Plane, fy: Plane, base: Plane, canvas: Canvas, edge: np.floating, light: Plane
) -> None:
    if not np.any(p["tree"] > 0):
        return
    size = 1 + 0.28 * p["tree_size"]
    side = np.tanh(3 * p["tree_x"])  # beside the house, not before its door
    x, y = fx - side * (0.62 + 0.20 * np.abs(p["tree_x"])), fy - base - 0.10
    trunk = _box(x, y, -0.045, 0.045, -0.30 * size, 0.0)
    bark = [np.full_like(light, c) * light for c in (0.33, 0.23, 0.16)]
    canvas.paint(p["tree"] * np.clip(0.5 - trunk / edge, 0, 1), bark, "tree")
    dy = y + 0.52 * size
    radius = 1 + 0.05 * np.sin(7 * x / size + 9 * dy / size)
    crown = ellipse(x, dy, 0.20 * size * radius, 0.33 * size * radius)
    leaves = palette(p["tree_autumn"], _LEAVES)
    shade = (0.6 + 0.8 * p["tree_brightness"]) * light * (1 + 0.30 * p["light_x"] * np.clip(x / 0.25, -1, 1))
    canvas.paint(p["tree"] * np.clip(0.5 - crown / edge, 0, 1), scaled(leaves, shade), "tree")


HOUSES: Final = Subject(
    name="houses",
    about="Houses drawn by `loco/zoo/houses.py` from 47 independent attributes (sky, sun, ground, walls, roof, door, "
    "windows, chimney, tree, light) and their mirror images. No photograph is in them.",
    typical=("door", "windows", "roof"),
    attributes=ATTRIBUTES,
    layers=LAYERS,
    regions=REGIONS,
    draw=draw,
    joined={"windows": ("left_window", "right_window")},
    shapes={"daylight": (1.8, 1.2), "shift_x": (1.6, 1.6), "scale": (1.6, 1.6)},
    absent={"sun": 0.5, "chimney": 0.4, "tree": 0.4},
)
"""The sun shines in one scene of two; chimney and tree are there in three of five."""
