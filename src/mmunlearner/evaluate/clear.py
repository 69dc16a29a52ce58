"""CLEAR's summary of a model (Dontsov et al. 2024): three harmonic means, and the distance to the retain oracle.

Real (real faces, real world), Retain and Forget are harmonic means over the image questions' sets of the truth's
probability and the truth ratio. Of answers in words (captions) the probability is p^(1 / tokens), of a choice (whose
picture it is) the truth's share, p(y) / sum p. Sets without wrong answers have no part in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mmunlearner.evaluate.metrics import Line, harmonic_mean
from mmunlearner.evaluate.scores import ForgetQuality, distance_to_oracle, score_lines

GROUPS: Mapping[str, tuple[str, ...]] = {
    "real": ("neighbour_vqa", "general"),
    "retain": ("retain_vqa",),
    "forget": ("forget_vqa",),
}
"""Mean -> the columns behind it."""
PROBABILITY: Mapping[str, str] = {"multiple_choice": "choice_probability"}
"""Task -> its probability, where it is not the plain one."""
FORGOTTEN = ("forget_vqa", "forget_vqa_test", "forget_qa", "forget_qa_test")


class Part(NamedTuple):
    """One set of items that ask alike."""

    column: str
    task: str
    probability: float
    truth_ratio: float


def parts(columns: Mapping[str, Sequence[Line]]) -> list[Part]:
    """Probability and truth ratio of each task of the columns that the three means are made of."""
    found = []
    for column in (name for names in GROUPS.values() for name in names):
        lines = columns.get(column, ())
        for task in sorted({str(line["task"]) for line in lines}):
            scores = score_lines([line for line in lines if line["task"] == task])
            probability = scores.get(PROBABILITY.get(task, "probability"))
            if probability is not None and "truth_ratio" in scores:
                found.append(Part(column, task, probability.value, scores["truth_ratio"].value))
    return found


def harmonic_means(columns: Mapping[str, Sequence[Line]]) -> dict[str, float]:
    """`real`, `retain` and `forget`, as far as the columns allow."""
    found = parts(columns)
    values = {
        name: [value for part in found if part.column in names for value in (part.probability, part.truth_ratio)]
        for name, names in GROUPS.items()
    }
    return {name: harmonic_mean(some) for name, some in values.items() if some}


def forget_quality(
    model: Mapping[str, Sequence[Line]], oracle: Mapping[str, Sequence[Line]]
) -> dict[tuple[str, str], ForgetQuality]:
    """(forget column, task) -> distance of the model's truth ratios to the oracle's.

    CLEAR's forget quality is that of (forget_vqa, generation), the captions: `ks_p`, or 1 - `js`.
    """
    found: dict[tuple[str, str], ForgetQuality] = {}
    for column in FORGOTTEN:
        ours, theirs = model.get(column, ()), oracle.get(column, ())
        for task in sorted({str(line["task"]) for line in ours}):
            same = ([line for line in lines if line["task"] == task] for lines in (ours, theirs))
            if quality := distance_to_oracle(*same):
                found[column, task] = quality
    return found


def summary(columns: Mapping[str, Sequence[Line]], oracle: Mapping[str, Sequence[Line]] | None) -> dict[str, float]:
    """CLEAR's row of a model: the three means, and the captions' `ks_p` and `one_minus_js` against the oracle."""
    quality = forget_quality(columns, oracle or {}).get(("forget_vqa", "generation"))
    distance = {"ks_p": quality.ks_p, "one_minus_js": 1 - quality.js} if quality else {}
    return harmonic_means(columns) | distance
