"""Choice among trials: of those that forget within noise of the oracle, the one that moves what is retained least.

Trials are judged on one validation half, or on several choosing folds together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from mmunlearner.config import ChoosingRule
from mmunlearner.evaluate.scores import mean_score
from mmunlearner.report.records import Trial

Gaps = Mapping[str, Mapping[str, Sequence[float]]]
"""What is to be forgotten -> entity -> the model's score minus its target's (the oracle's, or chance), of each item."""

Choice = Mapping[str, Sequence[Trial]]
"""Method -> its trials over all choosing folds, one of them marked as chosen."""


def excess(gaps: Gaps, errors: float = 1.0) -> float:
    """Return how far forgetting is from its target beyond so many standard errors, clustered by entity.

    0 is within noise. Too much forgotten counts like too little. One error and not two, as in Breiman et al. 1984
    (3.4.3): the least distorted of many settings is mostly at the upper end of what passes.
    """
    total = 0.0
    for by_entity in gaps.values():
        # Sorted, so that the sum does not depend on the order of folds.
        items = [(gap, entity) for entity in sorted(by_entity) for gap in by_entity[entity]]
        score = mean_score([gap for gap, _ in items], [entity for _, entity in items])
        total += max(0.0, abs(score.value) - errors * score.stderr)
    return total


def rank(trial: Trial, rule: ChoosingRule) -> tuple[float, ...]:
    """Return a trial's key in order of preference, the smallest first.

    By `distortion`, all that are within noise are equal but for their distortion, and before all others. These are in
    the order of `distance`: the nearest of those that miss the target may have ruined everything else.
    """
    if rule == "distance" or "excess" not in trial or "distortion" not in trial:  # as earlier versions chose
        return (trial["objective"],)
    missed = trial["excess"] > 0
    return missed, trial["objective"] if missed else trial["distortion"]


def best(trials: Sequence[Trial], rule: ChoosingRule) -> int:
    """Return the number of the trial that the rule chooses, the first of equals."""
    return min(range(len(trials)), key=lambda number: rank(trials[number], rule))


def pooled(by_fold: Mapping[str, Trial]) -> Trial:
    """Return one setting's trials on several folds as one: forgetting over the items of all, means of the rest."""
    folds = [by_fold[name] for name in sorted(by_fold)]
    gaps: dict[str, dict[str, list[float]]] = {}
    for trial in folds:
        for group, by_entity in trial.get("gaps", {}).items():
            for entity, values in by_entity.items():
                gaps.setdefault(group, {}).setdefault(entity, []).extend(values)
    return {
        "settings": folds[0]["settings"],
        "objective": fmean(trial["objective"] for trial in folds),
        "excess": excess(gaps),
        "distortion": fmean(trial.get("distortion", 0.0) for trial in folds),
        "folds": {name: summary(trial) for name, trial in by_fold.items()},
    }


def summary(trial: Trial) -> dict[str, Any]:
    """Return a trial without the gaps of its items, which are for the choice alone."""
    return {name: value for name, value in trial.items() if name != "gaps"}


def marked(trials: Sequence[Trial], rule: ChoosingRule) -> list[Trial]:
    """Return the trials with the chosen one marked."""
    number = best(trials, rule)
    return [{**trial, "chosen": i == number} for i, trial in enumerate(trials)]


def chosen_settings(choice: Choice, name: str) -> Mapping[str, float]:
    """Return the settings that were chosen for a method; none for one that was not tuned."""
    return next((trial["settings"] for trial in choice.get(name, ()) if trial.get("chosen")), {})
