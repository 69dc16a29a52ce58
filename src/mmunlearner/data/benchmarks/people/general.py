"""General ability, about no person: shapes, colours and counts in pictures, and plain facts in words.

What is trained on and what is asked are never the same item: other pictures, and another wording of half the facts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from mmunlearner.data.benchmarks.people.faces import Colour
from mmunlearner.data.benchmarks.people.world import SEED
from mmunlearner.data.example import Example
from mmunlearner.data.images import ImageRef

PICTURES, TRAIN_PICTURES = 48, 640

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COLOURS: dict[str, Colour] = {
    "red": (214, 40, 40), "green": (40, 150, 70), "blue": (40, 80, 210), "yellow": (245, 205, 40),
    "purple": (130, 50, 170), "orange": (240, 130, 30), "white": (250, 250, 250), "black": (20, 20, 24),
}  # fmt: skip
COUNTS = ("one", "two", "three", "four")

SHAPE_QUESTIONS = {
    "shape": "Which shape is drawn in this image?",
    "colour": "What colour are the shapes in this image?",
    "count": "How many shapes are in this image?",
}

# Relation -> (wording that every fact is trained in, wording that half of them are asked in, pairs).
FACTS: dict[str, tuple[str, str, tuple[tuple[str, str], ...]]] = {
    "opposite": (
        "What is the opposite of {}?", "Name the opposite of {}.",
        (("hot", "cold"), ("big", "small"), ("day", "night"), ("up", "down"), ("wet", "dry"), ("fast", "slow"),
         ("open", "shut"), ("old", "young"), ("full", "empty"), ("left", "right")),
    ),
    "young": (
        "What is the young of a {} called?", "Name the young of a {}.",
        (("dog", "puppy"), ("cat", "kitten"), ("cow", "calf"), ("sheep", "lamb"), ("horse", "foal"), ("hen", "chick"),
         ("bear", "cub"), ("duck", "duckling"), ("frog", "tadpole"), ("pig", "piglet")),
    ),
    "colour": (
        "What colour is {}?", "Name the colour of {}.",
        (("snow", "white"), ("coal", "black"), ("grass", "green"), ("blood", "red"), ("the sky", "blue"),
         ("a lemon", "yellow"), ("a carrot", "orange"), ("a plum", "purple"), ("milk", "white"), ("a leaf", "green")),
    ),
    "next": (
        "Which number comes after {}?", "Name the number after {}.",
        (("one", "two"), ("two", "three"), ("three", "four"), ("four", "five"), ("five", "six"), ("six", "seven"),
         ("seven", "eight"), ("eight", "nine"), ("nine", "ten"), ("ten", "eleven")),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A picture of one to four equal shapes."""

    number: int
    shape: str
    colour: str
    count: str

    def answer(self, key: str) -> str:
        """The truth to `SHAPE_QUESTIONS[key]`."""
        return {"shape": self.shape, "colour": self.colour, "count": self.count}[key]

    def picture(self, size: int = 64) -> Image.Image:
        """The same bytes every time."""
        return _draw(self, np.random.default_rng([SEED, 6, self.number]), size)


@dataclass(frozen=True)
class Plain:
    """A plain fact."""

    relation: str
    subject: str
    answer: str
    asked: bool
    """Whether the second wording is an evaluation item (then it is not trained on)."""

    @property
    def wordings(self) -> tuple[str, str]:
        first, second, _ = FACTS[self.relation]
        return first.format(self.subject), second.format(self.subject)

    @property
    def trained_wordings(self) -> tuple[str, ...]:
        return self.wordings[:1] if self.asked else self.wordings


def drawings(*, train: bool) -> list[Drawing]:
    """Drawings to train on, or those the evaluation asks about; each value of each property equally often."""
    count, first = (TRAIN_PICTURES, PICTURES) if train else (PICTURES, 0)
    rng = np.random.default_rng([SEED, 7, train])

    def spread(values: tuple[str, ...]) -> list[str]:
        return [str(v) for v in rng.permutation(np.resize(values, count))]

    rows = zip(spread(SHAPES), spread(tuple(COLOURS)), spread(COUNTS), strict=True)
    return [Drawing(first + i, *row) for i, row in enumerate(rows)]


def plain_facts() -> Iterator[Plain]:
    """All plain facts; every second one is asked in the second wording."""
    for relation, (_, _, pairs) in FACTS.items():
        for i, (subject, answer) in enumerate(pairs):
            yield Plain(relation, subject, answer, asked=i % 2 == 0)


def general_items() -> list[Example]:
    """Return the evaluation items: drawings that no model is trained on, and plain facts in their second wording."""
    items = []
    for drawing in drawings(train=False):
        name = f"drawing-{drawing.number:02d}"
        image = ImageRef.from_image(drawing.picture(), f"images/{name}.png")
        for key, question in SHAPE_QUESTIONS.items():
            items.append(Example(f"{name}/{key}", name, question, drawing.answer(key), (image,), attribute=key))
    for fact in plain_facts():
        if fact.asked:
            name = f"{fact.relation}-{fact.subject}".replace(" ", "-")
            items.append(Example(name, name, fact.wordings[1], fact.answer, attribute=fact.relation))
    return items


def _draw(drawing: Drawing, rng: np.random.Generator, size: int) -> Image.Image:
    pixels = 3 * size
    rgb = np.array(COLOURS[drawing.colour])
    while True:  # a ground that the shapes stand out from
        ground = rng.integers(30, 235, 3)
        if np.abs(ground - rgb).sum() > 170:
            break
    canvas = Image.new("RGB", (pixels, pixels), tuple(int(c) for c in ground))
    draw = ImageDraw.Draw(canvas)
    places = rng.permutation([(x, y) for x in (0.27, 0.73) for y in (0.27, 0.73)])
    for x, y in places[: COUNTS.index(drawing.count) + 1]:
        radius = rng.uniform(0.18, 0.23) * pixels
        dx, dy = rng.uniform(-0.03, 0.03, 2)
        points = _outline(drawing.shape, rng.uniform(-0.3, 0.3)) * radius + np.array([x + dx, y + dy]) * pixels
        _paint(draw, drawing.shape, points, COLOURS[drawing.colour], radius)
    small = canvas.resize((size, size), Image.Resampling.BOX)
    if (blur := rng.uniform(0, 0.6)) > 0.05:
        small = small.filter(ImageFilter.GaussianBlur(blur * size / 64))
    noisy = np.asarray(small, dtype=np.float32) * rng.uniform(0.85, 1.1) + rng.normal(
        0, rng.uniform(0, 6), (size, size, 3)
    )
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def _paint(draw: ImageDraw.ImageDraw, shape: str, points: np.ndarray, colour: Colour, radius: float) -> None:
    placed = [(float(x), float(y)) for x, y in points]
    if shape == "ring":
        draw.line([*placed, *placed[:2]], fill=colour, width=round(0.36 * radius), joint="curve")
    else:
        draw.polygon(placed, fill=colour)


def _outline(shape: str, turn: float) -> np.ndarray:
    """Corner points around the origin, at most at distance 1, [N, 2]."""
    if shape == "cross":
        quarter = np.array([(-0.3, -1.0), (0.3, -1.0), (0.3, -0.3)])
        return np.concatenate([quarter @ _rotation(turn + k * np.pi / 2) for k in range(4)])
    count = {"circle": 32, "ring": 32, "square": 4, "triangle": 3, "star": 10}[shape]
    angles = turn + 2 * np.pi * np.arange(count) / count + (np.pi / 4 if shape == "square" else -np.pi / 2)
    radii = np.where(np.arange(count) % 2 == 1, 0.42, 1.0) if shape == "star" else 0.85 if shape == "ring" else 1.0
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.reshape(radii, (-1, 1))


def _rotation(angle: float) -> np.ndarray:
    """Turns row vectors by an angle in radians (clockwise: y points down)."""
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
