"""Drawing of invented people: a picture from a `Face` and a `View`.

Lengths are in pixels of a 64-pixel picture; the origin of a head is between the eyes and the mouth, y points down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from mmunlearner.data.benchmarks.people.faces import (
    BEARDS,
    CLOTH,
    EARRINGS,
    EYES,
    GLASSES,
    HAIR,
    HAIRSTYLES,
    HATS,
    MARKS,
    SHAPES,
    SKIN,
    Colour,
    Face,
    View,
)

Points = NDArray[np.float64]

SUPERSAMPLING = 3
"""Canvas pixels per pixel of the picture, in both directions; averaged at the end for smooth edges."""


def render(face: Face, view: View, size: int = 64) -> Image.Image:
    """Draw one view of a person: RGB, `size` x `size` pixels; the same pixels for the same arguments."""
    pixels = size * SUPERSAMPLING
    canvas = Image.new("RGB", (pixels, pixels))
    draw = ImageDraw.Draw(canvas)
    unit = pixels / 64
    _draw_backdrop(draw, pixels, np.random.default_rng(view.backdrop))
    # The head tilts, but the body does not.
    brush = Brush(draw, unit, 32 + view.x, 34 + view.y, view.scale, 0.0)
    _draw_body(brush, face, view)
    _draw_head(replace(brush, tilt=view.tilt), face, view)
    # What a camera adds: blur, light from one side, the light's colour and noise. None of it depends on the person.
    small = canvas.resize((size, size), Image.Resampling.BOX)
    if view.blur > 0.05:
        small = small.filter(ImageFilter.GaussianBlur(view.blur * size / 64))
    colours = np.asarray(small, dtype=np.float32)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    # Position across the light, about -1 to 1 (1.42: half the diagonal of the square from -1 to 1).
    side = (np.cos(view.light) * ramp[None, :] + np.sin(view.light) * ramp[:, None]) / 1.42
    lit = view.brightness * (1 - view.shade * 0.5 * (1 - side))
    tint = np.array([1 + view.warmth, 1, 1 - view.warmth], dtype=np.float32)  # warm light: more red, less blue
    noise = np.random.default_rng(view.noise_seed).normal(0, view.noise, colours.shape)
    return Image.fromarray(np.clip(colours * lit[..., None] * tint + noise, 0, 255).astype(np.uint8))


@dataclass(frozen=True)
class Brush:
    """A brush that draws shapes in head coordinates onto the canvas, scaled, tilted and moved."""

    draw: ImageDraw.ImageDraw
    unit: float
    x: float
    y: float
    scale: float
    tilt: float

    def to_canvas(self, points: Points | Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        p = np.asarray(points, dtype=float) * self.scale
        c, s = np.cos(self.tilt), np.sin(self.tilt)
        # Turn around the middle of the head, then move to its position on the canvas.
        turned = np.stack([p[:, 0] * c - p[:, 1] * s + self.x, p[:, 0] * s + p[:, 1] * c + self.y], axis=1)
        return [(x, y) for x, y in (turned * self.unit).tolist()]

    def fill(self, points: Points | Sequence[tuple[float, float]], colour: Colour, edge: bool = True) -> None:
        placed = self.to_canvas(points)
        self.draw.polygon(placed, fill=colour)
        if edge:
            width = max(1, round(0.6 * self.unit * self.scale))
            # A dark edge keeps a shape visible on a ground of the same colour.
            self.draw.line([*placed, placed[0]], fill=darker(colour, 0.55), width=width, joint="curve")

    def line(self, points: Points | Sequence[tuple[float, float]], colour: Colour, width: float) -> None:
        pixels = max(1, round(width * self.unit * self.scale))
        self.draw.line(self.to_canvas(points), fill=colour, width=pixels, joint="curve")

    def spot(self, x: float, y: float, radius: float, colour: Colour, *, edge: bool = False) -> None:
        self.fill(ellipse(x, y, radius, radius), colour, edge)


def ellipse(x: float, y: float, a: float, b: float, count: int = 28) -> Points:
    """Return the outline of an ellipse around (x, y) with half axes a and b, [count, 2]."""
    t = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([x + a * np.cos(t), y + b * np.sin(t)], axis=1)


def arc(x: float, y: float, a: float, b: float, *degrees: float, count: int = 24) -> Points:
    """Return the part of an ellipse between two angles in degrees from the right, clockwise (y points down)."""
    t = np.radians(np.linspace(degrees[0], degrees[1], count))
    return np.stack([x + a * np.cos(t), y + b * np.sin(t)], axis=1)


def darker(colour: Colour, factor: float) -> Colour:
    r, g, b = (min(255, int(c * factor)) for c in colour)
    return r, g, b


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Return colour a with a share of b."""
    r, g, blue = (int(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return r, g, blue


def _draw_backdrop(draw: ImageDraw.ImageDraw, pixels: int, rng: np.random.Generator) -> None:
    base = rng.integers(90, 245, 3)
    draw.rectangle((0, 0, pixels, pixels), fill=tuple(int(c) for c in base))
    for _ in range(int(rng.integers(2, 7))):
        tint = np.clip(base + rng.integers(-60, 60, 3), 40, 255)
        colour = tuple(int(c) for c in tint)
        x, y, w, h = (float(v) * pixels for v in rng.uniform([-0.2, -0.2, 0.1, 0.1], [0.9, 0.9, 0.5, 0.6]))
        kind = int(rng.integers(3))
        if kind == 0:
            draw.rectangle((x, y, x + w, y + h), fill=colour)
        elif kind == 1:
            draw.ellipse((x, y, x + w, y + w), fill=colour)
        else:
            draw.polygon([(x, y), (x + w, y + h / 3), (x + w / 3, y + h)], fill=colour)


def _draw_body(brush: Brush, face: Face, view: View) -> None:
    colour, skin = CLOTH[view.clothes], SKIN[face.skin]
    brush.fill(np.concatenate([arc(0, 36, 23, 17, 180, 360), [(23, 60), (-23, 60)]]), colour)
    brush.fill([(-5.5, 10), (5.5, 10), (6.5, 22), (0, 26), (-6.5, 22)], darker(skin, 0.86), edge=False)
    # The accent is three colours further, so it always differs from the cloth.
    accent = CLOTH[(view.clothes + 3) % len(CLOTH)]
    if view.collar == 1:
        for x in (-14, -5, 4, 13):
            brush.fill([(x, 27), (x + 3, 27), (x + 3, 60), (x, 60)], accent, edge=False)
    elif view.collar == 2:
        brush.fill([(-7, 20), (0, 27), (-7, 31)], accent)
        brush.fill([(7, 20), (0, 27), (7, 31)], accent)
    elif view.collar == 3:
        brush.line(arc(0, 18, 9, 8, 20, 160), accent, 3)


def _half_axes(face: Face) -> tuple[float, float]:
    return {
        "round": (15.0, 15.0), "oval": (13.0, 16.5), "square": (14.0, 15.5), "heart": (15.0, 16.0),
        "long": (11.5, 18.0), "pear": (13.8, 16.0),
    }[SHAPES[face.shape]]  # fmt: skip


def _outline(face: Face, grow: float = 0.0, start: float = 0.0, end: float = 360.0) -> Points:
    """Return the edge of the head, moved outwards by `grow` pixels, between two angles in degrees, [49, 2]."""
    a, b = _half_axes(face)
    t = np.radians(np.linspace(start, end, 49))
    c, s = np.cos(t), np.sin(t)
    # A superellipse: a power below 1 makes it more square. The taper widens the forehead (heart) or the jaw (pear).
    power = 0.6 if SHAPES[face.shape] == "square" else 1.0
    taper = {"heart": -0.2, "pear": 0.16}.get(SHAPES[face.shape], 0.0)
    x = (a + grow) * np.sign(c) * np.abs(c) ** power * (1 + taper * s)
    return np.stack([x, (b + grow) * np.sign(s) * np.abs(s) ** power], axis=1)


def _draw_head(brush: Brush, face: Face, view: View) -> None:
    skin = SKIN[face.skin]
    # From back to front: what is drawn later covers what was drawn before.
    _draw_hair_behind(brush, face)
    a, _ = _half_axes(face)
    for side in (-1, 1):
        brush.fill(ellipse(side * (a + 0.6), 1.5, 2.6, 3.8, 16), darker(skin, 0.93))
        _draw_earring(brush, face, side * (a + 1.2))
    brush.fill(_outline(face), skin)
    # A turned head shifts its features to the side; the outline stays.
    _draw_mark(brush, face, view.turn)
    _draw_beard(brush, face, view.turn)
    _draw_mouth(brush, face, view)
    _draw_eyes(brush, face, view.turn)
    brush.line([(view.turn - 0.2, 0.5), (view.turn + 1.2 + 0.3 * view.turn, 4.0), (view.turn - 0.6, 4.4)],
               darker(skin, 0.68), 0.8)  # fmt: skip
    _draw_glasses(brush, face, view.turn)
    _draw_hair_in_front(brush, face)
    _draw_hat(brush, face)


def _draw_earring(brush: Brush, face: Face, x: float) -> None:
    kind = EARRINGS[face.earring]
    if kind == "gold":
        brush.spot(x, 6.2, 1.5, (250, 204, 40))
    elif kind == "pearl":
        brush.spot(x, 6.4, 1.7, (250, 250, 250), edge=True)
    elif kind == "hoops":
        brush.line(ellipse(x, 8.0, 2.3, 3.0, 14), (240, 190, 40), 0.9)


def _draw_mark(brush: Brush, face: Face, turn: float) -> None:
    kind, skin = MARKS[face.mark], SKIN[face.skin]
    dark = mix(skin, (90, 30, 20), 0.6)
    if kind == "mole":
        brush.spot(turn + 6.0, 6.0, 1.1, (50, 28, 24))
    elif kind == "freckles":
        for x, y in ((-8, 4), (-6, 5.6), (-9.6, 5.8), (8, 4), (6, 5.6), (9.6, 5.8)):
            brush.spot(turn + x, y, 0.65, dark)
    elif kind == "scar":
        brush.line([(turn - 9, 2.4), (turn - 6, 8)], mix(skin, (150, 30, 40), 0.75), 1.1)
    elif kind == "blush":
        for x in (-7.6, 7.6):
            brush.fill(ellipse(turn + x, 5.4, 2.7, 1.8, 16), mix(skin, (255, 70, 90), 0.5), edge=False)


def _draw_beard(brush: Brush, face: Face, turn: float) -> None:
    kind, colour = BEARDS[face.beard], HAIR[face.hair_colour]
    if kind == "full":
        outer = _outline(face, 1.2, 10, 170)
        brush.fill(
            np.concatenate([outer, [(-9 + turn, 4), (-4.5 + turn, 6.4), (4.5 + turn, 6.4), (9 + turn, 4)]]), colour
        )
    if kind in ("moustache", "full"):
        brush.fill([(turn, 5.4), (turn + 6.2, 7.4), (turn + 4, 8.4), (turn, 7.6), (turn - 4, 8.4), (turn - 6.2, 7.4)],
                   colour)  # fmt: skip
    if kind == "curtain":
        # The outer edge there, the inner edge back: a band along the jaw.
        edge = _outline(face, 1.6, 5, 175)
        brush.fill(np.concatenate([edge, _outline(face, -3.4, 175, 5)]), colour)


def _draw_mouth(brush: Brush, face: Face, view: View) -> None:
    lip = mix(SKIN[face.skin], (170, 30, 50), 0.6)
    x, y, bend = view.turn, 9.2, 2.6 * view.smile
    upper = [(x - 4.2, y - bend * 0.3), (x - 2, y + bend * 0.45), (x, y + bend * 0.7), (x + 2, y + bend * 0.45),
             (x + 4.2, y - bend * 0.3)]  # fmt: skip
    if view.smile > 0.55:  # a broad smile shows teeth
        lower = [(x + 2.2, y + bend * 1.0), (x, y + bend * 1.25), (x - 2.2, y + bend * 1.0)]
        brush.fill([*upper, *lower], (250, 250, 248), edge=False)
        brush.line([*upper, *lower, upper[0]], darker(lip, 0.8), 0.9)
    else:
        brush.line(upper, darker(lip, 0.85), 1.3)


def _draw_eyes(brush: Brush, face: Face, turn: float) -> None:
    # The brows of a bald person do not show the hair colour (see `faces.visible`).
    brow = darker(HAIR[face.hair_colour], 0.75) if HAIRSTYLES[face.hair] != "bald" else darker(SKIN[face.skin], 0.5)
    for side in (-1, 1):
        x = turn + side * 5.6
        brush.fill(ellipse(x, -1.2, 2.9, 2.5, 20), (252, 252, 252), edge=False)
        brush.spot(x + 0.12 * turn, -1.1, 1.75, EYES[face.eyes])
        brush.spot(x + 0.12 * turn, -1.1, 0.9, (16, 14, 18))
        brush.spot(x + 0.6, -1.8, 0.5, (255, 255, 255))
        brush.line(arc(x, -1.0, 3.0, 2.7, 195, 345, count=10), (40, 30, 34), 0.8)
        brush.line([(x - 2.8 * side, -5.0), (x + 0.4 * side, -5.9), (x + 2.8 * side, -5.0)], brow, 1.3)


def _draw_glasses(brush: Brush, face: Face, turn: float) -> None:
    kind = GLASSES[face.glasses]
    if kind == "none":
        return
    frame = (30, 30, 40) if kind != "square" else (180, 40, 50)
    for side in (-1, 1):
        x = turn + side * 5.7
        square = [(x - 4.6, -4.0), (x + 4.6, -4.0), (x + 4.2, 2.2), (x - 4.2, 2.2)]
        if kind == "dark":
            brush.fill(square, (26, 26, 34))
            brush.line([(x - 2.4, -2.6), (x - 0.4, -0.6)], (150, 160, 180), 0.8)
        else:
            ring = ellipse(x, -1.0, 4.5, 4.3, 22) if kind == "round" else np.asarray(square)
            brush.line(np.concatenate([ring, ring[:2]]), frame, 1.3)
    brush.line([(turn - 1.2, -1.6), (turn + 1.2, -1.6)], frame, 1.3)


def _draw_hair_behind(brush: Brush, face: Face) -> None:
    kind, colour = HAIRSTYLES[face.hair], HAIR[face.hair_colour]
    a, b = _half_axes(face)
    dark = darker(colour, 0.8)
    if kind == "long":
        brush.fill(np.concatenate([arc(0, -2, a + 4.5, b + 2.5, 180, 360), [(a + 6, 22), (-a - 6, 22)]]), dark)
    elif kind == "bob":
        brush.fill(np.concatenate([arc(0, -2, a + 4.2, b + 2.2, 180, 360), [(a + 4.6, 9), (-a - 4.6, 9)]]), dark)
    elif kind == "curly":
        for t in np.radians(np.linspace(150, 390, 11)):
            brush.spot((a + 3.0) * np.cos(t), (b + 2.0) * np.sin(t) - 1.5, 5.0, dark, edge=True)
    elif kind == "pigtails":
        for side in (-1, 1):
            brush.fill(ellipse(side * (a + 5.5), 2.5, 4.2, 7.5), colour)
    elif kind == "bun":
        brush.spot(0, -b - 5.0, 6.0, colour, edge=True)
    elif kind == "swept":
        brush.fill([(-a, -9), (-a - 5, 4), (-a - 3.5, 20), (-a + 4, 17), (-a + 5, -6)], dark)


def _draw_hair_in_front(brush: Brush, face: Face) -> None:
    kind, colour = HAIRSTYLES[face.hair], HAIR[face.hair_colour]
    a, b = _half_axes(face)
    if kind == "bald":
        return
    if kind == "mohawk":
        top = [(x, -b - 7.5 + abs(x) * 0.9 + (1.6 if i % 2 else 0)) for i, x in enumerate(np.linspace(-4.5, 4.5, 7))]
        brush.fill([*top, (3.4, -b + 6.0), (-3.4, -b + 6.0)], colour)
        return
    cap = _outline(face, 1.6, 187, 353)  # a little wider than the upper half of the head, to cover its edge
    if kind == "spiky":
        cap = cap.copy()
        cap[4:-4:4] *= 1.32  # every fourth point becomes a spike
        line = [(x, -7.0 + (2.4 if i % 2 else 0)) for i, x in enumerate(np.linspace(a - 1.5, -a + 1.5, 7))]
    else:
        line = {
            "short": [(a - 1.2, -5.0), (a - 4, -8.4), (2, -9.0), (-a + 5, -7.0), (-a + 1.2, -4.0)],
            "curly": [
                (a - 0.5, -3.0), (a - 4, -7.4), (a / 2, -6.4), (0, -8.2),
                (-a / 2, -6.4), (-a + 4, -7.4), (-a + 0.5, -3.0),
            ],
            "long": [(a + 0.6, 2.0), (a - 3.4, -5.0), (1.0, -11.5), (-a + 3.4, -5.0), (-a - 0.6, 2.0)],
            "bob": [(a + 0.8, 5.0), (a - 2.6, -4.6), (-a + 2.6, -4.6), (-a - 0.8, 5.0)],
            "bun": [(a - 1.0, -4.0), (a - 5, -9.0), (0, -10.4), (-a + 5, -9.0), (-a + 1.0, -4.0)],
            "pigtails": [(a - 0.6, -3.0), (3.5, -6.0), (0, -10.8), (-3.5, -6.0), (-a + 0.6, -3.0)],
            "swept": [(a - 0.8, -4.4), (a - 2.0, -7.4), (-2, -6.0), (-a + 2.6, -1.0), (-a - 1.0, 4.0)],
        }[kind]  # fmt: skip
    brush.fill(np.concatenate([cap, line]), colour)
    shine = mix(colour, (255, 255, 255), 0.35)
    brush.line(arc(0, 0, a * 0.72, b * 0.86, 222, 262, count=8), shine, 1.4)


def _draw_hat(brush: Brush, face: Face) -> None:
    kind, colour = HATS[face.hat], CLOTH[face.hat_colour]
    a, b = _half_axes(face)
    w, trim = a + 2.4, darker(colour, 0.7)
    brim = -b + 6.4  # on the forehead, above the brows of every shape of head
    if kind == "cap":
        brush.fill(np.concatenate([arc(0, brim, w, 11, 180, 360), [(w, brim + 0.5), (-w, brim + 0.5)]]), colour)
        brush.fill(np.concatenate([arc(4, brim + 0.5, w + 3, 4.0, 0, 180)]), trim)
    elif kind == "beanie":
        brush.fill(np.concatenate([arc(0, brim, w, 13, 180, 360), [(w, brim + 1), (-w, brim + 1)]]), colour)
        brush.fill([(-w - 0.6, brim - 2.6), (w + 0.6, brim - 2.6), (w + 0.6, brim + 2), (-w - 0.6, brim + 2)], trim)
        brush.spot(0, brim - 13.6, 3.2, mix(colour, (255, 255, 255), 0.6), edge=True)
    elif kind == "top hat":
        brush.fill([(-9.5, brim), (-10.5, brim - 15), (10.5, brim - 15), (9.5, brim)], colour)
        brush.fill([(-9.6, brim - 4), (9.6, brim - 4), (9.5, brim), (-9.5, brim)], trim, edge=False)
        brush.fill(ellipse(0, brim, w + 4.5, 2.4), colour)
    elif kind == "headband":
        band = [*arc(0, brim + 1, w - 0.6, 3.0, 180, 360), *arc(0, brim - 2.8, w - 1.4, 3.0, 360, 180)]
        brush.fill(np.asarray(band), colour)
    elif kind == "crown":
        peaks = [(-w + 1, brim - 9), (-w / 2, brim - 3.6), (0, brim - 10.5), (w / 2, brim - 3.6), (w - 1, brim - 9)]
        brush.fill([*peaks, (w - 2, brim + 1.4), (-w + 2, brim + 1.4)], mix((250, 206, 60), colour, 0.25))
        for x in (-w / 2, 0, w / 2):
            brush.spot(x, brim - 1.0, 1.5, colour, edge=True)
