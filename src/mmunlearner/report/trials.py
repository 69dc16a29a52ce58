"""The settings that were tried: how each was judged, and which one was chosen."""

from __future__ import annotations

from collections.abc import Sequence

from mmunlearner.report.records import Trial
from mmunlearner.report.results import Results
from mmunlearner.report.template import DASH, enumerated

RULES = {
    "distortion": "Chosen: of the settings whose forgetting is within one standard error of its target (beyond noise "
    "0), the least distortion; where none is, the least distance to the goal.",
    "distance": "Chosen: the least distance to the goal.",
}


def heads(results: Results) -> list[str]:
    """Return the heads of the table: a distance for each choosing fold, or one."""
    distances = [f"distance on {fold}" for fold in results.choosing_folds] or ["distance"]
    return ["Model", "Settings", *distances, "beyond noise", "distortion", ""]


def rows(results: Results) -> list[list[str]]:
    """Return a row for each trial of each model."""
    return [
        [model.title, settings(trial), *_distances(trial, results), *_judged(trial), "chosen" * chosen]
        for model in results.models
        for trial, chosen in zip(model.trials, _are_chosen(model.trials), strict=True)
    ]


def settings(trial: Trial) -> str:
    """Write a trial's settings: `learning_rate 0.001, bound 2`."""
    return ", ".join(f"{name} {value:g}" for name, value in trial["settings"].items())


def judges(results: Results) -> str:
    """Name what chose the settings: `on the validation half`, or `on folds 12 and 12a`."""
    return f"on {named_folds(results.choosing_folds)}" if results.choosing_folds else "on the validation half"


def named_folds(folds: Sequence[str]) -> str:
    """Write `fold 12`, or `folds 12 and 12a`."""
    return f"fold{'s' * (len(folds) > 1)} {enumerated(folds)}"


def explanation(results: Results) -> str:
    """Say how the numbers of the table came about and how they choose."""
    reported = f" Scores are of {named_folds(results.folds)}." if results.folds else ""
    return (
        f"Judged {judges(results)}.{reported} Distance: missed forgetting and lost accuracy, as a fraction. "
        "Distortion: relative change of what the model computes for retained questions (image features, last hidden "
        f"states). {RULES[results.choosing_rule or 'distance']}"
    )


def _distances(trial: Trial, results: Results) -> list[str]:
    folds = trial.get("folds", {})
    distances = [folds[name]["objective"] if name in folds else None for name in results.choosing_folds]
    return [_number(value) for value in distances or [trial["objective"]]]


def _judged(trial: Trial) -> list[str]:
    return [_number(trial.get("excess")), _number(trial.get("distortion"))]


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}"


def _are_chosen(trials: Sequence[Trial]) -> list[bool]:
    """Return whether each trial was chosen; earlier versions marked none, and took the smallest distance."""
    if any("chosen" in trial for trial in trials):
        return [trial.get("chosen", False) for trial in trials]
    first = min(range(len(trials)), key=lambda i: trials[i]["objective"], default=0)
    return [i == first for i in range(len(trials))]
