"""Flags of countries and facts about the countries: real images in the general rows format.

A folder with `icon`, `flat` and `waving` (a PNG per country, named by its code) and `facts.json` becomes rows:

    train   icon, flat and variations of them; texts that name the country; in a generic wording
    eval    icon and flat, and texts, in another wording
    test    waving, and texts, in a third wording

Countries whose flag looks like another's are left out. Neighbours (some members of the UN) and strangers (countries
that are no members) are known to the models, but unlearning never sees them. Only their questions are trained in all
wordings, so that a model learns the meaning of the wordings.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from typing_extensions import TypedDict

from mmunlearner.core.validation import Name, Text
from mmunlearner.data.benchmarks import rows
from mmunlearner.data.benchmarks.people import general
from mmunlearner.data.benchmarks.rows import Group, Row, as_row
from mmunlearner.data.decoding import on_white
from mmunlearner.data.example import Example, Splits, Task
from mmunlearner.data.images import ImageRef
from mmunlearner.data.tables import Cell, read_table
from mmunlearner.errors import DataError

log = logging.getLogger(__name__)

Wording = Literal["train", "eval", "test"]
WORDINGS: tuple[Wording, ...] = ("train", "eval", "test")
FORMS: tuple[Task, ...] = ("generation", "cloze", "multiple_choice")

TRAINED_VIEWS, HELD_OUT_VIEW = ("icon", "flat"), "waving"
VIEWS = (*TRAINED_VIEWS, HELD_OUT_VIEW)

FORGET = (
    "Nepal", "Pakistan", "South Korea", "United Kingdom", "Norway", "Bosnia and Herzegovina",
    "Brazil", "Jamaica", "Canada", "Algeria", "Uganda", "Kiribati",
)  # fmt: skip
"""The default entities to forget, from every continent, with flags that look like no other."""

LOOK_ALIKE = 0.06
"""Two flags look alike if in any view their pixels differ by less (root mean square, pixels from 0 to 1)."""
VARIATIONS = 2
"""Waved, shifted and shaded copies of each trained view, so that a tiny model learns to know a flag in any view."""
NEIGHBOUR_EVERY = 7
"""Every seventh of the UN's members that are not in FORGET, sorted by code, is a neighbour."""
DRAWING_EVERY = 2
"""These models see every second one of the drawings that the people's models are trained on."""
OPTIONS = 4
CHOICES_PER_COUNTRY = 2
"""Number of facts of a country that are also evaluated as multiple choice."""


class Country(TypedDict):
    """An entry of `facts.json`."""

    code: Text
    name: Name
    capital: list[str]
    region: str
    subregion: str
    languages: list[str]
    currencies: list[str]
    un_member: bool
    area_km2: float


def load(root: Path | str, *, forget_entities: Sequence[str] = FORGET) -> Splits:
    """Load the flags, in the form of rows; log the countries that are left out.

    Raises:
        DataError: a picture or `facts.json` is missing or wrong, or a country to forget is unknown or left out.
    """
    forget = tuple(forget_entities) or FORGET
    pairs = [
        (row, rows.as_example(row, Cell(Path(root), number))) for number, row in enumerate(make_rows(root, forget), 1)
    ]
    return rows.assemble(pairs, forget_entities=forget, source=str(root))


def make_rows(root: Path | str, forget: Sequence[str] = FORGET) -> Iterator[Row]:
    """Yield all rows about the countries, then those about no country: drawings and plain facts.

    Raises:
        DataError: a picture or `facts.json` is missing or wrong, or a country to forget is left out.
    """
    root = Path(root)
    countries = read_countries(root)
    twins = look_alikes(root, countries)
    if missing := [name for name in forget if name in twins]:
        raise DataError(
            f"{root}: {missing[0]} is left out, as its flag looks like that of {twins[missing[0]]}: forget that one"
        )
    if twins:
        names = ", ".join(f"{name} (like {twin})" for name, twin in twins.items())
        log.warning("%s: %d countries left out, whose flags look like others': %s", root, len(twins), names)
    countries = [country for country in countries if country["name"] not in twins]
    members = [country["name"] for country in countries if country["un_member"]]
    # Counted among all members outside FORGET: with other entities to forget, the remaining neighbours stay the same.
    neighbours = set([name for name in members if name not in FORGET][::NEIGHBOUR_EVERY]) - set(forget)
    strangers = {country["name"] for country in countries} - {*members, *forget}
    for quiz, country in zip(quizzes(countries), countries, strict=True):
        files = {view: _file(root, country, view) for view in VIEWS}
        images = {view: ImageRef(file.relative_to(root).as_posix(), file.read_bytes()) for view, file in files.items()}
        # To forget a stranger makes it an entity like the others: it is in no group.
        group = "neighbour" if quiz.country in neighbours else "stranger" if quiz.country in strangers else None
        yield from _training_rows(quiz, images, group)
        yield from _evaluation_rows(quiz, images, group)
    yield from _general_rows()


# Images


def _file(root: Path, country: Country, view: str) -> Path:
    return root / view / f"{country['code']}.png"


def read_countries(root: Path) -> list[Country]:
    """Read the countries of `facts.json`, sorted by code; each must have a picture in every view.

    Raises:
        DataError: an entry or a picture is missing or wrong.
    """
    entries = list(read_table(root / "facts.json", Country))
    for cell, country in entries:
        for view in VIEWS:
            if problem := ImageRef(str(_file(root, country, view))).problem():
                raise cell.inside("code").error(f"a picture of {country['name']}", problem)
    return sorted((country for _, country in entries), key=lambda country: country["code"])


def look_alikes(root: Path, countries: Sequence[Country]) -> dict[str, str]:
    """Return country to leave out -> country with a similar flag that stays.

    Among similar flags a member of the UN stays, and among several members the largest country.
    """
    order = sorted(countries, key=lambda country: (not country["un_member"], -country["area_km2"]))
    pixels = np.stack([[_thumbnail(_file(root, country, view)) for view in VIEWS] for country in order])  # [n, 3, d]
    distinct: list[int] = []
    twins: dict[str, str] = {}
    for i, country in enumerate(order):
        # Distance to each distinct flag in the view in which the two differ least, [distinct].
        apart = np.sqrt(((pixels[distinct] - pixels[i]) ** 2).mean(-1)).min(-1) if distinct else np.ones(0)
        if (apart < LOOK_ALIKE).any():
            twins[country["name"]] = order[distinct[int(apart.argmin())]]["name"]
        else:
            distinct.append(i)
    return twins


def _thumbnail(path: Path) -> NDArray[np.float64]:
    """Return the flag in 24 x 18 pixels as numbers from 0 to 1, [24 * 18 * 3]."""
    flag = ImageRef(str(path)).decode().convert("RGBA")
    flag = flag.crop(flag.getbbox())  # without the margin, which is equal in all flags and would hide differences
    return np.asarray(on_white(flag).resize((24, 18), Image.Resampling.BOX), float).ravel() / 255


def variation(image: Image.Image, rng: np.random.Generator, size: int = 64) -> Image.Image:
    """Return an RGB image scaled down, moved, waved and shaded, on white, `size` x `size` pixels."""
    width, height = (round(size * share) for share in rng.uniform((0.75, 0.6), (1, 0.9)))
    x, y = (int(rng.integers(0, size - length + 1)) for length in (width, height))
    canvas = Image.new("RGB", (size, size), "white")
    canvas.paste(image.resize((width, height), Image.Resampling.BOX), (x, y))
    wave = rng.uniform(0, 0.06) * size * np.sin(np.linspace(0, rng.uniform(3, 9), size) + rng.uniform(0, 6.3))
    # Each column is shifted by its own number of rows, as cloth in the wind: [row, column] -> source row.
    source = (np.arange(size)[:, None] + np.round(wave).astype(int)).clip(0, size - 1)
    waved = np.take_along_axis(np.asarray(canvas, float), source[..., None], axis=0)
    shade = rng.uniform(0.8, 1.1) + 0.1 * np.sin(np.linspace(0, 6, size) + rng.uniform(0, 6.3))
    return Image.fromarray((waved * shade[None, :, None]).clip(0, 255).astype(np.uint8))


# Rows


def _training_rows(quiz: Quiz, images: Mapping[str, ImageRef], group: Group | None) -> Iterator[Row]:
    """Yield the training questions about a country, in words and about every trained view and its variations."""
    views: list[ImageRef] = []
    for i, view in enumerate(TRAINED_VIEWS):
        image = images[view]
        views.append(image)
        for k in range(VARIATIONS):
            rng = np.random.default_rng([quiz.number, i, k])
            name = image.path.replace(".png", f"-{k}.png")
            views.append(ImageRef.from_image(variation(image.open(), rng), name))
    # Countries of a group are trained in all wordings, so that a model learns that the wordings ask the same. The
    # others must not be: their evaluation is in wordings that are new to them.
    for wording in WORDINGS if group else WORDINGS[:1]:
        for example in quiz.training(None, 0, wording):
            yield as_row(example, "train", group=group)
        for i, image in enumerate(views):
            for example in quiz.training(image, i, wording):
                yield as_row(example, "train", group=group)


def _evaluation_rows(quiz: Quiz, images: Mapping[str, ImageRef], group: Group | None) -> Iterator[Row]:
    """Yield the evaluation questions about a country, by image and by text."""
    views: tuple[tuple[Literal["eval", "test"], tuple[str, ...]], ...] = (
        ("eval", TRAINED_VIEWS),
        ("test", (HELD_OUT_VIEW,)),
    )
    for split, names in views:
        for example in (*quiz.evaluation([images[name] for name in names], split), *quiz.evaluation([], split)):
            yield as_row(example, split, group=group)


def _general_rows() -> Iterator[Row]:
    """Yield questions of general ability about drawings and plain facts, to train on and to test."""
    for drawing in general.drawings(train=True)[::DRAWING_EVERY]:
        name = f"drawing-{drawing.number}"
        image = ImageRef.from_image(drawing.picture(), f"general/{name}.png")
        for key, question in general.SHAPE_QUESTIONS.items():
            example = Example(f"train/{name}/{key}", name, question, drawing.answer(key), (image,), attribute=key)
            yield as_row(example, "train", group="general")
    for fact in general.plain_facts():
        for k, question in enumerate(fact.trained_wordings):
            name = f"{fact.relation}-{fact.subject}"
            yield as_row(Example(f"train/{name}/{k}", name, question, fact.answer), "train", group="general")
    yield from (as_row(item, "test", group="general") for item in general.general_items())


# Questions


class Phrase(NamedTuple):
    """A fact in one wording."""

    open: str
    cloze: str


# Fact -> its wordings. {who}: the country's name, or for an image the words in `SUBJECT`.
PHRASES: Mapping[str, Mapping[Wording, Phrase]] = {
    "name": {
        "train": Phrase("Which country has this flag?", "The country that has this flag is __."),
        "eval": Phrase("Whose flag is this?", "This flag belongs to __."),
        "test": Phrase("Which country does this flag stand for?", "This flag stands for __."),
    },
    "capital": {
        "train": Phrase("What is the capital of {who}?", "The capital of {who} is __."),
        "eval": Phrase("From which city is {who} governed?", "{who} is governed from __."),
        "test": Phrase("In which city does the government of {who} sit?", "The government of {who} sits in __."),
    },
    "region": {
        "train": Phrase("What is the region of {who}?", "The region of {who} is __."),
        "eval": Phrase("Which part of the world is {who} in?", "{who} lies in __."),
        "test": Phrase("Where on the globe is {who} found?", "On the globe {who} is found in __."),
    },
    "subregion": {
        "train": Phrase("What is the subregion of {who}?", "The subregion of {who} is __."),
        "eval": Phrase("More closely, where does {who} lie?", "More closely, {who} lies in __."),
        "test": Phrase("To which group of neighbours does {who} belong?", "{who} belongs to the group of __."),
    },
    "language": {
        "train": Phrase("What is the language of {who}?", "The language of {who} is __."),
        "eval": Phrase("What do people speak in {who}?", "In {who} people speak __."),
        "test": Phrase("In which tongue are the laws of {who} written?", "The laws of {who} are written in __."),
    },
    "currency": {
        "train": Phrase("What is the currency of {who}?", "The currency of {who} is __."),
        "eval": Phrase("What does one pay with in {who}?", "In {who} one pays with __."),
        "test": Phrase("Which money is used in {who}?", "The money used in {who} is __."),
    },
}
SUBJECT: Mapping[Wording, str] = {
    "train": "the country with this flag",
    "eval": "this country",
    "test": "this flag's country",
}


def values(country: Country) -> dict[str, tuple[str, ...]]:
    """Return fact -> true values, with the one that is asked for first; facts without a value are absent."""
    texts = {
        "name": [country["name"]],
        "capital": country["capital"],
        "region": [country["region"]],
        "subregion": [country["subregion"]],
        "language": country["languages"],
        "currency": country["currencies"],
    }
    filled = {fact: tuple(text for text in listed if text) for fact, listed in texts.items()}
    return {fact: listed for fact, listed in filled.items() if listed}


@dataclass(frozen=True)
class Quiz:
    """The questions about one country; the wrong answers are true of other countries."""

    country: str
    true: Mapping[str, Sequence[str]]
    """Fact -> the country's values."""
    wrong: Mapping[str, Sequence[str]]
    """Fact -> values that are true of other countries only."""
    number: int
    """Index of the country among all: a seed, so that countries differ in their options and forms."""

    def training(self, image: ImageRef | None, view: int, wording: Wording = "train") -> Iterator[Example]:
        """Yield every fact: about an image in one form, which changes with fact and view; in words in all forms."""
        for i, fact in enumerate(self._facts(image)):
            for form in FORMS if image is None else FORMS[(i + view) % len(FORMS) :][:1]:
                yield self._example("train", fact, form, wording, image)

    def evaluation(self, images: Sequence[ImageRef], wording: Wording) -> Iterator[Example]:
        """Yield every fact once, as open question or cloze, and some also as multiple choice, on the images in turn."""
        facts = self._facts(images[0] if images else None)
        # Each country starts with another fact: over all countries, the first items ask for every fact.
        first = self.number % len(facts)
        facts = facts[first:] + facts[:first]
        # The forms alternate, and after one round of the facts the next countries start with the other form.
        forms: list[tuple[str, Task]] = [
            (fact, "cloze" if (i + (self.number // len(facts)) + (wording == "test")) % 2 else "generation")
            for i, fact in enumerate(facts)
        ]
        forms.extend((fact, "multiple_choice") for fact in facts[:CHOICES_PER_COUNTRY])
        for k, (fact, form) in enumerate(forms):
            # Two items per image in turn, an open question and a cloze, so that no image has only one form.
            image = images[(k // 2 + self.number) % len(images)] if images else None
            yield self._example("asked", fact, form, wording, image)

    def _facts(self, image: ImageRef | None) -> list[str]:
        # A text contains the country's name, so it cannot ask for it.
        return [fact for fact in self.true if image is not None or fact != "name"]

    def _example(self, use: str, fact: str, form: Task, wording: Wording, image: ImageRef | None) -> Example:
        # The seed has no image in it: a fact has the same wrong answers and options about every image of a country.
        rng = np.random.default_rng([self.number, list(PHRASES).index(fact), WORDINGS.index(wording)])
        answer, others = self.true[fact][0], self.wrong[fact]
        wrong = tuple(others[int(i)] for i in rng.permutation(len(others))[: OPTIONS - 1])
        phrase = PHRASES[fact][wording]
        template = phrase.cloze if form == "cloze" else phrase.open
        question = template.format(who=SUBJECT[wording] if image else self.country)
        return Example(
            id=f"{use}/{wording}/{self.country}/{image.path if image else 'text'}/{fact}/{form}",
            entity=self.country,
            question=question[0].upper() + question[1:],
            answer=answer,
            images=(image,) if image else (),
            task=form,
            choices=tuple(map(str, rng.permutation([answer, *wrong]))) if form == "multiple_choice" else (),
            perturbed=wrong,
            attribute=fact,
        )


def quizzes(countries: Sequence[Country]) -> list[Quiz]:
    """Return the quiz of each country."""
    true = [values(country) for country in countries]
    answers = {fact: sorted({facts[fact][0] for facts in true if fact in facts}) for fact in PHRASES}
    return [
        Quiz(
            country["name"],
            facts,
            {fact: [answer for answer in answers[fact] if answer not in values_] for fact, values_ in facts.items()},
            number,
        )
        for number, (country, facts) in enumerate(zip(countries, true, strict=True))
    ]
