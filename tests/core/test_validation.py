"""Validation of plain values: conversions and errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmunlearner.config import MaskConfig, MethodConfig, TrainConfig
from mmunlearner.core.validation import FIELDS, OPTIONS, InvalidError, shorten, validate
from mmunlearner.evaluate.saved import Score


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"clip": 2}, TrainConfig(clip=2.0)),
        ({"steps": 7.0}, TrainConfig(steps=7)),
        ({"steps": None}, TrainConfig()),
        ({"keep_text": "Yes", "checkpointing": "off"}, TrainConfig(keep_text=True)),
        ({"keep_text": True}, TrainConfig(keep_text=True)),
        ({"report_to": "wandb, tensorboard,"}, TrainConfig(report_to=("wandb", "tensorboard"))),
        ({"report_to": ["wandb", 7]}, TrainConfig(report_to=("wandb", "7"))),
    ],
)
def test_options_are_converted_by_their_type(content: dict[str, Any], expected: TrainConfig) -> None:
    assert validate(content, TrainConfig, OPTIONS) == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"steps": True}, "steps: expected a whole number, found 'true'"),
        ({"clip": True}, "clip: expected a number, found 'true'"),
        ({"steps": 1.5}, "steps: expected a whole number, found 1.5"),
        ({"clip": float("inf")}, "clip: expected a finite number, found inf"),
        ({"clip": "-inf"}, "clip: expected a finite number, found '-inf'"),
        ({"keep_text": 1}, "keep_text: expected true or false, found 1"),
        ({"keep_text": "1"}, "keep_text: expected true or false, found '1'"),
        ({"report_to": ["wandb", None]}, "report_to[1]: expected a text, found nothing"),
        ({"report_to": 3}, "report_to: expected a list, found 3"),
        ({"stpes": None}, "stpes: unknown option; did you mean steps?"),
        ([], "expected the options learning_rate, "),
        (None, "expected the options learning_rate, "),
    ],
)
def test_errors_name_the_problem(content: Any, problem: str) -> None:
    with pytest.raises(InvalidError) as error:
        validate(content, TrainConfig, OPTIONS)
    assert str(error.value).startswith(problem)


def test_part_of_a_dataclass_has_no_defaults() -> None:
    method = validate({"train": {"steps": "3"}, "mask": {"parts": "vision"}}, MethodConfig, OPTIONS)
    assert method == MethodConfig(train={"steps": 3}, mask=MaskConfig(parts=("vision",)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_values_are_shown_in_one_short_line(value: object) -> None:
    assert len(shorten(value)) <= 60
    assert "\n" not in shorten(value)


@given(st.dictionaries(st.sampled_from(["train", "mask", "options", "trials", "role", "title", "x"]), JSON))
def test_any_content_is_accepted_or_refused_in_one_line(content: dict[str, Any]) -> None:
    message = ""
    try:
        validate(content, MethodConfig, OPTIONS)
    except InvalidError as error:
        message = str(error)
    assert "\n" not in message


@pytest.mark.parametrize(
    "score",
    [[0.5], [0.5, 0.1, 9, 9], ["a", 0.1], [[], 0.1], {"value": 0.5}, [], "x", {"value": 1, "stderr": 0, "m": "x"}],
)
def test_named_tuples_that_are_lists(score: Any) -> None:
    """pydantic counts their entries, where the type has names."""
    with pytest.raises(InvalidError) as error:
        validate({"a": score}, dict[str, Score], replace(FIELDS, unknown="forbid"))
    assert str(error.value).startswith("a")
