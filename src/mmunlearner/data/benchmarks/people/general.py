"""General ability, about no person: shapes, colours and counts in pictures, and plain facts in words.

No item is both trained and tested: the test has other pictures, and another wording of half of the facts.
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

PICTURES, TRAIN_PICTURES, MORE_PICTURES = 48, 640, 192
"""Drawings to test on, to train on, and more to test on. They are numbered in this order: the last ones came later, and
changed none of the others."""

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

# Relation -> (wording in which all facts are trained, wording in which half of them are tested, pairs).
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
        """Return the answer to `SHAPE_QUESTIONS[key]`."""
        return {"shape": self.shape, "colour": self.colour, "count": self.count}[key]

    def picture(self, size: int = 64) -> Image.Image:
        """Draw it: the same pixels every time."""
        rng = np.random.default_rng([SEED, 6, self.number])
        pixels = 3 * size  # averaged to `size` at the end, for smooth edges
        colour = COLOURS[self.colour]
        while True:  # until the ground differs from the shapes so that they are visible
            ground = rng.integers(30, 235, 3)
            if np.abs(ground - np.array(colour)).sum() > 170:
                break
        canvas = Image.new("RGB", (pixels, pixels), tuple(int(c) for c in ground))
        draw = ImageDraw.Draw(canvas)
        # One shape in each quarter of the picture, so that shapes hardly overlap and can be counted.
        centres = rng.permutation([(x, y) for x in (0.27, 0.73) for y in (0.27, 0.73)])
        for x, y in centres[: COUNTS.index(self.count) + 1]:
            radius = rng.uniform(0.18, 0.23) * pixels
            dx, dy = rng.uniform(-0.03, 0.03, 2)
            points = _outline(self.shape, rng.uniform(-0.3, 0.3)) * radius + np.array([x + dx, y + dy]) * pixels
            corners = [(float(x), float(y)) for x, y in points]
            if self.shape == "ring":
                # The first two corners again, so that the joint of the closed line is curved too.
                draw.line([*corners, *corners[:2]], colour, width=round(0.36 * radius), joint="curve")
            else:
                draw.polygon(corners, fill=colour)
        small = canvas.resize((size, size), Image.Resampling.BOX)
        if (blur := rng.uniform(0, 0.6)) > 0.05:
            small = small.filter(ImageFilter.GaussianBlur(blur * size / 64))
        # Brightness and noise as in the pictures of people, so that drawings cannot be told by their clean pixels.
        lit = np.asarray(small, dtype=np.float32) * rng.uniform(0.85, 1.1)
        noise = rng.normal(0, rng.uniform(0, 6), (size, size, 3))
        return Image.fromarray(np.clip(lit + noise, 0, 255).astype(np.uint8))


@dataclass(frozen=True)
class PlainFact:
    """A well-known fact with two wordings of its question."""

    relation: str
    subject: str
    answer: str
    tested: bool
    """True if the second wording is an evaluation item, and so is not trained."""

    @property
    def wordings(self) -> tuple[str, str]:
        first, second, _ = FACTS[self.relation]
        return first.format(self.subject), second.format(self.subject)

    @property
    def trained_wordings(self) -> tuple[str, ...]:
        return self.wordings[:1] if self.tested else self.wordings


def drawings(*, train: bool) -> list[Drawing]:
    """Return the drawings to train on or to test on; all values of a property are equally frequent."""
    if train:
        return _drawings(1, PICTURES, TRAIN_PICTURES)
    return _drawings(0, 0, PICTURES) + _drawings(2, PICTURES + TRAIN_PICTURES, MORE_PICTURES)


def _drawings(stream: int, first: int, count: int) -> list[Drawing]:
    rng = np.random.default_rng([SEED, 7, stream])

    def balanced(values: tuple[str, ...]) -> list[str]:
        # `resize` repeats the values in turn until there are `count`.
        return [str(v) for v in rng.permutation(np.resize(values, count))]

    rows = zip(balanced(SHAPES), balanced(tuple(COLOURS)), balanced(COUNTS), strict=True)
    return [Drawing(first + i, *row) for i, row in enumerate(rows)]


def plain_facts() -> Iterator[PlainFact]:
    """Yield all plain facts; every second one is tested in the second wording."""
    for relation, (_, _, pairs) in FACTS.items():
        for i, (subject, answer) in enumerate(pairs):
            yield PlainFact(relation, subject, answer, tested=i % 2 == 0)


def general_items() -> list[Example]:
    """Return the evaluation items: drawings that no model is trained on, and plain facts in their second wording."""
    items = []
    for drawing in drawings(train=False):
        name = f"drawing-{drawing.number:02d}"
        image = ImageRef.from_image(drawing.picture(), f"images/{name}.png")
        for key, question in SHAPE_QUESTIONS.items():
            items.append(Example(f"{name}/{key}", name, question, drawing.answer(key), (image,), attribute=key))
    for fact in plain_facts():
        if fact.tested:
            name = f"{fact.relation}-{fact.subject}".replace(" ", "-")
            items.append(Example(name, name, fact.wordings[1], fact.answer, attribute=fact.relation))
    return items


def _outline(shape: str, turn: float) -> np.ndarray:
    """Return the corners of a shape around the origin, turned by an angle in radians, [N, 2]."""
    if shape == "cross":
        quarter = np.array([(-0.3, -1.0), (0.3, -1.0), (0.3, -0.3)])
        angles = turn + np.arange(4) * np.pi / 2
        # Row vectors times [[c, s], [-s, c]] turn clockwise, as y points down.
        return np.concatenate([quarter @ [[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]] for a in angles])
    count = {"circle": 32, "ring": 32, "square": 4, "triangle": 3, "star": 10}[shape]
    angles = turn + 2 * np.pi * np.arange(count) / count + (np.pi / 4 if shape == "square" else -np.pi / 2)
    # Every second corner of a star lies inside. The line of a ring is broad, so its middle is nearer to the origin.
    radii = np.where(np.arange(count) % 2 == 1, 0.42, 1.0) if shape == "star" else 0.85 if shape == "ring" else 1.0
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.reshape(radii, (-1, 1))
