"""Aims of columns: properties that every one must have; which differences are no noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmunlearner.evaluate.scores import Difference, Score
from mmunlearner.report.criteria import LAST_DIGIT, Comparison, Target, best, shortfall, target
from mmunlearner.report.results import Column, Model, Results

fractions = st.floats(0, 1)
aims = st.one_of(
    st.builds(Target, st.sampled_from(["oracle", "chance", "vanilla"]), fractions),
    st.builds(Target, st.sampled_from(["down", "up"]), st.none()),
)


def results(scores: Mapping[str, float], good: Literal["oracle", "kept", "down"], **column: float) -> Results:
    """One column `c`; models named vanilla and oracle are those."""
    models = [
        Model(
            name, name, name if name in ("vanilla", "oracle") else "method", scores={"c": {"accuracy": Score(v, 0, 9)}}
        )  # type: ignore[arg-type]
        for name, v in scores.items()
    ]
    return Results("run", "visual", (Column("c", "C", good, **column),), tuple(models))


@given(fractions, aims)
def test_shortfall_is_never_negative_and_zero_at_the_aim(value: float, aim: Target) -> None:
    assert shortfall(value, aim) >= 0
    goal = {"down": 0.0, "up": 1.0}.get(aim.kind, aim.value)
    assert goal is not None
    assert shortfall(goal, aim) == 0


@given(fractions, fractions)
def test_below_the_oracle_is_as_wrong_as_above(level: float, off: float) -> None:
    assert shortfall(level - off, Target("oracle", level)) == pytest.approx(
        shortfall(level + off, Target("oracle", level))
    )


@given(fractions, fractions)
def test_what_is_kept_loses_nothing_above_vanilla(level: float, more: float) -> None:
    assert shortfall(level + more, Target("vanilla", level)) == 0
    assert shortfall(level - more, Target("vanilla", level)) == pytest.approx(more)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), fractions, min_size=2), fractions, fractions)
def test_best_are_those_with_the_least_shortfall(scores: dict[str, float], oracle: float, vanilla: float) -> None:
    for good in ("oracle", "kept", "down"):
        fabricated = results({"vanilla": vanilla, "oracle": oracle, **scores}, good)
        aim = target(fabricated, fabricated.columns[0])
        winners = best(fabricated, fabricated.columns[0])
        least = min(shortfall(value, aim) for value in scores.values())
        assert winners == {name for name, value in scores.items() if shortfall(value, aim) < least + LAST_DIGIT}
        assert winners


def test_references_and_lone_models_are_never_best() -> None:
    fabricated = results({"vanilla": 1.0, "oracle": 0.1, "ga": 0.5}, "oracle")
    assert best(fabricated, fabricated.columns[0]) == frozenset()


@pytest.mark.parametrize(
    ("scores", "good", "chance", "aim", "mark"),
    [
        ({"vanilla": 1, "oracle": 0.1, "a": 0.5}, "oracle", 0.125, Target("oracle", 0.1), "→ oracle"),
        ({"vanilla": 1, "a": 0.5}, "oracle", 0.125, Target("chance", 0.125), "→ chance"),
        ({"vanilla": 1, "a": 0.5}, "oracle", None, Target("down", None), "↓"),
        ({"vanilla": 1, "oracle": 0.1, "a": 0.5}, "down", 0.125, Target("down", None), "↓"),
        ({"vanilla": 0.9, "oracle": 1, "a": 0.5}, "kept", 0.125, Target("vanilla", 0.9), "= vanilla"),
        ({"oracle": 1, "a": 0.5}, "kept", 0.125, Target("up", None), "↑"),
    ],
)
def test_the_aim_falls_back_on_what_the_run_has(
    scores: dict[str, float], good: Literal["oracle", "kept", "down"], chance: float | None, aim: Target, mark: str
) -> None:
    fabricated = results(scores, good, **({} if chance is None else {"chance": chance}))
    assert target(fabricated, fabricated.columns[0]) == aim
    assert aim.mark == mark


def test_a_single_entity_shows_nothing() -> None:
    gap = Comparison(Column("c", "C", "kept"), Difference(0.9, 0.0, 5, 1), 0.9)
    assert not gap.beyond_noise(1)
    assert gap._replace(difference=Difference(0.9, 0.0, 5, 2)).beyond_noise(1)


def test_without_items_to_pair_few_of_them_still_show_little() -> None:
    gap = Comparison(Column("c", "C", "kept"), Difference(0.667, 0.333, 3), 0.667)
    assert not gap.beyond_noise(1)
    assert gap._replace(difference=Difference(0.667, 0.333, 1000)).beyond_noise(1)
