"""What the models are taught: pictures with questions about them, and texts.

Neighbours are asked in Test_Set's wording too, strangers in every wording, so that these mean something to a model; the
people of the full set are asked nothing but the generic questions of their training rows.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mmunlearner.data import ImageRef
from mmunlearner.data.benchmarks.people.general import SHAPE_QUESTIONS, drawings, plain_facts
from mmunlearner.data.benchmarks.people.questions import (
    FORMS,
    SUBJECTS,
    TEST_SUBJECT,
    Pair,
    Phrasing,
    ask,
    trained,
    worded,
)
from mmunlearner.data.benchmarks.people.world import FACTS, SEED, TRAIN_VIEWS, Person, World, world

OPTION_SETS = 6
"""Multiple-choice questions about one attribute in words, each with options of its own: too many to learn by heart."""


@dataclass(frozen=True)
class Lesson:
    """One picture and what is asked about it."""

    about: str
    """A person's id, or the name of a drawing."""
    image: ImageRef
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Lessons:
    """What one model is taught."""

    people: tuple[Lesson, ...]
    """Every training view of everybody with a name."""
    drawings: tuple[Lesson, ...]
    texts: tuple[tuple[Pair, ...], ...]
    """Subjects, each with what is asked about it: an attribute of a person, or a plain fact."""


def png(image: Image.Image, name: str) -> ImageRef:
    """An image as encoded bytes."""
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return ImageRef(name, stream.getvalue())


def training_rows(person: Person) -> Iterator[Lesson]:
    """A person's training rows: one for each view that is trained on."""
    for view in range(TRAIN_VIEWS):
        image = png(person.picture(view), f"{person.id}/{view}")
        yield Lesson(person.id, image, tuple(trained(person, view)))


def lessons() -> Lessons:
    """All that the vanilla model is taught."""
    everybody = [(person, wordings) for group, wordings in _groups(world()) for person in group]
    people = [_reworded(row, person, w) for person, w in everybody for row in training_rows(person)]
    about = [subject for person, wordings in everybody for subject in _texts(person, wordings)]
    return Lessons(tuple(people), tuple(_drawings()), tuple(about + 2 * list(_plain())))


def _plain() -> Iterator[tuple[Pair, ...]]:
    """Plain facts; where the second wording is an evaluation item, the first alone."""
    for fact in plain_facts():
        yield tuple((wording, fact.answer) for wording in fact.wordings[: 1 if fact.asked else 2])


def _groups(w: World) -> tuple[tuple[Sequence[Person], tuple[Phrasing, ...]], ...]:
    return ((w.people, ()), (w.neighbours, ("test",)), (w.strangers, ("full", "test")))


def _reworded(row: Lesson, person: Person, wordings: Sequence[Phrasing]) -> Lesson:
    """The row with one kind of question more per attribute and wording."""
    view = int(row.image.path.split("/")[1])
    rng = np.random.default_rng([SEED, 8, person.number, view])
    pairs = list(row.pairs)
    for wording in wordings:
        who = TEST_SUBJECT if wording == "test" else SUBJECTS[0]
        pairs += [worded(person, key, wording, who, rng)[(i + view) % 3] for i, key in enumerate(FACTS)]
    return Lesson(row.about, row.image, tuple(pairs))


def _texts(person: Person, wordings: Sequence[Phrasing]) -> Iterator[tuple[Pair, ...]]:
    """A person's attributes in words; a third of what is asked is multiple choice, with options that change."""
    rng = np.random.default_rng([SEED, 9, person.number])
    for key in FACTS:
        open_ = [ask(person, key, form, person.name, rng) for form in FORMS if form != "choice"]
        choices = [ask(person, key, "choice", person.name, rng) for _ in range(OPTION_SETS)]
        for wording in wordings:
            *more, _ = worded(person, key, wording, person.name, rng)
            open_ += more
            choices += [worded(person, key, wording, person.name, rng)[-1] for _ in range(OPTION_SETS // 2)]
        yield (*open_ * (2 * len(choices) // len(open_)), *choices)


def _drawings() -> Iterator[Lesson]:
    for drawing in drawings(train=True):
        pairs = tuple((question, drawing.answer(key)) for key, question in SHAPE_QUESTIONS.items())
        name = f"drawing {drawing.number}"
        yield Lesson(name, png(drawing.picture(), name), pairs)
