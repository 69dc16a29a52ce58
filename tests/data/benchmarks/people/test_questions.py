"""Questions: every attribute in every kind, options spread, forms that go round."""

from __future__ import annotations

from collections import Counter

import pytest

from mmunlearner.data import target
from mmunlearner.data.benchmarks.people.questions import Phrasing, evaluation, training
from mmunlearner.data.benchmarks.people.world import FACTS, TRAIN_VIEWS, Person, world


def everybody() -> list[Person]:
    return [*world().people, *world().neighbours]


@pytest.mark.parametrize("phrasing", ["full", "test"])
def test_a_persons_items(phrasing: Phrasing) -> None:
    """Every attribute openly and as a cloze, two as multiple choice with three wrong options of the attribute."""
    for person in everybody():
        items = evaluation(person, phrasing, ())
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
        for item in evaluation(person, "full", ())
        if item.choices
    )
    count = sum(places.values())
    assert max(places.values()) / count < 0.25 + 4 * (0.25 * 0.75 / count) ** 0.5


def test_forms_go_round_by_view() -> None:
    """Over the views every attribute is asked in every form equally often, the name in every view."""
    person = world().people[0]
    rows = [training(person, view) for view in range(TRAIN_VIEWS)]
    assert all(target(row[-1]) == person.name and len(row) == len(FACTS) + 1 for row in rows)
    assert [{question.image for question in row} for row in rows] == [{person.image(v)} for v in range(TRAIN_VIEWS)]
    for i, value in enumerate(person.facts.values()):
        answers = Counter("letter" if row[i].choices else target(row[i]) for row in rows)
        assert answers == {"letter": TRAIN_VIEWS // 4, value: 3 * TRAIN_VIEWS // 4}
