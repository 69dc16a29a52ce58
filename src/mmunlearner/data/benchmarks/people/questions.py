"""Questions about the people: MLLMU-Bench's kinds of question, by image and by text, in several phrasings.

There are three phrasings. Training rows use a generic one. `full` (all other evaluation splits) and `test` (Test_Set)
have their own words for each attribute; questions about the people of the full set are never trained in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from mmunlearner.data.benchmarks.people.world import FACTS, SEED, Person
from mmunlearner.data.example import Example
from mmunlearner.data.images import ImageRef

Phrasing = Literal["full", "test"]
Form = Literal["open", "other", "cloze", "choice"]

# Generic phrasings of training: two open ones and a cloze; `key` in lower case.
OPEN = ("What is the {key} of {who}?", "Which {key} does {who} have?")
CLOZE = "The {key} of {who} is __."
NAME = "What is the name of {who}?"
FORMS: tuple[Form, ...] = ("open", "other", "cloze", "choice")
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


def subject_of(phrasing: Phrasing) -> str:
    """Return the words for the person in an image in a phrasing of the evaluation."""
    return TEST_SUBJECT if phrasing == "test" else SUBJECTS[0]


def evaluation(person: Person, phrasing: Phrasing, images: Sequence[ImageRef]) -> list[Example]:
    """Return the evaluation items about a person, on the images in turn, or without images by name.

    Every attribute is asked as an open question and as a cloze, and two attributes (not the same in both phrasings) as
    multiple choice. Guessing is right in 14 % of the 18 items.
    """
    is_test, keys = phrasing == "test", list(FACTS)
    who = subject_of(phrasing) if images else person.name
    rng = np.random.default_rng([SEED, 4, person.number, is_test])
    # The attributes with options change from person to person; Test_Set starts half the list further than Full_Set.
    first = CHOICES_PER_PERSON * person.number + (len(keys) // 2 if is_test else 0)
    with_choices = [keys[(first + i) % len(keys)] for i in range(CHOICES_PER_PERSON)]
    items = [
        *(multiple_choice(person, key, PHRASES[key][phrasing][0].format(who=who), rng) for key in with_choices),
        *(open_or_cloze(person, key, PHRASES[key][phrasing][kind].format(who=who)) for kind in (0, 1) for key in keys),
    ]
    return [replace(item, images=(images[i % len(images)],)) for i, item in enumerate(items)] if images else items


def training(person: Person, view: int) -> list[Example]:
    """Return the questions of one training row: every attribute in one form, and the name."""
    rng = np.random.default_rng([SEED, 5, person.number, view])
    who = SUBJECTS[view // len(FORMS) % len(SUBJECTS)]
    # The forms rotate with the view: over all views, every attribute is asked in every form equally often.
    questions = [generic(person, key, FORMS[(i + view) % len(FORMS)], who, rng) for i, key in enumerate(FACTS)]
    questions.append(Example(person.id, person.id, NAME.format(who=who), person.name))
    image = person.image(view)
    return [replace(question, images=(image,)) for question in questions]


def generic(person: Person, key: str, form: Form, who: str, rng: np.random.Generator) -> Example:
    """Return one question about an attribute in the generic phrasing of training."""
    words = {"key": key.lower(), "who": who}
    if form == "choice":
        return multiple_choice(person, key, OPEN[int(rng.integers(len(OPEN)))].format(**words), rng)
    template = {"open": OPEN[0], "other": OPEN[1], "cloze": CLOZE}[form]
    return open_or_cloze(person, key, template.format(**words))


def open_or_cloze(person: Person, key: str, question: str) -> Example:
    """Return a question about an attribute: a cloze if it has a blank, else an open one."""
    question = question[0].upper() + question[1:]
    task = "cloze" if "__" in question else "generation"
    return Example(person.id, person.id, question, person.facts[key], task=task, attribute=key)


def multiple_choice(person: Person, key: str, question: str, rng: np.random.Generator) -> Example:
    """Return a question about an attribute with options."""
    item = open_or_cloze(person, key, question)
    return replace(item, task="multiple_choice", choices=options(rng, key, item.answer))


def options(rng: np.random.Generator, key: str, answer: str) -> tuple[str, ...]:
    """Return the truth among other values of the attribute, in random order."""
    others = [value for value in FACTS[key] if value != answer]
    return tuple(str(v) for v in rng.permutation([answer, *rng.choice(others, OPTIONS - 1, replace=False)]))
