"""Numbers as text; text that stays in its cell."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmunlearner.evaluate.scores import Score
from mmunlearner.report import template


@given(st.floats(-1, 1))
def test_points_are_signed_and_read_back(value: float) -> None:
    text = template.points(value)
    assert float(text.replace(template.MINUS, "-")) == pytest.approx(100 * value, abs=0.05 + 1e-9)
    assert "-" not in text
    assert text == "0.0" or text[0] in "+−"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (8.24, "8.2 s"), (59.96, "1 min 0 s"), (95, "1 min 35 s"), (3600, "1 h 0 min"), (7325, "2 h 2 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert template.duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_400, "99.4 kB"), (512e6, "512 MB"), (999.7e6, "1.0 GB")],
)
def test_memory(size: float, text: str) -> None:
    assert template.memory(size) == text


@pytest.mark.parametrize(
    ("names", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_enumerated(names: list[str], text: str) -> None:
    assert template.enumerated(names) == text


def test_scores_and_differences() -> None:
    assert template.with_error(Score(0.9722, 0.0081, 40)) == "97.2 ± 0.8"
    assert template.signed(Score(-0.0312, 0.012, 40)) == "−3.1 ± 1.2"
    assert template.unbroken("9.2 ± 1.0 points, 3 %") == "9.2\u00a0±\u00a01.0\u00a0points, 3\u00a0%"
    assert template.plural(1, "column") == "1 column"
    assert template.plural(3, "column") == "3 columns"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


NASTY = st.text(st.sampled_from("ab |*_`<>[]\\&%$#{}~^→±−\n\"'"), max_size=20)


@given(NASTY)
def test_markdown_text_stays_in_its_cell(text: str) -> None:
    line = f"| {template.escape_markdown(text)} | end |"
    assert "\n" not in line
    assert cells(line)[-1] == "end"
    assert len(cells(line)) == 2
    assert not re.search(r"(?<!\\)<", re.sub(r"\\\\", "", line))


@given(NASTY)
def test_latex_text_opens_and_closes_nothing(text: str) -> None:
    bare = re.sub(r"\\text\w+\{\}|\$[^$]*\$|\\[#$%&_{}]", "", template.escape_latex(text))
    assert not re.search(r"[#$%&_{}\\~^<>]", bare)


def test_a_difference_larger_than_there_can_be_is_not_written_as_a_number() -> None:
    assert [template.least(value) for value in (0.0312, 1.0, 1.6, float("inf"))] == ["3.1", "100.0", ">100", ">100"]
