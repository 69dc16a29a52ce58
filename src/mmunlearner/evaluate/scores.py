"""Lines of saved answers -> scores with errors, differences between models, and the memorisation gate.

Works from files alone: `evaluation/NAME/COLUMN.jsonl` -> `evaluation/NAME/scores.json`.

A line is one item: id, entity, column, task, modality, attribute, image, prompt, target, answer, output; choices and
option_logps (log-probability of each option's letter) for multiple choice; longer, if other answers contain the true
one; answer_logp and answer_tokens; if the item has a paraphrase or wrong answers, paraphrase_logp and
paraphrase_tokens, perturbed_logps and perturbed_tokens. These log-probabilities are sums over the answer's tokens, its
end token included; that of a letter is without the end token.
A judge's scores, if there are any, lie in `judge/COLUMN.jsonl`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmunlearner.config import Scoring
from mmunlearner.core.files import write_json
from mmunlearner.core.records import check_record, read_records
from mmunlearner.errors import DataError
from mmunlearner.evaluate.metrics import METRICS, Line, log_ratio
from mmunlearner.evaluate.saved import Judgement, Score, Scores, read_lines

JUDGE = "judge"
"""Folder of the judgements within an evaluation folder."""
FALSE_ALARM = 0.05
"""Probability of calling at least one of the compared columns different although none is."""
POWER = 0.8
"""Probability with which a test finds the smallest visible difference."""


class Difference(NamedTuple):
    """One model's score minus another's."""

    value: float
    stderr: float
    """Standard error of `value`, clustered by entity."""
    n: int = 0
    """Items behind it."""
    entities: int | None = None
    """Clusters behind the error; None where they are unknown: at most as many as items."""

    @property
    def units(self) -> int:
        """Independent units behind the error: entities; items, where there is one entity or none is known."""
        # A lone entity says nothing of others. Of itself it does, with the spread over its questions.
        return self.entities if self.entities and self.entities > 1 else self.n


class ItemScores(NamedTuple):
    """One metric of each item of a column, by the items' ids."""

    values: Mapping[str, float]
    entities: Mapping[str, str]


class ForgetQuality(NamedTuple):
    """Distance of a model's truth ratios from the oracle's."""

    ks_p: float
    """p-value of the two-sample Kolmogorov-Smirnov test: TOFU's forget quality, 1 at best."""
    ks: float
    """Its statistic: largest distance of the two cumulative distributions, 0 at best."""
    js: float
    """Jensen-Shannon distance, 0 (equal) to 1 (disjoint)."""


class Gate(NamedTuple):
    """The memorisation gate: does the vanilla model know the forget set?"""

    passed: bool
    margin: float
    """Vanilla's accuracy on the forget set minus the oracle's, on the same items."""
    stderr: float
    text: str
    """One plain sentence for the report."""


@dataclass(frozen=True)
class ModelScores:
    """One model's scores: column -> metric -> score."""

    columns: Mapping[str, Mapping[str, Score]]

    def to_json(self) -> dict[str, Any]:
        return {
            "columns": {
                column: {metric: score._asdict() for metric, score in scores.items()}
                for column, scores in self.columns.items()
            }
        }

    @classmethod
    def from_json(cls, value: Any, source: str = "scores") -> ModelScores:
        """Return the scores of a file's content; `source` names it in errors.

        Raises:
            DataError: it holds no scores.
        """
        return cls(check_record(value, Scores, source)["columns"])


# --- statistics -----------------------------------------------------------------------------------------------------


def mean_score(values: Sequence[float], entities: Sequence[str]) -> Score:
    """Return the mean of the items with a standard error clustered by entity.

    Items of one entity are not independent. With G entities, se^2 = G / (G - 1) * sum_g (sum_{i in g} (x_i - m))^2
    / n^2, which is the plain s^2 / n where every entity has one item.

    Raises:
        ValueError: no items, or not one entity per item.
    """
    if not values or len(values) != len(entities):
        raise ValueError(f"score of {len(values)} values and {len(entities)} entities: needs as many, at least one")
    x = np.asarray(values, dtype=np.float64)
    value = float(x.mean())
    _, group = np.unique(np.asarray(entities), return_inverse=True)
    groups = int(group.max()) + 1
    if groups == 1:  # G / (G - 1) has no value: the items of a lone entity are taken as independent
        group, groups = np.arange(len(x)), len(x)
    if groups == 1:
        return Score(value, 0.0, 1)  # one item tells nothing about the spread
    sums = np.bincount(group, weights=x - value, minlength=groups)
    return Score(value, float(np.sqrt(groups / (groups - 1) * (sums**2).sum()) / len(x)), len(x))


def difference(a: ItemScores, b: ItemScores) -> Difference:
    """Return the mean of a - b over the items that both have, clustered by entity.

    An item that is hard for both models cancels out, so that the error is smaller than that of two separate means.

    Raises:
        DataError: they have no item in common.
    """
    # Models that were evaluated with different limits share only some of the items.
    common = [item for item in a.values if item in b.values]
    if not common:
        raise DataError("no item in common, so that no difference can be paired")
    entities = [a.entities[item] for item in common]
    mean = mean_score([a.values[item] - b.values[item] for item in common], entities)
    return Difference(*mean, len(set(entities)))


def unpaired_difference(a: Score, b: Score) -> Difference:
    """Return a - b of two scores whose items are unknown: their errors add in squares."""
    return Difference(a.value - b.value, (a.stderr**2 + b.stderr**2) ** 0.5, min(a.n, b.n))


def noise_limit(columns: int, entities: int) -> float:
    """Return the number of standard errors that a difference must exceed to count, if `columns` are compared."""
    if entities < 2:
        return inf  # Student's t has no degrees of freedom: nothing counts
    from scipy.special import stdtrit  # half a second to import: only where something is compared

    # Bonferroni: the probability of one false alarm among all columns is at most FALSE_ALARM. Few entities estimate
    # the error poorly, for which Student's t asks for more.
    return float(stdtrit(entities - 1, 1 - FALSE_ALARM / (2 * max(1, columns))))


def visible_errors(entities: int, power: float = POWER) -> float:
    """Return the true difference, in standard errors, that a two-sided test at 5 % finds with probability `power`.

    The statistic of Student's t has a noncentral t distribution whose noncentrality is this difference.
    """
    if entities < 2:
        return inf
    from scipy.special import nctdtrinc

    # A statistic beyond the limit on the other side is left out: its probability is below 0.0001 at this power.
    return float(nctdtrinc(entities - 1, 1 - power, noise_limit(1, entities)))


def forget_quality(log_ratios: Sequence[float], oracle: Sequence[float], *, bins: int = 20) -> ForgetQuality:
    """Compare a model's truth ratios (as log r) on the forget set with the oracle's.

    The Jensen-Shannon distance (base 2) is taken between histograms of 1 / (1 + r), the truth's share against the
    perturbed answers', in `bins` equal bins of [0, 1].
    """
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import ks_2samp

    # With ties scipy warns that it takes the asymptotic p-value instead of the exact one.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        # The test depends on ranks alone, which logarithms do not change.
        test: Any = ks_2samp(log_ratios, oracle)
    shares = [1 / (1 + np.exp(np.asarray(values, dtype=np.float64))) for values in (log_ratios, oracle)]
    histograms = [np.histogram(share, bins=bins, range=(0, 1))[0] for share in shares]
    # Equal histograms may come out as the root of a tiny negative number, which is NaN.
    js = float(jensenshannon(*histograms, base=2))
    return ForgetQuality(float(test.pvalue), float(test.statistic), js if isfinite(js) else 0.0)


# --- files ----------------------------------------------------------------------------------------------------------


def read_columns(out_dir: Path | str, scoring: Scoring = "package") -> dict[str, list[Line]]:
    """Read a model's evaluation folder: column -> items, with the factuality of those that a judge has scored.

    Each line gets the name of the rules that it is to be scored by: the answers are the same under all of them.

    Raises:
        DataError: there are none.
    """
    columns: dict[str, list[Line]] = {}
    for path in sorted(Path(out_dir).glob("*.jsonl")):
        lines, judgements = read_lines(path), path.parent / JUDGE / path.name
        if judgements.exists():
            # If an answer has several judgements, the last one counts: later ones are added at the end of the file.
            scores = {line["id"]: line["score"] / 10 for line in read_records(judgements, Judgement) if "score" in line}
            lines = [{**line, "factuality": scores[line["id"]]} if line["id"] in scores else line for line in lines]
        columns[path.stem] = [{**line, "scoring": scoring} for line in lines]
    if not columns:
        raise DataError(f"{out_dir}: no evaluated items there; `mmunlearner evaluate --model MODEL` makes them")
    return columns


def score_lines(lines: Sequence[Line]) -> dict[str, Score]:
    """Score one column by all metrics; a metric that applies to none of its items is absent."""
    scores = {}
    for metric in METRICS.values():
        # By number: an item that a metric does not apply to must drop out of the entities too.
        values = {i: value for i, line in enumerate(lines) if (value := metric.of_line(line)) is not None}
        if values:
            scores[metric.name] = mean_score(list(values.values()), [lines[i]["entity"] for i in values])
    return scores


def rescore(out_dir: Path | str, scoring: Scoring = "package") -> ModelScores:
    """Score the answers saved in `out_dir` by some rules, and write scores and the rules' name to its `scores.json`.

    Raises:
        DataError: no answers there, or broken ones.
    """
    columns = read_columns(out_dir, scoring)
    scores = ModelScores({column: score_lines(lines) for column, lines in columns.items() if lines})
    write_json(Path(out_dir) / "scores.json", {"scoring": scoring, **scores.to_json()})
    return scores


# --- one model against another --------------------------------------------------------------------------------------


def item_scores(lines: Sequence[Line], metric: str = "accuracy") -> ItemScores:
    """Score each item of a column that the metric applies to."""
    of_line = METRICS[metric].of_line
    values = {line["id"]: value for line in lines if (value := of_line(line)) is not None}
    return ItemScores(values, {line["id"]: line["entity"] for line in lines})


def differences(model: Mapping[str, ItemScores], reference: Mapping[str, ItemScores]) -> dict[str, Difference]:
    """Return model minus reference for each column that both were evaluated on."""
    return {column: difference(scores, reference[column]) for column, scores in model.items() if column in reference}


def distance_to_oracle(model: Sequence[Line], oracle: Sequence[Line]) -> ForgetQuality | None:
    """Return the forget quality of one column by its truth ratios; None where its items have no perturbed answers."""
    ratios = [[ratio for line in lines if (ratio := log_ratio(line)) is not None] for lines in (model, oracle)]
    return forget_quality(*ratios) if all(ratios) else None


def memorisation_gate(
    vanilla: Sequence[Line], oracle: Sequence[Line], *, margin: float = 0.10, errors: float = 2.0
) -> Gate:
    """Compare vanilla's accuracy on the forget set with the oracle's.

    Passed if it is higher by at least `margin` and by more than `errors` standard errors of the paired difference. A
    run that does not pass supports no claim about forgetting.
    """
    # The oracle never saw the images of the forget set: the answers that it gets right can be guessed or inferred.
    gap = difference(item_scores(vanilla), item_scores(oracle))
    points = f"{100 * gap.value:.1f} ± {100 * gap.stderr:.1f}"
    text = f"The vanilla model answers {points} points more of the forget set than the retain oracle"
    if gap.value >= margin and gap.value > errors * gap.stderr:
        return Gate(True, gap.value, gap.stderr, f"{text}: it knows what it is to forget.")
    clear = f"a clear margin is at least {100 * margin:g} points and more than {errors:g} standard errors"
    return Gate(False, gap.value, gap.stderr, f"{text}, but {clear}: nothing can be claimed of forgetting here.")
