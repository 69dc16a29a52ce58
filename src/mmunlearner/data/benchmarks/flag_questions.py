"""What is asked about countries: facts, their wordings, and the questions made of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypedDict

import numpy as np

from mmunlearner.data.example import Example, ImageRef, Task
from mmunlearner.data.schema import Text

Wording = Literal["train", "eval", "test"]
WORDINGS: tuple[Wording, ...] = ("train", "eval", "test")
FORMS: tuple[Task, ...] = ("generation", "cloze", "multiple_choice")

OPTIONS = 4
CHOICES_PER_COUNTRY = 2
"""Facts of a country that are evaluated once more as multiple choice."""


class Country(TypedDict):
    """An entry of `facts.json`."""

    code: Text
    name: Text
    capital: list[str]
    region: str
    subregion: str
    languages: list[str]
    currencies: list[str]
    un_member: bool
    area_km2: float


class Asked(NamedTuple):
    """A fact in one wording."""

    open: str
    cloze: str


# Fact -> its wordings. {who}: the country's name, or words for whichever country the image belongs to.
PHRASES: Mapping[str, Mapping[Wording, Asked]] = {
    "name": {
        "train": Asked("Which country has this flag?", "The country that has this flag is __."),
        "eval": Asked("Whose flag is this?", "This flag belongs to __."),
        "test": Asked("Which country does this flag stand for?", "This flag stands for __."),
    },
    "capital": {
        "train": Asked("What is the capital of {who}?", "The capital of {who} is __."),
        "eval": Asked("From which city is {who} governed?", "{who} is governed from __."),
        "test": Asked("In which city does the government of {who} sit?", "The government of {who} sits in __."),
    },
    "region": {
        "train": Asked("What is the region of {who}?", "The region of {who} is __."),
        "eval": Asked("Which part of the world is {who} in?", "{who} lies in __."),
        "test": Asked("Where on the globe is {who} found?", "On the globe {who} is found in __."),
    },
    "subregion": {
        "train": Asked("What is the subregion of {who}?", "The subregion of {who} is __."),
        "eval": Asked("More closely, where does {who} lie?", "More closely, {who} lies in __."),
        "test": Asked("To which group of neighbours does {who} belong?", "{who} belongs to the group of __."),
    },
    "language": {
        "train": Asked("What is the language of {who}?", "The language of {who} is __."),
        "eval": Asked("What do people speak in {who}?", "In {who} people speak __."),
        "test": Asked("In which tongue are the laws of {who} written?", "The laws of {who} are written in __."),
    },
    "currency": {
        "train": Asked("What is the currency of {who}?", "The currency of {who} is __."),
        "eval": Asked("What does one pay with in {who}?", "In {who} one pays with __."),
        "test": Asked("Which money is used in {who}?", "The money used in {who} is __."),
    },
}
SUBJECT: Mapping[Wording, str] = {
    "train": "the country with this flag",
    "eval": "this country",
    "test": "this flag's country",
}


def values(country: Country) -> dict[str, tuple[str, ...]]:
    """Fact -> its true values, the one that is asked for first; facts that a country has none of are absent."""
    found = {
        "name": [country["name"]],
        "capital": country["capital"],
        "region": [country["region"]],
        "subregion": [country["subregion"]],
        "language": country["languages"],
        "currency": country["currencies"],
    }
    return {fact: kept for fact, texts in found.items() if (kept := tuple(text for text in texts if text))}


@dataclass(frozen=True)
class Quiz:
    """Asks about one country; the wrong answers are what is true of others."""

    country: str
    true: Mapping[str, Sequence[str]]
    """Fact -> the country's values."""
    wrong: Mapping[str, Sequence[str]]
    """Fact -> values that are true of others only."""
    number: int
    """Place of the country among all: makes each country's choices its own."""

    def training(self, image: ImageRef | None, view: int, wording: Wording = "train") -> Iterator[Example]:
        """Every fact about an image in one form, which goes round by fact and view; about the text in all forms."""
        for i, fact in enumerate(self._facts(image)):
            for form in FORMS if image is None else FORMS[(i + view) % len(FORMS) :][:1]:
                yield self._example("train", fact, form, wording, image)

    def evaluation(self, images: Sequence[ImageRef], wording: Wording) -> Iterator[Example]:
        """Every fact once, openly or as a cloze, and some more as multiple choice, of the images in turn.

        The facts start at another one for each country, so that a few items per country still ask for every fact.
        """
        facts = self._facts(images[0] if images else None)
        turn = self.number % len(facts)
        facts = facts[turn:] + facts[:turn]
        forms: list[tuple[str, Task]] = [
            (fact, "cloze" if (i + (self.number // len(facts)) + (wording == "test")) % 2 else "generation")
            for i, fact in enumerate(facts)
        ]
        forms.extend((fact, "multiple_choice") for fact in facts[:CHOICES_PER_COUNTRY])
        for k, (fact, form) in enumerate(forms):
            image = images[(k // 2 + self.number) % len(images)] if images else None
            yield self._example("asked", fact, form, wording, image)

    def _facts(self, image: ImageRef | None) -> list[str]:
        return [fact for fact in self.true if image is not None or fact != "name"]

    def _example(self, use: str, fact: str, form: Task, wording: Wording, image: ImageRef | None) -> Example:
        rng = np.random.default_rng([self.number, list(PHRASES).index(fact), WORDINGS.index(wording)])
        answer, others = self.true[fact][0], self.wrong[fact]
        wrong = tuple(others[int(i)] for i in rng.permutation(len(others))[: OPTIONS - 1])
        asked = PHRASES[fact][wording]
        question = (asked.cloze if form == "cloze" else asked.open).format(
            who=SUBJECT[wording] if image else self.country
        )
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
    """One for each country."""
    true = [values(country) for country in countries]
    known = {fact: sorted({facts[fact][0] for facts in true if fact in facts}) for fact in PHRASES}
    return [
        Quiz(
            country["name"],
            facts,
            {fact: [v for v in known[fact] if v not in own] for fact, own in facts.items()},
            number,
        )
        for number, (country, facts) in enumerate(zip(countries, true, strict=True))
    ]
