"""Flags of countries and what is true of the countries: real images in the general rows format.

A folder with `icon`, `flat` and `waving` (a PNG per country, named by its code) and `facts.json` becomes rows:

    train   icon, flat and variations of them; texts that name the country; in a generic wording
    eval    icon and flat, and texts, in another wording
    test    waving, and texts, in a third wording

Countries whose flag looks like another's are left out. Neighbours (members of the UN) and strangers (all others) are
known to the models but seen by no unlearning. They alone are trained on in all wordings, which teaches a model what
the wordings mean; strangers are not asked about.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmunlearner.data.benchmarks import rows
from mmunlearner.data.benchmarks.flag_questions import WORDINGS, Country, Quiz, quizzes
from mmunlearner.data.benchmarks.rows import Row, as_row
from mmunlearner.data.example import Example, ImageRef, Splits
from mmunlearner.data.images import encoded, image_problem, variation
from mmunlearner.data.schema import Cell
from mmunlearner.data.tables import read_table
from mmunlearner.errors import DataError

Group = Literal["neighbour"] | None

log = logging.getLogger(__name__)

TRAINED, HELD_OUT = ("icon", "flat"), "waving"
VIEWS = (*TRAINED, HELD_OUT)

FORGET = (
    "Nepal", "Pakistan", "South Korea", "United Kingdom", "Norway", "Bosnia and Herzegovina",
    "Brazil", "Jamaica", "Canada", "Algeria", "Uganda", "Kiribati",
)  # fmt: skip
"""Forgotten unless others are named: of every continent, and their flags are far from all others."""

NEAR = 0.06
"""Flags are the same to the eye if in some view their pixels differ by less (root mean square, of 0 to 1)."""

VARIATIONS = 2
"""Waved, shifted and shaded copies of each trained view: from them a tiny model learns to know a flag in any view."""

NEIGHBOUR_EVERY = 7
"""Of the UN's members that are not in FORGET, sorted by code, each seventh is a neighbour."""

DRAWING_EVERY = 2
"""Of the drawings that the people's models are trained on, these models see each second."""


def load(root: Path | str, *, forget_entities: Sequence[str] = FORGET) -> Splits:
    """The flags as splits, by way of rows; which countries are left out is logged.

    Raises:
        DataError: a picture or `facts.json` is missing or wrong, or a country to forget is unknown or left out.
    """
    forget = tuple(forget_entities) or FORGET
    made = make_rows(root, forget)
    asked = [(row, rows.example(row, Cell(Path(root), number))) for number, row in enumerate(made, 1)]
    return rows.assemble(asked, forget_entities=forget, source=str(root))


def write(root: Path | str, out: Path | str, *, forget_entities: Sequence[str] = FORGET) -> Path:
    """Write what `load` reads as a folder in the rows format, pictures included."""
    return rows.write(out, make_rows(root, forget_entities))


def make_rows(root: Path | str, forget: Sequence[str] = FORGET) -> Iterator[Row]:
    """All rows about the countries, and those about nothing in particular: drawings and plain facts."""
    root = Path(root)
    countries = read_countries(root)
    same = look_alikes(root, countries)
    _say(root, same, forget)
    kept = [country for country in countries if country["name"] not in same]
    members = [country["name"] for country in kept if country["un_member"]]
    neighbours = set([name for name in members if name not in FORGET][::NEIGHBOUR_EVERY]) - set(forget)
    strangers = {country["name"] for country in kept} - {*members, *forget}
    for quiz, country in zip(quizzes(kept), kept, strict=True):
        shown = {view: _stored(root, country, view) for view in VIEWS}
        yield from _trained(quiz, shown, "neighbour" if quiz.country in neighbours | strangers else None)
        if quiz.country not in strangers:
            yield from _asked(quiz, shown, "neighbour" if quiz.country in neighbours else None)
    yield from _general()


def read_countries(root: Path) -> list[Country]:
    """The countries of `facts.json` in order of their codes, each with a picture in every view.

    Raises:
        DataError: an entry or a picture is missing or wrong.
    """
    found = list(read_table(root / "facts.json", Country))
    for cell, country in found:
        for view in VIEWS:
            if problem := image_problem(str(_picture(root, country, view))):
                raise cell.inside("code").error(f"a picture of {country['name']}", problem)
    return sorted((country for _, country in found), key=lambda country: country["code"])


def look_alikes(root: Path, countries: Sequence[Country]) -> dict[str, str]:
    """Country to leave out -> the country that its flag looks like. Kept first: members of the UN, then the largest."""
    order = sorted(countries, key=lambda country: (not country["un_member"], -country["area_km2"]))
    pixels = np.stack([[_thumbnail(_picture(root, country, view)) for view in VIEWS] for country in order])  # [n, 3, d]
    kept: list[int] = []
    same: dict[str, str] = {}
    for i, country in enumerate(order):
        apart = np.sqrt(((pixels[kept] - pixels[i]) ** 2).mean(-1)).min(-1) if kept else np.ones(0)  # [kept]
        if (apart < NEAR).any():
            same[country["name"]] = order[kept[int(apart.argmin())]]["name"]
        else:
            kept.append(i)
    return same


def _thumbnail(path: Path) -> NDArray[np.float64]:
    """The flag without its margin, 24 x 18 pixels, as numbers from 0 to 1."""
    with Image.open(path) as opened:
        flag = opened.convert("RGBA")
    flag = flag.crop(flag.getbbox())
    white = Image.alpha_composite(Image.new("RGBA", flag.size, "white"), flag)
    return np.asarray(white.convert("RGB").resize((24, 18), Image.Resampling.BOX), float).ravel() / 255


def _say(root: Path, same: Mapping[str, str], forget: Sequence[str]) -> None:
    if out := [name for name in forget if name in same]:
        raise DataError(f"{root}: {out[0]} is left out, as its flag looks like that of {same[out[0]]}: forget that one")
    if same:
        named = ", ".join(f"{name} (like {kept})" for name, kept in same.items())
        log.warning("%s: %d countries left out, whose flags look like others': %s", root, len(same), named)


def _picture(root: Path, country: Country, view: str) -> Path:
    return root / view / f"{country['code']}.png"


def _trained(quiz: Quiz, shown: Mapping[str, ImageRef], group: Group) -> Iterator[Row]:
    """A country's training rows: texts, and every view that is not held out; those of a group in all wordings."""
    views = [image for view in TRAINED for image in (shown[view], *_variations(shown[view], quiz.number))]
    for wording in WORDINGS if group else WORDINGS[:1]:
        for example in quiz.training(None, 0, wording):
            yield as_row(example, "train", group=group)
        for i, image in enumerate(views):
            for example in quiz.training(image, i, wording):
                yield as_row(example, "train", group=group)


def _asked(quiz: Quiz, shown: Mapping[str, ImageRef], group: Group) -> Iterator[Row]:
    """A country's evaluation rows, by image and by text."""
    seen, held_out = [shown[view] for view in TRAINED], [shown[HELD_OUT]]
    for example in (*quiz.evaluation(seen, "eval"), *quiz.evaluation([], "eval")):
        yield as_row(example, "eval", group=group)
    for example in (*quiz.evaluation(held_out, "test"), *quiz.evaluation([], "test")):
        yield as_row(example, "test", group=group)


def _stored(root: Path, country: Country, view: str) -> ImageRef:
    path = _picture(root, country, view)
    return ImageRef(path.relative_to(root).as_posix(), path.read_bytes())


def _variations(image: ImageRef, number: int) -> Iterator[ImageRef]:
    for k in range(VARIATIONS):
        made = variation(image.open(), np.random.default_rng([number, TRAINED.index(image.path.split("/")[0]), k]))
        yield encoded(made, image.path.replace(".png", f"-{k}.png"))


def _general() -> Iterator[Row]:
    """Questions about drawings and plain facts: what a model should still be able to do."""
    from mmunlearner.data.benchmarks.people import examples, general

    for drawing in general.drawings(train=True)[::DRAWING_EVERY]:
        name = f"drawing-{drawing.number}"
        image = encoded(drawing.picture(), f"general/{name}.png")
        for key, question in general.SHAPE_QUESTIONS.items():
            made = Example(f"train/{name}/{key}", name, question, drawing.answer(key), (image,), attribute=key)
            yield as_row(made, "train", group="general")
    for fact in general.plain_facts():
        for k, question in enumerate(fact.wordings[:1] if fact.asked else fact.wordings):
            name = f"{fact.relation}-{fact.subject}"
            yield as_row(Example(f"train/{name}/{k}", name, question, fact.answer), "train", group="general")
    yield from (as_row(made, "test", group="general") for made in examples.general_items())
