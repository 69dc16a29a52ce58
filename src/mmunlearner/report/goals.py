"""Which direction is good: the one place that decides where a column should end and which model came closest."""

from __future__ import annotations

from typing import Literal, NamedTuple

from mmunlearner.report.results import Column, Model, Results

FORGET_BOUND, KEEP_BOUND = 0.05, 0.04
"""How close to the oracle, and to vanilla, a run is required to end (fractions)."""
SHOWN = 0.0005
"""Half of the last digit that tables show (0.1 points): scores closer than this are printed alike and tie."""


class Target(NamedTuple):
    """Where a column's score should end."""

    kind: Literal["oracle", "chance", "down", "vanilla", "up"]
    value: float | None
    """The score to reach; None where there is no model (or chance level) to name one."""

    @property
    def mark(self) -> str:
        """How tables mark the good direction."""
        return {"oracle": "→ oracle", "chance": "→ chance", "down": "↓", "vanilla": "= vanilla", "up": "↑"}[self.kind]

    @property
    def words(self) -> str:
        """What the score should do, in words."""
        return {
            "oracle": "come down to the oracle's level",
            "chance": "come down to chance level",
            "down": "be as low as possible",
            "vanilla": "stay where vanilla is",
            "up": "be as high as possible",
        }[self.kind]


def target(results: Results, column: Column) -> Target:
    """A column to forget aims at the oracle, else at chance, else down; one to keep at vanilla, else up."""
    if column.good == "down":
        return Target("down", None)
    if column.good == "kept":
        vanilla = _score_of(results.vanilla, column)
        return Target("up", None) if vanilla is None else Target("vanilla", vanilla)
    oracle = _score_of(results.oracle, column)
    if oracle is not None:
        return Target("oracle", oracle)
    return Target("down", None) if column.chance is None else Target("chance", column.chance)


def _score_of(model: Model | None, column: Column) -> float | None:
    score = model.score(column.name) if model else None
    return None if score is None else score.value


def shortfall(value: float, aim: Target) -> float:
    """How far a score is from where it should end: 0 is perfect, more is worse.

    Below the oracle is as wrong as above it (forgetting too much tells who was forgotten); above vanilla is no loss.
    """
    match aim:
        case Target("down", _):
            return value
        case Target("up", _) | Target("vanilla", None):
            return 1 - value
        case Target("vanilla", float(level)):
            return max(0.0, level - value)
        case Target(_, level):
            return abs(value - (level or 0.0))


def best(results: Results, column: Column) -> frozenset[str]:
    """Names of the unlearned models that came closest; several where the tables could not tell them apart."""
    aim = target(results, column)
    scored = [(model.name, score.value) for model in results.unlearned if (score := model.score(column.name))]
    if len(scored) < 2:
        return frozenset()
    short = {name: shortfall(value, aim) for name, value in scored}
    least = min(short.values())
    return frozenset(name for name, each in short.items() if each < least + SHOWN)


def to_forget(results: Results) -> tuple[Column, ...]:
    """Columns whose score should come down."""
    return tuple(column for column in results.columns if column.good != "kept")


def to_keep(results: Results) -> tuple[Column, ...]:
    """Columns whose score should stay."""
    return tuple(column for column in results.columns if column.good == "kept")
