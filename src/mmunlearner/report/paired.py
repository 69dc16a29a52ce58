"""Differences between two models of a run, from the items that both answered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from mmunlearner.evaluate.metrics import Line
from mmunlearner.evaluate.scores import FALSE_ALARM, Score, difference, noise_limit, read_lines, unpaired_difference
from mmunlearner.report.goals import shortfall, target
from mmunlearner.report.results import HEADLINE, Column, Model, Run


class Difference(NamedTuple):
    """Ours minus theirs in one column."""

    column: Column
    score: Score
    better: float
    """How much closer to its aim our score is than theirs (a fraction; negative: further away)."""
    entities: int | None
    """Clusters behind the standard error; None where it is not known, and then there are at most as many as items."""

    def clear(self, columns: int) -> bool:
        """Whether one of the two is closer to the aim beyond noise, where so many columns are looked at."""
        most = self.score.n if self.entities is None else self.entities
        return abs(self.better) > noise_limit(columns, most) * self.score.stderr + 1e-9


def compare(run: Run, ours: Model, theirs: Model) -> list[Difference]:
    """All columns that both models have a score in."""
    return [
        _difference(run, ours, theirs, c) for c in run.results.columns if ours.score(c.name) and theirs.score(c.name)
    ]


def _difference(run: Run, ours: Model, theirs: Model, column: Column) -> Difference:
    aim = target(run.results, column)
    a, b = (shortfall(model.scores[column.name][HEADLINE].value, aim) for model in (ours, theirs))
    lines = _both_lines(run, ours, theirs, column)
    clusters = len({line["entity"] for line in lines[0]}) if lines else None
    return Difference(column, score_difference(run, ours, theirs, column), b - a, clusters)


def score_difference(run: Run, ours: Model, theirs: Model, column: Column) -> Score:
    """Ours - theirs, paired by item and clustered by entity where the saved answers are those that were scored.

    Without them the two scores' errors add in squares, which is too large where the same items are hard for both.
    """
    lines = _both_lines(run, ours, theirs, column)
    if lines:
        return difference(*lines)
    return unpaired_difference(ours.scores[column.name][HEADLINE], theirs.scores[column.name][HEADLINE])


def _both_lines(run: Run, ours: Model, theirs: Model, column: Column) -> tuple[Sequence[Line], Sequence[Line]] | None:
    a, b = (_scored_lines(run, model, column, model.scores[column.name][HEADLINE].n) for model in (ours, theirs))
    return None if a is None or b is None else (a, b)


def _scored_lines(run: Run, model: Model, column: Column, n: int) -> Sequence[Line] | None:
    """The items behind a score, or None where the files cannot be told to be those."""
    path = run.directory / "evaluation" / model.name / f"{column.name}.jsonl"
    if not path.is_file():
        return None
    lines = [line for line in _lines(path, path.stat().st_mtime_ns) if str(line["id"]) not in run.results.judged]
    return lines if len(lines) == n else None


@lru_cache(maxsize=256)
def _lines(path: Path, changed: int) -> tuple[Line, ...]:
    """A file's items, read once for all comparisons until it changes."""
    return tuple(read_lines(path))


def test_of(gaps: Sequence[Difference]) -> str:
    """How it was decided what is noise, in words."""
    share = f"{100 * FALSE_ALARM:.0f} % for all columns together"
    known = sorted({gap.entities for gap in gaps if gap.entities is not None})
    if not known:
        return f"unpaired errors, {share}"
    number = f"{known[0]} to {known[-1]}" if len(known) > 1 else f"{known[0]}"
    return f"paired t-tests over {number} entities, {share}"


def entities(run: Run, column: str) -> int | None:
    """How many entities a column asks about, or None where no answers were saved."""
    for model in run.results.models:
        path = run.directory / "evaluation" / model.name / f"{column}.jsonl"
        if path.is_file():
            return len({line["entity"] for line in _lines(path, path.stat().st_mtime_ns)}) or None
    return None
