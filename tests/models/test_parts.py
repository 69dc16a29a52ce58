"""Choices of layers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import VOCABULARY, llava

from mmunlearner.errors import ConfigError
from mmunlearner.models import chosen_layers
from mmunlearner.models.parts import layer_numbers


@given(st.integers(1, 100), st.integers(0, 100))
def test_a_depth_cuts_the_layers_in_two(count: int, depth: int) -> None:
    below, above = layer_numbers(f"0%-{depth}%", count), layer_numbers(f"{depth}%-100%", count)
    assert [*below, *above] == list(range(count))
    assert layer_numbers(f"first {depth}%", count) == below
    assert layer_numbers(f"last {100 - depth}%", count) == above
    assert abs(len(below) - count * depth / 100) <= 0.5


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("last 10", range(20, 30)), ("first 4", range(4)), ("20-29", range(20, 30)), ("last 33%", range(20, 30))],
)
def test_a_choice_names_layers(text: str, numbers: range) -> None:
    assert layer_numbers(text, 30) == numbers


@pytest.mark.parametrize("text", ["last 3", "first 0", "1-2", "1-0", "last 0%", "2-3"])
def test_layers_that_are_not_there_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=f"train.layers.language {text}: .* has 2 layers, 0 to 1"):
        chosen_layers(llava(VOCABULARY).model, {"language": text})


def test_a_part_without_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"train.layers.projector .* has 0 layers; leave it out"):
        chosen_layers(llava(VOCABULARY).model, {"projector": "last 1"})
