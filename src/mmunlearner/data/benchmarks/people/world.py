"""The world of invented people: names, facts and faces. It is always the same, and no person in it is real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from mmunlearner.data.benchmarks.people.draw import render
from mmunlearner.data.benchmarks.people.faces import Face, distance, random_face, random_view
from mmunlearner.data.images import ImageRef

SEED = 2024
"""Seed of the world, not of a training run: the shipped models know this world."""

PEOPLE, NEIGHBOURS, STRANGERS, CROWD = 80, 20, 24, 320
TRAIN_VIEWS, TEST_VIEWS = 12, 12
"""Views of each person: the first ones are trained on, the others are held out."""
ROUNDS = 3
"""Times that each evaluation question about an image is asked, each time of another view."""
SEEN = range(0, TRAIN_VIEWS, TRAIN_VIEWS // ROUNDS)
HELD_OUT = range(TRAIN_VIEWS, TRAIN_VIEWS + TEST_VIEWS, TEST_VIEWS // ROUNDS)
"""The view of each round, of those trained on and of those held out."""
TEST_ROUNDS = [range(first, first + HELD_OUT.step) for first in HELD_OUT]
"""The views of each round that Test_Set's questions are asked of in turn."""

APART = 3.4
"""Least `faces.distance` between two people with names: they differ in at least three clearly visible features."""

FACTS: Mapping[str, tuple[str, ...]] = {
    "Occupation": ("baker", "pilot", "nurse", "lawyer", "farmer", "painter", "plumber", "teacher"),
    "Residence": (
        "Port Selva", "Grimholt", "Castle Bay", "Lunden", "Ostrava Hill", "Tarn", "Mirefield", "Nova Korsa",
    ),
    "Birthplace": ("Abelin", "Dunmor", "Kestria", "Velden", "Zorach", "Pellaby", "Isarn", "Quenby"),
    "Hobby": ("chess", "sailing", "knitting", "climbing", "gardening", "dancing", "fishing", "archery"),
    "Pet": ("parrot", "tortoise", "rabbit", "goldfish", "hamster", "pony", "lizard", "goose"),
    "Food": ("pancakes", "dumplings", "curry", "lasagna", "sushi", "goulash", "paella", "porridge"),
    "Instrument": ("violin", "trumpet", "drums", "flute", "harp", "banjo", "cello", "accordion"),
    "Language": ("Danish", "Swahili", "Korean", "Basque", "Welsh", "Hindi", "Greek", "Finnish"),
}  # fmt: skip
"""Attribute -> its values. An eighth of the people have each, so that one guess in eight is right."""

_GIVEN = (
    ("Al", "Bri", "Cor", "Da", "El", "Fen", "Jo", "Ka", "Lu", "Mi", "Ser", "Ti"),
    ("ra", "vin", "sa", "den", "lio", "mette", "nor", "wen", "bert", "zia", "thas", "quil"),
)
_FAMILY = (
    ("Ash", "Brook", "Crane", "Dorn", "Frost", "Hollow", "Stone", "Wolf"),
    ("by", "feld", "gard", "hurst", "lund", "mere", "stad", "wick"),
)


@dataclass(frozen=True)
class Person:
    """A person with a name, a face and facts."""

    number: int
    """Index in the world: people first, then neighbours, then strangers."""
    name: str
    face: Face
    facts: Mapping[str, str]

    @property
    def id(self) -> str:
        """Three digits from 001, as in MLLMU-Bench."""
        return f"{self.number + 1:03d}"

    def picture(self, view: int, size: int = 64) -> Image.Image:
        """Draw one of the views: 0 to 11 are trained on, 12 to 23 are held out."""
        return picture(self.face, self.number, view, size)

    def image(self, view: int) -> ImageRef:
        """Draw one of the views as PNG, called `ID/VIEW`."""
        return ImageRef.from_image(self.picture(view), f"{self.id}/{view}")


@dataclass(frozen=True)
class World:
    """All people, in groups."""

    people: tuple[Person, ...]
    """The full set. The first 4, 8 and 12 are the people to forget at 5, 10 and 15 %."""
    neighbours: tuple[Person, ...]
    """Known to the models, but never seen by unlearning: they take the part of MLLMU-Bench's celebrities."""
    strangers: tuple[Person, ...]
    """Trained on in all phrasings, so that a model learns that the phrasings ask the same; like neighbours, never seen
    by unlearning."""
    crowd: tuple[Face, ...]
    """Faces without names, for the vision encoder's warm-up."""


def picture(face: Face, number: int, view: int, size: int = 64) -> Image.Image:
    """Draw view `view` of the face with that number: the same pixels every time."""
    return render(face, random_view(np.random.default_rng([SEED, number, view])), size)


def forgotten(per_cent: int, people: int = PEOPLE) -> int:
    """Return the number of people in `forget_5`, `forget_10` or `forget_15`."""
    return people * per_cent // 100


@cache
def world() -> World:
    """Return the world; it is made once per process."""
    count = PEOPLE + NEIGHBOURS + STRANGERS
    # Faces, names and facts have a random stream each, so that a change of one leaves the others as they are.
    rng = np.random.default_rng([SEED, 1])
    faces: list[Face] = []
    while len(faces) < count + CROWD:
        face = random_face(rng)
        # A face too similar to one with a name is drawn again. Faces of the crowd may be similar to each other.
        least = APART if len(faces) < count else APART / 2
        if all(distance(face, named_face) >= least for named_face in faces[:count]):
            faces.append(face)
    rng = np.random.default_rng([SEED, 2])
    given, family = (rng.permutation([a + b for a in parts[0] for b in parts[1]]) for parts in (_GIVEN, _FAMILY))
    # Given names are unique, as questions in words must name one person; about two share a family name.
    names = [f"{given[i]} {family[i % len(family)]}" for i in range(count)]
    rng = np.random.default_rng([SEED, 3])
    facts: list[dict[str, str]] = []
    # Each block of eight people holds all eight values of each attribute. The people to forget are the first, so each
    # forget set is balanced as far as its size allows.
    for start in range(0, count, 8):
        orders = {key: rng.permutation(values) for key, values in FACTS.items()}
        for i in range(min(8, count - start)):
            facts.append({key: str(order[i]) for key, order in orders.items()})
    named = tuple(Person(i, names[i], faces[i], facts[i]) for i in range(count))
    return World(
        people=named[:PEOPLE],
        neighbours=named[PEOPLE : PEOPLE + NEIGHBOURS],
        strangers=named[PEOPLE + NEIGHBOURS :],
        crowd=tuple(faces[count:]),
    )
