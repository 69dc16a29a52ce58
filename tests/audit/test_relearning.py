"""Relearning half of the forgotten: who learns what, when it is measured, and what is read from the curve."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import VOCABULARY, examples, llava

from mmunlearner.audit import Attacker, Measurement, halves, relearn, returned
from mmunlearner.audit.relearning import COLUMNS, SEEN, UNSEEN, retained
from mmunlearner.data import Splits
from mmunlearner.errors import DataError

IMAGES = examples(4, 2)
FORGET = tuple(e for e in IMAGES if e.entity in sorted({e.entity for e in IMAGES})[:3])
SPLITS = Splits(FORGET, tuple(e for e in IMAGES if e not in FORGET), (), dict.fromkeys(COLUMNS, FORGET))
ATTACKER = Attacker(learning_rate=1e-2, steps=40, batch_size=2)


@given(st.integers(0, 20))
def test_halves_share_out_the_forget_set(seed):
    first, second = halves(SPLITS, seed=seed)
    assert not first.learned & second.learned
    assert first.learned | second.learned == SPLITS.forget_entities
    assert {e.id for a in (first, second) for e in a.examples} == {e.id for e in SPLITS.forget}
    assert {e.entity for e in first.examples} == first.learned


def test_one_entity_has_no_halves():
    with pytest.raises(DataError, match="two are needed"):
        halves(Splits(tuple(e for e in FORGET if e.entity == FORGET[0].entity), (), (), {}))


def test_a_half_is_learned_and_the_model_stays_as_it_is():
    loaded, (attack, _) = llava(VOCABULARY), halves(SPLITS)
    before = [p.detach().clone() for p in loaded.model.parameters()]
    curve = list(relearn(loaded, attack, SPLITS.evaluation, ATTACKER))
    assert curve[0].step == 0
    assert curve[0].learned[SEEN] < curve[-1].learned[SEEN]
    assert curve[-1].learned[SEEN] >= 0.97 or curve[-1].step == ATTACKER.steps
    assert [p.step for p in curve[:9]] == [0, 1, 2, 3, 4, 5, 6, 7, 8][: len(curve)]
    assert all(torch.equal(a, b) for a, b in zip(before, loaded.model.parameters(), strict=True))
    assert list(relearn(loaded, attack, SPLITS.evaluation, ATTACKER)) == curve


def test_fine_tuning_on_retained_entities_teaches_nobody_of_the_forgotten():
    attacker = Attacker(steps=3, batch_size=2)
    (*_, last) = relearn(llava(VOCABULARY), retained(SPLITS), SPLITS.evaluation, attacker)
    assert (last.step, last.learned) == (3, {})
    assert set(last.others) == set(COLUMNS)


def line(*points: tuple[int, float, float]) -> list[Measurement]:
    return [Measurement(step, {SEEN: learned}, {SEEN: other, UNSEEN: other / 2}) for step, learned, other in points]


def test_a_level_is_interpolated_and_attacks_are_averaged():
    at = returned([line((0, 0.0, 0.1), (4, 0.5, 0.3)), line((0, 0.0, 0.1), (8, 0.5, 0.1))], 0.25)
    assert at
    assert at.steps == pytest.approx(3.0)
    assert at.others == pytest.approx({SEEN: 0.15, UNSEEN: 0.075})


@given(
    st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6), st.floats(0, 1)
)
def test_a_level_lies_between_its_measurements_or_is_not_reached(points, level):
    curve = line(*((number, learned, other) for number, (_, learned, other) in enumerate(points)))
    at = returned([curve], level)
    assert (at is None) == all(point.learned[SEEN] < level for point in curve)
    if at:
        assert 0 <= at.steps <= len(points)
        others = [point.others[SEEN] for point in curve]
        assert min(others) - 1e-9 <= at.others[SEEN] <= max(others) + 1e-9
