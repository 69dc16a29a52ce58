"""Questions: nothing of the evaluation is trained on, and every wording is taught by somebody."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mmunlearner.data import prompt
from mmunlearner.data.benchmarks.people.lessons import Lessons, lessons
from mmunlearner.data.benchmarks.people.questions import (
    PHRASES,
    SUBJECTS,
    TEST_SUBJECT,
    Phrasing,
    again,
    ask,
    evaluation,
    trained,
)
from mmunlearner.data.benchmarks.people.world import FACTS, TRAIN_VIEWS, Person, world


@pytest.fixture(scope="module")
def taught() -> Lessons:
    return lessons()


def everybody() -> list[Person]:
    return [*world().people, *world().neighbours]


@pytest.mark.parametrize("phrasing", ["full", "test"])
def test_a_persons_items(phrasing: Phrasing) -> None:
    """Every attribute openly and as a cloze, two as multiple choice with three wrong options of the attribute."""
    for person in everybody():
        items = evaluation(person, phrasing, person.name)
        assert Counter(item.task for item in items) == {"generation": 8, "cloze": 8, "multiple_choice": 2}
        assert {item.attribute for item in items if not item.choices} == set(FACTS)
        for item in items:
            assert item.answer == person.facts[item.attribute]
            assert ("__" in item.question) == (item.task == "cloze")
            assert not item.choices or (item.answer in item.choices and len(set(item.choices)) == 4)
            assert set(item.choices) <= set(FACTS[item.attribute])


def test_right_options_are_spread_over_the_letters() -> None:
    """Answering always with the same letter is no better than chance allows (4 standard errors)."""
    places = Counter(
        item.choices.index(item.answer)
        for person in everybody()
        for item in evaluation(person, "full", person.name)
        if item.choices
    )
    count = sum(places.values())
    assert max(places.values()) / count < 0.25 + 4 * (0.25 * 0.75 / count) ** 0.5


def test_forms_go_round_by_view() -> None:
    """Over the views every attribute is asked in every form equally often, the name in every view."""
    person = world().people[0]
    rows = [trained(person, view) for view in range(TRAIN_VIEWS)]
    assert all(row[-1][1] == person.name and len(row) == len(FACTS) + 1 for row in rows)
    for i, value in enumerate(person.facts.values()):
        answers = Counter("letter" if len(row[i][1]) == 1 else row[i][1] for row in rows)
        assert answers == {"letter": TRAIN_VIEWS // 4, value: 3 * TRAIN_VIEWS // 4}


def test_no_evaluation_item_is_trained_on(taught: Lessons) -> None:
    asked_of_images = {(lesson.about, question) for lesson in taught.people for question, _ in lesson.pairs}
    texts = {question for subject in taught.texts for question, _ in subject}
    for person in everybody():
        wordings: tuple[Phrasing, ...] = ("full",) if person in world().neighbours else ("full", "test")
        for wording in wordings:
            who = TEST_SUBJECT if wording == "test" else SUBJECTS[0]
            assert not {(person.id, prompt(item)) for item in evaluation(person, wording, who)} & asked_of_images
            assert not {prompt(item) for item in evaluation(person, wording, person.name)} & texts


def test_every_wording_is_taught_by_strangers(taught: Lessons) -> None:
    strangers = {person.id for person in world().strangers}
    asked = {question for lesson in taught.people if lesson.about in strangers for question, _ in lesson.pairs}
    for wordings in PHRASES.values():
        for phrasing, who in (("full", SUBJECTS[0]), ("test", TEST_SUBJECT)):
            open_ = wordings[phrasing][0].format(who=who)
            assert open_[0].upper() + open_[1:] in asked


def test_multiple_choice_asked_again_has_other_options_and_the_same_truth() -> None:
    """A model that met the same options each time would learn letters by heart."""
    rng = np.random.default_rng(0)
    person = world().people[3]
    asked = ask(person, "Pet", "choice", person.name, rng)
    redrawn = [again(asked, rng) for _ in range(20)]
    assert len(set(redrawn)) > 15
    for question, letter in redrawn:
        assert question.splitlines()[0] == asked[0].splitlines()[0]
        assert f"{letter}: {person.facts['Pet']}" in question.splitlines()
    open_question = ask(person, "Pet", "open", person.name, rng)
    assert again(open_question, rng) == open_question
