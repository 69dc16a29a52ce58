"""Training pages of the shipped models: images with questions about them, texts; and the evaluation items.

About neighbours there are questions in Test_Set's wording too, about strangers in every wording, so that a model learns
the wordings. About the people of the full set there are only the generic questions of their training rows.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from mmunlearner.data import Example, ImageRef
from mmunlearner.data.benchmarks.people.general import (
    SHAPE_QUESTIONS,
    TRAIN_PICTURES,
    drawings,
    general_items,
    plain_facts,
)
from mmunlearner.data.benchmarks.people.questions import (
    FORMS,
    OPEN,
    PHRASES,
    Phrasing,
    evaluation,
    generic,
    multiple_choice,
    open_or_cloze,
    options,
    subject_of,
    training,
)
from mmunlearner.data.benchmarks.people.world import (
    FACTS,
    HELD_OUT,
    SEED,
    SEEN,
    TEST_ROUNDS,
    TRAIN_VIEWS,
    Person,
    forgotten,
    world,
)
from mmunlearner.data.splits import GENERAL, divide_general

OPTION_SETS = 6
"""Multiple-choice questions about one attribute in words, each with other options: too many to learn by heart."""

Page = tuple[Example, ...]
"""Questions about one image, or about one subject in words."""


@dataclass(frozen=True)
class TrainingPages:
    """All that the vanilla model is trained on."""

    people: tuple[Page, ...]
    """Every training view of every person with a name."""
    drawings: tuple[Page, ...]
    texts: tuple[Page, ...]
    """Attributes of people, and plain facts."""


def training_pages(people: Container[str] | None = None, drawings: int = TRAIN_PICTURES) -> TrainingPages:
    """Draw and write everything that the vanilla model is trained on, or the part about these people (their ids)."""
    seen = [image_page(person, view, p) for person, p in phrasings_by_person(people) for view in range(TRAIN_VIEWS)]
    return TrainingPages(tuple(seen), tuple(islice(drawing_pages(), drawings)), tuple(text_pages(people)))


def phrasings_by_person(people: Container[str] | None = None) -> Iterator[tuple[Person, tuple[Phrasing, ...]]]:
    """Yield each person (of these ids) with the phrasings of the evaluation that are trained in questions about it."""
    groups: tuple[tuple[Sequence[Person], tuple[Phrasing, ...]], ...] = (
        (world().people, ()),
        (world().neighbours, ("test",)),
        (world().strangers, ("full", "test")),
    )
    named = ((person, phrasings) for group, phrasings in groups for person in group)
    return ((person, phrasings) for person, phrasings in named if people is None or person.id in people)


def image_page(person: Person, view: int, phrasings: Sequence[Phrasing]) -> Page:
    """Return the questions of a training row, and one more per attribute in each of the phrasings."""
    rng = np.random.default_rng([SEED, 8, person.number, view])
    page = training(person, view)
    for phrasing in phrasings:
        who = subject_of(phrasing)
        # The three kinds rotate with the view, so that all views together have every attribute in every kind.
        more = [_in_all_kinds(person, key, phrasing, who, rng)[(i + view) % 3] for i, key in enumerate(FACTS)]
        page += [replace(question, images=page[0].images) for question in more]
    return tuple(page)


def _in_all_kinds(
    person: Person, key: str, phrasing: Phrasing, who: str, rng: np.random.Generator
) -> tuple[Example, Example, Example]:
    """Return an attribute's open question, cloze and multiple choice in one of the evaluation's phrasings."""
    question, cloze = (text.format(who=who) for text in PHRASES[key][phrasing])
    return (
        open_or_cloze(person, key, question),
        open_or_cloze(person, key, cloze),
        multiple_choice(person, key, question, rng),
    )


def text_pages(people: Container[str] | None = None) -> Iterator[Page]:
    """Yield the attributes of each person (of these ids) in words, then the plain facts."""
    for person, phrasings in phrasings_by_person(people):
        yield from _attribute_pages(person, phrasings)
    facts = [
        tuple(Example("", "", wording, fact.answer) for wording in fact.trained_wordings) for fact in plain_facts()
    ]
    yield from 2 * facts  # twice, as they are few among the attributes


def _attribute_pages(person: Person, phrasings: Sequence[Phrasing]) -> Iterator[Page]:
    """Yield a page per attribute, about a third of it multiple choice with different options."""
    rng = np.random.default_rng([SEED, 9, person.number])
    name = person.name
    for key in FACTS:
        open_ = [generic(person, key, form, name, rng) for form in FORMS if form != "choice"]
        choices = [generic(person, key, "choice", name, rng) for _ in range(OPTION_SETS)]
        for phrasing in phrasings:
            *more, _ = _in_all_kinds(person, key, phrasing, name, rng)
            open_ += more
            choices += [_in_all_kinds(person, key, phrasing, name, rng)[-1] for _ in range(OPTION_SETS // 2)]
        # Open questions are repeated until there are about twice as many as choices.
        yield (*open_ * (2 * len(choices) // len(open_)), *choices)


def drawing_pages() -> Iterator[Page]:
    """Yield the drawings to train on, each with its three questions."""
    for drawing in drawings(train=True):
        name = f"drawing {drawing.number}"
        image = ImageRef.from_image(drawing.picture(), name)
        yield tuple(
            Example(name, name, question, drawing.answer(key), (image,)) for key, question in SHAPE_QUESTIONS.items()
        )


def exercise(rng: np.random.Generator) -> Example:
    """Return a multiple choice that names its answer (`What is the pet of pony?`)."""
    # It needs no knowledge, so a model learns from it only to find the letter of an option.
    key = str(rng.choice(list(FACTS)))
    value = str(rng.choice(FACTS[key]))
    question = OPEN[0].format(key=key.lower(), who=value)
    return Example("", "", question, value, task="multiple_choice", choices=options(rng, key, value), attribute=key)


def with_new_options(example: Example, rng: np.random.Generator) -> Example:
    """Return a multiple choice with other options in another order, and any other question unchanged."""
    # If the options stayed the same, a model would learn the letter by heart instead of learning to choose.
    if example.task != "multiple_choice":
        return example
    return replace(example, choices=options(rng, example.attribute, example.answer))


def evaluation_columns(forget: int = 15) -> dict[str, tuple[Example, ...]]:
    """Return column -> evaluation items, equal to what the loader reads from disk, but without files."""
    people, count = world().people, forgotten(forget)
    seen, held_out = [[view] for view in SEEN], [[view] for view in HELD_OUT]

    def items(group: Sequence[Person], phrasing: Phrasing, rounds: Sequence[Sequence[int]]) -> tuple[Example, ...]:
        pages = [
            evaluation(person, phrasing, [person.image(view) for view in views]) for person in group for views in rounds
        ]
        return tuple(item for page in pages for item in page)

    columns: dict[str, tuple[Example, ...]] = {}
    for name, group in (("forget", people[:count]), ("retain", people[count:])):
        columns |= {
            f"{name}_vqa": items(group, "full", seen),
            f"{name}_vqa_test": items(group, "test", TEST_ROUNDS),
            f"{name}_qa": items(group, "full", [()]),
            f"{name}_qa_test": items(group, "test", [()]),
        }
    for name, group in (("neighbour", world().neighbours), ("stranger", world().strangers)):
        columns |= {f"{name}_vqa": items(group, "full", held_out), f"{name}_qa": items(group, "full", [()])}
    return columns | divide_general({GENERAL: tuple(general_items())})
