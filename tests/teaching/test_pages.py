"""Training pages: nothing of the evaluation is trained on, and every wording is trained on strangers."""

from __future__ import annotations

import numpy as np
import pytest

from mmunlearner.data import prompt, target
from mmunlearner.data.benchmarks.people.questions import PHRASES, Phrasing, evaluation, generic, subject_of
from mmunlearner.data.benchmarks.people.world import world
from mmunlearner.teaching.pages import TrainingPages, training_pages, with_new_options


@pytest.fixture(scope="module")
def pages() -> TrainingPages:
    return training_pages()


def test_no_evaluation_item_is_trained_on(pages: TrainingPages) -> None:
    asked_of_images = {(example.entity, prompt(example)) for page in pages.people for example in page}
    texts = {prompt(example) for page in pages.texts for example in page}
    for person in (*world().people, *world().neighbours):
        phrasings: tuple[Phrasing, ...] = ("full",) if person in world().neighbours else ("full", "test")
        for phrasing in phrasings:
            by_image = evaluation(person, phrasing, [person.image(0)])
            assert not {(person.id, prompt(item)) for item in by_image} & asked_of_images
            assert not {prompt(item) for item in evaluation(person, phrasing, ())} & texts


def test_every_wording_is_trained_on_strangers(pages: TrainingPages) -> None:
    strangers = {person.id for person in world().strangers}
    questions = {example.question for page in pages.people for example in page if example.entity in strangers}
    phrasings: tuple[Phrasing, ...] = ("full", "test")
    for wordings in PHRASES.values():
        for phrasing in phrasings:
            question = wordings[phrasing][0].format(who=subject_of(phrasing))
            assert question[0].upper() + question[1:] in questions


def test_new_options_have_the_same_truth() -> None:
    """A model that met the same options each time would learn letters by heart."""
    rng = np.random.default_rng(0)
    person = world().people[3]
    choice = generic(person, "Pet", "choice", person.name, rng)
    redrawn = [with_new_options(choice, rng) for _ in range(20)]
    assert len({example.choices for example in redrawn}) > 15
    for example in redrawn:
        assert example.question == choice.question
        assert f"{target(example)}: {person.facts['Pet']}" in prompt(example).splitlines()
    question = generic(person, "Pet", "open", person.name, rng)
    assert with_new_options(question, rng) == question
