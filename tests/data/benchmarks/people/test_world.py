"""The world: unique names, and values spread so that a guess is at chance."""

from __future__ import annotations

from collections import Counter

import pytest

from mmunlearner.data.benchmarks.people.general import COUNTS, MORE_PICTURES, PICTURES, SHAPES, drawings, plain_facts
from mmunlearner.data.benchmarks.people.world import FACTS, NEIGHBOURS, PEOPLE, STRANGERS, forgotten, world


def test_names_and_ids_are_unique() -> None:
    w = world()
    everybody = [*w.people, *w.neighbours, *w.strangers]
    assert [len(w.people), len(w.neighbours), len(w.strangers)] == [PEOPLE, NEIGHBOURS, STRANGERS]
    assert len({person.name for person in everybody}) == len({person.id for person in everybody}) == len(everybody)
    assert len({person.name.split()[0] for person in everybody}) == len(everybody)


def test_values_belong_to_one_attribute_each() -> None:
    values = [value for several in FACTS.values() for value in several]
    assert len(values) == len(set(values)) == 64


@pytest.mark.parametrize("key", FACTS)
def test_every_value_is_held_by_an_eighth(key: str) -> None:
    """In the full set exactly; in each forget set and among the neighbours as nearly as the number allows."""
    people = world().people
    assert set(Counter(person.facts[key] for person in people).values()) == {PEOPLE // 8}
    groups = [people[: forgotten(share)] for share in (5, 10, 15)]
    for group in (*groups, people[forgotten(15) :], world().neighbours):
        held = Counter(person.facts[key] for person in group)
        assert max(held.values()) - min(held[value] for value in FACTS[key]) <= 1 or len(group) == NEIGHBOURS
        assert max(held.values()) <= -(-len(group) // 8) + 1


def test_no_two_people_share_a_profile() -> None:
    w = world()
    everybody = [*w.people, *w.neighbours, *w.strangers]
    assert len({tuple(person.facts.values()) for person in everybody}) == len(everybody)


def test_general_items_are_spread_and_apart_from_training() -> None:
    evaluated, trained = drawings(train=False), drawings(train=True)
    assert len(evaluated) == PICTURES + MORE_PICTURES
    assert set(Counter(d.shape for d in evaluated).values()) == {len(evaluated) // len(SHAPES)}
    assert set(Counter(d.count for d in evaluated).values()) == {len(evaluated) // len(COUNTS)}
    assert not {d.picture().tobytes() for d in evaluated} & {d.picture().tobytes() for d in trained[:100]}
    assert not {d.number for d in evaluated} & {d.number for d in trained}


def test_plain_facts_have_one_answer() -> None:
    answers: dict[str, str] = {}
    for fact in plain_facts():
        for wording in fact.wordings:
            assert answers.setdefault(wording, fact.answer) == fact.answer
