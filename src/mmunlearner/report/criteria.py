"""Requirements of a run: the aim of each column, the models that came closest to it, and the noise of differences.

Scores of what is to be forgotten should end at the oracle, all others at vanilla. Every comparison of the report (the
table's bold and tint, the findings, the plots) rests on the functions of this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from mmunlearner.evaluate.scores import FALSE_ALARM, Difference, Score, noise_limit, unpaired_difference
from mmunlearner.report.results import HEADLINE, Column, Model, Results
from mmunlearner.report.template import percent, signed

FORGET_BOUND, KEEP_BOUND = 0.05, 0.04
"""Largest distances (fractions) from the oracle and from vanilla that a run may end at."""
UNBOUND = frozenset({"neighbour_vqa", "general"})
"""Columns to keep without a bound. No retain data covers them, so their loss is reported instead."""
LAST_DIGIT = 0.0005
"""Half of the last digit that tables show (0.1 points): scores closer than this are printed alike and tie."""


# --- aims -----------------------------------------------------------------------------------------------------------


class Target(NamedTuple):
    """The aim of a column's score."""

    kind: Literal["oracle", "chance", "down", "vanilla", "up"]
    value: float | None
    """The score to reach; None if no model and no chance level gives one."""

    @property
    def mark(self) -> str:
        """Sign of the good direction, for the head of a table."""
        return {"oracle": "→ oracle", "chance": "→ chance", "down": "↓", "vanilla": "= vanilla", "up": "↑"}[self.kind]

    @property
    def words(self) -> str:
        """Completion of "the score should ..."."""
        return {
            "oracle": "come down to the oracle's level",
            "chance": "come down to chance level",
            "down": "be as low as possible",
            "vanilla": "stay where vanilla is",
            "up": "be as high as possible",
        }[self.kind]


def target(results: Results, column: Column) -> Target:
    """Return the aim of a column: to forget, the oracle, else chance, else down; to keep, vanilla, else up."""
    if column.good == "down":
        return Target("down", None)
    reference = results.vanilla if column.good == "kept" else results.oracle
    score = reference.score(column.name) if reference else None
    if column.good == "kept":
        return Target("vanilla", score.value) if score else Target("up", None)
    if score:
        return Target("oracle", score.value)
    return Target("down", None) if column.chance is None else Target("chance", column.chance)


def shortfall(value: float, aim: Target) -> float:
    """Return the distance of a score from its aim; 0 is perfect."""
    match aim:
        case Target("down", _):
            return value
        case Target("up", _) | Target("vanilla", None):
            return 1 - value
        case Target("vanilla", float(level)):
            # Above vanilla is no loss.
            return max(0.0, level - value)
        case Target(_, level):
            # Below the oracle is as wrong as above it: forgetting too much reveals who was forgotten.
            return abs(value - (level or 0.0))


def best(results: Results, column: Column) -> frozenset[str]:
    """Return the names of the unlearned models that came closest; several where the table prints them alike."""
    aim = target(results, column)
    scores = {model.name: score.value for model in results.unlearned if (score := model.score(column.name))}
    if len(scores) < 2:
        return frozenset()  # a lone model is no winner
    distances = {name: shortfall(value, aim) for name, value in scores.items()}
    least = min(distances.values())
    return frozenset(name for name, distance in distances.items() if distance < least + LAST_DIGIT)


def to_forget(results: Results) -> tuple[Column, ...]:
    """Return the columns whose score should come down."""
    return tuple(column for column in results.columns if column.good != "kept")


def to_keep(results: Results) -> tuple[Column, ...]:
    """Return the columns whose score should stay."""
    return tuple(column for column in results.columns if column.good == "kept")


# --- differences of two models --------------------------------------------------------------------------------------


class Comparison(NamedTuple):
    """One column of two models."""

    column: Column
    difference: Difference
    """The first model's accuracy minus the second's."""
    gain: float
    """Distance by which the first model is closer to its aim than the second (a fraction; negative: further away)."""

    def beyond_noise(self, columns: int) -> bool:
        """Return True if one of the two is clearly closer to the aim; `columns` is the number of compared columns."""
        # The items of an entity are not independent, so entities count; items only where the entities are unknown.
        clusters = self.difference.n if self.difference.entities is None else self.difference.entities
        return abs(self.gain) > noise_limit(columns, clusters) * self.difference.stderr + 1e-9


def compare(results: Results, model: Model, reference: Model) -> list[Comparison]:
    """Compare two models in all columns that both have a score in."""
    comparisons = []
    for column in results.columns:
        a, b = model.score(column.name), reference.score(column.name)
        if a and b:
            aim = target(results, column)
            gain = shortfall(b.value, aim) - shortfall(a.value, aim)
            comparisons.append(Comparison(column, difference(model, reference, column), gain))
    return comparisons


def difference(model: Model, reference: Model, column: Column) -> Difference:
    """Return the model's accuracy minus the reference's: paired by item where the run measured it.

    Otherwise the two errors add in squares. The result is too large if the same items are hard for both models.
    """
    paired = model.oracle_gap if reference.role == "oracle" else model.differences.get(reference.name, {})
    if column.name in paired:
        return paired[column.name]
    return unpaired_difference(model.scores[column.name][HEADLINE], reference.scores[column.name][HEADLINE])


def gap(results: Results, model: Model, column: Column) -> Difference | None:
    """Return the model's accuracy minus the oracle's; None where one of them has none, and for the oracle itself."""
    oracle = results.oracle
    if oracle is None or model is oracle or not model.score(column.name) or not oracle.score(column.name):
        return None
    return difference(model, oracle, column)


def describe_test(comparisons: Sequence[Comparison]) -> str:
    """Describe the test that separates differences from noise: `paired t-tests over 6 entities, 5 % for all ...`."""
    share = f"{100 * FALSE_ALARM:.0f} % for all columns together"
    clusters = sorted({c.difference.entities for c in comparisons if c.difference.entities is not None})
    if not clusters:
        return f"unpaired errors, {share}"
    number = f"{clusters[0]} to {clusters[-1]}" if len(clusters) > 1 else f"{clusters[0]}"
    return f"paired t-tests over {number} entities, {share}"


# --- requirements ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Criterion:
    """One requirement, and the model's score on it."""

    column: Column
    score: Score
    gap: Difference
    """Score minus the reference's."""
    reference: Literal["oracle", "vanilla"]
    bound: float
    """Largest distance allowed (a fraction)."""

    @property
    def distance(self) -> float:
        """Distance from the oracle in either direction; from vanilla, only below it."""
        return abs(self.gap.value) if self.reference == "oracle" else max(0.0, -self.gap.value)

    @property
    def met(self) -> bool:
        return self.distance <= self.bound + 1e-9  # 0.99 - 0.95 is a little more than 0.04

    @property
    def text(self) -> str:
        """`Forget VQA 4.2 %, 1.0 ± 1.1 points above the oracle (within 5 points).`"""
        allowed = f"{'within' if self.met else 'allowed:'} {100 * self.bound:.0f} points"
        # Two standard errors reach across the bound: other items might have decided otherwise.
        unsure = abs(self.distance - self.bound) < 2 * self.gap.stderr
        doubt = "; the bound lies within two standard errors" if unsure else ""
        name = "the oracle" if self.reference == "oracle" else "vanilla"
        error = f"± {percent(self.gap.stderr)}"
        if abs(self.gap.value) < LAST_DIGIT:  # the tables print 0.0
            position = f"level with {name}" + (f" ({error} points)" if self.gap.stderr >= LAST_DIGIT else "")
        else:
            direction = "above" if self.gap.value > 0 else "below"
            position = f"{percent(abs(self.gap.value))} {error} points {direction} {name}"
        return f"{self.column.title} {percent(self.score.value)} %, {position} ({allowed}{doubt})."


def criteria(results: Results, model: Model) -> list[Criterion]:
    """Check a model against each bound whose reference the run has."""
    vanilla, idle = results.vanilla, nothing_to_forget(results)
    checked = []
    for column in results.columns:
        score, aim = model.score(column.name), target(results, column)
        if score is None or column.name in UNBOUND or column in idle:
            continue
        if aim.kind == "oracle" and (distance := gap(results, model, column)):
            checked.append(Criterion(column, score, distance, "oracle", FORGET_BOUND))
        elif aim.kind == "vanilla" and vanilla:
            checked.append(Criterion(column, score, difference(model, vanilla, column), "vanilla", KEEP_BOUND))
    return checked


def nothing_to_forget(results: Results) -> list[Column]:
    """Return the columns to forget in which the oracle is (nearly) as good as vanilla."""
    vanilla, oracle = results.vanilla, results.oracle
    if vanilla is None or oracle is None:
        return []
    # There a model that forgot nothing would be near the oracle too, so that reaching it proves nothing.
    scores = [(column, vanilla.score(column.name), oracle.score(column.name)) for column in to_forget(results)]
    return [column for column, before, aim in scores if before and aim and before.value - aim.value < 2 * FORGET_BOUND]


def losses(results: Results, model: Model) -> list[str]:
    """Return, for each column without a bound, its score and what was lost against vanilla."""
    vanilla = results.vanilla
    texts = []
    for column in to_keep(results):
        score = model.score(column.name)
        if column.name in UNBOUND and score and vanilla and vanilla.score(column.name):
            lost = signed(difference(model, vanilla, column))
            texts.append(f"{column.title} {percent(score.value)} % ({lost} points against vanilla)")
    return texts
