"""Layers of the synthetic portrait, drawn on a canvas (see :mod:`loco.zoo.canvas`).

Coordinates.  Head coordinates undo shift, roll and scale, so that the head is an upright oval about 0.6
wide and 0.76 high (half axes) around (0, -0.04).  Feature coordinates (u, v) additionally undo the
parallax of yaw and pitch: the surface of the head bulges towards the viewer in the middle and not at
its rim, so a turn moves the features inside the outline by a smooth bump that vanishes at the rim.

Every organ is the set where a function d(u, v; attributes), close to a signed distance, is negative.

All per-face parameters have shape [B, 1, 1] and broadcast against sample planes of shape [B, H, W].
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from loco.zoo.canvas import (
    Canvas,
    Plane,
    Window,
    bump,
    chroma,
    ellipse,
    palette,
    scaled,
    smooth_max,
    tint,
)

LAYERS: tuple[str, ...] = (
    "left_eye",
    "right_eye",
    "brows",
    "nose",
    "mouth",
    "hair",
    "skin",
    "glasses",
    "clothes",
    "background",
)
"""Regions that partition the image, in the order of the canvas's weights."""

IRIS = ((0.25, 0.14, 0.08), (0.44, 0.29, 0.12), (0.30, 0.45, 0.22), (0.22, 0.50, 0.66), (0.36, 0.52, 0.80))


@dataclass(frozen=True)
class Scene:
    """Coordinate planes and colours shared by the layers of one chunk of faces."""

    p: Mapping[str, Plane]
    frame_x: Plane
    frame_y: Plane
    x: Plane
    y: Plane
    u: Plane
    v: Plane
    edge: Plane
    light: tuple[Plane, Plane, Plane]
    skin: list[Plane]
    hair: list[Plane]
    width: Plane

    def coverage(self, distance: Plane) -> Plane:
        """Anti-aliased coverage of the set where ``distance`` is negative."""
        return np.clip(0.5 - distance / self.edge, 0, 1)

    def window(self, x0: float, x1: float, y0: float, y1: float) -> Window:
        """Smallest window of samples that holds the box in feature coordinates for every face."""
        inside = (self.u > x0) & (self.u < x1) & (self.v > y0) & (self.v < y1)
        rows, columns = np.flatnonzero(inside.any((0, 2))), np.flatnonzero(inside.any((0, 1)))
        if rows.size == 0 or columns.size == 0:
            return (slice(0, 0), slice(0, 0))
        return (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))

    def at(self, window: Window) -> tuple[Plane, Plane]:
        """Feature coordinates within a window."""
        return self.u[:, window[0], window[1]], self.v[:, window[0], window[1]]


def make_scene(p: Mapping[str, Plane], samples: int) -> Scene:
    """Coordinates of a samples x samples grid for the faces with parameters ``p`` (each [B, 1, 1])."""
    line = ((np.arange(samples, dtype=np.float32) + 0.5) * (2 / samples) - 1).astype(np.float32)
    fx, fy = line[None, None, :], line[None, :, None]
    roll = np.radians(p["roll"])
    cos, sin = np.cos(roll), np.sin(roll)
    dx, dy = fx - p["shift_x"], fy - p["shift_y"]
    x = (cos * dx + sin * dy) / p["scale"]
    y = (cos * dy - sin * dx) / (p["scale"] * (1 + 0.06 * p["face_length"]))
    width = 0.60 * (1 + 0.09 * p["face_width"])
    field = bump(x, y, 0.66, 0.80)
    u = x - 0.42 * np.sin(np.radians(p["yaw"])) * field
    v = y - 0.42 * np.sin(np.radians(p["pitch"])) * field
    azimuth, elevation = np.radians(p["light_azimuth"]), np.radians(p["light_elevation"])
    light = (np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), np.cos(azimuth) * np.cos(elevation))
    tone, warm = p["skin_tone"], p["skin_warmth"]
    skin = palette(tone, ((0.98, 0.84, 0.76), (0.88, 0.68, 0.55), (0.66, 0.45, 0.33), (0.38, 0.24, 0.18)))
    skin = [skin[0] * (1 + 0.03 * warm), skin[1] * (1 + 0.01 * warm), skin[2] * (1 - 0.10 * warm)]
    red, ash = np.clip(p["hair_warmth"], 0, 1), np.clip(-p["hair_warmth"], 0, 1)
    hair = palette(
        p["hair_lightness"], ((0.07, 0.06, 0.06), (0.28, 0.21, 0.17), (0.56, 0.45, 0.35), (0.92, 0.83, 0.66))
    )
    grey = 0.4 * hair[0] + 0.45 * hair[1] + 0.15 * hair[2]
    hair = [c + 0.85 * ash * (grey * k - c) for c, k in zip(hair, (1.02, 0.99, 0.97), strict=True)]
    hair = [np.clip(hair[0] * (1 + 0.22 * red), 0, 1), hair[1] * (1 - 0.16 * red), hair[2] * (1 - 0.42 * red)]
    edge = (2.4 / samples / p["scale"]).astype(np.float32)
    return Scene(p, fx, fy, x, y, u, v, edge, light, skin, hair, width)


def diffuse(s: Scene, x: Plane, y: Plane, rx: float | Plane, ry: float) -> Plane:
    """Relative illumination (about 1) of an ellipsoid with half axes rx, ry seen along its third axis."""
    nx, ny = x / rx, y / ry
    rest = 1 - nx * nx - ny * ny
    nz = np.sqrt(0.5 * (rest + np.sqrt(rest * rest + np.float32(0.06))))
    lx, ly, lz = s.light
    dot = (nx * lx + ny * ly + nz * lz) / np.sqrt(nx * nx + ny * ny + nz * nz + np.float32(1e-4))
    light: Plane = 1 + s.p["light_strength"] * (0.40 * dot - 0.26)
    return light


def head_distance(s: Scene) -> Plane:
    """Signed distance to the outline of the face oval."""
    dy = s.y + 0.04
    low = np.clip(dy / 0.78, 0, 1.3)
    low2 = low * low
    factor = 1 + (0.09 + 0.11 * s.p["jaw_width"]) * low2 + (0.13 * s.p["chin"] - 0.12) * low2 * low2
    ax, ay = s.x / (s.width * factor), dy * np.float32(1 / 0.76)
    radius = np.sqrt(ax * ax + ay * ay) + np.float32(1e-5)
    distance: Plane = np.sqrt(s.x * s.x + dy * dy) * (1 - 1 / radius)
    return distance


def paint_background(s: Scene, canvas: Canvas) -> None:
    """Smooth backdrop: a vertical and diagonal brightness ramp."""
    p = s.p
    colour = chroma(p["background_brightness"], p["background_a"], p["background_b"])
    ramp = 1 - p["background_gradient"] * (0.28 * s.frame_y + 0.08 * s.frame_x)
    for c in range(3):
        canvas.rgb[c] = colour[c] * ramp


def hair_outline(s: Scene, grow: float, bottom: Plane) -> Plane:
    """Signed distance to the hair's outer contour: a dome over the head and sides down to ``bottom``."""
    volume = s.p["hair_volume"]
    half = s.width + (0.035 + grow) + 0.14 * volume
    top = 0.78 + grow + 0.13 * volume
    x = s.x + 0.10 * np.sin(np.radians(s.p["yaw"]))
    dy = s.y + 0.04
    dome = ellipse(x, np.minimum(dy, 0), half, top)
    return smooth_max(dome, s.y - bottom, 0.10)


def hair_shade(s: Scene) -> Plane:
    """Illumination of hair: ellipsoid shading, a soft gloss band and a faint sheen along the strands."""
    shade = diffuse(s, s.x, s.y + 0.05, s.width + 0.25, 1.05)
    radius = np.sqrt(s.x * s.x + (s.y + 0.1) * (s.y + 0.1))
    gloss = np.exp(-(((radius - 0.66) / 0.10) ** 2)) * np.clip(0.25 - s.y, 0, 1)
    strands = np.sin(17 * (s.x - 0.25 * s.p["hair_parting"]) / (0.75 + 0.35 * s.y))
    total: Plane = shade + 0.22 * gloss + 0.055 * strands
    return total


def paint_back_hair(s: Scene, canvas: Canvas, shade: Plane) -> None:
    """Hair behind the head."""
    bottom = -0.05 + 1.25 * s.p["hair_length"]
    canvas.paint(s.coverage(hair_outline(s, 0.0, bottom)), scaled(s.hair, 0.72 * shade), "hair")


def paint_back(s: Scene, canvas: Canvas, head: Plane) -> None:
    """Neck and clothes."""
    p = s.p
    bx, by = s.frame_x - 0.7 * p["shift_x"], s.frame_y - 0.5 * p["shift_y"]
    neck_half = 0.27 + 0.03 * p["jaw_width"] + 0.25 * np.clip(by - 0.72, 0, 1)
    neck = np.maximum(np.abs(bx) - neck_half, 0.3 - by)
    shadow = 1 - 0.34 * np.exp(-np.clip(head, 0, 2) / 0.11)
    neck_shade = diffuse(s, bx, np.float32(0) * by, 0.38, 1.0) * shadow
    canvas.paint(s.coverage(neck), tint(s.skin, neck_shade), "skin")
    shoulder = 0.79 + 0.20 * bx * bx + 0.12 * bx * bx * bx * bx - by
    collar = ellipse(bx, by - 0.77, 0.33, 0.15)
    cloth = np.maximum(0.9 * shoulder, -collar)
    colour = chroma(p["clothes_brightness"], p["clothes_a"], p["clothes_b"])
    lit = diffuse(s, bx, by - 1.3, 1.25, 0.9)
    lit = lit - 0.22 * np.exp(-(((collar - 0.055) / 0.02) ** 2)) + 0.05
    canvas.paint(s.coverage(cloth), scaled(colour, lit), "clothes")


def hairline(s: Scene) -> Plane:
    """Signed distance to the opening of the hair that shows the face (negative inside)."""
    p = s.p
    t = s.u / s.width
    part = t - 0.55 * p["hair_parting"]
    line = (
        -0.585
        + 0.155 * p["fringe"]
        + 0.07 * t * t
        - 0.085 * np.exp(-((part / 0.22) ** 2))
        - 0.04 * p["hair_parting"] * t
    )
    half = s.width * (0.955 - 0.06 * p["hair_volume"])
    return smooth_max(np.abs(s.u * 0.65 + s.x * 0.35) - half, line - s.v, 0.09)


def paint_head(s: Scene, canvas: Canvas, head: Plane, opening: Plane) -> list[Plane]:
    """Ears and face; returns the shaded skin colour planes."""
    p = s.p
    turn = np.sin(np.radians(p["yaw"]))
    base = diffuse(s, s.x, s.y - 0.02, s.width * 1.08, 0.88)
    for side in (-1, 1):
        ex = s.x - side * (s.width + 0.012) + 0.12 * turn
        ey = s.y - 0.05
        ear = ellipse(ex - side * 0.12 * (-ey), ey, 0.085, 0.165)
        inner = 1 - 0.28 * bump(ex - side * 0.01, ey + 0.01, 0.045, 0.09)
        canvas.paint(s.coverage(ear), tint(s.skin, base * inner * 0.95), "skin")
    rim = np.clip(1 + head / 0.30, 0, 1)
    shade = base - 0.13 * rim * rim * rim
    shade -= 0.16 * np.exp(-np.clip(-opening, 0, 2) / 0.07)
    shade = shade + face_relief(s)
    colour = tint(s.skin, shade)
    au = np.abs(s.u)
    blush = 0.34 * p["blush"] * bump(au - 0.37, s.v - 0.22, 0.17, 0.14)
    warm = (0.92, 0.34, 0.34)
    colour = [c + blush * (w * shade - c) for c, w in zip(colour, warm, strict=True)]
    canvas.paint(s.coverage(head), colour, "skin")
    return colour


def face_relief(s: Scene) -> Plane:
    """Shading of eye sockets, cheeks, lip furrow and chin, added to the ellipsoid's illumination."""
    p = s.p
    lx = s.light[0] * p["light_strength"]
    au = np.abs(s.u)
    spread = 0.27 + 0.03 * p["eye_spacing"]
    relief = -0.13 * bump(au - spread + 0.02, s.v + 0.12, 0.21, 0.13)
    relief += 0.07 * bump(au - 0.36, s.v - 0.17, 0.16, 0.14) * (1 + lx * np.clip(4 * s.u, -1, 1))
    relief += 0.06 * bump(s.u, s.v - 0.66, 0.13, 0.07) - 0.08 * bump(s.u, s.v - 0.575, 0.14, 0.035)
    relief += 0.05 * bump(s.u, s.v + 0.42, 0.30, 0.13)
    return relief


def eye_geometry(p: Mapping[str, Plane]) -> tuple[Plane, Plane]:
    """Horizontal distance of the eyes from the midline and their half width."""
    return 0.275 + 0.03 * p["eye_spacing"], 0.185 * (1 + 0.13 * p["eye_size"])


def paint_eye(s: Scene, canvas: Canvas, side: int) -> None:
    """One eye; side -1 is the viewer's left.  Opening, iris, pupil, highlight, lid line and lid crease."""
    p = s.p
    window = s.window(*((-0.62, -0.02) if side < 0 else (0.02, 0.62)), -0.36, 0.12)
    u, v = s.at(window)
    centre, half = eye_geometry(p)
    size = half / 0.185
    dx = u - side * centre
    t = dx / half
    arch = 1 - t * t
    lower = -0.055 + 0.060 * size * arch - 0.014 * side * t
    upper = lower - (0.012 + 0.235 * p["eye_openness"] * size) * arch * (1 + 0.06 * arch)
    lens = 0.85 * np.maximum(upper - v, v - lower)
    crease_line = upper - 0.050 - v
    crease = 0.34 * np.exp(-((crease_line / 0.020) ** 2)) * np.clip(1.1 * arch + 0.1, 0, 1)
    dark_skin = scaled(s.skin, 0.45)
    canvas.paint(crease, dark_skin, None, window)
    ring = np.clip(0.26 - np.abs(v - lower - 0.02) * 12, 0, 1) * np.clip(arch, 0, 1)
    canvas.paint(ring, dark_skin, None, window)
    opening = s.coverage(lens)
    lid_shadow = 1 - 0.30 * np.clip(1 - (v - upper) / 0.09, 0, 1) - 0.10 * np.clip(t * t, 0, 1)
    eye_light = 0.90 + 0.10 * p["light_strength"] * s.light[2]
    white = [c * lid_shadow * eye_light for c in (0.97, 0.96, 0.95)]
    canvas.paint(opening, white, "left_eye" if side < 0 else "right_eye", window)
    ix = dx - 0.075 * p["gaze_x"]
    iy = v + 0.100 - 0.035 * p["gaze_y"]
    radius = np.sqrt(ix * ix + iy * iy)
    iris_r = 0.092 * size
    iris = palette(p["iris_hue"], IRIS)
    q = np.clip(radius / iris_r, 0, 1.2)
    body = (1.20 - 0.65 * q * q * q * q + 0.25 * np.clip(iy / iris_r, -1, 1)) * (0.35 + 0.65 * lid_shadow)
    canvas.paint(opening * s.coverage(radius - iris_r), scaled(iris, body), None, window)
    black = [np.full_like(p["yaw"], c) for c in (0.04, 0.03, 0.03)]
    canvas.paint(opening * s.coverage(radius - 0.43 * iris_r), black, None, window)
    glint = ellipse(ix + 0.030, iy + 0.032, 0.024, 0.024)
    canvas.paint(opening * 0.92 * s.coverage(glint), [np.full_like(p["yaw"], 0.98)] * 3, None, window)
    outer = np.clip(0.5 + 0.5 * side * t, 0, 1.2)
    thick = 0.021 + 0.012 * outer
    lid = np.maximum(0.9 * (np.abs(v - upper + 0.010) - thick), np.abs(dx) - half * (1.02 + 0.05 * side * t))
    line = [0.10 + 0.10 * c for c in s.hair]
    canvas.paint(0.95 * s.coverage(lid), line, "left_eye" if side < 0 else "right_eye", window)


def paint_brows(s: Scene, canvas: Canvas) -> None:
    """Both brows, in a darkened hair colour."""
    p = s.p
    window = s.window(-0.66, 0.66, -0.56, -0.14)
    u, v = s.at(window)
    centre, _ = eye_geometry(p)
    dx = np.abs(u) - centre - 0.015
    t = dx / 0.215
    line = -0.318 - 0.038 * p["brow_height"] + 0.055 * p["brow_angle"] * t + 0.045 * t * t - 0.012 * t
    thick = (0.036 + 0.024 * p["brow_thickness"]) * (1 - 0.28 * t - 0.25 * t * t)
    brow = smooth_max(0.95 * (np.abs(v - line) - thick), np.abs(dx) - 0.215, 0.012)
    colour = [0.62 * c + 0.04 * k for c, k in zip(s.hair, s.skin, strict=True)]
    canvas.paint(0.93 * s.coverage(brow), colour, "brows", window)


def paint_nose(s: Scene, canvas: Canvas, skin: list[Plane]) -> None:
    """Nose: side shading by the light, ridge highlight, wings, under-shadow and nostrils."""
    p = s.p
    window = s.window(-0.40, 0.40, -0.30, 0.44)
    u, v = s.at(window)
    turn, nod = np.sin(np.radians(p["yaw"])), np.sin(np.radians(p["pitch"]))
    tip = 0.175 + 0.055 * p["nose_length"]
    along = np.clip((v + 0.14) / (tip + 0.14), 0, 1.25)
    x = u - 0.16 * turn * along
    y = v - 0.10 * nod * np.minimum(along, 1)
    half = 0.135 + 0.032 * p["nose_width"]
    rise = along * along * (3 - 2 * np.minimum(along, 1)) * along
    profile = 0.054 + (half - 0.054) * np.clip(rise, 0, 1)
    below = y - (tip + 0.045 - 0.60 * x * x / half)
    shape = smooth_max(smooth_max(np.abs(x) - profile, below, 0.03), -0.10 - y, 0.03)
    local = [c[:, window[0], window[1]] for c in skin]
    slope = x / profile
    fall = np.exp(-(slope * slope))
    weight = np.clip(along * 1.6 + 0.1, 0, 1) * (1 - np.clip(below / 0.10, 0, 1))
    lx = s.light[0] * p["light_strength"]
    ridge = 0.09 * np.exp(-((2.2 * slope) ** 2))
    shade = 1 + (0.42 * lx * slope * fall + ridge - 0.17 * slope * slope * fall) * weight
    shade += 0.10 * bump(x, y - tip + 0.035, 0.055, 0.045)
    shade -= 0.26 * np.exp(-((below / 0.040) ** 2)) * np.clip(1.3 - slope * slope, 0, 1)
    wing = np.exp(-(((np.abs(x) - profile) / 0.022) ** 2)) * np.exp(-(((y - tip + 0.005) / 0.06) ** 2))
    shade -= 0.24 * wing
    fade = np.clip((0.44 - v) / 0.08, 0, 1) * np.clip((v + 0.30) / 0.08, 0, 1)
    fade = fade * np.clip((0.40 - np.abs(u)) / 0.08, 0, 1)
    shade = 1 + fade * (shade - 1)
    coloured = tint(local, shade)
    canvas.paint(fade, coloured, None, window)
    canvas.paint(s.coverage(shape), coloured, "nose", window)
    nx = np.abs(x) - 0.50 * half
    nostril = ellipse(nx, y - tip - 0.012 + 0.15 * nx, 0.040, 0.021)
    canvas.paint(0.80 * s.coverage(nostril), scaled(s.skin, 0.30), "nose", window)


def paint_mouth(s: Scene, canvas: Canvas) -> None:
    """Mouth: lips, dark interior, teeth and the line between closed lips."""
    p = s.p
    window = s.window(-0.48, 0.48, 0.16, 0.78)
    u, v = s.at(window)
    u = u - 0.05 * np.sin(np.radians(p["yaw"]))
    half = 0.300 + 0.055 * p["mouth_width"]
    t = u / half
    t2 = t * t
    arch = 1 - t2
    middle = 0.425 - 0.105 * p["mouth_curve"] * (t2 - 0.45)
    gap = p["mouth_openness"] * arch
    inner_top, inner_low = middle - 0.028 * gap, middle + 0.115 * gap
    thick = 0.072 + 0.024 * p["lip_thickness"]
    bow = 1 - 0.20 * np.exp(-((t / 0.16) ** 2))
    top = inner_top - (0.004 + 0.92 * thick * bow) * arch
    low = inner_low + (0.004 + 1.15 * thick) * arch
    mouth = 0.9 * np.maximum(top - v, v - low)
    alpha = s.coverage(mouth)
    red = p["lip_redness"]
    base = [
        c * k + red * 0.55 * (g - c * k)
        for c, k, g in zip(s.skin, (0.84, 0.64, 0.64), (0.78, 0.16, 0.20), strict=True)
    ]
    lit = 1 + p["light_strength"] * (0.10 * s.light[0] * t)
    lower_part = np.clip(0.5 + (v - 0.5 * (inner_top + inner_low)) / 0.03, 0, 1)
    gloss = bump(t, v - inner_low - 0.55 * thick, 0.45, 0.028)
    lip_shade = lit * (0.80 + 0.18 * lower_part + 0.16 * gloss)
    canvas.paint(alpha, scaled(base, lip_shade), "mouth", window)
    inside = s.coverage(0.9 * np.maximum(inner_top - v, v - inner_low)) * alpha
    inside = inside * np.clip(gap * 9, 0, 1)
    depth = np.clip((v - inner_top) / 0.14, 0, 1)
    dark = [0.20 + 0.22 * depth, 0.05 + 0.08 * depth, 0.06 + 0.08 * depth]
    canvas.paint(inside, dark, "mouth", window)
    visible = p["teeth"] * (2 - p["teeth"])
    teeth = s.coverage(v - inner_top - 0.062 * np.clip(arch + 0.1, 0, 1)) * inside * visible
    tooth = 0.95 - 0.22 * t2
    canvas.paint(teeth, [tooth, 0.985 * tooth, 0.95 * tooth], "mouth", window)
    closed = np.clip(1 - 5 * p["mouth_openness"], 0, 1)
    line = np.exp(-(((v - middle) / 0.016) ** 2)) * np.clip(3 * arch, 0, 1) * (0.25 + 0.55 * closed) * alpha
    canvas.paint(line, scaled(base, 0.35), None, window)


def paint_front_hair(s: Scene, canvas: Canvas, shade: Plane, opening: Plane) -> None:
    """Cap, fringe and side locks in front of the face."""
    bottom = -0.14 + 1.10 * s.p["hair_length"]
    outer = hair_outline(s, 0.0, bottom)
    front = np.maximum(outer, -opening)
    edge = 1 - 0.25 * np.exp(-np.clip(opening, 0, 2) / 0.05)
    canvas.paint(s.coverage(front), scaled(s.hair, shade * edge), "hair")


def paint_glasses(s: Scene, canvas: Canvas) -> None:
    """Round-cornered frames with a bridge and temples; opacity is the attribute ``glasses``."""
    p = s.p
    if not np.any(p["glasses"] > 0):
        return
    centre, _ = eye_geometry(p)
    width, height = 0.225 + 0.02 * p["glasses_size"], 0.170 + 0.03 * p["glasses_size"]
    dx, dy = np.abs(s.u) - centre - 0.01, s.v + 0.070
    qx, qy = dx / width, dy / height
    q2x, q2y = qx * qx, qy * qy
    radius = np.sqrt(np.sqrt(q2x * q2x + q2y * q2y)) + np.float32(1e-4)
    lens = np.sqrt(dx * dx + dy * dy) * (1 - 1 / radius)
    ring = np.abs(lens) - 0.021
    bridge = np.abs(s.v + 0.125 + 0.25 * s.u * s.u) - 0.020
    bar = np.maximum(bridge, np.abs(s.u) - np.maximum(centre - width, 0) - 0.02)
    side = np.maximum(np.abs(dy + 0.06) - 0.018, np.abs(np.abs(s.u) - 0.56) - 0.10)
    side = np.maximum(side, -lens)
    frame = np.minimum(np.minimum(ring, bar), np.maximum(side, np.abs(s.x) - s.width - 0.02))
    white = [np.full_like(p["yaw"], 0.97)] * 3
    glare = np.clip(0.5 + 2.0 * (-dx - dy), 0, 1)
    canvas.paint(0.12 * p["glasses"] * s.coverage(lens) * glare, white)
    dark = [np.full_like(p["yaw"], c) for c in (0.10, 0.09, 0.11)]
    canvas.paint(p["glasses"] * s.coverage(frame), dark, "glasses")


def draw(p: Mapping[str, Plane], samples: int, track: bool, *, hair: bool = True) -> Canvas:
    """Draw all layers of a chunk of faces on a samples x samples grid; without `hair`, those of bald heads."""
    s = make_scene(p, samples)
    canvas = Canvas(LAYERS, "background", len(p["yaw"]), samples, track)
    head, opening, shade = head_distance(s), hairline(s), hair_shade(s)
    if not hair:
        opening = opening - 10  # nothing frames the face: it is all open
    paint_background(s, canvas)
    if hair:
        paint_back_hair(s, canvas, shade)
    paint_back(s, canvas, head)
    skin = paint_head(s, canvas, head, opening)
    paint_nose(s, canvas, skin)
    paint_mouth(s, canvas)
    paint_eye(s, canvas, -1)
    paint_eye(s, canvas, 1)
    paint_brows(s, canvas)
    if hair:
        paint_front_hair(s, canvas, shade, opening)
    paint_glasses(s, canvas)
    return canvas
