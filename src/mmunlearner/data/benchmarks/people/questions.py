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
from mmunlearner.data.benchmarks.people.world import FACTS, SEED, Person

Phrasing = Literal["full", "test"]
Pair = tuple[str, str]
"""What a model is asked and what it should say."""

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

    Every attribute is asked openly and as a cloze, and two of them (others in the other phrasing) as multiple choice.
    Guessing is right in 14 % of the 18 items.
    """
    other, keys = phrasing == "test", list(FACTS)
    rng = np.random.default_rng([SEED, 4, person.number, other])
    first = CHOICES_PER_PERSON * person.number + (len(keys) // 2 if other else 0)
    chosen = [keys[(first + i) % len(keys)] for i in range(CHOICES_PER_PERSON)]
    return [
        *(_multiple_choice(person, key, PHRASES[key][phrasing][0].format(who=who), rng) for key in chosen),
        *(_item(person, key, PHRASES[key][phrasing][kind].format(who=who)) for kind in (0, 1) for key in keys),
    ]


def _item(person: Person, key: str, question: str) -> Example:
    """An open question, or a cloze where there is a blank."""
    task = "cloze" if "__" in question else "generation"
    return Example(person.id, person.id, sentence(question), person.facts[key], task=task, attribute=key)


def _multiple_choice(person: Person, key: str, question: str, rng: np.random.Generator) -> Example:
    return replace(_item(person, key, question), task="multiple_choice", choices=options(rng, key, person.facts[key]))


def trained(person: Person, view: int) -> list[Pair]:
    """(question, answer) of one training row: every attribute in one form, and the name; the forms go round by view."""
    rng = np.random.default_rng([SEED, 5, person.number, view])
    who = SUBJECTS[view // len(FORMS) % len(SUBJECTS)]
    pairs = [ask(person, key, FORMS[(i + view) % len(FORMS)], who, rng) for i, key in enumerate(FACTS)]
    return [*pairs, (NAME.format(who=who), person.name)]


def ask(person: Person, key: str, form: str, who: str, rng: np.random.Generator) -> Pair:
    """One question in a generic form as (prompt, answer)."""
    names = {"key": key.lower(), "who": who}
    if form == "choice":
        return pair(_multiple_choice(person, key, OPEN[int(rng.integers(len(OPEN)))].format(**names), rng))
    return pair(_item(person, key, {"open": OPEN[0], "other": OPEN[1], "cloze": CLOZE}[form].format(**names)))


def exercise(rng: np.random.Generator) -> Pair:
    """Multiple choice about nothing: which option is named. It teaches how such questions are answered."""
    key = str(rng.choice(list(FACTS)))
    value = str(rng.choice(FACTS[key]))
    choices = options(rng, key, value)
    return pair(
        Example("", "", OPEN[0].format(key=key.lower(), who=value), value, task="multiple_choice", choices=choices)
    )


def worded(person: Person, key: str, phrasing: Phrasing, who: str, rng: np.random.Generator) -> list[Pair]:
    """An attribute asked in one of the evaluation's wordings, in all three kinds, as (prompt, answer)."""
    texts = [text.format(who=who) for text in PHRASES[key][phrasing]]
    return [*(pair(_item(person, key, text)) for text in texts), pair(_multiple_choice(person, key, texts[0], rng))]


def again(asked: Pair, rng: np.random.Generator) -> Pair:
    """A multiple choice with other options in another order, and any other question as it is.

    A model that meets the same options time and again learns the letter by heart instead of learning to choose.
    """
    question, _, lines = asked[0].partition("\nA: ")
    if not lines:
        return asked
    listed = dict(line.split(": ", 1) for line in f"A: {lines}".splitlines() if line[1:3] == ": ")
    answer = listed[asked[1]]
    key = next(key for key, values in FACTS.items() if answer in values)
    return pair(Example("", "", question, answer, task="multiple_choice", choices=options(rng, key, answer)))


def pair(example: Example) -> Pair:
    """What the model is asked and what it should say."""
    return prompt(example), target(example)
