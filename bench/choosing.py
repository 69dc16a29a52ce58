"""What the rules of choice foresee: the trials of choosing folds, and what each cost outside the sets.

`python -m bench.choosing OUT/NAME` reads the trials that a run with `choosing_folds` has made (it may be unfinished):
no model is trained or asked. Two tables: how well each measure ranks trials by what they lost of neighbours, strangers
and drawings, and what a setting that a rule chose on one fold does on another.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy.stats import spearmanr

from mmunlearner.core.records import read_record
from mmunlearner.data import group_by
from mmunlearner.evaluate import read_columns
from mmunlearner.evaluate.scores import score_lines
from mmunlearner.report.records import Trial
from mmunlearner.report.template import pipe_table
from mmunlearner.run.choice import excess

OUTSIDE = ("neighbour_vqa", "stranger_vqa", "general_vqa", "general")
"""Columns about what is in no set; those that a run does not have are left out."""
RETAINED = ("retain_vqa", "retain_vqa_test")
FORGOT = 0.10
"""A trial forgot if its forget VQA is within this of the target."""


@dataclass(frozen=True)
class Tried:
    """One trial on one fold."""

    fold: str
    method: str
    number: int
    trial: Trial
    losses: Mapping[str, float]
    """Column outside the sets -> vanilla's accuracy minus the trial's."""

    @property
    def loss(self) -> float:
        """Mean loss over the columns outside the sets."""
        return fmean(self.losses.values())

    def excess(self, errors: float) -> float:
        """Return the distance of its forgetting from the target, beyond so many standard errors."""
        return excess(self.trial.get("gaps", {}), errors)


MEASURES: Mapping[str, Callable[[Tried], float]] = {
    "distortion": lambda tried: tried.trial.get("distortion", 0.0),
    "distortion of features": lambda tried: tried.trial.get("distortions", {}).get("features", 0.0),
    "distortion by image": lambda tried: tried.trial.get("distortions", {}).get("image", 0.0),
    "distortion in words": lambda tried: tried.trial.get("distortions", {}).get("words", 0.0),
    "distance": lambda tried: tried.trial["objective"],
    "lost retain VQA": lambda tried: -sum(tried.trial.get("accuracy", {}).get(column, 0.0) for column in RETAINED),
}
"""Measures that might foresee the loss: more is worse."""


def least(tried: Tried, measure: str, errors: float) -> tuple[float, ...]:
    """Return the key of the rule `distortion` (`run.choice.rank`), for another measure or another bound of noise."""
    missed = tried.excess(errors) > 0
    return missed, MEASURES["distance" if missed else measure](tried)


RULES: Mapping[str, Callable[[Tried], tuple[float, ...]]] = {
    "distance": lambda tried: (tried.trial["objective"],),
    "distortion within 1 error": lambda tried: least(tried, "distortion", 1),
    "distortion within 2 errors": lambda tried: least(tried, "distortion", 2),
    "distortion by image within 1 error": lambda tried: least(tried, "distortion by image", 1),
    "nearest to the target": lambda tried: (tried.excess(0),),
}
"""Rules of choice: the trial with the least key."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.choosing", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, OUT/NAME")
    trials = [tried for run in parser.parse_args().runs for tried in read(run)]
    print(report(trials))


def read(run: Path) -> list[Tried]:
    """Return all trials on the choosing folds of a run, with their losses."""
    found = []
    for folder in sorted(path for path in (run / "choosing").glob("*") if (path / "trials").is_dir()):
        vanilla = {
            column: score_lines(lines)["accuracy"].value
            for column, lines in read_columns(folder / "evaluation" / "vanilla").items()
        }
        for record in sorted((folder / "trials").glob("*/*.json")):
            trial = read_record(record, Trial)
            accuracy = trial.get("accuracy", {})
            losses = {column: vanilla[column] - accuracy[column] for column in OUTSIDE if column in accuracy}
            found.append(Tried(folder.name, record.parent.name, int(record.stem), trial, losses))
    return found


def report(trials: Sequence[Tried]) -> str:
    """Return both tables as Markdown."""
    if not trials:
        return "no trials there yet"
    forgot = [tried for tried in trials if tried.excess(0) <= FORGOT]
    columns = sorted({column for tried in trials for column in tried.losses})
    rows = [
        [
            measure,
            *(f"{spearman(group, measure, column):.2f}" for group in (trials, forgot) for column in ("", *columns)),
        ]
        for measure in MEASURES
    ]
    heads = ["measure", *(f"{name}: {column or 'mean'}" for name in ("all", "forgot") for column in ("", *columns))]
    text = (
        f"{len(trials)} trials, {len(forgot)} of them forgot. Spearman of each measure with the loss, within folds:\n\n"
    )
    text += pipe_table("l" + "r" * (len(heads) - 1), heads, rows)
    rows = [
        [rule, str(len(choices)), *(f"{100 * fmean(values):.1f}" for values in zip(*choices, strict=True))]
        for rule in RULES
        if (choices := regrets(trials, rule))
    ]
    heads = ["rule", "choices", "regret", "loss", "miss of the target"]
    text += "\nChosen on one fold, looked at on another, points; regret is the loss beyond that of the best of those "
    return text + "that forgot there:\n\n" + pipe_table("lrrrr", heads, rows)


def spearman(trials: Sequence[Tried], measure: str, column: str = "") -> float:
    """Return the rank correlation of a measure with the loss (of a column, or the mean), a mean over folds."""
    values = []
    for group in group_by(trials, lambda tried: tried.fold):
        pairs = [
            (MEASURES[measure](tried), tried.losses[column] if column else tried.loss)
            for tried in group
            if (column in tried.losses if column else tried.losses)
        ]
        # Of fewer than three, or where a side never varies, there is no rank correlation.
        if len(pairs) > 2 and all(len(set(side)) > 1 for side in zip(*pairs, strict=True)):
            measured, lost = zip(*pairs, strict=True)
            result: Any = spearmanr(measured, lost)
            values.append(float(result.statistic))
    return fmean(values) if values else float("nan")


def regrets(trials: Iterable[Tried], rule: str) -> list[tuple[float, float, float]]:
    """Return, for each method and each ordered pair of folds, what the rule's choice on the first does on the second.

    Its loss beyond that of the best trial there among those that forgot (of all, where none did), its loss, and how far
    its forgetting is from the target.
    """
    choices = []
    for of_method in group_by(trials, lambda tried: tried.method):
        folds = {group[0].fold: group for group in group_by(of_method, lambda tried: tried.fold)}
        for here, there in permutations(folds.values(), 2):
            others = {tried.number: tried for tried in there if tried.losses}
            both = [tried for tried in here if tried.number in others]
            if len(both) < 2:
                continue
            chosen = others[min(both, key=RULES[rule]).number]
            forgot = [tried.loss for tried in others.values() if tried.excess(0) <= FORGOT]
            least = min(forgot or [tried.loss for tried in others.values()])
            choices.append((chosen.loss - least, chosen.loss, chosen.excess(0)))
    return choices


if __name__ == "__main__":
    main()
