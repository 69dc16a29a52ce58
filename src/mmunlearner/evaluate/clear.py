"""CLEAR's summary of a model (Dontsov et al. 2024): three harmonic means, and the distance to the retain oracle.

Real (real faces, real world), Retain and Forget are harmonic means over their sets of image questions. Each set adds
two numbers, the probability of the truth and the truth ratio. For answers in words (captions) the probability is
p^(1 / tokens); for a choice (whose picture is it?) it is the truth's share, p(y) / sum p. Sets without wrong answers
have no truth ratio and do not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mmunlearner.evaluate.metrics import Line, harmonic_mean
from mmunlearner.evaluate.scores import ForgetQuality, distance_to_oracle, score_lines

Columns = Mapping[str, Sequence[Line]]
GROUPS: Mapping[str, tuple[str, ...]] = {
    "real": ("neighbour_vqa", "general_vqa", "general"),  # one column of general ability in earlier evaluations
    "retain": ("retain_vqa",),
    "forget": ("forget_vqa",),
}
"""Mean -> its columns."""
PROBABILITY: Mapping[str, str] = {"multiple_choice": "choice_probability"}
"""Task -> metric of the probability, where it is not `probability`."""
FORGOTTEN = ("forget_vqa", "forget_vqa_test", "forget_qa", "forget_qa_test")


class QuestionSet(NamedTuple):
    """The questions of one task in one column."""

    column: str
    task: str
    probability: float
    truth_ratio: float


def question_sets(columns: Columns) -> list[QuestionSet]:
    """Score each task of the columns that the three means are made of."""
    sets = []
    for column in (name for names in GROUPS.values() for name in names):
        # Captions and choices are sets of their own, since their probabilities are defined differently.
        for task, lines in _by_task(columns.get(column, ())).items():
            scores = score_lines(lines)
            probability = scores.get(PROBABILITY.get(task, "probability"))
            if probability is not None and "truth_ratio" in scores:
                sets.append(QuestionSet(column, task, probability.value, scores["truth_ratio"].value))
    return sets


def _by_task(lines: Sequence[Line]) -> dict[str, list[Line]]:
    # Sorted, since a set has no order of its own and results.json should be the same each time.
    tasks = sorted({str(line["task"]) for line in lines})
    return {task: [line for line in lines if line["task"] == task] for task in tasks}


def harmonic_means(columns: Columns) -> dict[str, float]:
    """Return `real`, `retain` and `forget`, as far as the columns allow."""
    sets = question_sets(columns)
    values = {
        name: [value for s in sets if s.column in names for value in (s.probability, s.truth_ratio)]
        for name, names in GROUPS.items()
    }
    return {name: harmonic_mean(numbers) for name, numbers in values.items() if numbers}


def forget_quality(model: Columns, oracle: Columns) -> dict[tuple[str, str], ForgetQuality]:
    """Return (forget column, task) -> distance of the model's truth ratios to the oracle's.

    CLEAR's forget quality is that of (forget_vqa, generation), the captions: `ks_p`, or 1 - `js`.
    """
    qualities: dict[tuple[str, str], ForgetQuality] = {}
    for column in FORGOTTEN:
        oracle_lines = _by_task(oracle.get(column, ()))
        for task, lines in _by_task(model.get(column, ())).items():
            if quality := distance_to_oracle(lines, oracle_lines.get(task, ())):
                qualities[column, task] = quality
    return qualities


def summary(columns: Columns, oracle: Columns | None) -> dict[str, float]:
    """Return CLEAR's row of a model: the three means, and `ks_p` and `one_minus_js` of the captions."""
    # Without an oracle there is nothing to be near to: the row has the means alone.
    quality = forget_quality(columns, oracle or {}).get(("forget_vqa", "generation"))
    distance = {"ks_p": quality.ks_p, "one_minus_js": 1 - quality.js} if quality else {}
    return harmonic_means(columns) | distance
