"""Distortion: zero where nothing moved, and in the parts that a change reaches alone."""

from __future__ import annotations

import pytest
import torch
from support.tiny import VOCABULARY, examples, llava

from mmunlearner.models import Loaded
from mmunlearner.unlearn.distortion import States, distortion, states

QUESTIONS = [*examples(4, 2), *examples(4, 1, images=False)]


def changed(loaded: Loaded, name: str, before: States) -> dict[str, float]:
    """Return the distortion by a change of the weights whose names contain `name`."""
    with torch.no_grad():
        for weight_name, weight in loaded.model.named_parameters():
            if name in weight_name:
                weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)), alpha=0.05)
    return distortion(states(loaded, QUESTIONS), before)


def test_a_model_that_did_not_move_is_not_distorted():
    loaded = llava(VOCABULARY)
    before = states(loaded, QUESTIONS)
    assert before.keys() == {"features", "image", "words"}
    assert distortion(states(loaded, QUESTIONS), before) == dict.fromkeys(before, 0.0)


@pytest.mark.parametrize(
    ("weights", "parts"),
    [("projector", {"features", "image"}), ("language_model.layers", {"image", "words"})],
)
def test_a_change_distorts_the_parts_behind_it(weights: str, parts: set[str]):
    loaded = llava(VOCABULARY)
    moved = changed(loaded, weights, states(loaded, QUESTIONS))
    assert {name for name, value in moved.items() if value > 1e-6} == parts


def test_it_is_relative_and_the_same_in_smaller_passes():
    loaded = llava(VOCABULARY)
    before = states(loaded, QUESTIONS)
    doubled = {name: 2 * state for name, state in before.items()}
    assert distortion(doubled, before) == pytest.approx(dict.fromkeys(before, 1.0))
    small = states(loaded, QUESTIONS, tokens=32)
    assert max(distortion(small, before).values()) < 1e-10


def test_questions_of_one_kind_have_no_other_part():
    assert states(llava(VOCABULARY), examples(2, 1, images=False)).keys() == {"words"}
