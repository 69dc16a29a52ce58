"""Scoring rules and statistics: pure functions of texts, log-probabilities and numbers, without torch.

A truth ratio is written r = (perturbed answers' likelihood) / (truth's likelihood), both per token: 0 for a model that
is sure of the truth, 1 for one that cannot tell it from the wrong answers.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from math import exp, isfinite
from typing import Any, NamedTuple

import numpy as np

# r is only ever clipped, inverted or ranked, so that capping its logarithm keeps every score and avoids overflow.
_LARGEST_LOG = 700.0


class Score(NamedTuple):
    """A mean with its uncertainty."""

    value: float
    stderr: float
    """Standard error of `value`, clustered by entity."""
    n: int
    """Items behind it."""


class ForgetQuality(NamedTuple):
    """How far the truth ratios of a model lie from the oracle's."""

    ks_p: float
    """p-value of the two-sample Kolmogorov-Smirnov test: TOFU's forget quality, 1 at best."""
    ks: float
    """Its statistic: largest distance of the two cumulative distributions, 0 at best."""
    js: float
    """Jensen-Shannon distance, 0 (equal) to 1 (disjoint)."""


def chosen_letter(output: str) -> str:
    """The option that an output picks: the letter that stands alone at its beginning ("B", "(b)", "B: Paris"), or "".

    A word is no choice: "Artist" does not pick A, as the published first-character rule would have it.
    """
    match = re.match(r"[\W_]*([^\W\d_])(?!\w)", output)
    return match.group(1).upper() if match else ""


def is_right(task: str, output: str, target: str, answer: str) -> bool:
    """MLLMU-Bench's rules, zero-shot: the letter; the blank's truth within the output; the truth's words in a row."""
    if task == "multiple_choice":
        return chosen_letter(output) == target.upper()
    if task == "cloze":
        return answer.strip().casefold() in output.casefold()
    return f" {normalise(answer)} " in f" {normalise(output)} "


def normalise(text: str) -> str:
    """Lower case, letters and digits only, single spaces."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.sub(r"[\W_]+", " ", plain).split())


@cache
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # 2 s to import: only where texts are scored

    return RougeScorer(["rougeL"], use_stemmer=True)


def rouge_l(output: str, reference: str) -> float:
    """ROUGE-L F1 with stemming (MLLMU-Bench), 0 to 1."""
    return float(_rouge_scorer().score(reference, output)["rougeL"].fmeasure)


def rouge_l_recall(output: str, reference: str) -> float:
    """ROUGE-L recall with stemming (TOFU, CLEAR), 0 to 1."""
    return float(_rouge_scorer().score(reference, output)["rougeL"].recall)


def bleu(output: str, reference: str) -> float:
    """Sentence BLEU with sacrebleu's smoothing and effective order, 0 to 1."""
    from sacrebleu import sentence_bleu

    return min(1.0, sentence_bleu(output, [reference]).score / 100)


def answer_probability(logp: float, tokens: int) -> float:
    """p(answer | question)^(1 / tokens): the geometric mean over the answer's tokens."""
    return exp(logp / tokens)


def choice_probability(truth: tuple[float, int], wrong: Sequence[tuple[float, int]]) -> float:
    """p(y) / (p(y) + sum of p over the wrong answers), each to the power of 1 / tokens (TOFU, CLEAR: p(y) / sum p).

    Each argument is (sum of log p, tokens).
    """
    own = truth[0] / truth[1]
    others = (min(_LARGEST_LOG, logp / tokens - own) for logp, tokens in wrong)
    return 1 / (1 + sum(exp(other) for other in others))


def log_truth_ratio(truth: tuple[float, int], perturbed: Sequence[tuple[float, int]]) -> float:
    """log r = mean over perturbed of (log p / tokens), minus log p / tokens of the truth (its paraphrase, if any).

    As in TOFU's code the perturbed answers are averaged as logarithms (its paper averages the probabilities); the
    published p-values come from this one. Each argument is (sum of log p, tokens).
    """
    wrong = sum(logp / tokens for logp, tokens in perturbed) / len(perturbed)
    ratio = wrong - truth[0] / truth[1]
    return max(-_LARGEST_LOG, min(_LARGEST_LOG, ratio))


def forget_truth_ratio(log_ratio: float) -> float:
    """min(r, 1/r): 1 where truth and wrong answers are equally likely."""
    return exp(-abs(log_ratio))


def utility_truth_ratio(log_ratio: float) -> float:
    """max(0, 1 - r): 1 where the model is sure of the truth."""
    return max(0.0, 1 - exp(log_ratio))


def harmonic_mean(values: Sequence[float]) -> float:
    """0 as soon as one value is 0.

    Raises:
        ValueError: no value, or a negative one.
    """
    if not values or min(values) < 0:
        raise ValueError(f"harmonic mean of {list(values)}: needs values, none of them negative")
    return 0.0 if min(values) == 0 else len(values) / sum(1 / value for value in values)


def mean_score(values: Sequence[float], entities: Sequence[str]) -> Score:
    """Mean of the items with a standard error clustered by entity.

    Items of one entity are not independent. With G entities, se^2 = G / (G - 1) * sum_g (sum_{i in g} (x_i - m))^2
    / n^2, which is the plain s^2 / n where every entity has one item. With a single entity its items stand alone.

    Raises:
        ValueError: no items, or not one entity per item.
    """
    if not values or len(values) != len(entities):
        raise ValueError(f"score of {len(values)} values and {len(entities)} entities: needs as many, at least one")
    x = np.asarray(values, dtype=np.float64)
    value = float(x.mean())
    _, group = np.unique(np.asarray(entities), return_inverse=True)
    groups = int(group.max()) + 1
    if groups == 1:
        group, groups = np.arange(len(x)), len(x)
    if groups == 1:
        return Score(value, 0.0, 1)
    sums = np.bincount(group, weights=x - value, minlength=groups)
    return Score(value, float(np.sqrt(groups / (groups - 1) * (sums**2).sum()) / len(x)), len(x))


def paired_difference(
    a: Mapping[str, float], b: Mapping[str, float], entities: Mapping[str, str], *, what: str = "scores"
) -> Score:
    """Mean of a - b over the items (by id) that both have, which takes the items' own difficulty out of the error.

    Raises:
        ValueError: they have no item in common.
    """
    common = [item for item in a if item in b]
    if not common:
        raise ValueError(f"{what}: no item in common, so that no difference can be paired")
    return mean_score([a[item] - b[item] for item in common], [entities[item] for item in common])


def forget_quality(log_ratios: Sequence[float], oracle: Sequence[float], *, bins: int = 20) -> ForgetQuality:
    """Compare a model's truth ratios on the forget set with the oracle's.

    KS depends on ranks alone, so logarithms do. JS (base 2) is taken between histograms of 1 / (1 + r), the truth's
    share against the perturbed answers', in `bins` equal bins of [0, 1].
    """
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import ks_2samp

    with warnings.catch_warnings():  # ties: scipy says that it takes the asymptotic p-value instead of the exact one
        warnings.simplefilter("ignore", RuntimeWarning)
        test: Any = ks_2samp(log_ratios, oracle)
    histograms = [np.histogram(_share(values), bins=bins, range=(0, 1))[0] for values in (log_ratios, oracle)]
    js = float(jensenshannon(*histograms, base=2))
    return ForgetQuality(float(test.pvalue), float(test.statistic), js if isfinite(js) else 0.0)


def _share(log_ratios: Sequence[float]) -> np.ndarray:
    return 1 / (1 + np.exp(np.asarray(log_ratios, dtype=np.float64)))
