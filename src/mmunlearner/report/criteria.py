"""What a run is required to show, against its scores: near the oracle where to forget, near vanilla elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from mmunlearner.evaluate.scores import Score
from mmunlearner.report.goals import FORGET_BOUND, KEEP_BOUND, SHOWN, target, to_forget
from mmunlearner.report.paired import score_difference
from mmunlearner.report.results import Column, Model, Run
from mmunlearner.report.table import gap
from mmunlearner.report.words import difference, percent

UNBOUND = frozenset({"neighbour_vqa", "general"})
"""Columns to keep for which no bound is set: no retain data covers them; their loss is reported."""


@dataclass(frozen=True)
class Criterion:
    """One requirement and whether the model meets it."""

    column: Column
    score: Score
    gap: Score
    """Score minus the reference's."""
    reference: str
    """`oracle` or `vanilla`."""
    bound: float
    """Largest distance allowed (a fraction)."""

    @property
    def distance(self) -> float:
        """Off the oracle in either direction; below vanilla."""
        return abs(self.gap.value) if self.reference == "oracle" else max(0.0, -self.gap.value)

    @property
    def met(self) -> bool:
        return self.distance <= self.bound + 1e-9

    @property
    def unsure(self) -> bool:
        """Whether two standard errors reach across the bound, so that other items might have decided otherwise."""
        return abs(self.distance - self.bound) < 2 * self.gap.stderr

    @property
    def text(self) -> str:
        where = _where(self.gap, self.reference)
        allowed = f"{'within' if self.met else 'allowed:'} {100 * self.bound:.0f} points"
        doubt = "; the bound lies within two standard errors" if self.unsure else ""
        return f"{self.column.title} {percent(self.score.value)} %, {where} ({allowed}{doubt})."


def _where(gap: Score, reference: str) -> str:
    """`4.2 ± 1.1 points above the oracle`; level where the tables would print 0.0."""
    name = "the oracle" if reference == "oracle" else "vanilla"
    error = f"± {percent(gap.stderr)}"
    if abs(gap.value) < SHOWN:
        return f"level with {name}" + (f" ({error} points)" if gap.stderr >= SHOWN else "")
    return f"{percent(abs(gap.value))} {error} points {'above' if gap.value > 0 else 'below'} {name}"


def criteria(run: Run, model: Model) -> list[Criterion]:
    """All that can be checked: needs the oracle for what is forgotten and vanilla for what is kept."""
    idle = nothing_to_forget(run)
    columns = [column for column in run.results.columns if column.name not in UNBOUND and column not in idle]
    return [each for column in columns if (each := _criterion(run, model, column))]


def nothing_to_forget(run: Run) -> list[Column]:
    """Columns to forget that the oracle knows as well as vanilla does, so that reaching it proves nothing."""
    vanilla, oracle = run.results.vanilla, run.results.oracle
    if vanilla is None or oracle is None:
        return []
    known = [(column, vanilla.score(column.name), oracle.score(column.name)) for column in to_forget(run.results)]
    return [column for column, before, aim in known if before and aim and before.value - aim.value < 2 * FORGET_BOUND]


def _criterion(run: Run, model: Model, column: Column) -> Criterion | None:
    score, aim, vanilla = model.score(column.name), target(run.results, column), run.results.vanilla
    if score is None:
        return None
    if aim.kind == "oracle":
        off = gap(run.results, model, column)
        return Criterion(column, score, off, "oracle", FORGET_BOUND) if off else None
    if aim.kind == "vanilla" and vanilla:
        return Criterion(column, score, score_difference(run, model, vanilla, column), "vanilla", KEEP_BOUND)
    return None


def losses(run: Run, model: Model) -> list[str]:
    """Columns without a bound, each with what was lost against vanilla."""
    vanilla = run.results.vanilla
    made = []
    for column in run.results.columns:
        score = model.score(column.name)
        if column.name in UNBOUND and column.good == "kept" and score and vanilla and vanilla.score(column.name):
            off = score_difference(run, model, vanilla, column)
            made.append(f"{column.title} {percent(score.value)} % ({difference(off)} points against vanilla)")
    return made
