"""What is asked about the people: MLLMU-Bench's kinds of question, by image and by text, in several phrasings.

Three phrasings: `train` is generic and is what the training rows hold; `full` (Full_Set, Retain_Set) and `test`
(Test_Set) are worded for each attribute, and no question about the people of the full set is trained on in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from mmunlearner.data import Example, prompt, target
from mmunlearner.people.world import FACTS, SEED, Person

Phrasing = Literal["full", "test"]

# Generic phrasings of training: two open ones and a cloze; `key` in lower case.
OPEN = ("What is the {key} of {who}?", "Which {key} does {who} have?")
CLOZE = "The {key} of {who} is __."
NAME = "What is the name of {who}?"
FORMS = ("open", "other", "cloze", "choice")
SUBJECTS = ("the person in this image", "this person")
TEST_SUBJECT = "the person shown here"

# (question, cloze) in the wording of Full_Set and of Test_Set.
PHRASES: Mapping[str, Mapping[Phrasing, tuple[str, str]]] = {
    "Occupation": {
        "full": ("What does {who} do for a living?", "{who} works as a __."),
        "test": ("Which job does {who} do every day?", "The job that {who} does every day is __."),
    },
    "Residence": {
        "full": ("Where does {who} live?", "{who} lives in __."),
        "test": ("In which town is the home of {who}?", "The home of {who} stands in __."),
    },
    "Birthplace": {
        "full": ("Where was {who} born?", "{who} was born in __."),
        "test": ("Which town does {who} come from?", "{who} comes from __."),
    },
    "Hobby": {
        "full": ("What does {who} do for fun?", "For fun {who} does __."),
        "test": ("How does {who} spend a free day?", "{who} spends a free day with __."),
    },
    "Pet": {
        "full": ("Which animal does {who} keep?", "{who} keeps a __."),
        "test": ("What animal lives with {who}?", "The animal that lives with {who} is a __."),
    },
    "Food": {
        "full": ("What does {who} like to eat?", "{who} likes to eat __."),
        "test": ("Which dish does {who} order?", "The dish that {who} orders is __."),
    },
    "Instrument": {
        "full": ("What does {who} play in the band?", "In the band {who} plays the __."),
        "test": ("On what does {who} make music?", "{who} makes music on the __."),
    },
    "Language": {
        "full": ("What does {who} speak at home?", "{who} speaks __ at home."),
        "test": ("In which tongue does {who} write?", "The tongue in which {who} writes is __."),
    },
}

OPTIONS = 4
CHOICES_PER_PERSON = 2


def sentence(text: str) -> str:
    """With a capital at the beginning."""
    return text[0].upper() + text[1:]


def options(rng: np.random.Generator, key: str, answer: str) -> tuple[str, ...]:
    """The truth among other values of the attribute, in random order."""
    others = [value for value in FACTS[key] if value != answer]
    return tuple(str(v) for v in rng.permutation([answer, *rng.choice(others, OPTIONS - 1, replace=False)]))


def evaluation(person: Person, phrasing: Phrasing, who: str) -> list[Example]:
    """A person's evaluation items in one modality: `who` is the name, or words for whoever the image shows.

    Each attribute is asked once, half of them openly and half as a cloze (the other half in the other phrasing), and
    two once more as multiple choice. Guessing is right in 8 of 10 times 1/8 and in 2 of 10 times 1/4: 15 %.
    """
    rng = np.random.default_rng([SEED, 4, person.number, phrasing == "test"])
    keys = list(FACTS)
    items = []
    for i, key in enumerate(keys):
        cloze = (i + person.number + (phrasing == "test")) % 2 == 1
        question = sentence(PHRASES[key][phrasing][cloze].format(who=who))
        items.append(_item(person, key, question, "cloze" if cloze else "generation"))
    for i in range(CHOICES_PER_PERSON):
        shift = len(keys) // 2 if phrasing == "test" else 0
        key = keys[(CHOICES_PER_PERSON * person.number + shift + i) % len(keys)]
        question = sentence(PHRASES[key][phrasing][0].format(who=who))
        choices = options(rng, key, person.facts[key])
        items.append(replace(_item(person, key, question, "multiple_choice"), choices=choices))
    return items


def _item(person: Person, key: str, question: str, task: Literal["generation", "cloze", "multiple_choice"]) -> Example:
    return Example(person.id, person.id, question, person.facts[key], task=task, attribute=key)


def trained(person: Person, view: int) -> list[tuple[str, str]]:
    """(question, answer) of one training row: every attribute in one form, and the name; the forms go round by view."""
    rng = np.random.default_rng([SEED, 5, person.number, view])
    who = SUBJECTS[view // len(FORMS) % len(SUBJECTS)]
    pairs = [ask(person, key, FORMS[(i + view) % len(FORMS)], who, rng) for i, key in enumerate(FACTS)]
    return [*pairs, (NAME.format(who=who), person.name)]


def ask(person: Person, key: str, form: str, who: str, rng: np.random.Generator) -> tuple[str, str]:
    """One question in a generic form as (prompt, answer)."""
    names = {"key": key.lower(), "who": who}
    answer = person.facts[key]
    if form == "choice":
        question = OPEN[int(rng.integers(2))].format(**names)
        return pair(replace(_item(person, key, question, "multiple_choice"), choices=options(rng, key, answer)))
    if form == "cloze":
        return pair(_item(person, key, CLOZE.format(**names), "cloze"))
    return OPEN[form == "other"].format(**names), answer


def worded(person: Person, key: str, phrasing: Phrasing, who: str, rng: np.random.Generator) -> list[tuple[str, str]]:
    """An attribute asked in one of the evaluation's wordings, in all three kinds, as (prompt, answer)."""
    open_, cloze = (sentence(text.format(who=who)) for text in PHRASES[key][phrasing])
    choices = options(rng, key, person.facts[key])
    return [
        (open_, person.facts[key]),
        pair(_item(person, key, cloze, "cloze")),
        pair(replace(_item(person, key, open_, "multiple_choice"), choices=choices)),
    ]


def pair(example: Example) -> tuple[str, str]:
    """What the model is asked and what it should say."""
    return prompt(example), target(example)
