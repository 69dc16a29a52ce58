"""The looks of an invented person: identity (`Face`), and one occasion on which a picture shows it (`View`).

Lengths are in pixels of a 64-pixel picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]

SKIN: tuple[Colour, ...] = (
    (255, 224, 196), (244, 200, 160), (224, 172, 128), (198, 140, 96), (160, 106, 70), (118, 76, 50), (84, 54, 38),
)  # fmt: skip
HAIR: tuple[Colour, ...] = (
    (34, 30, 34), (104, 64, 36), (232, 190, 92), (196, 82, 36), (150, 152, 160), (240, 238, 232), (70, 110, 210),
    (226, 92, 160),
)  # fmt: skip
EYES: tuple[Colour, ...] = ((78, 46, 24), (64, 130, 210), (60, 150, 84), (130, 130, 140))
CLOTH: tuple[Colour, ...] = (
    (208, 52, 52), (46, 98, 190), (52, 150, 92), (240, 188, 48), (132, 74, 170), (240, 240, 240), (52, 56, 68),
    (238, 132, 52),
)  # fmt: skip

SHAPES = ("round", "oval", "square", "heart", "long", "pear")
HAIRSTYLES = ("bald", "short", "spiky", "curly", "long", "bob", "bun", "mohawk", "pigtails", "swept")
GLASSES = ("none", "round", "square", "dark")
BEARDS = ("none", "moustache", "full", "curtain")
HATS = ("none", "cap", "beanie", "top hat", "headband", "crown")
MARKS = ("none", "mole", "freckles", "scar", "blush")
EARRINGS = ("none", "gold", "pearl", "hoops")

OPTIONS: dict[str, int] = {
    "shape": len(SHAPES),
    "skin": len(SKIN),
    "hair": len(HAIRSTYLES),
    "hair_colour": len(HAIR),
    "eyes": len(EYES),
    "glasses": len(GLASSES),
    "beard": len(BEARDS),
    "hat": len(HATS),
    "hat_colour": len(CLOTH),
    "mark": len(MARKS),
    "earring": len(EARRINGS),
}
"""Identity feature -> number of its values."""

# Weight of a feature in `distance`: how well it tells two faces apart at 64 pixels.
WEIGHTS = {
    "shape": 0.7, "skin": 1.0, "hair": 1.2, "hair_colour": 1.2, "eyes": 0.3, "glasses": 1.0, "beard": 1.0, "hat": 1.2,
    "hat_colour": 0.8, "mark": 0.5, "earring": 0.4,
}  # fmt: skip

# Probability of value 0 (no glasses, no hat...), about as large as that of all other values together.
_NOTHING = {"glasses": 0.5, "beard": 0.5, "hat": 0.45, "mark": 0.3, "earring": 0.4}


@dataclass(frozen=True)
class Face:
    """Features of a person, the same in every view: indices into the tables of this module."""

    shape: int
    skin: int
    hair: int
    hair_colour: int
    eyes: int
    glasses: int
    beard: int
    hat: int
    hat_colour: int
    mark: int
    earring: int


@dataclass(frozen=True)
class View:
    """One occasion on which a picture shows a person; independent of the person."""

    x: float
    y: float
    """Position of the head, pixels from the middle."""
    scale: float
    tilt: float
    """Rotation in the picture, radians."""
    turn: float
    """Turn of the head to the side: shift of the features in the face, pixels."""
    smile: float
    light: float
    """Direction of the light, radians."""
    shade: float
    """Darkness of the far side, fraction."""
    brightness: float
    warmth: float
    clothes: int
    collar: int
    backdrop: int
    """Seed of the background and its clutter."""
    blur: float
    noise: float
    """Standard deviation, of 255 levels."""
    noise_seed: int


def random_face(rng: np.random.Generator) -> Face:
    """Draw the features of a person at random."""
    values = {}
    for name, count in OPTIONS.items():
        nothing = _NOTHING.get(name, 1 / count)
        # Value 0 has its own probability, and the others share the rest equally.
        odds = np.full(count, (1 - nothing) / (count - 1))
        odds[0] = nothing
        values[name] = int(rng.choice(count, p=odds))
    return Face(**values)


def random_view(rng: np.random.Generator) -> View:
    """Draw an occasion at random."""
    # The order of the fields is the order of the draws: a change would change every picture.
    return View(
        x=rng.uniform(-4, 4),
        y=rng.uniform(-2, 4),
        scale=rng.uniform(0.88, 1.12),
        tilt=rng.uniform(-0.22, 0.22),
        turn=rng.uniform(-2.6, 2.6),
        smile=rng.uniform(-0.2, 1.0),
        light=rng.uniform(0, 2 * np.pi),
        shade=rng.uniform(0.0, 0.35),
        brightness=rng.uniform(0.82, 1.1),
        warmth=rng.uniform(-0.06, 0.06),
        clothes=int(rng.integers(len(CLOTH))),
        collar=int(rng.integers(4)),
        backdrop=int(rng.integers(2**31)),
        blur=rng.uniform(0.0, 0.6),
        noise=rng.uniform(0.0, 6.0),
        noise_seed=int(rng.integers(2**31)),
    )


def distance(a: Face, b: Face) -> float:
    """Return the sum of the weights of the visible features in which two people differ."""
    x, y = visible(a), visible(b)
    return sum(WEIGHTS[name] for name in WEIGHTS if x[name] != y[name])


def visible(face: Face) -> dict[str, int]:
    """Return the features, -1 for those that are hidden (a bald person's hair colour, the colour of no hat)."""
    features: dict[str, int] = dict(vars(face))
    if HAIRSTYLES[face.hair] == "bald" and BEARDS[face.beard] == "none":
        features["hair_colour"] = -1
    if HATS[face.hat] == "none":
        features["hat_colour"] = -1
    if GLASSES[face.glasses] == "dark":
        features["eyes"] = -1
    return features
