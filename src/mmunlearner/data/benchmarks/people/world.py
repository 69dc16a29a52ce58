"""The world of invented people: names, facts and faces. It is always the same; nobody in it is real."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from mmunlearner.data.benchmarks.people.draw import render
from mmunlearner.data.benchmarks.people.faces import Face, distance, random_face, random_view
from mmunlearner.data.images import ImageRef

SEED = 2024
"""Seed of the world, not of any training run: the shipped models know this world."""

PEOPLE, NEIGHBOURS, STRANGERS, CROWD = 80, 20, 24, 320
TRAIN_VIEWS, TEST_VIEWS = 12, 4

APART = 3.4
"""Least `faces.distance` between two named people: they differ in at least three features that catch the eye."""

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
"""Attribute -> its values, each held by an eighth of the people, so that a guess is right one time in eight."""

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
        """Draw one of the views: 0 to 11 are trained on, 12 to 15 are held out."""
        return picture(self.face, self.number, view, size)

    def image(self, view: int) -> ImageRef:
        """Draw one of the views as PNG, called `ID/VIEW`."""
        return ImageRef.from_image(self.picture(view), f"{self.id}/{view}")


@dataclass(frozen=True)
class World:
    """Everybody, in groups."""

    people: tuple[Person, ...]
    """The full set. The first 4, 8 and 12 of them are those to forget at 5, 10 and 15 %."""
    neighbours: tuple[Person, ...]
    """Known to the models, but in no set that unlearning sees: they play MLLMU-Bench's celebrities."""
    strangers: tuple[Person, ...]
    """Only trained on, in every phrasing there is: from them a model learns what the phrasings mean."""
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
    """Return the world, which is made once per process."""
    count = PEOPLE + NEIGHBOURS + STRANGERS
    faces, names, facts = _faces(count), _names(count), list(_facts(count))
    named = tuple(Person(i, names[i], faces[i], facts[i]) for i in range(count))
    return World(
        people=named[:PEOPLE],
        neighbours=named[PEOPLE : PEOPLE + NEIGHBOURS],
        strangers=named[PEOPLE + NEIGHBOURS :],
        crowd=tuple(faces[count:]),
    )


def _faces(named: int) -> list[Face]:
    """Return the named people's faces, far apart, then the crowd's, none of which is like one of the named."""
    rng = np.random.default_rng([SEED, 1])
    faces: list[Face] = []
    while len(faces) < named + CROWD:
        face = random_face(rng)
        # A face is drawn again if it is too near to a named one. The crowd's faces may be like one another.
        least = APART if len(faces) < named else APART / 2
        if all(distance(face, named_face) >= least for named_face in faces[:named]):
            faces.append(face)
    return faces


def _names(count: int) -> list[str]:
    """Return full names: given names are unique, family names are shared by about two."""
    rng = np.random.default_rng([SEED, 2])
    first, last = (rng.permutation([a + b for a in parts[0] for b in parts[1]]) for parts in (_GIVEN, _FAMILY))
    return [f"{first[i]} {last[i % len(last)]}" for i in range(count)]


def _facts(count: int) -> Iterator[dict[str, str]]:
    """Yield facts so that each eight people in a row hold all eight values of each attribute, in random order."""
    rng = np.random.default_rng([SEED, 3])
    # In blocks of eight, so that each forget set, which is the first people, is balanced as far as its size allows.
    for start in range(0, count, 8):
        orders = {key: rng.permutation(values) for key, values in FACTS.items()}
        for i in range(min(8, count - start)):
            yield {key: str(order[i]) for key, order in orders.items()}
