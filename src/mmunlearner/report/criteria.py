"""Requirements of a run: the aim of each column, the models that came closest to it, and the noise of differences.

Scores of what is to be forgotten should end at the oracle, all others at vanilla. Every comparison of the report (the
table's bold and tint, the verdict, the findings, the plots) rests on the functions of this module. What its words mean
is written in docs/report.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, NamedTuple

from mmunlearner.evaluate.scores import (
    FALSE_ALARM,
    Difference,
    Score,
    noise_limit,
    unpaired_difference,
    visible_errors,
)
from mmunlearner.report.results import HEADLINE, Column, Model, Results
from mmunlearner.report.template import percent

ORACLE_BOUND, VANILLA_BOUND = 0.05, 0.02
"""Default bounds (fractions): largest distance from the oracle in either direction, largest loss against vanilla."""
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


MANY = 10_000
"""Entities with which Student's t is as good as a normal distribution."""


class Comparison(NamedTuple):
    """One column of two models."""

    column: Column
    difference: Difference
    """The first model's accuracy minus the second's."""
    gain: float
    """Distance by which the first model is closer to its aim than the second (a fraction; negative: further away)."""

    @property
    def clusters(self) -> int:
        """Entities behind the error: their items are not independent; items only where the entities are unknown."""
        return self.difference.n if self.difference.entities is None else self.difference.entities

    def beyond_noise(self, columns: int) -> bool:
        """Return True if one of the two is clearly closer to the aim; `columns` is the number of compared columns."""
        return self._exceeds(noise_limit(columns, self.clusters))

    def lacks_entities(self, columns: int) -> bool:
        """Return True if it is within noise only because so few entities estimate the noise poorly."""
        return self._exceeds(noise_limit(columns, MANY)) and not self.beyond_noise(columns)

    def _exceeds(self, limit: float) -> bool:
        # Not `limit * 0`, since the limit of a lone entity is infinite.
        noise = limit * self.difference.stderr if self.difference.stderr else 0.0 if isfinite(limit) else limit
        return abs(self.gain) > noise + 1e-9


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
    if reference.role == "oracle" and column.name in model.oracle_gap:
        return model.oracle_gap[column.name]
    if model.role == "oracle" and column.name in reference.oracle_gap:
        opposite = reference.oracle_gap[column.name]
        return opposite._replace(value=-opposite.value)
    if column.name in (paired := model.differences.get(reference.name, {})):
        return paired[column.name]
    return unpaired_difference(model.scores[column.name][HEADLINE], reference.scores[column.name][HEADLINE])


def gap(results: Results, model: Model, column: Column) -> Difference | None:
    """Return the model's accuracy minus that of the model that sets the column's aim: the oracle's or vanilla's.

    None where no model sets it, where a score is missing, and for that model itself.
    """
    setters = {"oracle": results.oracle, "vanilla": results.vanilla}
    reference = setters.get(target(results, column).kind)
    if reference is None or model is reference or not model.score(column.name):
        return None
    return difference(model, reference, column)


def visible(results: Results, model: Model, column: Column) -> float | None:
    """Return the smallest true difference (a fraction) to the model that sets the aim which a run like this one shows.

    A two-sided test at 5 % finds it with a probability of `POWER`, by the paired difference's standard error, clustered
    by entity. None where no paired difference was measured, or not one answer differs, which tells no spread.
    """
    distance = gap(results, model, column)
    if distance is None or distance.entities is None or not distance.stderr:
        return None
    return visible_errors(distance.units) * distance.stderr


def describe_test(comparisons: Sequence[Comparison]) -> str:
    """Describe the test that separates differences from noise: `paired t-tests over 6 entities, 5 % for all ...`."""
    share = f"{100 * FALSE_ALARM:.0f} % for all columns together"
    clusters = sorted({c.difference.entities for c in comparisons if c.difference.entities is not None})
    if not clusters:
        return f"unpaired errors, {share}"
    number = f"{clusters[0]} to {clusters[-1]}" if len(clusters) > 1 else f"{clusters[0]}"
    return f"paired t-tests over {number} entities, {share}"


# --- requirements ---------------------------------------------------------------------------------------------------


Outcome = Literal["met", "unclear", "missed"]


@dataclass(frozen=True)
class Criterion:
    """One requirement, and the model's score on it."""

    column: Column
    score: Score
    gap: Difference
    """Score minus the reference's."""
    reference: Literal["oracle", "vanilla"]
    bound: float
    """Largest loss allowed (a fraction)."""

    @property
    def loss(self) -> float:
        """Distance from the oracle in either direction; distance below vanilla, negative above it."""
        return abs(self.gap.value) if self.reference == "oracle" else -self.gap.value

    @property
    def noise(self) -> float:
        """Half of the 95 % interval of the loss: about two standard errors, more with few entities."""
        return self.gap.stderr and noise_limit(1, self.gap.units) * self.gap.stderr

    @property
    def within_noise(self) -> bool:
        """True if the interval reaches across the bound: other entities might have decided otherwise."""
        return abs(self.bound - self.loss) < self.noise

    @property
    def outcome(self) -> Outcome:
        """`met`: the loss is within the bound; `missed`: beyond it by more than noise; `unclear`: by less."""
        if self.loss <= self.bound + LAST_DIGIT:  # the report would print both alike
            return "met"
        return "unclear" if self.within_noise else "missed"

    @property
    def allowed(self) -> str:
        """`5 points`"""
        return f"{100 * self.bound:.3g} points"

    @property
    def text(self) -> str:
        """`Forget VQA 4.2 %, 1.0 ± 1.1 points above the oracle (within 5 points).`"""
        name = "the oracle" if self.reference == "oracle" else "vanilla"
        error = f"± {percent(self.gap.stderr)}"
        if abs(self.gap.value) < LAST_DIGIT:  # the tables print 0.0
            position = f"level with {name}" + (f" ({error} points)" if self.gap.stderr >= LAST_DIGIT else "")
        else:
            direction = "above" if self.gap.value > 0 else "below"
            position = f"{percent(abs(self.gap.value))} {error} points {direction} {name}"
        return f"{self.column.title} {percent(self.score.value)} %, {position} ({self._judgement})."

    @property
    def _judgement(self) -> str:
        """`within 5 points`, and how sure that is."""
        if self.outcome != "met":
            beyond = "; beyond that by less than noise, so that it cannot be told" if self.outcome == "unclear" else ""
            return f"allowed: {self.allowed}{' below' if self.reference == 'vanilla' else ''}{beyond}"
        # A bound on losses has one side: a score above vanilla's is not "within" anything.
        none_lost = self.reference == "vanilla" and self.loss < LAST_DIGIT
        if none_lost:
            return f"no loss, but noise reaches past {self.allowed} below" if self.within_noise else "no loss"
        return f"within {self.allowed}" + (", but noise reaches past that" if self.within_noise else "")


def bound(column: Column) -> float:
    """Return the bound of a column: the recipe's, or the default of its kind."""
    if column.bound is not None:
        return column.bound
    return VANILLA_BOUND if column.good == "kept" else ORACLE_BOUND


def criteria(results: Results, model: Model) -> list[Criterion]:
    """Check a model against the bound of each column whose reference the run has."""
    idle = nothing_to_forget(results)
    checked = []
    for column in results.columns:
        score, distance = model.score(column.name), gap(results, model, column)
        if score and distance and column not in idle:
            reference = "vanilla" if column.good == "kept" else "oracle"
            checked.append(Criterion(column, score, distance, reference, bound(column)))
    return checked


def nothing_to_forget(results: Results) -> list[Column]:
    """Return the columns to forget in which the oracle is (nearly) as good as vanilla."""
    vanilla, oracle = results.vanilla, results.oracle
    if vanilla is None or oracle is None:
        return []
    # There a model that forgot nothing would be near the oracle too, so that reaching it proves nothing.
    scores = [(column, vanilla.score(column.name), oracle.score(column.name)) for column in to_forget(results)]
    return [column for column, before, aim in scores if before and aim and before.value - aim.value < 2 * bound(column)]
