"""Comparisons of two models: what they say where nothing can be measured, and why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmunlearner.evaluate.scores import Difference, Score
from mmunlearner.report.comparisons import Contrast, contrast
from mmunlearner.report.results import Column, Model, Results


def compared(*gaps: Difference) -> Contrast:
    """Two models that differ by these gaps in columns to keep, the first at 50 %."""
    columns = tuple(Column(f"c{i}", f"Column {i}", "kept") for i in range(len(gaps)))

    def model(name: str, role: str, scores: list[float], **fields: dict) -> Model:
        by_column = {c.name: {"accuracy": Score(v, 0.1, 50)} for c, v in zip(columns, scores, strict=True)}
        return Model(name, name, role, scores=by_column, **fields)  # type: ignore[arg-type]

    paired = {"differences": {"b": {c.name: gap for c, gap in zip(columns, gaps, strict=True)}}}
    a = model("a", "method", [0.5] * len(gaps), **paired)
    b = model("b", "baseline", [0.5 - gap.value for gap in gaps])
    vanilla = model("vanilla", "vanilla", [1.0] * len(gaps))
    return contrast(Results("run", "visual", columns, (vanilla, a, b)), a, b)


@pytest.mark.parametrize("entities", [2, 3, 4])
def test_few_entities_are_named_where_they_are_the_reason(entities: int) -> None:
    clear, level = Difference(0.30, 0.08, 60, entities), Difference(0.0, 0.05, 60, entities)
    found = compared(clear, level)
    assert found.text.startswith(f"Nothing measurable: {entities} entities are too few.")
    assert "With many entities, where 2.2 standard errors are enough, Column 0 (+30.0 ± 8.0 points) would" in found.text
    assert "Column 1" not in found.text


def test_a_lone_entity_is_too_few() -> None:
    text = compared(Difference(0.3, 0.08, 60, 1)).text
    assert text.startswith("Nothing measurable: one entity is too few.")
    assert text.endswith("one entity never shows a difference.")


@pytest.mark.parametrize("gap", [Difference(0.30, 0.2, 60, 3), Difference(0.0, 0.0, 60, 3), Difference(0.1, 0.1, 60)])
def test_few_entities_are_not_blamed_for_what_more_would_not_show(gap: Difference) -> None:
    text = compared(gap).text
    assert text.startswith("Nothing measurable. In none of 1 column is a closer")
    assert "few" not in text


def test_enough_entities_show_it() -> None:
    gap = Difference(0.30, 0.08, 60, 12)
    assert compared(gap).text == "Better in Column 0 (+30.0 ± 8.0 points)."
    assert compared(gap._replace(value=-0.3)).text == "Worse in Column 0 (−30.0 ± 8.0 points)."


gaps = st.builds(
    Difference, st.floats(-0.5, 0.5), st.one_of(st.just(0.0), st.floats(0.001, 0.3)), st.just(60), st.integers(1, 50)
)


@given(st.lists(gaps, min_size=1, max_size=8))
def test_a_column_is_better_worse_hidden_or_level_and_more_entities_hide_less(drawn: list[Difference]) -> None:
    found = compared(*drawn)
    kinds = [*found.better, *found.worse, *found.hidden]
    assert len({c.column.name for c in kinds}) == len(kinds)
    many = compared(*(gap._replace(entities=10_000) for gap in drawn))
    names = {c.column.name for c in kinds}
    assert {c.column.name for c in (*many.better, *many.worse)} == names
    assert not many.hidden
    assert found.text.startswith("Nothing measurable") == (not found.better and not found.worse)
